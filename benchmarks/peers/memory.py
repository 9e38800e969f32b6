"""The memory that all peers start from: the replayed machine after the prologue, as plain arrays.

Peers get nothing that the engine has worked out: flags and subsection maps by section number, pagemap ranges, the state of
memory blocks, and one byte per page for the workloads about errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from replay.machine.geometry import Geometry
from replay.machine.machine import Machine
from replay.trace.batch import Batch
from replay.trace.poison import PageFlag, PageKind
from replay.trace.schema import EventKind, SectionFlags

__all__ = (
    "BLOCK_OFFLINE",
    "BLOCK_ONLINE",
    "MAX_PAGEMAPS",
    "PAGE_ANON",
    "PAGE_BUDDY",
    "PAGE_FILE",
    "PAGE_KERNEL",
    "PAGE_POISONED",
    "Memory",
    "StateRanges",
    "state_ranges",
    "walk",
)

BLOCK_OFFLINE, BLOCK_ONLINE = 1, 2  # 0: no such memory block
PAGE_BUDDY, PAGE_KERNEL, PAGE_FILE, PAGE_ANON = 1, 2, 3, 4  # 0: not described
PAGE_POISONED = 0x80
MAX_PAGEMAPS = 16
_PAGES_HELD = 1 << 26
_OPEN_END = 1 << 62  # more than any pfn, and a signed number too
_ALL = np.uint64((1 << 64) - 1)

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]


@dataclass(frozen=True)
class Memory:
    """Arrays that a peer may change; take a ``copy`` for every pass.

    Attributes:
        geometry: sizes.
        flags: SectionFlags by section number, uint8, one for each of NR_MEM_SECTIONS.
        map: subsection map by section number, uint64, bit per subsection.
        blocks: BLOCK_ONLINE, BLOCK_OFFLINE or 0 by memory block number, uint8.
        pagemap_start: first pfn of each live pagemap, ascending, uint64, MAX_PAGEMAPS of them.
        pagemap_end: pfn after its last.
        pagemap_data: its first pfn that is not metadata.
        pagemap_id: its id in the trace.
        pages: one byte per pfn, PAGE_*; of size 0 where no page is described.
        scalars: int64: pagemaps in use, whether a real memory error was seen, poisoned pages.
    """

    geometry: Geometry
    flags: U8
    map: U64
    blocks: U8
    pagemap_start: U64
    pagemap_end: U64
    pagemap_data: U64
    pagemap_id: U64
    pages: U8
    scalars: NDArray[np.int64]

    def copy(self) -> Memory:
        """Return an independent copy."""
        arrays = {name: value.copy() for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return replace(self, **arrays)

    @classmethod
    def of(cls, machine: Machine, setup: Batch) -> Memory:
        """Return the memory of a machine after ``setup`` (whose page descriptions are read from its rows).

        Raises:
            ValueError: the peers cannot hold it: maps of other than 64 subsections, pagemaps of several ranges.
        """
        g = machine.geometry
        if g.subsections_per_section != 64:
            raise ValueError(f"the peers hold a subsection map in 64 bits, not {g.subsections_per_section}")
        flags, maps = np.zeros(g.nr_sections, np.uint8), np.zeros(g.nr_sections, np.uint64)
        for section in machine.sections.numbers().tolist():
            flags[section] = machine.sections.flags(section)
            maps[section] = np.packbits(machine.sections.bits(section), bitorder="little").view(np.uint64)[0]
        blocks = np.zeros(g.max_pfns // g.pages_per_block, np.uint8)
        for block, online in machine.blocks.items():
            blocks[block] = BLOCK_ONLINE if online else BLOCK_OFFLINE
        mapped = sorted(
            (p.ranges[0], p.data_spans()[0][0], p.id) for p in machine.pagemaps.by_id.values() if not p.gone
        )
        if any(len(p.ranges) > 1 for p in machine.pagemaps.by_id.values()) or len(mapped) >= MAX_PAGEMAPS:
            raise ValueError(f"the peers hold pagemaps of one range, fewer than {MAX_PAGEMAPS}")
        pagemaps = np.zeros((4, MAX_PAGEMAPS), np.uint64)
        for at, ((start, end), data, number) in enumerate(mapped):
            pagemaps[:, at] = start, end, data, number
        return cls(g, flags, maps, blocks, *pagemaps, _pages(setup, g), np.array([len(mapped), 0, 0], np.int64))


def _pages(setup: Batch, geometry: Geometry) -> U8:
    """Return a byte for each pfn up to the last section that a row describes."""
    rows = np.flatnonzero(setup.column("kind") == EventKind.PAGE_STATE)
    columns = [setup.column(name)[rows].tolist() for name in ("pfn", "nr_pages", "page_kind", "page_flags")]
    if not rows.size:
        return np.zeros(0, np.uint8)
    pages = np.zeros(min(geometry.max_pfns, _PAGES_HELD), np.uint8)
    for start, count, kind, flags in zip(*columns, strict=True):
        user = PAGE_ANON if flags & PageFlag.ANON else PAGE_FILE
        byte = {PageKind.BUDDY: PAGE_BUDDY, PageKind.KERNEL: PAGE_KERNEL, PageKind.LRU: user}[PageKind(kind)]
        if start + count > pages.size:
            raise ValueError(f"the peers hold pages below {pages.size:#x}, not {start + count:#x}")
        pages[start : start + count] = byte
    return pages


def walk(memory: Memory, pfns: U64) -> U8:
    """Return the deciding check of pfn_to_online_page (number within the walk's checks) of each pfn: plain numpy."""
    g = memory.geometry
    section = pfns >> np.uint64(g.section_shift)
    beyond = section >= np.uint64(g.nr_sections)
    if beyond.any():
        section = np.where(beyond, np.uint64(0), section)
    flags = memory.flags[section.view(np.int64)]
    bit = pfns >> np.uint64(g.subsection_shift) & np.uint64(63)
    populated = memory.map[section.view(np.int64)] >> bit & np.uint64(1) != 0
    tainted = flags & np.uint8(SectionFlags.TAINT_ZONE_DEVICE) != 0
    slow = np.flatnonzero(tainted)
    device = np.zeros(pfns.size, np.bool_)
    device[slow] = _mapped(memory, pfns[slow])
    checks = np.where(tainted, np.where(device, np.uint8(5), np.uint8(6)), np.uint8(4))
    checks[~populated] = 3
    checks[flags & np.uint8(SectionFlags.ONLINE) == 0] = 2
    checks[flags & np.uint8(SectionFlags.PRESENT) == 0] = 1
    checks[beyond] = 0
    return checks


def _mapped(memory: Memory, pfns: U64) -> NDArray[np.bool_]:
    count = int(memory.scalars[0])
    if not count:
        return np.zeros(pfns.size, np.bool_)
    at = np.searchsorted(memory.pagemap_start[:count], pfns, "right").astype(np.int64) - 1
    return np.asarray((at >= 0) & (pfns < memory.pagemap_end[np.maximum(at, 0)]))


@dataclass(frozen=True)
class StateRanges:
    """Pfn ranges of one verdict of the walk, for joins.

    Attributes:
        start: first pfn, ascending from 0, uint64.
        end: pfn after the last; 2**62 for the last range.
        check: number of the deciding check, uint8.
    """

    start: U64
    end: U64
    check: U8


def state_ranges(memory: Memory) -> StateRanges:
    """Return the ranges: cut where a map, a flag or a pagemap may change, then joined where the verdict stays the same."""
    g = memory.geometry
    sections = np.arange(g.nr_sections, dtype=np.uint64) << np.uint64(g.section_shift)
    ragged = sections[(memory.map != 0) & (memory.map != _ALL)]
    inside = ragged[:, None] + (np.arange(64, dtype=np.uint64) << np.uint64(g.subsection_shift))
    count = int(memory.scalars[0])
    pagemaps = np.concatenate([memory.pagemap_start[:count], memory.pagemap_end[:count]])
    cuts = np.unique(np.concatenate([sections, inside.ravel(), pagemaps, np.array([g.max_pfns], np.uint64)]))
    check = walk(memory, cuts)
    first = np.append(True, check[1:] != check[:-1])
    start = cuts[first]
    return StateRanges(start, np.append(start[1:], np.uint64(_OPEN_END)), check[first])
