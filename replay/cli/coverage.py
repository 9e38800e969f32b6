"""``replay coverage``: what traces exercise."""

from __future__ import annotations

import typer

from replay.cli.common import Diagnostics, console, count_of, emit_json, progress_on_stderr
from replay.errors import InputError


def command(
    traces: list[str] = typer.Argument(help="Trace files, folders with traces, quoted patterns.", show_default=False),
    profile: list[str] = typer.Option(
        [], "--profile", "-p", help="Kernel, or a candidate's file; again for more. Default: all that traces come from."
    ),
    missing: bool = typer.Option(False, "--missing", help="Show only what no trace exercises."),
    workers: str = typer.Option("1", "--workers", "-w", help="Processes on this machine; auto: one per core."),
    scheduler: str | None = typer.Option(None, help="Address of a Dask scheduler whose workers replay."),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of tables."),
) -> None:
    """Show which checks of every kernel function traces exercise: decided, reached but never held, or never reached.

    Also the different states that each function was asked about, and the states of the pages that poison calls hit.

    [bold]Examples[/bold]

      replay coverage traces/recorded/6.1.192-s5-poison-ram.arrow

      replay coverage traces --profile v6.12 --profile v7.2 --missing

      replay coverage traces -p patch.py --json
    """
    from replay.compare.coverage import coverage_of
    from replay.compare.met import Met, kernels_of, meet_many, misfits
    from replay.fleet.corpus import find_traces
    from replay.report.coverage import coverage_facts, print_coverage, print_missing, print_overview
    from replay.session import named

    corpus = find_traces(traces)
    # A kernel named twice counts once.
    kernels = list(dict.fromkeys(named(name).name for name in profile)) or kernels_of(corpus.traces)
    met = {name: Met(named(name)) for name in kernels}
    count = dict.fromkeys(kernels, 0)
    errors: dict[str, InputError] = {}
    left_out = misfits(corpus.traces, kernels)
    with progress_on_stderr(f"{len(corpus.traces)} traces") as progress:
        for name, found in meet_many(
            corpus.traces,
            kernels,
            workers=count_of("workers", workers),
            scheduler=scheduler,
            progress=progress,
            without=left_out,
        ):
            if isinstance(found, InputError):
                errors[found.where] = found
            else:
                met[name].merge(found)
                count[name] += 1
    if errors and not any(count.values()):
        raise next(iter(errors.values()))
    coverages = [coverage_of(met[name], count[name]) for name in kernels]
    diagnostics = Diagnostics()
    diagnostics.errors(errors.values())
    diagnostics.passed_over(corpus.passed_over)
    for (_, at), why in left_out.items():
        diagnostics.warning(at, f"left out: {why}")
    if json:
        emit_json(
            "coverage", "error" if errors else "ok", {"kernels": [coverage_facts(c) for c in coverages]}, diagnostics
        )
    else:
        out = console()
        for c in coverages:
            print_missing(out, c) if missing else print_coverage(out, c)
        print_overview(out, coverages)
        diagnostics.tell()
    raise typer.Exit(InputError.exit_code if errors else 0)
