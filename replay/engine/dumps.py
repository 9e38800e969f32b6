"""Dumps: what a recording says about the whole machine at a moment, held against the replayed machine row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from replay.engine.tally import BLOCKS, DAXES, DUMP, RESOURCES
from replay.engine.transitions import Cell
from replay.kernel.calls import Kernel
from replay.machine.machine import Machine
from replay.trace.schema import EventKind, SectionFlags

__all__ = ("ASPECTS", "dump_matches", "shown")

ASPECTS: dict[EventKind, str] = {
    EventKind.SECTIONS_DUMP: DUMP,
    EventKind.SECTION_STATE: DUMP,
    EventKind.RESOURCES_DUMP: RESOURCES,
    EventKind.RESOURCE_STATE: RESOURCES,
    EventKind.BLOCKS_DUMP: BLOCKS,
    EventKind.BLOCK_STATE: BLOCKS,
    EventKind.DAX_DUMP: DAXES,
    EventKind.DAX_STATE: DAXES,
}


def dump_matches(machine: Machine, kernel: Kernel, strings: Sequence[str], kind: EventKind, cell: Cell) -> bool:
    """Return whether the machine is what a dump row says.

    Args:
        machine: the memory.
        kernel: what it does not have is not expected.
        strings: names that ``label`` refers to.
        kind: one of DUMPS. The rows that stand for a whole dump say how many rows follow.
        cell: gives a column of the row.
    """
    return _MATCHES[kind](machine, kernel, strings, cell)


def shown(strings: Sequence[str], kind: EventKind, cell: Cell) -> str:
    """Return in words what a dump row says."""
    flags, start, label = cell("recorded_flags"), cell("start"), cell("label")
    size, value, name = cell("size") or 0, cell("value") or 0, "" if label is None else strings[label]
    if kind is EventKind.SECTION_STATE:
        return f"flags {flags or 0:#x}, subsections {cell('recorded_bits') or 0:#018x}"
    if kind is EventKind.BLOCK_STATE:
        return "online" if (flags or 0) & SectionFlags.ONLINE else "offline"
    if kind is EventKind.RESOURCE_STATE:
        return f"{start or 0:#x}-{(start or 0) + size - 1:#x} {name!r} at depth {value}"
    if kind is EventKind.DAX_STATE:
        return f"{name} {start or 0:#x}-{(start or 0) + size - 1:#x}, driver {flags}, target node {cell('node')}"
    things = {EventKind.RESOURCES_DUMP: "resources", EventKind.BLOCKS_DUMP: "blocks", EventKind.DAX_DUMP: "dax devices"}
    return f"{value} {things[kind]}" if kind in things else f"{cell('nr_pages')} sections"


def _sections(machine: Machine, kernel: Kernel, strings: Sequence[str], cell: Cell) -> bool:
    return len(machine.sections) == (cell("nr_pages") or 0)


def _section(machine: Machine, kernel: Kernel, strings: Sequence[str], cell: Cell) -> bool:
    """Compare flags and 64 subsections; flags that the kernel does not have are not expected."""
    g, sections = machine.geometry, machine.sections
    pfn = cell("pfn") or 0
    section = pfn >> g.section_shift
    known = SectionFlags.PRESENT | SectionFlags.HAS_MEM_MAP | SectionFlags.ONLINE
    if kernel.has("section-early"):
        known |= SectionFlags.EARLY
    if kernel.has("taint-zone-device"):
        known |= SectionFlags.TAINT_ZONE_DEVICE
    first = (pfn - (section << g.section_shift)) >> g.subsection_shift
    bits = np.packbits(sections.bits(section)[first : first + 64], bitorder="little")
    found = int.from_bytes(bits.tobytes(), "little")
    flags = sections.flags(section)
    stand_ins = [n for n, mark in enumerate(kernel.rules.marks) if mark.same_as == "taint"]
    if stand_ins:  # a candidate keeps that flag itself
        known |= SectionFlags.TAINT_ZONE_DEVICE
        marks = int(machine.marks.at(np.array([pfn], np.uint64))[0])
        flags |= SectionFlags.TAINT_ZONE_DEVICE if any(marks >> n & 1 for n in stand_ins) else 0
    return flags & known == cell("recorded_flags") and found == cell("recorded_bits")


def _resources(machine: Machine, kernel: Kernel, strings: Sequence[str], cell: Cell) -> bool:
    return sum(1 for _ in machine.resources.walk()) == (cell("value") or 0)


def _resource(machine: Machine, kernel: Kernel, strings: Sequence[str], cell: Cell) -> bool:
    start, label = cell("start") or 0, cell("label")
    name = "" if label is None else strings[label]
    return machine.resources.has(cell("value") or 0, start, start + (cell("size") or 0) - 1, name)


def _blocks(machine: Machine, kernel: Kernel, strings: Sequence[str], cell: Cell) -> bool:
    return len(machine.blocks) == (cell("value") or 0)


def _block(machine: Machine, kernel: Kernel, strings: Sequence[str], cell: Cell) -> bool:
    online = machine.blocks.get((cell("pfn") or 0) // machine.geometry.pages_per_block)
    return online is not None and online == bool((cell("recorded_flags") or 0) & SectionFlags.ONLINE)


def _daxes(machine: Machine, kernel: Kernel, strings: Sequence[str], cell: Cell) -> bool:
    return sum(device.on_bus for device in machine.devices.daxes.values()) == (cell("value") or 0)


def _dax(machine: Machine, kernel: Kernel, strings: Sequence[str], cell: Cell) -> bool:
    """Compare name, bytes and driver, and the target node as far as sysfs shows it."""
    label = cell("label")
    device = machine.devices.daxes.get("" if label is None else strings[label])
    if device is None or not device.on_bus or (device.driver.number if device.driver else 0) != cell("recorded_flags"):
        return False
    start, size, node = cell("start"), cell("size") or 0, cell("node")
    placed = [(first, last + 1 - first) for first, last in device.ranges[:1]] or [(0, 0)]
    shows_node = kernel.has("dax-target-node") and device.region.target_node >= 0
    return (start is None or (start, size) == placed[0]) and node == (device.region.target_node if shows_node else None)


_MATCHES: dict[EventKind, Callable[[Machine, Kernel, Sequence[str], Cell], bool]] = {
    EventKind.SECTIONS_DUMP: _sections,
    EventKind.SECTION_STATE: _section,
    EventKind.RESOURCES_DUMP: _resources,
    EventKind.RESOURCE_STATE: _resource,
    EventKind.BLOCKS_DUMP: _blocks,
    EventKind.BLOCK_STATE: _block,
    EventKind.DAX_DUMP: _daxes,
    EventKind.DAX_STATE: _dax,
}
