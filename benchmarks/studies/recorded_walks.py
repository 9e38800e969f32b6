"""Lookups that recordings hold, by the walker that made them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from replay.trace.reader import TraceFile
from replay.trace.schema import EventKind, Phase

RECORDED = Path(__file__).parents[2] / "traces" / "recorded"
_NAMES = ("kind", "pfn", "nr_pages", "stride", "task", "call", "phase", "recorded_ret")


@dataclass(frozen=True)
class Call:
    """The lookups inside one call that onlined or offlined a block.

    Attributes:
        kind: EventKind of the call.
        start: first pfn.
        pages: of the range.
        before: (pfn, answer) of lookups before the sections changed, rows in order.
        after: those after.
    """

    kind: int
    start: int
    pages: int
    before: tuple[tuple[int, int], ...]
    after: tuple[tuple[int, int], ...]


class Recording:
    """The columns of a recording that tell about walks."""

    def __init__(self, name: str) -> None:
        with TraceFile.open(RECORDED / name) as trace:
            batches = list(trace.batches(_NAMES))
        self._columns = {c: np.concatenate([b.column(c) for b in batches]) for c in _NAMES}

    def _lookups(self, row: int) -> Iterator[tuple[int, int]]:
        pfn, stride, ret = (int(self._columns[name][row]) for name in ("pfn", "stride", "recorded_ret"))
        for k in range(int(self._columns["nr_pages"][row])):
            yield pfn + k * stride, ret

    def calls(self, kind: EventKind) -> Iterator[Call]:
        """Yield the calls of one kind that succeeded and in which something was looked up."""
        c = self._columns
        begins = np.flatnonzero((c["kind"] == kind) & (c["phase"] == Phase.BEGIN) & (c["recorded_ret"] == 0))
        for begin in begins.tolist():
            rows = np.flatnonzero(c["call"] == c["call"][begin])
            changed = rows[c["phase"][rows] == Phase.SECTIONS]
            looks = rows[c["kind"][rows] == EventKind.PFN_TO_ONLINE_PAGE]
            if not changed.size or not looks.size:
                continue
            parts = [
                tuple(hit for row in part.tolist() for hit in self._lookups(row))
                for part in (looks[looks < changed[0]], looks[looks > changed[0]])
            ]
            yield Call(int(kind), int(c["pfn"][begin]), int(c["nr_pages"][begin]), *parts)

    def passes(self) -> list[tuple[int, ...]]:
        """Return the ascending passes of the task with most lookups of one or two pages: DAMON's."""
        c = self._columns
        short = (c["kind"] == EventKind.PFN_TO_ONLINE_PAGE) & (c["nr_pages"] <= 2) & (c["call"] == 0)
        task = Counter(c["task"][short].tolist()).most_common(1)[0][0]
        found: list[list[int]] = [[]]
        for row in np.flatnonzero(short & (c["task"] == task)).tolist():
            for pfn, _ in self._lookups(row):
                if found[-1] and pfn < found[-1][-1]:
                    found.append([])
                found[-1].append(pfn)
        return [tuple(one) for one in found]

    def dense_runs(self) -> tuple[Counter[int], int]:
        """Return the strides (by lookups) of long runs outside of calls, and how many of their rows are not online
        lookups."""
        c = self._columns
        lookup = (c["kind"] < EventKind.ADD_MEMORY) & (c["nr_pages"] >= 64) & (c["call"] == 0)
        strides: Counter[int] = Counter()
        for row in np.flatnonzero(lookup).tolist():
            strides[int(c["stride"][row])] += int(c["nr_pages"][row])
        return strides, int((lookup & (c["kind"] != EventKind.PFN_TO_ONLINE_PAGE)).sum())
