"""Row checks that look back: the phases of calls, and the ids and ranges of pagemaps.

These rows are rare, so they are looked at one by one, and memory grows with the number of calls and pagemaps only.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from replay.errors import TraceError
from replay.trace.batch import Batch
from replay.trace.schema import DEVICE_CALLS, KINDS, EventKind, Phase

__all__ = ("CallChecker",)

_PGMAP_KINDS = (int(EventKind.MEMREMAP_PAGES), int(EventKind.PGMAP_RANGE))


class CallChecker:
    """Follows the calls and pagemaps of one trace.

    Args:
        where: the file, for errors.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._begun: set[int] = set()
        self._open: dict[int, int] = {}  # call id -> kind
        self._mapped: set[int] = set()  # pagemap ids that a memremap row has used
        self._ranges: dict[int, list[tuple[int, int]]] = {}  # pagemap id -> ranges, ascending, before its memremap

    def check(self, batch: Batch) -> None:
        """Check the rows of a batch that passed the other checks.

        Raises:
            TraceError: a row contradicts those before it.
        """
        kinds, phases = batch.column("kind"), batch.column("phase")
        given = batch.given("caller")
        nested = given if isinstance(given, np.ndarray) else np.full(len(batch), given)
        rows = np.flatnonzero(nested | (phases != 0) | (kinds == _PGMAP_KINDS[0]) | (kinds == _PGMAP_KINDS[1]))
        fields = (kinds, phases, *(batch.column(name) for name in ("call", "pgmap", "pfn", "nr_pages", "caller")))
        for row, kind, phase, call, pgmap, pfn, nr_pages, caller, made in zip(
            (rows + batch.row).tolist(), *(field[rows].tolist() for field in fields), nested[rows].tolist(), strict=True
        ):
            if made and self._open.get(caller) not in DEVICE_CALLS:
                needed = "the id of a call about devices that is under way"
                self._fail(row, "caller", f"call {caller}", needed)
            if phase != Phase.WHOLE:
                self._check_phase(row, kind, phase, call)
            if phase <= Phase.BEGIN and kind in _PGMAP_KINDS:
                self._check_pagemap(row, kind, pgmap, (pfn, pfn + nr_pages))

    def _check_phase(self, row: int, kind: int, phase: int, call: int) -> None:
        if phase == Phase.BEGIN:
            if call in self._begun:
                self._fail(row, "call", f"a second BEGIN of call {call}", "a new id for every call")
            self._begun.add(call)
            self._open[call] = kind
            return
        if call not in self._open:
            done = "that is DONE" if call in self._begun else "without a BEGIN row"
            self._fail(row, "call", f"{Phase(phase).name} of call {call} {done}", "a call that is under way")
        if self._open[call] != kind:
            self._fail(row, "kind", f"{KINDS[kind]} in call {call}", f"{KINDS[self._open[call]]}, as in its BEGIN row")
        if phase == Phase.DONE:
            del self._open[call]

    def _check_pagemap(self, row: int, kind: int, pgmap: int, new: tuple[int, int]) -> None:
        if pgmap in self._mapped:
            what = "a range" if kind == EventKind.PGMAP_RANGE else "a second memremap_pages"
            needed = "ranges before the memremap_pages row, and a new id for every pagemap"
            self._fail(row, "pgmap", f"{what} of pagemap {pgmap} after its memremap_pages", needed)
        ranges = self._ranges.setdefault(pgmap, [])
        place = bisect_left(ranges, new)
        for start, end in ranges[max(place - 1, 0) : place + 1]:
            if start < new[1] and new[0] < end:
                found = f"[{new[0]:#x}, {new[1]:#x}) of pagemap {pgmap}, which has [{start:#x}, {end:#x})"
                self._fail(row, "pfn", found, "ranges of one pagemap that do not overlap")
        if kind == EventKind.MEMREMAP_PAGES:
            self._mapped.add(pgmap)
            del self._ranges[pgmap]
        else:
            ranges.insert(place, new)

    def _fail(self, row: int, name: str, found: str, needed: str) -> None:
        raise TraceError(f"{self._where}: row {row}, column {name}", found, needed)
