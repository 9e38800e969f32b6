"""The series "mm: Fix pfn_to_online_page() with respect to ZONE_DEVICE" (v5.12), patch by patch, on v5.11.

v5.12 brought four other changes that are known; they are added as features, so that what is left is the series. Each name
is the kernel after that patch; ``series`` is the kernel after all of them, which decides as v5.12 does:

    replay diff examples/candidates/zone_device_series.py:series v5.12
"""

from replay.candidate import ActionResult, ActionType, Candidate, Happening, no, poison_answer, yes

# 1/5: pfn_to_online_page moves out of line. No verdict changes.
out_of_line = Candidate(
    "v5.11+hotplug-prevalidates-range+early-kill-others+arm64-pfn-valid-subsection+arm64-small-sections"
)

# 2/5: consider subsection validity.
subsections = Candidate(out_of_line)
subsections.remove("pfn_to_online_page", "pfn-valid-within")


@subsections.insert("pfn_to_online_page", before="page", answer=no("invalid"))
def arch_pfn_valid(s):
    """the architecture's own pfn_valid says no"""
    return ~s.pfn_valid & s.config.arch_pfn_valid


@subsections.insert("pfn_to_online_page", before="page", answer=no("empty-subsection"))
def subsection(s):
    """the subsection is not populated"""
    return ~s.subsection


# 3/5: section collisions: online sections that a device shares are tainted, and the pagemap is looked up there.
collisions = Candidate(subsections)
tainted = collisions.mark("tainted", grain="section", same_as="taint")


@collisions.on("memremap_pages", "zone")
def taint(now: Happening) -> None:
    """Taint the sections that the range shares at its edges."""
    for edge in (now.start, now.end):
        if edge % now.geometry.pages_per_section:
            now.set(tainted, edge, edge + 1)


@collisions.on("boot", "boot")
def node_seen_as_taint(now: Happening) -> None:
    """The node id of a boot section overlaps the new flag bit: node bit 1 reads as taint (until v5.15)."""
    if now.node & 2:
        now.set(tainted, now.start, now.end)


@collisions.insert("pfn_to_online_page", before="page", answer=yes("page"))
def untainted(s):
    """no ZONE_DEVICE in this section (fast exit)"""
    return ~tainted(s)


@collisions.insert("pfn_to_online_page", before="page", answer=no("device-page"), slow=True)
def pagemap(s):
    """the section is tainted and a live pagemap covers the pfn"""
    return s.pagemap_live


@collisions.insert("pfn_to_online_page", before="page", answer=yes("page"), slow=True)
def tainted_page(s):
    """the section is tainted, but no live pagemap covers the pfn"""
    return ~s.pagemap_live


# 4/5: soft_offline_page drops the caller's reference when the pfn is not online: v5.11 has it already.
reference = Candidate(collisions)

# 5/5: memory_failure refuses the metadata of a namespace.
series = Candidate(reference)
series.remove("pgmap_pfn_valid", "absent")


@series.insert(
    "memory_failure",
    before="dax-entry-lock",
    answer=poison_answer(-6, ActionType.DAX, ActionResult.FAILED, sets_poison=False),
    page=False,
)
def pagemap_metadata(s):
    """the pfn is metadata of its pagemap"""
    return s.dv & s.meta
