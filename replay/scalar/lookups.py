"""What the kernel answers about a pfn: an answer, and the id of the check that decided (walk.md, sections 1 to 3)."""

from __future__ import annotations

from replay.scalar.ranges import round_up
from replay.scalar.state import EARLY, ONLINE, PRESENT, TAINT, VALID, State

__all__ = (
    "SLOW_CHECKS",
    "get_dev_pagemap",
    "kpageflags",
    "pfn_to_online_page",
    "pfn_valid",
    "pgmap_pfn_valid",
    "truth",
)

Answer = tuple[int, str]

SLOW_CHECKS = ("pagemap", "tainted-page")  # pfn_to_online_page decided by these has called get_dev_pagemap

U64 = 1 << 64


def high_bits_lost(state: State, pfn: int) -> bool:
    """Whether a pfn does not survive the shift to a physical address and back."""
    return pfn << state.geometry.page_shift >= U64


def pfn_valid(state: State, pfn: int) -> Answer:
    """Whether there is a struct page for a pfn."""
    if state.config["HAVE_ARCH_PFN_VALID"] and state.geometry.arch == "aarch64":
        return arm64_pfn_valid(state, pfn)
    if state.has("pfn-valid-high-bits") and high_bits_lost(state, pfn):
        return 0, "roundtrip"
    section = state.section_of(pfn)
    if section >= state.geometry.nr_sections:
        return 0, "section-number"
    flags = state.section_flags(section)
    if not flags & VALID:
        return 0, "section-valid"
    if state.has("section-early") and flags & EARLY:
        return 1, "early"
    if state.has("subsection-hotplug") and not state.subsection_is_valid(pfn):
        return 0, "subsection"
    return 1, "valid"


def arm64_pfn_valid(state: State, pfn: int) -> Answer:
    """arm64's own pfn_valid (walk.md 2.3)."""
    if state.has("arm64-pfn-valid-roundtrip") and high_bits_lost(state, pfn):
        return 0, "arm64-roundtrip"
    section = state.section_of(pfn)
    flags = state.section_flags(section)
    if state.has("arm64-pfn-valid-section"):
        if section >= state.geometry.nr_sections:
            return 0, "arm64-section-number"
        if not flags & VALID:
            return 0, "arm64-section-valid"
    if state.has("arm64-pfn-valid-subsection") and flags & VALID and not flags & EARLY:
        if state.subsection_is_valid(pfn):
            return 1, "arm64-hotplug-subsection"
        return 0, "arm64-hotplug-hole"
    address = (pfn << state.geometry.page_shift) % U64  # without the first check, lost high bits alias
    if state.in_memblock(address >> state.geometry.page_shift):
        return 1, "arm64-memblock"
    return 0, "arm64-not-memblock"


def pfn_to_online_page(state: State, pfn: int) -> Answer:  # noqa: PLR0911 - one check after the other
    """Whether the pfn belongs to an online section (walk.md 1.1)."""
    if not state.config["MEMORY_HOTPLUG"]:
        valid, _ = pfn_valid(state, pfn)
        return valid, "no-hotplug-valid" if valid else "no-hotplug-invalid"
    section = state.section_of(pfn)
    if section >= state.geometry.nr_sections:
        return 0, "section-number"
    flags = state.section_flags(section)
    if not flags & PRESENT:
        return 0, "section-present"
    if not flags & ONLINE:
        return 0, "section-online"
    if state.has("pfn-valid-within") and state.config["HOLES_IN_ZONE"] and not pfn_valid(state, pfn)[0]:
        return 0, "pfn-valid-within"
    if state.has("online-page-subsection-validity"):
        if state.config["HAVE_ARCH_PFN_VALID"] and not pfn_valid(state, pfn)[0]:
            return 0, "arch-pfn-valid"
        if not state.subsection_is_valid(pfn):
            return 0, "subsection"
    if not state.has("taint-zone-device"):
        return 1, "page"
    if not flags & TAINT:
        return 1, "untainted"
    pgmap, _ = get_dev_pagemap(state, pfn)
    if pgmap:
        return 0, "pagemap"
    return 1, "tainted-page"


def get_dev_pagemap(state: State, pfn: int) -> Answer:
    """The id of the live pagemap of a pfn, 0 where there is none (walk.md 3.2)."""
    pgmap = state.pagemap_at(pfn)
    if pgmap is None:
        return 0, "not-indexed"
    if state.pagemaps[pgmap].state != "mapped":
        return 0, "dying"
    return pgmap, "live"


def pgmap_pfn_valid(state: State, pgmap: int, pfn: int) -> Answer:
    """Whether the pfn is a data page of a pagemap, whatever its state (walk.md 3.3)."""
    if not state.has("pgmap-pfn-valid"):
        return 0, "absent"
    pagemap = state.pagemaps.get(pgmap)
    for number, (start, end) in enumerate(pagemap.ranges if pagemap else ()):
        if start <= pfn < end:
            first = start
            if number == 0 and pagemap and pagemap.altmap:
                _, reserve, free = pagemap.altmap
                first += reserve + free
            return (1, "data") if pfn >= first else (0, "metadata")
    return 0, "outside"


def kpageflags(state: State, pfn: int) -> Answer:
    """Whether /proc/kpageflags shows the flags of a page for a pfn."""
    limit = state.max_pfn
    if state.has("kpageflags-section-limit"):
        limit = round_up(limit, state.geometry.pages_per_section)
    if pfn >= limit:
        return 0, "end-of-file"
    online_only = state.has("kpageflags-online-only")
    found, _ = pfn_to_online_page(state, pfn) if online_only else pfn_valid(state, pfn)
    if found:
        return 1, "flags"
    if not online_only:
        return 0, "not-valid"
    return 0, "zero" if state.has("kpageflags-zero-no-page") else "not-online"


def truth(state: State, pfn: int) -> bool:
    """Whether the pfn truly is System RAM in an online section."""
    return bool(state.section_flags(state.section_of(pfn)) & ONLINE) and state.resources.ram_covers_page(pfn)
