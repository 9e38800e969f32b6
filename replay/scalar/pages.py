"""What decisions about poison look at: pages, marks, sysctls, counters (poison-model.md, State from the trace)."""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass, replace

from replay.scalar.ranges import Range, round_down
from replay.scalar.spans import Spans
from replay.scalar.tasks import Tasks
from replay.trace.header import MachineDescription
from replay.trace.poison import MARKS, Counter, MappingClass, PageFlag, PageKind, SysctlKey

__all__ = ("FREE_PAGE", "GONE_PAGE", "Page", "Pages", "PoisonState")


SYSCTLS = {  # key: name, default
    SysctlKey.EARLY_KILL: ("vm.memory_failure_early_kill", 0),
    SysctlKey.RECOVERY: ("vm.memory_failure_recovery", 1),
    SysctlKey.ENABLE_SOFT_OFFLINE: ("vm.enable_soft_offline", 1),
}


@dataclass(frozen=True)
class Page:
    """A description; ``flags`` are PageFlag bits without the marks."""

    kind: PageKind = PageKind.UNKNOWN
    flags: int = 0
    order: int = 0
    mapping: MappingClass = MappingClass.REGULAR
    pins: int = 0
    refs: int = 1
    owner_ret: int = -95

    def but(self, *, without: int = 0, also: int = 0, refs: int | None = None) -> Page:
        """The same page with other flags or references."""
        return replace(self, flags=self.flags & ~without | also, refs=self.refs if refs is None else refs)


FREE_PAGE = Page(PageKind.BUDDY, refs=0)
GONE_PAGE = Page(PageKind.KERNEL, mapping=MappingClass.NONE)  # off every list, held by the memory error code


class Pages:
    """Descriptions and poison marks.

    A hugetlb page is poisoned while a page of it carries the mark: that is the flag of its head, and the marked pages are
    the raw ones, on which the mark stays when the hugetlb page is dissolved.
    """

    def __init__(self) -> None:
        self.described: Spans[Page] = Spans()
        self.marks: Spans[int] = Spans()
        self.raw: set[int] = set()  # pages put into the raw list of their folio by replayed calls

    def at(self, pfn: int) -> Page:
        """The description of a page."""
        return self.described.at(pfn) or Page()

    def marks_at(self, pfn: int) -> int:
        """The marks of a page itself."""
        return self.marks.at(pfn) or 0

    def describe(self, pfns: Range, page: Page) -> None:
        """PAGE_STATE; the flags may hold POISON_GIVEN and marks."""
        if page.flags & PageFlag.POISON_GIVEN:
            self.clear(pfns)
            if page.flags & MARKS:
                self.marks.put(pfns, page.flags & MARKS)
        self.described.put(pfns, page.but(without=MARKS | PageFlag.POISON_GIVEN))

    def unit(self, pfn: int) -> Range:
        """What is poisoned as one: the whole folio of a hugetlb page, else the page."""
        page = self.at(pfn)
        size = 1 << page.order if page.kind == PageKind.HUGE else 1
        start = round_down(pfn, size)
        return start, start + size

    def poisoned(self, pfn: int) -> bool:
        """The HWPoison flag of a page."""
        return any(marks & PageFlag.HWPOISON for _, marks in self.marks.inside(self.unit(pfn)))

    def raw_pages(self, pfn: int) -> int:
        """How many pages are in the raw list of a folio."""
        inside = self.marks.inside(self.unit(pfn))
        return sum(end - start for (start, end), marks in inside if marks & PageFlag.RAW_LISTED)

    def mark(self, pfn: int, marks: int) -> None:
        """Give a page further marks."""
        self.marks.put((pfn, pfn + 1), self.marks_at(pfn) | marks)
        if marks & PageFlag.RAW_LISTED:
            self.raw.add(pfn)

    def clear(self, pfns: Range) -> None:
        """Take all marks away."""
        self.marks.erase(pfns)
        self.raw = {pfn for pfn in self.raw if not pfns[0] <= pfn < pfns[1]}

    def poisoned_in(self, pfns: Range) -> int:
        """How many pages of a range carry the mark."""
        return sum(end - start for (start, end), marks in self.marks.inside(pfns) if marks & PageFlag.HWPOISON)


class PoisonState:
    """Everything beside the walk's own state.

    ``count`` is the global counter; ``nodes`` the counted events of each node by result; ``memory`` the node of the boot
    ranges and of added memory.
    """

    def __init__(self, description: MachineDescription) -> None:
        self.pages = Pages()
        self.tasks = Tasks()
        self.sysctls = {key: description.sysctls.get(name, default) for key, (name, default) in SYSCTLS.items()}
        self.hardware_seen = False  # the latch hw_memory_failure
        self.count = 0
        self.nodes: dict[int, Tally[Counter]] = {}
        self.memory: Spans[int] = Spans()
        for memory in description.memory:
            self.memory.put((memory.start, memory.end), memory.node)

    def counter(self, key: Counter, node: int | None = None) -> int:
        """A counter, of all nodes or of one."""
        if key == Counter.POISONED:
            return self.count
        counted = [tally for number, tally in self.nodes.items() if node in (None, number)]
        return sum(tally.total() if key == Counter.TOTAL else tally[key] for tally in counted)

    def count_event(self, pfn: int, result: Counter) -> None:
        """An event is counted for the node of its page, node 0 for a page of no memory."""
        self.nodes.setdefault(self.memory.at(pfn) or 0, Tally())[result] += 1

    def remove_memory(self, pfns: Range) -> None:
        """Memory is gone: its poisoned pages are not counted any more. What its node counted stays."""
        self.count -= self.pages.poisoned_in(pfns)
        self.pages.clear(pfns)
        self.memory.erase(pfns)
