"""The machine as numbers for the child process: sections, pagemaps, their index, memblock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from replay.machine.machine import Machine
from replay.machine.pagemaps import Pagemap
from replay.trace.schema import PgmapType

__all__ = ("Image", "image_of")

U64 = NDArray[np.uint64]

# PgmapType -> enum memory_type of replay_pfn.h.
_TYPES = {
    PgmapType.PRIVATE: 1,
    PgmapType.COHERENT: 2,
    PgmapType.PUBLIC: 2,
    PgmapType.FS_DAX: 3,
    PgmapType.GENERIC: 4,
    PgmapType.DEVDAX: 4,
    PgmapType.PCI_P2PDMA: 5,
}


@dataclass(frozen=True)
class Image:
    """A machine as driver.c reads it.

    Attributes:
        numbers: struct image, uint64.
        position: of each pagemap, by its id.
    """

    numbers: U64
    position: dict[int, int]


def image_of(machine: Machine, asked: frozenset[int] = frozenset()) -> Image:
    """Return the image of a machine.

    Args:
        machine: at this moment.
        asked: ids of pagemaps that lookups name; they are there even when they are not mapped.
    """
    index = list(machine.pagemaps.index)
    ids = sorted(asked.union(value for _, _, value in index))
    position = {pgmap: i for i, pgmap in enumerate(ids)}
    rows: list[int] = []
    ranges: list[tuple[int, int]] = []
    for pgmap in ids:
        found = machine.pagemaps.by_id.get(pgmap) or Pagemap(pgmap, ())
        rows += _row(found, len(ranges))
        ranges += found.ranges
    indexed = [(start, end, position[value]) for start, end, value in index]
    blocks = [(start, end) for start, end, _ in machine.memblock]
    numbers, flags, maps = machine.sections.table()
    counts = (numbers.size, maps.shape[1], len(ids), len(ranges), len(indexed), len(blocks))
    parts = (counts, numbers, flags, maps, rows, ranges, indexed, blocks)
    return Image(np.concatenate([np.asarray(part, np.uint64).reshape(-1) for part in parts]), position)


def _row(pagemap: Pagemap, first_range: int) -> tuple[int, ...]:
    """Return struct pagemap_row."""
    altmap = pagemap.altmap
    base, reserve, free = (altmap.base, altmap.reserve, altmap.free) if altmap else (0, 0, 0)
    kind = _TYPES.get(PgmapType(pagemap.type), 0)
    return kind, int(altmap is not None), base, reserve, free, int(pagemap.dying), first_range, len(pagemap.ranges)
