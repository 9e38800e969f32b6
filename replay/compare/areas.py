"""A machine with every place that a poison call can be about: pfns that kernels find valid, online, in a pagemap, or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from replay.compare.met import Meeting
from replay.kernel.poison_state import DEFAULTS
from replay.kernel.profiles import Profile
from replay.trace.header import BootRange, MachineDescription
from replay.trace.literals import batch_of
from replay.trace.schema import EventKind, PgmapType, Phase, Zone

__all__ = ("AROUND", "Area", "Areas", "Around")

AROUND = ("valid", "online", "pgmap", "meta")
"""Attributes of poison calls that the machine around the pfn decides, not its page."""
Around = tuple[int, int, int, int]
_Row = dict[str, int]
_SECTION = 0x8000  # pages of 128 MiB
_HUGE = 512
_RAM, _RAM_SECTIONS = 0x100000, 96
_DEVICES = _RAM + (_RAM_SECTIONS + 8) * _SECTION
_META = 0x800  # pages that hold a device's own memmap


@dataclass
class Area:
    """Pfns that are alike for every kernel.

    Attributes:
        start: first pfn.
        end: pfn after the last.
        next: first pfn that is not taken.
    """

    start: int
    end: int
    next: int = 0

    def __post_init__(self) -> None:
        self.next = self.start

    def take(self, pages: int) -> int:
        """Return the first of some pages that nobody uses yet, a multiple of their number."""
        first = -(-self.next // pages) * pages
        if first + pages > self.end:
            raise ValueError(f"the area from {self.start:#x} on is full")
        self.next = first + pages
        return first


class Areas:
    """All areas, and the rows that make them.

    Attributes:
        areas: in order of their pfns.
        setup: rows, columns by name, without ``time``.
    """

    def __init__(self) -> None:
        self.areas: list[Area] = []
        self.setup: list[_Row] = []
        self._boot = [BootRange(_RAM, _RAM + _RAM_SECTIONS * _SECTION)]
        self._pgmaps = 0
        self._at = _DEVICES
        self._area(_RAM, self._boot[0].end)
        self._plain()
        for kind in (t for t in PgmapType if t not in {PgmapType.NONE, PgmapType.DEVDAX}):
            self._devices(kind)

    @property
    def machine(self) -> MachineDescription:
        """The machine before the first event."""
        return MachineDescription("x86_64", 12, 27, 46, 1 << 27, "7.2.13", memory=tuple(self._boot))

    def around(self, kernel: Profile) -> dict[Around, Area]:
        """Return, for what a kernel finds around a pfn, an area where it does."""
        meeting = Meeting(kernel, self.machine, ("System RAM",), "areas")
        meeting.feed(batch_of([{**row, "time": 0} for row in self.setup]))
        meeting.take()
        found: dict[Around, Area] = {}
        names = list(DEFAULTS)
        for area in self.areas:
            call: _Row = {"kind": EventKind.MEMORY_FAILURE, "pfn": area.start, "flags": 32, "time": 0}
            page: _Row = {"kind": EventKind.PAGE_STATE, "pfn": area.start, "page_kind": 9, "time": 0}
            meeting.feed(batch_of([page, call]))
            (state,) = meeting.take().states["memory_failure"].rows
            values: Any = [int(str(int(state[names.index(name)]))) for name in AROUND]  # type: ignore[call-overload]
            found.setdefault(tuple(values), area)
        return found

    @property
    def ram(self) -> Area:
        """Ordinary memory."""
        return self.areas[0]

    @property
    def hole(self) -> Area:
        """No memory at all."""
        return self.areas[2]

    def _section(self, count: int = 1) -> int:
        first = self._at
        self._at += (count + 1) * _SECTION  # one between, so that nothing touches
        return first

    def _area(self, start: int, end: int) -> None:
        self.areas.append(Area(start, end))

    def _plain(self) -> None:
        """Memory that is there and not online; a hole."""
        offline = self._section(8)
        self.setup.append({"kind": EventKind.ADD_MEMORY, "pfn": offline, "nr_pages": 8 * _SECTION, "label": 0})
        self._area(offline, offline + 8 * _SECTION)
        hole = self._section(8)
        self._area(hole, hole + 8 * _SECTION)

    def _devices(self, kind: PgmapType) -> None:
        alone = self._section()
        self._map(kind, alone, _SECTION, phases=())
        shared = self._section()
        half = shared + _SECTION // 2
        self._boot.append(BootRange(shared, half))
        # Between the moment the pages are there and the one at which the section is tainted.
        self._map(kind, half, _SECTION // 2, phases=(Phase.SECTIONS,))
        # The index has it, the sections do not yet.
        self._map(kind, self._section(), _SECTION, phases=(Phase.BEGIN,))
        # Kernels that do not look let the same memory be added and onlined.
        both = self._section()
        self._map(kind, both, _SECTION, phases=())
        row: _Row = {"pfn": both, "nr_pages": _SECTION}
        self.setup.append({"kind": EventKind.ADD_MEMORY, **row, "label": 0})
        self.setup.append({"kind": EventKind.MEMORY_BLOCK_ONLINE, **row, "zone": Zone.MOVABLE})

    def _map(self, kind: PgmapType, start: int, pages: int, phases: tuple[Phase, ...]) -> None:
        self._pgmaps += 1
        row: _Row = {"kind": EventKind.MEMREMAP_PAGES, "pfn": start, "nr_pages": pages, "pgmap": self._pgmaps}
        row |= {"pgmap_type": kind, "altmap_base": start, "altmap_reserve": 0, "altmap_free": _META}
        if phases:
            row |= {"phase": Phase.BEGIN, "call": self._pgmaps}
        self.setup.append(row)
        if Phase.SECTIONS in phases:
            self.setup.append({**row, "phase": Phase.SECTIONS})
        self._area(start, start + _META)
        self._area(start + _META, start + pages)
