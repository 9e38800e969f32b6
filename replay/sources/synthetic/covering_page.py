"""The page that says what the corpus exercises: functions by kernels, and what is out of reach, with the reasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from replay.compare.coverage import Reached, coverage_of, functions_of
from replay.compare.met import Met, meet, misfits
from replay.compare.mutation import score_functions
from replay.compare.reach import Unreachable
from replay.kernel.profiles import Profile

__all__ = ("Cell", "cells", "page")


@dataclass(frozen=True)
class Cell:
    """One function of one kernel.

    Attributes:
        decided: checks that decided something.
        reachable: checks that could.
        noticed: mistakes that some trace notices.
        could: mistakes that some trace could notice.
        survived: words of those that none notices although some trace could.
    """

    decided: int
    reachable: int
    noticed: int
    could: int
    survived: tuple[str, ...]

    @property
    def words(self) -> str:
        """As it stands in the table."""
        return f"{self.decided}/{self.reachable}, {self.noticed}/{self.could}"


def cells(traces: Sequence[str], kernel: Profile, unreachable: Sequence[Unreachable]) -> dict[str, Cell]:
    """Return what traces exercise of a kernel, by function.

    Args:
        traces: paths; those of machines that the kernel does not run on are left out.
        kernel: the kernel.
        unreachable: what no trace can show of it.
    """
    met, without = Met(kernel), misfits(traces, [kernel.name])
    for path in traces:
        if (kernel.name, path) not in without:
            met.merge(meet(path, kernel))
    beyond = {(one.function, one.what) for one in unreachable}
    coverage = {f.name: f for f in coverage_of(met, len(traces)).functions}
    found = {}
    for score in score_functions(met, functions_of(met)):
        checks = [c for c in coverage[score.name].checks if (score.name, f"decided {c.check.id}") not in beyond]
        survived = tuple(m.words for m in score.survived)
        decided = sum(c.reached is Reached.DECIDED for c in checks)
        noticed = len(score.noticed)
        found[score.name] = Cell(decided, len(checks), noticed, noticed + len(survived), survived)
    return found


def page(
    traces: Sequence[str],
    kernels: Sequence[Profile],
    unreachable: Sequence[Unreachable],
    tell: Callable[[int, int], None] | None = None,
) -> str:
    """Return the page, as Markdown."""
    columns: dict[str, Mapping[str, Cell]] = {}
    for number, kernel in enumerate(kernels):
        columns[kernel.name] = cells(traces, kernel, [one for one in unreachable if one.profile == kernel.name])
        if tell is not None:
            tell(number + 1, len(kernels))
    functions = list(dict.fromkeys(name for column in columns.values() for name in column))
    lines = [_HEAD, f"| function | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in functions:
        row = [column[name].words if name in column else "" for column in columns.values()]
        lines.append(f"| `{name}` | {' | '.join(row)} |")
    left = [f"{k}: `{n}`, {w}" for k, column in columns.items() for n, c in column.items() for w in c.survived]
    lines += ["", "## Not noticed although a trace could", ""]
    lines += [f"* {one}" for one in left] or ["Nothing."]
    return "\n".join([*lines, "", _OUT_OF_REACH, *_reasons(unreachable), ""])


def _reasons(unreachable: Sequence[Unreachable]) -> list[str]:
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for one in unreachable:
        grouped.setdefault((one.function, one.reason, one.what), []).append(one.profile)
    lines = ["| function | check or mistake | why | kernels |", "|---|---|---|---|"]
    for (function, reason, what), names in sorted(grouped.items()):
        lines.append(f"| `{function}` | {what} | {reason} | {', '.join(names)} |")
    return lines


_HEAD = """# What the corpus exercises

Made by `replay generate covering`, from the traces in `traces/recorded` and `traces/synthetic`; how to read and remake it:
[measure-coverage](how-to/measure-coverage.md). A cell says: checks that decided some call, of those that can; mistakes
(a check dropped, negated, or swapped with the next) that some trace notices, of those that a trace can notice. Mistakes that
change no answer at all, which is proven over the whole state space, are not counted. v2.6.32 is not in the table: of that
kernel only the poison functions are known, so that no trace can be replayed with it (`replay diff` compares it).
"""

_OUT_OF_REACH = """## Out of reach

What no trace can show. A check is out of reach if those before it decide all of its states; a mistake if it shows only in
states in which no machine is, or that a trace cannot say.
"""
