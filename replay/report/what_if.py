"""What ``replay what-if`` shows."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from replay.compare.what_if import History
from replay.trace.poison import ActionResult

__all__ = ("history_facts", "print_histories")

_TYPES = 12


def history_facts(kernel: str, h: History) -> dict[str, object]:
    """Return plain values."""
    silent = {errno.errorcode.get(-ret, str(ret)) if ret else "0": n for ret, n in sorted(h.silent.items())}
    return {"profile": kernel, **asdict(h), "silent": silent, "results": dict(h.results), "types": dict(h.types)}


def print_histories(out: Console, histories: Mapping[str, History], traces: int) -> None:
    """Print one column for each kernel.

    Args:
        out: where.
        histories: by kernel.
        traces: how many were replayed.
    """
    names = [os.path.basename(name) for name in histories]
    table = _table(f"poison events of {traces:,} trace{'' if traces == 1 else 's'}", names)
    rows: list[tuple[str, Callable[[History], int]]] = [
        ("memory_failure calls", lambda h: h.events),
        *((f"  {r.name.lower()}", lambda h, r=r: h.results[r.name.lower()]) for r in reversed(ActionResult)),
        ("  nothing reported", lambda h: h.silent.total()),
        ("  the kernel stops (panic)", lambda h: h.panics),
        ("calls of any kind, undecided: page not described", lambda h: h.undecided),
        ("tasks killed (SIGKILL)", lambda h: h.killed),
        ("SIGBUS before the page was touched (early)", lambda h: h.early),
        ("SIGBUS to the consumer", lambda h: h.consumed),
        ("SIGBUS at a later touch (late)", lambda h: h.late),
        ("later touches that found a good page", lambda h: h.spared),
        ("pages soft offlined", lambda h: h.soft_offlined),
        ("soft offline failed", lambda h: h.soft_failed),
        ("unpoisoned", lambda h: h.unpoisoned),
    ]
    for name, value in rows:
        values = [value(h) for h in histories.values()]
        if any(values):
            table.add_row(Text(name), *(f"{v:,}" for v in values), style="" if len(set(values)) == 1 else "bold")
    table.add_row("memory lost at the end", *(_size(h.lost_bytes) for h in histories.values()))
    out.print(table)
    types = sorted(
        {t for h in histories.values() for t in h.types}, key=lambda t: -max(h.types[t] for h in histories.values())
    )
    if types:
        table = _table("reported", names)
        for name in types[:_TYPES]:
            values = [h.types[name] for h in histories.values()]
            style = "" if len(set(values)) == 1 else "bold"
            table.add_row(Text(name), *(f"{v:,}" if v else "·" for v in values), style=style)
        out.print(table)
        if len(types) > _TYPES:
            out.print(f"and {len(types) - _TYPES} other types; --json has all")


def _table(first: str, names: list[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    return table


def _size(number: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number >= size:
            return f"{number / size:.4g} {unit}"
    return f"{number} B"
