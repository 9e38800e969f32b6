"""How physical memory is cut into sections, subsections and memory blocks, per architecture.

Numbers as of Linux v4.18 to v7.2 (walk semantics, section 7). A machine's own description wins; the table says which
descriptions can exist at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from replay.errors import TraceError, UnknownNameError
from replay.trace.header import MachineDescription

__all__ = ("ARCHES", "Arch", "Geometry", "arch", "check_description", "zone_bounds")

SUBSECTION_SHIFT = 21  # 2 MiB on every architecture since v5.3 (ba72b4c8cf60)


@dataclass(frozen=True)
class Arch:
    """The layouts an architecture has had.

    Attributes:
        name: as in uname -m.
        page_shifts: possible log2 page sizes.
        section_size_bits: possible values per page shift, oldest first.
        max_physmem_bits: possible values (a range where Kconfig lets one choose).
        pageblock_order: log2 of the pages of a pageblock, per page shift.
        dma_limits: byte addresses at which the boot zones DMA and DMA32 end, where they are fixed.
    """

    name: str
    page_shifts: tuple[int, ...]
    section_size_bits: dict[int, tuple[int, ...]]
    max_physmem_bits: tuple[int, ...]
    pageblock_order: dict[int, int]
    dma_limits: tuple[int, ...] = ()


ARCHES: dict[str, Arch] = {
    a.name: a
    for a in (
        Arch("x86_64", (12,), {12: (27,)}, (46, 52), {12: 9}, (16 << 20, 4 << 30)),
        # 1 GiB sections until v5.11, 128 MiB (512 MiB with 64K pages) since v5.12 (f0b13ee23241).
        Arch("aarch64", (12, 14, 16), {12: (30, 27), 14: (30, 27), 16: (30, 29)}, (48, 52), {12: 9, 14: 11, 16: 13}),
        Arch("ppc64", (12, 16), {12: (24,), 16: (24,)}, (44, 46, 47, 51), {12: 9, 16: 8}),
        # 256 MiB sections until v6.12, 128 MiB in v7.2.
        Arch("s390x", (12,), {12: (28, 27)}, tuple(range(42, 54)), {12: 8}),
        Arch("riscv64", (12,), {12: (27,)}, (56,), {12: 9}),
        Arch("loongarch64", (12, 14, 16), {12: (29,), 14: (29,), 16: (29,)}, (48,), {12: 9, 14: 11, 16: 13}),
    )
}
_ALIASES = {"amd64": "x86_64", "arm64": "aarch64", "ppc64le": "ppc64", "s390": "s390x"}


def arch(name: str) -> Arch:
    """Return the architecture of that name (``uname -m`` or the usual alias).

    Raises:
        UnknownNameError: it is not one whose layouts are known.
    """
    name = _ALIASES.get(name, name)
    if name not in ARCHES:
        raise UnknownNameError("architecture", name, ARCHES)
    return ARCHES[name]


@dataclass(frozen=True)
class Geometry:
    """Sizes of sections, subsections and memory blocks of one machine, in pages unless said.

    Attributes:
        arch: architecture name.
        page_shift: log2 of the page size in bytes.
        section_size_bits: log2 of the section size in bytes.
        max_physmem_bits: physical address bits that the section table covers.
        memory_block_bytes: bytes of a memory block device.
    """

    arch: str
    page_shift: int
    section_size_bits: int
    max_physmem_bits: int
    memory_block_bytes: int

    @classmethod
    def of(cls, machine: MachineDescription) -> Geometry:
        """Return the geometry that a machine description gives."""
        return cls(
            _ALIASES.get(machine.arch, machine.arch),
            machine.page_shift,
            machine.section_size_bits,
            machine.max_physmem_bits,
            machine.memory_block_bytes,
        )

    @property
    def section_shift(self) -> int:
        """log2 of the pages of a section: ``pfn >> section_shift`` is the section number."""
        return self.section_size_bits - self.page_shift

    @property
    def subsection_shift(self) -> int:
        """log2 of the pages of a subsection (2 MiB)."""
        return SUBSECTION_SHIFT - self.page_shift

    @property
    def pages_per_section(self) -> int:
        """Pages of a section."""
        return 1 << self.section_shift

    @property
    def pages_per_subsection(self) -> int:
        """Pages of a subsection."""
        return 1 << self.subsection_shift

    @property
    def subsections_per_section(self) -> int:
        """Subsections of a section."""
        return 1 << (self.section_size_bits - SUBSECTION_SHIFT)

    @property
    def nr_sections(self) -> int:
        """NR_MEM_SECTIONS: section numbers from here on do not exist."""
        return 1 << (self.max_physmem_bits - self.section_size_bits)

    @property
    def max_pfns(self) -> int:
        """Pfns below this lie in an existing section number."""
        return 1 << (self.max_physmem_bits - self.page_shift)

    @property
    def pages_per_block(self) -> int:
        """Pages of a memory block."""
        return self.memory_block_bytes >> self.page_shift

    @property
    def pageblock_pages(self) -> int:
        """Pages of a pageblock, the unit of isolation."""
        return 1 << arch(self.arch).pageblock_order[self.page_shift]


def zone_bounds(geometry: Geometry) -> tuple[int, ...]:
    """Return the pfns at which boot zones end below ZONE_NORMAL (empty where they are not fixed by the architecture)."""
    return tuple(limit >> geometry.page_shift for limit in arch(geometry.arch).dma_limits)


def check_description(machine: MachineDescription, where: str) -> Geometry:
    """Return the machine's geometry after checking that its architecture has had such a layout.

    Args:
        machine: the description.
        where: file or argument it comes from, for the error.

    Raises:
        TraceError: the architecture is unknown, or never had that page, section, address or block size.
    """
    if _ALIASES.get(machine.arch, machine.arch) not in ARCHES:
        raise TraceError(f"{where}: machine.arch", repr(machine.arch), f"one of {', '.join(ARCHES)}")
    a = arch(machine.arch)
    choices = (
        ("page_shift", machine.page_shift, a.page_shifts),
        ("section_size_bits", machine.section_size_bits, a.section_size_bits.get(machine.page_shift, ())),
        ("max_physmem_bits", machine.max_physmem_bits, a.max_physmem_bits),
    )
    for name, found, known in choices:
        if found not in known:
            needed = f"one of {', '.join(map(str, known))} ({a.name})"
            raise TraceError(f"{where}: machine.{name}", str(found), needed)
    block, section = machine.memory_block_bytes, 1 << machine.section_size_bits
    if block < section or block & (block - 1) or block > 1 << 40:
        needed = f"a power of two from the section size ({section:#x}) to 1 TiB"
        raise TraceError(f"{where}: machine.memory_block_bytes", f"{block:#x}", needed)
    return Geometry.of(machine)
