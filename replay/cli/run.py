"""``replay run``: replay traces through kernels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import typer

from replay.cli.common import console, emit_json, progress_on_stderr, warn
from replay.errors import InputError, UsageError

if TYPE_CHECKING:
    from replay.session import Run


class _Options(TypedDict):
    engine: str
    outcomes: Path | None
    open_loop: bool


def command(
    traces: list[Path] = typer.Argument(help="Trace files.", show_default=False),
    profile: list[str] = typer.Option(
        [], "--profile", "-p", help="Kernel: v6.1, v5.11+taint-zone-device …; again for more. Default: the trace's own."
    ),
    engine: str = typer.Option("vector", help="vector, or scalar for the slow reference."),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="Write the outcome of every row to this Arrow file."
    ),
    open_loop: bool = typer.Option(False, "--open-loop", help="Signals kill nobody: mappings follow the trace only."),
    as_dmesg: bool = typer.Option(False, "--as-dmesg", help="Print the lines that the kernel would have logged."),
    as_trace: bool = typer.Option(False, "--as-trace", help="Print lines of its memory_failure tracepoint."),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of tables."),
) -> None:
    """Replay traces and hold every answer against the recording and against the truth.

    Exit code 1 when a compared answer differs from the recorded one.

    [bold]Examples[/bold]

      replay run traces/recorded/*.arrow

      replay run traces/recorded/6.1.192-s2a-pmem-collision.arrow --profile v5.11 --profile v5.12

      replay run trace.arrow --profile v5.11+taint-zone-device -o outcomes.arrow

      replay run traces/recorded/6.12.107-s5-poison-ram.arrow --as-dmesg
    """
    from replay.report.runs import print_runs

    _check(traces, profile, output, json, as_dmesg, as_trace)
    form = "dmesg" if as_dmesg else "trace" if as_trace else ""
    runs, errors = _replay_all(traces, profile, engine, output, open_loop=open_loop, form=form)
    if errors and not runs:
        if len(errors) > 1:
            warn(f"{len(errors)} traces cannot be used; the first:")
        raise errors[0]
    differs = not all(r.agrees for r in runs)
    diagnostics = _diagnostics(runs, errors)
    if json:
        status = "error" if errors else "differs" if differs else "ok"
        emit_json("run", status, {"runs": [r.to_dict() for r in runs]}, diagnostics)
    else:
        if not form:
            print_runs(console(), runs)
        for d in diagnostics:
            warn(f"{d['where']}: {d['message']}" if d["level"] == "warning" else str(d["message"]))
    raise typer.Exit(InputError.exit_code if errors else int(differs))


def _check(
    traces: list[Path], profiles: list[str], output: Path | None, json: bool, as_dmesg: bool, as_trace: bool
) -> None:
    """Refuse options that exclude each other."""
    if as_dmesg + as_trace + json > 1:
        raise UsageError("--as-dmesg, --as-trace and --json each print something else; give one of them")
    if output is None:
        return
    if len(traces) * max(len(profiles), 1) > 1:
        raise UsageError("--output takes the outcomes of one trace and one profile; several were asked for")
    if output.exists() and any(t.exists() and output.samefile(t) for t in traces):
        raise UsageError(f"--output {output} is the trace itself; give the outcomes a file of their own")


def _replay_all(
    traces: list[Path], profiles: list[str], engine: str, output: Path | None, *, open_loop: bool, form: str
) -> tuple[list[Run], list[InputError]]:
    """Replay every trace through every kernel; a bad trace does not keep the others from being replayed."""
    from replay.report.kernel_log import log_printer
    from replay.session import run

    runs: list[Run] = []
    errors: list[InputError] = []
    for trace in traces:
        for kernel in profiles or (None,):
            try:
                log = log_printer(form, kernel, trace) if form else None
                with progress_on_stderr(trace.name) as progress:
                    options = _Options(engine=engine, outcomes=output, open_loop=open_loop)
                    runs.append(run(trace, kernel, progress=progress, log=log, **options))
            except InputError as error:
                errors.append(error)
                break  # the trace is bad for every kernel
    return runs, errors


def _diagnostics(runs: list[Run], errors: list[InputError]) -> list[dict[str, object]]:
    """Return what should be known about the runs, and the traces that could not be replayed."""
    found: list[dict[str, object]] = [{"level": "error", "message": str(e), "where": e.where} for e in errors]
    for r in runs:
        if r.lost_events:
            text = f"the recorder lost {r.lost_events} events; what depends on them may be wrong"
            found.append({"level": "warning", "message": text, "where": r.trace})
    return found
