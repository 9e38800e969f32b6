"""IntervalMap against a plain dict of pfns."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from replay.machine.intervals import IntervalMap

TOP = 40
PFNS = st.integers(0, TOP)
OPS = st.lists(st.tuples(PFNS, PFNS, st.integers(0, 3)), max_size=12)  # value 0: clear


def build(ops: list[tuple[int, int, int]]) -> tuple[IntervalMap, dict[int, int]]:
    intervals, model = IntervalMap(), {}
    for start, end, value in ops:
        if value:
            intervals.assign(start, end, value)
            model.update(dict.fromkeys(range(start, end), value))
        else:
            intervals.clear(start, end)
            for pfn in range(start, end):
                model.pop(pfn, None)
    return intervals, model


def runs(model: dict[int, int]) -> list[tuple[int, int, int]]:
    """Maximal intervals of equal values."""
    found: list[tuple[int, int, int]] = []
    for pfn in sorted(model):
        if found and found[-1][1] == pfn and found[-1][2] == model[pfn]:
            found[-1] = (found[-1][0], pfn + 1, model[pfn])
        else:
            found.append((pfn, pfn + 1, model[pfn]))
    return found


@given(ops=OPS)
def test_content(ops: list[tuple[int, int, int]]) -> None:
    """After any assigning and clearing: the same values, in as few intervals as possible, ascending."""
    intervals, model = build(ops)
    expected = runs(model)
    assert list(intervals) == expected
    assert len(intervals) == len(expected)
    assert intervals.end == max(model, default=-1) + 1
    assert [intervals.get(pfn) for pfn in range(TOP + 2)] == [model.get(pfn, 0) for pfn in range(TOP + 2)]
    np.testing.assert_array_equal(
        intervals.at(np.arange(TOP + 2, dtype=np.uint64)), [model.get(pfn, 0) for pfn in range(TOP + 2)]
    )
    for step in (1, 5, TOP):  # more pfns than intervals, and fewer
        pfns = np.repeat(np.arange(0, TOP + 2, step, dtype=np.uint64), 2)
        np.testing.assert_array_equal(intervals.at_sorted(pfns), intervals.at(pfns))


@given(ops=OPS, start=PFNS, end=PFNS)
def test_queries(ops: list[tuple[int, int, int]], start: int, end: int) -> None:
    """Whether a range is touched, what lies within it, and where values change in it."""
    intervals, model = build(ops)
    touching = [r for r in runs(model) if r[0] < end and start < r[1]] if start < end else []
    if start < end:
        assert intervals.overlaps(start, end) == any(pfn in model for pfn in range(start, end))
        assert intervals.within(start, end) == [(max(a, start), min(b, end), v) for a, b, v in touching]
        bounds = [b for a, e, _ in touching for b in (a, e) if start <= b <= end]
        assert sorted(intervals.edges(start, end)) == sorted(bounds)


def test_values_after_a_change_are_not_the_cached_ones() -> None:
    intervals = IntervalMap()
    pfns = np.array([5], np.uint64)
    assert intervals.at(pfns).tolist() == [0]
    intervals.assign(0, 10, 1)
    assert intervals.at(pfns).tolist() == [1]
    intervals.clear(5, 6)
    assert intervals.at(pfns).tolist() == [0]


def test_the_whole_of_64_bits() -> None:
    intervals = IntervalMap()
    intervals.assign(0, (1 << 64) - 1, 7)
    assert intervals.at(np.array([0, (1 << 64) - 2], np.uint64)).tolist() == [7, 7]
    assert intervals.get((1 << 64) - 1) == 0
