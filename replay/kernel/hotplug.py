"""add_memory and remove_memory (walk semantics 4.3 and 4.5; the order of the checks is in docs/semantics/model.md)."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass

from replay.kernel.calls import Call, Pieces, always, bug, error, fact, ok, undefined
from replay.kernel.decision import Bools, Check, KernelFunction
from replay.kernel.memremap import leave_sections_before_populated
from replay.trace.schema import AddFlags

__all__ = ("ADD_MEMORY", "REMOVE_MEMORY", "AddFacts", "AddMemory", "RemoveFacts", "RemoveMemory")

_STRUCT_PAGE_BYTES = 64
_PMD_BYTES = 2 << 20


@dataclass(frozen=True)
class AddFacts:
    """What add_memory looks at: booleans, or arrays of them.

    Attributes:
        bad_name: a driver gave a resource name that does not look like "System RAM (name)".
        beyond: the range ends beyond the physical limit.
        conflict: a resource stands in the way.
        unaligned: empty, or not whole memory blocks.
        self_hosted: the memmap is to live in the added memory, and cannot.
        populated: a subsection of the range is populated.
        env: something outside the trace made the call fail.
        block: a memory block device of the range exists.
    """

    bad_name: Bools
    beyond: Bools
    conflict: Bools
    unaligned: Bools
    self_hosted: Bools
    populated: Bools
    env: Bools
    block: Bools


ADD_MEMORY: KernelFunction[AddFacts] = KernelFunction(
    "add_memory",
    (
        Check(
            "name",
            lambda s: s.bad_name,
            error(errno.EINVAL),
            needs=("driver-managed-memory",),
            why='a driver\'s resource has to be named "System RAM (name)"',
        ),
        Check(
            "range",
            lambda s: s.beyond,
            error(errno.E2BIG),
            needs=("hotplug-prevalidates-range",),
            why="the range ends beyond the physical limit",
        ),
        Check(
            "resource-conflict", lambda s: s.conflict, error(errno.EEXIST), why="a resource claims part of the range"
        ),
        Check(
            "alignment", lambda s: s.unaligned, error(errno.EINVAL), why="the range is not made of whole memory blocks"
        ),
        Check(
            "memmap-on-memory",
            lambda s: s.self_hosted,
            error(errno.EINVAL),
            needs=("memmap-on-memory",),
            unless=("memmap-on-memory-lenient",),
            why="the memory cannot hold its own memmap",
        ),
        Check(
            "bounds",
            lambda s: s.beyond,
            error(errno.E2BIG),
            needs=("add-pages-bounds-check",),
            why="the range ends beyond the physical limit",
        ),
        Check("bounds-unchecked", lambda s: s.beyond, undefined, why="nothing checks the physical limit"),
        Check(
            "populated",
            lambda s: s.populated,
            error(errno.EEXIST),
            needs=("subsection-hotplug",),
            why="a subsection of the range is populated",
        ),
        Check("environment", lambda s: s.env, error(errno.ENOMEM), why="no memory for the memmap", imposed=True),
        Check(
            "block-exists",
            lambda s: s.block,
            error(errno.EEXIST),
            needs=("memory-block-exists",),
            why="a memory block device of the range exists",
        ),
        Check("added", always, ok, why="nothing stands against it"),
    ),
)


class AddMemory(Call):
    """Memory is plugged in: resource, sections, block devices (offline)."""

    function = ADD_MEMORY

    def begin(self) -> None:
        """Make the checks; on success insert the resource."""
        r, m = self.request, self.machine
        step = self.decide(self._facts())
        if step.id == "populated":
            leave_sections_before_populated(m, r.start, r.end)
        self.added = step.id == "added"
        if self.added:
            m.insert_ram(r.start, r.end, r.name or "System RAM", nested=self.kernel.has("ram-child-resources"))
            m.memblock.assign(r.start, r.end, 1)
            m.nodes.assign(r.start, r.end, r.node + 1)
            m.touch(r.start, r.end)
            self.pieces = Pieces([self.padded(r.start, r.end)], self.grain)

    def _facts(self) -> AddFacts:
        r, m, g = self.request, self.machine, self.machine.geometry
        low, high = r.start << g.page_shift, (r.end << g.page_shift) - 1
        driver = r.flags & AddFlags.DRIVER_MANAGED
        block = g.pages_per_block
        parent = m.resources.conflict_parent(low, high, nested=self.kernel.has("ram-child-resources"))
        return AddFacts(
            bad_name=fact(driver and not re.fullmatch(r"System RAM \(.*\)", r.name)),
            beyond=fact(r.end > g.max_pfns),
            conflict=fact(parent is None),
            unaligned=fact(r.start == r.end or r.start % block or r.end % block),
            self_hosted=fact(r.flags & AddFlags.MEMMAP_ON_MEMORY and not self._can_hold_memmap()),
            populated=fact(m.sections.first_populated(r.start, r.end) is not None),
            env=fact(r.env),
            block=fact(any(n in m.blocks for n in m.block_numbers(r.start, r.end))),
        )

    def _can_hold_memmap(self) -> bool:
        g = self.machine.geometry
        memmap_bytes = g.pages_per_block * _STRUCT_PAGE_BYTES
        pages = memmap_bytes >> g.page_shift
        return (
            self.kernel.config.memmap_on_memory
            and self.request.end - self.request.start == g.pages_per_block
            and memmap_bytes % _PMD_BYTES == 0
            and (g.pages_per_block - pages) % g.pageblock_pages == 0
        )

    def apply(self, start: int, end: int) -> None:
        """Populate the sections of a piece."""
        self.machine.sections.populate(start, end)
        self.machine.touch_sections(start, end)

    def sections(self, start: int, end: int) -> None:
        """Populate the sections of a piece; with the last of them come the block devices, which may be onlined at once."""
        super().sections(start, end)
        if self.added and not self.pieces.left:
            self._create_blocks()

    def finish(self) -> None:
        """Create the block devices, offline; raise max_pfn."""
        if self.added:
            self.machine.raise_max_pfn(self.request.end)
            self._create_blocks()

    def _create_blocks(self) -> None:
        for number in self.machine.block_numbers(self.request.start, self.request.end):
            self.machine.blocks.setdefault(number, False)


@dataclass(frozen=True)
class RemoveFacts:
    """What remove_memory looks at: booleans, or arrays of them.

    Attributes:
        unaligned: empty, or not whole memory blocks.
        online: a block of the range is online.
    """

    unaligned: Bools
    online: Bools


REMOVE_MEMORY: KernelFunction[RemoveFacts] = KernelFunction(
    "remove_memory",
    (
        Check("alignment", lambda s: s.unaligned, bug, why="the range is not made of whole memory blocks"),
        Check(
            "online",
            lambda s: s.online,
            error(errno.EBUSY),
            needs=("remove-refuses-online",),
            why="a block of the range is online",
        ),
        Check("online-bug", lambda s: s.online, bug, why="a block of the range is online, and nothing refuses it"),
        Check("removed", always, ok, why="all blocks are offline"),
    ),
)


class RemoveMemory(Call):
    """Memory is taken away: sections, memblock, devices, resource."""

    function = REMOVE_MEMORY

    def begin(self) -> None:
        """Make the checks."""
        r, m = self.request, self.machine
        block = m.geometry.pages_per_block
        online = any(m.blocks.get(n) for n in m.block_numbers(r.start, r.end))
        step = self.decide(RemoveFacts(fact(r.start == r.end or r.start % block or r.end % block), fact(online)))
        self.removed = step.id == "removed"
        if self.removed:
            self.pieces = Pieces([self.padded(r.start, r.end)], self.grain)

    def apply(self, start: int, end: int) -> None:
        """Empty the sections of a piece."""
        self.machine.sections.depopulate(start, end)
        self.machine.touch_sections(start, end)

    def finish(self) -> None:
        """Let go of memblock, devices and resources."""
        if not self.removed:
            return
        r, m = self.request, self.machine
        m.memblock.clear(r.start, r.end)
        m.nodes.clear(r.start, r.end)
        m.remove_ram(r.start, r.end)
        for number in m.block_numbers(r.start, r.end):
            m.blocks.pop(number, None)
