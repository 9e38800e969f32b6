"""``replay import machine``: a machine description from what tools, /proc and /sys say."""

from __future__ import annotations

from pathlib import Path

import typer

from replay.cli.common import Diagnostics, console, emit_json, refuse_same_file


def command(
    output: Path = typer.Option(..., "--output", "-o", help="Machine file to write.", show_default=False),
    kernel: str = typer.Option(
        ..., "--kernel", help="The machine's kernel: `uname -r`, or a version.", show_default=False
    ),
    iomem: Path = typer.Option(None, help="Copy of /proc/iomem, read as root.", show_default=False),
    lsmem: Path = typer.Option(None, help="Output of `lsmem --json` (best with -a -o +NODE).", show_default=False),
    memory_blocks: Path = typer.Option(
        None, help="/sys/devices/system/memory: a folder, or the output of `grep -r '' FOLDER`.", show_default=False
    ),
    zoneinfo: Path = typer.Option(None, help="Copy of /proc/zoneinfo: nodes within a block.", show_default=False),
    ndctl: Path = typer.Option(None, help="Output of `ndctl list`.", show_default=False),
    daxctl: Path = typer.Option(None, help="Output of `daxctl list`.", show_default=False),
    kpageflags: Path = typer.Option(None, help="Copy of /proc/kpageflags, read as root.", show_default=False),
    page_types: Path = typer.Option(None, help="Output of `page-types -r -l`.", show_default=False),
    arch: str = typer.Option("x86_64", help="`uname -m` of the machine."),
    page_size: int = typer.Option(None, help="`getconf PAGESIZE` of the machine.", show_default=False),
    section_size: int = typer.Option(
        None, help="Bytes of a section, where the kernel was built with another.", show_default=False
    ),
    physical_bits: int = typer.Option(None, help="Physical address bits: 52 with 5-level paging.", show_default=False),
    rejects: Path = typer.Option(
        None, "--rejects", help="Write what could not be used: .csv, or else Arrow.", show_default=False
    ),
    strict: bool = typer.Option(False, "--strict", help="Refuse files with parts that cannot be used."),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of lines."),
) -> None:
    """Put a machine description together from several files; importers of events take it with --machine.

    Each file may be compressed (.gz, .xz). Files that contradict each other are refused. What no file says is assumed,
    and the description says so.

    [bold]Examples[/bold]

      replay import machine --kernel "$(uname -r)" --iomem /proc/iomem --lsmem lsmem.json -o machine.arrow

      replay import machine --kernel 6.1 --iomem iomem.txt --memory-blocks blocks.txt --ndctl ndctl.json -o machine.arrow
    """
    from dataclasses import asdict

    import numpy as np

    from replay.sources.importers.machine.assemble import Given, assemble
    from replay.sources.importers.machine.release import version_of
    from replay.sources.importers.rejects import Rejects
    from replay.trace.writer import write_trace

    version, release = version_of(kernel)
    given = Given(
        kernel=version, release=release, arch=arch, page_size=page_size, section_bytes=section_size,
        physical_bits=physical_bits, iomem=iomem, zoneinfo=zoneinfo, lsmem=lsmem, blocks=memory_blocks, ndctl=ndctl,
        daxctl=daxctl, kpageflags=kpageflags, page_types=page_types,
    )  # fmt: skip
    files = [iomem, zoneinfo, lsmem, memory_blocks, ndctl, daxctl, kpageflags, page_types]
    refuse_same_file({"--output": output, "--rejects": rejects}, files)
    refused = Rejects("machine", strict=strict)
    made = assemble(given, refused)
    nothing = np.zeros(0, np.uint64)
    write_trace(output, {"time": nothing, "kind": nothing}, machine=made.machine, provenance=made.provenance)
    if rejects is not None:
        refused.write(rejects)
    machine, notes = made.machine, made.provenance.notes
    assumed = [note.removeprefix("assumed: ") for note in notes if note.startswith("assumed: ")]
    diagnostics = Diagnostics()
    diagnostics.warnings(output, [note for note in notes if not note.startswith("assumed: ")] + refused.summary())
    if json:
        facts = {"trace": str(output), "machine": asdict(machine), "assumed": assumed,
                 "devices": dict(made.provenance.parameters), "rejected": dict(refused.by_reason)}  # fmt: skip
        emit_json("import", "ok", facts, diagnostics)
        return
    out = console()
    pages = sum(r.end - r.start for r in machine.memory)
    out.print(
        f"{output}: {machine.arch}, kernel {machine.kernel}, {pages << machine.page_shift >> 20:,} MiB in "
        f"{len(machine.memory)} ranges, {len(machine.resources)} resources, {len(made.devices)} devices",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    for text in assumed:
        out.print(f"assumed: {text}", markup=False, soft_wrap=True)
    diagnostics.tell()
