"""``replay compare``: two kernels, or a kernel and a candidate, on the same traces."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from replay.cli import native
from replay.cli.common import Diagnostics, console, count_of, emit_json, progress_on_stderr, refuse_same_file
from replay.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replay.compare.causes import Cause
    from replay.compare.kernels import Comparison
    from replay.compare.timing import Timing

_FAIL_ON = ("any", "regressions", "none")
_BUDGET = 8.0  # seconds for timing, if nobody says how often
_PAIRS = range(10, 31)
_MAX_PAIRS = 2000  # the interval is made of all averages of two of them


def command(
    traces: list[str] = typer.Argument(help="Trace files, folders with traces, quoted patterns.", show_default=False),
    baseline: str = typer.Option(..., "--baseline", "-b", help="Kernel: v5.11, or a candidate.", show_default=False),
    candidate: str = typer.Option(
        ..., "--candidate", "-c", help="Kernel, file.py[:name] or file.c: its code runs.", show_default=False
    ),
    only_changed: bool = typer.Option(False, "--only-changed", help="Leave out what answers alike."),
    limit: int = typer.Option(20, help="Causes shown; 0 for all.", min=0),
    repeats: str = typer.Option("auto", help="Pairs of timed replays; 0 for none, auto: what fits into some seconds."),
    expect: Path | None = typer.Option(None, help="File of differences that are accepted."),
    write_expect: Path | None = typer.Option(None, help="Write the differences found to such a file."),
    fail_on: str = typer.Option("any", help="What gives exit code 1: any unexpected difference, regressions, none."),
    output: Path | None = typer.Option(None, "--output", "-o", help="Write the differing calls to this Arrow file."),
    workers: str = typer.Option("1", "--workers", "-w", help="Processes on this machine; auto: one per core."),
    scheduler: str | None = typer.Option(None, help="Address of a Dask scheduler whose workers compare."),
    open_loop: bool = typer.Option(False, "--open-loop", help="Signals kill nobody: mappings follow the trace only."),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of tables."),
) -> None:
    """Compare the verdicts of two kernels on the same traces: what changes, where, why, and what it costs.

    Differing calls are grouped by cause: the check that decided on each side. A regression is a cause by which the
    candidate is further from the recording, or from the truth, than the baseline. Exit code 1 when verdicts differ
    beyond what --expect accepts (see --fail-on).

    [bold]Examples[/bold]

      replay compare traces/recorded/6.1.192-s2a-pmem-collision.arrow --baseline v5.11 --candidate v5.12

      replay compare traces/recorded/*.arrow -b v5.12 -c examples/candidates/forgets_altmap.py --only-changed

      replay compare traces/recorded/6.1.192-s2a-pmem-collision.arrow -b v5.12 -c mine.c

      replay compare fleet/ -b v6.12 -c v7.2 --workers auto --write-expect accepted.json

      replay compare fleet/ -b v6.12 -c patch.py --expect accepted.json --fail-on regressions
    """
    if candidate.endswith(".c"):
        if expect or write_expect or output or scheduler or open_loop or workers != "1":
            raise UsageError(
                "a candidate in C is checked against the baseline's tables, call by call, and timed: leave out --expect, "
                "--write-expect, --output, --workers, --scheduler and --open-loop; `replay native` has options of its own"
            )
        native.compare(candidate, traces, baseline, repeats, json=json)
    if fail_on not in _FAIL_ON:
        raise UsageError(f"--fail-on {fail_on}: needed one of {', '.join(_FAIL_ON)}")
    if repeats != "auto" and not (repeats.isdecimal() and int(repeats) <= _MAX_PAIRS):
        raise UsageError(f"--repeats {repeats}: needed a number up to {_MAX_PAIRS}, or auto")
    from replay.compare.expect import Expected, read_expected, write_expected
    from replay.fleet.corpus import find_traces
    from replay.report.compare import Found, print_found
    from replay.session import named

    expected = Expected() if expect is None else read_expected(expect)
    named(baseline), named(candidate)  # mistakes show before the traces are looked for
    corpus = find_traces(traces)
    _check_files(output, write_expect, corpus.traces, baseline, candidate)
    comparisons, errors, seconds = _compare(
        corpus.traces, baseline, candidate, workers, scheduler, output, open_loop=open_loop
    )
    if errors and not comparisons:
        raise errors[0]
    timing = _time(comparisons, baseline, candidate, repeats, seconds)
    found = Found(comparisons, [], [], [], timing, "")
    differing = found.causes().differing
    fresh = [cause for cause in differing if cause not in expected]
    line = shlex.join(["replay", "compare", *traces, "--baseline", baseline, "--candidate", candidate])
    found = Found(
        comparisons,
        [cause for cause in differing if cause in expected],
        fresh,
        expected.unseen(differing),
        timing,
        line + (f" --expect {shlex.quote(str(expect))}" if expect else "") + (" --open-loop" if open_loop else ""),
    )
    if write_expect is not None:
        write_expected(write_expect, differing)
    failed = _failed(fresh, fail_on)
    diagnostics = Diagnostics()
    diagnostics.errors(errors)
    diagnostics.passed_over(corpus.passed_over)
    for c in comparisons:
        diagnostics.lost(c.trace, c.lost_events)
    if json:
        emit_json("compare", "error" if errors else "differs" if failed else "ok", found.to_dict(), diagnostics)
    else:
        print_found(console(), found, only_changed=only_changed, limit=limit or len(differing))
        diagnostics.tell()
    raise typer.Exit(InputError.exit_code if errors else int(failed))


def _check_files(
    output: Path | None, write_expect: Path | None, traces: Sequence[str], baseline: str, candidate: str
) -> None:
    """Refuse files that cannot be written, before the work is done and not instead of its result."""
    if output is not None and len(traces) > 1:
        raise UsageError(f"--output takes the differing calls of one trace; {len(traces)} were asked for")
    if write_expect is not None and (write_expect.is_dir() or not write_expect.absolute().parent.is_dir()):
        raise UsageError(f"--write-expect {write_expect}: needed a file in a folder that is there")
    refuse_same_file({"--output": output, "--write-expect": write_expect}, [*traces, baseline, candidate])


def _failed(fresh: Sequence[Cause], fail_on: str) -> bool:
    return bool({"any": fresh, "regressions": [c for c in fresh if c.regression], "none": []}[fail_on])


def _compare(
    traces: Sequence[str],
    baseline: str,
    candidate: str,
    workers: str,
    scheduler: str | None,
    output: Path | None,
    *,
    open_loop: bool,
) -> tuple[list[Comparison], list[InputError], float]:
    """Return the comparisons, the errors of traces that cannot be used, and how long it took."""
    import time

    from replay.compare.corpus import compare_many
    from replay.compare.differences_file import compare_and_write

    started = time.perf_counter()
    comparisons: list[Comparison] = []
    errors: list[InputError] = []
    label = Path(traces[0]).name if len(traces) == 1 else f"{len(traces)} traces"
    with progress_on_stderr(label) as progress:
        if output is not None:
            comparisons.append(
                compare_and_write(traces[0], baseline, candidate, output, open_loop=open_loop, progress=progress)
            )
        else:
            number = count_of("workers", workers)
            for result in compare_many(
                traces,
                baseline,
                candidate,
                workers=number,
                scheduler=scheduler,
                progress=progress,
                open_loop=open_loop,
            ):
                if isinstance(result, InputError):
                    errors.append(result)
                else:
                    comparisons.append(result)
    return comparisons, errors, time.perf_counter() - started


def _time(
    comparisons: Sequence[Comparison], baseline: str, candidate: str, repeats: str, seconds: float
) -> Timing | None:
    """Measure both kernels by turns, if that was asked for, or does not take long."""
    pairs = int(repeats) if repeats != "auto" else min(int(_BUDGET / max(seconds / 2, 1e-3)), _PAIRS[-1])
    if pairs == 0 or (repeats == "auto" and pairs < _PAIRS[0]):
        return None
    from replay.compare.corpus import time_traces
    from replay.session import named

    with progress_on_stderr("timing") as progress:
        return time_traces(
            [c.trace for c in comparisons], named(baseline), named(candidate), pairs=pairs, progress=progress
        )
