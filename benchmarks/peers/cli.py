"""What the command line does: measure, print, write."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.peers.contenders import BASE, PEERS
from benchmarks.peers.documents import put, tables
from benchmarks.peers.hardware import describe
from benchmarks.peers.report import scaling_table, to_dict, workload_table
from benchmarks.peers.scaling import Scale, scale
from benchmarks.peers.timing import Disagreement, Result, measure
from benchmarks.workloads import WORKLOADS

__all__ = ("main",)

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"
_SIZES, _LARGE = (10**7, 10**8), 10**9


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0, or 1 if a contender's verdicts are not the engine's."""
    options = _options(arguments)
    progress, answer = Console(stderr=True), Console(width=None if sys.stdout.isatty() else 160)
    results: list[Result] = []
    scales: list[Scale] = []
    try:
        with progress.status("") as status:
            from benchmarks.peers.case import Start  # noqa: PLC0415 - loads the engine; --help need not

            start: Start | None = None
            for name in options.workload:
                status.update(f"{name}: preparing")
                workload = WORKLOADS[name]
                start = Start.of(workload) if start is None else start.of_another(workload)
                result = measure(
                    start,
                    options.peers,
                    rows=options.rows,
                    rounds=options.rounds,
                    tell=status.update,
                )
                results.append(result)
                answer.print(workload_table(result))
            for rows in options.sizes:
                status.update(f"scaling: {rows:,} rows")
                scales.append(scale(rows))
    except Disagreement as found:
        progress.print(f"[bold red]stopped:[/bold red] {found}", highlight=False)
        return 1
    if scales:
        answer.print(scaling_table(scales))
    facts = describe()
    if options.json:
        options.json.write_text(json.dumps(to_dict(facts, results, scales), indent=1) + "\n")
    if options.update_docs:
        DOCUMENT.write_text(put(DOCUMENT.read_text(), tables(facts, results, scales)))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=sys.modules["benchmarks.peers"].__doc__
    )
    parser.add_argument("--workload", type=_names(WORKLOADS), metavar="A,B", help=f"of {', '.join(WORKLOADS)}; all")
    parser.add_argument("--peers", type=_names(PEERS), metavar="A,B", help=f"of {', '.join(PEERS)}; all")
    parser.add_argument("--rows", type=lambda t: int(float(t)), help="rows of a pass, at most; as the table says")
    parser.add_argument("--rounds", type=int, default=7, help="timed passes of each contender; 7")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    parser.add_argument("--update-docs", action="store_true", help=f"put the tables into {DOCUMENT.name}")
    parser.add_argument("--no-scaling", action="store_true", help="leave out how the engine grows with the rows")
    parser.add_argument("--large", action="store_true", help="grow to 10^9 rows")
    options = parser.parse_args(arguments)
    some = options.workload or options.peers
    if options.update_docs and (some or options.no_scaling):
        parser.error("--update-docs takes a whole run: leave out --workload, --peers and --no-scaling")
    if options.rounds < 1 or (options.rows is not None and options.rows < 1):
        parser.error("--rounds and --rows are at least 1")
    options.workload = options.workload or list(WORKLOADS)
    options.peers = [BASE, *(name for name in options.peers or PEERS if name != BASE)]
    options.sizes = (
        () if options.no_scaling or (some and not options.large) else (*_SIZES, *([_LARGE] if options.large else []))
    )
    return options


def _names(known: Mapping[str, object]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return names

    return parse
