"""The machine at boot, from meta.json, /proc/iomem, the section table and the memory blocks."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from replay.errors import InputError
from replay.sources.importers.machine.blocks import block_nodes
from replay.sources.importers.machine.iomem import parse_iomem, resources
from replay.sources.importers.machine.memory import boot_memory, node_spans
from replay.trace.header import MachineDescription

from .dumps import SectionsDump, parse_sections, sysctls
from .files import Folder

__all__ = ("Boot", "meta_number", "read_boot")

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
        config=_config(folder.optional("vmstate.txt"), folder.optional("config.txt")),
        memory=boot_memory(
            iomem,
            page_shift,
            block_bytes >> page_shift,
            block_nodes(folder.optional("memory_blocks.txt")),
            node_spans(folder.optional("zoneinfo.txt")),
            folder.path / "iomem.txt",
            warn,
        ),
        resources=resources(iomem),
    )
    name = f"{kernel}/{meta.get('scenario', folder.path.name)}"
    return Boot(machine, name, base, meta_number(folder, meta, "struct_page_size"), sections)


def _config(vmstate: str, options: str) -> dict[str, bool]:
    """Return what parameters and options of the kernel say that decisions depend on, where it is not the default."""
    found = {"memmap_on_memory": True} if re.search(r"^memory_hotplug.memmap_on_memory=[Y1f]", vmstate, re.M) else {}
    return found | ({"BUFFER_HEAD": False} if "# CONFIG_BUFFER_HEAD is not set" in options.splitlines() else {})


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
