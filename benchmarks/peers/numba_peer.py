"""The peer in numba: compiled by the warm-up pass, which is not timed."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.case import Case
from benchmarks.peers.peer import Pass, Unavailable
from benchmarks.peers.verdicts import NR_VERDICTS, POISONED, Counts, counts_of
from replay.trace.schema import EventKind

__all__ = ("Numba",)


class Numba:
    """The loop of walk.c in Python that numba compiles."""

    name, about = "numba", "numba, the same loop page by page"
    coarse, by_page = False, True

    def refuses(self, workload: str) -> str | None:
        """Refuse nothing."""
        del workload
        return None

    def prepare(self, case: Case) -> Pass:
        """Return a pass.

        Raises:
            Unavailable: no numba.
        """
        try:
            from benchmarks.peers import numba_loop  # noqa: PLC0415 - needs a package of the extra "peers"
        except ModuleNotFoundError as error:
            raise Unavailable(f"no {error.name} on this machine: pip install 'pfn-replay[peers]'") from error
        g = case.start.memory.geometry
        if (g.section_shift, g.subsection_shift) != (numba_loop.SECTION_SHIFT, numba_loop.SUBSECTION_SHIFT):
            raise Unavailable("the loop is written for x86-64's sections")
        return _NumbaPass(case, numba_loop)


class _NumbaPass:
    seconds = None

    def __init__(self, case: Case, loop: ModuleType) -> None:
        memory = case.start.memory.copy()
        self._poison = memory.pages.size > 0
        self._scalars = memory.scalars
        pagemaps = np.stack([memory.pagemap_start, memory.pagemap_end, memory.pagemap_data, memory.pagemap_id])
        self._counts = np.zeros(NR_VERDICTS, np.int64)
        largest = max(c["pfn"].size for c in case.columns)
        none64, none32 = np.zeros(0, np.uint64), np.zeros(0, np.uint32)
        self._calls: list[tuple[Any, ...]] = []
        if case.only_singles:
            self._loop = loop.walk_singles
            out: NDArray[Any] = np.ones(largest, np.uint8)
            for c in case.columns:
                self._calls.append((memory.flags, memory.map, pagemaps, memory.scalars, c["pfn"], out, self._counts))
            return
        self._loop = loop.events
        out = np.ones(largest, np.uint64)
        block_shift = memory.geometry.pages_per_block.bit_length() - 1
        state = (memory.flags, memory.map, memory.blocks, pagemaps, memory.pages, memory.scalars, block_shift)
        for c in case.columns:
            nr_pages, flags = c.get("nr_pages", none64), c.get("flags", none64)
            rows = (c["kind"], c["pfn"], nr_pages, flags, c.get("pgmap", none32))
            self._calls.append((*state, *rows, out, self._counts))

    def run(self) -> None:
        for arguments in self._calls:
            unknown = self._loop(*arguments)
            if unknown:
                raise ValueError(f"numba_loop knows no rows of kind {EventKind(unknown).name}")

    def counts(self) -> Counts:
        found = counts_of(self._counts.tolist())
        if self._poison:
            found[POISONED] = int(self._scalars[2])
        return found
