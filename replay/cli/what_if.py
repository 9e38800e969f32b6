"""``replay what-if``: poison history under other kernels."""

from __future__ import annotations

import typer

from replay.cli.common import Diagnostics, console, count_of, emit_json, progress_on_stderr
from replay.errors import InputError


def command(
    events: list[str] = typer.Argument(
        help="Traces with poison events: files, folders, quoted patterns.", show_default=False
    ),
    profile: list[str] = typer.Option(
        ..., "--profile", "-p", help="Kernel, or a candidate's file; again for more.", show_default=False
    ),
    workers: str = typer.Option("1", "--workers", "-w", help="Processes on this machine; auto: one per core."),
    scheduler: str | None = typer.Option(None, help="Address of a Dask scheduler whose workers replay."),
    open_loop: bool = typer.Option(False, "--open-loop", help="Signals kill nobody: mappings follow the trace only."),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of tables."),
) -> None:
    """Show what other kernels would have made of recorded memory errors, side by side.

    Recovered, failed, delayed or ignored; tasks killed, told early, told late or not at all; memory lost.

    [bold]Examples[/bold]

      replay what-if traces/recorded/6.1.192-s5-poison-ram.arrow -p v5.10.223 -p v6.1.192 -p v6.12

      replay what-if 'fleet/**/*.arrow' -p v6.12 -p v7.2 --workers auto

      replay what-if fleet/ -p v7.2 -p examples/candidates/panic_on_unrecoverable.py:proposal
    """
    from replay.compare.what_if import History, what_if
    from replay.fleet.corpus import find_traces
    from replay.report.what_if import history_facts, print_histories
    from replay.session import named

    kernels = list(dict.fromkeys(named(name).name for name in profile))  # a kernel named twice counts once
    corpus = find_traces(events)
    histories = {name: History() for name in kernels}
    errors: dict[str, InputError] = {}
    with progress_on_stderr(f"{len(corpus.traces)} traces") as progress:
        found = what_if(
            corpus.traces,
            kernels,
            workers=count_of("workers", workers),
            scheduler=scheduler,
            progress=progress,
            open_loop=open_loop,
        )
        for trace, kernel, result in found:
            if isinstance(result, InputError):
                errors[trace] = result
            else:
                histories[kernel].merge(result)
    if errors and len(errors) == len(corpus.traces):
        raise next(iter(errors.values()))
    diagnostics = Diagnostics()
    diagnostics.errors(errors.values())
    diagnostics.passed_over(corpus.passed_over)
    for name, h in histories.items():
        if h.undecided:
            diagnostics.warning(name, f"{h.undecided} calls are undecided: the trace does not describe their pages")
    if json:
        facts = [history_facts(name, h) for name, h in histories.items()]
        emit_json("what-if", "error" if errors else "ok", {"traces": len(corpus.traces), "kernels": facts}, diagnostics)
    else:
        print_histories(console(), histories, len(corpus.traces) - len(errors))
        diagnostics.tell()
    raise typer.Exit(InputError.exit_code if errors else 0)
