"""Pages as far as memory errors tell them apart: descriptions given by the trace, and the marks that errors leave.

A description together with the marks is a page's *condition*. Conditions are numbered, and pages hold these numbers: by
intervals where the trace described them, page by page where a call (or a row about a single page) changed something. So a
machine of 2**34 pages with a thousand interesting ones costs a thousand entries, and a million pages are looked up or
changed at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.machine.distinct import distinct
from replay.machine.intervals import IntervalMap
from replay.machine.pfn_table import PfnTable
from replay.trace.poison import MARKS, PageFlag, PageKind

__all__ = ("Condition", "Found", "Page", "Pages")

# Plain numbers: operations on flag objects are slow, and these are made for every row.
_HWPOISON, _GIVEN, _MARKS = int(PageFlag.HWPOISON), int(PageFlag.POISON_GIVEN), int(MARKS)

U64 = NDArray[np.uint64]
Conditions = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Page:
    """What is known about a page, without the marks of errors.

    Attributes:
        kind: PageKind.
        flags: PageFlag bits, none of the marks.
        order: folio order.
        mapping: MappingClass.
        pins: foreign references.
        refs: reference count of the page, of its head for a folio.
        owner_ret: what the owner handler returns, -95 for none.
    """

    kind: int = PageKind.UNKNOWN
    flags: int = 0
    order: int = 0
    mapping: int = 0
    pins: int = 0
    refs: int = 1
    owner_ret: int = -95

    def has(self, flag: PageFlag) -> bool:
        """Return whether a flag is set."""
        return self.flags & int(flag) != 0


@dataclass(frozen=True)
class Condition:
    """A description, and the marks (PageFlag bits within MARKS) that errors left.

    HWPOISON: broken and marked so; a hugetlb folio with such a page counts as poisoned as a whole. TAKEN_OFF: taken off the
    buddy lists. RAW_LISTED: in the list of raw poisoned pages of its hugetlb folio. RAW_UNRELIABLE: that list is incomplete.
    """

    page: Page = Page()
    marks: int = 0


@dataclass(frozen=True)
class Found:
    """The conditions of many pages.

    Attributes:
        pfns: ascending.
        numbers: of their conditions, int64.
        places: where they are kept, int64.
    """

    pfns: U64
    numbers: NDArray[np.int64]
    places: NDArray[np.int64]

    def only(self, which: NDArray[np.bool_]) -> Found:
        """Return some of them."""
        return Found(self.pfns[which], self.numbers[which], self.places[which])


class Pages:
    """The conditions of all pages.

    Attributes:
        conditions: by number; number 0 is a page that nothing is known about.
    """

    def __init__(self) -> None:
        self.conditions: list[Condition] = [Condition()]
        self._numbers: dict[Condition, int] = {Condition(): 0}
        self._described = IntervalMap()  # conditions without marks
        self._own = PfnTable()  # conditions of single pages, 0 where the intervals know them

    # Conditions.

    def number(self, condition: Condition) -> int:
        """Return the number of a condition."""
        number = self._numbers.setdefault(condition, len(self.conditions))
        if number == len(self.conditions):
            self.conditions.append(condition)
        return number

    def condition(self, pfn: int) -> Condition:
        """Return the condition of a page."""
        return self.conditions[self._own.get(pfn) or self._described.get(pfn)]

    def find(self, pfns: U64) -> Found:
        """Return the conditions of many pages, whose pfns ascend."""
        places = self._own.places(pfns)
        numbers, own = self._described.at_sorted(pfns), self._own.read(places)
        changed = np.flatnonzero(own)
        numbers[changed] = own[changed]
        return Found(pfns, numbers, places)

    def put(self, found: Found, numbers: Conditions) -> None:
        """Put pages that were just found into conditions, given by number."""
        changed = numbers != found.numbers
        if 2 * int(np.count_nonzero(changed)) < changed.size:  # otherwise leaving them out costs more than it saves
            found, numbers, changed = found.only(changed), numbers[changed], changed[changed]
        self._own.write(found.pfns, found.places, numbers)
        if numbers.size and not int(numbers.min()):
            for pfn in found.pfns[changed & (numbers == 0)].tolist():
                self._described.clear(pfn, pfn + 1)

    def become(self, pfn: int, condition: Condition) -> None:
        """Put a page into a condition."""
        number = self.number(condition)
        self._own.set(pfn, number)
        if not number:
            self._described.clear(pfn, pfn + 1)

    # Descriptions.

    def describe(self, start: int, end: int, page: Page) -> None:
        """Describe pages ``[start, end)``. Flags may hold marks; they replace what is there if POISON_GIVEN is set."""
        flags = int(page.flags)
        given, marks = flags & _GIVEN != 0, flags & _MARKS
        if flags & (_GIVEN | _MARKS):
            page = replace(page, flags=flags & ~(_GIVEN | _MARKS))
        if end == start + 1:
            self.become(start, Condition(page, marks if given else self.condition(start).marks))
            return
        if given:
            self._own.erase(start, end)
        else:
            self._change_own(start, end, lambda c: Condition(page, c.marks) if c.marks else None)
        number = self.number(Condition(page))
        if number:
            self._described.assign(start, end, number)
        else:
            self._described.clear(start, end)
        if given and marks:
            pfns = np.arange(start, end, dtype=np.uint64)
            self._own.put(pfns, np.full(pfns.size, self.number(Condition(page, marks))))

    def at(self, pfn: int) -> Page:
        """Return the description of a page; kind UNKNOWN where there is none."""
        return self.condition(pfn).page

    def change(self, pfn: int, **changes: int) -> None:
        """Change the description of one page."""
        before = self.condition(pfn)
        self.become(pfn, replace(before, page=replace(before.page, **changes)))

    def unit(self, pfn: int) -> tuple[int, int]:
        """Return the pfns that are poisoned as one: the whole folio of a hugetlb page, else the page."""
        page = self.at(pfn)
        order = page.order if page.kind == PageKind.HUGE else 0
        start = pfn >> order << order
        return start, start + (1 << order)

    # Marks.

    def mark(self, pfn: int, marks: PageFlag) -> None:
        """Add marks to a page."""
        before = self.condition(pfn)
        self.become(pfn, replace(before, marks=before.marks | marks))

    def marked(self, pfn: int, mark: PageFlag) -> bool:
        """Return whether a page itself carries a mark."""
        return bool(self.condition(pfn).marks & mark)

    def marked_in(self, start: int, end: int, mark: PageFlag) -> list[int]:
        """Return the pages of ``[start, end)`` that carry a mark, ascending."""
        pfns, numbers = self._own.within(start, end)
        return [p for p, n in zip(pfns.tolist(), numbers.tolist(), strict=True) if self.conditions[n].marks & mark]

    def is_poisoned(self, pfn: int) -> bool:
        """Return whether the page carries HWPOISON, by itself or as part of a hugetlb folio."""
        condition = self.condition(pfn)
        if condition.marks & _HWPOISON or condition.page.kind != PageKind.HUGE:
            return bool(condition.marks & _HWPOISON)
        return self.any_poisoned(*self.unit(pfn))

    def raw_in(self, pfn: int) -> list[int]:
        """Return the raw poisoned pages of the page's folio."""
        return self.marked_in(*self.unit(pfn), PageFlag.RAW_LISTED)

    def any_poisoned(self, start: int, end: int) -> bool:
        """Return whether a page of ``[start, end)`` is poisoned."""
        _, numbers = self._own.within(start, end)
        return bool(numbers.size) and any(self.conditions[n].marks & _HWPOISON for n in distinct(numbers).tolist())

    def clear(self, start: int, end: int) -> int:
        """Drop all marks of pages ``[start, end)``; return how many were poisoned."""
        if end == start + 1:
            before = self.condition(start)
            if before.marks:
                self.become(start, replace(before, marks=0))
            return int(bool(before.marks & _HWPOISON))
        _, numbers = self._own.within(start, end)
        found, counts = np.unique(numbers, return_counts=True)
        held = dict(zip(found.tolist(), counts.tolist(), strict=True))
        self._change_own(start, end, lambda c: replace(c, marks=0))
        return sum(count for n, count in held.items() if self.conditions[n].marks & _HWPOISON)

    def _change_own(self, start: int, end: int, change: Callable[[Condition], Condition | None]) -> None:
        """Change the conditions of the single pages of ``[start, end)``; None leaves the page to the intervals."""
        pfns, numbers = self._own.within(start, end)
        if not pfns.size:
            return
        found, inverse = np.unique(numbers, return_inverse=True)
        changed = [change(self.conditions[n]) for n in found.tolist()]
        after = np.array([0 if c is None else self.number(c) for c in changed])[inverse]
        alone = np.array([c is not None for c in changed])[inverse]
        self._own.put(pfns, after)
        for pfn in pfns[alone & (after == 0)].tolist():
            self._described.clear(pfn, pfn + 1)
