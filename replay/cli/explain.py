"""``replay explain``: why a row was answered as it was."""

from __future__ import annotations

from pathlib import Path

import typer

from replay.cli.common import Diagnostics, console, emit_json, number, progress_on_stderr


def command(
    trace: Path = typer.Argument(help="Trace file.", show_default=False),
    row: str = typer.Argument(
        help="Row number, from 0, as `replay run` and `replay compare` name it.", show_default=False
    ),
    profile: list[str] = typer.Option(
        [], "--profile", "-p", help="Kernel, or a candidate's file; again for more. Default: the trace's own."
    ),
    pfn: str | None = typer.Option(None, help="One of the run's pfns; by default its first."),
    every: bool = typer.Option(
        False,
        "--all",
        help="Show all checks of long lists, also those that did not hold, and all of the resource tree.",
    ),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of tables."),
) -> None:
    """Explain the decision on one row, check by check.

    Shows what each check looked at, which one decided, which commit and version brought it in, what the recording said,
    and the machine around the pfn at that moment; several kernels side by side. Of a call that can change memory or
    devices, also what it changed: the resource tree, sections, blocks, pagemaps and devices before (-) and after (+).

    [bold]Examples[/bold]

      replay explain traces/recorded/6.1.192-s4-kmem.arrow 1549 --profile v5.1

      replay explain traces/recorded/6.1.192-s2a-pmem-collision.arrow 195

      replay explain traces/recorded/6.1.192-s2a-pmem-collision.arrow 195 --profile v5.11 --profile v5.12

      replay explain traces/recorded/6.1.192-s4-kmem.arrow 1549 --profile v5.1

      replay explain traces/recorded/6.1.192-s2a-pmem-collision.arrow 72 --pfn 0x11c1ff --all

      replay explain trace.arrow 195 -p v5.12 -p patch.py:mine --json
    """
    from replay.compare.explain import explain
    from replay.report.explain import explanation_facts, print_explanations
    from replay.session import named
    from replay.trace.reader import TraceFile

    at = number("row", row)
    page = None if pfn is None else number("pfn", pfn)
    with TraceFile.open(trace) as opened, progress_on_stderr(trace.name) as progress:
        kernels = [named(name) for name in profile or [opened.machine.kernel]]
        found = [explain(opened, at, kernel, pfn=page, progress=progress) for kernel in kernels]
        recorded_on, lost = opened.machine.kernel, opened.provenance.lost_events
    diagnostics = Diagnostics()
    diagnostics.lost(str(trace), lost)
    if json:
        facts = [explanation_facts(e, recorded_on) for e in found]
        emit_json("explain", "ok", {"trace": str(trace), "explanations": facts}, diagnostics)
        return
    print_explanations(console(), found, recorded_on, every=every)
    diagnostics.tell()
