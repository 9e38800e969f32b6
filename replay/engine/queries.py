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

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]

__all__ = ("dump_matches", "metadata_counts", "metadata_facts", "metadata_met", "metadata_pieces", "resource_query")


def metadata_facts(machine: Machine, pgmap: int) -> tuple[U64, MetadataFacts]:
    """Return where pfns lie in a pagemap, as a piecewise constant function of the pfn: borders, and facts.

    Args:
        machine: holds the pagemap; one that was never heard of has no ranges.
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
    return np.array(borders, np.uint64), MetadataFacts(inside, data_here)


def metadata_pieces(machine: Machine, kernel: Kernel, pgmap: int) -> tuple[U64, U8]:
    """Return what pgmap_pfn_valid decides by, as a piecewise constant function of the pfn: borders, and check indices."""
    borders, facts = metadata_facts(machine, pgmap)
    function = kernel.function(PGMAP_PFN_VALID)
    return borders, function.tabulate(facts, borders.size, kernel.features).check


def metadata_met(machine: Machine, pgmap: int, runs: Runs) -> set[tuple[bool, bool]]:
    """Return which facts (inside, data) the pfns of a single run meet."""
    borders, facts = metadata_facts(machine, pgmap)
    _, segment, _ = RunCounter(borders, np.zeros(borders.size, np.uint8)).pairs(runs)
    return set(zip(facts.inside[segment].tolist(), facts.data[segment].tolist(), strict=True))


def metadata_counts(pieces: tuple[U64, U8], runs: Runs) -> list[tuple[int, int]]:
    """Return (check index, pfns) for pgmap_pfn_valid of a single run: which checks decided how many of its pfns."""
    counter = RunCounter(*pieces)
    counts = counter.totals(counter.place(runs))
    return [(check, int(counts[check])) for check in np.flatnonzero(counts).tolist()]


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
    flags = sections.flags(section)
    stand_ins = [n for n, mark in enumerate(kernel.rules.marks) if mark.same_as == "taint"]
    if stand_ins:  # a candidate keeps that flag itself
        known |= SectionFlags.TAINT_ZONE_DEVICE
        marks = int(machine.marks.at(np.array([pfn], np.uint64))[0])
        flags |= SectionFlags.TAINT_ZONE_DEVICE if any(marks >> n & 1 for n in stand_ins) else 0
    return flags & known == cell("recorded_flags") and found == cell("recorded_bits")
