"""Lookups that are not a matter of a pfn's state code: pagemap metadata, the resource tree, section dumps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from replay.engine.runs import RunCounter, Runs
from replay.engine.transitions import Cell
from replay.kernel.calls import Kernel
from replay.kernel.resource_queries import (
    PGMAP_PFN_VALID,
    MetadataFacts,
    region_intersects,
    walk_system_ram_range,
)
from replay.machine.machine import Machine
from replay.trace.schema import EventKind, SectionFlags

__all__ = ("dump_matches", "metadata_checks", "metadata_counts", "resource_query")


def metadata_counts(machine: Machine, kernel: Kernel, pgmap: int, runs: Runs) -> list[tuple[int, int]]:
    """Return (check index, pfns) for pgmap_pfn_valid of one run: which checks decided how many of its pfns.

    Args:
        machine: holds the pagemap; one that was never heard of has no ranges.
        kernel: whose rules apply.
        pgmap: pagemap id.
        runs: a single run.
    """
    borders, checks = metadata_checks(machine, kernel, pgmap)
    counter = RunCounter(borders, checks)
    counts = counter.totals(counter.place(runs))
    return [(check, int(counts[check])) for check in np.flatnonzero(counts).tolist()]


def metadata_checks(machine: Machine, kernel: Kernel, pgmap: int) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Return pgmap_pfn_valid of a pagemap over all pfns: where the deciding check changes, from 0 on, and the checks.

    Args:
        machine: holds the pagemap; one that was never heard of has no ranges.
        kernel: whose rules apply.
        pgmap: pagemap id.
    """
    found = machine.pagemaps.by_id.get(pgmap)
    edges: dict[int, tuple[bool, bool]] = {0: (False, False)}
    for (start, end), (data, _) in zip(found.ranges, found.data_spans(), strict=True) if found else ():
        edges.setdefault(end, (False, False))
        edges[start] = (True, start >= data)
        if start < data < end:
            edges[data] = (True, True)
    borders = sorted(edges)
    inside = np.array([edges[p][0] for p in borders])
    data_here = np.array([edges[p][1] for p in borders])
    decided = PGMAP_PFN_VALID.tabulate(MetadataFacts(inside, data_here), len(borders), kernel.features)
    return np.array(borders, np.uint64), decided.check


def resource_query(machine: Machine, kernel: Kernel, kind: EventKind, cell: Cell) -> tuple[int, int, int]:
    """Return (check index, return code, pages visited) of a question about the resource tree."""
    if kind is EventKind.REGION_INTERSECTS:
        check, ret = region_intersects(machine, kernel, cell("start") or 0, cell("size") or 0, cell("flags") or 0)
        return check, ret, 0
    start = cell("pfn") or 0
    return walk_system_ram_range(machine, kernel, start, start + (cell("nr_pages") or 0))


def dump_matches(machine: Machine, kernel: Kernel, kind: EventKind, cell: Cell) -> bool:
    """Return whether the section table is what a dump row says.

    Args:
        machine: whose sections.
        kernel: flags that it does not have are not expected.
        kind: SECTIONS_DUMP (number of present sections) or SECTION_STATE (flags and 64 subsections).
        cell: gives a column of the row.
    """
    g, sections = machine.geometry, machine.sections
    if kind is EventKind.SECTIONS_DUMP:
        return len(sections) == (cell("nr_pages") or 0)
    pfn = cell("pfn") or 0
    section = pfn >> g.section_shift
    known = SectionFlags.PRESENT | SectionFlags.HAS_MEM_MAP | SectionFlags.ONLINE
    if kernel.has("section-early"):
        known |= SectionFlags.EARLY
    if kernel.has("taint-zone-device"):
        known |= SectionFlags.TAINT_ZONE_DEVICE
    first = (pfn - (section << g.section_shift)) >> g.subsection_shift
    bits = np.packbits(sections.bits(section)[first : first + 64], bitorder="little")
    found = int.from_bytes(bits.tobytes(), "little")
    return sections.flags(section) & known == cell("recorded_flags") and found == cell("recorded_bits")
