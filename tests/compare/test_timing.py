"""Timings: an A/A comparison finds nothing, a planted slow-down is found, and the statistics are the textbook's."""

import itertools
import math
import random

import pytest

from replay.compare.timing import SIGNIFICANT, measure, timing_of

NOISE = 0.03  # of a single measurement, as a logarithm; drift comes on top


def measured(seed, factor, pairs=20):
    """Measure two things on a machine that drifts and is disturbed now and then, by a clock of its own."""
    chance = random.Random(seed)
    now = [0.0]
    speed = [1.0]

    def work(cost):
        speed[0] *= math.exp(chance.gauss(0, 0.01))
        disturbed = 1.5 if chance.random() < 0.05 else 1.0
        now[0] += cost * speed[0] * disturbed * math.exp(chance.gauss(0, NOISE))

    return measure(lambda: work(1.0), lambda: work(factor), pairs=pairs, seed=seed, clock=lambda: now[0])


def test_the_same_thing_twice_differs_in_at_most_one_of_a_hundred():
    found = sum(measured(seed, 1.0).significant for seed in range(1000))
    assert found <= 10


def test_five_percent_are_found_in_nineteen_of_twenty():
    found = [measured(seed, 1.05, pairs=60) for seed in range(200)]
    assert sum(t.significant and t.ratio > 1 for t in found) >= 0.95 * len(found)
    assert sum(t.low <= 1.05 <= t.high for t in found) >= 0.9 * len(found)


@pytest.mark.parametrize("n", [1, 5, 8, 12])
def test_the_probability_is_that_of_all_choices_of_signs(n):
    """Wilcoxon's statistic, against counting all 2^n choices."""
    chance = random.Random(n)
    logs = [chance.gauss(0.3, 1) for _ in range(n)]
    ranked = sorted(logs, key=abs)
    total = n * (n + 1) // 2

    def extreme(signs):
        positive = sum(rank for rank, sign in enumerate(signs, 1) if sign)
        return min(positive, total - positive)

    here = extreme([value > 0 for value in ranked])
    expected = sum(extreme(signs) <= here for signs in itertools.product((0, 1), repeat=n)) / 2**n
    found = timing_of([1.0] * n, [math.exp(value) for value in logs])
    assert found.p == pytest.approx(min(expected, 1.0))
    assert found.low <= found.ratio <= found.high


def test_many_pairs_and_few_agree():
    few, many = measured(7, 1.1, pairs=25), measured(7, 1.1, pairs=60)
    assert few.significant
    assert many.significant
    assert many.high - many.low < few.high - few.low


def test_too_few_pairs_are_never_significant():
    assert timing_of([1.0] * 8, [2.0] * 8).p > SIGNIFICANT
    assert timing_of([1.0] * 8, [2.0] * 8).words == "~"
    assert timing_of([1.0] * 10, [2.0] * 10).words == "100.0% slower"


def test_equal_times_are_no_difference():
    found = timing_of([1.0] * 20, [1.0] * 20)
    assert (found.p, found.ratio, found.words) == (1.0, 1.0, "~")
