"""Checks that look at whole batches first say what checks of each row say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from replay.errors import TraceError
from replay.trace import EventKind
from replay.trace.batch import Batch, Slot, simplified
from replay.trace.validate import RowChecker
from tests.trace.build import MACHINE, columns, lookup

END_ANY = 1 << 52  # of the test machine
END_BOUND = 1 << 35
LOOKUP, RANGE, STATE = EventKind.PFN_VALID, EventKind.WALK_SYSTEM_RAM_RANGE, EventKind.PAGE_STATE

NEAR = st.sampled_from([0, 1, 9, 10, END_BOUND - 10, END_BOUND - 1, END_ANY - 10, END_ANY - 1, END_ANY, (1 << 64) - 1])
RUNS = st.fixed_dictionaries(
    {"kind": st.sampled_from([LOOKUP, LOOKUP, RANGE, STATE]), "pfn": NEAR},
    optional={"nr_pages": st.sampled_from([1, 2, 10, 11]), "stride": st.sampled_from([-10, -1, 0, 1, 10])},
)


def fine(run):
    """Whether the format allows one run, in Python's integers."""
    pages, stride = run.get("nr_pages", 1), run.get("stride", 1)
    last = run["pfn"] + (pages - 1) * stride
    if run["kind"] == LOOKUP and pages == 1:
        return True
    if run["kind"] == RANGE and stride != 1:
        return False
    if pages > 1 and stride == 0:
        return False
    return last >= 0 and max(run["pfn"], last) < (END_BOUND if run["kind"] == STATE else END_ANY)


@settings(max_examples=400, deadline=None)
@given(runs=st.lists(RUNS, min_size=1, max_size=4))
@example(runs=[{"kind": LOOKUP, "pfn": 9, "nr_pages": 10, "stride": -1}])
@example(runs=[{"kind": LOOKUP, "pfn": 9, "nr_pages": 11, "stride": -1}])
@example(runs=[{"kind": LOOKUP, "pfn": END_ANY - 10, "nr_pages": 10}])
@example(runs=[{"kind": STATE, "pfn": END_BOUND - 10, "nr_pages": 11}])
@example(runs=[{"kind": LOOKUP, "pfn": 1, "nr_pages": 2, "stride": 0}, {"kind": LOOKUP, "pfn": 1}])
def test_runs(runs):
    needed = {LOOKUP: {}, RANGE: {"nr_pages": 1}, STATE: {"page_kind": 0}}
    data = columns(*({**needed[run["kind"]], **run} for run in runs))
    batch = Batch(0, len(runs), {name: Slot(values, simplified(mask)) for name, (values, mask) in data.items()})
    bad = [row for row, run in enumerate(runs) if not fine(run)]
    if not bad:
        RowChecker(MACHINE, 0, "x").check(batch)
        return
    with pytest.raises(TraceError) as caught:
        RowChecker(MACHINE, 0, "x").check(batch)
    assert any(f"row {row}," in str(caught.value) for row in bad)


@settings(max_examples=60, deadline=None)
@given(
    batches=st.lists(
        st.lists(st.sampled_from([int(kind) for kind in EventKind if kind < 8 or kind > 70]), min_size=1, max_size=30),
        min_size=1,
        max_size=6,
    ),
    unknown=st.sampled_from([None, 0, 8, 200, 255]),
)
def test_an_unknown_kind_is_found_among_any_others(batches, unknown):
    """However many kinds there were before, and whichever of them were usual."""
    checker, row = RowChecker(MACHINE, 1, "x"), 0
    for number, usual in enumerate(batches):
        last = number == len(batches) - 1
        kinds = [*usual, unknown] if last and unknown is not None else usual
        length = len(kinds)
        needed = ("pfn", "pgmap", "nr_pages", "start", "size", "label", "key", "value", "recorded_flags")
        driver = {EventKind.DAX_DRIVER: {"key": 5, "flags": 1}}  # 1 is no action of a driver
        fields = {**lookup(1), **dict.fromkeys(needed, 1), "recorded_bits": 1, "label": 0, "flags": 0}
        events = [{**fields, **driver.get(k, {}), "kind": k} for k in kinds]
        batch = Batch(row, length, {name: Slot(values) for name, (values, _) in columns(*events).items()})
        batch.stored("time")[:] = row + np.arange(length)
        row += length
        if last and unknown is not None:
            with pytest.raises(TraceError, match=f"row {row - 1}, column kind: found event kind {unknown};"):
                checker.check(batch)
        else:
            checker.check(batch)


def test_a_kind_that_has_not_occurred_for_long_is_still_held_to_its_needs():
    checker = RowChecker(MACHINE, 0, "x")
    for start in range(0, 40, 10):
        events = [lookup(n, time=n) for n in range(start, start + 10)]
        checker.check(Batch(start, 10, {n: Slot(v) for n, (v, _) in columns(*events).items()}))
    events = [*(lookup(n, time=n) for n in range(40, 45)), {"kind": EventKind.MARK, "time": 45, "pfn": 0}]
    with pytest.raises(TraceError, match="row 45, column label: found null"):
        checker.check(Batch(40, 6, {n: Slot(v) for n, (v, _) in columns(*events).items()}))
