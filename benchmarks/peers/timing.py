"""Timing by turns: in every round each contender makes one pass, in an order that is another in each round.

What is compared are times of the same round, so that a machine that slows down slows down both sides of a ratio.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.peers.case import Case, Start
from benchmarks.peers.contenders import BASE, PEERS, rows_of
from benchmarks.peers.peer import Pass, Peer, Unavailable
from benchmarks.peers.verdicts import Counts, coarse

__all__ = ("Disagreement", "Measured", "Ratio", "Result", "measure", "ratio")


class Disagreement(Exception):  # noqa: N818 - what was found
    """A contender's verdicts are not the engine's: its time would mean nothing."""


@dataclass(frozen=True)
class Ratio:
    """A contender's time over the engine's, per row: above 1 the engine is faster.

    Attributes:
        median: of the rounds.
        low: least of the rounds.
        high: greatest of the rounds.
    """

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """Passes of one contender over one workload.

    Attributes:
        peer: its name.
        rows: rows of a pass.
        pages: pfns looked up in a pass.
        weight: rows of the whole workload that a pass stands for; differs from ``rows`` for a contender that goes page by
            page over rows whose runs are longer or shorter than those of the whole.
        seconds: one for each round.
    """

    peer: str
    rows: int
    pages: int
    weight: float
    seconds: tuple[float, ...]

    @property
    def ns_per_row(self) -> tuple[float, ...]:
        """Nanoseconds per row, one for each round."""
        return tuple(s / self.weight * 1e9 for s in self.seconds)

    @property
    def median_ns(self) -> float:
        """Their median."""
        return median(self.ns_per_row)


@dataclass(frozen=True)
class Result:
    """One workload.

    Attributes:
        workload: its name.
        measured: by contender.
        absent: why a contender is not there, by contender.
    """

    workload: str
    measured: dict[str, Measured]
    absent: dict[str, str]

    def ratio(self, peer: str) -> Ratio | None:
        """Return a contender's time over the engine's, None if one of them is not there."""
        if peer not in self.measured or BASE not in self.measured:
            return None
        return ratio(self.measured[peer].ns_per_row, self.measured[BASE].ns_per_row)


def ratio(times: Sequence[float], base: Sequence[float]) -> Ratio:
    """Return times over times, round by round: the median and the extremes."""
    rounds = [t / b for t, b in zip(times, base, strict=True)]
    return Ratio(median(rounds), min(rounds), max(rounds))


def measure(
    start: Start, names: Sequence[str], *, rows: int | None, rounds: int, tell: Callable[[str], None] = lambda _: None
) -> Result:
    """Let contenders answer a workload, first to see that they agree, then for their times.

    Args:
        start: the workload.
        names: contenders.
        rows: rows of a pass; None takes the table's.
        rounds: timed passes of each.
        tell: is told what goes on.

    Raises:
        Disagreement: a contender's verdicts are not the engine's.
    """
    workload = start.workload.name
    cases: dict[int, Case] = {}
    present: dict[str, tuple[Peer, Case]] = {}
    absent: dict[str, str] = {}
    for name in names:
        reason = PEERS[name].refuses(workload)
        if reason is None:
            count = rows_of(name, workload, rows)
            if count not in cases:
                cases[count] = start.case(count)
            case = cases[count]
            tell(f"{workload}: {name} warms up over {count:,} rows")
            try:
                _check(PEERS[name], case, _timed(PEERS[name], case)[1])
            except Unavailable as unavailable:
                reason = str(unavailable)
            else:
                present[name] = PEERS[name], case
        if reason is not None:
            absent[name] = reason
    seconds: dict[str, list[float]] = {name: [] for name in present}
    for number in range(rounds):
        tell(f"{workload}: round {number + 1} of {rounds}")
        for name in _rotated(list(present), number):
            peer, case = present[name]
            taken, done = _timed(peer, case)
            _check(peer, case, done)
            seconds[name].append(taken)
    whole = max(cases.values(), key=lambda c: c.rows) if cases else None
    measured = {
        name: Measured(name, case.rows, case.pages, _weight(peer, case, whole or case), tuple(seconds[name]))
        for name, (peer, case) in present.items()
    }
    return Result(workload, measured, absent)


def _weight(peer: Peer, case: Case, whole: Case) -> float:
    if peer.by_page and case.only_asks and whole.pages:
        return case.pages / whole.pages * whole.rows
    return case.rows


def _rotated(names: list[str], by: int) -> list[str]:
    by %= max(len(names), 1)
    return names[by:] + names[:by]


def _timed(peer: Peer, case: Case) -> tuple[float, Pass]:
    one = peer.prepare(case)
    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter()
        one.run()
        taken = time.perf_counter() - began
    finally:
        gc.enable()
    return taken if one.seconds is None else one.seconds, one


def _check(peer: Peer, case: Case, done: Pass) -> None:
    found = done.counts()
    if found is None:
        return
    expected = coarse(case.expected) if peer.coarse else case.expected
    if found != expected:
        raise Disagreement(
            f"workload {case.workload.name}, {case.rows:,} rows: {peer.name} and the engine disagree\n"
            f"  {peer.name}: {_words(found, expected)}\n  engine: {_words(expected, found)}"
        )


def _words(counts: Counts, other: Counts) -> str:
    """Return the counts that differ from the other ones."""
    differing = sorted(v for v in counts.keys() | other.keys() if counts[v] != other[v])
    return ", ".join(f"{function} {check} {counts[function, check]:,}" for function, check in differing)
