"""``replay run``: replay traces through kernels."""

from __future__ import annotations

from pathlib import Path

import typer

from replay.cli.common import console, emit_json, progress_on_stderr, warn
from replay.errors import InputError, UsageError


def command(
    traces: list[Path] = typer.Argument(help="Trace files.", show_default=False),
    profile: list[str] = typer.Option(
        [], "--profile", "-p", help="Kernel: v6.1, v5.11+taint-zone-device …; again for more. Default: the trace's own."
    ),
    engine: str = typer.Option("vector", help="vector, or scalar for the slow reference."),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="Write the outcome of every row to this Arrow file."
    ),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of tables."),
) -> None:
    """Replay traces and hold every answer against the recording and against the truth.

    Exit code 1 when a compared answer differs from the recorded one.

    [bold]Examples[/bold]

      replay run traces/recorded/*.arrow

      replay run traces/recorded/6.1.192-s2a-pmem-collision.arrow --profile v5.11 --profile v5.12

      replay run trace.arrow --profile v5.11+taint-zone-device -o outcomes.arrow
    """
    from replay.report.runs import print_runs
    from replay.run import Run, run

    if output is not None and len(traces) * max(len(profile), 1) > 1:
        raise UsageError("--output takes the outcomes of one trace and one profile; several were asked for")
    runs: list[Run] = []
    errors: list[InputError] = []
    for trace in traces:
        for kernel in profile or (None,):
            try:
                with progress_on_stderr(trace.name) as progress:
                    runs.append(run(trace, kernel, engine=engine, outcomes=output, progress=progress))
            except InputError as error:
                errors.append(error)
                break  # the trace is bad for every kernel
    if errors and not runs:
        if len(errors) > 1:
            warn(f"{len(errors)} traces cannot be used; the first:")
        raise errors[0]
    differs = not all(r.agrees for r in runs)
    lost = [r for r in runs if r.lost_events]
    diagnostics: list[dict[str, object]] = [{"level": "error", "message": str(e), "where": e.where} for e in errors]
    for r in lost:
        text = f"the recorder lost {r.lost_events} events; what depends on them may be wrong"
        diagnostics.append({"level": "warning", "message": text, "where": r.trace})
    if json:
        status = "error" if errors else "differs" if differs else "ok"
        emit_json("run", status, {"runs": [r.to_dict() for r in runs]}, diagnostics)
    else:
        print_runs(console(), runs)
        for d in diagnostics:
            warn(f"{d['where']}: {d['message']}" if d["level"] == "warning" else str(d["message"]))
    raise typer.Exit(InputError.exit_code if errors else int(differs))
