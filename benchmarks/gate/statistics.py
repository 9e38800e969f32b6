"""Is one set of timings slower than another, or is it noise? Mann-Whitney U, exact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

__all__ = ("MIN_SAMPLES", "P_THRESHOLD", "p_slower")

P_THRESHOLD = 0.002
MIN_SAMPLES = 6  # 6 + 6, one entirely above the other: p = 1 / C(12, 6) = 0.0011; 5 + 5 gives 0.004 at best
_EXACT = 20  # samples on either side; above, the normal distribution is as good


def p_slower(before: Sequence[float], after: Sequence[float]) -> float:
    """Return the probability of timings at least as much slower as these, if nothing had changed.

    One-sided, because only slower is asked for: with two sides 6 + 6 samples could never be significant. Ties count as
    not slower.
    """
    m, n = len(before), len(after)
    slower = sum(a > b for b in before for a in after)
    if max(m, n) <= _EXACT:
        return sum(_arrangements(m, n, u) for u in range(slower, m * n + 1)) / math.comb(m + n, n)
    spread = math.sqrt(m * n * (m + n + 1) / 12)
    return 0.5 * math.erfc((slower - 0.5 - m * n / 2) / spread / math.sqrt(2))


@cache
def _arrangements(m: int, n: int, u: int) -> int:
    """Return the number of orders of m and n samples in which u pairs have the second one above the first."""
    if u < 0:
        return 0
    if m == 0 or n == 0:
        return int(u == 0)
    return _arrangements(m, n - 1, u - m) + _arrangements(m - 1, n, u)
