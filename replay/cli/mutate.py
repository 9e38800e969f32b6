"""``replay mutate``: would these traces notice a mistake?"""

from __future__ import annotations

import typer

from replay.cli.common import Diagnostics, console, count_of, emit_json, progress_on_stderr
from replay.errors import InputError


def command(
    traces: list[str] = typer.Argument(help="Trace files, folders with traces, quoted patterns.", show_default=False),
    profile: list[str] = typer.Option(
        [], "--profile", "-p", help="Kernel, or a candidate's file; again for more. Default: all that traces come from."
    ),
    function: list[str] = typer.Option([], "--function", "-f", help="Only this kernel function; again for more."),
    survivors: bool = typer.Option(False, "--survivors", help="List the mutants that no trace notices."),
    unreachable: bool = typer.Option(
        False, "--unreachable", help="List the mutants that no trace at all can notice, with the reasons."
    ),
    fail_under: float = typer.Option(
        0.0, help="Exit with 1 if a function's score is lower, in percent.", min=0, max=100
    ),
    workers: str = typer.Option("1", "--workers", "-w", help="Processes on this machine; auto: one per core."),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of tables."),
) -> None:
    """Drop, negate and swap each check of every kernel function in turn, and count the mistakes that traces notice.

    A mutant that answers no state at all otherwise is equivalent, which is proven; one is out of reach if it does so only in
    states in which no machine is, or that no trace can say. Neither counts in the score.

    [bold]Examples[/bold]

      replay mutate traces --profile v6.12

      replay mutate traces -p v5.12 -f pfn_to_online_page --survivors

      replay mutate traces/recorded traces/synthetic --fail-under 99
    """
    from replay.compare.coverage import functions_of
    from replay.compare.met import Met, kernels_of, meet_many, misfits
    from replay.compare.mutation import score_functions
    from replay.errors import UnknownNameError
    from replay.fleet.corpus import find_traces
    from replay.report.mutation import print_scores, score_facts
    from replay.session import named

    corpus = find_traces(traces)
    # A kernel named twice counts once.
    kernels = list(dict.fromkeys(named(name).name for name in profile)) or kernels_of(corpus.traces)
    met = {name: Met(named(name)) for name in kernels}
    left_out = misfits(corpus.traces, kernels)
    diagnostics = Diagnostics()
    diagnostics.passed_over(corpus.passed_over)
    for (_, at), why in left_out.items():
        diagnostics.warning(at, f"left out: {why}")
    for name in function:
        known = {f for m in met.values() for f in functions_of(m)}
        if name not in known:
            raise UnknownNameError("function", name, sorted(known), f"there are {', '.join(sorted(known))}")
    with progress_on_stderr(f"{len(corpus.traces)} traces") as progress:
        for name, found in meet_many(
            corpus.traces, kernels, workers=count_of("workers", workers), progress=progress, without=left_out
        ):
            if isinstance(found, InputError):
                raise found
            met[name].merge(found)
    facts, failed = [], False
    for name in kernels:
        names = [f for f in functions_of(met[name]) if not function or f in function]
        with progress_on_stderr(f"mutants of {name}") as progress:
            scores = score_functions(met[name], names, progress)
        failed |= any(s.score * 100 < fail_under for s in scores)
        facts.append(score_facts(name, scores))
        if not json:
            print_scores(console(), name, scores, survivors=survivors, unreachable=unreachable)
    if json:
        emit_json("mutate", "differs" if failed else "ok", {"kernels": facts}, diagnostics)
    else:
        diagnostics.tell()
    raise typer.Exit(int(failed))
