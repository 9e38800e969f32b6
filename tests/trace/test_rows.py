"""Rows that contradict the format are refused by the writer and, in a file made otherwise, by the reader."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from replay.errors import TraceError, UnknownNameError
from replay.trace import COLUMNS, LOOKUPS, NEEDS, TRANSITIONS, EventKind, Phase, TraceFile, TraceWriter, write_trace
from replay.trace.batch import Batch, Slot
from replay.trace.schema import DaxAction
from replay.trace.validate import MAX_RUN_PAGES, RowChecker
from tests.trace.build import MACHINE, PROVENANCE, columns, content, forge, lookup, write

K = EventKind
END_ANY = 1 << 52  # 2**(64 - 12)
END_BOUND = 1 << 35  # 2**(46 + 1 - 12)


def memremap(pgmap, pfn, nr_pages=0x8000, **fields):
    return {"kind": K.MEMREMAP_PAGES, "pgmap": pgmap, "pfn": pfn, "nr_pages": nr_pages, **fields}


def pgmap_range(pgmap, pfn, nr_pages=0x8000):
    return {"kind": K.PGMAP_RANGE, "pgmap": pgmap, "pfn": pfn, "nr_pages": nr_pages}


def add(phase, call=None, kind=K.ADD_MEMORY, **fields):
    row = {"kind": kind, "phase": phase, "pfn": 0x8000, "nr_pages": 0x8000, **fields}
    return row if call is None else {**row, "call": call}


def page(**fields):
    return {"kind": K.PAGE_STATE, "pfn": 1, "page_kind": 1, **fields}


def task(**fields):
    return {"kind": K.TASK_STATE, "task": 1, **fields}


def mapping(**fields):
    return {"kind": K.MAP_PAGES, "pfn": 1, "task": 1, "vaddr": 0x1000, **fields}


def namespace(**fields):
    row = {"kind": K.NAMESPACE, "key": DaxAction.CREATE, "label": 0, "start": 1 << 30, "size": 1 << 30, **fields}
    return {name: value for name, value in row.items() if value is not None}


def driver(key=DaxAction.BIND, **fields):
    return {"kind": K.DAX_DRIVER, "key": key, "label": 0, "flags": 2, **fields}


DEVICE_BAD = {
    "driver action of a namespace": ([namespace(key=5)], "row 0, column key: found 5; needed an action of a namespace"),
    "namespace action of a driver": ([driver(DaxAction.CREATE)], "row 0, column key: found 0"),
    "no driver": ([driver(flags=0)], "row 0, column flags: found 0; needed one driver"),
    "two drivers": ([driver(flags=3)], "row 0, column flags: found 3; needed one driver"),
    "unknown driver": ([driver(flags=4)], "row 0, column flags: found bits 0x4"),
    "driver row without a driver": (
        [{"kind": K.DAX_DRIVER, "key": 5, "label": 0}],
        "row 0, column flags: found null; needed a value in a dax_driver row",
    ),
    "fsdax and devdax": ([namespace(flags=3)], "row 0, column flags: found both fsdax and devdax"),
    "namespace of no bytes": ([namespace(size=None)], "row 0, column size: found null; needed start and size"),
    "odd alignment": ([namespace(value=3)], "row 0, column value: found 3; needed an alignment"),
    "region below 0": (
        [{"kind": K.DAX_REGION, "key": 1, "value": -1}],
        "row 0, column value: found -1; needed the number of a region",
    ),
    "nobody's call": ([add(Phase.BEGIN, 2, caller=1)], "row 0, column caller: found call 1; needed the id of a call"),
    "a call of no driver": (
        [add(Phase.BEGIN, 1), add(Phase.WHOLE, caller=1)],
        "row 1, column caller: found call 1",
    ),
    "a call of a driver that is done": (
        [driver(phase=Phase.BEGIN, call=1), {"kind": K.DAX_DRIVER, "phase": Phase.DONE, "call": 1}, add(0, caller=1)],
        "row 2, column caller: found call 1",
    ),
}

BAD = {  # events, then what the message must say
    "unknown page kind": ([page(page_kind=15)], "row 0, column page_kind: found 15; needed a known PageKind, 0 to 14"),
    "unknown page flag": ([page(page_flags=1 << 63 | 1)], "row 0, column page_flags: found bits 0x8000000000000000"),
    "unknown mapping class": ([page(), page(mapping=7)], "row 1, column mapping: found 7"),
    "unknown task flag": ([task(flags=64)], "row 0, column flags: found bits 0x40; needed bits of TaskFlag, 0x3f"),
    "unknown mapping flag": ([task(), mapping(flags=4)], "row 1, column flags: found bits 0x4"),
    "unknown memory_failure flag": (
        [{"kind": K.MEMORY_FAILURE, "pfn": 1, "flags": 257}],
        "column flags: found bits 0x100",
    ),
    "unknown context": ([{"kind": K.MEMORY_FAILURE, "pfn": 1, "context": 8}], "column context: found bits 0x8"),
    "unknown sysctl": (
        [{"kind": K.SYSCTL, "key": 4, "value": 1}],
        "column key: found 4; needed a known SysctlKey, 1 to 3",
    ),
    "mapping of nobody": ([mapping()], "row 0, column task: found task 1, which no row has introduced"),
    "mapping of the dead": ([task(), task(flags=32), mapping()], "row 2, column task: found task 1, which has exited"),
    "time decreases": ([lookup(1, time=5), lookup(1, time=4)], "row 1, column time: found 4 after 5"),
    "kind 0": ([{"kind": 0}], "column kind: found event kind 0"),
    "unknown kind": ([lookup(1), {"kind": 39}], "row 1, column kind: found event kind 39"),
    "unknown phase": ([add(5, call=1)], "column phase: found 5"),
    "unknown zone": ([add(0, zone=9)], "column zone: found 9"),
    "unknown pagemap type": ([memremap(1, 0, pgmap_type=8)], "column pgmap_type: found 8"),
    "lookup without pfn": ([lookup(1), {"kind": K.PFN_VALID}], "row 1, column pfn: found null"),
    "column needed but absent": ([{"kind": K.MEMUNMAP_PAGES}], "column pgmap: found null"),
    "needed in one kind only": ([lookup(1), lookup(1, K.PGMAP_PFN_VALID)], "row 1, column pgmap: found null"),
    "no pages": ([lookup(1, nr_pages=0)], "column nr_pages: found 0x0"),
    "too many pages": ([lookup(1, nr_pages=MAX_RUN_PAGES + 1)], "column nr_pages: found 0x10000000001"),
    "all pages": ([lookup(1, nr_pages=(1 << 64) - 1)], "column nr_pages: found 0xffffffffffffffff"),
    "get_dev_pagemap beyond every address": (
        [{"kind": K.GET_DEV_PAGEMAP, "pfn": END_ANY}],
        "column pfn: found 0x10000000000000",
    ),
    "run from beyond every address": ([lookup(END_ANY, nr_pages=2)], "column pfn: found 0x10000000000000"),
    "lookup of the last pfn of u64": ([lookup((1 << 64) - 1, nr_pages=2)], "column pfn: found 0xffffffffffffffff"),
    "run beyond every address": ([lookup(END_ANY - 1, nr_pages=2)], "column nr_pages: found a run up to"),
    "strided run beyond": ([lookup(END_ANY - 9, nr_pages=3, stride=5)], "column nr_pages: found a run up to"),
    "run below zero": ([lookup(9, nr_pages=11, stride=-1)], "column stride: found a run down to pfn -1"),
    "stride 0": ([lookup(9, nr_pages=2, stride=0)], "column stride: found 0"),
    "stride overflows": ([lookup(9, nr_pages=1 << 40, stride=1 << 62)], "column stride: found 4611686018427387904"),
    "stride overflows down": ([lookup(9, nr_pages=3, stride=-(1 << 63))], "column stride: found -92233720368547758"),
    "range with a stride": ([add(0, stride=2)], "column stride: found 2"),
    "hotplug beyond the limit": ([add(0, pfn=END_BOUND, nr_pages=1)], "column pfn: found a range up to"),
    "hotplug ends beyond": ([add(0, pfn=END_BOUND - 1, nr_pages=2)], "column pfn: found a range up to pfn 0x800000000"),
    "page state beyond": ([{"kind": K.PAGE_STATE, "pfn": END_BOUND, "page_kind": 0}], "column pfn"),
    "label out of range": ([{"kind": K.MARK, "label": 2}], "column label: found 2; needed an index below 2"),
    "pagemap 0": ([memremap(0, 0)], "column pgmap: found 0"),
    "pagemap id reused": ([memremap(1, 0), memremap(1, 0x10000)], "row 1, column pgmap: found a second memremap"),
    "reused in phases": (
        [memremap(1, 0), memremap(1, 0x10000, phase=Phase.BEGIN, call=1)],
        "row 1, column pgmap: found a second memremap",
    ),
    "range after memremap": ([memremap(1, 0), pgmap_range(1, 0x10000)], "row 1, column pgmap: found a range"),
    "ranges overlap": ([pgmap_range(1, 0), pgmap_range(1, 0x7FFF)], "row 1, column pfn: found [0x7fff, 0xffff)"),
    "ranges equal": ([pgmap_range(1, 0), pgmap_range(1, 0)], "row 1, column pfn"),
    "range within a range": ([pgmap_range(1, 0), pgmap_range(1, 5, 1)], "row 1, column pfn"),
    "range around a range": ([pgmap_range(1, 5, 1), pgmap_range(1, 0)], "row 1, column pfn"),
    "range 0 overlaps": ([pgmap_range(1, 0x10000), memremap(1, 0xFFFF)], "row 1, column pfn"),
    "overlap with the one before last": (
        [pgmap_range(1, 0, 100), pgmap_range(1, 200, 100), pgmap_range(1, 50, 100)],
        "row 2, column pfn",
    ),
    "phase of a lookup": ([lookup(1, phase=1, call=1)], "column phase: found phase 1 of an event that has none"),
    "phase without call": ([add(Phase.BEGIN)], "column call: found null in phase 1"),
    "piece without range": (
        [add(Phase.BEGIN, 1), {"kind": K.ADD_MEMORY, "phase": Phase.SECTIONS, "call": 1}],
        "row 1, column pfn: found null in phase 2",
    ),
    "piece before BEGIN": ([add(Phase.SECTIONS, 1)], "column call: found SECTIONS of call 1 without a BEGIN row"),
    "DONE before BEGIN": ([add(Phase.DONE, 7)], "column call: found DONE of call 7 without"),
    "piece after DONE": (
        [add(Phase.BEGIN, 1), add(Phase.DONE, 1), add(Phase.ZONE, 1)],
        "row 2, column call: found ZONE of call 1 that is DONE",
    ),
    "two BEGIN": ([add(Phase.BEGIN, 1), add(Phase.BEGIN, 1)], "row 1, column call: found a second BEGIN"),
    "BEGIN after DONE": (
        [add(Phase.BEGIN, 1), add(Phase.DONE, 1), add(Phase.BEGIN, 1)],
        "row 2, column call: found a second BEGIN",
    ),
    "call changes its kind": (
        [add(Phase.BEGIN, 1), add(Phase.DONE, 1, K.REMOVE_MEMORY)],
        "row 1, column kind: found remove_memory in call 1; needed add_memory",
    ),
    "positive env": ([add(0, env=12)], "column env: found 12"),
    "env beyond errnos": ([add(0, env=-4096)], "column env: found -4096"),
    "empty resource": ([{"kind": K.RESOURCE_REMOVE, "start": 1, "size": 0}], "column size: found 0"),
    "resource beyond": ([{"kind": K.RESOURCE_REMOVE, "start": (1 << 64) - 1, "size": 2}], "column size: found 2"),
    "altmap beyond": ([memremap(1, 0, altmap_base=END_ANY)], "column altmap_base"),
    "shift too large": ([memremap(1, 0, vmemmap_shift=64)], "column vmemmap_shift: found 64"),
    "slow neither yes nor no": ([lookup(1, recorded_slow=2)], "column recorded_slow: found 2"),
}

FINE = {
    "equal times": [lookup(1, time=5), lookup(1, time=5)],
    "the last pfn": [lookup(END_ANY - 1), lookup(0, nr_pages=MAX_RUN_PAGES)],
    "descending run to 0": [lookup(10, nr_pages=11, stride=-1)],
    "a stride that is not used": [lookup(10, nr_pages=1, stride=0), lookup(10, stride=-(1 << 63))],
    "strided run to the end": [lookup(END_ANY - 11, nr_pages=3, stride=5)],
    "hotplug that crosses the limit": [add(0, pfn=(END_BOUND >> 1) - 0x4000)],
    "hotplug up to the damage limit": [add(0, pfn=END_BOUND - 0x8000)],
    "poison of any pfn": [{"kind": K.MEMORY_FAILURE, "pfn": END_ANY - 1}],
    "numbers that are no pfns": [
        lookup(END_ANY),
        lookup((1 << 64) - 1),
        lookup(5, nr_pages=9),
        {"kind": K.UNPOISON_MEMORY, "pfn": (1 << 64) - 62},
    ],
    "labels": [{"kind": K.MARK, "label": 0}, {"kind": K.MARK, "label": 1}],
    "one pagemap of three ranges": [pgmap_range(1, 0x10000), pgmap_range(1, 0), memremap(1, 0x8000)],
    "two pagemaps of the same range": [memremap(1, 0), memremap(2, 0)],
    "a call in phases": [
        memremap(1, 0, phase=Phase.BEGIN, call=1, recorded_ret=0),
        memremap(1, 0, 0x4000, phase=Phase.SECTIONS, call=1),
        lookup(5, call=1),
        memremap(1, 0, phase=Phase.ZONE, call=1),
        {"kind": K.MEMREMAP_PAGES, "phase": Phase.DONE, "call": 1},
        {"kind": K.MEMUNMAP_PAGES, "pgmap": 1},
    ],
    "two calls at once": [add(Phase.BEGIN, 1), add(Phase.BEGIN, 2), add(Phase.DONE, 1), add(Phase.DONE, 2)],
    "a call that does not end": [add(Phase.BEGIN, 1)],
    "errno": [add(0, env=-12), add(0, env=0), add(0, env=-4095)],
    "a resource up to the end": [{"kind": K.RESOURCE_REMOVE, "start": (1 << 64) - 2, "size": 2}],
}


def arrow(data):
    return {
        name: pa.array(values, mask=None if name in {"time", "kind"} else ~mask)
        for name, (values, mask) in data.items()
    }


@pytest.mark.parametrize("case", [*BAD, *DEVICE_BAD])
def test_writer_and_reader_refuse(tmp_path, case):
    """Alone, and with the rows spread over batches."""
    events, part = {**BAD, **DEVICE_BAD}[case]
    for batch_rows in (1, 1 << 10):
        with pytest.raises(TraceError) as caught:
            write(tmp_path / "a", *events, strings=["x", "y"], batch_rows=batch_rows)
        assert part in str(caught.value)
        path = forge(tmp_path / "b", arrow(columns(*events)), header={"strings": ["x", "y"]}, batch_rows=batch_rows)
        with TraceFile.open(path) as trace, pytest.raises(TraceError) as caught:
            trace.verify()
        message = str(caught.value)
        assert message.startswith(f"{path}: row ")
        assert part in message
        assert "; needed " in message
        assert len(message.splitlines()) == 1


@pytest.mark.parametrize("case", FINE)
def test_what_a_kernel_may_be_asked_is_accepted(tmp_path, case):
    for batch_rows in (1, 1 << 10):
        path = write(tmp_path / "a", *FINE[case], strings=["x", "y"], batch_rows=batch_rows)
        with TraceFile.open(path) as trace:
            assert len(content(trace)["time"][0]) == len(FINE[case])


def test_the_row_is_counted_over_batches(tmp_path):
    with pytest.raises(TraceError, match="row 7, column time"):
        write(tmp_path / "a", *(lookup(n) for n in range(7)), lookup(1, time=0), batch_rows=3)


def test_garbage_in_the_slot_of_a_null_is_refused(tmp_path):
    time, kind = pa.array([1, 2], pa.uint64()), pa.array([1, 1], pa.uint8())
    pfn = pa.array([1, 2], pa.uint64())
    for valid in (b"\x01", b"\x00"):
        task = pa.Array.from_buffers(pa.uint32(), 2, [pa.py_buffer(valid), pa.py_buffer(np.array([0, 9], np.uint32))])
        path = forge(tmp_path / "a", {"time": time, "kind": kind, "pfn": pfn, "task": task})
        with TraceFile.open(path) as trace, pytest.raises(TraceError, match="row 1, column task: found a null"):
            trace.verify()
        with TraceFile.open(path, verify=False) as trace:  # not checked, yet never shown
            assert next(trace.batches()).column("task").tolist() == [0, 0]


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ([-1], "found -1; needed a number that fits uint64"),
        ([1.5], "type float64"),
        ([[1]], "2 dimensions"),
        (["1"], "type <U1"),
        ([1 << 64], "type object"),
        ([1, 2], "2 rows"),
        (([1], [True, False]), "a mask of shape (2,)"),
    ],
)
def test_the_writer_takes_nothing_that_does_not_fit(tmp_path, values, part):
    with pytest.raises(TraceError) as caught:
        write_trace(tmp_path / "a", {"time": [1], "kind": [1], "pfn": values}, machine=MACHINE, provenance=PROVENANCE)
    assert part in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_path_is_never_taken_for_a_format(tmp_path):
    for values in ([-1], [1 << 60]):
        data = {"time": [1], "kind": [3], "pfn": values}
        with pytest.raises(TraceError, match=r"\{a\}.%s: row 0, column pfn"):
            write_trace(tmp_path / "{a} %s", data, machine=MACHINE, provenance=PROVENANCE)


def test_time_and_kind_are_in_every_row(tmp_path):
    options = {"machine": MACHINE, "provenance": PROVENANCE, "columns": ("time", "kind", "pfn")}
    for data in ({"kind": [1], "pfn": [1]}, {"time": ([1], [False]), "kind": [1], "pfn": [1]}):
        with TraceWriter(tmp_path / "a", **options) as writer, pytest.raises(TraceError, match="row 0, column time"):
            writer.write(data)
    with pytest.raises(UnknownNameError, match="did you mean pfn"):
        write_trace(tmp_path / "a", {"time": [1], "kind": [1], "pfm": [1]}, machine=MACHINE, provenance=PROVENANCE)


def test_the_checker_refuses_null_time_itself():
    slots = {"time": Slot(np.array([1, 0], np.uint64), np.array([True, False])), "kind": Slot(np.ones(2, np.uint8))}
    with pytest.raises(TraceError, match="row 1, column time: found null"):
        RowChecker(MACHINE, 0, "x").check(Batch(0, 2, slots))


def test_every_kind_says_what_it_needs_in_columns_that_exist():
    assert all(name in COLUMNS for names in NEEDS.values() for name in names)
    assert set(NEEDS) >= LOOKUPS | TRANSITIONS


@pytest.mark.parametrize("kind", sorted(NEEDS))
def test_each_needed_column_is_asked_for(tmp_path, kind):
    """Every kind with everything it needs is written, and without any one of it refused."""
    event = {"kind": kind, **{name: int(name != "label") for name in NEEDS[kind]}}
    event |= {"key": DaxAction.BIND} if kind == K.DAX_DRIVER else {}
    before = [{"kind": K.TASK_STATE, "task": 1}]  # a task exists before it maps anything
    write(tmp_path / "a", *before, event, strings=["x"])
    for name in NEEDS[kind]:
        with pytest.raises(TraceError, match=f"row 1, column {name}: found null"):
            write(tmp_path / "b", *before, {key: value for key, value in event.items() if key != name}, strings=["x"])
