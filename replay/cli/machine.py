"""``replay machine``: the memory of a trace's machine, at any moment."""

from __future__ import annotations

from pathlib import Path

import typer

from replay.cli.common import add_command, console, emit_json, progress_on_stderr

app = typer.Typer(
    name="machine",
    no_args_is_help=True,
    help="Look at the memory of a trace's machine.",
    rich_markup_mode=None,
)


def show(
    trace: Path = typer.Argument(help="Trace file.", show_default=False),
    at: str | None = typer.Option(
        None,
        help="Row number, or how a mark begins: the machine as it is when that row is reached. Default: after the last.",
        show_default=False,
    ),
    profile: str | None = typer.Option(
        None, "--profile", "-p", help="Kernel: v6.1, v5.11+taint-zone-device … Default: the trace's own."
    ),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of tables."),
) -> None:
    """Show resources, sections, memory blocks, pagemaps, namespaces and dax devices at a moment of a replay.

    [bold]Examples[/bold]

      replay machine show traces/recorded/6.1.192-s4-kmem.arrow

      replay machine show traces/recorded/6.1.192-s4-kmem.arrow --at 700

      replay machine show traces/recorded/6.1.192-s4-kmem.arrow --at 'STEP 24 end'

      replay machine show traces/recorded/6.1.192-s4-kmem.arrow --at 4000 --profile v5.1 --json
    """
    from replay.report.machine import machine_facts, print_machine
    from replay.session import machine_at

    with progress_on_stderr(trace.name) as progress:
        moment = int(at) if at is not None and at.lstrip("-").isdecimal() else at
        facts = machine_facts(machine_at(trace, profile, moment, progress=progress))
    if json:
        emit_json("machine show", "ok", facts)
    else:
        print_machine(console(), facts)


add_command(app, "show", show)
