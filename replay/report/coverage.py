"""What ``replay coverage`` shows."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from replay.compare.coverage import Coverage, Reached
from replay.report.explain import origin

__all__ = ("coverage_facts", "print_coverage", "print_missing", "print_overview")

_PAGES = 10
_STYLE = {Reached.DECIDED: "", Reached.PASSED: "yellow", Reached.NEVER: "red", Reached.ELSEWHERE: "dim"}


def coverage_facts(c: Coverage) -> dict[str, object]:
    """Return the coverage of one kernel as plain values."""
    return {
        "profile": c.profile,
        "traces": c.traces,
        "functions": [
            {
                "function": f.name,
                "calls": f.calls,
                "states": f.states,
                "checks": [
                    {
                        "check": check.check.id,
                        "calls": check.calls,
                        "reached": check.reached.value,
                        "why": check.check.why,
                        "since": origin(f.name, check.check),
                    }
                    for check in f.checks
                ],
            }
            for f in c.functions
        ],
        "pages": [{"page": words, "calls": n} for words, n in c.pages],
    }


def print_overview(out: Console, coverages: list[Coverage]) -> None:
    """Print one line for each kernel."""
    table = _table(
        "kernel", "traces", "checks", "decided", "reached, never held", "never reached", "cannot decide here", right=6
    )
    for c in coverages:
        counts = [sum(f.count(r) for f in c.functions) for r in Reached]
        table.add_row(c.profile, f"{c.traces:,}", f"{sum(counts):,}", *(f"{n:,}" for n in counts))
    out.print(table)


def print_coverage(out: Console, c: Coverage) -> None:
    """Print every check of one kernel, and the census of pages."""
    out.print(f"[bold]{c.profile}[/bold]: {c.traces:,} traces", highlight=False)
    for f in c.functions:
        if not f.calls and not f.states:
            out.print(f"{f.name}: never asked ({len(f.checks)} checks)", style="red", highlight=False)
            continue
        decided, of = f.count(Reached.DECIDED), len(f.checks) - f.count(Reached.ELSEWHERE)
        table = _table(f"{f.name}: {f.states:,} states, {decided} of {of} checks decided", "calls", "", right=1)
        for check in f.checks:
            word = "" if check.reached is Reached.DECIDED else _words(check.reached)
            table.add_row(check.check.id, f"{check.calls:,}", word, style=_STYLE[check.reached])
        out.print(table)
    if c.pages:
        table = _table("pages that poison calls hit", "calls", right=1)
        for words, n in c.pages[:_PAGES]:
            table.add_row(Text(words), f"{n:,}")
        out.print(table)
        if len(c.pages) > _PAGES:
            out.print(f"and {len(c.pages) - _PAGES} other states; --json has all")


def print_missing(out: Console, c: Coverage) -> None:
    """Print only what no trace exercises."""
    missing = c.missing
    if not missing:
        out.print(f"[bold]{c.profile}[/bold]: every check decided something", highlight=False)
        return
    table = _table(f"{c.profile}: never decided", "check", "", "decides when", "since")
    for name, check in missing:
        table.add_row(
            name, check.check.id, _words(check.reached), Text(check.check.why), Text(origin(name, check.check))
        )
    out.print(table)


def _words(reached: Reached) -> str:
    return {
        Reached.PASSED: "reached, never held",
        Reached.NEVER: "never reached",
        Reached.ELSEWHERE: "cannot decide here",
    }.get(reached, "")


def _table(*columns: str, right: int = 0) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if 0 < number <= right else "left", overflow="fold")
    return table
