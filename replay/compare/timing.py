"""Does one of two things take longer? Measured by turns, in pairs, with an interval and a probability.

Machines drift, so the two are measured side by side, in an order drawn anew for each pair, and only ratios within pairs
are looked at: their median (Hodges-Lehmann), its confidence interval, and Wilcoxon's signed-rank probability that they
would be so far from 1 if nothing differed.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ("CONFIDENCE", "SIGNIFICANT", "Timing", "measure", "timing_of")

SIGNIFICANT = 0.005  # so that of a hundred comparisons of equal things less than one is called different
CONFIDENCE = 0.95
_EXACT = 25  # pairs; above, the normal distribution is as good


@dataclass(frozen=True)
class Timing:
    """What measuring two things by turns gave.

    Attributes:
        baseline: median seconds of one.
        candidate: median seconds of the other.
        ratio: candidate / baseline within pairs, Hodges-Lehmann.
        low: lower end of its confidence interval.
        high: upper end.
        p: probability of ratios at least so far from 1 if nothing differed.
        pairs: how many were measured.
    """

    baseline: float
    candidate: float
    ratio: float
    low: float
    high: float
    p: float
    pairs: int

    @property
    def significant(self) -> bool:
        """Whether the two differ for certain: the interval leaves out 1 as well."""
        return self.p < SIGNIFICANT and not self.low <= 1 <= self.high

    @property
    def words(self) -> str:
        """``~`` when nothing is significant, else how much slower or faster the candidate is."""
        if not self.significant:
            return "~"
        return f"{abs(self.ratio - 1):.1%} {'slower' if self.ratio > 1 else 'faster'}"

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {**vars(self), "significant": self.significant, "confidence": CONFIDENCE}


def measure(
    baseline: Callable[[], object],
    candidate: Callable[[], object],
    *,
    pairs: int,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int, int], None] | None = None,
) -> Timing:
    """Measure two functions by turns.

    Args:
        baseline: the one.
        candidate: the other.
        pairs: how often, after one turn of each that does not count; 10 and more can be significant.
        seed: of the order within pairs.
        clock: gives seconds.
        progress: is told (pairs done, in all).
    """
    order = random.Random(seed)  # noqa: S311 - an order, not a secret
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(-1, pairs):
        seconds = [0.0, 0.0]
        for which in order.sample((0, 1), 2):
            start = clock()
            (baseline, candidate)[which]()
            seconds[which] = clock() - start
        if number >= 0:
            for times, value in zip(found, seconds, strict=True):
                times.append(value)
        if progress is not None:
            progress(number + 1, pairs)
    return timing_of(*found)


def timing_of(baseline: Sequence[float], candidate: Sequence[float]) -> Timing:
    """Return what seconds measured in pairs say."""
    logs = [math.log(c / b) for b, c in zip(baseline, candidate, strict=True)]
    walsh = sorted((a + b) / 2 for i, a in enumerate(logs) for b in logs[i:])
    cut = _cut(len(logs), len(walsh))
    low, middle, high = walsh[cut], statistics.median(walsh), walsh[len(walsh) - 1 - cut]
    return Timing(
        statistics.median(baseline),
        statistics.median(candidate),
        math.exp(middle),
        math.exp(low),
        math.exp(high),
        _signed_rank(logs),
        len(logs),
    )


def _cut(n: int, averages: int) -> int:
    """Return how many of the ordered averages lie outside of the confidence interval at each end."""
    if n <= _EXACT:
        counts, total, below, cut = _ranks(n), 2**n, 0, -1
        for value in range(averages):
            below += counts[value]
            if below / total > (1 - CONFIDENCE) / 2:
                break
            cut = value
        return max(cut + 1, 0) if cut + 1 < averages / 2 else 0
    mean, spread = n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    return max(int(mean - statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * spread), 0)


def _signed_rank(values: Sequence[float]) -> float:
    """Return the two-sided probability of Wilcoxon's signed-rank test; values of 0 are left out."""
    values = [value for value in values if value]
    n = len(values)
    if not n:
        return 1.0
    ordered = sorted(values, key=abs)
    positive = sum(rank for rank, value in enumerate(ordered, 1) if value > 0)
    extreme = min(positive, n * (n + 1) // 2 - positive)
    if n <= _EXACT:
        return min(2.0 * sum(_ranks(n)[: extreme + 1]) / float(2**n), 1.0)
    mean, spread = n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    return min(2 * statistics.NormalDist().cdf((extreme + 0.5 - mean) / spread), 1.0)


def _ranks(n: int) -> list[int]:
    """Return for each sum of ranks how many of the 2^n choices of signs have it."""
    counts = [1] + [0] * (n * (n + 1) // 2)
    for rank in range(1, n + 1):
        for value in range(len(counts) - 1, rank - 1, -1):
            counts[value] += counts[value - rank]
    return counts
