"""What ``replay machine show`` shows: the machine at one moment of a replay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from replay.machine.machine import Machine
from replay.session import Moment
from replay.trace.schema import PgmapType, SectionFlags

__all__ = ("machine_facts", "print_machine")

_LETTERS = (
    (SectionFlags.PRESENT, "present"),
    (SectionFlags.HAS_MEM_MAP, "mem_map"),
    (SectionFlags.ONLINE, "online"),
    (SectionFlags.EARLY, "early"),
    (SectionFlags.TAINT_ZONE_DEVICE, "taint"),
)


def machine_facts(moment: Moment) -> dict[str, Any]:
    """Return the machine as plain values.

    Pfn ranges are half open (``first_pfn``, ``end_pfn``), byte ranges inclusive (``start``, ``end``) as in /proc/iomem.
    Neighbouring sections (and blocks) that are alike stand together.
    """
    m = moment.machine
    return {
        "trace": moment.trace,
        "digest": moment.digest,
        "profile": moment.profile.name,
        "row": moment.row,
        "rows": moment.rows,
        "max_pfn": m.max_pfn,
        "resources": [
            {"depth": depth, "start": n.start, "end": n.end, "name": n.name, "busy": n.busy, "ram": n.ram}
            for depth, n in m.resources.walk()
        ],
        "sections": list(_sections(m)),
        "blocks": list(_blocks(m)),
        "pagemaps": _pagemaps(m),
        **_devices(m),
    }


def _sections(m: Machine) -> Iterator[dict[str, Any]]:
    """Yield runs of sections with the same flags and subsections."""
    g, run = m.geometry, None
    full = (1 << g.subsections_per_section) - 1
    for section in m.sections.numbers().tolist():
        flags = m.sections.flags(section)
        bits = int("".join("01"[bit] for bit in m.sections.bits(section)[::-1].tolist()), 2)
        if run and (run["last"], run["key"]) == (section - 1, (flags, bits)):
            run["last"] = section
            continue
        if run:
            yield _section_run(m, run, full)
        run = {"first": section, "last": section, "key": (flags, bits)}
    if run:
        yield _section_run(m, run, full)


def _section_run(m: Machine, run: dict[str, Any], full: int) -> dict[str, Any]:
    flags, bits = run["key"]
    shift = m.geometry.section_shift
    return {
        "first": run["first"],
        "last": run["last"],
        "first_pfn": run["first"] << shift,
        "end_pfn": run["last"] + 1 << shift,
        "flags": [name for flag, name in _LETTERS if flags & flag],
        "populated": None if bits == full else f"{bits:#x}",
    }


def _blocks(m: Machine) -> Iterator[dict[str, Any]]:
    """Yield runs of memory blocks of the same state and node."""
    pages = m.geometry.pages_per_block
    run: dict[str, Any] | None = None
    for number, online in sorted(m.blocks.items()):
        state = "online" if online else "offline"
        node = m.node_of(number * pages + pages - 1)
        if run and (run["last"], run["state"], run["node"]) == (number - 1, state, node):
            run["last"], run["end_pfn"] = number, (number + 1) * pages
            continue
        if run:
            yield run
        run = {"first": number, "last": number, "first_pfn": number * pages, "end_pfn": (number + 1) * pages}
        run |= {"state": state, "node": node}
    if run:
        yield run


def _pagemaps(m: Machine) -> list[dict[str, Any]]:
    return [
        {
            "id": p.id,
            "type": PgmapType(p.type).name.lower(),
            "state": "dying" if p.dying else "mapped",
            "ranges": [{"first_pfn": start, "end_pfn": end} for start, end in p.ranges],
            "altmap": None if p.altmap is None else vars(p.altmap) | {"first_data_pfn": p.data_spans()[0][0]},
            "node": p.node,
        }
        for p in sorted(m.pagemaps.by_id.values(), key=lambda p: p.id)
        if not p.gone
    ]


def _devices(m: Machine) -> dict[str, Any]:
    d = m.devices
    return {
        "namespaces": [
            {
                "name": name,
                "start": n.reserved[0],
                "end": n.reserved[1],
                "device": n.device.name if n.device else None,
                "pagemap": n.pgmap or None,
            }
            for name, n in sorted(d.namespaces.items())
        ],
        "dax": [
            {
                "name": name,
                "ranges": [{"start": first, "end": last} for first, last in device.ranges],
                "driver": device.driver.value if device.driver else None,
                "target_node": device.region.target_node,
                "added": list(device.added),
                "hotremove_failed": device.hotremove_failed,
                "pagemap": device.pgmap or None,
            }
            for name, device in sorted(d.daxes.items())
        ],
        "dax_ids": {driver.value: sorted(names) for driver, names in d.ids.items()},
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
        line = f"{'  ' * r['depth']}{r['start']:08x}-{r['end']:08x} : {r['name']}{' *' if r['busy'] else ''}"
        out.print(line, markup=False, soft_wrap=True)
    _table(out, "sections", ("sections", "pfns", "flags", "populated subsections"), [
        (_span(s["first"], s["last"]), _pfns(s), " ".join(s["flags"]), s["populated"] or "all") for s in facts["sections"]
    ])  # fmt: skip
    _table(out, "memory blocks", ("blocks", "pfns", "state", "node"), [
        (_span(b["first"], b["last"]), _pfns(b), b["state"], "" if b["node"] is None else str(b["node"]))
        for b in facts["blocks"]
    ])  # fmt: skip
    _table(out, "pagemaps", ("id", "type", "state", "pfns", "altmap"), [
        (str(p["id"]), p["type"], p["state"], ", ".join(map(_pfns, p["ranges"])), _altmap(p["altmap"]))
        for p in facts["pagemaps"]
    ])  # fmt: skip
    _table(out, "namespaces", ("name", "claims", "dax device", "pagemap"), [
        (n["name"], f"{n['start']:#x}-{n['end']:#x}", n["device"] or "", str(n["pagemap"] or ""))
        for n in facts["namespaces"]
    ])  # fmt: skip
    _table(out, "dax devices", ("name", "bytes", "driver", "target node", "pagemap", "memory"), [
        (
            d["name"], ", ".join(f"{r['start']:#x}-{r['end']:#x}" for r in d["ranges"]), d["driver"] or "none",
            str(d["target_node"]), str(d["pagemap"] or ""), _memory(d),
        )
        for d in facts["dax"]
    ])  # fmt: skip


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
