"""Tasks and what they map (poison-model.md, State from the trace)."""

from __future__ import annotations

from dataclasses import dataclass

from replay.scalar.ranges import Range
from replay.scalar.spans import Spans
from replay.trace.poison import MapFlag, TaskFlag

__all__ = ("Mapping", "Task", "Tasks")


@dataclass(frozen=True)
class Task:
    """A task: TaskFlag bits and its address space."""

    flags: int
    space: int

    def is_(self, flag: TaskFlag) -> bool:
        """Whether it has a flag."""
        return bool(self.flags & flag)


@dataclass(frozen=True)
class Mapping:
    """A range of pages in an address space: first pfn and its address, log2 bytes of an entry, MapFlag bits."""

    pfn: int
    vaddr: int
    shift: int
    flags: int = 0

    @property
    def present(self) -> bool:
        """Whether there are page table entries, and not the VMA alone."""
        return not self.flags & MapFlag.ABSENT

    def address(self, pfn: int, page_shift: int) -> int:
        """Where a page is."""
        return self.vaddr + (pfn - self.pfn << page_shift)


class Tasks:
    """Every task that the trace told of; one mapping of a pfn for each, the last one."""

    def __init__(self) -> None:
        self.described: dict[int, Task] = {}
        self.mappings: dict[int, Spans[Mapping]] = {}
        self.entries: dict[int, Spans[Mapping]] = {}  # mappings that have become hwpoison entries

    def get(self, task: int) -> Task:
        """The task; one never described has no policy, a handler, and an address space of its own."""
        return self.described.get(task, Task(int(TaskFlag.HAS_DEFAULT | TaskFlag.HANDLER), task))

    def describe(self, task: int, flags: int, space: int | None) -> None:
        """TASK_STATE."""
        if flags & TaskFlag.EXITED:
            self.described.pop(task, None)
            self.drop(task)
        else:
            self.described[task] = Task(flags, task if space is None else space)

    def drop(self, task: int) -> None:
        """The address space of a task is gone."""
        self.mappings.pop(task, None)
        self.entries.pop(task, None)

    def map(self, pfns: Range, task: int, mapping: Mapping) -> None:
        """MAP_PAGES."""
        self.mappings.setdefault(task, Spans()).put(pfns, mapping)

    def unmap(self, pfns: Range, task: int) -> None:
        """UNMAP_PAGES: nothing is left, no hwpoison entry either."""
        for kept in (self.mappings, self.entries):
            if task in kept:
                kept[task].erase(pfns)

    def of(self, pfn: int) -> list[tuple[int, Mapping]]:
        """Who maps a page, ascending."""
        found = [(task, spans.at(pfn)) for task, spans in sorted(self.mappings.items())]
        return [(task, mapping) for task, mapping in found if mapping]

    def entry(self, task: int, pfn: int) -> Mapping | None:
        """The present or hwpoison entry for a pfn in a task's page tables."""
        mapping = self.mappings[task].at(pfn) if task in self.mappings else None
        if mapping and mapping.present:
            return mapping
        return self.entries[task].at(pfn) if task in self.entries else None

    def unmap_everywhere(self, pfns: Range, *, leave_entries: bool) -> None:
        """The kernel unmaps pages in every task."""
        for task, spans in self.mappings.items():
            for piece, mapping in spans.inside(pfns):
                if leave_entries and mapping.present:
                    self.entries.setdefault(task, Spans()).put(piece, mapping)
            spans.erase(pfns)

    def zap_everywhere(self, pfns: Range) -> None:
        """The kernel takes the page table entries away; the VMAs go on covering the pages."""
        for spans in self.mappings.values():
            for piece, mapping in spans.inside(pfns):
                absent = Mapping(mapping.pfn, mapping.vaddr, mapping.shift, mapping.flags | MapFlag.ABSENT)
                spans.put(piece, absent)
