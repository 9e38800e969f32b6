"""Address space for requests, and the rows that most of them are made of."""

from __future__ import annotations

from typing import Any

from replay.sources.synthetic.covering_script import Row
from replay.trace.header import BootRange, MachineDescription
from replay.trace.schema import EventKind, Phase

__all__ = ("BUSY_RAM", "CLAIM", "ENV", "KMEM", "RAM", "STRINGS", "Places", "changed")

STRINGS = ("System RAM", "kmem", "claim")
RAM, KMEM, CLAIM = range(3)
ENV = -4
BUSY_RAM = 3
_K = EventKind
_LOOKUPS = (EventKind.PFN_VALID, EventKind.PFN_TO_ONLINE_PAGE, EventKind.GET_DEV_PAGEMAP, EventKind.KPAGEFLAGS)


def changed(machine: MachineDescription, **changes: object) -> MachineDescription:
    """Return a machine with other values of some fields."""
    values: dict[str, Any] = {**vars(machine), **changes}
    return MachineDescription(**values)


class Places:
    """One machine, and what of it nobody uses yet.

    Args:
        machine: without memory.
        config: kernel options.

    Attributes:
        machine: with its boot memory.
        boot: that memory: over the border of two zones; half a section; an odd end; two blocks further on.
        section: pages of a section.
        block: pages of a memory block.
        sub: pages of a subsection.
        limit: first pfn beyond the section table.
        next: first pfn that nobody uses.
        pgmaps: ids given to pagemaps.
    """

    def __init__(self, machine: MachineDescription, config: dict[str, bool]) -> None:
        self.section = 1 << machine.section_size_bits - machine.page_shift
        self.block = machine.memory_block_bytes >> machine.page_shift
        self.sub = 1 << 21 - machine.page_shift
        self.limit = 1 << machine.max_physmem_bits - machine.page_shift
        section = self.section
        start = -(-0x100000 // self.block) * self.block  # where x86 has the border of its zones
        boot = [
            BootRange(start - self.block, start + self.block),
            BootRange(start + 3 * self.block, start + 3 * self.block + section // 2),
            BootRange(start + 5 * self.block, start + 5 * self.block + section // 4 + 3 * self.sub + 5, 2),
            BootRange(start + 7 * self.block, start + 8 * self.block),
        ]
        if machine.arch == "aarch64":
            boot.append(BootRange(start + 9 * self.block, start + 9 * self.block + section // 2, 0, True))
            boot.append(BootRange(start + 9 * self.block + section // 2, start + 10 * self.block))
        self.boot = boot
        self.machine = changed(machine, memory=tuple(boot), config=config)
        self.next = start + 16 * self.block
        self.pgmaps = self._calls = 0

    def place(self, blocks: int = 2) -> int:
        """Return the first pfn of address space that nobody uses, at the start of a block."""
        first = self.next
        self.next += (blocks + 1) * self.block
        return first

    def map(self, pfn: int, pages: int, **more: int) -> Row:
        """Return the row that maps a device, with a pagemap of its own."""
        self.pgmaps += 1
        return {
            "kind": _K.MEMREMAP_PAGES,
            "pfn": pfn,
            "nr_pages": pages,
            "pgmap": self.pgmaps,
            "pgmap_type": 4,
            **more,
        }

    def begun(self, row: Row) -> Row:
        """Return the row as the beginning of a call that goes on."""
        self._calls += 1
        return {**row, "phase": Phase.BEGIN, "call": self._calls}

    @staticmethod
    def range(kind: EventKind, pfn: int, pages: int, **more: int) -> Row:
        """Return a row about a range of pfns."""
        return {"kind": kind, "pfn": pfn, "nr_pages": pages, **more}

    def claim(self, pfn: int, pages: int, flags: int = 1) -> Row:
        """Return the row that claims a range of the resource tree."""
        shift = self.machine.page_shift
        row: Row = {"kind": _K.RESOURCE_INSERT, "start": pfn << shift, "size": pages << shift}
        return row | {"label": CLAIM, "flags": flags}

    def unclaim(self, claim: Row) -> Row:
        """Return the row that takes a claim back."""
        return {"kind": _K.RESOURCE_REMOVE, "start": claim["start"], "size": claim["size"]}

    def look(self, *pfns: int) -> list[Row]:
        """Return every lookup of some pfns."""
        return [{"kind": kind, "pfn": pfn} for pfn in pfns for kind in _LOOKUPS]
