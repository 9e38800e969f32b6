"""``replay convert``: traces in other formats."""

from __future__ import annotations

from pathlib import Path

import typer

from replay.cli.common import Diagnostics, console, emit_json, progress_on_stderr


def command(
    source: Path = typer.Argument(help="Trace, or a table that convert made of one.", show_default=False),
    output: Path = typer.Argument(help="File to write; the end of its name tells the format.", show_default=False),
    to: str = typer.Option(
        None, "--to", help="arrow, parquet, csv, jsonl, perfetto or oracle-general.", show_default=False
    ),
    compress: str = typer.Option(
        "none", help="none, lz4 or zstd, of Arrow and Parquet. Texts: a name in .gz, .zst or .lz4."
    ),
    profile: str = typer.Option(
        None, "--profile", "-p", help="perfetto: show what this kernel decides beside the events.", show_default=False
    ),
    take_changes: bool = typer.Option(
        False, "--take-changes", help="Take a table that was edited since it was written."
    ),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of lines."),
) -> None:
    """Convert a trace to Arrow, Parquet, CSV, JSON lines, Perfetto or oracleGeneral of libCacheSim.

    The first four hold everything: converted back, the trace has the same identity, and it is an error if it does not.
    The others are views, and the answer says what they lose.

    [bold]Examples[/bold]

      replay convert trace.arrow trace.parquet --compress zstd

      replay convert trace.csv.zst trace.arrow

      replay convert trace.arrow trace.perfetto.json --profile v6.1

      replay convert walks.arrow walks.oracleGeneral
    """
    from replay.sources.exporters.convert import convert

    with progress_on_stderr(source.name) as show:
        done = convert(
            str(source), str(output), to=to, codec=compress, profile=profile, take_changes=take_changes, progress=show
        )
    diagnostics = Diagnostics()
    if done.changed:
        diagnostics.warning(source, "the table was changed since it was written; the trace is another one, and says so")
    if json:
        facts = {
            "output": str(output), "from": done.source, "to": done.target.name, "rows": done.rows,
            "written": done.written, "digest": done.digest, "loses": list(done.loses), "changed": done.changed,
        }  # fmt: skip
        emit_json("convert", "ok", facts, diagnostics)
        return
    out = console()
    out.print(
        f"{output}: {done.written:,} records of {done.rows:,} rows, {done.target.what}", markup=False, soft_wrap=True
    )
    out.print(f"{done.digest}", markup=False, soft_wrap=True)
    for what in done.loses:
        out.print(f"lost: {what}", markup=False, soft_wrap=True)
    diagnostics.tell()
