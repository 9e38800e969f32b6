"""What no engine can undercut: reading the columns once, and copying them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.case import Case
from benchmarks.peers.peer import Pass

__all__ = ("Limit",)


class Limit:
    """Handles the columns that decide (kind, pfn, and nr_pages, flags and pgmap where there are any) without answering.

    Args:
        copy: copy them; otherwise only add them up.
    """

    coarse = by_page = False

    def __init__(self, *, copy: bool) -> None:
        self.name = "copy" if copy else "read"
        self.about = "the limit: copying the columns" if copy else "the limit: adding up the columns"
        self._copy = copy

    def refuses(self, workload: str) -> str | None:
        """Refuse nothing."""
        del workload
        return None

    def prepare(self, case: Case) -> Pass:
        """Return a pass."""
        return _CopyPass(case) if self._copy else _ReadPass(case)


class _ReadPass:
    seconds = None

    def __init__(self, case: Case) -> None:
        self._words = [_words(column) for columns in case.columns for column in columns.values()]
        self.total = np.uint64(0)

    def run(self) -> None:
        for words in self._words:
            self.total ^= words.sum()

    def counts(self) -> None:
        return None


class _CopyPass:
    seconds = None

    def __init__(self, case: Case) -> None:
        self._sources = [column for columns in case.columns for column in columns.values()]
        self._targets = [np.ones_like(column) for column in self._sources]  # written to: its pages are there

    def run(self) -> None:
        for source, target in zip(self._sources, self._targets, strict=True):
            np.copyto(target, source)

    def counts(self) -> None:
        return None


def _words(column: NDArray[Any]) -> NDArray[np.uint64]:
    """Return a column as 64-bit words, without what is left over at its end: narrow types are added up more slowly."""
    whole = column.nbytes // 8 * 8
    return column.view(np.uint8)[:whole].view(np.uint64)
