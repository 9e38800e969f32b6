"""Traces of lookups, transitions and queries on every kind of machine: candidates for what a kernel might do otherwise.

Requests are made from every combination of what can be wrong with them, each in address space of its own; which of them are
needed is found out by replaying them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

from replay.sources.synthetic.covering_script import Row, Script, Unit
from replay.trace.header import BootRange, MachineDescription
from replay.trace.poison import PageFlag, PageKind
from replay.trace.schema import AddFlags, EventKind, Phase, Zone

__all__ = ("walk_scripts",)

_STRINGS = ("System RAM", "kmem", "claim")
_RAM, _KMEM, _CLAIM = range(3)
_ENV = -4
_BUSY_RAM = 3
_K = EventKind
_PIECES = (EventKind.PFN_VALID, EventKind.PFN_TO_ONLINE_PAGE, EventKind.GET_DEV_PAGEMAP, EventKind.KPAGEFLAGS)


def walk_scripts() -> list[Script]:
    """Return one script for each configuration of a machine."""
    x86 = MachineDescription("x86_64", 12, 27, 46, 1 << 27, "7.2.13")
    arm = MachineDescription("aarch64", 12, 27, 48, 1 << 27, "7.2.13")
    machines = {
        "x86_64": (x86, "x86_64 as distributions build it", {}),
        "x86_64-blocks": (
            _with(x86, memory_block_bytes=1 << 28),
            "x86_64, memory blocks of two sections",
            {"memmap_on_memory": True},
        ),
        "x86_64-no-hotplug": (x86, "without MEMORY_HOTPLUG", {"MEMORY_HOTPLUG": False}),
        "x86_64-no-vmemmap": (x86, "without SPARSEMEM_VMEMMAP", {"SPARSEMEM_VMEMMAP": False}),
        "x86_64-holes": (x86, "zones with holes", {"HOLES_IN_ZONE": True}),
        "arm64": (arm, "arm64, sections of 128 MiB (v5.12 and later)", {}),
        "arm64-large-sections": (
            _with(arm, section_size_bits=30, memory_block_bytes=1 << 30, kernel="5.10.223"),
            "arm64, sections of 1 GiB (until v5.11)",
            {},
        ),
        "arm64-no-hotplug": (
            _with(arm, section_size_bits=30, memory_block_bytes=1 << 30, kernel="5.10.223"),
            "arm64, sections of 1 GiB, without MEMORY_HOTPLUG",
            {"MEMORY_HOTPLUG": False},
        ),
    }
    return [_Walk(machine, config).script(name, about) for name, (machine, about, config) in machines.items()]


def _with(machine: MachineDescription, **changes: object) -> MachineDescription:
    return MachineDescription(**{**vars(machine), **changes})  # type: ignore[arg-type]


class _Walk:
    """Candidates on one machine.

    Args:
        machine: without memory.
        config: kernel options.
    """

    def __init__(self, machine: MachineDescription, config: dict[str, bool]) -> None:
        self._section = 1 << machine.section_size_bits - machine.page_shift
        self._block = machine.memory_block_bytes >> machine.page_shift
        self._sub = 1 << 21 - machine.page_shift
        self._limit = 1 << machine.max_physmem_bits - machine.page_shift
        section = self._section
        start = -(-0x100000 // self._block) * self._block  # where x86 has the border of its zones
        self._dma32 = start
        boot = [
            BootRange(start - self._block, start + self._block),
            BootRange(start + 3 * self._block, start + 3 * self._block + section // 2),
            BootRange(start + 5 * self._block, start + 5 * self._block + section // 4 + 3 * self._sub + 5, 2),
            BootRange(start + 7 * self._block, start + 8 * self._block),
        ]
        if machine.arch == "aarch64":
            boot.append(BootRange(start + 9 * self._block, start + 9 * self._block + section // 2, 0, True))
            boot.append(BootRange(start + 9 * self._block + section // 2, start + 10 * self._block))
        self._boot = boot
        self._machine = _with(machine, memory=tuple(boot), config=config)
        self._at = start + 16 * self._block
        self._pgmaps = self._calls = 0
        self._units: list[Unit] = []

    def script(self, name: str, about: str) -> Script:
        """Return all candidates."""
        self._lookups()
        requests: tuple[Callable[[], Iterator[list[Row]]], ...] = ()
        if self._machine.config == {}:
            requests = (self._adds, self._removes, self._maps, self._unmaps, self._resources, self._queries)
        elif "memmap_on_memory" in self._machine.config:
            requests = (self._adds, self._blocks)
        for units in requests if self._machine.arch == "x86_64" else ():
            self._units += [Unit(tuple(rows)) for rows in units()]
        return Script(f"covering-{name}", self._machine, _STRINGS, tuple(self._units), about)

    # Places.

    def _place(self, blocks: int = 2) -> int:
        """Return the first pfn of address space that nobody uses, at the start of a block."""
        first = self._at
        self._at += (blocks + 1) * self._block
        return first

    def _map(self, pfn: int, pages: int, **more: int) -> Row:
        self._pgmaps += 1
        return {
            "kind": _K.MEMREMAP_PAGES,
            "pfn": pfn,
            "nr_pages": pages,
            "pgmap": self._pgmaps,
            "pgmap_type": 4,
            **more,
        }

    def _begun(self, row: Row) -> Row:
        """Return the row as the beginning of a call that goes on."""
        self._calls += 1
        return {**row, "phase": Phase.BEGIN, "call": self._calls}

    @staticmethod
    def _range(kind: EventKind, pfn: int, pages: int, **more: int) -> Row:
        return {"kind": kind, "pfn": pfn, "nr_pages": pages, **more}

    def _claim(self, pfn: int, pages: int, flags: int = 1) -> Row:
        shift = self._machine.page_shift
        row: Row = {"kind": _K.RESOURCE_INSERT, "start": pfn << shift, "size": pages << shift}
        return row | {"label": _CLAIM, "flags": flags}

    def _unclaim(self, claim: Row) -> Row:
        """Return the row that takes a claim back."""
        return {"kind": _K.RESOURCE_REMOVE, "start": claim["start"], "size": claim["size"]}

    # Lookups.

    def _look(self, *pfns: int) -> list[Row]:
        return [{"kind": kind, "pfn": pfn} for pfn in pfns for kind in _PIECES]

    def _metadata(self, row: Row, *pfns: int) -> list[Row]:
        return [{"kind": _K.PGMAP_PFN_VALID, "pfn": pfn, "pgmap": row["pgmap"]} for pfn in pfns]

    def _unit(self, *rows: Row) -> None:
        self._units.append(Unit(rows))

    def _lookups(self) -> None:
        """Pfns of boot memory, beyond it, and of everything that comes and goes."""
        high = (1 << 64 - self._machine.page_shift) - 3
        edges = [r.start for r in self._boot] + [r.end - 1 for r in self._boot] + [r.end for r in self._boot]
        edges += [r.end + self._sub for r in self._boot] + [0, self._limit - 1, self._limit, high, self._at]
        edges += [1 << 63 - self._machine.page_shift, (1 << 64) - 2]
        for pfn in edges:
            for row in self._look(pfn):
                self._unit(row)
        for pfn in (self._boot[0].start, self._boot[3].start):
            self._unit(self._range(_K.OFFLINE_PAGES, pfn, self._section), *self._look(pfn + 1),
                       self._range(_K.ONLINE_PAGES, pfn, self._section, zone=Zone.NORMAL), *self._look(pfn + 1))  # fmt: skip
        self._added_lookups()
        for shared in (False, True):
            for before in product((False, True), repeat=3):
                self._device_lookups(*before, shared=shared)

    def _added_lookups(self) -> None:
        """Memory that comes in steps, goes online and offline, and goes away in steps."""
        pfn, size = self._place(), self._block
        add = self._begun(self._range(_K.ADD_MEMORY, pfn, size, label=_RAM))
        inside = (pfn, pfn + self._sub, pfn + self._section - 1)
        rows = [
            add,
            *self._look(*inside),
            self._range(_K.ADD_MEMORY, pfn, self._sub, phase=Phase.SECTIONS, call=add["call"]),
        ]
        rows += [
            *self._look(*inside),
            {"kind": _K.ADD_MEMORY, "phase": Phase.DONE, "call": add["call"], "pfn": pfn, "nr_pages": size},
        ]
        rows += [*self._look(*inside), self._range(_K.ONLINE_PAGES, pfn, size, zone=Zone.MOVABLE), *self._look(*inside)]
        rows += [self._range(_K.OFFLINE_PAGES, pfn, size), *self._look(*inside)]
        gone = self._begun(self._range(_K.REMOVE_MEMORY, pfn, size))
        half = self._range(_K.REMOVE_MEMORY, pfn, self._sub, phase=Phase.SECTIONS, call=gone["call"])
        rows += [gone, half, *self._look(*inside)]
        rows += [self._range(_K.REMOVE_MEMORY, pfn, size, phase=Phase.DONE, call=gone["call"]), *self._look(*inside)]
        self._unit(*rows)
        # Added, and then the block onlined before all of it is populated.
        pfn = self._place()
        add = self._begun(self._range(_K.ADD_MEMORY, pfn, size, label=_RAM))
        part = self._range(_K.ADD_MEMORY, pfn, self._sub, phase=Phase.SECTIONS, call=add["call"])
        online = self._range(_K.ONLINE_PAGES, pfn, size, zone=Zone.NORMAL)
        self._unit(add, part, online, *self._look(pfn, pfn + self._sub, pfn + size - 1))

    def _device_lookups(self, online: bool, tainted: bool, partly: bool, *, shared: bool) -> None:
        """A device that is mapped and goes, alone in its section or beside memory."""
        pfn = self._place()
        rows: list[Row] = []
        if online:
            # The front of the section comes as part of a block that is populated no further.
            add = self._begun(self._range(_K.ADD_MEMORY, pfn, self._block, label=_RAM))
            rows.append(add)
            rows.append(self._range(_K.ADD_MEMORY, pfn, self._sub * 4, phase=Phase.SECTIONS, call=add["call"]))
            rows.append(self._range(_K.ONLINE_PAGES, pfn, self._block, zone=Zone.NORMAL))
        start, size = pfn + 8 * self._sub, (4 if partly else 1) * self._sub
        if shared:
            boot = self._boot[1 if partly else 2]
            start = -(-boot.end // self._sub) * self._sub + (8 if tainted else 0) * self._sub
            start += 16 * self._sub if online else 0
        row = self._map(start, size, altmap_base=start, altmap_reserve=1, altmap_free=7)
        inside = (start, start + 8, start + size - 1, start + size, pfn, pfn + self._block)
        ask = [*self._look(*inside), *self._metadata(row, start, start + 8, start + size)]
        begun = self._begun(row)
        call = begun["call"]
        steps = [Phase.SECTIONS, *([Phase.ZONE] if tainted else []), Phase.DONE]
        rows += [begun, *ask]
        for phase in steps:
            rows += [
                {**self._range(_K.MEMREMAP_PAGES, start, size, phase=phase, call=call), "pgmap": row["pgmap"]},
                *ask,
            ]
        going = self._begun({"kind": _K.MEMUNMAP_PAGES, "pgmap": row["pgmap"]})
        step = {"kind": _K.MEMUNMAP_PAGES, "pgmap": row["pgmap"], "call": going["call"], "pfn": start, "nr_pages": size}
        rows += [going, *ask, {**step, "phase": Phase.SECTIONS}, *ask, {**step, "phase": Phase.DONE}, *ask]
        self._unit(*rows)

    # Transitions.

    def _adds(self) -> Iterator[list[Row]]:
        flags = (
            0,
            AddFlags.DRIVER_MANAGED,
            AddFlags.MEMMAP_ON_MEMORY,
            AddFlags.DRIVER_MANAGED | AddFlags.MEMMAP_ON_MEMORY,
        )
        for flag, place, odd, env in product(flags, range(5), (0, 1), (0, _ENV)):
            pfn, before = self._place(), list[Row]()
            size = self._block - odd * self._sub
            if place == 1:
                before = [self._claim(pfn, self._block)]
            elif place == 2:
                before = [self._map(pfn, self._block)]
            elif place == 3:
                pfn = (
                    self._limit
                    - self._block // 2 // self._sub * self._sub * (1 if odd else 2)
                    + (0 if odd else self._block)
                )
            elif place == 4:
                # A block device whose memory is going already, and whose resource somebody else took away.
                gone = self._begun(self._range(_K.REMOVE_MEMORY, pfn, size))
                before = [self._range(_K.ADD_MEMORY, pfn, self._block, label=_RAM), gone]
                before.append(self._range(_K.REMOVE_MEMORY, pfn, size, phase=Phase.SECTIONS, call=gone["call"]))
                claim = self._claim(pfn, self._block)
                before.append({"kind": _K.RESOURCE_REMOVE, "start": claim["start"], "size": claim["size"]})
            row = self._range(_K.ADD_MEMORY, pfn, size, flags=int(flag), label=_KMEM)
            after = self._look(pfn) if place == 2 else []
            yield [*before, {**row, "env": env} if env else row, *after]
        # Beyond the limit, and claimed at the same time.
        for flag, far in product((0, AddFlags.DRIVER_MANAGED), (0, 1)):
            pfn = self._limit - (1 - far) * self._block
            claim = self._claim(pfn, self._block)
            add = self._range(_K.ADD_MEMORY, pfn, 2 * self._block, flags=int(flag), label=_RAM)
            yield [claim, add, self._unclaim(claim)]
        for env in (0, _ENV):
            there = self._map(self._limit - self._block, self._block)
            add = self._range(_K.ADD_MEMORY, there["pfn"], 2 * self._block, label=_RAM)
            yield [there, {**add, "env": env}, {"kind": _K.MEMUNMAP_PAGES, "pgmap": there["pgmap"]}]

    def _removes(self) -> Iterator[list[Row]]:
        for odd, online in product((0, 1), (0, 1)):
            pfn = self._place()
            rows = [self._range(_K.ADD_MEMORY, pfn, self._block, label=_RAM)]
            rows += [self._range(_K.MEMORY_BLOCK_ONLINE, pfn, self._block, zone=Zone.NORMAL)] if online else []
            yield [*rows, self._range(_K.REMOVE_MEMORY, pfn, self._block - odd * self._sub)]

    def _blocks(self) -> Iterator[list[Row]]:
        """Onlining and offlining: what is there, how the range lies, what else is in the way."""
        kinds = (_K.ONLINE_PAGES, _K.OFFLINE_PAGES, _K.MEMORY_BLOCK_ONLINE, _K.MEMORY_BLOCK_OFFLINE)
        shapes = ((0, 0), (5, 0), (0, 5), (self._sub, 0), (0, self._sub))
        for kind, what, (first, last), extra in product(kinds, range(9), shapes, range(4)):
            pfn, pages = self._place(), self._block
            rows: list[Row] = []
            if what:
                rows.append(self._range(_K.ADD_MEMORY, pfn, self._block, label=_RAM))
            if what == 2:
                rows.append(self._range(_K.MEMORY_BLOCK_ONLINE, pfn, self._block, zone=Zone.NORMAL))
            if what == 7:  # somebody takes the resource away
                if kind in {_K.OFFLINE_PAGES, _K.MEMORY_BLOCK_OFFLINE}:
                    rows.append(self._range(_K.MEMORY_BLOCK_ONLINE, pfn, self._block, zone=Zone.NORMAL))
                rows.append(self._unclaim(self._claim(pfn, self._block)))
            if what == 8:
                rows += [*self._without_sections(pfn), self._unclaim(self._claim(pfn, self._block))]
            if what in {3, 4}:
                # The sections go online by themselves; the block device does not know, or it does and they go offline.
                start = self._range(_K.ONLINE_PAGES, pfn, self._section, zone=Zone.NORMAL)
                rows += [start] if what == 3 else self._without_sections(pfn)
            if what == 5:
                pfn = self._boot[1].start  # half a section of boot memory
            if what == 6:
                pfn = self._boot[0].end - self._block - self._block  # over the border of two zones
                pages = 2 * self._block
            if extra == 1:
                page: Row = {"kind": _K.PAGE_STATE, "pfn": pfn + 7, "page_kind": PageKind.LRU}
                rows.append(page | {"page_flags": int(PageFlag.POISON_GIVEN | PageFlag.HWPOISON)})
            if extra == 3:
                rows.append(self._map(pfn + self._block, self._sub))
                pages += self._section
            row = self._range(kind, pfn + first, pages - first - last)
            back: list[Row] = []
            if what in {5, 6}:  # these are not its own: leave them as they were
                other = _K.ONLINE_PAGES if "OFFLINE" in kind.name else _K.OFFLINE_PAGES
                whole = self._range(other, pfn, pages)
                back = [whole, *self._online_again(pfn, pages)]
            if extra == 1 and what in {5, 6}:
                back.append(
                    {
                        "kind": _K.PAGE_STATE,
                        "pfn": pfn + 7,
                        "page_kind": PageKind.LRU,
                        "page_flags": int(PageFlag.POISON_GIVEN),
                    }
                )
            zone = {"zone": Zone.NORMAL} if "ONLINE" in kind.name else {}
            yield [*rows, {**row, **zone, **({"env": _ENV} if extra == 2 else {})}, *back]

    def _online_again(self, pfn: int, pages: int) -> list[Row]:
        blocks = range(pfn // self._block * self._block, pfn + pages, self._block)
        return [self._range(_K.MEMORY_BLOCK_ONLINE, at, self._block, zone=Zone.NORMAL) for at in blocks]

    def _without_sections(self, pfn: int) -> list[Row]:
        """Return rows after which the block device is there, and (part of) its memory is not."""
        gone = self._begun(self._range(_K.REMOVE_MEMORY, pfn, self._block))
        return [gone, self._range(_K.REMOVE_MEMORY, pfn, self._section, phase=Phase.SECTIONS, call=gone["call"])]

    def _maps(self) -> Iterator[list[Row]]:
        for place, several, altmap, odd, env in product(range(13), (0, 1), range(3), (0, 1), (0, _ENV)):
            pfn, size, before, after = self._place(4), 4 * self._sub, list[Row](), list[Row]()
            if place == 1:
                before = [self._range(_K.ADD_MEMORY, pfn, self._block, label=_RAM)]
            elif place == 2:
                before = [self._range(_K.ADD_MEMORY, pfn + self._block, self._block, label=_RAM)]
                before.append(self._claim(pfn + self._block - 4 * self._sub, self._sub))
                pfn, size = pfn + self._block - 4 * self._sub, 8 * self._sub
            elif place == 3:
                before = [self._map(pfn, 2 * self._section)]
            elif place == 4:  # in the middle: neither end is covered
                before = [self._map(pfn + self._section, self._sub)]
                size = 3 * self._section
            elif place == 5:
                pfn = self._limit - 2 * self._sub
            elif place in {6, 7}:  # a pagemap that is going: not live, but its sections are there
                first = self._map(pfn, self._section)
                before = [first, self._begun({"kind": _K.MEMUNMAP_PAGES, "pgmap": first["pgmap"]})]
            elif place == 8:  # what a failed add leaves behind: sections of nobody
                blocker = self._map(pfn + self._block + self._sub, self._sub)
                before = [blocker, self._range(_K.ADD_MEMORY, pfn, 2 * self._block, label=_RAM)]
            elif place == 9:
                before = [self._map(pfn, 2 * self._section), self._claim(pfn, 4 * self._sub, _BUSY_RAM)]
            elif place == 10:
                pfn = self._limit + 3 * self._block
                before = [self._claim(pfn, 4 * self._sub, _BUSY_RAM)]
                after = [self._unclaim(before[0])]
            elif place == 12:  # so, and among System RAM and something else
                before = [self._map(pfn + self._section, self._sub), self._claim(pfn, self._sub, _BUSY_RAM)]
                before.append(self._claim(pfn + self._sub, self._sub))
                size = 3 * self._section
            elif place == 11:  # the index has something within, but not at the ends
                pfn, size = self._limit - 2 * self._section, 3 * self._section
                before = [self._map(pfn + self._section, self._section)]
                after = [{"kind": _K.MEMUNMAP_PAGES, "pgmap": before[0]["pgmap"]}]
            if place == 7:
                pfn, size = pfn - self._sub, 2 * self._sub
            start, pages = pfn + odd, size
            row = self._map(start, pages)
            if several:
                other = self._range(_K.PGMAP_RANGE, self._place(), self._sub, pgmap=row["pgmap"])
                before.append(other)
            if altmap:
                row |= {"altmap_base": start + (altmap - 1), "altmap_reserve": 0, "altmap_free": 4}
            yield [*before, {**row, "env": env} if env else row, *self._look(pfn), *after]

    def _unmaps(self) -> Iterator[list[Row]]:
        row = self._map(self._place(), self._section)
        gone: Row = {"kind": _K.MEMUNMAP_PAGES, "pgmap": row["pgmap"]}
        yield [row, gone]
        self._pgmaps += 1
        yield [{"kind": _K.MEMUNMAP_PAGES, "pgmap": self._pgmaps}]

    def _resources(self) -> Iterator[list[Row]]:
        for flags in (1, 2, 3):
            pfn = self._place()
            row = self._claim(pfn, self._sub, flags)
            yield [row]
            yield [row, self._claim(pfn + 1, self._sub)]
            gone: Row = {"kind": _K.RESOURCE_REMOVE, "start": row["start"], "size": row["size"]}
            yield [row, gone]
            yield [row, {**gone, "size": gone["size"] - 4096}]

    def _queries(self) -> Iterator[list[Row]]:
        shift = self._machine.page_shift
        for flags, kept in product((1, 2, 3), (1, 2, 3)):
            for first, size in ((0, 4), (4, 8), (0, 8), (5, 2), (0, 24)):
                ask: Row = {"kind": _K.REGION_INTERSECTS, "size": size << shift}
                place = self._place()
                other = self._claim(place + 16, 4, 4 - kept)
                ask["start"] = place + first << shift
                yield [self._claim(place + 4, 8, kept), other, {**ask, "flags": flags}]
        for pfn in (self._boot[0].start, self._boot[0].start - 1, self._place()):
            yield [self._range(_K.WALK_SYSTEM_RAM_RANGE, pfn, 1)]
