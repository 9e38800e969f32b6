"""Where two kernels part, grouped by what made them: the check that decided on each side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from replay.compare.ranges import PfnRanges

__all__ = ("Cause", "Causes", "Verdict")


class Verdict(NamedTuple):
    """What one kernel answered, and by which check.

    Attributes:
        check: id of the deciding check.
        answer: in words.
        yes: what counts as the answer: two verdicts with the same one do not differ.
    """

    check: str
    answer: str
    yes: str

    @property
    def in_full(self) -> str:
        """The answer in words that no other answer has: short ones do not say all that is seen."""
        return self.yes if self.yes.startswith(self.answer) else f"{self.answer} = {self.yes}"


@dataclass
class Cause:
    """Calls of one function that each kernel decided by one check.

    Attributes:
        function: the kernel's name.
        baseline: verdict of the baseline.
        candidate: verdict of the candidate.
        calls: how many; a run counts each of its pfns.
        rows: in how many rows of the trace.
        ranges: of pfns; only where the answers differ.
        first: row and pfn of the first; no pfn where the rows have none.
        recorded: calls whose answer was recorded.
        baseline_agrees: of these, the baseline's answer is the recorded one.
        candidate_agrees: of these, the candidate's is.
        baseline_unproven: of these, the recording proves nothing about the baseline's, as ``replay run`` counts it.
        candidate_unproven: and nothing about the candidate's.
        baseline_wrong: pfn_to_online_page: calls that the baseline answers against the truth.
        candidate_wrong: and those that the candidate does.
        follows: both kernels decide all of these calls by the same rules: they are answered otherwise because of what the
            function asks, or of what earlier calls left.
    """

    function: str
    baseline: Verdict
    candidate: Verdict
    calls: int = 0
    rows: int = 0
    ranges: PfnRanges = field(default_factory=PfnRanges)
    first: tuple[int, int | None] | None = None
    recorded: int = 0
    baseline_agrees: int = 0
    candidate_agrees: int = 0
    baseline_unproven: int = 0
    candidate_unproven: int = 0
    baseline_wrong: int = 0
    candidate_wrong: int = 0
    follows: bool = False

    @property
    def key(self) -> tuple[str, Verdict, Verdict]:
        """What makes it this cause."""
        return self.function, self.baseline, self.candidate

    @property
    def differs(self) -> bool:
        """Whether the answers differ, not only the reasons."""
        return self.baseline.yes != self.candidate.yes

    @property
    def regression(self) -> bool:
        """Whether the candidate is further from the recording, or from the truth, than the baseline."""
        baseline, candidate = (
            self.recorded - agrees - unproven
            for agrees, unproven in (
                (self.baseline_agrees, self.baseline_unproven),
                (self.candidate_agrees, self.candidate_unproven),
            )
        )
        further = candidate > baseline or self.candidate_agrees < self.baseline_agrees
        return further or self.candidate_wrong > self.baseline_wrong

    def merge(self, other: Cause) -> None:
        """Count calls of a later part of the same trace too."""
        for name in (
            "calls",
            "rows",
            "recorded",
            "baseline_agrees",
            "candidate_agrees",
            "baseline_unproven",
            "candidate_unproven",
            "baseline_wrong",
            "candidate_wrong",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.follows &= other.follows
        self.ranges.merge(other.ranges)
        if self.first is None or (other.first is not None and other.first[0] < self.first[0]):
            self.first = other.first

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {
            "function": self.function,
            "baseline": {"check": self.baseline.check, "answer": self.baseline.answer},
            "candidate": {"check": self.candidate.check, "answer": self.candidate.answer},
            "follows": self.follows,
            "calls": self.calls,
            "rows": self.rows,
            "first": None if self.first is None else {"row": self.first[0], "pfn": self.first[1]},
            "ranges": [one._asdict() for one in self.ranges.listed()],
            "ranges_exact": self.ranges.exact,
            "recorded": self.recorded,
            "agrees": {"baseline": self.baseline_agrees, "candidate": self.candidate_agrees},
            "not_compared": {"baseline": self.baseline_unproven, "candidate": self.candidate_unproven},
            "wrong": {"baseline": self.baseline_wrong, "candidate": self.candidate_wrong},
        }


class Causes:
    """All calls of a comparison, by cause."""

    def __init__(self, causes: Iterable[Cause] = ()) -> None:
        self._causes: dict[tuple[str, Verdict, Verdict], Cause] = {}
        for cause in causes:
            self.add(cause)

    def __iter__(self) -> Iterator[Cause]:
        return iter(self._causes.values())

    def add(self, cause: Cause) -> None:
        """Count a cause, which may be known already."""
        known = self._causes.setdefault(cause.key, cause)
        if known is not cause:
            known.merge(cause)

    @property
    def differing(self) -> list[Cause]:
        """Those with different answers, those that follow from others last, most calls first."""
        return sorted((c for c in self if c.differs), key=lambda c: (c.follows, -c.calls, c.key))

    @property
    def other_reason(self) -> list[Cause]:
        """Those with the same answer for another reason, most calls first."""
        found = (c for c in self if not c.differs and c.baseline.check != c.candidate.check)
        return sorted(found, key=lambda c: (-c.calls, c.key))

    def matrix(self) -> dict[str, dict[tuple[str, str], int]]:
        """Return per function the calls by (answer of the baseline, answer of the candidate)."""
        found: dict[str, dict[tuple[str, str], int]] = {}
        for cause in self:
            cells = found.setdefault(cause.function, {})
            key = cause.baseline.answer, cause.candidate.answer
            cells[key] = cells.get(key, 0) + cause.calls
        return found
