"""Tasks and what they map: who has to be told about a broken page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from replay.machine.mappings import Mapping, MappingIndex
from replay.trace.poison import MapFlag, TaskFlag

__all__ = ("Task", "Tasks")


@dataclass(frozen=True)
class Task:
    """A process.

    Attributes:
        pid: its id.
        flags: TaskFlag bits.
        mm: id of its address space.
        label: index of its name in the trace's strings, None where it has none.
    """

    pid: int
    flags: int = TaskFlag.HAS_DEFAULT | TaskFlag.HANDLER
    mm: int = 0
    label: int | None = None


class Tasks:
    """All tasks and their mappings, in the order in which they were made.

    Args:
        page_shift: log2 of the page size.
    """

    def __init__(self, page_shift: int) -> None:
        self.page_shift = page_shift
        self._tasks: dict[int, Task] = {}
        self._mappings = MappingIndex()

    def task(self, pid: int) -> Task:
        """Return a task; one never heard of has the default policy, a handler, and an address space of its own."""
        return self._tasks.get(pid) or Task(pid, mm=pid)

    def describe(self, pid: int, flags: int, mm: int, label: int | None = None) -> None:
        """Describe a task; EXITED removes it with its mappings."""
        if flags & TaskFlag.EXITED:
            self.exit(pid)
        else:
            self._tasks[pid] = Task(pid, flags, mm, label)

    def exit(self, pid: int) -> None:
        """Remove a task with its mappings."""
        self._tasks.pop(pid, None)
        self._mappings.drop(pid)

    def map(self, mapping: Mapping) -> None:
        """Map pages into a task, in place of what it mapped of them before."""
        self.unmap(mapping.start, mapping.end, mapping.task)
        self._mappings.add(mapping)

    def of(self, pfn: int) -> list[Mapping]:
        """Return the mappings of a page, hwpoison entries included."""
        return [m for _, m in self._mappings.within(pfn, pfn + 1)]

    @property
    def map_anything(self) -> bool:
        """Whether there is any mapping."""
        return len(self._mappings) > 0

    def mapped(self, pfns: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which of many pages, whose pfns ascend, have mappings."""
        return self._mappings.cover(pfns)

    def unmap(self, start: int, end: int, task: int | None = None) -> None:
        """Remove the mappings of pfns ``[start, end)``, of one task or of all."""
        self._rewrite(start, end, task, lambda _: None)

    def zap(self, start: int, end: int) -> None:
        """Empty the page tables of pfns ``[start, end)``; the address spaces still cover them."""
        self._rewrite(start, end, None, lambda m: replace(m, flags=m.flags | MapFlag.ABSENT))

    def poison(self, start: int, end: int, *, whole: bool) -> None:
        """Turn the mappings of pfns ``[start, end)`` into hwpoison entries.

        Args:
            start: first pfn.
            end: pfn after the last.
            whole: the entries keep their size (hugetlb); otherwise a huge one was split before.
        """
        shift = {} if whole else {"shift": self.page_shift}
        self._rewrite(start, end, None, lambda m: replace(m, poisoned=True, **shift))

    def _rewrite(self, start: int, end: int, task: int | None, change: Callable[[Mapping], Mapping | None]) -> None:
        """Replace the mappings within pfns ``[start, end)``, of one task or of all."""
        for age, m in self._mappings.within(start, end):
            if task not in {None, m.task}:
                continue
            low, high = max(m.start, start), min(m.end, end)
            changed = change(m if (low, high) == (m.start, m.end) else m.piece(low, high, self.page_shift))
            self._mappings.remove(age, m)
            for a, b in ((m.start, low), (high, m.end)):
                if a < b:
                    self._mappings.add(m.piece(a, b, self.page_shift), age)
            if changed:
                self._mappings.add(changed, age)
