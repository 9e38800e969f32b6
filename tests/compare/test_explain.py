"""Explanations: the check that decides is the one that the replay counted, and every check says where it comes from."""

from collections import Counter

import numpy as np
import pytest

from replay.compare.explain import explain
from replay.engine.replay import replay_trace
from replay.errors import UsageError
from replay.kernel.other_functions import OTHER_FUNCTIONS
from replay.kernel.profiles import profile
from replay.kernel.registry import FUNCTIONS
from replay.report.explain import explanation_facts, origin
from replay.session import named
from replay.trace.header import BootRange, Resource
from replay.trace.reader import TraceFile
from replay.trace.schema import DaxAction, DaxDriver, EventKind, Phase
from tests.trace.build import lookup, machine, write

SERIES = "examples/candidates/zone_device_series.py:series"


@pytest.fixture
def one_by_one(tmp_path):
    """Events of many sorts; the counts of a replay of the first n of them grow by what row n is explained by."""
    events = [
        lookup(0x100),
        lookup(0x9F, EventKind.PFN_VALID),
        {"kind": EventKind.ADD_MEMORY, "pfn": 0x140000, "nr_pages": 0x8000, "label": 0},
        lookup(0x140000),
        {"kind": EventKind.ONLINE_PAGES, "pfn": 0x140000, "nr_pages": 0x8000},
        lookup(0x140000),
        {"kind": EventKind.MEMREMAP_PAGES, "pfn": 0x148000, "nr_pages": 0x4000, "pgmap": 1, "pgmap_type": 1,
         "altmap_base": 0x148000, "altmap_reserve": 2, "altmap_free": 0x100},
        lookup(0x148000, EventKind.PGMAP_PFN_VALID, pgmap=1),
        lookup(0x14B000, EventKind.GET_DEV_PAGEMAP),
        lookup(0x14B000, EventKind.KPAGEFLAGS),
        {"kind": EventKind.MEMORY_FAILURE, "pfn": 0x148000},
        {"kind": EventKind.MEMORY_FAILURE, "pfn": 0x900000},
        {"kind": EventKind.SOFT_OFFLINE_PAGE, "pfn": 0x14B000},
        {"kind": EventKind.UNPOISON_MEMORY, "pfn": 0x140000},
        {"kind": EventKind.REGION_INTERSECTS, "start": 0x148000000, "size": 0x1000, "flags": 1},
        {"kind": EventKind.WALK_SYSTEM_RAM_RANGE, "pfn": 0x140000, "nr_pages": 0x10000},
        {"kind": EventKind.MEMUNMAP_PAGES, "pgmap": 1},
        {"kind": EventKind.OFFLINE_PAGES, "pfn": 0x140000, "nr_pages": 0x8000, "env": -16},
    ]  # fmt: skip
    return events, [write(tmp_path / f"{n}.arrow", *events[:n], strings=["System RAM"]) for n in range(len(events) + 1)]


@pytest.mark.parametrize("kernel", ["v4.18", "v5.11", "v5.12", "v7.2", SERIES])
def test_the_explained_check_is_the_one_that_is_counted(one_by_one, kernel):
    events, paths = one_by_one
    before: dict[str, Counter[str]] = {}
    for row in range(len(events)):
        with TraceFile.open(paths[row + 1]) as trace:
            after = replay_trace(trace, named(kernel)).tally.checks
            found = explain(trace, row, named(kernel))
        grown = {(name, check) for name in after for check in after[name] - before.get(name, Counter())}
        assert len(grown) == 1, events[row]
        ((function, check),) = grown
        if check == "undecided":
            assert found.answer["poison_check"] == 254
        else:
            assert found.asked[0].decided.id == check
            assert found.asked[0].function == function
            assert [step.holds for step in found.asked[0].steps[:-1]] == [False] * (len(found.asked[0].steps) - 1)
        before = {name: Counter(counts) for name, counts in after.items()}


def test_fields_that_a_condition_looks_at_are_told_with_their_values(one_by_one):
    _, paths = one_by_one
    with TraceFile.open(paths[-1]) as trace:
        steps = {step.check.id: step.reads for step in explain(trace, 8, named("v7.2")).asked[0].steps}
        assert steps["not-indexed"] == {"pagemap": 1}
        marks = explain(trace, 5, named(SERIES)).asked[0].steps
        assert {step.check.id: step.reads for step in marks}["untainted"] == {"tainted": False}


def test_the_machine_around_the_pfn(one_by_one):
    _, paths = one_by_one
    with TraceFile.open(paths[-1]) as trace:
        around = explain(trace, 8, named("v7.2")).around
    assert around is not None
    assert around.pagemap == {
        "id": 1,
        "type": "private",
        "ranges": [[0x148000, 0x14C000]],
        "altmap": {"base": 0x148000, "reserve": 2, "free": 0x100},
        "data": [[0x148102, 0x14C000]],
        "state": "live",
        "node": 0,
    }
    assert (around.section, around.section_start, around.section_pages) == (41, 0x148000, 0x8000)
    assert around.flags == ("present", "has_mem_map", "taint_zone_device")
    assert around.subsections == (64, 32)
    assert around.subsection_set
    assert around.block == (41, "absent")


@pytest.mark.parametrize(
    ("row", "pfn", "words"),
    [
        (99, None, "has rows 0 to 1"),
        (-1, None, "has rows 0 to 1"),
        (0, None, "is mark, which asks nothing of a kernel"),
        (1, 0x99, "0x99 is none of them"),
    ],
)
def test_what_cannot_be_explained_is_refused(tmp_path, row, pfn, words):
    path = write(tmp_path / "a.arrow", {"kind": EventKind.MARK, "label": 0}, lookup(0x100, nr_pages=8), strings=["x"])
    with TraceFile.open(path) as trace, pytest.raises(UsageError, match=words):
        explain(trace, row, named("v6.1"), pfn=pfn)


def test_any_pfn_of_a_run_can_be_asked_for(tmp_path):
    one = machine(memory=(BootRange(0, 0x8000),), resources=())
    path = write(tmp_path / "a.arrow", lookup(0x8010, nr_pages=0x20, stride=-1), machine=one)
    with TraceFile.open(path) as trace:
        decided = {
            pfn: explain(trace, 0, named("v6.1"), pfn=pfn).asked[0].decided.id for pfn in (0x8010, 0x8000, 0x7FFF)
        }
    assert decided == {0x8010: "section-present", 0x8000: "section-present", 0x7FFF: "untainted"}


def test_every_check_of_every_function_has_an_origin():
    for function in (*FUNCTIONS.values(), *OTHER_FUNCTIONS):
        for check in function.checks:
            assert "v" in origin(function.name, check)


def test_a_driver_is_explained_check_by_check() -> None:
    """A row about a device shows all checks to the end of its call, and those of the calls that the driver makes."""
    with TraceFile.open("traces/recorded/6.1.192-s4-kmem.arrow") as trace:
        rows = [
            batch.row + int(at)
            for batch in trace.batches()
            for at in np.flatnonzero(
                (batch.column("kind") == EventKind.DAX_DRIVER) & (batch.column("key") == DaxAction.NEW_ID)
            )
        ]
        found = explain(trace, rows[0], profile("v6.1.192"))
        decided = [(asked.function, asked.decided.id) for asked in found.asked]
        assert decided == [
            ("dax_id", "stored"),
            ("dax_bus_match", "id"),
            ("dax_bus_probe", "kmem"),
            ("kmem_reserve", "reserved"),
            ("add_memory", "added"),
            ("kmem_add", "added"),
        ]


def test_a_recording_with_a_window_says_for_which_moments_it_stands():
    """The first lookup with a window of three rows that recorded NULL without a pagemap."""
    with TraceFile.open("traces/recorded/7.2.13-s2a-pmem-collision.arrow") as trace:
        rows = [
            batch.row + int(at)
            for batch in trace.batches()
            for at in np.flatnonzero(
                (batch.column("kind") == EventKind.PFN_TO_ONLINE_PAGE)
                & (batch.column("window") == 3)
                & (batch.column("recorded_ret") == 0)
                & (batch.column("recorded_slow") == 0)
            )
        ]
        found = explain(trace, rows[0], named("v7.2.13"))
    recorded = str(explanation_facts(found, "7.2.13")["recorded"])
    assert recorded == f"NULL, did not ask for a pagemap, at some moment between this row and row {rows[0] + 3}"


@pytest.fixture
def kmem_in_phases(tmp_path):
    """A devdax region that kmem takes, by a call in phases with the add that it makes, and a lookup in between."""
    resources = (Resource(0x100000000, 0x13FFFFFFF, "System RAM", busy=True, ram=True),
                 Resource(0x140000000, 0x14FFFFFFF, "Soft Reserved"))  # fmt: skip
    one = machine(memory=(BootRange(0x100000, 0x140000),), resources=resources, max_physmem_bits=46)
    told = {"kind": EventKind.DAX_DRIVER, "key": DaxAction.NEW_ID, "label": 0, "flags": DaxDriver.KMEM}
    add = {"kind": EventKind.ADD_MEMORY, "pfn": 0x140000, "nr_pages": 0x10000, "label": 1}
    return write(
        tmp_path / "kmem.arrow",
        {"kind": EventKind.DAX_REGION, "key": DaxAction.CREATE, "value": 0, "start": 0x140000000, "size": 1 << 28,
         "node": 0},
        {"kind": EventKind.DAX_DRIVER, "key": DaxAction.UNBIND, "label": 0, "flags": DaxDriver.DEVICE_DAX},
        {**told, "phase": Phase.BEGIN, "call": 7},
        {**add, "phase": Phase.BEGIN, "call": 8, "caller": 7},
        lookup(0x140000),
        {"kind": EventKind.ADD_MEMORY, "phase": Phase.DONE, "call": 8},
        {"kind": EventKind.DAX_DRIVER, "phase": Phase.DONE, "call": 7},
        lookup(0x140000),
        strings=["dax0.0", "System RAM (kmem)"],
        machine=one,
    )  # fmt: skip


def test_a_call_in_phases_is_explained_to_its_end(kmem_in_phases):
    with TraceFile.open(kmem_in_phases) as trace:
        found = explain(trace, 2, named("v6.1"))
    assert found.answer["ret"] == 0
    functions = [asked.function for asked in found.asked]
    assert "add_memory" in functions
    assert "pfn_to_online_page" not in functions, "the lookup in between is nothing that the call decides"
    assert found.change is not None
    assert found.change.until == 7
    tree = [(line.sign, line.fact["depth"], line.fact["name"]) for line in found.change.parts["resources"]]
    assert tree == [
        (" ", 0, "System RAM"), (" ", 0, "Soft Reserved"), ("+", 1, "dax0.0"), ("+", 2, "System RAM (kmem)"),
    ]  # fmt: skip
    drivers = [(line.sign, line.fact["driver"]) for line in found.change.parts["dax"]]
    assert drivers == [("-", None), ("+", "kmem")]
    assert [(n.sign, n.fact["state"]) for n in found.change.parts["blocks"]] == [(" ", "online"), ("+", "offline")]


def test_what_changes_nothing_says_so(kmem_in_phases):
    with TraceFile.open(kmem_in_phases) as trace:
        lookup_ = explain(trace, 4, named("v6.1"))
        refused = explain(trace, 3, named("v4.19"))
    assert lookup_.change is None
    assert refused.change is not None
    assert refused.change.parts == {}


def test_a_call_that_the_trace_does_not_finish(tmp_path):
    row = {"kind": EventKind.ONLINE_PAGES, "pfn": 0x100000, "nr_pages": 0x8000, "phase": Phase.BEGIN, "call": 1}
    path = write(tmp_path / "open.arrow", row, lookup(0x100000), strings=["x"])
    with TraceFile.open(path) as trace:
        change = explain(trace, 0, named("v6.1")).change
    assert change is not None
    assert change.until == 2
