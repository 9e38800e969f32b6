"""What ``replay machine show`` shows: the machine at one moment of a replay."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from replay.compare.memory_facts import Change, Facts, Line, memory_facts
from replay.session import Moment

__all__ = ("machine_facts", "print_change", "print_machine")


def machine_facts(moment: Moment) -> dict[str, Any]:
    """Return the machine as plain values.

    Pfn ranges are half open (``first_pfn``, ``end_pfn``), byte ranges inclusive (``start``, ``end``) as in /proc/iomem.
    Neighbouring sections (and blocks) that are alike stand together.
    """
    m = moment.machine
    facts: dict[str, Any] = memory_facts(m)
    ids = {driver.value: sorted(names) for driver, names in m.devices.ids.items()}
    return {
        "trace": moment.trace,
        "digest": moment.digest,
        "profile": moment.profile.name,
        "row": moment.row,
        "rows": moment.rows,
        **facts,
        "max_pfn": m.max_pfn,
        "dax_ids": ids,
    }


def print_machine(out: Console, facts: dict[str, Any]) -> None:
    """Print what ``machine_facts`` found."""
    out.print(f"[bold]{escape(facts['trace'])}[/bold]  {facts['digest'][:19]}…", soft_wrap=True)
    where = "after its last row" if facts["row"] == facts["rows"] else f"when row {facts['row']:,} is reached"
    out.print(
        f"kernel [bold]{facts['profile']}[/bold], {where} ({facts['rows']:,} rows); max_pfn {facts['max_pfn']:#x}"
    )
    out.print("\n[bold]resources[/bold] (as /proc/iomem; * busy)")
    for r in facts["resources"]:
        out.print(_resource(r), markup=False, soft_wrap=True)
    for part in ("sections", "blocks", "pagemaps", "namespaces", "dax", "info_blocks", "badblocks"):
        title, columns, cells = _TABLES[part]
        _table(out, title, columns, [cells(fact) for fact in facts[part]])


def print_change(out: Console, change: Change, *, every: bool = False) -> None:
    """Print what differs between two moments: every part that changed, with what came (+) and what went (-).

    Of the resource tree, that is all below the top level entries that something changed below or at; ``every``: all of it.
    """
    out.print(f"what it changed, until row {change.until:,} is reached" + ("" if change.parts else ": nothing"))
    for part, lines in change.parts.items():
        if part == "resources":
            out.print("  resources (as /proc/iomem; * busy)", highlight=False)
            _print_tree(out, lines, every=every)
            continue
        out.print(f"  {_TABLES[part][0]}", highlight=False)
        for line in lines:
            if line.sign != " ":
                _print_line(out, line.sign, _words(part, line.fact))


def _print_tree(out: Console, lines: Sequence[Line], *, every: bool) -> None:
    tops = [at for at, line in enumerate(lines) if not line.fact["depth"]]
    hidden = 0
    for start, end in itertools.pairwise((*tops, len(lines))):
        part = lines[start:end]
        if not every and all(line.sign == " " for line in part):
            hidden += len(part)
            continue
        for line in part:
            _print_line(out, line.sign, _resource(line.fact))
    if hidden:
        out.print(
            f"    and {hidden} {'entry' if hidden == 1 else 'entries'} as before; --all shows them",
            style="dim",
            highlight=False,
        )


def _print_line(out: Console, sign: str, text: str) -> None:
    style = {"+": "green", "-": "red"}.get(sign, "dim")
    out.print(f"  {sign} {text}", style=style, markup=False, highlight=False, soft_wrap=True)


def _words(part: str, fact: Facts) -> str:
    """Return a fact in one line, as its row of a table with the names of the columns."""
    _, columns, cells = _TABLES[part]
    first, *rest = zip(columns, cells(fact), strict=True)
    return "  ".join([f"{first[0]} {first[1]}", *(f"{name} {text}" for name, text in rest if text)])


def _resource(r: Facts) -> str:
    return f"{'  ' * r['depth']}{r['start']:08x}-{r['end']:08x} : {r['name']}{' *' if r['busy'] else ''}"


def _section_cells(s: Facts) -> tuple[str, ...]:
    return _span(s["first"], s["last"]), _pfns(s), " ".join(s["flags"]), s["populated"] or "all"


def _block_cells(b: Facts) -> tuple[str, ...]:
    return _span(b["first"], b["last"]), _pfns(b), b["state"], "" if b["node"] is None else str(b["node"])


def _pagemap_cells(p: Facts) -> tuple[str, ...]:
    return str(p["id"]), p["type"], p["state"], ", ".join(map(_pfns, p["ranges"])), _altmap(p["altmap"])


def _namespace_cells(n: Facts) -> tuple[str, ...]:
    return n["name"], f"{n['start']:#x}-{n['end']:#x}", n["device"] or "", str(n["pagemap"] or "")


def _dax_cells(d: Facts) -> tuple[str, ...]:
    spans = ", ".join(f"{r['start']:#x}-{r['end']:#x}" for r in d["ranges"])
    driver = d["driver"] or "none"
    return (
        d["name"],
        spans,
        driver if d["on_bus"] else f"{driver}, in the class",
        str(d["target_node"]),
        str(d["pagemap"] or ""),
        _memory(d),
    )


def _info_cells(i: Facts) -> tuple[str, ...]:
    kind = f"{i['kind']}, memmap in {'RAM' if i['memmap'] == 'mem' else 'the device'}"
    sizes = (f"{i[name]:#x}" for name in ("align", "start_pad", "dataoff", "end_trunc"))
    return f"{i['namespace']} at {i['namespace_start']:#x}", kind, *sizes, f"1.{i['minor']}"


_Cells = Callable[[Facts], tuple[str, ...]]
_TABLES: dict[str, tuple[str, tuple[str, ...], _Cells]] = {
    "sections": ("sections", ("sections", "pfns", "flags", "populated subsections"), _section_cells),
    "blocks": ("memory blocks", ("blocks", "pfns", "state", "node"), _block_cells),
    "pagemaps": ("pagemaps", ("id", "type", "state", "pfns", "altmap"), _pagemap_cells),
    "namespaces": ("namespaces", ("name", "claims", "dax device", "pagemap"), _namespace_cells),
    "dax": ("dax devices", ("name", "bytes", "driver", "target node", "pagemap", "memory"), _dax_cells),
    "info_blocks": (
        "info blocks on the medium",
        ("namespace", "kind", "alignment", "padding", "data from", "cut off", "version"),
        _info_cells,
    ),
    "badblocks": ("bad ranges", ("bytes",), lambda b: (f"{b['start']:#x}-{b['end']:#x}",)),
    "dax_ids": ("what drivers were told", ("driver", "names"), lambda i: (i["driver"], " ".join(i["names"]))),
    "max_pfn": ("max_pfn", ("max_pfn",), lambda i: (f"{i['max_pfn']:#x}",)),
}


def _table(out: Console, title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    out.print(f"\n[bold]{title}[/bold]" + ("" if rows else ": none"))
    if not rows:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*map(escape, row))
    out.print(table)


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _pfns(span: dict[str, Any]) -> str:
    return f"{span['first_pfn']:#x}-{span['end_pfn'] - 1:#x}"


def _altmap(altmap: dict[str, int] | None) -> str:
    if altmap is None:
        return "none"
    return (
        f"base {altmap['base']:#x} reserve {altmap['reserve']:#x} free {altmap['free']:#x}, "
        f"data from {altmap['first_data_pfn']:#x}"
    )


def _memory(device: dict[str, Any]) -> str:
    added = f"{sum(device['added'])} of {len(device['added'])} ranges added" if device["added"] else ""
    return added + (", hotremove failed" if device["hotremove_failed"] else "")
