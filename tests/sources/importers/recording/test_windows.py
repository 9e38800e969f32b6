"""Lookups before, in and after changes whose moment is not traced exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from replay.trace.schema import EventKind, Phase
from tests.sources.importers.recording.build import Lab, Row

LOW, HIGH, MAP = 0x10C000, 0x110000, 0xFF11000000001000
BYTES = {"range_start": hex(LOW << 12), "range_end": hex((HIGH << 12) - 1)}
READER = 300  # a task of its own
LOOKUP = EventKind.PFN_TO_ONLINE_PAGE


def reached(rows: list[Row], lookup: Row) -> Row | None:
    """The row that a lookup's window reaches, or None."""
    return rows[lookup["row"] + lookup["window"]] if lookup["window"] else None


def only(rows: list[Row], kind: EventKind = LOOKUP) -> Row:
    (row,) = (r for r in rows if r["kind"] == kind)
    return row


def place(rows: list[Row], kind: EventKind, phase: Phase) -> int:
    (row,) = (r["row"] for r in rows if r["kind"] == kind and r.get("phase") == phase)
    return row


# Each step writes a part of the recording; the lookup is entered and left before the steps of these numbers.
Step = Callable[[Lab], None]


def run(tmp_path: Path, steps: list[Step], enter: int, leave: int, pfn: int = LOW) -> list[Row]:
    lab = Lab(tmp_path)
    for number in range(len(steps) + 1):
        if number == enter:
            lab.online_enter(pfn, READER)
        if number == leave:
            lab.online_leave(pfn, False, READER)
        if number < len(steps):
            steps[number](lab)
    return lab.rows()


MAPPING: list[Step] = [
    lambda lab: lab.map_begin(MAP, LOW, HIGH),
    lambda lab: lab.enter("arch_add_memory", 200, nid=0, start=hex(LOW << 12), size="0x4000000"),
    lambda lab: lab.enter("__add_pages", 200, nid=0, pfn=hex(LOW), nr_pages="0x4000"),
    lambda lab: lab.leave("__add_pages", 200, ret=0),
    lambda lab: lab.leave("arch_add_memory", 200, ret=0),
    lambda lab: lab.enter("move_pfn_range_to_zone", 200, zone="0xff01", pfn=hex(LOW), nr_pages="0x4000"),
    lambda lab: lab.leave("memremap_pages", 200, ret="0xff11000000000000"),
]
MAPPED = EventKind.MEMREMAP_PAGES


@pytest.mark.parametrize(
    ("enter", "leave", "after", "until"),
    [
        # entered and left before step N: the last change it comes certainly after, the last that it may come before
        (0, 0, None, None),
        (0, 1, None, Phase.BEGIN),  # left after the second conflict check returned
        (1, 1, None, Phase.BEGIN),  # between the check and arch_add_memory: the index may be stored by now
        (2, 2, Phase.BEGIN, None),
        (1, 2, None, Phase.BEGIN),
        (2, 3, Phase.BEGIN, Phase.SECTIONS),
        (3, 3, Phase.BEGIN, Phase.SECTIONS),
        (4, 4, Phase.SECTIONS, None),
        (5, 5, Phase.SECTIONS, None),
        (6, 6, Phase.SECTIONS, Phase.ZONE),
        (7, 7, Phase.ZONE, None),
        (1, 7, None, Phase.ZONE),
        (0, 8, None, Phase.ZONE),  # never left
    ],
)
def test_memremap(tmp_path: Path, enter: int, leave: int, after: Phase | None, until: Phase | None) -> None:
    rows = run(tmp_path, MAPPING, enter, leave)
    lookup = only(rows)
    order = [phase for phase in Phase if phase != Phase.WHOLE]
    before = [p for p in order if place(rows, MAPPED, p) < lookup["row"]]
    assert [p for p in before if p != Phase.DONE][-1:] == ([] if after is None else [after])
    target = reached(rows, lookup)
    assert (None if target is None else target["phase"]) == until


@pytest.mark.parametrize("pfn", [LOW - 1, HIGH])
def test_the_index_concerns_the_pagemap_only(tmp_path: Path, pfn: int) -> None:
    assert only(run(tmp_path, MAPPING, 1, 1, pfn))["window"] == 0


@pytest.mark.parametrize(("pfn", "window"), [(0x107FFF, False), (0x108000, True), (HIGH - 1, True), (HIGH, False)])
def test_sections_concern_the_whole_section(tmp_path: Path, pfn: int, window: bool) -> None:
    assert bool(only(run(tmp_path, MAPPING, 3, 3, pfn))["window"]) == window


def test_the_task_that_makes_the_change_needs_no_window(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    for step in MAPPING[:6]:
        step(lab)
    lab.online(LOW, page=False, task=200, pgmap=MAP)
    MAPPING[6](lab)
    lookup = only(rows := lab.rows())
    assert lookup["window"] == 0
    assert lookup["row"] == place(rows, MAPPED, Phase.ZONE) + 1
    assert lookup["call"] == rows[lookup["row"] - 1]["call"]


@pytest.mark.parametrize(
    ("enter", "leave", "until"),
    [
        (1, 1, None),
        (2, 2, Phase.BEGIN),
        (3, 3, None),
        (4, 4, Phase.SECTIONS),
        (5, 5, None),
        (6, 6, None),
        (2, 5, Phase.SECTIONS),
    ],
)
def test_memunmap(tmp_path: Path, enter: int, leave: int, until: Phase | None) -> None:
    steps: list[Step] = [
        lambda lab: lab.map(MAP, LOW, HIGH),
        lambda lab: lab.enter("memunmap_pages", 200, pgmap=hex(MAP), **BYTES),
        lambda lab: lab.enter("arch_remove_memory", 200, start=hex(LOW << 12), size="0x4000000", altmap="0x0"),
        lambda lab: lab.enter("section_deactivate", 200, pfn=hex(LOW), nr_pages="0x4000"),
        lambda lab: lab.leave("arch_remove_memory", 200),
        lambda lab: lab.leave("memunmap_pages", 200),
    ]  # fmt: skip
    rows = run(tmp_path, steps, enter, leave)
    target = reached(rows, only(rows))
    assert (None if target is None else (target["kind"], target["phase"])) == (
        None if until is None else (EventKind.MEMUNMAP_PAGES, until)
    )


def test_a_call_that_never_returns(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.map(MAP, LOW, HIGH)
    lab.enter("memunmap_pages", 200, pgmap=hex(MAP), **BYTES)
    lab.online(LOW, page=False, task=READER, pgmap=0)
    rows = lab.rows()
    (unmap,) = (r for r in rows if r["kind"] == EventKind.MEMUNMAP_PAGES)
    assert unmap["phase"] == Phase.BEGIN
    assert "recorded_ret" not in unmap
    assert reached(rows, only(rows)) == unmap


def test_onlining(tmp_path: Path) -> None:
    steps: list[Step] = [
        lambda lab: lab.enter("online_pages", 200, pfn="0x110000", nr_pages="0x8000"),
        lambda lab: lab.enter("online_mem_sections", 200, start_pfn="0x110000", end_pfn="0x118000"),
        lambda lab: lab.leave("online_pages", 200, ret=0),
    ]
    for number, until in enumerate((None, None, Phase.SECTIONS, None)):
        rows = run(tmp_path, steps, number, number, 0x110000)
        target = reached(rows, only(rows))
        assert (None if target is None else target["phase"]) == until


def test_an_interrupt_does_not_end_the_interval(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    for step in MAPPING[:6]:
        step(lab)
    lab.line("signal_generate", "sig=7 errno=0 code=4 comm=a pid=1 grp=0 res=0", task=200, flags="d.h..")
    lab.online(LOW, page=False, task=READER, pgmap=MAP)
    MAPPING[6](lab)
    target = reached(rows := lab.rows(), only(rows))
    assert target is not None
    assert target["phase"] == Phase.ZONE


def test_two_maps_at_once(tmp_path: Path) -> None:
    """Entries of two tasks stand before the changes of either; a lookup of one range has no window in the other."""
    lab = Lab(tmp_path)
    lab.map_begin(MAP, LOW, HIGH, task=200)
    lab.map_begin(MAP + 64, 0x110000, 0x118000, task=201)
    lab.online(LOW, page=False, task=READER)
    lab.online(0x110000, page=False, task=READER)
    lab.add(LOW, HIGH, task=200)
    lab.online(0x110001, page=False, task=READER)
    lab.add(0x110000, 0x118000, task=201)
    rows = lab.rows()
    begins = {r["pfn"]: r for r in rows if r["kind"] == MAPPED and r["phase"] == Phase.BEGIN}
    targets = [reached(rows, r) for r in rows if r["kind"] == LOOKUP]
    assert targets == [begins[LOW], begins[0x110000], begins[0x110000]]
    assert [r["pfn"] for r in rows if r["kind"] == MAPPED and r["phase"] == Phase.BEGIN] == [LOW, 0x110000]


def test_an_inlined_lookup_was_made_before_its_line(tmp_path: Path) -> None:
    lab = Lab(tmp_path, kernel="5.10.223")
    lab.enter("online_pages", 200, pfn="0x110000", nr_pages="0x8000")
    lab.mark("WALK begin name=a")
    lab.line("pfn_to_online_page_inlined", "(x+0x0/0x1) pfn=0x110000 page=0x0", task=READER)
    lab.enter("online_mem_sections", 200, start_pfn="0x110000", end_pfn="0x118000")
    lab.leave("online_pages", 200, ret=0)
    lab.line("pfn_to_online_page_inlined", "(x+0x0/0x1) pfn=0x110000 page=0x0", task=READER)
    rows = lab.rows()
    first, second = (r for r in rows if r["kind"] == LOOKUP)
    target = reached(rows, second)
    assert first["window"] == 0
    assert target is not None
    assert target["phase"] == Phase.SECTIONS
