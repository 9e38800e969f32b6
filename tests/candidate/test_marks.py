"""Marks: what they cover, when they go, and that hooks see every call."""

import numpy as np
import pytest

from replay.candidate import Candidate, no
from replay.session import run
from replay.trace.header import BootRange, MachineDescription
from replay.trace.schema import EventKind
from tests.trace.build import write

SECTION = 1 << 15  # pages of 128 MiB
MACHINE = MachineDescription(
    arch="x86_64",
    page_shift=12,
    section_size_bits=27,
    max_physmem_bits=46,
    memory_block_bytes=1 << 27,
    kernel="v5.12",
    memory=(BootRange(0, 4 * SECTION, 0),),
)


def marked_by(grain, function="add_memory", phase="done", pages=(0, 1)):
    """Return a candidate that refuses what it marks: pages of a call's range, counted from its start."""
    candidate = Candidate("v5.12")
    mark = candidate.mark("mine", grain=grain)

    @candidate.on(function, phase)
    def hook(now):
        now.set(mark, now.start + pages[0], now.start + pages[1])

    @candidate.insert("pfn_to_online_page", before="page", answer=no("marked"))
    def marked(s):
        return mark(s)

    candidate.move("pfn_to_online_page", "marked", before="section-online")
    return candidate.profile("mine", "")


@pytest.fixture
def answers(tmp_path):
    def of(kernel, events):
        path = write(tmp_path / "events.arrow", *events, machine=MACHINE)
        return dict(run(path, kernel).tally.outcomes["pfn_to_online_page"])

    return of


def lookup(pfn):
    return {"kind": EventKind.PFN_TO_ONLINE_PAGE, "pfn": pfn, "nr_pages": 1}


def call(kind, start, pages, **more):
    return {"kind": kind, "pfn": start, "nr_pages": pages, **more}


ADDED = 8 * SECTION


@pytest.mark.parametrize(("grain", "pages"), [("section", SECTION), ("subsection", 512), ("page", 1)])
def test_a_mark_covers_its_grain(answers, grain, pages):
    events = [
        call(EventKind.ADD_MEMORY, ADDED, SECTION),
        *(lookup(ADDED + p) for p in (0, pages - 1)),
        lookup(ADDED + min(pages, SECTION)),
    ]
    found = answers(marked_by(grain), events)
    beyond = "no-section" if grain == "section" else "offline-section"
    assert found == {"marked": 2, beyond: 1}


@pytest.mark.parametrize("grain", ["section", "subsection", "page"])
def test_an_empty_range_marks_nothing(answers, grain):
    empty = marked_by(grain, pages=(5, 5))
    added = call(EventKind.ADD_MEMORY, ADDED, SECTION, node=0)
    assert "marked" not in answers(empty, [added, lookup(ADDED)])


def test_marks_beyond_the_physical_limit_are_dropped(answers):
    beyond = marked_by("section", pages=(0, 1 << 60))
    added = call(EventKind.ADD_MEMORY, ADDED, SECTION, node=0)
    assert answers(beyond, [added, lookup(ADDED)]) == {"marked": 1}


@pytest.mark.parametrize(("grain", "left"), [("section", 0), ("subsection", 1), ("page", 1)])
def test_a_section_takes_its_own_marks_with_it(answers, grain, left):
    """The memory comes back under a kernel that marks at first sight only: what is left over from before shows."""
    candidate = Candidate("v5.12")
    mark = candidate.mark("mine", grain=grain)
    seen = []

    @candidate.on("add_memory", "done")
    def hook(now):
        if not seen:
            now.set(mark, now.start, now.end)
        seen.append(now.start)

    @candidate.insert("pfn_to_online_page", before="section-online", answer=no("marked"))
    def marked(s):
        return mark(s)

    events = [
        call(EventKind.ADD_MEMORY, ADDED, SECTION),
        call(EventKind.REMOVE_MEMORY, ADDED, SECTION),
        call(EventKind.ADD_MEMORY, ADDED, SECTION),
        lookup(ADDED),
    ]
    assert answers(candidate.profile("mine", ""), events) == ({"marked": 1} if left else {"offline-section": 1})
    assert len(seen) == 2


@pytest.mark.parametrize("phase", ["begin", "sections", "done"])
def test_hooks_on_onlining_see_every_call_however_close_they_stand(answers, phase):
    """Stretches of onlining and offlining are carried out by remembered steps, but not past a hook."""
    counted = []
    candidate = Candidate("v5.12")
    candidate.on("offline_pages", phase)(lambda now: counted.append((now.start, now.end)))
    events = []
    for n in range(300):
        block = (1 + n % 3) * SECTION
        kind = EventKind.OFFLINE_PAGES if n // 3 % 2 == 0 else EventKind.ONLINE_PAGES
        events += [call(kind, block, SECTION), lookup(block)]
    answers(candidate.profile("mine", ""), events)
    assert counted == [((1 + n % 3) * SECTION, (2 + n % 3) * SECTION) for n in range(300) if n // 3 % 2 == 0]


def test_marks_answer_alike_one_by_one_in_runs_and_in_batches(answers):
    kernel = marked_by("page", pages=(100, 9000))
    events = [call(EventKind.ADD_MEMORY, ADDED, SECTION)]
    run = [*events, {"kind": EventKind.PFN_TO_ONLINE_PAGE, "pfn": ADDED, "nr_pages": SECTION}]
    single = [*events, *(lookup(int(p)) for p in np.arange(ADDED, ADDED + SECTION))]
    assert answers(kernel, run) == answers(kernel, single) == {"marked": 8900, "offline-section": SECTION - 8900}


@pytest.mark.parametrize("phase", ["begin", "done"])
def test_unmapping_tells_all_ranges_though_the_row_names_the_pagemap_only(answers, phase):
    device, further = 16 * SECTION, 20 * SECTION
    told = []
    candidate = Candidate("v5.12")

    @candidate.on("memunmap_pages", phase)
    def hook(now):
        told.append((now.start, now.end))

    events = [
        {"kind": EventKind.PGMAP_RANGE, "pfn": further, "nr_pages": SECTION, "pgmap": 1},
        call(EventKind.MEMREMAP_PAGES, device, SECTION, pgmap=1, pgmap_type=1),
        {"kind": EventKind.MEMUNMAP_PAGES, "pgmap": 1},
        lookup(0),
    ]
    answers(candidate.profile("mine", ""), events)
    assert told == [(device, device + SECTION), (further, further + SECTION)]
