"""One machine under one profile: every lookup and every call, with plain ints."""

from __future__ import annotations

from collections.abc import Sequence

from replay.scalar import errors, hotplug, lookups, memremap
from replay.scalar.bus import Bus
from replay.scalar.calls import Call
from replay.scalar.errors import PoisonResult
from replay.scalar.pages import Page
from replay.scalar.ranges import Range
from replay.scalar.resources import DISJOINT, INTERSECTS, MIXED
from replay.scalar.state import PRESENT, Altmap, State
from replay.scalar.tasks import Mapping
from replay.trace.header import MachineDescription
from replay.trace.poison import Counter, MappingClass, PageKind, SysctlKey

__all__ = ("ScalarMachine",)

Answer = tuple[int, str]

INTERSECTION_CHECKS = {INTERSECTS: "intersects", DISJOINT: "disjoint", MIXED: "mixed"}


def _range(pfn: int, nr_pages: int) -> Range:
    return pfn, pfn + nr_pages


class ScalarMachine:
    """The machine of a description, as a kernel with these features would run it.

    Lookups and calls return ``(answer or return code, check id)``. Each call has a stepwise form ``begin_…`` that makes
    the checks and returns a `Call`, whose ``sections``, ``zone`` and ``done`` let the effects happen. In a closed loop the
    tasks that signals kill lose their mappings; otherwise mappings change by what the trace says only.
    """

    def __init__(
        self,
        description: MachineDescription,
        features: frozenset[str],
        strings: Sequence[str] = (),
        *,
        closed_loop: bool = True,
    ) -> None:
        self.state = State(description, features)
        self.bus = Bus(self.state)
        self.strings = tuple(strings)
        self.closed_loop = closed_loop

    def label(self, number: int | None, default: str = "") -> str:
        """The string that a label column means."""
        return default if number is None else self.strings[number]

    # Lookups.

    def pfn_valid(self, pfn: int) -> Answer:
        """Whether there is a struct page for the pfn."""
        return lookups.pfn_valid(self.state, pfn)

    def pfn_to_online_page(self, pfn: int) -> Answer:
        """Whether there is a page of an online section."""
        return lookups.pfn_to_online_page(self.state, pfn)

    def get_dev_pagemap(self, pfn: int) -> Answer:
        """The live pagemap's id, or 0."""
        return lookups.get_dev_pagemap(self.state, pfn)

    def pgmap_pfn_valid(self, pgmap: int, pfn: int) -> Answer:
        """Whether the pfn is a data page of the pagemap."""
        return lookups.pgmap_pfn_valid(self.state, pgmap, pfn)

    def kpageflags(self, pfn: int) -> Answer:
        """Whether /proc/kpageflags shows a page."""
        return lookups.kpageflags(self.state, pfn)

    def region_intersects(self, start: int, size: int, flags: int) -> Answer:
        """How the bytes lie to the resources with these ResourceFlags: 0 intersects, 1 disjoint, 2 mixed."""
        ret = self.state.resources.region_intersects((start, start + size), flags)
        return ret, INTERSECTION_CHECKS[ret]

    def walk_system_ram_range(self, pfn: int, nr_pages: int) -> tuple[int, str, int]:
        """Return code, check, and pages visited."""
        ret, pages = self.state.resources.walk_system_ram_range(_range(pfn, nr_pages))
        return ret, "visited" if pages else "nothing", pages

    # Facts.

    def truth(self, pfn: int) -> bool:
        """Whether the pfn truly is System RAM in an online section."""
        return lookups.truth(self.state, pfn)

    def section_flags(self, section: int) -> int:
        """SectionFlags of a section, 0 when it is absent."""
        return self.state.section_flags(section)

    def subsection_bits(self, pfn: int) -> int:
        """Bit n: subsection n, counted from the one of this pfn and within its section, is populated; 64 bits."""
        g = self.state.geometry
        first = pfn // g.pages_per_subsection
        last = (pfn // g.pages_per_section + 1) * g.subsections_per_section
        return sum(1 << n for n in range(min(64, last - first)) if first + n in self.state.subsections)

    def present_sections(self) -> list[int]:
        """The numbers of the present sections, ascending."""
        return sorted(section for section, flags in self.state.flags.items() if flags & PRESENT)

    # Calls.

    def add_memory(
        self, pfn: int, nr_pages: int, *, flags: int = 0, name: str = "System RAM", env: int = 0, node: int = 0
    ) -> Answer:
        """Hot-add System RAM."""
        return self.begin_add_memory(pfn, nr_pages, flags=flags, name=name, env=env, node=node).done()

    def remove_memory(self, pfn: int, nr_pages: int) -> Answer:
        """Hot-remove System RAM."""
        return self.begin_remove_memory(pfn, nr_pages).done()

    def online_pages(self, pfn: int, nr_pages: int, *, env: int = 0) -> Answer:
        """Online pages."""
        return self.begin_online_pages(pfn, nr_pages, env=env).done()

    def offline_pages(self, pfn: int, nr_pages: int, *, env: int = 0) -> Answer:
        """Offline pages."""
        return self.begin_offline_pages(pfn, nr_pages, env=env).done()

    def memory_block_online(self, pfn: int, nr_pages: int, *, env: int = 0) -> Answer:
        """Online one block through its device."""
        return self.begin_memory_block_online(pfn, nr_pages, env=env).done()

    def memory_block_offline(self, pfn: int, nr_pages: int, *, env: int = 0) -> Answer:
        """Offline one block through its device."""
        return self.begin_memory_block_offline(pfn, nr_pages, env=env).done()

    def memremap_pages(
        self,
        pgmap: int,
        ranges: Sequence[tuple[int, int]],
        *,
        altmap: Altmap | None = None,
        env: int = 0,
        pgmap_type: int = 0,
    ) -> Answer:
        """Map device memory; ranges are (pfn, nr_pages), the altmap is (base, reserve, free)."""
        return self.begin_memremap_pages(pgmap, ranges, altmap=altmap, env=env, pgmap_type=pgmap_type).done()

    def memunmap_pages(self, pgmap: int) -> Answer:
        """Unmap device memory."""
        return self.begin_memunmap_pages(pgmap).done()

    def resource_insert(self, start: int, size: int, name: str, flags: int) -> Answer:
        """Insert a resource with these ResourceFlags: 0 or -EBUSY."""
        return hotplug.insert_resource(self.state, (start, start + size), name, flags)

    def resource_remove(self, start: int, size: int) -> Answer:
        """Remove the resource of exactly these bytes: 0 or -EINVAL."""
        return hotplug.remove_resource(self.state, (start, start + size))

    # Poison: what decisions look at, and the calls.

    def page_state(
        self,
        pfn: int,
        nr_pages: int,
        kind: int,
        *,
        flags: int = 0,
        order: int = 0,
        mapping: int = 0,
        pins: int = 0,
        refs: int = 1,
        owner_ret: int = -95,
    ) -> None:
        """Describe pages: PageKind, PageFlag bits, folio order, MappingClass, foreign and all references."""
        page = Page(PageKind(kind), flags, order, MappingClass(mapping), pins, refs, owner_ret)
        self.state.poison.pages.describe(_range(pfn, nr_pages), page)

    def task_state(self, task: int, flags: int, space: int | None = None) -> None:
        """Describe a task: TaskFlag bits, id of its address space."""
        self.state.poison.tasks.describe(task, flags, space)

    def map_pages(
        self, pfn: int, nr_pages: int, task: int, vaddr: int, *, shift: int | None = None, flags: int = 0
    ) -> None:
        """A task maps pages from vaddr on, with entries of this shift (that of a page if not given); MapFlag bits."""
        shift = self.state.geometry.page_shift if shift is None else shift
        self.state.poison.tasks.map(_range(pfn, nr_pages), task, Mapping(pfn, vaddr, shift, flags))

    def unmap_pages(self, pfn: int, nr_pages: int, task: int) -> None:
        """A task no longer maps pages."""
        self.state.poison.tasks.unmap(_range(pfn, nr_pages), task)

    def sysctl(self, key: int, value: int) -> None:
        """Set the sysctl of a SysctlKey."""
        self.state.poison.sysctls[SysctlKey(key)] = value

    def counters(self) -> dict[tuple[Counter, int | None], int]:
        """Every counter, by Counter and node; None: of the whole machine."""
        poison = self.state.poison
        found: dict[tuple[Counter, int | None], int] = {(Counter.POISONED, None): poison.count}
        for node in (None, *sorted(poison.nodes)):
            for key in (Counter.TOTAL, Counter.IGNORED, Counter.FAILED, Counter.DELAYED, Counter.RECOVERED):
                found[key, node] = poison.counter(key, node)
        return found

    def memory_failure(self, pfn: int, flags: int = 0, *, task: int | None = None, context: int = 0) -> PoisonResult:
        """Handle an error in a page, reported with MfFlag bits while this task runs (CallContext bits)."""
        return errors.memory_failure(self.state, pfn, flags, task=task, context=context, closed_loop=self.closed_loop)

    def soft_offline_page(self, pfn: int, flags: int = 0, value: int = 0) -> PoisonResult:
        """Take a page out of use that still works; value is what migration returns."""
        return errors.soft_offline_page(self.state, pfn, flags, value)

    def unpoison_memory(self, pfn: int) -> PoisonResult:
        """Take a page back into use."""
        return errors.unpoison_memory(self.state, pfn)

    def clear_error(self, pfn: int, nr_pages: int = 1) -> None:
        """The driver of a device has cleared an error of its medium."""
        errors.clear_error(self.state, _range(pfn, nr_pages))
        page = self.state.resources.page
        self.bus.bad.take((pfn * page, (pfn + nr_pages) * page))

    # The hotplug calls, one step after the other.

    def begin_add_memory(
        self,
        pfn: int,
        nr_pages: int,
        *,
        flags: int = 0,
        name: str = "System RAM",
        env: int = 0,
        node: int = 0,
    ) -> Call:
        """The checks of add_memory; the resource is inserted."""
        return hotplug.begin_add(self.state, _range(pfn, nr_pages), flags=flags, name=name, env=env, node=node)

    def begin_remove_memory(self, pfn: int, nr_pages: int) -> Call:
        """The checks of remove_memory."""
        return hotplug.begin_remove(self.state, _range(pfn, nr_pages))

    def begin_online_pages(self, pfn: int, nr_pages: int, *, env: int = 0) -> Call:
        """The checks of online_pages."""
        return hotplug.begin_online(self.state, _range(pfn, nr_pages), env=env)

    def begin_offline_pages(self, pfn: int, nr_pages: int, *, env: int = 0) -> Call:
        """The checks of offline_pages."""
        return hotplug.begin_offline(self.state, _range(pfn, nr_pages), env=env)

    def begin_memory_block_online(self, pfn: int, nr_pages: int, *, env: int = 0) -> Call:
        """The checks of memory_block_online."""
        return hotplug.begin_block_online(self.state, _range(pfn, nr_pages), env=env)

    def begin_memory_block_offline(self, pfn: int, nr_pages: int, *, env: int = 0) -> Call:
        """The checks of memory_block_offline."""
        return hotplug.begin_block_offline(self.state, _range(pfn, nr_pages), env=env)

    def begin_memremap_pages(
        self,
        pgmap: int,
        ranges: Sequence[tuple[int, int]],
        *,
        altmap: Altmap | None = None,
        env: int = 0,
        pgmap_type: int = 0,
    ) -> Call:
        """The checks of memremap_pages; the index is stored."""
        pfns = [_range(pfn, nr_pages) for pfn, nr_pages in ranges]
        return memremap.begin_memremap(self.state, pgmap, pfns, altmap, env=env, pgmap_type=pgmap_type)

    def begin_memunmap_pages(self, pgmap: int) -> Call:
        """memunmap_pages up to the kill of the reference."""
        return memremap.begin_memunmap(self.state, pgmap)
