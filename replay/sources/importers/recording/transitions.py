"""Calls that change the machine -> rows, each at the earliest event by which its part of the change had happened.

Most changes are not traced themselves: a change lies between two events that are. Its row stands at the later one and
remembers the earlier one, so that lookups made in between can be told from those whose order is certain.
"""

from __future__ import annotations

from dataclasses import dataclass

from replay.errors import InputError
from replay.trace.schema import AddFlags, EventKind, Phase

from .boot import Boot
from .calls import Call, Calls, Point, Tasks
from .ftrace import Events
from .pagemaps import Pagemaps, pagemap_type
from .rows import Effect, Later, Order, Row, Strings

__all__ = ("ALTMAP_VALID", "OWNERS", "PIECES", "TransitionReader", "errno_of", "owner_kind", "pagemap_ranges")

ADD_FUNCTIONS = ("add_memory_driver_managed", "__add_memory", "add_memory_resource")
OWNERS: dict[str, EventKind] = {
    "memory_failure": EventKind.MEMORY_FAILURE,
    "soft_offline_page": EventKind.SOFT_OFFLINE_PAGE,
    "unpoison_memory": EventKind.UNPOISON_MEMORY,
    "memremap_pages": EventKind.MEMREMAP_PAGES,
    "memunmap_pages": EventKind.MEMUNMAP_PAGES,
    **dict.fromkeys(ADD_FUNCTIONS, EventKind.ADD_MEMORY),
    "try_remove_memory": EventKind.REMOVE_MEMORY,
    "online_pages": EventKind.ONLINE_PAGES,
    "offline_pages": EventKind.OFFLINE_PAGES,
}
# Functions that do a part of a transition, and the transitions they can be a part of.
PIECES: dict[str, frozenset[EventKind]] = {
    "arch_add_memory": frozenset({EventKind.ADD_MEMORY, EventKind.MEMREMAP_PAGES}),
    "__add_pages": frozenset({EventKind.ADD_MEMORY, EventKind.MEMREMAP_PAGES}),
    "sparse_add_section": frozenset({EventKind.ADD_MEMORY, EventKind.MEMREMAP_PAGES}),
    "section_deactivate": frozenset({EventKind.REMOVE_MEMORY, EventKind.MEMUNMAP_PAGES}),
    "online_mem_sections": frozenset({EventKind.ONLINE_PAGES}),
    "offline_mem_sections": frozenset({EventKind.OFFLINE_PAGES}),
}
ALTMAP_VALID = 1
_MHP_MEMMAP_ON_MEMORY = 2  # of the flags of add_memory, since v5.14; no other flag had the bit before
_RANGES = 4  # of a pagemap that the probe fetches
_EINTR, _EAGAIN, _ENOMEM, _EBUSY = -4, -11, -12, -16
# Return codes whose cause is outside of the trace: a signal, no memory, a page that would not move.
_ENV: dict[EventKind, frozenset[int]] = {
    EventKind.ADD_MEMORY: frozenset({_EINTR, _EAGAIN, _ENOMEM}),
    EventKind.ONLINE_PAGES: frozenset({_EINTR, _EAGAIN, _ENOMEM}),
    EventKind.OFFLINE_PAGES: frozenset({_EINTR, _EAGAIN, _ENOMEM, _EBUSY}),
    EventKind.MEMREMAP_PAGES: frozenset({_EINTR, _EAGAIN, _ENOMEM}),
}
_LABELS = {"add_memory_driver_managed": "System RAM (kmem)"}


def owner_kind(call: Call) -> EventKind | None:
    """Return the kind of row a call becomes, or None when it only is a part of another call."""
    if call.name in ADD_FUNCTIONS and call.inside(*ADD_FUNCTIONS):
        return None
    if call.name == "memunmap_pages" and call.inside("memremap_pages"):
        return None  # how a failing memremap_pages cleans up
    return OWNERS.get(call.name)


def errno_of(value: int) -> int:
    """Return 0 for a pointer, the negative errno for an error pointer."""
    return value - (1 << 64) if value >= (1 << 64) - 4095 else 0


def pagemap_ranges(call: Call, page_shift: int) -> list[tuple[int, int]]:
    """Return pfn and number of pages of each range of the pagemap of a memremap_pages that the probe fetched."""
    names = ["range", *(f"range{k}" for k in range(1, min(call.given["nr_range"], _RANGES)))]
    fetched = [(call.given.get(f"{name}_start"), call.given.get(f"{name}_end")) for name in names]
    ranges = [(low >> page_shift, high >> page_shift) for low, high in fetched if low is not None and high is not None]
    return [(low, high + 1 - low) for low, high in ranges]


@dataclass
class _Piece:
    phase: Phase
    pfn: int
    nr_pages: int
    since: int
    at: int


class TransitionReader:
    """Turns the transitions of one trace into rows.

    Args:
        events: the trace.
        tasks: order of events within each task.
        calls: all calls.
        ids: per entry event of an owning call, its id.
        pagemaps: ids of pagemaps.
        direct: see ``LookupReader.direct``.
        boot: the machine.
        armed: names of the probes that were armed.
        strings: takes labels.
        lossy: events were lost, and the caller accepts that: a part without its call is dropped, not refused.
        warn: takes what had to be assumed.
    """

    def __init__(
        self, events: Events, tasks: Tasks, calls: Calls, ids: dict[int, int], pagemaps: Pagemaps,
        direct: dict[int, list[tuple[int, int]]], boot: Boot, armed: frozenset[str], strings: Strings,
        *, lossy: bool, warn: list[str],
    ) -> None:  # fmt: skip
        self._events, self._tasks, self._calls, self._ids = events, tasks, calls, ids
        self._pagemaps, self._direct, self._boot, self._armed = pagemaps, direct, boot, armed
        self._strings, self._lossy, self._warn = strings, lossy, warn
        self._shift = boot.machine.page_shift
        self._pieces: dict[int, list[_Piece]] = {}
        self._ranges = {  # of every pagemap; memunmap_pages tells the first only
            pagemaps.id_of[call.begin]: pagemap_ranges(call, self._shift)
            for call in calls.calls
            if call.name == "memremap_pages"
        }

    def read(self) -> list[Row]:
        """Return the rows of all transitions.

        Raises:
            InputError: a part of a transition was made by a caller that is not traced, or a pagemap has several ranges.
        """
        for call in self._calls.calls:
            if call.name in PIECES:
                self._add_call_piece(call)
        for point in self._calls.points:
            self._add_point_piece(point)
        rows: list[Row] = []
        for call in self._calls.calls:
            kind = owner_kind(call)
            if kind is not None and kind < EventKind.PAGE_STATE:
                rows += self._rows(call, kind)
        return rows

    def _owner(self, item: Call | Point) -> Call | None:
        call = item.parent
        while call is not None and call.begin not in self._ids:
            call = call.parent
        return call

    def _parent(self, item: Call | Point, at: int) -> Call | None:
        owner = self._owner(item)
        if owner is None or owner_kind(owner) not in PIECES[item.name]:
            if self._lossy:
                self._warn.append(f"{self._events.at(at)}: {item.name} without its caller was dropped")
                return None
            names = sorted(name for name, kind in OWNERS.items() if kind in PIECES[item.name])
            raise InputError(
                self._events.at(at), f"{item.name} in {owner.name if owner else 'no traced call'}",
                f"it in one of {', '.join(names)}",
                "a caller that is not probed changed the machine, and what else it did is not known",
            )  # fmt: skip
        return owner

    def _add_call_piece(self, call: Call) -> None:
        owner = self._parent(call, call.begin)
        if owner is None:
            return
        by = "sparse_add_section" if "sparse_add_section" in self._armed else "__add_pages"
        if call.name == by and call.ret == 0:
            piece = _Piece(Phase.SECTIONS, call.given["pfn"], call.given["nr_pages"], call.begin, call.end)
            self._pieces.setdefault(owner.begin, []).append(piece)

    def _add_point_piece(self, point: Point) -> None:
        given, phase = point.given, Phase.SECTIONS
        if point.name == "move_pfn_range_to_zone":
            owner = self._owner(point)
            if owner is None or owner.name != "memremap_pages":
                return  # RAM: associating it with a zone changes nothing that a lookup could see
            phase = Phase.ZONE
        elif point.name not in PIECES or (point.parent and point.parent.name in ("sparse_add_section", "__add_pages")):
            return  # no part of a transition, or how a failing add cleans up a section that was never there
        else:
            owner = self._parent(point, point.at)
        if owner is not None:
            low = given["pfn"] if "pfn" in given else given["start_pfn"]
            pages = given["nr_pages"] if "nr_pages" in given else given["end_pfn"] - low
            piece = _Piece(phase, low, pages, point.at, self._tasks.next(point.at))
            self._pieces.setdefault(owner.begin, []).append(piece)

    def _rows(self, call: Call, kind: EventKind) -> list[Row]:
        values, errno = self._arguments(call, kind)
        pfn, nr_pages = values["pfn"], values["nr_pages"]
        more = self._ranges.get(values["pgmap"], [])[1:] if "pgmap" in values else []
        low, high = min([pfn, *(at for at, _ in more)]), max([pfn + nr_pages, *(at + size for at, size in more)])
        nr_pages += sum(size for _, size in more)
        made = kind == EventKind.MEMREMAP_PAGES
        common = {"call": self._ids[call.begin], "task": call.pid}
        begin = Row(call.begin, Order.EVENT, kind, {**values, **common, "phase": Phase.BEGIN})
        if "pgmap" in values:
            since = self._checked(call) if made else call.begin
            later = tuple(self._later(call, number, *where) for number, where in enumerate(more, 1)) if made else ()
            begin.at, begin.order = self._tasks.next(since), Order.EFFECT
            whole = (low, high) if not made else (pfn, pfn + values["nr_pages"])
            begin.effect = Effect(since, *whole, sections=False, later=later)
        rows = [
            Row(begin.at, begin.order, EventKind.PGMAP_RANGE, {"pfn": at, "nr_pages": size, "pgmap": values["pgmap"]})
            for at, size in (more if made else ())
        ]
        rows.append(begin)
        covered, zoned = 0, not made
        for piece in self._pieces.get(call.begin, ()):
            where = {"pfn": piece.pfn, "nr_pages": piece.nr_pages, "phase": piece.phase}
            effect = self._on_sections(piece.since, piece.pfn, piece.pfn + piece.nr_pages)
            rows.append(Row(piece.at, Order.EFFECT, kind, {**where, **common}, effect))
            covered += piece.nr_pages if piece.phase == Phase.SECTIONS else 0
            zoned |= piece.phase == Phase.ZONE
        if call.returned:
            done = Row(call.end, Order.DONE, kind, {**common, "phase": Phase.DONE})
            if errno == 0 and (covered < nr_pages or not zoned):  # a part was not traced: it happened by now
                done.effect = self._on_sections(call.begin, low, high)
            rows.append(done)
        return rows

    def _on_sections(self, since: int, low: int, high: int) -> Effect:
        pages = self._boot.section_pages
        return Effect(since, low // pages * pages, -(-high // pages) * pages, sections=True)

    def _checked(self, call: Call) -> int:
        """Return the event after which memremap_pages stores its index: its second get_dev_pagemap has returned."""
        asked = [end for _, end in self._direct.get(call.begin, ())[:2]]
        return min(max([call.begin, *asked]), len(self._events) - 1)

    def _later(self, call: Call, number: int, pfn: int, nr_pages: int) -> Later:
        """Return when the index of a further range was stored: it is asked about and stored when the last one is done."""
        asked = [end for _, end in self._direct.get(call.begin, ())[2 * number : 2 * number + 2]]
        since = min(max([call.begin, *asked]), len(self._events) - 1)
        return Later(since, self._tasks.next(since) if len(asked) == 2 else call.end, pfn, pfn + nr_pages)

    def _arguments(self, call: Call, kind: EventKind) -> tuple[dict[str, int], int]:
        """Return the columns of the BEGIN row, and the errno that the call returned (0: it succeeded)."""
        given = call.given
        values: dict[str, int] = {}
        if kind in (EventKind.ONLINE_PAGES, EventKind.OFFLINE_PAGES):
            values = {"pfn": given["pfn"], "nr_pages": given["nr_pages"]}
        elif kind in (EventKind.ADD_MEMORY, EventKind.REMOVE_MEMORY):
            size = given["size"] if "size" in given else given["end"] + 1 - given["start"]
            values = self._pages(call, given["start"], size)
            if kind == EventKind.ADD_MEMORY:
                values["node"] = given["nid"]
                values["flags"] = AddFlags.DRIVER_MANAGED if call.name == ADD_FUNCTIONS[0] else 0
                values["flags"] |= AddFlags.MEMMAP_ON_MEMORY if given.get("mhp_flags", 0) & _MHP_MEMMAP_ON_MEMORY else 0
                values["label"] = self._strings.label(_LABELS.get(call.name, "System RAM"))
        else:
            low, high = given["range_start"] >> self._shift, given["range_end"] >> self._shift
            values = {"pfn": low, "nr_pages": high - low + 1}
            values |= self._pagemap(call) if kind == EventKind.MEMREMAP_PAGES else {
                "pgmap": self._pagemaps.id(given["pgmap"], call.begin)
            }  # fmt: skip
        if call.ret is None:
            return values, 0
        values["recorded_ret"] = errno_of(call.ret) if kind == EventKind.MEMREMAP_PAGES else call.ret
        if values["recorded_ret"] in _ENV.get(kind, ()) and not self._refused(call):
            values["env"] = values["recorded_ret"]
        return values, values["recorded_ret"]

    def _refused(self, call: Call) -> bool:
        """Return whether a get_dev_pagemap of memremap_pages found something: that is a reason inside of the trace."""
        return any(
            end < len(self._events) and not self._events.text(end).endswith(" pgmap=0x0")
            for _, end in self._direct.get(call.begin, ())[:2]
        ) and call.name == "memremap_pages"  # fmt: skip

    def _pages(self, call: Call, start: int, size: int) -> dict[str, int]:
        if size <= 0 or (start | size) & ((1 << self._shift) - 1):
            raise InputError(
                self._events.at(call.begin), f"{call.name} of {size:#x} bytes at {start:#x}", "whole pages, one or more"
            )
        return {"pfn": start >> self._shift, "nr_pages": size >> self._shift}

    def _pagemap(self, call: Call) -> dict[str, int]:
        given, where = call.given, self._events.at(call.begin)
        fetched = next(k for k in range(1, _RANGES + 1) if f"range{k}_end" not in given or k == _RANGES)
        if not 1 <= given["nr_range"] <= fetched or given["range_end"] < given["range_start"]:
            raise InputError(
                where, f"a pagemap of {given['nr_range']} ranges", f"one to {fetched}, as many as the probe fetches",
                "what else was mapped is not known; capture.sh fetches up to four",
            )  # fmt: skip
        values = {
            "pgmap": self._pagemaps.id_of[call.begin],
            "pgmap_type": pagemap_type(self._boot.machine.kernel, given["type"], where),
            "node": given["nid"],
        }
        if given["flags"] & ALTMAP_VALID:
            for name, key in (("base", "base_pfn"), ("reserve", "reserve"), ("free", "free")):
                if f"altmap_{key}" not in given:
                    raise InputError(where, "a pagemap with an altmap", f"a field altmap_{key}=")
                values[f"altmap_{name}"] = given[f"altmap_{key}"]
        return values
