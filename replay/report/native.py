"""What ``replay native`` shows."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from replay.compare.native.pieces import kernel_function
from replay.compare.native.report import FunctionReport, NativeReport
from replay.compare.native.timing import Estimate, Timing

__all__ = ("print_reports",)

_ROWS = 6  # differing rows shown per function
_RANGES = 8  # pfn ranges shown per function


def print_reports(out: Console, reports: Sequence[NativeReport]) -> None:
    """Print one block per source of lookups, and the verdict over all."""
    for report in reports:
        _print_report(out, report)
    lookups = sum(f.lookups for r in reports for f in r.functions.values())
    differing = sum(f.differing for r in reports for f in r.functions.values())
    style = "red" if differing else "green"
    share = f" ({100 * differing / lookups:.3g} %)" if differing else ""
    same = f"{lookups - differing:,} of {lookups:,} lookups as the tables say"
    out.print(f"[{style}]{same}; {differing:,} differ{share}[/{style}]")
    if any(r.references_kept for r in reports):
        out.print("[red]pagemap references were not given back (see above)[/red]")


def _print_report(out: Console, report: NativeReport) -> None:
    digest = f"  {report.digest[:19]}…" if report.digest else ""
    candidate, source = escape(report.candidate), escape(report.source)
    out.print(f"[bold]{candidate}[/bold] on [bold]{source}[/bold]{digest}", soft_wrap=True)
    against = f", timed against {report.baseline}" if report.baseline else ""
    out.print(f"the tables of [bold]{report.profile}[/bold] say what is right{escape(against)}; {escape(report.compiler)}",
              soft_wrap=True)  # fmt: skip
    out.print(_verdicts(report))
    for function in report.functions.values():
        _print_differences(out, function)
    if report.not_asked:
        out.print(f"  {report.not_asked:,} calls of functions that {report.profile} does not have: not checked")
    if report.references_kept:
        row, pfn = report.first_kept or (0, 0)
        what = "taken and not given back" if report.references_kept > 0 else "given back without having been taken"
        out.print(f"  [red]{abs(report.references_kept):,} pagemap references {what}[/red], "
                  f"first within 65,536 lookups from row {row}, pfn {pfn:#x}")  # fmt: skip
    if report.states:
        out.print(f"  {report.states} different states of a pfn met")
    timings = {f.function.name.lower(): f.timing for f in report.functions.values() if f.timing}
    if timings:
        _print_timings(out, report, timings)
    if report.said:
        first = report.said.strip().splitlines()[:3]
        out.print("  it printed: " + escape(" / ".join(first)[:300]), soft_wrap=True)
    out.print(f"  [dim]again: {escape(report.reproduce)}[/dim]", soft_wrap=True)
    out.print()


def _verdicts(report: NativeReport) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("function")
    table.add_column("decided by")
    table.add_column("table")
    table.add_column("candidate")
    table.add_column("lookups", justify="right")
    for f in report.functions.values():
        ordered = sorted(
            (expected == got, -n, check, expected, got) for (check, expected, got), n in f.verdicts.items()
        )
        for same, n, check, expected, got in ordered:
            style = "" if same else "red"
            table.add_row(f.function.name.lower(), check, expected, got, f"{-n:,}", style=style)
    return table


def _print_differences(out: Console, f: FunctionReport) -> None:
    why = {check.id: check.why for check in kernel_function(f.function).checks}
    for d in f.differences[:_ROWS]:
        pfns = f"pfn {d.first:#x}" if d.first == d.last else f"pfns {d.first:#x}-{d.last:#x}"
        out.print(f"  [red]row {d.row}, {pfns}[/red]: table {d.expected} ({d.check}: {why[d.check]}), candidate {d.got}",
                  soft_wrap=True)  # fmt: skip
    ranges = f.ranges.merged()
    if not ranges:
        return
    shown = ", ".join(f"{low:#x}-{high:#x} ({n:,})" for low, high, n in ranges[:_RANGES])
    more = f" and {len(ranges) - _RANGES} more ranges" if len(ranges) > _RANGES else ""
    out.print(f"  {f.function.name.lower()} differs on pfns {shown}{more}", soft_wrap=True)


def _print_timings(out: Console, report: NativeReport, timings: dict[str, Timing]) -> None:
    processes = next(iter(timings.values())).processes
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("ns per call")
    table.add_column("candidate", justify="right")
    if report.baseline:
        table.add_column(f"baseline {escape(report.baseline)}", justify="right")
        table.add_column("difference", justify="right")
        table.add_column("p", justify="right")
    table.add_column("of it the loop", justify="right")
    table.add_column("timed calls, out of", justify="right")
    for name, t in timings.items():
        cells = [name, _interval(t.candidate)]
        if report.baseline:
            difference = "" if t.difference is None else _interval(t.difference, sign="+") if t.significant else "~"
            cells += [_interval(t.baseline), difference, "" if t.p is None else f"{t.p:.2g}"]
        table.add_row(*cells, f"{t.empty.median:.2f}", f"{t.lookups:,}, {t.of:,}")
    out.print(table)
    out.print(f"  medians over {processes} processes, [lower, upper] end of the 95 % interval; ~ nothing significant",
              markup=False)  # fmt: skip
    for name, t in timings.items():
        if t.cycles is not None:
            candidate, baseline = t.cycles
            beside = f", baseline {_interval(baseline)}" if baseline else ""
            out.print(f"  cycles per call of {name}: {_interval(candidate)}{beside}", markup=False)
    missing = next(iter(timings.values())).cycles_missing
    if missing:
        out.print(f"  no cycles on this machine: {missing}", markup=False)


def _interval(e: Estimate | None, sign: str = "") -> str:
    if e is None:
        return ""
    return rf"{e.median:{sign}.2f} \[{e.low:{sign}.2f}, {e.high:{sign}.2f}]"
