"""``replay record``: record this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from replay.cli.common import Diagnostics, console, emit_json, progress_on_stderr, warn
from replay.errors import InputError, UsageError

if TYPE_CHECKING:
    from replay.sources.importers.recording import ImportReport

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def command(
    output: Path | None = typer.Option(None, "--output", "-o", help="Trace file to write.", show_default=False),
    duration: str | None = typer.Option(
        None, help="How long: 60s, 10m, 2h. Default: until Ctrl-C or the command ends."
    ),
    walks: bool = typer.Option(False, "--walks", help="Record pfn lookups too: there can be very many."),
    run: str | None = typer.Option(
        None, "--command", help="Shell command to run meanwhile; its end ends the recording."
    ),
    keep: Path | None = typer.Option(None, help="Keep the recording folder here.", show_default=False),
    images: bool = typer.Option(False, "--kpageflags", help="Copy /proc/kpageflags and kpagecount, with --keep."),
    buffer: int | None = typer.Option(None, help="Ring buffer per cpu, in KB.", min=64),
    allow_loss: bool = typer.Option(
        False, "--allow-loss", help="Import although events were lost, and mark the trace."
    ),
    check: bool = typer.Option(False, "--check", help="Say what can be recorded here, and record nothing."),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of lines."),
) -> None:
    """Record this machine: pfn walks, memory hotplug, poison. Needs root.

    Uses a trace instance and probes of its own, which are taken back at the end, on Ctrl-C, and when it is killed.
    The recorder is one shell script without dependencies, for hosts without Python: --check prints where it is.

    [bold]Examples[/bold]

      replay record -o host.arrow --duration 60s

      replay record -o offline.arrow --walks --command 'echo offline > /sys/devices/system/memory/memory42/state'

      replay record --check
    """
    from replay.sources.record import CAPTURE, check_machine

    if check:
        checks = check_machine()
        facts = {"recorder": str(CAPTURE), "checks": [vars(c) for c in checks]}
        if json:
            emit_json("record", "ok", facts)
            return
        for one in checks:
            console().print(f"{one.what:14} {one.state:8} {one.detail}", markup=False, soft_wrap=True)
        console().print(f"recorder       {CAPTURE}", markup=False, soft_wrap=True)
        return
    if output is None:
        raise UsageError("no trace file to write; give it with --output")
    if images and keep is None:
        raise UsageError("--kpageflags makes files of the recording folder, which is kept with --keep FOLDER only")
    report = _record(output, _seconds(duration), walks, images, run, keep, buffer, allow_loss)
    diagnostics = Diagnostics()
    diagnostics.warnings(keep or output, report.warnings)
    if json:
        from dataclasses import asdict

        emit_json("record", "ok", {"trace": str(output), **asdict(report)}, diagnostics)
        return
    console().print(f"{output}: {report.rows:,} rows from {report.lookups:,} lookups and {report.transitions:,} "
                    f"transitions", markup=False)  # fmt: skip
    diagnostics.tell()


def _record(
    output: Path, seconds: int | None, walks: bool, images: bool, run: str | None, keep: Path | None,
    buffer: int | None, allow_loss: bool,
) -> ImportReport:  # fmt: skip
    import shutil
    import tempfile

    from replay.sources.importers.recording import import_recording
    from replay.sources.record import record

    with tempfile.TemporaryDirectory(prefix="replay-record-") as scratch:
        folder = keep or Path(scratch) / "recording"
        record(folder, seconds=seconds, walks=walks, images=images, buffer_kb=buffer, name=output.stem,
               command=["sh", "-c", run] if run else (), say=_say)  # fmt: skip
        try:
            with progress_on_stderr(output.name) as show:
                return import_recording(
                    folder, output, allow_loss=allow_loss, progress=lambda _step, done: show(int(done * 1000), 1000)
                )
        except InputError:
            if keep is None:  # what was recorded cannot be recorded again
                kept = output.with_name(output.name + ".recording")
                shutil.move(folder, kept)
                warn(f"the recording is kept in {kept}; import it with `replay import recording`")
            raise


def _say(line: str) -> None:
    import sys

    print(line, file=sys.stderr)


def _seconds(text: str | None) -> int | None:
    """Return the seconds of ``60``, ``60s``, ``10m`` or ``2h``."""
    if text is None:
        return None
    digits = text.rstrip("smh")
    if not digits.isdecimal() or text[len(digits) :] not in _UNITS or int(digits) == 0:
        raise UsageError(f"--duration {text}: needed a time such as 60s, 10m or 2h")
    return int(digits) * _UNITS[text[len(digits) :]]
