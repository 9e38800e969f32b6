"""``replay lab``: boot a kernel, run a scenario, record it."""

from __future__ import annotations

from pathlib import Path

import typer

from replay.cli.common import Diagnostics, console, emit_json, progress_on_stderr
from replay.errors import UsageError


def command(
    kernel: Path | None = typer.Option(None, help="Kernel image (vmlinuz).", show_default=False),
    scenario: str | None = typer.Option(None, help="What to do in it; --list prints them.", show_default=False),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="Folder for the recording; the trace goes beside it, as FOLDER.arrow."
    ),
    modules: Path | None = typer.Option(
        None, help="Folder of its modules. Default: beside the image.", show_default=False
    ),
    compress: str = typer.Option("zstd", help="none, lz4 or zstd, for the trace."),
    names: bool = typer.Option(False, "--list", help="Print the scenarios, and boot nothing."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Show how far the guest is, on stderr."),
    keep: bool = typer.Option(False, "--keep-work", help="Keep disks and console as FOLDER.work."),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of lines."),
) -> None:
    """Boot a kernel under qemu, run a scenario in it, record it, import the recording.

    Software emulation is enough; a boot takes one to three minutes. The machine has persistent memory, DIMMs that
    come and go, and a disk; pages are poisoned under the eyes of processes that map them.

    [bold]Examples[/bold]

      replay lab --list

      replay lab --kernel /boot/vmlinuz-6.1.0-56-amd64 --scenario s2a-pmem-collision -o collision

      replay run collision.arrow
    """
    from replay.sources.lab import SCENARIOS, run_lab

    if names:
        if json:
            emit_json("lab", "ok", {"scenarios": {s.name: s.about for s in SCENARIOS.values()}})
            return
        for one in SCENARIOS.values():
            console().print(f"{one.name:20} {one.about}", markup=False)
        return
    if kernel is None or scenario is None or output is None:
        raise UsageError("needed --kernel, --scenario and --output; --list prints the scenarios")
    if compress not in {"none", "lz4", "zstd"}:
        raise UsageError(f"unknown compression {compress!r}; there are none, lz4 and zstd")

    import sys
    from dataclasses import asdict

    from replay.sources.importers.recording import import_recording

    report = run_lab(
        kernel, scenario, output, modules=modules, keep=keep,
        show=(lambda line: print(line, file=sys.stderr)) if verbose else None,
    )  # fmt: skip
    trace = output.with_name(output.name + ".arrow")
    with progress_on_stderr(trace.name) as show:
        made = import_recording(
            output, trace, compression=None if compress == "none" else compress,
            progress=lambda _step, done: show(int(done * 1000), 1000),
        )  # fmt: skip
    texts = list(made.warnings)
    if not report.complete:
        texts.insert(0, "the scenario was cut short: its time was over before it had ended")
    diagnostics = Diagnostics()
    diagnostics.warnings(output, texts)
    if json:
        emit_json("lab", "ok", {"trace": str(trace), **asdict(report), "import": asdict(made)}, diagnostics)
        return
    out = console()
    out.print(f"{output}: {report.release}, {scenario}, {report.seconds:.0f} s", markup=False)
    out.print(f"{trace}: {made.rows:,} rows from {made.lookups:,} lookups, {made.transitions:,} transitions and "
              f"{made.dumps:,} section dumps", markup=False)  # fmt: skip
    diagnostics.tell()
