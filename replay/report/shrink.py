"""What ``replay shrink`` shows."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from replay.compare.shrink import Row, Shrunk, Target
from replay.trace.schema import KINDS

__all__ = ("print_rows", "shrunk_facts")

_SHOWN = 20
_HEX = {"pfn", "start", "size", "vaddr", "altmap_base"}


def shrunk_facts(found: Shrunk, target: Target, path: str, again: str) -> dict[str, object]:
    """Return plain values."""
    return {
        "trace": path,
        "function": target.function,
        "baseline": {"check": target.baseline.check, "answer": target.baseline.answer},
        "candidate": {"check": target.candidate.check, "answer": target.candidate.answer},
        "events": len(found.rows),
        "of": found.before,
        "tried": found.tried,
        "memory": [asdict(r) for r in found.machine.memory],
        "rows": [{**row, "kind": KINDS[row["kind"]]} for row in found.rows],
        "see": again,
    }


def print_rows(out: Console, found: Shrunk) -> None:
    """Print the machine's memory and the events."""
    for r in found.machine.memory:
        out.print(Text(f"  boot memory {r.start:#x}-{r.end - 1:#x} node {r.node}"))
    for number, row in enumerate(found.rows[:_SHOWN]):
        out.print(Text(f"  {number}: {_line(row)}"), soft_wrap=True)
    if len(found.rows) > _SHOWN:
        out.print(f"  … and {len(found.rows) - _SHOWN} more")


def _line(row: Row) -> str:
    facts = [
        f"{name} {hex(value) if name in _HEX else value}" for name, value in row.items() if name not in {"kind", "time"}
    ]
    return "  ".join([KINDS[row["kind"]], *facts])
