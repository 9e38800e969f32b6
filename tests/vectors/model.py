"""The test vectors of docs/semantics/walk.md, section 8, as data that any engine can be held against.

A `Vector` is a layout, a few calls, then questions with the answers expected for each column of the tables in walk.md.
``check_vector`` carries one out on anything with the methods of `Machine`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from replay.machine.geometry import Geometry
from replay.trace.header import BootRange, MachineDescription, Resource
from replay.trace.schema import SectionFlags

GROUPS: dict[str, tuple[str, ...]] = {
    "A": ("v4.18", "v4.19"),
    "B": ("v5.1",),
    "C": ("v5.3", "v5.4", "v5.4.195"),
    "D": ("v5.10", "v5.10.223", "v5.11"),
    "E": ("v5.12",),
    "F": ("v6.1", "v6.1.192", "v6.12", "v7.2"),
}
VERSIONS = tuple(version for versions in GROUPS.values() for version in versions)
GROUP_OF = {version: group for group, versions in GROUPS.items() for version in versions}

EPERM, ENXIO, ENOMEM, EBUSY, EEXIST, EINVAL, E2BIG = 1, 6, 12, 16, 17, 22, 7

Op = tuple[Any, ...]  # method name of `Machine` (or of `QUESTIONS`) and its arguments
Answer = int | str  # what is expected: a number, or the id of the check that decides


@dataclass(frozen=True)
class Skip:
    """A cell of the tables that says nothing a machine could be asked."""

    reason: str


NOT_APPLICABLE = Skip("n/a in walk.md")
UNDEFINED = Skip("undefined in walk.md: the kernel indexes past its table")
UNSPECIFIED = Skip("unspecified in walk.md")

Cell = tuple[Answer, ...] | Skip


@dataclass(frozen=True)
class Layout:
    """A machine at boot: ranges ``(start pfn, end pfn)`` or ``(…, "nomap")``; resources in pfns or as given.

    Without resources the boot RAM is System RAM. ``resources`` are ``(start byte, end byte inclusive, name, flags)``,
    flags a word of the letters b (busy) and r (System RAM), in the order of /proc/iomem.
    """

    memory: tuple[tuple[Any, ...], ...]
    resources: tuple[tuple[int, int, str, str], ...] = ()
    arch: str = "x86_64"
    page_shift: int = 12
    section_size_bits: int = 27
    max_physmem_bits: int = 46
    block_bits: int = 0  # 0: a section
    config: tuple[tuple[str, bool], ...] = ()

    def description(self, kernel: str = "") -> MachineDescription:
        """Return the machine description."""
        return MachineDescription(
            arch=self.arch,
            page_shift=self.page_shift,
            section_size_bits=self.section_size_bits,
            max_physmem_bits=self.max_physmem_bits,
            memory_block_bytes=1 << (self.block_bits or self.section_size_bits),
            kernel=kernel,
            config=dict(self.config),
            memory=tuple(BootRange(start, end, nomap="nomap" in rest) for start, end, *rest in self.memory),
            resources=tuple(
                Resource(start, end, name, busy="b" in flags, ram="r" in flags)
                for start, end, name, flags in self.resources
            ),
        )


def iomem(start_pfn: int, end_pfn: int, name: str, flags: str = "", page_shift: int = 12) -> tuple[int, int, str, str]:
    """A resource over whole pages."""
    return start_pfn << page_shift, (end_pfn << page_shift) - 1, name, flags


RAM = "br"


@dataclass(frozen=True)
class Vector:
    """One row of the tables.

    Attributes:
        id: as in walk.md, with a letter where one row became several vectors.
        layout: the machine.
        ops: calls made before the questions; what they return does not matter.
        asks: questions, in order; calls may be among them.
        cells: expected answers by version, or by letters of the column groups ("A", "CD", "ABCDEF").
        note: how the row was read, where that is not obvious.
    """

    id: str
    layout: Layout
    ops: tuple[Op, ...]
    asks: tuple[Op, ...]
    cells: Mapping[str, Cell] = field(hash=False)
    note: str = ""

    def cell(self, version: str) -> Cell | None:
        """Return the expectation for a version; None when the row does not speak of it."""
        if version in self.cells:
            return self.cells[version]
        group = GROUP_OF[version]
        return next((c for key, c in self.cells.items() if not key.startswith("v") and group in key), None)


class Stepwise(Protocol):
    """A call under way."""

    def sections(self, pfn: int, nr_pages: int) -> None: ...
    def zone(self, pfn: int, nr_pages: int) -> None: ...
    def done(self) -> tuple[int, str]: ...


class Machine(Protocol):
    """What an engine must offer; replay.scalar.ScalarMachine does."""

    def pfn_valid(self, pfn: int) -> tuple[int, str]: ...
    def pfn_to_online_page(self, pfn: int) -> tuple[int, str]: ...
    def get_dev_pagemap(self, pfn: int) -> tuple[int, str]: ...
    def pgmap_pfn_valid(self, pgmap: int, pfn: int) -> tuple[int, str]: ...
    def kpageflags(self, pfn: int) -> tuple[int, str]: ...
    def region_intersects(self, start: int, size: int, flags: int) -> tuple[int, str]: ...
    def walk_system_ram_range(self, pfn: int, nr_pages: int) -> tuple[int, str, int]: ...
    def section_flags(self, section: int) -> int: ...
    def subsection_bits(self, pfn: int) -> int: ...
    def present_sections(self) -> list[int]: ...
    def add_memory(
        self, pfn: int, nr_pages: int, *, flags: int = 0, name: str = "System RAM", env: int = 0
    ) -> tuple[int, str]: ...
    def remove_memory(self, pfn: int, nr_pages: int) -> tuple[int, str]: ...
    def online_pages(self, pfn: int, nr_pages: int, *, env: int = 0) -> tuple[int, str]: ...
    def offline_pages(self, pfn: int, nr_pages: int, *, env: int = 0) -> tuple[int, str]: ...
    def memory_block_online(self, pfn: int, nr_pages: int, *, env: int = 0) -> tuple[int, str]: ...
    def memory_block_offline(self, pfn: int, nr_pages: int, *, env: int = 0) -> tuple[int, str]: ...
    def memremap_pages(
        self,
        pgmap: int,
        ranges: Sequence[tuple[int, int]],
        *,
        altmap: tuple[int, int, int] | None = None,
        env: int = 0,
    ) -> tuple[int, str]: ...
    def memunmap_pages(self, pgmap: int) -> tuple[int, str]: ...
    def begin_memremap_pages(
        self, pgmap: int, ranges: Sequence[tuple[int, int]], *, altmap: tuple[int, int, int] | None = None
    ) -> Stepwise: ...
    def begin_memunmap_pages(self, pgmap: int) -> Stepwise: ...


# Short names for the calls and questions of the tables. Ranges are [start, end), as in walk.md.


def map_dev(pgmap: int, *ranges: tuple[int, int], altmap: tuple[int, int, int] | None = None) -> Op:
    """MAP_DEV."""
    return "memremap_pages", pgmap, [(start, end - start) for start, end in ranges], altmap


def map_dev_until_sections(pgmap: int, start: int, end: int) -> Op:
    """MAP_DEV up to the moment when the subsections are populated and nothing is tainted yet (window R1)."""
    return "map_until_sections", pgmap, start, end - start


def _call(name: str) -> Any:
    return lambda start, end, *rest: (name, start, end - start, *rest)


add, remove = _call("add_memory"), _call("remove_memory")
online, offline = _call("online_pages"), _call("offline_pages")
block_online, block_offline = _call("memory_block_online"), _call("memory_block_offline")
walk, walked_pages = _call("walk_system_ram_range"), _call("walked_pages")


def _ask(name: str) -> Any:
    return lambda *args: (name, *args)


unmap_dev, start_unmap = _ask("memunmap_pages"), _ask("begin_memunmap_pages")
pv, top, gdp, dat = (_ask(n) for n in ("pfn_valid", "pfn_to_online_page", "get_dev_pagemap", "pgmap_pfn_valid"))
kpageflags, region_intersects, bits = _ask("kpageflags"), _ask("region_intersects"), _ask("subsection_bits")
taint, early, section_online = _ask("taint"), _ask("early"), _ask("section_online")
sec, sub = _ask("sec"), _ask("sub")


def perform(machine: Machine, layout: Layout, op: Op) -> tuple[int, str]:
    """Carry out a call or question; the number and the check that decided ("" where there is none)."""
    name, *args = op
    geometry = Geometry.of(layout.description())
    flag = {
        "taint": SectionFlags.TAINT_ZONE_DEVICE,
        "early": SectionFlags.EARLY,
        "section_online": SectionFlags.ONLINE,
    }
    if name in flag:
        return int(bool(machine.section_flags(args[0]) & flag[name])), ""
    if name == "sec":
        return args[0] >> geometry.section_shift, ""
    if name == "sub":
        return (args[0] & (geometry.pages_per_section - 1)) >> geometry.subsection_shift, ""
    if name == "subsection_bits":
        return machine.subsection_bits(*args), ""
    if name == "walk_system_ram_range":
        return machine.walk_system_ram_range(*args)[:2]
    if name == "walked_pages":
        return machine.walk_system_ram_range(*args)[2], ""
    if name == "memremap_pages":
        return machine.memremap_pages(args[0], args[1], altmap=args[2])
    if name == "map_until_sections":
        pgmap, pfn, nr_pages = args
        machine.begin_memremap_pages(pgmap, [(pfn, nr_pages)]).sections(pfn, nr_pages)
        return 0, ""
    if name == "begin_memunmap_pages":
        machine.begin_memunmap_pages(*args)
        return 0, ""
    keywords: dict[str, Any] = args.pop() if args and isinstance(args[-1], dict) else {}
    result: tuple[int, str] = getattr(machine, name)(*args, **keywords)
    return result


def check_vector(vector: Vector, machine: Machine, version: str) -> None:
    """Carry a vector out on a freshly booted machine and compare every answer.

    Raises:
        AssertionError: an answer differs.
    """
    expected = vector.cell(version)
    assert isinstance(expected, tuple)
    for op in vector.ops:
        perform(machine, vector.layout, op)
    for number, (ask, answer) in enumerate(zip(vector.asks, expected, strict=True)):
        got, check = perform(machine, vector.layout, ask)
        what = f"{vector.id} {version} question {number} {ask}: {got} by {check!r}, expected {answer!r}"
        assert (check if isinstance(answer, str) else got) == answer, what
