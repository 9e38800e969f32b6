"""What a check of a candidate found, and what it costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from replay import __version__
from replay.compare.native.layout import Function
from replay.compare.native.pieces import kernel_function
from replay.compare.native.timing import Timing
from replay.engine.tally import RangeCount

__all__ = ("ANSWERS", "FunctionReport", "NativeDifference", "NativeReport")

ANSWERS = {
    Function.PFN_TO_ONLINE_PAGE: ("NULL", "page", "another page"),
    Function.PFN_VALID: ("0", "1"),
    Function.PGMAP_PFN_VALID: ("false", "true"),
}


@dataclass(frozen=True)
class NativeDifference:
    """Neighbouring lookups of one row on which the table and the candidate differ alike.

    Attributes:
        row: row of the trace.
        first: first pfn.
        last: last pfn.
        check: check of the table that decided.
        expected: what it answers.
        got: what the candidate answered.
        count: lookups.
    """

    row: int
    first: int
    last: int
    check: str
    expected: str
    got: str
    count: int


@dataclass
class FunctionReport:
    """One function.

    Attributes:
        function: which one.
        lookups: calls made.
        verdicts: calls by (deciding check of the table, what the table answers, what the candidate answers).
        differences: the first ones.
        ranges: pfns on which they differ.
        timing: what a call costs, None if it was not measured.
    """

    function: Function
    lookups: int = 0
    verdicts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    differences: list[NativeDifference] = field(default_factory=list)
    ranges: RangeCount = field(default_factory=RangeCount)
    timing: Timing | None = None

    @property
    def differing(self) -> int:
        """Calls that the candidate answers otherwise than the table."""
        return sum(n for (_, expected, got), n in self.verdicts.items() if expected != got)

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        why = {check.id: check.why for check in kernel_function(self.function).checks}
        return {
            "lookups": self.lookups,
            "differing": self.differing,
            "verdicts": [
                {"check": check, "why": why[check], "table": expected, "candidate": got, "lookups": n}
                for (check, expected, got), n in sorted(self.verdicts.items())
            ],
            "differences": [vars(d) for d in self.differences],
            "ranges": [{"first": low, "last": high, "lookups": n} for low, high, n in self.ranges.merged()],
            "timing": None if self.timing is None else self.timing.to_dict(),
        }


@dataclass
class NativeReport:
    """One candidate on the lookups of one source.

    Attributes:
        source: the trace, or what stands for one.
        digest: identity of the trace, "" if there is none.
        profile: kernel whose tables say what is right.
        candidate: its file, or the name of a built-in form.
        baseline: what it is timed against, "" for nothing.
        compiler: which made them.
        functions: by function, those that the candidate defines.
        not_asked: recorded calls of functions that the kernel does not have.
        references_kept: pagemap references taken and not given back (negative: given back and not taken).
        first_kept: (row, pfn) of the first lookups after which some were left, None if none were.
        complete: every lookup was made; False: it was stopped after the number that was asked for.
        warnings: of the compiler, about the candidate.
        said: the beginning of what the candidate printed.
        states: distinct machine states met, of random ones; 0 if they were not counted.
        seconds: wall clock by part.
    """

    source: str
    digest: str
    profile: str
    candidate: str
    baseline: str
    compiler: str
    functions: dict[Function, FunctionReport]
    not_asked: int = 0
    references_kept: int = 0
    first_kept: tuple[int, int] | None = None
    complete: bool = True
    warnings: str = ""
    said: str = ""
    states: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """Whether every answer is the table's, and every reference was given back."""
        return not self.references_kept and not any(f.differing for f in self.functions.values())

    @property
    def reproduce(self) -> str:
        """A line that gives the same verdicts again."""
        baseline = f" --baseline {self.baseline}" if self.baseline else ""
        return f"replay native {self.candidate} {self.source}{baseline} --profile {self.profile}"

    def to_dict(self) -> dict[str, object]:
        """Return plain values: one element of ``reports`` in ``replay native --json``."""
        return {
            "trace": self.source,
            "digest": self.digest,
            "profile": self.profile,
            "candidate": self.candidate,
            "baseline": self.baseline or None,
            "compiler": self.compiler,
            "tool": __version__,
            "agrees": self.agrees,
            "functions": {f.name.lower(): report.to_dict() for f, report in self.functions.items()},
            "not_asked": self.not_asked,
            "references_kept": self.references_kept,
            "first_kept": self.first_kept and {"row": self.first_kept[0], "pfn": self.first_kept[1]},
            "complete": self.complete,
            "warnings": self.warnings,
            "said": self.said,
            "states": self.states,
            "seconds": {name: round(value, 6) for name, value in self.seconds.items()},
            "reproduce": self.reproduce,
        }
