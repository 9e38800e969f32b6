"""``replay validate``: is a trace sound."""

from __future__ import annotations

from pathlib import Path

import typer

from replay.cli.common import Diagnostics, console, emit_json
from replay.errors import InputError


def command(
    traces: list[Path] = typer.Argument(help="Trace files.", show_default=False),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of lines."),
) -> None:
    """Read traces completely and check everything: structure, digests, order, ranges, geometry.

    Exit code 3 when one of them is not sound; each problem is one line.

    [bold]Example[/bold]

      replay validate traces/recorded/*.arrow
    """
    from replay.machine.geometry import check_description
    from replay.trace.reader import TraceFile

    results: list[dict[str, object]] = []
    diagnostics = Diagnostics()
    for path in traces:
        try:
            with TraceFile.open(path) as trace:
                check_description(trace.machine, str(path))
                trace.verify()
                results.append({"trace": str(path), "sound": True, "rows": trace.rows, "digest": trace.digest})
        except InputError as error:
            diagnostics.error(error)
            results.append({"trace": str(path), "sound": False, "problem": diagnostics.found[-1]["message"]})
    if json:
        emit_json("validate", "error" if diagnostics.found else "ok", {"traces": results}, diagnostics)
    else:
        out = console()
        for r in results:
            sound = f"sound: {r['rows']:,} rows, {r['digest']}" if r["sound"] else f"not sound: {r['problem']}"
            out.print(f"{r['trace']}: {sound}" if r["sound"] else sound, markup=False, soft_wrap=True)
    raise typer.Exit(InputError.exit_code if diagnostics.found else 0)
