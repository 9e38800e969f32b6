"""The statistics of native timings: nothing is assumed of how they are distributed. Clocks are not looked at here."""

from __future__ import annotations

import inspect
from itertools import product

import numpy as np
import pytest

from replay.compare.native import NativeCandidate
from replay.compare.native.image import Image
from replay.compare.native.layout import Function
from replay.compare.native.pieces import Piece
from replay.compare.native.timing import SIGNIFICANT, Estimate, Sample, Timing, estimate, p_same


def piece(first: int, size: int, image: Image | None = None) -> Piece:
    image = image or Image(np.zeros(1, np.uint64), {})
    rows = np.arange(first, first + size)
    blank = np.zeros(size, np.uint8)
    return Piece(Function.PFN_VALID, rows, rows.astype(np.uint64), None, blank, blank, image, lambda pfns: pfns)


@pytest.mark.parametrize(("n", "outside"), [(1, 0), (5, 0), (6, 0), (8, 0), (9, 1), (10, 1), (12, 2), (20, 5)])
def test_intervals_are_those_of_the_order(n: int, outside: int) -> None:
    found = estimate([float(i) for i in reversed(range(n))])
    assert (found.low, found.high) == (outside, n - 1 - outside)
    assert found.median == (n - 1) / 2


@pytest.mark.parametrize("n", [6, 9, 10, 13])
def test_intervals_hold_the_median_as_often_as_they_say(n: int) -> None:
    # Each value is below or above the true median with equal chance; that is all that counts.
    inside = 0
    for signs in product((-1.0, 1.0), repeat=n):
        found = estimate([s * (i + 1) for i, s in enumerate(signs)])
        inside += found.low <= 0 <= found.high
    assert inside / 2**n >= 0.95


@pytest.mark.parametrize(
    ("signs", "p"), [("++++++++++", 2 / 1024), ("-++++++++-", 112 / 1024), ("+-", 1.0), ("", 1.0), ("0000", 1.0)]
)
def test_sign_test(signs: str, p: float) -> None:
    assert p_same([{"+": 1.0, "-": -1.0, "0": 0.0}[s] for s in signs]) == pytest.approx(p)


@pytest.mark.parametrize("processes", [8, 10, 12])
def test_processes_can_be_significant_and_seldom_are_by_chance(processes: int) -> None:
    by_chance = sum(p_same(signs) <= SIGNIFICANT for signs in product((-1.0, 1.0), repeat=processes)) / 2**processes
    assert p_same([1.0] * processes) <= SIGNIFICANT
    assert 0 < by_chance <= SIGNIFICANT


def test_differences_that_equal_code_has_are_not_significant() -> None:
    one = Estimate(4.0, 3.9, 4.1)
    for difference, significant in ((0.019, False), (0.021, True), (-0.019, False), (-0.021, True)):
        timing = Timing(1, 1, 12, one, one, Estimate(difference, difference, difference), 0.0005, one, None, "")
        assert timing.significant is significant


def test_by_default_one_process_may_be_disturbed() -> None:
    processes = inspect.signature(NativeCandidate.check).parameters["processes"].default
    assert p_same([1.0] * (processes - 1) + [-1.0]) <= SIGNIFICANT


@pytest.mark.parametrize("sizes", [[3], [1] * 500, [65536] * 300, [1, 65536, 7, 40000] * 100, [2, 1000] * 300])
def test_samples_stand_for_all_lookups(sizes: list[int]) -> None:
    sample, first = Sample(), 0
    for size in sizes:
        sample.offer(piece(first, size))
        first += size
    assert 1 <= len(sample.pieces) <= 64
    assert len(sample.weights) == len(sample.pieces)
    # Evenly: what is left stands for all lookups, but for a step at the end.
    assert sample.seen == first
    assert sum(sample.weights) == pytest.approx(first, rel=0.1, abs=1)
    firsts = [int(p.rows[0]) for p in sample.pieces]
    assert firsts == sorted(firsts)


def test_large_machines_are_not_all_kept() -> None:
    sample = Sample()
    for number in range(40):
        sample.offer(piece(number * 1000, 1000, Image(np.zeros(4 << 20, np.uint64), {})))
    assert sum(p.image.numbers.nbytes for p in sample.pieces) <= 256 << 20
    assert sum(sample.weights) == pytest.approx(40_000, rel=0.1)
