"""The machine around one pfn, in words that people know from /proc/iomem and the section table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from replay.engine.replay import Replayer
from replay.kernel.walk import PgmapState
from replay.machine.resources import Node
from replay.trace.poison import MappingClass, PageFlag, PageKind
from replay.trace.schema import PgmapType, SectionFlags

__all__ = ("Around", "around_of")

_MAPPERS = 8  # shown


@dataclass(frozen=True)
class Around:
    """Facts about one pfn.

    Attributes:
        section: number.
        section_start: its first pfn.
        section_pages: its size.
        flags: names of the section flags that are set; empty when the section is absent.
        subsection: number within the section.
        subsection_set: its bit in the subsection map.
        subsections: of how many, and how many are set.
        block: number of the memory block, and "online", "offline" or "absent".
        node: NUMA node, None if the page belongs to none.
        pagemap: id, type, ranges, altmap and state of the pagemap in the index, None without one.
        resources: entries of the resource tree that hold the page, the outermost first, as in /proc/iomem.
        page: description of the page, as far as the trace gives one.
        mappings: who maps it.
        marks: marks of the candidate that are set.
    """

    section: int
    section_start: int
    section_pages: int
    flags: tuple[str, ...]
    subsection: int
    subsection_set: bool
    subsections: tuple[int, int]
    block: tuple[int, str]
    node: int | None
    pagemap: dict[str, Any] | None
    resources: tuple[str, ...]
    page: dict[str, Any]
    mappings: tuple[str, ...]
    marks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def around_of(replayer: Replayer, pfn: int) -> Around:
    """Return the facts about a pfn at this moment of a replay."""
    m = replayer.machine
    g = m.geometry
    section = pfn >> g.section_shift
    subsection = (pfn & g.pages_per_section - 1) >> g.subsection_shift
    bits = m.sections.bits(section)
    flags = m.sections.flags(section)
    block = pfn // g.pages_per_block
    states = {True: "online", False: "offline", None: "absent"}
    marks = int(m.marks.at(np.array([pfn], np.uint64))[0])
    return Around(
        section=section,
        section_start=section << g.section_shift,
        section_pages=g.pages_per_section,
        flags=tuple(flag.name.lower() for flag in SectionFlags if flags & flag and flag.name),
        subsection=subsection,
        subsection_set=bool(bits[subsection]),
        subsections=(int(bits.size), int(bits.sum())),
        block=(block, states[m.blocks.get(block)]),
        node=m.node_of(pfn),
        pagemap=_pagemap(replayer, pfn),
        resources=tuple(_resources(m.resources.root.children, pfn << g.page_shift)),
        page=_page(replayer, pfn),
        mappings=tuple(_mappings(replayer, pfn)),
        marks=tuple(mark.name for n, mark in enumerate(replayer.kernel.rules.marks) if marks >> n & 1),
    )


def _pagemap(replayer: Replayer, pfn: int) -> dict[str, Any] | None:
    m = replayer.machine
    number = m.pagemaps.index.get(pfn)
    found = m.pagemaps.by_id.get(number) if number else None
    if found is None:
        return None
    return {
        "id": found.id,
        "type": PgmapType(found.type).name.lower(),
        "ranges": [list(r) for r in found.ranges],
        "altmap": asdict(found.altmap) if found.altmap else None,
        "data": [list(r) for r in found.data_spans()],
        "state": (PgmapState.DYING if found.dying else PgmapState.LIVE).name.lower(),
        "node": found.node,
    }


def _resources(nodes: list[Node], byte: int) -> list[str]:
    for node in nodes:
        if node.start <= byte <= node.end:
            return [f"{node.start:08x}-{node.end:08x} : {node.name}", *_resources(node.children, byte)]
    return []


def _page(replayer: Replayer, pfn: int) -> dict[str, Any]:
    pages = replayer.machine.pages
    page = pages.at(pfn)
    return {
        "kind": PageKind(page.kind).name.lower(),
        "flags": [flag.name.lower() for flag in PageFlag if page.flags & flag and flag.name],
        "poisoned": pages.is_poisoned(pfn),
        "order": page.order,
        "mapping": MappingClass(page.mapping).name.lower(),
        "pins": page.pins,
        "refs": page.refs,
    }


def _mappings(replayer: Replayer, pfn: int) -> list[str]:
    tasks = replayer.machine.tasks
    found = tasks.of(pfn)
    lines = []
    for mapping in found[:_MAPPERS]:
        label = tasks.task(mapping.task).label
        name = f" ({replayer.strings[label]})" if label is not None and label < len(replayer.strings) else ""
        poisoned = ", hwpoison entry" if mapping.poisoned else ""
        lines.append(f"task {mapping.task}{name} at {mapping.address(pfn, tasks.page_shift):#x}{poisoned}")
    return lines + ([f"and {len(found) - _MAPPERS} more"] if len(found) > _MAPPERS else [])
