"""The tables of docs/performance.md, between markers; the text around them is written by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.peers.contenders import BASE, PEERS
from benchmarks.peers.report import duration, times
from benchmarks.peers.scaling import Scale
from benchmarks.peers.timing import Result

__all__ = ("MissingMarkerError", "put", "tables")

_RUNS = ("runs-1e3", "runs-1e6", "runs-1e9")
_LOOPS = ("engine", "c-sections", "c", "numba", "numpy")


class MissingMarkerError(Exception):
    """A document has no place for a table."""


def tables(facts: dict[str, str], results: Sequence[Result], scales: Sequence[Scale]) -> dict[str, str]:
    """Return the tables as Markdown, by marker."""
    peers = [name for name in PEERS if any(name in r.measured for r in results)]
    return {
        "machine": _table(("", ""), [(f"{name}", value) for name, value in facts.items()]),
        "times": _by_workload(results, peers, _time),
        "ratios": _by_workload(results, [name for name in peers if name != BASE], _ratio),
        "rows": _by_workload(results, peers, lambda r, n: f"{r.measured[n].rows:,}" if n in r.measured else "-"),
        "absent": _table(("contender", "workloads", "why it is not there"), _absent(results)),
        "runs": _run_lengths(results),
        "scaling": _table(
            ("rows", "engine, per row", "peak resident set", "before the first row"),
            [(f"{s.rows:,}", duration(s.ns_per_row), _mib(s.peak_bytes), _mib(s.before_bytes)) for s in scales],
        ),
    }


def put(text: str, blocks: dict[str, str]) -> str:
    """Return a document with its tables replaced.

    Raises:
        MissingMarkerError: it has no place, or more than one, for one of them.
    """
    for name, block in blocks.items():
        begin, end = f"<!-- peers:{name}:begin -->", f"<!-- peers:{name}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise MissingMarkerError(f"there has to be one {begin} and one {end} after it")
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{block}\n{end}{rest.split(end)[1]}"
    return text


def _by_workload(results: Sequence[Result], peers: Sequence[str], cell: Callable[[Result, str], str]) -> str:
    rows = [(f"`{r.workload}`", *(cell(r, name) for name in peers)) for r in results]
    return _table(("workload", *(f"`{name}`" for name in peers)), rows)


def _time(result: Result, peer: str) -> str:
    return duration(result.measured[peer].median_ns) if peer in result.measured else "-"


def _ratio(result: Result, peer: str) -> str:
    r = result.ratio(peer)
    return "-" if r is None else f"{times(r.median)} ({times(r.low)}..{times(r.high)})"


def _absent(results: Sequence[Result]) -> list[tuple[str, ...]]:
    where: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for peer, reason in result.absent.items():
            where.setdefault((peer, reason), []).append(f"`{result.workload}`")
    return [
        (f"`{peer}`", "all" if len(names) == len(results) else ", ".join(names), reason)
        for (peer, reason), names in where.items()
    ]


def _run_lengths(results: Sequence[Result]) -> str:
    """Return what a run costs by its length, and what a page of it costs."""
    by_name = {r.workload: r for r in results if r.workload in _RUNS}
    rows = []
    for peer in _LOOPS:
        cells = []
        for workload in _RUNS:
            m = by_name[workload].measured.get(peer) if workload in by_name else None
            cells.append(
                "-" if m is None else f"{duration(m.median_ns)} ({_per_page(m.median_ns * m.weight / m.pages)})"
            )
        rows.append((f"`{peer}`", *cells))
    return _table(("per run (per page)", *(f"`{w}`" for w in _RUNS)), rows)


def _per_page(ns: float) -> str:
    return f"{ns:.3g} ns"


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
