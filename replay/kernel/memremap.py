"""memremap_pages and memunmap_pages (walk semantics 4.6; the order of the checks is in docs/semantics/model.md)."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Any

from replay.kernel.calls import Call, Kernel, Pieces, Request, always, error, fact, ok, undefined
from replay.kernel.decision import Bools, Check, KernelFunction
from replay.machine.machine import Machine
from replay.machine.pagemaps import Pagemap
from replay.machine.resources import Region
from replay.trace.schema import SectionFlags

__all__ = (
    "MEMREMAP_PAGES",
    "MEMUNMAP_PAGES",
    "MapFacts",
    "MemremapPages",
    "MemunmapPages",
    "UnmapFacts",
    "leave_sections_before_populated",
)


@dataclass(frozen=True)
class MapFacts:
    """What memremap_pages looks at, for one range: booleans, or arrays of them.

    Attributes:
        several: the pagemap has more than one range.
        altmap: it carries an altmap.
        live_end: a live pagemap at the first or last pfn of the (padded) range.
        ram: the (padded) range touches System RAM.
        mixed: it touches System RAM and something else.
        indexed: the index has an entry in the range.
        beyond: the range ends beyond the physical limit.
        misfit: the altmap does not start with the range, or does not fit it.
        unaligned: first pfn or length not a multiple of a subsection.
        populated: a subsection of the range is populated.
        env: something outside the trace made the call fail.
    """

    several: Bools
    altmap: Bools
    live_end: Bools
    ram: Bools
    mixed: Bools
    indexed: Bools
    beyond: Bools
    misfit: Bools
    unaligned: Bools
    populated: Bools
    env: Bools


MEMREMAP_PAGES: KernelFunction[MapFacts] = KernelFunction(
    "memremap_pages",
    (
        Check(
            "ranges",
            lambda s: s.several,
            undefined,
            unless=("pgmap-ranges",),
            why="this kernel's pagemaps have one range",
        ),
        Check(
            "altmap-ranges",
            lambda s: s.several & s.altmap,
            error(errno.EINVAL),
            needs=("pgmap-ranges",),
            why="an altmap goes with one range only",
        ),
        Check(
            "live-pagemap",
            lambda s: s.live_end,
            error(errno.ENOMEM),
            why="a live pagemap covers the first or the last page",
        ),
        Check(
            "ram-only",
            lambda s: s.ram & ~s.mixed,
            ok,
            unless=("memremap-refuses-ram",),
            why="the range is System RAM: success, and nothing is done",
        ),
        Check("system-ram", lambda s: s.ram, error(errno.ENXIO), why="the range touches System RAM"),
        Check(
            "index",
            lambda s: s.indexed,
            error(errno.EEXIST),
            unless=("pgmap-xarray",),
            why="the index has an entry in the range",
        ),
        Check(
            "range",
            lambda s: s.beyond,
            error(errno.EINVAL),
            needs=("hotplug-prevalidates-range",),
            why="the range ends beyond the physical limit",
        ),
        Check(
            "range-bounds",
            lambda s: s.beyond,
            error(errno.E2BIG),
            needs=("add-pages-bounds-check",),
            why="the range ends beyond the physical limit",
        ),
        Check("range-unchecked", lambda s: s.beyond, undefined, why="nothing checks the physical limit"),
        Check(
            "altmap",
            lambda s: s.misfit,
            error(errno.EINVAL),
            why="the altmap does not start with the range, or does not fit into it",
        ),
        Check(
            "alignment",
            lambda s: s.unaligned,
            error(errno.EINVAL),
            needs=("subsection-hotplug",),
            why="first page and length have to be multiples of a subsection",
        ),
        Check(
            "populated",
            lambda s: s.populated,
            error(errno.EEXIST),
            needs=("subsection-hotplug",),
            why="a subsection of the range is populated",
        ),
        Check("environment", lambda s: s.env, error(errno.ENOMEM), why="no memory for the memmap", imposed=True),
        Check("mapped", always, ok, why="nothing stands against it"),
    ),
)

# Checks that decide before the index is stored, or of which nobody knows what they leave.
_NOT_STORED = {"ranges", "altmap-ranges", "live-pagemap", "ram-only", "system-ram", "index", "range-unchecked"}


class MemremapPages(Call):
    """A device maps ranges. Ranges are mapped one after the other; a failure takes the earlier ones away again."""

    function = MEMREMAP_PAGES

    def __init__(self, machine: Machine, kernel: Kernel, request: Request) -> None:
        super().__init__(machine, kernel, request)
        r = request
        self.pagemap = Pagemap(r.pgmap, r.ranges, r.altmap, r.pgmap_type, r.node, r.vmemmap_shift)
        self._unassociated: list[tuple[int, int]] = []
        # A pagemap that the kernel refuses is still a pagemap that pgmap_pfn_valid can be asked about.
        machine.pagemaps.by_id[request.pgmap] = self.pagemap

    def begin(self) -> None:
        """Decide range by range: the checks of a range see the earlier ones mapped."""
        ranges = self.request.ranges
        before = self.machine.sections.copy() if len(ranges) > 1 else self.machine.sections
        for i, (start, end) in enumerate(ranges):
            if i:
                self.apply(*self.padded(*ranges[i - 1]))
            step = self.decide(self._facts(start, end))
            if step.id != "mapped":
                self._fail(step, i)
                return
            self._store(start, end)
        # What mapping does to the sections belongs to the later rows of the call.
        self.machine.sections = before
        self.pieces = Pieces([self.padded(*r) for r in ranges], self.grain)
        self._unassociated = list(self.pieces.left)

    def _facts(self, start: int, end: int) -> MapFacts:
        m, g, r = self.machine, self.machine.geometry, self.request
        low, high = self.padded(start, end)
        region = m.resources.region_intersects(
            low << g.page_shift,
            (high << g.page_shift) - 1,
            busy=False,
            ram=True,
            nested=self.kernel.has("region-intersects-nested"),
        )
        unit = g.pages_per_subsection if self.kernel.config.vmemmap else g.pages_per_section
        altmap = r.altmap
        return MapFacts(
            several=fact(len(r.ranges) > 1),
            altmap=fact(altmap is not None),
            live_end=fact(m.pagemaps.live_at(low) or m.pagemaps.live_at(high - 1)),
            ram=fact(region is not Region.DISJOINT),
            mixed=fact(region is Region.MIXED),
            indexed=fact(m.pagemaps.index.overlaps(start, end)),
            beyond=fact(high > g.max_pfns),
            misfit=fact(altmap is not None and (altmap.base != low or altmap.reserve + altmap.free > high - low)),
            unaligned=fact(start % unit != 0 or (end - start) % unit != 0),
            populated=fact(m.sections.first_populated(start, end) is not None),
            env=fact(r.env != 0),
        )

    def _store(self, start: int, end: int) -> None:
        self.pagemap.gone = False
        self.machine.pagemaps.index.assign(start, end, self.request.pgmap)
        self.machine.touch(start, end)

    def _fail(self, step: Check[Any], at: int) -> None:
        """Leave what a failing range leaves: its index span erased, sections before a populated one still there."""
        start, end = self.request.ranges[at]
        if step.id not in _NOT_STORED:
            self.machine.pagemaps.index.clear(start, end)
            self.machine.touch(start, end)
        if step.id == "populated":
            leave_sections_before_populated(self.machine, start, end)
        for low, high in self.request.ranges[:at]:
            self._undo(low, high)
        self.pagemap.gone = True

    def _undo(self, start: int, end: int) -> None:
        self.machine.sections.depopulate(start, end)
        self.machine.pagemaps.index.clear(start, end)
        self.machine.touch_sections(start, end)

    def apply(self, start: int, end: int) -> None:
        """Populate the subsections of a piece."""
        self.machine.sections.populate(start, end)
        self.machine.touch_sections(start, end)

    def zone(self, start: int, end: int) -> None:
        """Taint the sections that the ranges share at their edges."""
        now = [r for r in self._unassociated if r[0] < end and start < r[1]]
        self._unassociated = [r for r in self._unassociated if r not in now]
        for low, high in now:
            self.happened("zone", low, high)
        if not self.kernel.has("taint-zone-device"):
            return
        for edge in (edge for r in now for edge in r):
            if edge % self.machine.geometry.pages_per_section:
                self.machine.sections.mark(edge, edge + 1, SectionFlags.TAINT_ZONE_DEVICE, on=True)
                self.machine.touch_sections(edge, edge + 1)

    def finish(self) -> None:
        """Raise max_pfn, where devices count."""
        counts = self.machine.geometry.arch == "x86_64" and not self.kernel.has("device-keeps-max-pfn")
        if counts and self.kernel.function(self.function).checks[self.check].id == "mapped":
            self.machine.raise_max_pfn(max(self.padded(*r)[1] for r in self.request.ranges))


@dataclass(frozen=True)
class UnmapFacts:
    """What memunmap_pages looks at: whether the pagemap is mapped."""

    mapped: Bools


MEMUNMAP_PAGES: KernelFunction[UnmapFacts] = KernelFunction(
    "memunmap_pages",
    (
        Check("unknown", lambda s: ~s.mapped, ok, why="this pagemap is not mapped in the replayed kernel"),
        Check("unmapped", lambda s: s.mapped, ok, why="the pagemap is taken away"),
    ),
)


class MemunmapPages(Call):
    """A device gives its ranges back: reference killed, sections emptied, index erased."""

    function = MEMUNMAP_PAGES

    def begin(self) -> None:
        """Kill the reference: from now on lookups do not return the pagemap."""
        self.pagemap = self.machine.pagemaps.mapped(self.request.pgmap)
        self.decide(UnmapFacts(fact(self.pagemap is not None)))
        if self.pagemap is None:
            return
        self.pagemap.dying = True
        self.pieces = Pieces([self.padded(*r) for r in self.pagemap.ranges], self.grain)
        for start, end in self.pagemap.ranges:
            self.machine.touch(start, end)

    def happened(self, phase: str, start: int, end: int) -> None:
        """Tell the hooks; the row may name nothing but the pagemap, so they are told of each of its ranges."""
        whole_call = phase in {"begin", "done"}
        for low, high in self.pagemap.ranges if whole_call and self.pagemap is not None else [(start, end)]:
            super().happened(phase, low, high)

    def apply(self, start: int, end: int) -> None:
        """Empty the sections of a piece."""
        self.machine.sections.depopulate(start, end)
        self.machine.touch_sections(start, end)

    def finish(self) -> None:
        """Erase the index over the ranges, whoever's entries are there."""
        if self.pagemap is None or self.pagemap.gone:
            return
        self.pagemap.gone = True
        for start, end in self.pagemap.ranges:
            self.machine.pagemaps.index.clear(start, end)
            self.machine.touch(start, end)


def leave_sections_before_populated(machine: Machine, start: int, end: int) -> None:
    """Populate the sections of ``[start, end)`` before the one that made an add fail: nobody takes them back."""
    section = machine.sections.first_populated(start, end)
    if section is None:
        return
    stop = max(start, section << machine.geometry.section_shift)
    machine.sections.populate(start, stop)
    machine.touch_sections(start, stop)
