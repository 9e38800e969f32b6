"""The section table against a dict of sections, subsection by subsection."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.machine.geometry import Geometry
from replay.machine.machine import Machine
from replay.machine.pagemaps import Altmap, Pagemap, Pagemaps
from replay.machine.resources import ResourceTree
from replay.machine.sections import Sections
from replay.trace.schema import SectionFlags

G = Geometry("ppc64", 16, 24, 51, 1 << 24)  # 8 subsections of 32 pages
PPS, PPSS, SUBS = G.pages_per_section, G.pages_per_subsection, G.subsections_per_section
SECTIONS = 4
BASIC = int(SectionFlags.PRESENT | SectionFlags.HAS_MEM_MAP)
FLAGS = (SectionFlags.ONLINE, SectionFlags.EARLY, SectionFlags.TAINT_ZONE_DEVICE)

PFNS = st.one_of(
    st.integers(0, SECTIONS * PPS), st.integers(0, SECTIONS * SUBS).map(lambda n: n * PPSS)
)  # anywhere, and on borders
RANGES = st.tuples(PFNS, PFNS).map(lambda r: (min(r), max(r)))
OPS = st.lists(
    st.tuples(st.sampled_from(("populate", "populate", "depopulate", "set", "clear")), RANGES, st.sampled_from(FLAGS)),
    max_size=12,
)

Model = dict[int, tuple[int, set[int]]]  # section -> flags, subsections set


def pieces(start: int, end: int) -> dict[int, set[int]]:
    """Subsections of each section that a range touches, pfn by pfn."""
    found: dict[int, set[int]] = {}
    for pfn in range(start, end):
        found.setdefault(pfn // PPS, set()).add(pfn % PPS // PPSS)
    return found


def act(model: Model, op: str, where: tuple[int, int], flag: SectionFlags, *, whole: bool) -> None:
    for section, subs in pieces(*where).items():
        flags, bits = model.get(section, (None, set()))
        if op == "populate":
            added = set(range(SUBS)) if whole else subs
            model[section] = ((int(flag) if flags is None else flags) | BASIC, bits | added)
        elif flags is None:
            continue
        elif op == "depopulate":
            left = set() if whole else bits - subs if subs <= bits else bits
            if left:
                model[section] = (flags, left)
            else:
                del model[section]
        else:
            model[section] = (flags | int(flag) if op == "set" else flags & ~int(flag), bits)


def build(ops, *, whole: bool) -> tuple[Sections, Model]:
    sections, model = Sections(G, whole=whole), {}
    for op, where, flag in ops:
        if op == "populate":
            sections.populate(*where, flag)
        elif op == "depopulate":
            sections.depopulate(*where)
        else:
            sections.mark(*where, flag, on=op == "set")
        act(model, op, where, flag, whole=whole)
    return sections, model


@given(ops=OPS, whole=st.booleans())
def test_content(ops, whole: bool) -> None:
    """After any history: the same sections, flags and subsections; one by one, and many at once."""
    sections, model = build(ops, whole=whole)
    assert sections.numbers().tolist() == sorted(model)
    assert len(sections) == len(model)
    for section in range(SECTIONS + 1):
        flags, bits = model.get(section, (0, set()))
        assert sections.flags(section) == flags
        assert set(np.flatnonzero(sections.bits(section)).tolist()) == bits
    pfns = range(0, (SECTIONS + 1) * PPS, 16)
    flags_at, bits_at = sections.at(np.array(pfns, np.uint64))
    assert flags_at.tolist() == [model.get(p // PPS, (0, set()))[0] for p in pfns]
    assert bits_at.tolist() == [p % PPS // PPSS in model.get(p // PPS, (0, set()))[1] for p in pfns]


@given(ops=OPS, where=RANGES, flag=st.sampled_from(FLAGS))
def test_questions_about_ranges(ops, where: tuple[int, int], flag: SectionFlags) -> None:
    """First populated section, all or any with a flag, and the places at which something changes."""
    sections, model = build(ops, whole=False)
    touched = pieces(*where)
    populated = [s for s, subs in sorted(touched.items()) if s in model and model[s][1] & subs]
    assert sections.first_populated(*where) == (populated[0] if populated else None)
    having = [bool(model.get(s, (0, set()))[0] & flag) for s in touched]
    assert sections.all_have(*where, flag) == all(having)
    assert sections.any_has(*where, flag) == any(having)
    edges = set(sections.edges(*where))
    assert all(where[0] <= edge <= where[1] for edge in edges)
    for pfn in range(where[0] + 1, where[1]):

        def state(p: int) -> tuple[int, bool]:
            flags, bits = model.get(p // PPS, (0, set()))
            return flags, p % PPS // PPSS in bits

        assert state(pfn) == state(pfn - 1) or pfn in edges


@given(ops=OPS, more=OPS)
def test_a_copy_is_independent(ops, more) -> None:
    sections, model = build(ops, whole=False)
    twin = sections.copy()
    for op, where, flag in more:
        if op == "populate":
            twin.populate(*where, flag)
        elif op == "depopulate":
            twin.depopulate(*where)
    assert sections.numbers().tolist() == sorted(model)
    for section, (flags, bits) in model.items():
        assert sections.flags(section) == flags
        assert set(np.flatnonzero(sections.bits(section)).tolist()) == bits


# Pagemaps and the machine around them ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("altmap", "ranges", "spans"),
    [
        (None, ((100, 200),), [(100, 200)]),
        (Altmap(100, 2, 8), ((100, 200),), [(110, 200)]),
        (Altmap(100, 2, 8), ((100, 200), (300, 400)), [(110, 200), (300, 400)]),  # in front of the first only
        (Altmap(100, 90, 90), ((100, 200),), [(200, 200)]),  # no data at all
    ],
)
def test_data_of_a_pagemap(altmap: Altmap | None, ranges, spans) -> None:
    assert Pagemap(1, ranges, altmap).data_spans() == spans


def test_live_and_mapped_pagemaps() -> None:
    """Found by the index while the reference lives; mapped from storing to going."""
    pagemaps = Pagemaps()
    pagemap = pagemaps.by_id[7] = Pagemap(7, ((10, 20),))
    assert (pagemaps.live_at(10), pagemaps.mapped(7)) == (False, None)
    pagemap.gone = False
    pagemaps.index.assign(10, 20, 7)
    assert [pagemaps.live_at(pfn) for pfn in (9, 10, 19, 20)] == [False, True, True, False]
    assert pagemaps.mapped(7) is pagemap
    pagemap.dying = True
    assert not pagemaps.live_at(10)
    assert pagemaps.mapped(7) is pagemap
    pagemap.gone = True
    assert pagemaps.mapped(7) is None
    assert pagemaps.mapped(8) is None


def test_machine() -> None:
    """max_pfn never falls, ranges are rounded out to sections, RAM follows the resources, changes are noted."""
    machine = Machine(G, ResourceTree(), whole_sections=False)
    assert machine.whole_sections(1, 2) == (0, PPS)
    assert machine.whole_sections(0, PPS) == (0, PPS)
    assert list(machine.block_numbers(0, PPS)) == [0]
    assert list(machine.block_numbers(PPS - 1, PPS + 1)) == [0, 1]
    assert list(machine.block_numbers(PPS, PPS)) == []
    machine.touched = []
    machine.raise_max_pfn(PPS + 5)
    machine.raise_max_pfn(5)
    assert machine.max_pfn == PPS + 5
    assert machine.touched == [(0, 2 * PPS)]
    machine.touched = []
    assert machine.insert_ram(PPS, 2 * PPS, "System RAM", nested=False)
    assert not machine.insert_ram(PPS + 1, 2 * PPS, "System RAM", nested=True)
    assert list(machine.ram) == [(PPS, 2 * PPS, 1)]
    machine.remove_ram(PPS, PPS + 10)
    assert list(machine.ram) == [(PPS + 10, 2 * PPS, 1)]
    assert machine.touched == [(PPS, 2 * PPS), (PPS, PPS + 10)]
