"""How a namespace is laid out (walk.md 3.4): the pagemap, the altmap, and where the data begin."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from replay.scalar.ranges import Range, round_up
from replay.scalar.resources import MIXED, SYSTEM_RAM
from replay.scalar.state import Altmap, State
from replay.trace.schema import NamespaceFlags

__all__ = ("Layout", "lay_out")

INFO = 8 << 10
LABELS = 128 << 10
STRUCT_PAGE = 64
UNIT = 2 << 20


@dataclass(frozen=True)
class Layout:
    """What a namespace maps: its first byte behind the padding, pfns of the pagemap, the altmap, bytes of the data."""

    start: int
    pfns: Range
    altmap: Altmap | None
    data: Range


def lay_out(state: State, span: Range, flags: int, align: int) -> Layout | tuple[int, str]:
    """The layout of a new namespace in bytes ``[start, end)``, or the code and check that refuse it."""
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

    start, end = span[0] + pad, span[1] - trunc
    refused = validate(state, (start, end), size, align, offset)
    if refused is not None:
        return refused
    if state.has("namespace-needs-data") and nothing_left:
        return -errno.EOPNOTSUPP, "nd_pfn_validate/data"

    first, floor = start // page, UNIT if subsections else 1 << state.geometry.section_size_bits
    base = start // floor * floor // page
    info = round_up(INFO, page) // page
    altmap = None if ram else (base, info + first - base, offset // page - info)
    return Layout(start, (first, end // page), altmap, (start + offset, end))


def validate(state: State, span: Range, size: int, align: int, offset: int) -> tuple[int, str] | None:
    """What stands against an info block: offsets that do not fit."""
    page, one_code = state.resources.page, state.has("namespace-not-supported")

    def no(name: str, number: int) -> tuple[int, str]:
        if one_code:
            return -errno.EOPNOTSUPP, f"nd_pfn_validate/{name}-unsupported"
        return -number, f"nd_pfn_validate/{name}"

    if align > size:
        return no("capacity", errno.EINVAL)
    if offset >= size:
        return no("beyond", errno.EBUSY)
    if (span[0] + offset) % align or offset % page:
        return no("offset", errno.ENXIO)
    if state.has("namespace-start-aligned") and any(edge % UNIT for edge in span):
        return -errno.EOPNOTSUPP, "nd_pfn_validate/edges"
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
