"""Pages as far as memory errors tell them apart: descriptions given by the trace, and the marks that errors leave.

Descriptions are intervals, marks are kept per page: a machine of 2**34 pages with a thousand interesting ones costs a
thousand entries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from replay.machine.intervals import IntervalMap
from replay.trace.poison import MARKS, PageFlag, PageKind

__all__ = ("Page", "Pages")


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
        return bool(self.flags & flag)


class Pages:
    """Descriptions and marks of all pages.

    Attributes:
        poisoned: pfns that are broken and marked so; a hugetlb folio with such a page counts as poisoned as a whole.
        taken: pfns marked as taken off the buddy lists.
        raw: pfns in the lists of raw poisoned pages of hugetlb folios.
        unreliable: pfns of hugetlb folios whose list is incomplete.
    """

    def __init__(self) -> None:
        self._intervals = IntervalMap()
        self._pages: list[Page] = [Page()]  # value 0 of the interval map: not described
        self._numbers: dict[Page, int] = {Page(): 0}
        self.poisoned: set[int] = set()
        self.taken: set[int] = set()
        self.raw: set[int] = set()
        self.unreliable: set[int] = set()

    def describe(self, start: int, end: int, page: Page) -> None:
        """Describe pages ``[start, end)``. Flags may hold marks; they replace what is there if POISON_GIVEN is set."""
        given, marks = page.has(PageFlag.POISON_GIVEN), page.flags & MARKS
        page = replace(page, flags=page.flags & ~(MARKS | PageFlag.POISON_GIVEN))
        number = self._numbers.setdefault(page, len(self._pages))
        if number == len(self._pages):
            self._pages.append(page)
        if number:
            self._intervals.assign(start, end, number)
        else:
            self._intervals.clear(start, end)
        if given:
            self.clear(start, end)
            for flag, marked in self._marks():
                if marks & flag:
                    marked.update(range(start, end))

    def at(self, pfn: int) -> Page:
        """Return the description of a page; kind UNKNOWN where there is none."""
        return self._pages[self._intervals.get(pfn)]

    def change(self, pfn: int, **changes: int) -> None:
        """Change the description of one page."""
        self.describe(pfn, pfn + 1, replace(self.at(pfn), **changes))

    def unit(self, pfn: int) -> tuple[int, int]:
        """Return the pfns that are poisoned as one: the whole folio of a hugetlb page, else the page."""
        page = self.at(pfn)
        order = page.order if page.kind == PageKind.HUGE else 0
        start = pfn >> order << order
        return start, start + (1 << order)

    def is_poisoned(self, pfn: int) -> bool:
        """Return whether the page carries HWPOISON, by itself or as part of a hugetlb folio."""
        return pfn in self.poisoned or _any_in(self.poisoned, *self.unit(pfn))

    def raw_in(self, pfn: int) -> set[int]:
        """Return the raw poisoned pages of the page's folio."""
        start, end = self.unit(pfn)
        return {p for p in self.raw if start <= p < end}

    def any_poisoned(self, start: int, end: int) -> bool:
        """Return whether a page of ``[start, end)`` is poisoned."""
        return _any_in(self.poisoned, start, end)

    def clear(self, start: int, end: int) -> int:
        """Drop all marks of pages ``[start, end)``; return how many were poisoned."""
        before = len(self.poisoned)
        for _, marked in self._marks():
            marked.difference_update([p for p in marked if start <= p < end])
        return before - len(self.poisoned)

    def _marks(self) -> tuple[tuple[PageFlag, set[int]], ...]:
        return (
            (PageFlag.HWPOISON, self.poisoned),
            (PageFlag.TAKEN_OFF, self.taken),
            (PageFlag.RAW_LISTED, self.raw),
            (PageFlag.RAW_UNRELIABLE, self.unreliable),
        )


def _any_in(pfns: set[int], start: int, end: int) -> bool:
    if len(pfns) < end - start:
        return any(start <= p < end for p in pfns)
    return any(p in pfns for p in range(start, end))
