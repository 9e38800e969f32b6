"""Pagemaps: what devices have mapped, and the index from pfn to pagemap."""

from __future__ import annotations

from dataclasses import dataclass

from replay.machine.intervals import IntervalMap

__all__ = ("Altmap", "Pagemap", "Pagemaps")


_OWN_IDS = 1 << 31  # traces number their pagemaps from 1 on


@dataclass(frozen=True)
class Altmap:
    """Device pages set aside for the memmap, in pages.

    Attributes:
        base: first pfn.
        reserve: pages in front that stay unused.
        free: pages that hold the memmap.
    """

    base: int
    reserve: int
    free: int


@dataclass
class Pagemap:
    """A dev_pagemap.

    Attributes:
        id: given by the trace.
        ranges: (first pfn, end pfn) half open, in the order of the call.
        altmap: None when the memmap lives in RAM.
        type: schema.PgmapType.
        node: NUMA node of its pages.
        shift: log2 of the pages of its compound pages.
        dying: the reference is killed; lookups no longer return it.
        gone: not mapped, or not any more.
    """

    id: int
    ranges: tuple[tuple[int, int], ...]
    altmap: Altmap | None = None
    type: int = 0
    node: int = 0
    shift: int = 0
    dying: bool = False
    gone: bool = True

    def data_spans(self) -> list[tuple[int, int]]:
        """Return for each range the pfns that hold data, not metadata; reserve and free stand in front of the first."""
        offset = self.altmap.reserve + self.altmap.free if self.altmap else 0
        (start, end), *others = self.ranges
        return [(min(start + offset, end), end), *others]


class Pagemaps:
    """All pagemaps by id, and the index that lookups go through."""

    def __init__(self) -> None:
        self.by_id: dict[int, Pagemap] = {}
        self.index = IntervalMap()
        self._made = 0

    def fresh(self) -> int:
        """Return an id that no trace gives, for a pagemap that the trace does not tell of."""
        while True:
            self._made += 1
            if _OWN_IDS + self._made not in self.by_id:
                return _OWN_IDS + self._made

    def live_at(self, pfn: int) -> bool:
        """Return whether a lookup of the pfn would return a pagemap."""
        found = self.by_id.get(self.index.get(pfn))
        return found is not None and not found.dying

    def mapped(self, pgmap: int) -> Pagemap | None:
        """Return the pagemap of that id if it is mapped (dying or not)."""
        found = self.by_id.get(pgmap)
        return None if found is None or found.gone else found
