"""``replay info``: what is in a trace."""

from __future__ import annotations

from pathlib import Path

import typer

from replay.cli.common import console, emit_json


def command(
    trace: Path = typer.Argument(help="Trace file.", show_default=False),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of tables."),
) -> None:
    """Show what a trace holds: machine, provenance, columns, events by kind.

    [bold]Examples[/bold]

      replay info traces/recorded/6.1.192-s4-kmem.arrow

      replay info trace.arrow --json
    """
    from replay.report.info import describe, print_info
    from replay.trace.reader import TraceFile

    with TraceFile.open(trace) as opened:
        facts = describe(opened)
    if json:
        emit_json("info", "ok", facts)
    else:
        print_info(console(), facts)
