"""What the machine remembers, how it starts, and the elementary changes that calls are made of (model.md, State)."""

from __future__ import annotations

from dataclasses import dataclass

from replay.machine.geometry import Geometry
from replay.scalar.capabilities import capabilities
from replay.scalar.pages import PoisonState
from replay.scalar.ranges import Range, contains, overlaps, round_out, subtract
from replay.scalar.resources import ResourceTree
from replay.trace.header import MachineDescription
from replay.trace.schema import SectionFlags

__all__ = ("Altmap", "Pagemap", "State")

PRESENT = int(SectionFlags.PRESENT)
VALID = int(SectionFlags.HAS_MEM_MAP)
ONLINE = int(SectionFlags.ONLINE)
EARLY = int(SectionFlags.EARLY)
TAINT = int(SectionFlags.TAINT_ZONE_DEVICE)

Altmap = tuple[int, int, int]  # base pfn, reserve, free


@dataclass
class Pagemap:
    """A dev_pagemap; ``state`` is "new" (no call has succeeded), "mapped", "dying" or "gone"; ``type`` is a PgmapType."""

    ranges: tuple[Range, ...]
    altmap: Altmap | None
    state: str = "new"
    type: int = 0


class State:
    """Sections, pagemaps, resources, memblock, memory blocks and max_pfn of one machine."""

    def __init__(self, description: MachineDescription, features: frozenset[str]) -> None:
        self.features = features
        self.geometry = Geometry.of(description)
        own_pfn_valid = self.geometry.arch == "aarch64" and not self.has("arm64-generic-pfn-valid")
        defaults = {
            "SPARSEMEM_VMEMMAP": True,
            "MEMORY_HOTPLUG": True,
            "HOLES_IN_ZONE": own_pfn_valid,
            "HAVE_ARCH_PFN_VALID": own_pfn_valid,
            "DEV_DAX_PMEM_COMPAT": False,
            "MEMORY_HOTREMOVE": True,
            "memmap_on_memory": False,
            "BUFFER_HEAD": True,
        }
        self.config: dict[str, bool] = {
            **defaults,
            **{option.removeprefix("CONFIG_"): on for option, on in description.config.items()},
        }
        if self.config["BUFFER_HEAD"]:
            self.features -= {"block-device-no-remove"}
        self.flags: dict[int, int] = {}  # section number -> SectionFlags; a section that is not here has none
        self.subsections: set[int] = set()  # numbers (pfn // PPSS) of the populated subsections
        self.pagemaps: dict[int, Pagemap] = {}
        self.index: list[tuple[Range, int]] = []  # pfn range -> pagemap id, not overlapping
        self.resources = ResourceTree(description, features)
        self.memblock: list[Range] = []
        self.blocks: dict[int, bool] = {}  # block number -> online; a block that is not here has no device
        self.max_pfn = 0
        self.capabilities = capabilities(self.features)
        self.poison = PoisonState(description)
        self._boot(description)

    def has(self, feature: str) -> bool:
        """Whether the profile has a feature."""
        return feature in self.features

    def _boot(self, description: MachineDescription) -> None:
        for memory in description.memory:
            pfns = (memory.start, min(memory.end, self.geometry.max_pfns))  # what lies above is not taken over
            for section in self.sections_of(pfns):
                if section not in self.flags:
                    self.flags[section] = PRESENT | VALID | ONLINE
                    if self.has("section-early"):
                        self.flags[section] |= EARLY
                    node_overlaps = self.has("taint-zone-device") and not self.has("section-nid-shift")
                    if node_overlaps and memory.node & 2:
                        self.flags[section] |= TAINT
            self.subsections.update(self.subsections_of(self.padded(pfns)))
            if not memory.nomap:
                self.memblock.append(pfns)
            self.max_pfn = max(self.max_pfn, memory.end)
        for section in self.flags:
            self.blocks[section * self.geometry.pages_per_section // self.geometry.pages_per_block] = True

    # Where a pfn lies.

    def section_of(self, pfn: int) -> int:
        """The number of the section of a pfn."""
        return pfn // self.geometry.pages_per_section

    def sections_of(self, pfns: Range) -> range:
        """The numbers of the sections that a range touches."""
        start, end = round_out(pfns, self.geometry.pages_per_section)
        return range(self.section_of(start), self.section_of(end)) if pfns[0] < pfns[1] else range(0)

    def subsections_of(self, pfns: Range) -> range:
        """The numbers of the subsections that a range touches."""
        size = self.geometry.pages_per_subsection
        start, end = round_out(pfns, size)
        return range(start // size, end // size) if pfns[0] < pfns[1] else range(0)

    def known_sections(self, pfns: Range) -> list[int]:
        """The sections with any flag that a range touches, ascending."""
        touched = self.sections_of(pfns)
        return sorted(section for section in self.flags if section in touched)

    def known_blocks(self, pfns: Range) -> list[int]:
        """The blocks with a device that a range touches, ascending."""
        return sorted(block for block in self.blocks if overlaps(self.block_range(block), pfns))

    def section_range(self, section: int) -> Range:
        """The pfns of a section."""
        return section * self.geometry.pages_per_section, (section + 1) * self.geometry.pages_per_section

    def block_range(self, block: int) -> Range:
        """The pfns of a memory block."""
        return block * self.geometry.pages_per_block, (block + 1) * self.geometry.pages_per_block

    def blocks_ending_in(self, pfns: Range) -> list[int]:
        """The blocks with a device that lie in a range, or lack only leading pages of it."""
        return [block for block in self.blocks if pfns[0] < self.block_range(block)[1] <= pfns[1]]

    def grain(self) -> int:
        """The unit in pages in which memory comes and goes."""
        g = self.geometry
        return g.pages_per_subsection if self.has("subsection-hotplug") else g.pages_per_section

    def padded(self, pfns: Range) -> Range:
        """The range, extended to whole sections without subsection-hotplug."""
        return pfns if self.has("subsection-hotplug") else round_out(pfns, self.geometry.pages_per_section)

    # Facts.

    def section_flags(self, section: int) -> int:
        """The flags of a section."""
        return self.flags.get(section, 0)

    def subsection_is_valid(self, pfn: int) -> bool:
        """Whether the subsection of a pfn is populated, as lookups see it."""
        if not self.config["SPARSEMEM_VMEMMAP"]:
            return True
        return pfn // self.geometry.pages_per_subsection in self.subsections

    def in_memblock(self, pfn: int) -> bool:
        """Whether a pfn is mapped memory."""
        return any(start <= pfn < end for start, end in self.memblock)

    def pagemap_at(self, pfn: int) -> int | None:
        """The index entry of a pfn."""
        for (start, end), pgmap in self.index:
            if start <= pfn < end:
                return pgmap
        return None

    def beyond_physmem(self, pfns: Range) -> bool:
        """Whether the range ends beyond 2^max_physmem_bits."""
        return pfns[1] > self.geometry.max_pfns

    # Elementary changes.

    def store_index(self, pfns: Range, pgmap: int) -> None:
        """Store a pagemap in the index, over whatever is there."""
        self.erase_index(pfns)
        self.index.append((pfns, pgmap))

    def erase_index(self, pfns: Range) -> None:
        """Erase the index over a range, whoever's entries are there."""
        self.index = [(left, owner) for entry, owner in self.index for left in subtract(entry, [pfns])]

    def runs_into_populated(self, pfns: Range) -> bool:
        """Whether adding the range fails at a populated subsection; the sections before that one keep what was added."""
        if not self.has("subsection-hotplug"):
            return False
        touched = self.subsections_of(pfns)
        populated = [subsection for subsection in self.subsections if subsection in touched]
        if populated:
            section = self.section_of(min(populated) * self.geometry.pages_per_subsection)
            self.populate((pfns[0], max(pfns[0], self.section_range(section)[0])))
        return bool(populated)

    def populate(self, pfns: Range) -> None:
        """Populate the range: new sections become present and valid, existing ones keep their flags."""
        pfns = self.padded(pfns)
        for section in self.sections_of(pfns):
            if not self.section_flags(section) & PRESENT:
                self.flags[section] = self.section_flags(section) | PRESENT | VALID
        self.subsections.update(self.subsections_of(pfns))

    def depopulate(self, pfns: Range) -> None:
        """Depopulate the range, piece by piece, one for each section."""
        pfns = self.padded(pfns)
        for section in self.known_sections(pfns):
            start, end = self.section_range(section)
            piece = set(self.subsections_of((max(pfns[0], start), min(pfns[1], end))))
            whole = set(self.subsections_of((start, end)))
            if not self.has("subsection-hotplug"):
                self.subsections -= whole
                del self.flags[section]
            elif piece <= self.subsections:
                self.subsections -= piece
                if not whole & self.subsections:
                    del self.flags[section]

    def taint(self, pfns: Range) -> None:
        """Associate a range with ZONE_DEVICE: sections that it shares at its edges are tainted."""
        if not self.has("taint-zone-device"):
            return
        for edge in pfns:
            section = self.section_of(edge)
            if edge % self.geometry.pages_per_section and self.section_flags(section) & VALID:
                self.flags[section] |= TAINT

    def set_online(self, pfns: Range) -> None:
        """Every valid section touched becomes online."""
        for section in self.known_sections(pfns):
            if self.flags[section] & VALID:
                self.flags[section] |= ONLINE

    def set_offline(self, pfns: Range) -> None:
        """The sections touched lose their online bit."""
        for section in self.known_sections(pfns):
            self.flags[section] &= ~ONLINE

    def remove_memblock(self, pfns: Range) -> None:
        """Memblock loses the range."""
        self.memblock = [left for memory in self.memblock for left in subtract(memory, [pfns])]

    def create_blocks(self, pfns: Range) -> None:
        """The blocks of a range have devices by now; new ones are offline."""
        block = self.geometry.pages_per_block
        for number in range(pfns[0] // block, pfns[1] // block):
            self.blocks.setdefault(number, False)

    def remove_blocks(self, pfns: Range) -> None:
        """The devices of the blocks in the range are gone."""
        for block in self.known_blocks(pfns):
            if contains(pfns, self.block_range(block)):
                del self.blocks[block]
