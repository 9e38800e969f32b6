"""What ``replay mutate`` shows."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from replay.compare.mutation import FunctionScore

__all__ = ("print_scores", "score_facts")


def _together(scores: Sequence[FunctionScore]) -> FunctionScore:
    """Return the score of all functions as if they were one."""
    return FunctionScore(
        "all",
        [m for s in scores for m in s.noticed],
        [m for s in scores for m in s.equivalent],
        [m for s in scores for m in s.unreachable],
        [m for s in scores for m in s.survived],
        sum(s.states for s in scores),
    )


def score_facts(profile: str, scores: Sequence[FunctionScore]) -> dict[str, object]:
    """Return the scores of one kernel as plain values."""
    every = _together(scores)
    return {
        "profile": profile,
        "score": every.score,
        "score_of_all": every.score_of_all,
        "functions": [
            {
                "function": s.name,
                "states": s.states,
                "score": s.score,
                "score_of_all": s.score_of_all,
                "noticed": len(s.noticed),
                "equivalent": [m.words for m in s.equivalent],
                "unreachable": [{"mutant": one.what, "reason": one.reason} for one in s.unreachable],
                "survived": [m.words for m in s.survived],
            }
            for s in scores
        ],
    }


def print_scores(
    out: Console, profile: str, scores: Sequence[FunctionScore], *, survivors: bool, unreachable: bool
) -> None:
    """Print the scores of one kernel.

    Args:
        out: where.
        profile: name of the kernel.
        scores: of its functions.
        survivors: list the mutants that nothing noticed.
        unreachable: list those that no trace can notice, with the reasons.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(profile)
    for name in ("states met", "mutants", "noticed", "equivalent", "out of reach", "survived", "score"):
        table.add_column(name, justify="right")
    for s in scores:
        counts = len(s.noticed), len(s.equivalent), len(s.unreachable), len(s.survived)
        style = "" if not s.survived else "yellow" if s.noticed else "red"
        table.add_row(
            s.name, f"{s.states:,}", f"{sum(counts):,}", *(f"{n:,}" for n in counts), f"{s.score:.1%}", style=style
        )
    out.print(table)
    every = _together(scores)
    could = len(every.noticed) + len(every.survived)
    out.print(
        f"{profile}: {every.score:.2%} of the {could:,} mutants that a trace can notice are noticed; "
        f"{every.score_of_all:.2%} with the {len(every.unreachable):,} that are out of reach",
        highlight=False,
        soft_wrap=True,
    )
    for s in scores if survivors else ():
        if s.survived:
            out.print(Text(f"{s.name}, not noticed: {'; '.join(m.words for m in s.survived)}"), soft_wrap=True)
    for one in every.unreachable if unreachable else ():
        out.print(Text(f"{one.function}, out of reach: {one.what}: {one.reason}"), soft_wrap=True)
