"""What a replay counts: outcomes, agreement with the recording, distance from the truth, and where they part."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ("DUMP", "MAX_DIFFERENCES", "SLOW_PATH", "Agreement", "Difference", "RangeCount", "Tally")

DUMP = "section dump"  # aspect: flags and subsection maps of recorded section tables
SLOW_PATH = "pfn_to_online_page slow path"  # aspect: whether the lookup asked for a pagemap

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
    """Counts per pfn range, merged when asked for."""

    def __init__(self) -> None:
        self._ranges: dict[tuple[int, int], int] = {}

    def add(self, first: int, last: int, count: int) -> None:
        """Count lookups that hit pfns from ``first`` to ``last``, inclusive."""
        self._ranges[first, last] = self._ranges.get((first, last), 0) + count
        if len(self._ranges) > 1 << 16:
            self._ranges = {(low, high): n for low, high, n in self.merged()}

    def add_many(self, first: NDArray[np.uint64], last: NDArray[np.uint64], count: NDArray[np.int64]) -> None:
        """Count lookups of many ranges."""
        for low, high, n in zip(first.tolist(), last.tolist(), count.tolist(), strict=True):
            self.add(low, high, n)

    def merged(self) -> list[tuple[int, int, int]]:
        """Return (first, last, count), ascending; ranges that touch are one."""
        merged: list[tuple[int, int, int]] = []
        for (first, last), count in sorted(self._ranges.items()):
            if merged and first <= merged[-1][1] + 1:
                low, high, before = merged[-1]
                merged[-1] = (low, max(high, last), before + count)
            else:
                merged.append((first, last, count))
        return merged

    @property
    def total(self) -> int:
        """All counts together."""
        return sum(self._ranges.values())


@dataclass
class Tally:
    """Everything counted in one replay.

    Attributes:
        events: rows replayed.
        pages: pfns looked up.
        outcomes: per function, answer name -> calls.
        checks: per function, deciding check -> calls.
        agreement: per aspect.
        differences: the first rows that differ, per aspect.
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

    def room(self, aspect: str) -> int:
        """Return how many more differing rows of an aspect are kept."""
        return MAX_DIFFERENCES - len(self.differences.get(aspect, ()))

    def differ(self, difference: Difference) -> None:
        """Keep a differing row, if there are not enough yet."""
        rows = self.differences.setdefault(difference.aspect, [])
        if len(rows) < MAX_DIFFERENCES:
            rows.append(difference)
