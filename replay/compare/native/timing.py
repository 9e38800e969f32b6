"""What a call costs: samples of the lookups, timed in several processes, and what can be said of them.

A process decides where code and data lie, and that alone can make one of two equal functions a few per cent faster. So the
unit is the process: each gives one figure, from the best of some rounds in which the contenders take turns (whatever else
the machine does only adds). Intervals and tests are over processes, and assume nothing about how timings are distributed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from replay.compare.native.child import Child
from replay.compare.native.layout import ROUNDS, SAMPLE_SECONDS, Contender, Function
from replay.compare.native.pieces import Piece

__all__ = ("RESOLUTION", "SIGNIFICANT", "Estimate", "Sample", "Timing", "estimate", "p_same", "time_calls")

SIGNIFICANT = 0.01
RESOLUTION = 0.005  # of the baseline: how far apart equal functions are seen to be, by where they happen to lie
_PIECES = 64  # of one sample
_SAMPLE_BYTES = 256 << 20
_CONFIDENCE = 0.95

F64 = NDArray[np.float64]


class Sample:
    """Some of the pieces that come by, evenly over the lookups of one function, without knowing how many there will be.

    Attributes:
        seen: lookups that came by.
    """

    def __init__(self) -> None:
        self._step = 1
        self.seen = 0
        self._kept: list[tuple[int, Piece]] = []  # (number of its first lookup, piece)

    @property
    def pieces(self) -> list[Piece]:
        """The pieces."""
        return [piece for _, piece in self._kept]

    @property
    def weights(self) -> list[int]:
        """How many of all lookups each piece stands for."""
        return [self._points(start, piece) * self._step for start, piece in self._kept]

    def offer(self, piece: Piece) -> None:
        """Take a piece, or leave it."""
        if self._points(self.seen, piece):
            self._kept.append((self.seen, piece))
        self.seen += len(piece)
        while len(self._kept) > _PIECES or (len(self._kept) > 1 and self._bytes() > _SAMPLE_BYTES):
            self.thin()

    def thin(self) -> None:
        """Keep about half of the pieces."""
        self._step *= 2
        self._kept = [(start, piece) for start, piece in self._kept if self._points(start, piece)]

    def _points(self, start: int, piece: Piece) -> int:
        """Return how many of the lookups 0, step, 2 step, … are in the piece."""
        return -(-(start + len(piece)) // self._step) - -(-start // self._step)

    def _bytes(self) -> int:
        images = {id(piece.image): piece.image.numbers.nbytes for piece in self.pieces}
        return sum(images.values()) + sum(piece.pfns.nbytes for piece in self.pieces)


@dataclass(frozen=True)
class Estimate:
    """A figure with an interval.

    Attributes:
        median: over processes.
        low: lower end of the interval that holds the true median with at least 95 % probability.
        high: upper end.
    """

    median: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Return plain values for JSON."""
        return {"median": round(self.median, 4), "low": round(self.low, 4), "high": round(self.high, 4)}


def estimate(values: Sequence[float]) -> Estimate:
    """Return the median of independent figures, with an interval from their order.

    With fewer than 6 values no such interval reaches 95 %; it is the widest there is then, from the least to the greatest.
    """
    ordered = sorted(values)
    n, outside = len(ordered), 0
    while outside + 1 < n / 2 and 2 * _tail(n, outside + 1) <= 1 - _CONFIDENCE:
        outside += 1
    return Estimate(float(np.median(ordered)), ordered[outside], ordered[n - 1 - outside])


def p_same(differences: Sequence[float]) -> float:
    """Return the probability of signs at least as one-sided as these if either sign were as likely: the sign test."""
    up, down = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    return min(1.0, 2 * _tail(up + down, min(up, down))) if up + down else 1.0


def _tail(n: int, k: int) -> float:
    """Return the probability of at most ``k`` heads in ``n`` throws."""
    return sum(math.comb(n, i) for i in range(k + 1)) / 2.0**n


@dataclass(frozen=True)
class Timing:
    """Cost of one function.

    Attributes:
        lookups: distinct calls that were timed.
        of: calls that they are a sample of.
        processes: in which they were timed.
        candidate: nanoseconds per call.
        baseline: the same of the baseline; None without one that defines the function.
        difference: candidate minus baseline.
        p: of the difference, by the sign test over processes; None without a baseline.
        empty: of the loop with a call that does nothing, which the others include.
        cycles: per call of the candidate, and of the baseline; None where the machine gives none.
        cycles_missing: why there are none.
    """

    lookups: int
    of: int
    processes: int
    candidate: Estimate
    baseline: Estimate | None
    difference: Estimate | None
    p: float | None
    empty: Estimate
    cycles: tuple[Estimate, Estimate | None] | None
    cycles_missing: str

    @property
    def significant(self) -> bool:
        """Whether candidate and baseline differ by more than chance, and by more than equal functions can."""
        if self.p is None or self.difference is None or self.baseline is None:
            return False
        return self.p <= SIGNIFICANT and abs(self.difference.median) > RESOLUTION * self.baseline.median

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON, in nanoseconds."""
        cycles = None
        if self.cycles is not None:
            candidate, baseline = self.cycles
            cycles = {"candidate": candidate.to_dict(), "baseline": baseline and baseline.to_dict()}
        return {
            "unit": "ns per call",
            "lookups": self.lookups,
            "of": self.of,
            "processes": self.processes,
            "candidate": self.candidate.to_dict(),
            "baseline": self.baseline and self.baseline.to_dict(),
            "difference": self.difference and self.difference.to_dict(),
            "p": self.p,
            "significant": self.significant,
            "empty": self.empty.to_dict(),
            "cycles": cycles,
            "cycles_missing": self.cycles_missing,
        }


def time_calls(
    samples: dict[Function, Sample],
    start: Callable[[bool], Child],
    against: frozenset[Function],
    *,
    processes: int,
    rounds: int,
    budget: float,
    nanoseconds: float,
) -> dict[Function, Timing]:
    """Time samples of checked lookups.

    Args:
        samples: by function; those without pieces are left out.
        start: starts a process, told whether the baseline is to be loaded before the candidate.
        against: functions that the baseline defines.
        processes: how many to start, one after the other.
        rounds: samples of each contender in a row.
        budget: seconds that it should take at most, roughly; samples are thinned to keep to it.
        nanoseconds: what a call takes, roughly.
    """
    rounds = min(rounds, ROUNDS)
    for sample in samples.values():
        while len(sample.pieces) > 1 and _seconds(sample, nanoseconds) * processes * (rounds + 2) > budget:
            sample.thin()
    samples = {f: sample for f, sample in samples.items() if sample.pieces}
    figures: dict[Function, list[F64]] = {f: [] for f in samples}
    cycles: dict[Function, list[F64]] = {f: [] for f in samples}
    missing = ""
    for number in range(processes):
        swapped = number % 2 == 1
        with start(swapped) as child:
            for function, sample in samples.items():
                found = _figures(child, function, sample, rounds, swapped=swapped)
                figures[function].append(found[0])
                cycles[function].append(found[1])
            missing = missing or child.cycles_missing
    return {
        f: _timing(sample, np.array(figures[f]), None if missing else np.array(cycles[f]), f in against, missing)
        for f, sample in samples.items()
    }


def _seconds(sample: Sample, nanoseconds: float) -> float:
    """Return what one round over a sample takes, roughly."""
    return sum(len(Contender) * max(len(piece) * nanoseconds * 1e-9, SAMPLE_SECONDS) for piece in sample.pieces)


def _figures(child: Child, function: Function, sample: Sample, rounds: int, *, swapped: bool) -> tuple[F64, F64]:
    """Return ns and cycles per call in one process, for candidate, baseline, loop, and candidate minus baseline."""
    totals, loaded = np.zeros((2, 4)), None
    for piece, weight in zip(sample.pieces, sample.weights, strict=True):
        if piece.image is not loaded:
            child.machine(piece.image)
            loaded = piece.image
        timed = child.time(function, piece.pfns, piece.positions, rounds)
        for which, taken in enumerate((timed.nanoseconds, timed.cycles)):
            if taken is None:
                continue
            best = taken.min(axis=0)[[1, 0, 2] if swapped else [0, 1, 2]]
            totals[which] += np.append(best, best[0] - best[1]) * weight
    totals /= sum(sample.weights)
    return totals[0], totals[1]


def _timing(sample: Sample, figures: F64, cycles: F64 | None, has_baseline: bool, missing: str) -> Timing:
    both = None
    if cycles is not None:
        both = estimate(cycles[:, 0].tolist()), estimate(cycles[:, 1].tolist()) if has_baseline else None
    candidate, baseline, empty, difference = (column.tolist() for column in figures.T)
    return Timing(
        lookups=sum(len(piece) for piece in sample.pieces),
        of=sample.seen,
        processes=len(figures),
        candidate=estimate(candidate),
        baseline=estimate(baseline) if has_baseline else None,
        difference=estimate(difference) if has_baseline else None,
        p=p_same(difference) if has_baseline else None,
        empty=estimate(empty),
        cycles=both,
        cycles_missing=missing,
    )
