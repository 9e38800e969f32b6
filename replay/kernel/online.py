"""online_pages, offline_pages and the block device layer around them (walk semantics 4.4, docs/semantics/model.md)."""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace

from replay.kernel.calls import Call, Pieces, always, error, fact, ok
from replay.kernel.decision import Answer, Bools, Check, KernelFunction
from replay.machine.geometry import zone_bounds
from replay.trace.schema import SectionFlags

__all__ = (
    "MEMORY_BLOCK_OFFLINE",
    "MEMORY_BLOCK_ONLINE",
    "OFFLINE_PAGES",
    "ONLINE_PAGES",
    "BlockFacts",
    "MemoryBlockOffline",
    "MemoryBlockOnline",
    "OfflinePages",
    "OnlinePages",
)


@dataclass(frozen=True)
class BlockFacts:
    """What onlining and offlining look at: booleans, or arrays of them.

    Attributes:
        state: the block has no device, or is in the wanted state already (block layer only).
        sections: a section is not present or valid, or online already (offline: not present).
        poisoned: a page of the range is poisoned.
        unaligned_section: empty, or not whole sections.
        unaligned_pageblock: empty, start not a whole pageblock, or end not a whole section.
        odd_pageblock: start or length not whole pageblocks.
        no_ram: no System RAM is visited in the range.
        holes: fewer System RAM pages than pages.
        zones: the range lies in more than one zone.
        past_zone: the range ends beyond the last System RAM page.
        env: something outside the trace made the call fail.
    """

    state: Bools
    sections: Bools
    poisoned: Bools
    unaligned_section: Bools
    unaligned_pageblock: Bools
    odd_pageblock: Bools
    no_ram: Bools
    holes: Bools
    zones: Bools
    past_zone: Bools
    env: Bools


_EINVAL = error(errno.EINVAL)
_STATE: Check[BlockFacts] = Check(
    "state", lambda s: s.state, _EINVAL, why="no such block device, or it is in that state already"
)
_ALIGNMENT: tuple[Check[BlockFacts], ...] = (
    Check(
        "alignment",
        lambda s: s.unaligned_section,
        _EINVAL,
        needs=("online-section-aligned",),
        unless=("online-pageblock-start",),
        why="the range is not made of whole sections",
    ),
    Check(
        "alignment-pageblock",
        lambda s: s.unaligned_pageblock,
        _EINVAL,
        needs=("online-section-aligned", "online-pageblock-start"),
        why="the start is not a whole pageblock, or the end not a whole section",
    ),
)

_ONLINE: tuple[Check[BlockFacts], ...] = (
    *_ALIGNMENT,
    Check(
        "no-ram",
        lambda s: s.no_ram,
        _EINVAL,
        needs=("online-walks-ram", "walk-ram-error-codes"),
        why="no System RAM in the range",
    ),
    Check(
        "no-ram-minus-one",
        lambda s: s.no_ram,
        Answer("-1", -1),
        needs=("online-walks-ram",),
        unless=("walk-ram-error-codes",),
        why="no System RAM in the range",
    ),
    Check(
        "environment",
        lambda s: s.env,
        error(errno.EBUSY),
        why="something outside the trace refused (a notifier, no memory)",
        imposed=True,
    ),
    Check("onlined", always, ok, why="nothing stands against it"),
)

_OFFLINE: tuple[Check[BlockFacts], ...] = (
    Check(
        "pageblock",
        lambda s: s.odd_pageblock,
        _EINVAL,
        needs=("offline-pageblock-check",),
        why="start or length are not whole pageblocks",
    ),
    *_ALIGNMENT,
    Check(
        "holes",
        lambda s: s.holes,
        _EINVAL,
        needs=("offline-refuses-holes",),
        why="the range is not System RAM all over",
    ),
    Check("zones", lambda s: s.zones, _EINVAL, why="the range lies in more than one zone"),
    Check(
        "zone-span",
        lambda s: s.past_zone,
        _EINVAL,
        needs=("offline-zone-span-check",),
        why="the range ends beyond the zone",
    ),
    Check(
        "environment",
        lambda s: s.env,
        error(errno.EBUSY),
        why="something outside the trace refused (an unmovable page, a pending signal, a notifier)",
        imposed=True,
    ),
    Check("offlined", always, ok, why="nothing stands against it"),
)

ONLINE_PAGES: KernelFunction[BlockFacts] = KernelFunction("online_pages", _ONLINE)
OFFLINE_PAGES: KernelFunction[BlockFacts] = KernelFunction("offline_pages", _OFFLINE)
MEMORY_BLOCK_ONLINE: KernelFunction[BlockFacts] = KernelFunction(
    "memory_block_online",
    (
        _STATE,
        Check(
            "sections",
            lambda s: s.sections,
            error(errno.EBUSY),
            needs=("block-online-section-checks",),
            why="a section is not present or valid, or online already",
        ),
        Check(
            "poisoned",
            lambda s: s.poisoned,
            Answer("-EHWPOISON", -133),
            needs=("online-refuses-poison",),
            why="a page of the block is poisoned",
        ),
        *_ONLINE,
    ),
)
MEMORY_BLOCK_OFFLINE: KernelFunction[BlockFacts] = KernelFunction(
    "memory_block_offline",
    (
        _STATE,
        Check(
            "sections",
            lambda s: s.sections,
            _EINVAL,
            needs=("block-online-section-checks",),
            why="a section is not present",
        ),
        *_OFFLINE,
    ),
)


_PRESENT, _ONLINE_BIT = int(SectionFlags.PRESENT), int(SectionFlags.ONLINE)
_VALID = _PRESENT | int(SectionFlags.HAS_MEM_MAP)


class _StateChange(Call):
    """What onlining and offlining share."""

    toggles = True
    online: bool

    def begin(self) -> None:
        """Make the checks."""
        step = self.decide(self.facts())
        self.accepted = step.id in {"onlined", "offlined"}
        if self.accepted:
            r, pages = self.request, self.machine.geometry.pages_per_section
            self.pieces = Pieces([(r.start, r.end)], pages)

    def facts(self) -> BlockFacts:
        """Return the facts of the range; the block layer's own are never true here."""
        r, m, g = self.request, self.machine, self.machine.geometry
        section, pageblock = g.pages_per_section, g.pageblock_pages
        ram = m.resources.ram_ranges(r.start, r.end, g.page_shift, children=self.kernel.has("walk-ram-children"))
        empty = r.start == r.end
        borders = any(r.start < bound < r.end for bound in zone_bounds(g))
        return BlockFacts(
            state=fact(False),
            sections=fact(False),
            poisoned=fact(m.pages.any_poisoned(r.start, r.end)),
            unaligned_section=fact(empty or r.start % section or r.end % section),
            unaligned_pageblock=fact(empty or r.start % pageblock or r.end % section),
            odd_pageblock=fact(r.start % pageblock or r.end % pageblock),
            no_ram=fact(not ram),
            holes=fact(sum(high - low for low, high in ram) != r.end - r.start),
            zones=fact(borders or m.pagemaps.index.overlaps(r.start, r.end)),
            past_zone=fact(r.end > m.ram.end),
            env=fact(r.env),
        )

    def apply(self, start: int, end: int) -> None:
        """Set or clear the online bit of the sections of a piece."""
        self.machine.sections.mark(start, end, SectionFlags.ONLINE, on=self.online)
        self.machine.touch_sections(start, end)

    def finish(self) -> None:
        """Give the block devices their new state."""
        if not self.accepted:
            return
        m, pages = self.machine, self.machine.geometry.pages_per_block
        for number in m.block_numbers(self.request.start, self.request.end):
            # Leading pages may hold the block's own memmap and are then not part of the call.
            if (number + 1) * pages <= self.request.end and number in m.blocks:
                m.blocks[number] = self.online


class OnlinePages(_StateChange):
    """Pages are handed to the allocator."""

    function = ONLINE_PAGES
    online = True


class OfflinePages(_StateChange):
    """Pages are taken from the allocator."""

    function = OFFLINE_PAGES
    online = False


class _BlockChange(_StateChange):
    def facts(self) -> BlockFacts:
        """Return the facts of the range and of the block device."""
        r, m = self.request, self.machine
        states = {m.blocks.get(n) for n in m.block_numbers(r.start, r.end)}
        present = _VALID if self.online else _PRESENT
        bad = not m.sections.all_have(r.start, r.end, present)
        bad |= self.online and m.sections.any_has(r.start, r.end, _ONLINE_BIT)
        wrong = None in states or self.online in states
        return replace(super().facts(), state=fact(wrong), sections=fact(bad))


class MemoryBlockOnline(_BlockChange):
    """A write of "online" to a memory block's state."""

    function = MEMORY_BLOCK_ONLINE
    online = True


class MemoryBlockOffline(_BlockChange):
    """A write of "offline" to a memory block's state."""

    function = MEMORY_BLOCK_OFFLINE
    online = False
