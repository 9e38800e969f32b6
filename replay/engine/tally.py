"""What a replay counts: outcomes, agreement with the recording, distance from the truth, and where they part."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from replay.errors import InvariantError

__all__ = (
    "BLOCKS",
    "DAXES",
    "DRIVER_CALLS",
    "DUMP",
    "MAX_DIFFERENCES",
    "RESOURCES",
    "SLOW_PATH",
    "Agreement",
    "Difference",
    "RangeCount",
    "Tally",
)

DUMP = "section dump"  # aspect: flags and subsection maps of recorded section tables
RESOURCES = "resource dump"  # aspect: entries of recorded resource trees
BLOCKS = "memory block dump"  # aspect: recorded memory block devices, and whether they are online
DAXES = "dax device dump"  # aspect: recorded devices of the dax bus
DRIVER_CALLS = "calls made by drivers"  # aspect: what drivers asked for: ranges, altmaps, names
SLOW_PATH = "pfn_to_online_page slow path"  # aspect: whether the lookup asked for a pagemap

_FEW = 16
MAX_DIFFERENCES = 20  # kept per aspect, to show; all are counted


@dataclass
class Agreement:
    """Calls compared with the recording; a run counts each of its pfns.

    Attributes:
        agreed: the answers are the same.
        differed: they are not.
        not_compared: recorded calls that prove nothing, by reason.
    """

    agreed: int = 0
    differed: int = 0
    not_compared: Counter[str] = field(default_factory=Counter)

    @property
    def compared(self) -> int:
        """Calls whose answers were held against each other."""
        return self.agreed + self.differed

    @property
    def recorded(self) -> int:
        """Calls with a recorded answer."""
        return self.compared + self.not_compared.total()

    def merge(self, other: Agreement) -> None:
        """Count the calls of another part of the replay too."""
        self.agreed += other.agreed
        self.differed += other.differed
        self.not_compared.update(other.not_compared)

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {
            "recorded": self.recorded,
            "compared": self.compared,
            "agreed": self.agreed,
            "differed": self.differed,
            "not_compared": dict(sorted(self.not_compared.items())),
        }


@dataclass(frozen=True)
class Difference:
    """A row on which replay and recording part.

    Attributes:
        aspect: what was compared.
        row: row of the trace.
        pfn: first pfn of the row (of the run).
        recorded: what the kernel answered.
        replayed: what the replay answered.
        count: calls of the row that differ.
    """

    aspect: str
    row: int
    pfn: int
    recorded: str
    replayed: str
    count: int


class RangeCount:
    """Counts per pfn range.

    Ranges in the same place are kept as one, from the lowest pfn to the highest. A place is where the state that made the
    answers wrong begins: in the section, or within it. So what is kept does not depend on the order in which ranges come,
    nor on how many come at once, never spans what was answered rightly, and is bounded by the machine.
    """

    def __init__(self) -> None:
        self._ranges: dict[int, tuple[int, int, int]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RangeCount) and self.merged() == other.merged()

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __repr__(self) -> str:
        return f"RangeCount({self.merged()!r})"

    def add(self, first: int, last: int, count: int, place: int | None = None) -> None:
        """Count lookups that hit pfns from ``first`` to ``last``, inclusive; a place of their own if none is given."""
        key = first if place is None else place
        low, high, before = self._ranges.get(key, (first, last, 0))
        self._ranges[key] = min(low, first), max(high, last), before + count

    def add_many(
        self,
        first: NDArray[np.uint64],
        last: NDArray[np.uint64],
        count: NDArray[np.int64],
        place: NDArray[np.uint64],
    ) -> None:
        """Count lookups of many ranges; arrays of equal length."""
        if first.size > _FEW:
            order = np.argsort(place, kind="stable")
            ordered = place[order]
            starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
            first = np.minimum.reduceat(first[order], starts)
            last = np.maximum.reduceat(last[order], starts)
            count = np.add.reduceat(count[order], starts)
            place = ordered[starts]
        columns = (first.tolist(), last.tolist(), count.tolist(), place.tolist())
        for low, high, n, key in zip(*columns, strict=True):
            self.add(low, high, n, key)

    def merge(self, other: RangeCount) -> None:
        """Count the lookups of another part of the replay too."""
        for place, (first, last, count) in other._ranges.items():
            self.add(first, last, count, place)

    def merged(self) -> list[tuple[int, int, int]]:
        """Return (first, last, count), ascending; ranges that touch are one."""
        merged: list[tuple[int, int, int]] = []
        for first, last, count in sorted(self._ranges.values()):
            if merged and first <= merged[-1][1] + 1:
                low, high, before = merged[-1]
                merged[-1] = (low, max(high, last), before + count)
            else:
                merged.append((first, last, count))
        return merged

    @property
    def total(self) -> int:
        """All counts together."""
        return sum(count for _, _, count in self._ranges.values())


@dataclass
class Tally:
    """Everything counted in one replay.

    Attributes:
        events: rows replayed.
        pages: pfns looked up.
        outcomes: per function, answer name -> calls.
        checks: per function, deciding check -> calls.
        agreement: per aspect.
        differences: per aspect the first rows that differ, by row number, whatever the order they were found in.
        false_online: pfns answered with a page although they are not online System RAM.
        false_offline: pfns of online System RAM answered with NULL.
        slow: pfn_to_online_page calls that looked up the pagemap.
        counters: poisoned pages, and per node what became of them, at the end.
    """

    events: int = 0
    pages: int = 0
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    checks: dict[str, Counter[str]] = field(default_factory=dict)
    agreement: dict[str, Agreement] = field(default_factory=dict)
    differences: dict[str, list[Difference]] = field(default_factory=dict)
    false_online: RangeCount = field(default_factory=RangeCount)
    false_offline: RangeCount = field(default_factory=RangeCount)
    slow: int = 0
    counters: dict[str, int] = field(default_factory=dict)

    def decided(self, function: str, check: str, answer: str, count: int) -> None:
        """Count calls that a check decided."""
        if count:
            self.outcomes.setdefault(function, Counter())[answer] += count
            self.checks.setdefault(function, Counter())[check] += count

    def compare(self, aspect: str, recorded: int, agreed: int, not_compared: str = "", unproven: int = 0) -> None:
        """Count recorded calls of an aspect: ``agreed`` of them alike, ``unproven`` not compared for that reason."""
        if not recorded:
            return
        agreement = self.agreement.setdefault(aspect, Agreement())
        agreement.agreed += agreed
        agreement.differed += recorded - agreed - unproven
        if unproven:
            agreement.not_compared[not_compared] += unproven

    def differ(self, difference: Difference) -> None:
        """Keep a differing row, if it is one of the first."""
        rows = self.differences.setdefault(difference.aspect, [])
        if len(rows) < MAX_DIFFERENCES or difference.row < rows[-1].row:
            insort(rows, difference, key=attrgetter("row"))
            del rows[MAX_DIFFERENCES:]

    def merge(self, other: Tally) -> None:
        """Count another part of the same replay too: rows that this tally does not know.

        Counters are the machine's at the end, not counts of rows: one part alone may have them.
        """
        self.events += other.events
        self.pages += other.pages
        self.slow += other.slow
        for mine, theirs in ((self.outcomes, other.outcomes), (self.checks, other.checks)):
            for function, counts in theirs.items():
                mine.setdefault(function, Counter()).update(counts)
        for aspect, agreement in other.agreement.items():
            self.agreement.setdefault(aspect, Agreement()).merge(agreement)
        for rows in other.differences.values():
            for difference in rows:
                self.differ(difference)
        self.false_online.merge(other.false_online)
        self.false_offline.merge(other.false_offline)
        if self.counters and other.counters:
            raise InvariantError("two parts of a replay have counters of the machine's end")
        self.counters = self.counters or other.counters
