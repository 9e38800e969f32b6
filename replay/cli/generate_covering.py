"""``replay generate covering``: traces that make every check decide and show every mistake."""

from __future__ import annotations

from pathlib import Path

import typer

from replay.cli.common import console, emit_json, progress_on_stderr
from replay.errors import UsageError


def command(
    output: Path = typer.Option(..., "--output", "-o", help="Folder to write the traces to.", show_default=False),
    profile: list[str] = typer.Option(
        [], "--profile", "-p", help="Kernel to cover; again for more. Default: all that can be replayed."
    ),
    page: Path | None = typer.Option(
        None, "--page", help="Also write a page about what the traces exercise.", show_default=False
    ),
    beside: list[str] = typer.Option([], "--with", help="Other traces that the page counts in; again for more."),
    unreachable: bool = typer.Option(False, "--unreachable", help="List what no trace can show, with the reasons."),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of lines."),
) -> None:
    """Make small traces that reach every check of the kernels' functions, and that show every mistake in one of them.

    One trace for each configuration of a machine, called covering-NAME.arrow. The same kernels give the same bytes. What
    no trace can show is listed with the reason.

    [bold]Examples[/bold]

      replay generate covering -o traces/synthetic

      replay generate covering -o traces/synthetic --page docs/coverage.md --with traces/recorded

      replay generate covering --profile v6.12 --profile v7.2 -o covering --unreachable
    """
    from replay.sources.synthetic.covering import covering, kernels_for, write_covering

    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file; needed a folder for several traces")
    kernels = kernels_for(profile)
    for kernel in kernels:
        if kernel.poison_only:
            raise UsageError(f"profile {kernel.name} cannot be replayed, so no trace can cover it")
    with progress_on_stderr(f"{len(kernels)} kernels") as progress:
        found = covering(kernels, progress)
    output.mkdir(parents=True, exist_ok=True)
    paths = write_covering(found, output)
    if page is not None:
        from replay.fleet.corpus import find_traces
        from replay.sources.synthetic.covering_page import page as text_of

        traces = find_traces([*beside, *paths]).traces
        with progress_on_stderr("what they exercise") as progress:
            page.write_text(text_of(traces, kernels, found.unreachable, progress), encoding="utf-8")
    files = [
        {"file": path, "rows": len(script.rows()), "bytes": Path(path).stat().st_size, "about": script.about}
        for path, script in zip(paths, found.scripts, strict=True)
    ]
    reasons = [vars(one) for one in found.unreachable]
    if json:
        emit_json("generate covering", "ok", {"kernels": list(found.kernels), "files": files, "unreachable": reasons})
        return
    out = console()
    for file in files:
        out.print(f"{file['file']}: {file['rows']:,} rows, {file['bytes']:,} bytes; {file['about']}", soft_wrap=True)
    out.print(
        f"{len(reasons):,} checks and mistakes are out of reach" + ("" if unreachable else ": --unreachable lists them")
    )
    for one in found.unreachable if unreachable else ():
        out.print(f"{one.profile}: {one.function}, {one.what}: {one.reason}", soft_wrap=True, markup=False)
