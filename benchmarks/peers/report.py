"""Results as tables on the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table

from benchmarks.peers.contenders import BASE, PEERS
from benchmarks.peers.scaling import Scale
from benchmarks.peers.timing import Result

__all__ = ("duration", "scaling_table", "times", "to_dict", "workload_table")

_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns"))


def duration(ns: float) -> str:
    """Return nanoseconds with three digits and a unit."""
    size, unit = next((u for u in _UNITS if ns >= u[0]), _UNITS[-1])
    return f"{_digits(ns / size)} {unit}"


def times(value: float) -> str:
    """Return a ratio with two or three digits."""
    return _digits(value)


def _digits(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 1:
        return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return f"{value:.2g}"


def workload_table(result: Result) -> Table:
    """Return a workload's figures, a line for each contender."""
    table = Table(title=f"{result.workload}: {PEERS[BASE].name} and its peers", title_justify="left")
    for name in (
        "contender",
        "rows",
        "per row",
        "least",
        "most",
        "M rows/s",
        "per page",
        "peer ÷ engine",
        "least..most",
    ):
        table.add_column(name, justify="left" if name == "contender" else "right", no_wrap=True)
    for name, m in result.measured.items():
        r = result.ratio(name)
        spread = "" if r is None or name == BASE else f"{times(r.low)}..{times(r.high)}"
        table.add_row(
            name,
            f"{m.rows:,}",
            duration(m.median_ns),
            duration(min(m.ns_per_row)),
            duration(max(m.ns_per_row)),
            f"{1e3 / m.median_ns:,.3g}",
            duration(m.median_ns * m.weight / m.pages) if m.pages > m.rows else "",
            "" if r is None or name == BASE else times(r.median),
            spread,
        )
    table.caption = "\n".join(f"{name}: - ({reason})" for name, reason in result.absent.items())
    table.caption_justify = "left"
    return table


def scaling_table(scales: Sequence[Scale]) -> Table:
    """Return the engine's time and memory by number of rows."""
    table = Table(title="random, rows made while they are replayed", title_justify="left")
    for name in ("rows", "per row", "peak resident set", "before the first row"):
        table.add_column(name, justify="right")
    for s in scales:
        table.add_row(f"{s.rows:,}", duration(s.ns_per_row), _mib(s.peak_bytes), _mib(s.before_bytes))
    return table


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


def to_dict(facts: dict[str, str], results: Sequence[Result], scales: Sequence[Scale]) -> dict[str, object]:
    """Return everything measured as plain values; seconds are those of each round."""
    workloads = {}
    for result in results:
        contenders = {}
        for name, m in result.measured.items():
            r = result.ratio(name)
            contenders[name] = {
                **asdict(m),
                "median_ns_per_row": m.median_ns,
                "over_engine": None if r is None else asdict(r),
            }
        workloads[result.workload] = {"contenders": contenders, "absent": result.absent}
    return {"machine": facts, "workloads": workloads, "scaling": [asdict(s) for s in scales]}
