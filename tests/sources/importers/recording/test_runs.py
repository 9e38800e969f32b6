"""Runs hold the very lookups they were made of."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from replay.sources.importers.recording.lookups import Lookups
from replay.sources.importers.recording.runs import Runs, compress
from replay.trace.schema import EventKind

ONLINE = EventKind.PFN_TO_ONLINE_PAGE


def lookups(pfns: list[int], **columns: object) -> Lookups:
    n = len(pfns)
    columns = {"task": np.full(n, 7), "ret": np.full(n, 1)} | columns
    return Lookups.make(n, kind=ONLINE, pfn=np.array(pfns, np.int64), begin=np.arange(n), end=np.arange(n), **columns)  # type: ignore[arg-type]


def runs_of(
    pfns: list[int], stretch: list[int] | None = None, alone: list[int] | None = None, **columns: object
) -> list[tuple[int, int, int]]:
    table = lookups(pfns, **columns)
    mask = np.zeros(len(pfns), bool)
    mask[alone or []] = True
    runs = compress(table, np.array(stretch or [0] * len(pfns), np.int64), mask)
    return as_tuples(table, runs)


def as_tuples(table: Lookups, runs: Runs) -> list[tuple[int, int, int]]:
    return list(zip(table.pfn[runs.first].tolist(), runs.length.tolist(), runs.stride.tolist(), strict=True))


def test_strides() -> None:
    assert runs_of([10, 11, 12, 13]) == [(10, 4, 1)]
    assert runs_of([10, 47, 84]) == [(10, 3, 37)]
    assert runs_of([13, 12, 11]) == [(13, 3, -1)]
    assert runs_of([10, 11, 12, 50, 87, 124, 5]) == [(10, 3, 1), (50, 3, 37), (5, 1, 1)]
    assert runs_of([10, 10, 10]) == [(10, 1, 1)] * 3
    assert runs_of([7]) == [(7, 1, 1)]
    assert runs_of([]) == []


def test_what_ends_a_run() -> None:
    assert runs_of([1, 2, 3, 4], stretch=[0, 0, 1, 1]) == [(1, 2, 1), (3, 2, 1)]
    assert runs_of([1, 2, 3, 4], alone=[1]) == [(1, 2, 2), (2, 1, 1), (4, 1, 1)]
    assert runs_of([1, 2, 3, 4], ret=np.array([1, 0, 1, 0])) == [(1, 2, 2), (2, 2, 2)]
    assert runs_of([1, 1, 2, 2], task=np.array([5, 6, 5, 6])) == [(1, 2, 1), (1, 2, 1)]


small = st.integers(0, 3)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.booleans(), small, small, small, small, small), max_size=60),
)
def test_nothing_is_lost(rows: list[tuple[int, ...]]) -> None:
    pfn, jump, *rest = (list(column) for column in zip(*rows, strict=True)) if rows else ([],) * 7
    n = len(rows)
    stretch = np.cumsum(np.array(jump, np.int64))
    names = ("task", "call", "ret", "slow", "found")
    table = lookups(pfn, **{name: np.array(column, np.int64) - 1 for name, column in zip(names, rest, strict=True)})
    alone = np.array([value == 3 for value in pfn], bool)
    runs = compress(table, stretch, alone)

    def answer(i: int) -> tuple[int, ...]:
        return (int(stretch[i]), *(int(getattr(table, name)[i]) for name in names))

    whole = Counter((pfn[i], *answer(i)) for i in range(n))
    parts = Counter(
        (int(table.pfn[first] + k * stride), *answer(int(first)))
        for first, length, stride in zip(runs.first, runs.length, runs.stride, strict=True)
        for k in range(length)
    )
    assert parts == whole
    assert np.all(np.diff(runs.first) > 0)
    assert all(length == 1 for first, length in zip(runs.first, runs.length, strict=True) if alone[first])
    assert all(stride != 0 for stride in runs.stride)


def test_many_distinct_values_do_not_overflow() -> None:
    big = np.array([1 << 40, 1 << 40, 5], np.int64)
    assert runs_of([1, 2, 3], task=big, call=big, found=big) == [(1, 2, 1), (3, 1, 1)]
