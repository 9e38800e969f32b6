"""The memory of a machine as plain values, and what of it differs between two moments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from replay.kernel.badblocks import SECTOR
from replay.machine.machine import Machine
from replay.trace.schema import PgmapType, SectionFlags

__all__ = ("Change", "Facts", "Line", "changes", "memory_facts")

Facts = dict[str, Any]
"""A fact of the machine: a resource, a run of sections …, by field."""

_LETTERS = (
    (SectionFlags.PRESENT, "present"),
    (SectionFlags.HAS_MEM_MAP, "mem_map"),
    (SectionFlags.ONLINE, "online"),
    (SectionFlags.EARLY, "early"),
    (SectionFlags.TAINT_ZONE_DEVICE, "taint"),
)


def memory_facts(m: Machine) -> dict[str, list[Facts]]:
    """Return resources, sections, memory blocks, pagemaps, namespaces, dax devices, media …, each in its order.

    Pfn ranges are half open (``first_pfn``, ``end_pfn``), byte ranges inclusive (``start``, ``end``) as in /proc/iomem.
    Neighbouring sections (and blocks) that are alike stand together.
    """
    return {
        "resources": [
            {"depth": depth, "start": n.start, "end": n.end, "name": n.name, "busy": n.busy, "ram": n.ram}
            for depth, n in m.resources.walk()
        ],
        "sections": list(_sections(m)),
        "blocks": list(_blocks(m)),
        "pagemaps": _pagemaps(m),
        "namespaces": _namespaces(m),
        "dax": _daxes(m),
        "dax_ids": [
            {"driver": driver.value, "names": sorted(names)} for driver, names in m.devices.ids.items() if names
        ],
        "badblocks": [{"start": first * SECTOR, "end": after * SECTOR - 1} for first, after, _ in m.badblocks],
        "info_blocks": _info_blocks(m),
        "max_pfn": [{"max_pfn": m.max_pfn}],
    }


def _sections(m: Machine) -> Iterator[Facts]:
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


def _section_run(m: Machine, run: Facts, full: int) -> Facts:
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


def _blocks(m: Machine) -> Iterator[Facts]:
    """Yield runs of memory blocks of the same state and node."""
    pages = m.geometry.pages_per_block
    run: Facts | None = None
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


def _pagemaps(m: Machine) -> list[Facts]:
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


def _namespaces(m: Machine) -> list[Facts]:
    return [
        {
            "name": name,
            "start": n.reserved[0],
            "end": n.reserved[1],
            "device": n.device.name if n.device else None,
            "pagemap": n.pgmap or None,
        }
        for name, n in sorted(m.devices.namespaces.items())
    ]


def _info_blocks(m: Machine) -> list[Facts]:
    """Return what is on the medium of namespaces, in use or not."""
    return [
        {
            "namespace": name,
            "namespace_start": start,
            "kind": "devdax" if info.devdax else "fsdax",
            "memmap": info.mode.value,
            "align": info.align,
            "start_pad": info.start_pad,
            "dataoff": info.dataoff,
            "end_trunc": info.end_trunc,
            "minor": info.minor,
        }
        for (name, start), info in sorted(m.devices.infos.items())
    ]


def _daxes(m: Machine) -> list[Facts]:
    return [
        {
            "name": name,
            "ranges": [{"start": first, "end": last} for first, last in device.ranges],
            "driver": device.driver.value if device.driver else None,
            "on_bus": device.on_bus,
            "target_node": device.region.target_node,
            "added": list(device.added),
            "hotremove_failed": device.hotremove_failed,
            "pagemap": device.pgmap or None,
        }
        for name, device in sorted(m.devices.daxes.items())
    ]


@dataclass(frozen=True)
class Line:
    """One fact in a list before and after: "+" came, "-" went, " " is there before and after."""

    sign: str
    fact: Facts


@dataclass(frozen=True)
class Change:
    """What became of the machine between two moments.

    Attributes:
        until: row number; the machine afterwards is the one when that row is reached.
        parts: for each part of ``memory_facts`` that differs its facts before and after, in one order.
    """

    until: int
    parts: dict[str, tuple[Line, ...]]


def changes(before: dict[str, list[Facts]], after: dict[str, list[Facts]], until: int) -> Change:
    """Return what differs between the facts of two moments."""
    different = [part for part in before if before[part] != after[part]]
    return Change(until, {part: tuple(_lines(before[part], after[part])) for part in different})


def _lines(before: list[Facts], after: list[Facts]) -> Iterator[Line]:
    keys = [repr(fact) for fact in before], [repr(fact) for fact in after]
    for tag, i, j, k, n in SequenceMatcher(None, *keys, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from (Line(" ", fact) for fact in before[i:j])
        else:
            yield from (Line("-", fact) for fact in before[i:j])
            yield from (Line("+", fact) for fact in after[k:n])
