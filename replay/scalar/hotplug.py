"""Adding, removing, onlining and offlining memory (model.md, in its order)."""

from __future__ import annotations

import errno

from replay.machine.geometry import zone_bounds
from replay.scalar.calls import Call
from replay.scalar.ranges import Range, overlaps
from replay.scalar.resources import BUSY_SYSTEM_RAM
from replay.scalar.state import ONLINE, PRESENT, VALID, State
from replay.trace.outcomes import RET_BUG, RET_UNDEFINED
from replay.trace.schema import AddFlags

__all__ = (
    "begin_add",
    "begin_block_offline",
    "begin_block_online",
    "begin_offline",
    "begin_online",
    "begin_remove",
    "insert_resource",
    "remove_resource",
)

STRUCT_PAGE = 64
PMD = 2 << 20


_EHWPOISON = 133


def blocks_aligned(state: State, pfns: Range) -> bool:
    """Whether a range is made of whole memory blocks, at least one."""
    block = state.geometry.pages_per_block
    return pfns[1] > pfns[0] and pfns[0] % block == 0 and (pfns[1] - pfns[0]) % block == 0


def memmap_on_memory_supported(state: State, pfns: Range) -> bool:
    """Whether a block can hold its own memmap."""
    g = state.geometry
    page_size = 1 << g.page_shift
    vmemmap_pages = g.pages_per_block * STRUCT_PAGE // page_size
    return (
        state.config["memmap_on_memory"]
        and pfns[1] - pfns[0] == g.pages_per_block
        and vmemmap_pages * page_size % PMD == 0
        and (g.pages_per_block - vmemmap_pages) % g.pageblock_pages == 0
    )


def name_refused(state: State, flags: int, name: str) -> bool:
    """Whether a driver's name for its memory is not of the form asked for."""
    if not (flags & AddFlags.DRIVER_MANAGED and state.has("driver-managed-memory")):
        return False
    return not (name.startswith("System RAM (") and name.endswith(")"))


def memmap_refused(state: State, pfns: Range, flags: int) -> bool:
    """Whether a memmap in the memory itself is asked for, cannot be had, and is insisted on."""
    strict = state.has("memmap-on-memory") and not state.has("memmap-on-memory-lenient")
    return bool(flags & AddFlags.MEMMAP_ON_MEMORY) and strict and not memmap_on_memory_supported(state, pfns)


def begin_add(state: State, pfns: Range, *, flags: int, name: str, env: int, node: int = 0) -> Call:
    """add_memory."""
    if name_refused(state, flags, name):
        return Call(-errno.EINVAL, "name")
    if state.has("hotplug-prevalidates-range") and state.beyond_physmem(pfns):
        return Call(-errno.E2BIG, "range")
    page = state.resources.page
    descend = state.has("ram-child-resources")
    if state.resources.place_for((pfns[0] * page, pfns[1] * page), descend=descend) is None:
        return Call(-errno.EEXIST, "resource-conflict")
    if not blocks_aligned(state, pfns):
        return Call(-errno.EINVAL, "alignment")
    if memmap_refused(state, pfns, flags):
        return Call(-errno.EINVAL, "memmap-on-memory")
    if state.beyond_physmem(pfns):
        return Call(-errno.E2BIG if state.has("add-pages-bounds-check") else RET_UNDEFINED, "bounds")
    if state.runs_into_populated(pfns):
        return Call(-errno.EEXIST, "populated")
    if env:
        return Call(env, "environment")
    if state.has("memory-block-exists") and state.known_blocks(pfns):
        state.populate(pfns)
        state.depopulate(pfns)
        return Call(-errno.EEXIST, "block-exists")

    state.resources.insert((pfns[0] * page, pfns[1] * page), name, BUSY_SYSTEM_RAM, descend=descend)
    state.memblock.append(pfns)

    def finish() -> None:
        state.max_pfn = max(state.max_pfn, pfns[1])
        state.poison.memory.put(pfns, node)

    ranges, grain = [state.padded(pfns)], state.grain()
    return Call(
        0, "added", ranges, grain, change=state.populate, changed=lambda: state.create_blocks(pfns), finish=finish
    )


def begin_remove(state: State, pfns: Range) -> Call:
    """remove_memory."""
    if not blocks_aligned(state, pfns):
        return Call(RET_BUG, "alignment")
    if any(state.blocks[block] for block in state.known_blocks(pfns)):
        return Call(-errno.EBUSY if state.has("remove-refuses-online") else RET_BUG, "online")

    def finish() -> None:
        state.remove_memblock(pfns)
        state.remove_blocks(pfns)
        state.poison.remove_memory(pfns)
        page = state.resources.page
        state.resources.cut_ram((pfns[0] * page, pfns[1] * page))

    return Call(0, "removed", [state.padded(pfns)], state.grain(), change=state.depopulate, finish=finish)


def online_misaligned(state: State, pfns: Range) -> bool:
    """The alignment check that online_pages and offline_pages share."""
    g = state.geometry
    if not state.has("online-section-aligned"):
        return False
    if pfns[0] == pfns[1]:
        return True
    if state.has("online-pageblock-start"):
        return pfns[0] % g.pageblock_pages != 0 or pfns[1] % g.pages_per_section != 0
    return pfns[0] % g.pages_per_section != 0 or (pfns[1] - pfns[0]) % g.pages_per_section != 0


def set_blocks(state: State, pfns: Range, online: bool) -> None:
    """The blocks of a range go online or offline."""
    for block in state.blocks_ending_in(pfns):
        state.blocks[block] = online


def begin_online(state: State, pfns: Range, *, env: int) -> Call:
    """online_pages."""
    if online_misaligned(state, pfns):
        return Call(-errno.EINVAL, "alignment")
    if state.has("online-walks-ram"):
        ret, pages = state.resources.walk_system_ram_range(pfns)
        if not pages:
            return Call(ret, "no-ram")
    if env:
        return Call(env, "environment")
    return Call(
        0,
        "onlined",
        [pfns],
        state.geometry.pages_per_section,
        change=state.set_online,
        finish=lambda: set_blocks(state, pfns, online=True),
    )


def begin_offline(state: State, pfns: Range, *, env: int) -> Call:
    """offline_pages."""
    nr_pages = pfns[1] - pfns[0]
    pageblock = state.geometry.pageblock_pages
    if state.has("offline-pageblock-check") and (pfns[0] % pageblock or nr_pages % pageblock):
        return Call(-errno.EINVAL, "pageblock")
    if online_misaligned(state, pfns):
        return Call(-errno.EINVAL, "alignment")
    if state.has("offline-refuses-holes") and state.resources.walk_system_ram_range(pfns)[1] != nr_pages:
        return Call(-errno.EINVAL, "holes")
    several_zones = any(pfns[0] < border < pfns[1] for border in zone_bounds(state.geometry))
    if several_zones or any(overlaps(entry, pfns) for entry, _ in state.index):
        return Call(-errno.EINVAL, "zones")
    if state.has("offline-zone-span-check") and pfns[1] > state.resources.end_of_ram():
        return Call(-errno.EINVAL, "zone-span")
    if env:
        return Call(env, "environment")
    return Call(
        0,
        "offlined",
        [pfns],
        state.geometry.pages_per_section,
        change=state.set_offline,
        finish=lambda: set_blocks(state, pfns, online=False),
    )


def block_state_is(state: State, pfns: Range, online: bool) -> bool:
    """Whether the block of a range has a device in this state."""
    return state.blocks.get(pfns[0] // state.geometry.pages_per_block) is online


def begin_block_online(state: State, pfns: Range, *, env: int) -> Call:
    """memory_block_online."""
    if not block_state_is(state, pfns, online=False):
        return Call(-errno.EINVAL, "state")
    if state.has("block-online-section-checks"):
        for section in state.sections_of(pfns):
            if state.section_flags(section) & (PRESENT | VALID | ONLINE) != PRESENT | VALID:
                return Call(-errno.EBUSY, "sections")
    if state.has("online-refuses-poison") and state.poison.pages.poisoned_in(pfns):
        return Call(-_EHWPOISON, "poisoned")
    return begin_online(state, pfns, env=env)


def begin_block_offline(state: State, pfns: Range, *, env: int) -> Call:
    """memory_block_offline."""
    if not block_state_is(state, pfns, online=True):
        return Call(-errno.EINVAL, "state")
    if state.has("block-online-section-checks"):
        for section in state.sections_of(pfns):
            if not state.section_flags(section) & PRESENT:
                return Call(-errno.EINVAL, "sections")
    return begin_offline(state, pfns, env=env)


def insert_resource(state: State, wanted: Range, name: str, flags: int) -> tuple[int, str]:
    """A driver reserves bytes, or the firmware tells of them."""
    if state.resources.insert(wanted, name, flags):
        return 0, "inserted"
    return -errno.EBUSY, "resource-conflict"


def remove_resource(state: State, wanted: Range) -> tuple[int, str]:
    """The reservation is given back."""
    return (0, "removed") if state.resources.remove(wanted) else (-errno.EINVAL, "unknown")
