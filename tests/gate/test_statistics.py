"""Mann-Whitney U, one-sided: exact where it must be, and deaf to noise."""

from __future__ import annotations

import itertools
import math

import pytest

from benchmarks.gate.statistics import MIN_SAMPLES, P_THRESHOLD, p_slower

LOW, HIGH = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5], [2.0, 2.1, 2.2, 2.3, 2.4, 2.5]


def test_six_and_six_are_enough_and_five_and_five_are_not() -> None:
    assert p_slower(LOW, HIGH) == pytest.approx(1 / math.comb(12, 6))
    assert p_slower(LOW, HIGH) < P_THRESHOLD
    assert len(LOW) == MIN_SAMPLES
    assert p_slower(LOW[1:], HIGH[1:]) > P_THRESHOLD


def test_faster_is_never_slower() -> None:
    assert p_slower(HIGH, LOW) == 1
    assert p_slower(LOW, LOW) > 0.5
    assert p_slower([1.0] * 6, [1.0] * 6) == 1  # ties count as not slower


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 3), (4, 3), (4, 4)])
def test_exact(m: int, n: int) -> None:
    """The same as counting all orders of the samples."""
    orders = [set(after) for after in itertools.combinations(range(m + n), n)]

    def above(after: set[int]) -> int:
        return sum(a > b for a in after for b in range(m + n) if b not in after)

    for after in orders:
        before = [b for b in range(m + n) if b not in after]
        expected = sum(above(other) >= above(after) for other in orders) / len(orders)
        assert p_slower(before, sorted(after)) == pytest.approx(expected)


def test_many_samples() -> None:
    """The normal approximation joins the exact one."""
    before = [float(i) for i in range(20)]
    after = [i + 6.5 for i in range(20)]
    exact = p_slower(before, after)
    assert p_slower([*before, 9.75], after) == pytest.approx(exact, rel=0.5)
    assert p_slower([*before, 20.0], [i + 40.0 for i in range(20)]) < 1e-6
