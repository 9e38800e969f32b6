"""Candidates for traces of lookups, transitions and queries, on every kind of machine.

Requests are made from every combination of what can be wrong with them, each in address space of its own; which of them are
needed is found out by replaying them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from replay.sources.synthetic.covering_blocks import blocks
from replay.sources.synthetic.covering_lookups import lookup_units
from replay.sources.synthetic.covering_maps import maps
from replay.sources.synthetic.covering_places import STRINGS, Places, changed
from replay.sources.synthetic.covering_requests import adds, queries, removes, resources, unmaps
from replay.sources.synthetic.covering_script import Row, Script, Unit
from replay.trace.header import MachineDescription

__all__ = ("walk_scripts",)

_Requests = tuple[Callable[[Places], Iterator[list[Row]]], ...]
_X86 = MachineDescription("x86_64", 12, 27, 46, 1 << 27, "7.2.13")
_BLOCKS = changed(_X86, memory_block_bytes=1 << 28)
_ARM = MachineDescription("aarch64", 12, 27, 48, 1 << 27, "7.2.13")
_ARM_LARGE = changed(_ARM, section_size_bits=30, memory_block_bytes=1 << 30, kernel="5.10.223")

# Name, machine, options, requests besides lookups, what it is.
_MACHINES: tuple[tuple[str, MachineDescription, dict[str, bool], _Requests, str], ...] = (
    ("x86_64", _X86, {}, (adds, removes, maps, unmaps, resources, queries), "x86_64 as distributions build it"),
    ("x86_64-blocks", _BLOCKS, {"memmap_on_memory": True}, (adds, blocks), "x86_64, memory blocks of two sections"),
    ("x86_64-no-hotplug", _X86, {"MEMORY_HOTPLUG": False}, (), "x86_64 without MEMORY_HOTPLUG"),
    ("x86_64-no-vmemmap", _X86, {"SPARSEMEM_VMEMMAP": False}, (), "x86_64 without SPARSEMEM_VMEMMAP"),
    ("x86_64-holes", _X86, {"HOLES_IN_ZONE": True}, (), "x86_64, zones with holes"),
    ("arm64", _ARM, {}, (), "arm64, sections of 128 MiB (v5.12 and later)"),
    ("arm64-large", _ARM_LARGE, {}, (), "arm64, sections of 1 GiB (until v5.11)"),
    ("arm64-large-no-hotplug", _ARM_LARGE, {"MEMORY_HOTPLUG": False}, (), "the same without MEMORY_HOTPLUG"),
)


def walk_scripts() -> list[Script]:
    """Return one script for each configuration of a machine."""
    found = []
    for name, machine, config, requests, about in _MACHINES:
        places = Places(machine, config)
        units = list(lookup_units(places))
        units += [Unit(tuple(rows)) for make in requests for rows in make(places)]
        found.append(Script(f"covering-{name}", places.machine, STRINGS, tuple(units), about))
    return found
