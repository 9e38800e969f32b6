"""What ``replay run`` shows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from replay.engine.tally import SLOW_PATH, Agreement, RangeCount
from replay.session import Run

__all__ = ("print_runs",)

_DETAILED = 4  # with more runs than this, only the tables over all of them
_RANGES = 8  # pfn ranges shown per run
_ROWS = 2  # differing rows shown per function
_ANSWERS = {
    ("pfn_to_online_page", "1"): "a page",
    ("pfn_to_online_page", "0"): "NULL",
    (SLOW_PATH, "1"): "taken",
    (SLOW_PATH, "0"): "not taken",
    ("get_dev_pagemap", "0"): "NULL",
}


def print_runs(out: Console, runs: Sequence[Run]) -> None:
    """Print one block per run if they are few, and tables over all of them if they are several."""
    if len(runs) <= _DETAILED:
        for run in runs:
            _print_run(out, run)
    traces = {run.trace for run in runs}
    if len(runs) > 1:
        _print_overview(out, runs)
    if len(traces) > 1:
        _print_by_kernel(out, runs)
    for trace in sorted(traces):
        _print_untruths_side_by_side(out, [run for run in runs if run.trace == trace])
    if len(runs) > _DETAILED:
        for run in runs:
            _print_differences(out, run, with_trace=True)
    _print_verdict(out, runs)


def _print_run(out: Console, run: Run) -> None:
    t = run.tally
    own = f"kernel [bold]{run.profile.name}[/bold], {run.engine} engine"
    out.print(f"[bold]{escape(run.trace)}[/bold]  {run.digest[:19]}…", soft_wrap=True)
    rate = t.pages / max(run.seconds["replay"], 1e-9)
    out.print(f"{own}: {run.events:,} events, {t.pages:,} pfns looked up in {run.seconds['total']:.3f} s "
              f"({_scaled(rate)} pfns/s)")  # fmt: skip
    out.print(_agreement_table(t.agreement))
    for name, counts in sorted(t.outcomes.items()):
        answers = " · ".join(f"{answer} {count:,}" for answer, count in counts.most_common())
        out.print(f"  {name}: {answers}", highlight=False, soft_wrap=True)
    if t.slow:
        out.print(f"  pagemap looked up on {t.slow:,} of the pfn_to_online_page calls (slow path)")
    if t.counters:
        counters = " · ".join(f"{name} {count:,}" for name, count in t.counters.items())
        out.print(f"  counters at the end: {counters}", soft_wrap=True)
    _print_truth(out, run)
    _print_differences(out, run)
    out.print(f"  [dim]again: {escape(run.reproduce)}[/dim]", soft_wrap=True)
    out.print()


def _agreement_table(agreement: dict[str, Agreement]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("against the recording")
    for name in ("recorded", "compared", "agreed", "differed"):
        table.add_column(name, justify="right")
    table.add_column("not compared, and why")
    for name, a in sorted(agreement.items()):
        style = "red" if a.differed else ""
        reasons = "; ".join(f"{n:,} {reason}" for reason, n in a.not_compared.most_common())
        cells = (f"{a.recorded:,}", f"{a.compared:,}", f"{a.agreed:,}", f"{a.differed:,}", reasons)
        table.add_row(name, *cells, style=style)
    return table


def _print_truth(out: Console, run: Run) -> None:
    for ranges, text in (
        (run.tally.false_online, "got a page that is not online System RAM"),
        (run.tally.false_offline, "got none for online System RAM"),
    ):
        merged = ranges.merged()
        if not merged:
            continue
        out.print(f"  [yellow]{ranges.total:,} lookups {text}[/yellow], in {len(merged)} pfn ranges (ends inclusive):")
        for first, last, count in sorted(merged, key=lambda r: -r[2])[:_RANGES]:
            out.print(f"    {first:#x}-{last:#x}  {count:,}")
        if len(merged) > _RANGES:
            out.print(f"    … and {len(merged) - _RANGES} more; --json has all")


def _print_differences(out: Console, run: Run, *, with_trace: bool = False) -> None:
    """Print how much differs per function, and the first rows on which it does."""
    for name, rows in sorted(run.tally.differences.items()):
        if not rows:
            continue
        where = f"{run.trace}: " if with_trace else ""
        total = run.tally.agreement[name].differed
        out.print(Text(f"  {where}{name}: {total:,} calls differ; the first:", style="red"), soft_wrap=True)
        for d in rows[:_ROWS]:
            recorded = _ANSWERS.get((name, d.recorded), d.recorded)
            line = f"    row {d.row}, pfn {d.pfn:#x}: recorded {recorded}, {run.profile.name} decides by {d.replayed}"
            out.print(Text(f"{line} ({d.count:,} calls)", style="red"), soft_wrap=True)


def _print_untruths_side_by_side(out: Console, runs: Sequence[Run]) -> None:
    """Print, for one trace and several kernels, the lookups that got a page they should not have got, by pfn range."""
    profiles = list(dict.fromkeys(run.profile.name for run in runs))
    together = RangeCount()
    for run in runs:
        for first, last, count in run.tally.false_online.merged():
            together.add(first, last, count)
    if len(profiles) < 2 or not together.total:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("false positives, pfns (ends inclusive)")
    for name in profiles:
        table.add_column(name, justify="right")
    for first, last, _ in together.merged():
        counts = [
            sum(n for low, high, n in run.tally.false_online.merged() if first <= low and high <= last) for run in runs
        ]
        table.add_row(f"{first:#x}-{last:#x}", *(f"{n:,}" if n else "-" for n in counts))
    table.add_row("all", *(f"{run.tally.false_online.total:,}" for run in runs), style="bold")
    out.print(table)


def _print_overview(out: Console, runs: Sequence[Run]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("trace", overflow="fold")
    table.add_column("kernel")
    for name in ("events", "pfns", "compared", "differed", "not compared", "false online", "false offline", "ms"):
        table.add_column(name, justify="right")
    for run in runs:
        t = run.tally
        compared = sum(a.compared for a in t.agreement.values())
        differed = sum(a.differed for a in t.agreement.values())
        left = sum(a.not_compared.total() for a in t.agreement.values())
        truth = (t.false_online.total, t.false_offline.total)
        cells = (run.events, t.pages, compared, differed, left, *truth)
        table.add_row(
            escape(run.trace),
            run.profile.name,
            *(f"{c:,}" for c in cells),
            f"{run.seconds['total'] * 1e3:,.0f}",
            style="red" if differed else "",
        )
    out.print(table)


def _print_by_kernel(out: Console, runs: Sequence[Run]) -> None:
    """Print agreement per kernel and function, over all traces."""
    sums: dict[str, dict[str, Agreement]] = defaultdict(dict)
    for run in runs:
        for name, a in run.tally.agreement.items():
            total = sums[run.profile.name].setdefault(name, Agreement(0, 0, Counter()))
            total.agreed += a.agreed
            total.differed += a.differed
            total.not_compared += a.not_compared
    for kernel, agreement in sums.items():
        out.print(f"[bold]{kernel}[/bold], all traces together")
        out.print(_agreement_table(agreement))


def _print_verdict(out: Console, runs: Sequence[Run]) -> None:
    compared = sum(a.compared for r in runs for a in r.tally.agreement.values())
    agreed = sum(a.agreed for r in runs for a in r.tally.agreement.values())
    left = sum(a.not_compared.total() for r in runs for a in r.tally.agreement.values())
    if not compared:
        out.print("[yellow]nothing was recorded that could be compared[/yellow]")
        return
    share = "100 %" if agreed == compared else f"{100 * agreed / compared:.4f} %"
    colour = "green" if agreed == compared else "red"
    named = f"; {left:,} recorded calls not compared, reasons above" if left else ""
    out.print(f"[{colour}]{agreed:,} of {compared:,} compared calls agree ({share})[/{colour}]{named}")


def _scaled(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"
