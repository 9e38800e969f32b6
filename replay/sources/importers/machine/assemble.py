"""A machine description put together from several sources: what they say, what contradicts, and what is assumed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from replay import __version__
from replay.errors import InputError, UsageError
from replay.kernel.config import expected_section_bits
from replay.kernel.profiles import PRESETS, profile
from replay.machine.geometry import arch as arch_named
from replay.machine.geometry import check_description
from replay.sources.importers.rejects import Rejects
from replay.trace.header import BootRange, MachineDescription, Provenance, Resource

from .blocks import MemoryBlocks, read_blocks
from .checks import check_blocks, check_devices, check_pages, check_ram
from .devices import Device, read_devices
from .files import read_text
from .iomem import IomemEntry, parse_iomem, resources
from .lsmem import read_lsmem
from .memory import boot_memory, node_spans
from .pageflags import PageFlags, read_kpageflags, read_page_types

__all__ = ("Assembled", "Given", "assemble")

_SMALLEST_BLOCK = 128 << 20


@dataclass(frozen=True)
class Given:
    """What the user gives: files, and facts that win over what files say nothing about.

    Attributes:
        kernel: version of the kernel, without the v.
        release: uname -r.
        arch: as in uname -m.
        page_size: bytes.
        section_bytes: bytes of a section.
        physical_bits: physical address bits that the section table covers.
        iomem: copy of /proc/iomem.
        zoneinfo: copy of /proc/zoneinfo.
        lsmem: output of lsmem --json.
        blocks: /sys/devices/system/memory.
        ndctl: output of ndctl list.
        daxctl: output of daxctl list.
        kpageflags: copy of /proc/kpageflags.
        page_types: output of page-types -l.
    """

    kernel: str
    release: str = ""
    arch: str = "x86_64"
    page_size: int | None = None
    section_bytes: int | None = None
    physical_bits: int | None = None
    iomem: Path | None = None
    zoneinfo: Path | None = None
    lsmem: Path | None = None
    blocks: Path | None = None
    ndctl: Path | None = None
    daxctl: Path | None = None
    kpageflags: Path | None = None
    page_types: Path | None = None


@dataclass
class Assembled:
    """The machine, and how it came about.

    Attributes:
        machine: the description.
        provenance: for the header.
        devices: namespaces and dax devices; the description has no place for them but the resources.
    """

    machine: MachineDescription
    provenance: Provenance
    devices: list[Device]


class _Geometry(NamedTuple):
    page_shift: int
    section_bits: int
    block_bytes: int


@dataclass
class _Notes:
    sources: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def assemble(given: Given, rejects: Rejects) -> Assembled:
    """Put a machine description together.

    Args:
        given: files and facts.
        rejects: takes parts of files that cannot be used.

    Raises:
        UsageError: nothing says where memory is, or the facts are not possible.
        InputError: a file that cannot be used, or two that contradict each other.
    """
    notes = _Notes()
    blocks = _blocks(given, notes, rejects)
    entries = None
    if given.iomem is not None:
        entries = parse_iomem(read_text(given.iomem, "a copy of /proc/iomem"), given.iomem)
        notes.sources.append(f"iomem {given.iomem.name}")
    pages = _pages(given, notes, rejects)
    if entries is None and blocks is None and pages is None:
        raise UsageError(
            "nothing says where memory is; give --iomem, --lsmem, --memory-blocks, --kpageflags or --page-types"
        )
    geometry = _geometry(given, blocks, notes)
    memory, tree = _memory(given, entries, blocks, pages, geometry, notes)
    devices = _devices(given, notes, rejects)
    if blocks is not None:
        notes.warnings += check_ram(memory, blocks, geometry.page_shift, geometry.block_bytes)
    if given.iomem is not None and entries is not None:
        notes.warnings += check_devices(devices, entries, given.iomem, geometry.block_bytes)
    if pages is not None:
        notes.warnings += check_pages(pages, memory, blocks, geometry.block_bytes >> geometry.page_shift)
    machine = MachineDescription(
        arch=arch_named(given.arch).name, page_shift=geometry.page_shift, section_size_bits=geometry.section_bits,
        max_physmem_bits=_physical_bits(given, memory, tree, geometry.page_shift, notes),
        memory_block_bytes=geometry.block_bytes, kernel=given.kernel, release=given.release, memory=memory,
        resources=tree,
    )  # fmt: skip
    check_description(machine, "machine")
    provenance = Provenance(
        source="machine", name=", ".join(notes.sources), tool=f"pfn-replay {__version__}",
        parameters={device.name: device.text for device in devices},
        notes=(*(f"assumed: {text}" for text in notes.assumed), *notes.warnings),
    )  # fmt: skip
    return Assembled(machine, provenance, devices)


def _blocks(given: Given, notes: _Notes, rejects: Rejects) -> MemoryBlocks | None:
    found = None
    if given.blocks is not None:
        found = read_blocks(given.blocks, rejects)
        notes.sources.append(f"memory blocks {given.blocks.name}")
    if given.lsmem is not None:
        listed = read_lsmem(given.lsmem, rejects)
        notes.sources.append(f"lsmem {given.lsmem.name}")
        found = listed if found is None else check_blocks(found, listed, str(given.lsmem))
    return found


def _pages(given: Given, notes: _Notes, rejects: Rejects) -> PageFlags | None:
    if given.kpageflags is not None and given.page_types is not None:
        raise UsageError(
            "--kpageflags and --page-types say the same; give the one that was made at the same time as the rest"
        )
    if given.kpageflags is not None:
        notes.sources.append(f"kpageflags {given.kpageflags.name}")
        return read_kpageflags(given.kpageflags)
    if given.page_types is not None:
        notes.sources.append(f"page-types {given.page_types.name}")
        return read_page_types(given.page_types, rejects)
    return None


def _devices(given: Given, notes: _Notes, rejects: Rejects) -> list[Device]:
    devices: dict[str, Device] = {}
    for tool, path in (("ndctl", given.ndctl), ("daxctl", given.daxctl)):
        for device in read_devices(path, tool, rejects) if path is not None else ():
            known = devices.setdefault(device.name, device)
            if (known.size, known.mode) != (device.size, device.mode):
                raise InputError(device.where, f"{device.name} {device.text}", f"{known.text} as in {known.where}")
        notes.sources += [f"{tool} {path.name}"] if path is not None else []
    return list(devices.values())


def _geometry(given: Given, blocks: MemoryBlocks | None, notes: _Notes) -> _Geometry:
    arch = arch_named(given.arch)
    shift = arch.page_shifts[0] if given.page_size is None else (given.page_size - 1).bit_length()
    if given.page_size is None:
        notes.assumed += [f"pages of {1 << shift} bytes"] if len(arch.page_shifts) > 1 else []
    elif shift not in arch.page_shifts or given.page_size != 1 << shift:
        known = ", ".join(str(1 << s) for s in arch.page_shifts)
        raise UsageError(f"pages of {given.page_size} bytes; {arch.name} has {known}")
    section = _section_bits(given, shift, notes)
    size = blocks.size if blocks is not None else None
    if size is None:
        size = max(_SMALLEST_BLOCK, 1 << section)
        notes.assumed.append(f"memory blocks of {size >> 20} MiB")
    return _Geometry(shift, section, size)


def _section_bits(given: Given, shift: int, notes: _Notes) -> int:
    arch = arch_named(given.arch)
    if given.section_bytes is not None:
        bits = (given.section_bytes - 1).bit_length()
        if given.section_bytes != 1 << bits or bits not in arch.section_size_bits[shift]:
            known = ", ".join(str(1 << b) for b in arch.section_size_bits[shift])
            raise UsageError(f"sections of {given.section_bytes} bytes; {arch.name} has {known}")
        return bits
    possible = arch.section_size_bits[shift]
    if len(possible) == 1:
        return possible[0]
    version = f"v{given.kernel.removeprefix('v')}"
    known_kernel = version in PRESETS or "+" in version
    probe = MachineDescription(
        arch.name, shift, possible[-1], arch.max_physmem_bits[0], 1 << possible[-1], given.kernel
    )
    bits = (expected_section_bits(probe, profile(version).features) if known_kernel else None) or possible[-1]
    notes.assumed.append(
        f"sections of {(1 << bits) >> 20} MiB" + ("" if known_kernel else ", as in the latest kernels")
    )
    return bits


def _memory(
    given: Given, entries: list[IomemEntry] | None, blocks: MemoryBlocks | None, pages: PageFlags | None,
    geometry: _Geometry, notes: _Notes,
) -> tuple[tuple[BootRange, ...], tuple[Resource, ...]]:  # fmt: skip
    """Return boot memory and the resource tree, from the source that knows most about it."""
    shift, per_block = geometry.page_shift, geometry.block_bytes >> geometry.page_shift
    nodes = blocks.nodes if blocks is not None else {}
    spans = node_spans(read_text(given.zoneinfo, "a copy of /proc/zoneinfo")) if given.zoneinfo else []
    if given.zoneinfo:
        notes.sources.append(f"zoneinfo {given.zoneinfo.name}")
    if entries is None:
        notes.assumed.append("no resources but System RAM: no iomem was given")
        if blocks is not None:
            notes.assumed.append("memory blocks are full of memory: no iomem was given")
            found = [(n * per_block, (n + 1) * per_block) for n in sorted(blocks.blocks)]
        else:
            assert pages is not None
            notes.assumed.append("sections in which some page has flags are full of memory: no iomem was given")
            found = pages.sections(1 << geometry.section_bits - shift)
        entries = [IomemEntry(0, low << shift, (high << shift) - 1, "System RAM") for low, high in _joined(found)]
    if not nodes and not spans:
        notes.assumed.append("all memory is on node 0")
    notes.assumed.append("what is System RAM now was there at boot")
    memory = boot_memory(entries, shift, per_block, nodes, spans, given.iomem or "memory", notes.warnings)
    return memory, resources(entries)


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for low, high in ranges:
        if joined and joined[-1][1] == low:
            joined[-1] = joined[-1][0], high
        else:
            joined.append((low, high))
    return joined


def _physical_bits(
    given: Given, memory: tuple[BootRange, ...], tree: tuple[Resource, ...], shift: int, notes: _Notes
) -> int:  # fmt: skip
    """Return the address bits: as given, or the fewest that the architecture has and that hold all memory."""
    arch = arch_named(given.arch)
    top = max([r.end << shift for r in memory] + [r.end + 1 for r in tree if r.ram])
    if given.physical_bits is not None:
        if given.physical_bits not in arch.max_physmem_bits:
            known = ", ".join(map(str, arch.max_physmem_bits))
            raise UsageError(f"{given.physical_bits} physical address bits; {arch.name} has {known}")
        if top > 1 << given.physical_bits:
            raise InputError("memory", f"memory up to byte {top:#x}", f"below 2**{given.physical_bits}, as given")
        return given.physical_bits
    possible = sorted(bits for bits in arch.max_physmem_bits if top <= 1 << bits)
    if not possible:
        raise InputError(
            "memory", f"memory up to byte {top:#x}", f"below 2**{max(arch.max_physmem_bits)} ({arch.name})"
        )
    if len(arch.max_physmem_bits) > 1:
        notes.assumed.append(f"{possible[0]} physical address bits")
    return possible[0]
