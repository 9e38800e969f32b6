"""``replay run``: replay traces through kernels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from replay.cli.common import Diagnostics, console, count_of, emit_json, progress_on_stderr, refuse_same_file, warn
from replay.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replay.fleet.tasks import Tell
    from replay.session import Run


def command(
    traces: list[str] = typer.Argument(help="Trace files, folders with traces, quoted patterns.", show_default=False),
    profile: list[str] = typer.Option(
        [], "--profile", "-p", help="Kernel: v6.1, v5.11+taint-zone-device …; again for more. Default: the trace's own."
    ),
    engine: str = typer.Option("vector", help="vector, or scalar for the slow reference."),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="Write the outcome of every row to this Arrow file."
    ),
    threads: str = typer.Option(
        "1", help="Threads of a replay; auto: one per core. Pays from some 10^8 lookups on, with the extra fast."
    ),
    workers: str = typer.Option("1", "--workers", "-w", help="Processes on this machine; auto: one per core."),
    scheduler: str | None = typer.Option(
        None, help="Address of a Dask scheduler whose workers replay; needs the extra distributed."
    ),
    shards: int = typer.Option(1, help="Cut one huge trace into parts by section, for workers to share.", min=1),
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

      replay run fleet/ --workers 2

      replay run fleet/ 'more/**/*.arrow' --scheduler tcp://host:8786

      replay run huge.arrow --shards 4 --workers auto
    """
    if as_dmesg + as_trace + json > 1:
        raise UsageError("--as-dmesg, --as-trace and --json each print something else; give one of them")
    form = "dmesg" if as_dmesg else "trace" if as_trace else ""
    from replay.fleet.tasks import cores

    processes = count_of("workers", workers)
    each = count_of("threads", threads) or cores()
    request = _Request(profile, engine, output, each, processes, scheduler, shards, open_loop, form)

    from replay.fleet.corpus import find_traces
    from replay.report.runs import print_runs

    corpus = find_traces(traces)
    request.check(corpus.traces)
    runs, errors = request.carry_out(corpus.traces)
    if errors and not runs:
        if len(errors) > 1:
            warn(f"{len(errors)} traces cannot be used; the first:")
        raise errors[0]
    differs = not all(r.agrees for r in runs)
    diagnostics = Diagnostics()
    diagnostics.errors(errors)
    diagnostics.passed_over(corpus.passed_over)
    for r in runs:
        diagnostics.lost(r.trace, r.lost_events)
    if json:
        status = "error" if errors else "differs" if differs else "ok"
        emit_json("run", status, {"runs": [r.to_dict() for r in runs]}, diagnostics)
    else:
        if not form:
            print_runs(console(), runs)
        diagnostics.tell()
    raise typer.Exit(InputError.exit_code if errors else int(differs))


class _Request:
    """What is to be done with each trace."""

    def __init__(
        self,
        profiles: list[str],
        engine: str,
        output: Path | None,
        threads: int,
        workers: int,
        scheduler: str | None,
        shards: int,
        open_loop: bool,
        form: str,
    ) -> None:
        self.profiles, self.engine, self.output, self.open_loop, self.form = profiles, engine, output, open_loop, form
        self.threads, self.workers, self.scheduler, self.shards = threads, workers, scheduler, shards

    def check(self, traces: list[str]) -> None:
        """Refuse options that exclude each other."""
        if self.shards > 1 and (len(traces) > 1 or self.output or self.form or self.engine != "vector"):
            raise UsageError(
                "--shards cuts a single trace for the vector engine and adds up counts; leave out further traces, "
                "--output, --as-dmesg, --as-trace and --engine"
            )
        if self.form and (self.workers != 1 or self.scheduler):
            raise UsageError(f"--as-{self.form} prints as the trace is replayed: leave out --workers and --scheduler")
        if self.output is None:
            return
        if len(traces) * max(len(self.profiles), 1) > 1:
            raise UsageError("--output takes the outcomes of one trace and one profile; several were asked for")
        refuse_same_file({"--output": self.output}, [*traces, *self.profiles])

    def carry_out(self, traces: list[str]) -> tuple[list[Run], list[InputError]]:
        """Replay every trace through every kernel; a bad trace does not keep the others from being replayed."""
        runs: list[Run] = []
        errors: list[InputError] = []
        label = Path(traces[0]).name if len(traces) == 1 else f"{len(traces)} traces"
        with progress_on_stderr(label) as progress:
            for result in self._results(traces, progress):
                if isinstance(result, InputError):
                    errors.append(result)
                else:
                    runs.append(result)
        return runs, errors

    def _results(self, traces: list[str], progress: Tell) -> Iterator[Run | InputError]:
        if self.shards > 1:
            from replay.fleet.shards import run_sharded

            return run_sharded(
                traces[0],
                self.profiles,
                shards=self.shards,
                workers=self.workers,
                scheduler=self.scheduler,
                progress=progress,
                open_loop=self.open_loop,
            )
        from replay.fleet.corpus import run_many
        from replay.report.kernel_log import log_printer

        return run_many(
            traces,
            self.profiles,
            workers=self.workers,
            scheduler=self.scheduler,
            progress=progress,
            engine=self.engine,
            threads=self.threads,
            open_loop=self.open_loop,
            outcomes=self.output,
            log=log_printer(self.form) if self.form else None,
        )
