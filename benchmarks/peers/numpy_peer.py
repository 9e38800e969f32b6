"""The peer in plain numpy: one expression over whole columns, between transitions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.case import Case
from benchmarks.peers.memory import BLOCK_OFFLINE, BLOCK_ONLINE, Memory, walk
from benchmarks.peers.peer import Pass
from benchmarks.peers.verdicts import NR_VERDICTS, Counts, counts_of, number
from replay.trace.schema import EventKind, SectionFlags

__all__ = ("Numpy",)

_PART = 1 << 20  # pages of a run that are answered at once: a thousand million do not fit
_ALL = np.uint64((1 << 64) - 1)
_POISON = "which pages are broken depends on the rows before: no expression over whole columns says it"


class Numpy:
    """The checks as an expression over whole arrays."""

    name, about = "numpy", "numpy, whole columns (page by page in runs, between transitions otherwise)"
    coarse, by_page = False, True

    def refuses(self, workload: str) -> str | None:
        """Refuse errors, and pages by the thousand million."""
        refused = dict.fromkeys(("storm", "hot", "production"), _POISON)
        refused["runs-1e9"] = "some ten seconds for one row; runs-1e6 shows the cost of a page"
        refused["pagemaps"] = "not written: it would go as mixed-1 does, stretch by stretch"
        return refused.get(workload)

    def prepare(self, case: Case) -> Pass:
        """Return a pass."""
        return _NumpyPass(case)


class _NumpyPass:
    seconds = None

    def __init__(self, case: Case) -> None:
        self._case, self._memory = case, case.start.memory.copy()
        self._counts = np.zeros(NR_VERDICTS, np.int64)

    def run(self) -> None:
        for columns in self._case.columns:
            if not self._case.only_asks:
                self._mixed(columns)
            elif self._case.only_singles:
                self._ask(columns["pfn"])
            else:
                self._runs(columns)

    def counts(self) -> Counts:
        return counts_of(self._counts.tolist())

    def _ask(self, pfns: NDArray[Any]) -> None:
        checks = walk(self._memory, pfns)
        self._counts += np.bincount(checks, minlength=NR_VERDICTS)

    def _runs(self, columns: dict[str, NDArray[Any]]) -> None:
        for start, pages in zip(columns["pfn"].tolist(), columns["nr_pages"].tolist(), strict=True):
            for part in range(start, start + pages, _PART):
                self._ask(np.arange(part, min(part + _PART, start + pages), dtype=np.uint64))

    def _mixed(self, columns: dict[str, NDArray[Any]]) -> None:
        kinds, pfns = columns["kind"], columns["pfn"]
        done = 0
        for row in np.flatnonzero(kinds != EventKind.PFN_TO_ONLINE_PAGE).tolist():
            self._ask(pfns[done:row])
            start = int(pfns[row])
            verdict = _block_change(self._memory, EventKind(kinds[row]), start, start + int(columns["nr_pages"][row]))
            self._counts[verdict] += 1
            done = row + 1
        self._ask(pfns[done:])


def _block_change(memory: Memory, kind: EventKind, start: int, end: int) -> int:
    """Take memory blocks on or off; return the verdict's number."""
    g = memory.geometry
    online = kind is EventKind.MEMORY_BLOCK_ONLINE
    if not online and kind is not EventKind.MEMORY_BLOCK_OFFLINE:
        raise ValueError(f"no transitions of kind {kind.name} are known here")
    blocks = memory.blocks[start // g.pages_per_block : end // g.pages_per_block]
    if (blocks != (BLOCK_OFFLINE if online else BLOCK_ONLINE)).any():
        return number(kind.name.lower(), "state")
    sections = slice(start >> g.section_shift, end >> g.section_shift)
    if not online and (memory.map[sections] != _ALL).any():
        return number(kind.name.lower(), "holes")
    if online:
        memory.flags[sections] |= np.uint8(SectionFlags.ONLINE)
    else:
        memory.flags[sections] &= np.uint8(0xFF ^ SectionFlags.ONLINE)
    blocks[:] = BLOCK_ONLINE if online else BLOCK_OFFLINE
    return number(kind.name.lower(), "onlined" if online else "offlined")
