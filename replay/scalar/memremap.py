"""Mapping and unmapping device memory (model.md, memremap_pages and memunmap_pages)."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from replay.scalar.calls import Call
from replay.scalar.lookups import get_dev_pagemap
from replay.scalar.ranges import Range, overlaps, round_out
from replay.scalar.resources import DISJOINT, MIXED, SYSTEM_RAM
from replay.scalar.state import Altmap, Pagemap, State
from replay.trace.outcomes import RET_UNDEFINED

__all__ = ("begin_memremap", "begin_memunmap")


def begin_memremap(
    state: State, pgmap: int, ranges: Sequence[Range], altmap: Altmap | None, *, env: int, pgmap_type: int = 0
) -> Call:
    """memremap_pages: the checks and the index store; an accepted call has its section effects still to come."""
    pagemap = state.pagemaps[pgmap] = Pagemap(tuple(ranges), altmap, type=pgmap_type)
    if len(ranges) > 1 and not state.has("pgmap-ranges"):
        return Call(RET_UNDEFINED, "ranges")
    if len(ranges) > 1 and altmap:
        return Call(-errno.EINVAL, "altmap-ranges")

    # Each range is mapped before the next one is checked. When all are, what that did to the sections is taken back,
    # because it belongs to the later rows of the call.
    before = dict(state.flags), set(state.subsections), state.max_pfn
    index_before = list(state.index)
    pagemap.state = "mapped"
    for number, pfns in enumerate(ranges):
        ret, check = check_range(state, pgmap, pfns, altmap, env)
        if check != "mapped":
            for earlier in ranges[:number]:
                unmap_range(state, earlier)
            pagemap.state = "new"
            if ret == RET_UNDEFINED:  # nobody knows: no effects
                state.flags, state.subsections, state.max_pfn = before
                state.index = index_before
            return Call(ret, check)
        map_range(state, pfns)
    state.flags, state.subsections, state.max_pfn = before

    def finish() -> None:
        for pfns in ranges:
            raise_max_pfn(state, pfns)

    whole = [state.padded(pfns) for pfns in ranges]
    return Call(0, "mapped", whole, state.grain(), change=state.populate, associate=state.taint, finish=finish)


def map_range(state: State, pfns: Range) -> None:
    """What a mapped range does to the sections."""
    state.populate(pfns)
    state.taint(state.padded(pfns))
    raise_max_pfn(state, pfns)


def unmap_range(state: State, pfns: Range) -> None:
    """A range goes away, its index entries too, whoever's they are."""
    state.depopulate(pfns)
    state.erase_index(pfns)


def raise_max_pfn(state: State, pfns: Range) -> None:
    """x86_64 counts device memory into max_pfn, until it no longer does."""
    if state.geometry.arch == "x86_64" and not state.has("device-keeps-max-pfn"):
        state.max_pfn = max(state.max_pfn, state.padded(pfns)[1])


def check_range(state: State, pgmap: int, pfns: Range, altmap: Altmap | None, env: int) -> tuple[int, str]:
    """The checks of one range; it is in the index afterwards if they all pass."""
    padded = state.padded(pfns)
    page = state.resources.page
    if get_dev_pagemap(state, padded[0])[0] or get_dev_pagemap(state, padded[1] - 1)[0]:
        return -errno.ENOMEM, "live-pagemap"
    ram = state.resources.region_intersects((padded[0] * page, padded[1] * page), SYSTEM_RAM)
    if ram != DISJOINT:
        if not state.has("memremap-refuses-ram") and ram != MIXED:
            return 0, "ram-only"
        return -errno.ENXIO, "system-ram"
    if not state.has("pgmap-xarray") and any(overlaps(entry, pfns) for entry, _ in state.index):
        return -errno.EEXIST, "index"
    state.store_index(pfns, pgmap)
    ret, check = check_indexed_range(state, padded, altmap, env)
    if ret:
        state.erase_index(pfns)
    return ret, check


def check_indexed_range(state: State, padded: Range, altmap: Altmap | None, env: int) -> tuple[int, str]:
    """The checks that are made after the index is stored."""
    if state.beyond_physmem(padded):
        if state.has("hotplug-prevalidates-range"):
            return -errno.EINVAL, "range"
        return (-errno.E2BIG if state.has("add-pages-bounds-check") else RET_UNDEFINED), "range"
    if altmap:
        base, reserve, free = altmap
        if base != padded[0] or reserve + free > padded[1] - padded[0]:
            return -errno.EINVAL, "altmap"
    if state.has("subsection-hotplug"):
        vmemmap = state.config["SPARSEMEM_VMEMMAP"]
        unit = state.geometry.pages_per_subsection if vmemmap else state.geometry.pages_per_section
        if round_out(padded, unit) != padded:
            return -errno.EINVAL, "alignment"
    if state.runs_into_populated(padded):
        return -errno.EEXIST, "populated"
    if env:
        return env, "environment"
    return 0, "mapped"


def begin_memunmap(state: State, pgmap: int) -> Call:
    """memunmap_pages: the reference is killed; the rest is still to come."""
    pagemap = state.pagemaps.get(pgmap)
    if pagemap is None or pagemap.state not in ("mapped", "dying"):
        return Call(0, "unknown")
    pagemap.state = "dying"

    def finish() -> None:
        for pfns in pagemap.ranges:
            state.erase_index(pfns)
        pagemap.state = "gone"

    whole = [state.padded(pfns) for pfns in pagemap.ranges]
    return Call(0, "unmapped", whole, state.grain(), change=state.depopulate, finish=finish)
