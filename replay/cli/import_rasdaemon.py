"""``replay import rasdaemon``: the errors that rasdaemon collected."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from replay.cli.common import Diagnostics, console, emit_json, progress_on_stderr, refuse_same_file

if TYPE_CHECKING:
    from replay.sources.importers.rasdaemon import RasdaemonReport


def command(
    database: Path = typer.Argument(help="rasdaemon's database, ras-mc_event.db.", show_default=False),
    output: Path = typer.Option(..., "--output", "-o", help="Trace file to write.", show_default=False),
    kernel: str = typer.Option(
        None, "--kernel", help="The host's kernel: `uname -r` there, a version or a profile.", show_default=False
    ),
    layout: str = typer.Option(
        None,
        "--layout",
        help="How the host's kernel numbers page types: a name, or a copy of its memory_failure_event/format.",
        show_default=False,
    ),
    table: str = typer.Option(
        None,
        "--rasdaemon-table",
        help="rasdaemon's own table: 2020 (before 0.8.1) or 2024. Told by the texts, or assumed, when not given.",
        show_default=False,
    ),
    machine: Path = typer.Option(
        None,
        "--machine",
        help="Trace or machine file of the host; else it is put together from the events.",
        show_default=False,
    ),
    arch: str = typer.Option("x86_64", help="`uname -m` of the host, where no machine is given."),
    decoded: Path = typer.Option(
        None, "--decoded", help="Write the page type of every row: .csv, or else Arrow.", show_default=False
    ),
    rejects: Path = typer.Option(
        None, "--rejects", help="Write what could not be used: .csv, or else Arrow.", show_default=False
    ),
    strict: bool = typer.Option(False, "--strict", help="Refuse a database with a row that cannot be used."),
    compress: str = typer.Option("none", help="none (mapped into memory when replayed), lz4 or zstd (for archives)."),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of lines."),
) -> None:
    """Import rasdaemon's database, with the page types as the host's kernel meant them.

    The kernel reports the type of a poisoned page as a number, which rasdaemon turns into text with one table for all
    kernels. Here the text becomes the number again, and that is read with the table of the host's kernel. A text that
    stands for several numbers is flagged, and decided only where the place of the page allows one of them.

    [bold]Examples[/bold]

      replay import rasdaemon ras-mc_event.db --kernel 5.10.0-32-amd64 -o errors.arrow

      replay import rasdaemon ras-mc_event.db --layout format.txt --machine machine.arrow --decoded types.csv -o errors.arrow
    """
    from replay.errors import UsageError
    from replay.sources.importers.rasdaemon import host_of, import_rasdaemon
    from replay.sources.importers.rejects import Rejects

    if compress not in {"none", "lz4", "zstd"}:
        raise UsageError(f"unknown compression {compress!r}; there are none, lz4 and zstd")
    outputs = {"--output": output, "--decoded": decoded, "--rejects": rejects}
    refuse_same_file(outputs, [database, layout, machine])
    host = host_of(kernel=kernel, layout=layout, table=table, machine=machine, arch=arch)
    refused = Rejects(database, strict=strict)
    compression = None if compress == "none" else compress
    with progress_on_stderr(database.name) as show:
        report = import_rasdaemon(
            database, output, host, refused, decoded=decoded, compression=compression, progress=show
        )
    if rejects is not None:
        refused.write(rejects)
    diagnostics = Diagnostics()
    diagnostics.warnings(database, (*_warnings(report), *refused.summary()))
    if json:
        emit_json("import", "ok", _facts(report, output, refused.by_reason), diagnostics)
        return
    _print(report, output)
    diagnostics.tell()


def _facts(report: RasdaemonReport, output: Path, by_reason: dict[str, int]) -> dict[str, object]:
    return {
        "trace": str(output),
        "rows": report.rows,
        "tables": report.tables,
        "unused": report.unused,
        "kernel": report.kernel,
        "layout": report.layout,
        "rasdaemon_table": report.table,
        "reconstructed": report.reconstructed,
        "undecided": report.undecided,
        "page_types": [
            {
                "text": reading.text,
                "candidates": [
                    {"number": number, "page_type": action.display}
                    for number, action in zip(reading.numbers, reading.types, strict=True)
                ],
                "page_type": None if reading.type is None else reading.type.display,
                "confidence": reading.confidence.name.lower(),
                "reason": reading.reason,
                "rows": count,
            }
            for reading, count in report.readings
        ],
        "rejected": dict(by_reason),
        "notes": list(report.notes),
    }


def _print(report: RasdaemonReport, output: Path) -> None:
    from rich import box
    from rich.table import Table

    out = console()
    kinds = ", ".join(f"{count:,} of {name}" for name, count in report.tables.items() if count)
    out.print(f"{output}: {report.rows:,} rows{': ' + kinds if kinds else ''}", markup=False, soft_wrap=True)
    if report.unused:
        unused = ", ".join(f"{name} {count:,}" for name, count in report.unused.items())
        out.print(f"tables that were not used: {unused}", markup=False, soft_wrap=True)
    if not report.readings:
        return
    out.print(
        f"page types by the layout {report.layout} (kernel {report.kernel}), rasdaemon's table of {report.table}:",
        markup=False,
    )
    lines = Table(box=box.SIMPLE)
    for name in ("rasdaemon's text", "number", "page type", "confidence", "why"):
        lines.add_column(name)
    lines.add_column("rows", justify="right")
    for reading, count in report.readings:
        numbers = ", ".join(map(str, reading.numbers)) or "none"
        words = reading.meaning.replace('"', "")
        shown = words if reading.type is not None or not reading.types else f"not decided: {words}"
        lines.add_row(reading.text, numbers, shown, reading.confidence.name.lower(), reading.reason, f"{count:,}")
    out.print(lines)


def _warnings(report: RasdaemonReport) -> list[str]:
    from replay.sources.importers.events.machine import kernel_note

    note = kernel_note(report.kernel)
    warnings = [] if note is None else [note]
    if report.undecided:
        warnings.append(f"the page type of {report.undecided:,} rows is not decided; it is left out of the trace")
    if any(reading.confidence.name == "CONFLICT" for reading, _ in report.readings):
        warnings.append("page types that cannot be where their pages are: check --kernel, --layout, --rasdaemon-table")
    if any(reading.confidence.name == "ASSUMED" for reading, _ in report.readings):
        warnings.append(f"rasdaemon's table of {report.table} is assumed; --rasdaemon-table says which one it is")
    if report.reconstructed:
        warnings.append("no machine was given: it is put together from the events; --machine takes the host's")
    return warnings
