"""The machine at boot, from meta.json, /proc/iomem, the section table and the memory blocks."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, NamedTuple

from replay.errors import InputError
from replay.trace.header import BootRange, MachineDescription, Resource

from .dumps import IomemEntry, SectionsDump, block_nodes, node_spans, parse_iomem, parse_sections, sysctls
from .files import Folder

__all__ = ("RESOURCE_FLAGS", "Boot", "meta_number", "read_boot")

SYSTEM_RAM = "System RAM"


class _Flags(NamedTuple):
    busy: bool
    ram: bool


RESOURCE_FLAGS: tuple[tuple[str, _Flags], ...] = (
    # name in /proc/iomem (a pattern for the whole name): busy, System RAM flag. First match; nested entries inherit
    # from a System RAM parent; anything not listed is a region that some driver claimed: busy.
    (r"System RAM(?: \(\w+\))?", _Flags(busy=True, ram=True)),
    (r"Persistent Memory(?: \(legacy\))?", _Flags(busy=False, ram=False)),
    (r"Soft Reserved", _Flags(busy=False, ram=False)),
    (r"Reserved", _Flags(busy=False, ram=False)),
    (r"PCI Bus .*", _Flags(busy=False, ram=False)),
    (r"PCI (?:MMCONFIG|ECAM) .*", _Flags(busy=False, ram=False)),
    (r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", _Flags(busy=False, ram=False)),
    (r"CXL Window \d+", _Flags(busy=False, ram=False)),
    (r".*", _Flags(busy=True, ram=False)),
)

# x86-64 with 5-level paging puts its memory map below the addresses that 4-level paging can form.
_FOUR_LEVEL_LOWEST = 0xFFFF_8000_0000_0000
_PHYSMEM_BITS = {"x86_64": (46, 52)}


class Boot(NamedTuple):
    """The machine at boot, and what the rest of the importer needs to know about it.

    Attributes:
        machine: for the trace header.
        name: kernel and scenario.
        vmemmap_base: virtual address of the struct page of pfn 0.
        struct_page_size: bytes.
        sections: the section table at boot.
    """

    machine: MachineDescription
    name: str
    vmemmap_base: int
    struct_page_size: int
    sections: SectionsDump

    @property
    def section_pages(self) -> int:
        """Pages per section."""
        return 1 << (self.machine.section_size_bits - self.machine.page_shift)


def read_boot(folder: Folder, warn: list[str]) -> Boot:
    """Describe the machine of a recording.

    Args:
        folder: the recording.
        warn: takes what had to be assumed.

    Raises:
        InputError: meta.json, iomem.txt or sections.txt is missing, damaged or says too little.
    """
    meta = folder.json("meta.json", "the description of the recording")
    arch, kernel = _word(folder, meta, "arch"), _word(folder, meta, "kernel")
    page_shift = meta_number(folder, meta, "page_shift")
    block_bytes = meta_number(folder, meta, "memory_block_size")
    if arch not in _PHYSMEM_BITS:
        raise InputError(folder.path / "meta.json", f"arch {arch!r}", f"one of {', '.join(_PHYSMEM_BITS)}")
    sections = parse_sections(folder.text("sections.txt", "the section table at boot"), folder.path / "sections.txt")
    base = sections.vmemmap_base or meta_number(folder, meta, "vmemmap_base")
    iomem = parse_iomem(folder.text("iomem.txt", "/proc/iomem at boot"), folder.path / "iomem.txt")
    machine = MachineDescription(
        arch=arch,
        page_shift=page_shift,
        section_size_bits=meta_number(folder, meta, "section_size_bits"),
        max_physmem_bits=_PHYSMEM_BITS[arch][base < _FOUR_LEVEL_LOWEST],
        memory_block_bytes=block_bytes,
        kernel=kernel,
        release=folder.optional("uname_r.txt").strip() or str(meta.get("kernel_release", "")),
        sysctls=sysctls(folder.optional("vmstate.txt")),
        config=_config(folder.optional("vmstate.txt")),
        memory=_memory(folder, iomem, page_shift, block_bytes >> page_shift, warn),
        resources=_resources(iomem),
    )
    name = f"{kernel}/{meta.get('scenario', folder.path.name)}"
    return Boot(machine, name, base, meta_number(folder, meta, "struct_page_size"), sections)


def _config(vmstate: str) -> dict[str, bool]:
    """Return what the parameters of the kernel say that decisions depend on, where it is not the default."""
    return {"memmap_on_memory": True} if re.search(r"^memory_hotplug.memmap_on_memory=[Y1f]", vmstate, re.M) else {}


def _word(folder: Folder, meta: dict[str, Any], key: str) -> str:
    value = meta.get(key)
    if not isinstance(value, str) or not value:
        raise InputError(folder.path / "meta.json", f"{key} = {value!r}", "a text")
    return value


def meta_number(folder: Folder, meta: dict[str, Any], key: str) -> int:
    """Return a positive number of meta.json, which may be written as text in hexadecimal."""
    value = meta.get(key)
    try:
        number = int(value, 0) if isinstance(value, str) else value
    except ValueError:
        number = None
    if not isinstance(number, int) or isinstance(number, bool) or number <= 0:
        raise InputError(folder.path / "meta.json", f"{key} = {value!r}", "a positive number")
    return number


def _resources(entries: list[IomemEntry]) -> tuple[Resource, ...]:
    resources: list[Resource] = []
    inside: list[_Flags | None] = []  # per depth: the flags handed down by a System RAM entry
    for entry in entries:
        own = next(flags for pattern, flags in RESOURCE_FLAGS if re.fullmatch(pattern, entry.name))
        inside = inside[: entry.depth]
        flags = (inside[-1] if inside else None) or own
        inside.append(flags if flags.ram else None)
        resources.append(Resource(entry.start, entry.end, entry.name, flags.busy, flags.ram))
    return tuple(resources)


def _memory(
    folder: Folder, entries: list[IomemEntry], page_shift: int, block: int, warn: list[str]
) -> tuple[BootRange, ...]:
    """Return the top-level System RAM entries, rounded inward to pages and cut where the node changes."""
    nodes = block_nodes(folder.optional("memory_blocks.txt"))
    spans = node_spans(folder.optional("zoneinfo.txt"))
    ranges: list[BootRange] = []
    for entry in entries:
        start, end = -(-entry.start >> page_shift), (entry.end + 1) >> page_shift
        if entry.depth or entry.name != SYSTEM_RAM or start >= end:
            continue
        cuts = {start, end, *range(start - start % block + block, end, block)}
        cuts |= {border for low, high, _ in spans for border in (low, high) if start < border < end}
        for low, high in pairwise(sorted(cuts)):
            node = _node_of(low, nodes.get(low // block, ()), spans, warn)
            if ranges and ranges[-1].end == low and ranges[-1].node == node and low != start:
                ranges[-1] = BootRange(ranges[-1].start, high, node)
            else:
                ranges.append(BootRange(low, high, node))
    if not ranges:
        raise InputError(folder.path / "iomem.txt", "no System RAM", "memory that the machine booted with")
    return tuple(ranges)


def _node_of(pfn: int, nodes: tuple[int, ...], spans: list[tuple[int, int, int]], warn: list[str]) -> int:
    if len(nodes) == 1:
        return nodes[0]
    for low, high, node in spans:
        if low <= pfn < high and (not nodes or node in nodes):
            return node
    if nodes:
        warn.append(f"the memory block of pfn {pfn:#x} belongs to nodes {nodes}, and zoneinfo.txt does not say which")
    return nodes[0] if nodes else 0
