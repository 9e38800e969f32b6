"""``replay import``: traces from what other tools write."""

from __future__ import annotations

from pathlib import Path

import typer

from replay.cli import import_events, import_machine, import_rasdaemon
from replay.cli.common import Diagnostics, add_command, console, emit_json, progress_on_stderr

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make traces from what other tools write.")


@app.callback()
def _import() -> None:
    """Make traces from what other tools write."""


def recording(
    folder: Path = typer.Argument(help="Recording folder.", show_default=False),
    output: Path = typer.Option(..., "--output", "-o", help="Trace file to write.", show_default=False),
    allow_loss: bool = typer.Option(
        False, "--allow-loss", help="Take a recording with lost events, and mark the trace."
    ),
    compress: str = typer.Option("none", help="none (mapped into memory when replayed), lz4 or zstd (for archives)."),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of lines."),
) -> None:
    """Import a recording folder: ftrace text with kprobe arguments and returns, /proc and /sys dumps.

    [bold]Example[/bold]

      replay import recording recordings/6.1.192/s2a-pmem-collision -o collision.arrow
    """
    from dataclasses import asdict

    from replay.errors import UsageError
    from replay.sources.importers.recording import import_recording

    if compress not in {"none", "lz4", "zstd"}:
        raise UsageError(f"unknown compression {compress!r}; there are none, lz4 and zstd")
    with progress_on_stderr(folder.name) as show:
        report = import_recording(
            folder,
            output,
            allow_loss=allow_loss,
            compression=None if compress == "none" else compress,
            progress=lambda _step, done: show(int(done * 1000), 1000),
        )
    facts = {"trace": str(output), **asdict(report)}
    diagnostics = Diagnostics()
    diagnostics.warnings(folder, report.warnings)
    if json:
        emit_json("import", "ok", facts, diagnostics)
        return
    out = console()
    out.print(f"{output}: {report.rows:,} rows from {report.lookups:,} lookups, {report.transitions:,} transitions "
              f"and {report.dumps:,} section dumps", markup=False)  # fmt: skip
    if report.unused:
        unused = ", ".join(f"{name} {count:,}" for name, count in sorted(report.unused.items()))
        out.print(f"read and not used: {unused}", markup=False, soft_wrap=True)
    diagnostics.tell()


add_command(app, "recording", recording)
add_command(app, "rasdaemon", import_rasdaemon.command)
add_command(app, "machine", import_machine.command)
add_command(app, "ftrace", import_events.ftrace)
add_command(app, "trace-cmd", import_events.trace_cmd)
add_command(app, "perf", import_events.perf)
add_command(app, "dmesg", import_events.dmesg)
