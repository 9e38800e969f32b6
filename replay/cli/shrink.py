"""``replay shrink``: the smallest trace that still shows a difference."""

from __future__ import annotations

import shlex
from pathlib import Path

import typer

from replay.cli.common import console, emit_json, progress_on_stderr, refuse_same_file


def command(
    trace: Path = typer.Argument(help="Trace file.", show_default=False),
    baseline: str = typer.Option(..., "--baseline", "-b", help="Kernel, or a candidate's file.", show_default=False),
    candidate: str = typer.Option(..., "--candidate", "-c", help="Kernel, or file.py[:name].", show_default=False),
    output: Path = typer.Option(..., "--output", "-o", help="Trace file to write.", show_default=False),
    function: str = typer.Option("", "--function", "-f", help="Take the first difference of this kernel function."),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of lines."),
) -> None:
    """Shrink a trace to the fewest events, on the simplest machine, on which two kernels still differ in the same way.

    The same input gives the same result. Which difference: the first in the trace that does not merely follow from
    another one, or the first of --function.

    [bold]Examples[/bold]

      replay shrink traces/recorded/6.1.192-s2a-pmem-collision.arrow -b v5.11 -c v5.12 -o small.arrow

      replay shrink trace.arrow -b v5.12 -c examples/candidates/forgets_altmap.py -f memory_failure -o small.arrow
    """
    from replay.compare.shrink import shrink, target_of
    from replay.compare.shrunk_file import write_shrunk
    from replay.report.shrink import print_rows, shrunk_facts
    from replay.session import named
    from replay.trace.reader import TraceFile

    refuse_same_file({"--output": output}, [trace, baseline, candidate])
    kernels = named(baseline), named(candidate)
    with TraceFile.open(trace) as opened, progress_on_stderr(trace.name) as progress:
        target, row = target_of(opened, *kernels, function)
        found = shrink(opened, *kernels, target, row, progress=progress)
    sides = ["--baseline", baseline, "--candidate", candidate]
    again = shlex.join(["replay", "compare", str(output), *sides])
    wanted = ["--function", function] if function else []
    shrunk = shlex.join(["replay", "shrink", str(trace), *sides, *wanted, "-o", str(output)])
    write_shrunk(output, found, target, shrunk)
    if json:
        emit_json("shrink", "ok", shrunk_facts(found, target, str(output), again))
        return
    out = console()
    out.print(target.words, highlight=False, soft_wrap=True, markup=False)
    out.print(f"{output}: {len(found.rows)} of {found.before:,} events ({found.tried} traces tried)", highlight=False)
    print_rows(out, found)
    out.print(f"[dim]see: {again}[/dim]", soft_wrap=True)
