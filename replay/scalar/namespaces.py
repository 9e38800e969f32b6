"""How a namespace is laid out (walk.md 3.4): the pagemap, the altmap, and where the data begin."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from replay.scalar.devices import DeviceRequest
from replay.scalar.ranges import Range, round_up
from replay.scalar.resources import MIXED, SYSTEM_RAM
from replay.scalar.state import Altmap, State
from replay.trace.schema import NamespaceFlags

__all__ = ("INFO", "Block", "Layout", "block_told", "lay_out", "new_block", "refusal")

INFO = 8 << 10
LABELS = 128 << 10
STRUCT_PAGE = 64
UNIT = 2 << 20


@dataclass(frozen=True)
class Block:
    """An info block: bytes from the padded start to the data, padding, alignment, and what the namespace is."""

    offset: int
    pad: int
    trunc: int
    align: int
    ram: bool
    devdax: bool
    page: int | None = None


@dataclass(frozen=True)
class Layout:
    """What a namespace maps: its first byte behind the padding, pfns of the pagemap, the altmap, bytes of the data."""

    start: int
    pfns: Range
    altmap: Altmap | None
    data: Range


def new_block(state: State, span: Range, flags: int, align: int) -> Block | tuple[int, str]:
    """The info block of a new namespace in bytes ``[start, end)``, or the code and check that refuse it."""
    ram, page = bool(flags & NamespaceFlags.MAP_MEM), state.resources.page
    subsections = state.has("namespace-subsection-layout")
    pad, trunc = (0, span[1] % max(align, UNIT)) if subsections else padding(state, span, align)
    size = span[1] - span[0]
    offset = data_offset(state, span, align, pad, trunc, flags)
    nothing_left = offset >= size - pad - trunc
    if state.has("namespace-start-aligned") and span[0] % UNIT:
        return -errno.EINVAL, "nd_pfn_init/start"
    if not subsections and nothing_left:
        return -errno.ENXIO, "nd_pfn_init/padded"
    if offset >= size:
        return -errno.ENXIO, "nd_pfn_init/metadata"
    if state.has("namespace-needs-data") and nothing_left:
        return -errno.ENXIO, "nd_pfn_init/data"
    devdax = bool(flags & NamespaceFlags.DEVDAX)
    return Block(offset, pad, trunc, align, ram, devdax, page if state.has("namespace-page-size") else None)


def block_told(asked: DeviceRequest, page: int) -> Block:
    """The info block that a row tells of."""
    first = asked.bytes[0] if asked.first_pfn is None else asked.first_pfn * page
    offset = asked.pfns[0] * page - first
    largest = max((1 << n for n in range(64) if 1 << n <= offset), default=1)  # power of two up to the offset
    return Block(
        offset,
        first - asked.bytes[0],
        asked.bytes[1] - asked.pfns[1] * page,
        asked.value or largest,
        bool(asked.flags & NamespaceFlags.MAP_MEM),
        bool(asked.flags & NamespaceFlags.DEVDAX),
        1 << asked.page_shift if asked.page_shift else None,
    )


def lay_out(state: State, span: Range, block: Block) -> Layout:
    """What a namespace in bytes ``[start, end)`` maps by its info block."""
    page = state.resources.page
    start, end = span[0] + block.pad, span[1] - block.trunc
    unit = UNIT if state.has("namespace-subsection-layout") else 1 << state.geometry.section_size_bits
    first, base = start // page, start // unit * unit // page
    info = round_up(INFO, page) // page
    altmap = None if block.ram else (base, info + first - base, block.offset // page - info)
    return Layout(start, (first, end // page), altmap, (start + block.offset, end))


def refusal(state: State, span: Range, block: Block, align: int, *, ram: bool) -> tuple[int, str] | None:
    """What stands against an info block in a namespace that is to have this alignment and place of the memmap."""
    page, one_code = state.resources.page, state.has("namespace-not-supported")
    start, end, size = span[0] + block.pad, span[1] - block.trunc, span[1] - span[0]

    def no(name: str, number: int) -> tuple[int, str]:
        if one_code:
            return -errno.EOPNOTSUPP, f"nd_pfn_validate/{name}-unsupported"
        return -number, f"nd_pfn_validate/{name}"

    if state.has("namespace-page-size") and not block.ram and block.page is not None and block.page > page:
        return -errno.EOPNOTSUPP, "nd_pfn_validate/page-size"
    entries = page // 8  # of a page table
    if (
        state.has("namespace-alignments")
        and block.devdax
        and block.align not in (page, page * entries, page * entries**2)
    ):
        return -errno.EOPNOTSUPP, "nd_pfn_validate/alignment"
    if (block.align, block.ram) != (align, ram):
        return no("settings", errno.EINVAL)
    if block.align > size:
        return no("capacity", errno.EINVAL)
    if block.offset >= size:
        return no("beyond", errno.EBUSY)
    if (start + block.offset) % block.align or block.offset % page:
        return no("offset", errno.ENXIO)
    if state.has("namespace-start-aligned") and (start % UNIT or end % UNIT):
        return -errno.EOPNOTSUPP, "nd_pfn_validate/edges"
    if state.has("namespace-needs-data") and block.offset >= size - block.pad - block.trunc:
        return -errno.EOPNOTSUPP, "nd_pfn_validate/data"
    return None


def padding(state: State, span: Range, align: int) -> tuple[int, int]:
    """Bytes left out in front and behind, so that no section is shared with System RAM (before subsections)."""
    section = 1 << state.geometry.section_size_bits

    def shared(start: int, end: int) -> bool:
        return state.resources.region_intersects((start, end), SYSTEM_RAM) == MIXED

    front = round_up(span[0], section) - span[0] if shared(span[0] // section * section, span[1]) else 0
    if shared(span[0], round_up(span[1], section)) or span[1] % align:
        return front, max(span[1] % section, span[1] % align)
    return front, 0


def data_offset(state: State, span: Range, align: int, pad: int, trunc: int, flags: int) -> int:
    """Bytes from the padded start to the data: info block, memmap, labels, rounded up."""
    ram, devdax = flags & NamespaceFlags.MAP_MEM, flags & NamespaceFlags.DEVDAX
    page, start, size = state.resources.page, span[0] + pad, span[1] - span[0]
    if state.has("namespace-subsection-layout"):
        pages, align = (size - INFO) // page, max(align, UNIT)
    else:
        pages = round_up((size - pad - trunc - INFO) // page, state.geometry.pages_per_section)
        align = align if ram else max(align, UNIT)
    used = INFO + (0 if ram else pages * STRUCT_PAGE)
    used += LABELS if devdax and state.has("namespace-label-reserve") else 0
    return round_up(start + used, align) - start
