"""What ``replay mutate`` shows."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from replay.compare.mutation import FunctionScore

__all__ = ("print_scores", "score_facts", "total")


def total(scores: Sequence[FunctionScore]) -> float:
    """Return the score of all functions together."""
    noticed = sum(len(s.noticed) for s in scores)
    could = noticed + sum(len(s.survived) for s in scores)
    return noticed / could if could else 1.0


def score_facts(profile: str, scores: Sequence[FunctionScore]) -> dict[str, object]:
    """Return the scores of one kernel as plain values."""
    return {
        "profile": profile,
        "score": total(scores),
        "functions": [
            {
                "function": s.name,
                "states": s.states,
                "score": s.score,
                "noticed": len(s.noticed),
                "equivalent": [m.words for m in s.equivalent],
                "survived": [m.words for m in s.survived],
            }
            for s in scores
        ],
    }


def print_scores(out: Console, profile: str, scores: Sequence[FunctionScore], *, survivors: bool) -> None:
    """Print the scores of one kernel.

    Args:
        out: where.
        profile: name of the kernel.
        scores: of its functions.
        survivors: list the mutants that nothing noticed.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(profile)
    for name in ("states met", "mutants", "noticed", "equivalent", "survived", "score"):
        table.add_column(name, justify="right")
    for s in scores:
        counts = len(s.noticed), len(s.equivalent), len(s.survived)
        style = "" if not s.survived else "yellow" if s.noticed else "red"
        table.add_row(
            s.name, f"{s.states:,}", f"{sum(counts):,}", *(f"{n:,}" for n in counts), f"{s.score:.1%}", style=style
        )
    out.print(table)
    out.print(f"{profile}: {total(scores):.2%} of the mutants that are not equivalent are noticed", highlight=False)
    if not survivors:
        return
    for s in scores:
        if s.survived:
            out.print(Text(f"{s.name}, not noticed: {'; '.join(m.words for m in s.survived)}"), soft_wrap=True)
