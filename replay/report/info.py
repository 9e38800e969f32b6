"""What ``replay info`` shows."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from replay.machine.geometry import check_description
from replay.trace.reader import TraceFile
from replay.trace.schema import COLUMNS, KINDS, LOOKUPS

__all__ = ("describe", "print_info")


def describe(trace: TraceFile) -> dict[str, Any]:
    """Return everything that ``replay info`` tells, as plain values; reads and verifies the whole trace."""
    geometry = check_description(trace.machine, str(trace.path))
    rows = np.zeros(256, np.int64)
    pages = np.zeros(256, np.int64)
    first = last = None
    for batch in trace.batches():
        kinds = np.asarray(batch.column("kind"))
        rows += np.bincount(kinds, minlength=256)
        for kind in np.unique(kinds).tolist():
            pages[kind] += int(np.asarray(batch.column("nr_pages"))[kinds == kind].sum())
        times = batch.column("time")
        first = int(times[0]) if first is None else first
        last = int(times[-1])
    events = {
        KINDS[k]: {"rows": int(rows[k]), "pfns": int(pages[k]) if k in LOOKUPS else None}
        for k in np.flatnonzero(rows).tolist()
    }
    return {
        "trace": str(trace.path),
        "digest": trace.digest,
        "rows": trace.rows,
        "seconds": 0.0 if first is None or last is None else (last - first) / 1e9,
        "columns": list(trace.columns),
        "machine": asdict(trace.machine),
        "geometry": {
            "pages_per_section": geometry.pages_per_section,
            "pages_per_subsection": geometry.pages_per_subsection,
            "pages_per_block": geometry.pages_per_block,
            "nr_sections": geometry.nr_sections,
        },
        "provenance": asdict(trace.provenance),
        "events": events,
    }


def print_info(out: Console, facts: dict[str, Any]) -> None:
    """Print what ``describe`` found."""
    machine, provenance = facts["machine"], facts["provenance"]
    out.print(f"[bold]{escape(facts['trace'])}[/bold]  {facts['digest']}", soft_wrap=True)
    out.print(
        f"{facts['rows']:,} events over {facts['seconds']:.3f} s ({provenance['clock'] or 'no clock'})", markup=False
    )
    out.print(f"source: {provenance['source']} {provenance['name']}  ({provenance['tool']})", markup=False)
    if provenance["command"]:
        out.print(f"made by: {provenance['command']}", markup=False, soft_wrap=True)
    if provenance["lost_events"]:
        out.print(f"[red]the recorder lost {provenance['lost_events']:,} events[/red]")
    memory = sum(r["end"] - r["start"] for r in machine["memory"]) << machine["page_shift"]
    out.print(f"machine: {machine['arch']}, kernel {machine['kernel']} ({machine['release'] or 'release unknown'}), "
              f"{memory / (1 << 20):,.0f} MiB at boot in {len(machine['memory'])} ranges", markup=False)  # fmt: skip
    out.print(f"         pages of {1 << machine['page_shift']:,} bytes, sections of "
              f"{1 << machine['section_size_bits'] - 20} MiB, blocks of {machine['memory_block_bytes'] >> 20} MiB, "
              f"{machine['max_physmem_bits']} physical address bits")  # fmt: skip
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("event")
    table.add_column("rows", justify="right")
    table.add_column("pfns", justify="right")
    for name, counts in sorted(facts["events"].items(), key=lambda item: -item[1]["rows"]):
        table.add_row(name, f"{counts['rows']:,}", "" if counts["pfns"] is None else f"{counts['pfns']:,}")
    out.print(table)
    out.print("columns: " + ", ".join(facts["columns"]), soft_wrap=True)
    absent = len(COLUMNS) - len(facts["columns"])
    out.print(f"[dim]{absent} more columns of the format are not in this file: none of its events needs them[/dim]")
    if provenance["unused"]:
        unused = ", ".join(f"{name} {count:,}" for name, count in sorted(provenance["unused"].items()))
        out.print(f"the importer read and did not use: {unused}", markup=False, soft_wrap=True)
    for note in provenance["notes"]:
        out.print(f"note: {note}", markup=False, soft_wrap=True)
