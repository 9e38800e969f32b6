"""Ranges of differing calls: exactly the pfns that were asked about, whatever came together and in which order."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from replay.compare import ranges
from replay.compare.ranges import PfnRange, PfnRanges

RUNS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 8), st.integers(1, 6)), max_size=20)
"""(first, pfns, step)"""


def filled(runs, cuts=()):
    found = PfnRanges()
    borders = [0, *sorted(min(cut, len(runs)) for cut in cuts), len(runs)]
    for start, end in itertools.pairwise(borders):
        part = runs[start:end]
        first = np.array([f for f, _, _ in part], np.uint64)
        last = np.array([f + (n - 1) * s for f, n, s in part], np.uint64)
        calls = np.array([n for _, n, _ in part], np.int64)
        found.add(first, last, calls, first // np.uint64(16))
    return found


def pfns(listed):
    return {pfn for one in listed for pfn in range(one.first, one.last + 1, one.step)}


@given(RUNS)
def test_the_ranges_have_the_pfns_that_were_asked_about_and_no_others(runs):
    listed = filled(runs).listed()
    assert pfns(listed) == {f + i * s for f, n, s in runs for i in range(n)}
    assert sum(one.calls for one in listed) == sum(n for _, n, _ in runs)
    assert listed == sorted(listed)


@given(RUNS, st.permutations(range(20)), st.lists(st.integers(0, 20), max_size=3))
def test_neither_order_nor_batches_matter(runs, order, cuts):
    other = [runs[i] for i in order if i < len(runs)]
    assert filled(other, cuts) == filled(runs)
    parts = [filled(runs[i::3]) for i in range(3)]
    for part in parts[1:]:
        parts[0].merge(part)
    assert parts[0] == filled(runs)


@given(RUNS)
def test_contiguous_ranges_neither_overlap_nor_touch(runs):
    whole = [one for one in filled(runs).listed() if one.step == 1]
    assert all(a.last + 1 < b.first for a, b in itertools.pairwise(whole))


def test_a_step_within_a_whole_range_is_not_listed_by_itself():
    assert filled([(10, 3, 2), (8, 20, 1), (100, 4, 8)]).listed() == [PfnRange(8, 27, 1, 23), PfnRange(100, 124, 8, 4)]


def test_one_call_about_many_pages_is_a_whole_range():
    found = PfnRanges()
    found.add(np.array([64], np.uint64), np.array([127], np.uint64), np.array([1]), np.array([0], np.uint64))
    assert found.listed() == [PfnRange(64, 127, 1, 1)]


def test_of_too_many_ranges_the_lowest_and_highest_pfn_of_each_place_is_left(monkeypatch):
    monkeypatch.setattr(ranges, "_MOST", 3)
    found = filled([(n, 1, 1) for n in (0, 2, 4, 6, 20, 40)])
    assert not found.exact
    assert found.listed() == [PfnRange(0, 6, 1, 4), PfnRange(20, 20, 1, 1), PfnRange(40, 40, 1, 1)]
    few = filled([(100, 1, 1)])
    few.merge(found)
    assert not few.exact
    assert sum(one.calls for one in few.listed()) == 7


def test_the_highest_pfns_there_are_do_not_overflow():
    top = (1 << 64) - 1
    found = PfnRanges()
    found.add(
        np.array([top - 1, top], np.uint64),
        np.array([top - 1, top], np.uint64),
        np.array([1, 1]),
        np.zeros(2, np.uint64),
    )
    assert found.listed() == [PfnRange(top - 1, top, 1, 2)]
