"""``replay import ftrace``, ``trace-cmd``, ``perf`` and ``dmesg``: traces from events that other tools printed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from replay.cli.common import Diagnostics, console, emit_json, progress_on_stderr, refuse_same_file

if TYPE_CHECKING:
    from replay.sources.importers.events.assembly import ImportReport
    from replay.sources.importers.events.text import EventOptions
    from replay.sources.importers.rejects import Rejects

__all__ = ("dmesg", "ftrace", "perf", "trace_cmd")

_INPUT = typer.Argument(
    help="File, plain or compressed (gzip, xz, bzip2, zstd, lz4); - is standard input.", show_default=False
)
_OUTPUT = typer.Option(..., "--output", "-o", help="Trace file to write.", show_default=False)
_MACHINE = typer.Option(
    None, "--machine", help="Trace file whose machine this is; without it, one is put together from the events."
)
_KERNEL = typer.Option(None, "--kernel", help="Version of the kernel, such as 6.1.192.", show_default="the input's")
_ARCH = typer.Option("x86_64", "--arch", help="Architecture, where no --machine says it.")
_LAYOUT = typer.Option(
    None, "--layout", help="Layout of page type numbers in the input, by name.", show_default="that of the kernel"
)
_REJECTS = typer.Option(None, "--rejects", help="Write what was not used: line, reason, text (CSV if it ends in .csv).")
_STRICT = typer.Option(False, "--strict", help="Refuse input that cannot all be used, and lost events.")
_COMPRESS = typer.Option("none", help="none (mapped into memory when replayed), lz4 or zstd (for archives).")
_JSON = typer.Option(False, "--json", help="Print one JSON document instead of lines.")


def ftrace(
    file: str = _INPUT,
    output: Path = _OUTPUT,
    machine: Path | None = _MACHINE,
    kernel: str | None = _KERNEL,
    arch: str = _ARCH,
    layout: str | None = _LAYOUT,
    rejects: Path | None = _REJECTS,
    strict: bool = _STRICT,
    compress: str = _COMPRESS,
    json: bool = _JSON,
) -> None:
    """Import ftrace text: trace, trace_pipe, or what `trace-cmd report` prints.

    Used are memory_failure_event and the probes of memory_failure, soft_offline_page, unpoison_memory, pfn_valid,
    pfn_to_online_page and get_dev_pagemap.

    [bold]Examples[/bold]

      replay import ftrace trace.txt.gz --kernel 6.1.192 -o host.arrow

      cat /sys/kernel/tracing/trace | replay import ftrace - --machine host.arrow --rejects rejects.csv -o today.arrow
    """
    _text("ftrace", file, output, _options(machine, kernel, arch, layout, strict, compress), rejects, json)


def perf(
    file: str = _INPUT,
    output: Path = _OUTPUT,
    machine: Path | None = _MACHINE,
    kernel: str | None = _KERNEL,
    arch: str = _ARCH,
    layout: str | None = _LAYOUT,
    rejects: Path | None = _REJECTS,
    strict: bool = _STRICT,
    compress: str = _COMPRESS,
    json: bool = _JSON,
) -> None:
    """Import the text of `perf script`.

    With `perf script --header` the text says which kernel it is of; `--show-lost-events` shows what is missing.

    [bold]Examples[/bold]

      perf script --header --show-lost-events | replay import perf - -o host.arrow

      replay import perf script.txt --kernel 6.12.107 -o host.arrow
    """
    _text("perf", file, output, _options(machine, kernel, arch, layout, strict, compress), rejects, json)


def trace_cmd(
    file: Path = typer.Argument(help="trace.dat, as `trace-cmd record` writes it.", show_default=False),
    output: Path = _OUTPUT,
    machine: Path | None = _MACHINE,
    kernel: str | None = _KERNEL,
    arch: str = _ARCH,
    layout: str | None = _LAYOUT,
    rejects: Path | None = _REJECTS,
    strict: bool = _STRICT,
    compress: str = _COMPRESS,
    json: bool = _JSON,
) -> None:
    """Import a trace.dat of trace-cmd, which has to be installed: it is asked for `trace-cmd report`.

    [bold]Example[/bold]

      replay import trace-cmd trace.dat -o host.arrow
    """
    from replay.sources.importers.events.trace_cmd import import_trace_cmd

    options = _options(machine, kernel, arch, layout, strict, compress)
    _run("trace-cmd", str(file), output, rejects, options, json,
         lambda table, told: import_trace_cmd(file, output, options, table, told))  # fmt: skip


def dmesg(
    file: str = _INPUT,
    output: Path = _OUTPUT,
    format: str = typer.Option(
        "auto", "--format", help="text (dmesg in all its forms, syslog), export or json (journalctl -o …), or auto."
    ),
    boot: int | None = typer.Option(None, "--boot", min=1, help="Which boot, of a log that holds several, from 1."),
    machine: Path | None = _MACHINE,
    kernel: str | None = _KERNEL,
    arch: str = _ARCH,
    layout: str | None = _LAYOUT,
    rejects: Path | None = _REJECTS,
    strict: bool = _STRICT,
    compress: str = _COMPRESS,
    json: bool = _JSON,
) -> None:
    """Import a kernel log: dmesg (plain, -T, -x, -r, -J …), /dev/kmsg, syslog, or a journald export.

    [bold]Examples[/bold]

      dmesg | replay import dmesg - -o host.arrow

      journalctl -k -b -o export | replay import dmesg - --machine host.arrow -o today.arrow
    """
    from replay.sources.importers.events.kernel_log import import_log

    options = _options(machine, kernel, arch, layout, strict, compress)
    _run("dmesg", file, output, rejects, options, json,
         lambda table, told: import_log(file, output, options, table, form=format, boot=boot, progress=told))  # fmt: skip


def _text(dialect: str, file: str, output: Path, options: EventOptions, rejects: Path | None, json: bool) -> None:
    from replay.sources.importers.events.text import import_text

    _run(dialect, file, output, rejects, options, json,
         lambda table, told: import_text(file, output, dialect, options, table, told))  # fmt: skip


def _options(
    machine: Path | None, kernel: str | None, arch: str, layout: str | None, strict: bool, compress: str
) -> EventOptions:
    from replay.errors import UsageError
    from replay.sources.importers.events.machine import MachineSource
    from replay.sources.importers.events.text import EventOptions

    if compress not in {"none", "lz4", "zstd"}:
        raise UsageError(f"unknown compression {compress!r}; there are none, lz4 and zstd")
    return EventOptions(
        MachineSource(machine, kernel, arch),
        layout,
        strict=strict,
        compression=None if compress == "none" else compress,
    )


def _run(
    what: str,
    file: str,
    output: Path,
    rejects: Path | None,
    options: EventOptions,
    json: bool,
    work: Callable[[Rejects, Callable[[int], None]], ImportReport],
) -> None:
    import os
    from dataclasses import asdict

    from replay.sources.importers.rejects import Rejects
    from replay.sources.importers.streaming import source_name

    given = None if options.machine.trace is None else os.fspath(options.machine.trace)
    refuse_same_file({"--output": output, "--rejects": rejects}, [file, given])
    name = source_name(file)
    table = Rejects(name, strict=options.strict)
    # Text grows when it is decompressed; how much is only known in the end, so the bar may stand at the end early.
    size = os.path.getsize(file) if os.path.isfile(file) else 1
    try:
        with progress_on_stderr(os.path.basename(name)) as show:
            report = work(table, lambda done: show(min(done, size), size))
    finally:
        if rejects is not None:
            table.write(rejects)
    facts = {"trace": str(output), **asdict(report)}
    diagnostics = Diagnostics()
    diagnostics.warnings(name, (*report.warnings, *table.summary()))
    if json:
        emit_json("import", "ok", facts, diagnostics)
        return
    out = console()
    events = ", ".join(f"{kind} {count:,}" for kind, count in report.events.items()) or "nothing that is used"
    out.print(f"{output}: {report.rows:,} rows from {what}: {events}", markup=False, soft_wrap=True)
    if report.unused:
        unused = ", ".join(f"{kind} {count:,}" for kind, count in report.unused.items())
        out.print(f"read and not used: {unused}", markup=False, soft_wrap=True)
    diagnostics.tell()
