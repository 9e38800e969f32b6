"""``replay native``: check and time a candidate in C."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from replay.cli.common import Diagnostics, console, emit_json, progress_on_stderr
from replay.errors import InputError, TraceError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from replay.compare.native import NativeCandidate, NativeReport
    from replay.kernel.profiles import Profile


_PROCESSES = 12


def command(
    candidate: str = typer.Argument(help="File in C, or a built-in form: v4.18, v5.11, v5.12.", show_default=False),
    traces: list[str] = typer.Argument(
        None, help="Trace files, folders with traces, quoted patterns.", show_default=False
    ),
    baseline: str | None = typer.Option(
        None, "--baseline", "-b", help="What to compare with: a kernel (v5.12, v6.1 …), or another file in C."
    ),
    profile: str | None = typer.Option(
        None,
        "--profile",
        "-p",
        help="Kernel whose tables say what is right. Default: the baseline, else the trace's own.",
    ),
    states: int = typer.Option(0, "--states", help="Check on so many lookups of random machines, too.", min=0),
    seed: int = typer.Option(1, help="Of the random machines."),
    processes: int = typer.Option(_PROCESSES, help="Processes to time in, one after the other; 0: check only.", min=0),
    rounds: int = typer.Option(5, help="Samples by turns in each process.", min=1, max=16),
    most: int | None = typer.Option(None, help="Stop after so many lookups of a trace.", min=1),
    time_limit: float = typer.Option(10.0, help="Seconds that 65,536 lookups may take.", min=0.01),
    memory_limit: int = typer.Option(1024, help="MiB that the candidate may take.", min=16),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of tables."),
) -> None:
    """Check a candidate in C against a kernel's tables on every lookup of a trace, and time it.

    The file defines pfn_to_online_page, pfn_valid or pgmap_pfn_valid as a kernel would, with the names that replay_pfn.h
    gives it. It is compiled with $CC, cc, gcc or clang, and runs in a process of its own, with your rights: name only
    files that you trust.

    Exit code 1 when an answer differs from the table's, or a pagemap reference is kept.

    [bold]Examples[/bold]

      replay native my.c traces/recorded/6.1.192-s2a-pmem-collision.arrow

      replay native my.c traces/recorded/*.arrow --baseline v5.12 --processes 0

      replay native my.c trace.arrow --baseline before.c --profile v6.12

      replay native v5.12 --states 10000000
    """
    if not traces and not states:
        raise UsageError("nothing to check with; name a trace, or give --states")
    from replay.compare.native import CompileError, NativeCandidate
    from replay.compare.native.child import Limits
    from replay.report.native import print_reports

    made = NativeCandidate(candidate, limits=Limits(time_limit, memory_limit << 20))
    kernel, form = _against(baseline, profile)
    job = _Job(made, kernel, form, processes, rounds, most)
    errors: list[TraceError] = []
    try:
        reports = [*job.on_traces(traces or [], errors), *job.on_states(states, seed)]
    except CompileError as error:
        print(error.output, file=sys.stderr)
        raise
    if errors and not reports:
        raise errors[0]
    differs = not all(report.agrees for report in reports)
    diagnostics = _warnings(reports)
    diagnostics.errors(errors)
    if json:
        status = "error" if errors else "differs" if differs else "ok"
        emit_json("native", status, {"reports": [report.to_dict() for report in reports]}, diagnostics)
    else:
        print_reports(console(), reports)
        diagnostics.tell()
    raise typer.Exit(InputError.exit_code if errors else int(differs))


def compare(candidate: str, traces: list[str], baseline: str, repeats: str, *, json: bool) -> None:
    """Do what ``replay compare`` promises for a candidate in C: native verdicts against tables, and native time.

    Args:
        candidate: file in C.
        traces: files, folders, patterns.
        baseline: kernel whose tables say what is right, and whose C form is timed.
        repeats: processes to time in, or "auto".
        json: print one JSON document.
    """
    if repeats != "auto" and not repeats.isdecimal():
        raise UsageError(f"--repeats {repeats}: needed a number, or auto")
    processes = _PROCESSES if repeats == "auto" else int(repeats)
    command(
        candidate,
        traces,
        baseline=baseline,
        profile=None,
        states=0,
        seed=1,
        processes=processes,
        rounds=5,
        most=None,
        time_limit=10.0,
        memory_limit=1024,
        json=json,
    )


def _against(baseline: str | None, name: str | None) -> tuple[Profile | None, str | None]:
    """Return the kernel that says what is right (None: the trace's own) and the form to time against (None: its own)."""
    from replay.kernel.profiles import profile

    kernel, form = (profile(name) if name else None), None
    if baseline is not None:
        try:
            named = profile(baseline)
        except UnknownNameError:
            if not Path(baseline).is_file():
                raise
            return kernel, baseline
        form = _form_of(named)
        kernel = kernel or named
    return kernel, form


def _form_of(kernel: Profile) -> str:
    from replay.compare.native.candidate import built_in_for

    form = built_in_for(kernel)
    if form is None:
        raise UsageError(
            f"there is no C form of {kernel.name}; name it with --profile, and a file in C with --baseline"
        )
    return form


class _Job:
    """What is to be done with each source of lookups."""

    def __init__(
        self,
        candidate: NativeCandidate,
        kernel: Profile | None,
        form: str | None,
        processes: int,
        rounds: int,
        most: int | None,
    ) -> None:
        self.candidate, self.kernel, self.form = candidate, kernel, form
        self.processes, self.rounds, self.most = processes, rounds, most

    def on_traces(self, traces: list[str], errors: list[TraceError]) -> list[NativeReport]:
        """Check with traces; a bad one does not keep the others from being used."""
        from replay.fleet.corpus import find_traces

        reports = []
        for trace in find_traces(traces).traces if traces else []:
            try:
                with progress_on_stderr(Path(trace).name) as progress:
                    reports.append(
                        self.candidate.check(
                            trace,
                            self.kernel,
                            baseline=self.form,
                            processes=self.processes,
                            rounds=self.rounds,
                            most=self.most,
                            progress=progress,
                        )
                    )
            except TraceError as error:
                errors.append(error)
        return reports

    def on_states(self, states: int, seed: int) -> list[NativeReport]:
        """Check with random machines; these are not timed, as nothing is where it would be in a real one."""
        if not states:
            return []
        from replay.compare.native.random_states import RandomStates
        from replay.kernel.profiles import profile

        kernel = self.kernel or profile("v5.12")
        with progress_on_stderr("random machines") as progress:
            source = RandomStates(kernel, states, seed=seed, progress=progress)
            report = self.candidate.check_source(source, kernel)
        report.states = len(source.codes)
        return [report]


def _warnings(reports: list[NativeReport]) -> Diagnostics:
    """Return what the compiler said of the candidate, once, and what is missing."""
    lines = {line: None for report in reports for line in report.warnings.splitlines() if "warning:" in line}
    found = Diagnostics()
    for line in lines:
        found.warning(reports[0].candidate, line)
    for report in reports:
        if not report.complete:
            found.warning(report.source, "stopped by --most before its end")
        if not any(f.lookups for f in report.functions.values()):
            asked = ", ".join(f.name.lower() for f in report.functions)
            found.warning(report.source, f"no lookups of {asked} in it: nothing was checked")
    return found
