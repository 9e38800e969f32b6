"""What a poison call leaves behind: marks, the page's new condition, mappings."""

from __future__ import annotations

from collections.abc import Callable

from replay.engine.poison_call import Verdict
from replay.kernel.calls import Kernel
from replay.kernel.poison_calls import KEEP, PageEffect
from replay.machine.mappings import Mapping
from replay.machine.pages import Page, Pages
from replay.machine.tasks import Tasks
from replay.trace.poison import PageFlag, PageKind

__all__ = ("change_page", "dax_range", "unmap")

_KERNEL = Page(kind=PageKind.KERNEL, refs=1)
_FREE = Page(kind=PageKind.BUDDY, refs=0)
_RAW = PageFlag.HWPOISON | PageFlag.RAW_LISTED


def change_page(pages: Pages, kernel: Kernel, pfn: int, flagged: int, verdict: Verdict) -> None:
    """Leave the marks of a call, and put its page into the condition that follows.

    Args:
        pages: all pages.
        kernel: whose rules apply.
        pfn: the page.
        flagged: the page that gets HWPoison.
        verdict: on the call.
    """
    if verdict.poison != KEEP:
        _set_poison(pages, flagged, verdict.poison)
    _apply(pages, kernel, pfn, verdict.effect, unmapped=verdict.unmapped)


def unmap(tasks: Tasks, pages: Pages, pfn: int, verdict: Verdict) -> None:
    """Remove the mappings that a call removes; the page is still what it was."""
    if verdict.unmapped:
        _unmap_page(tasks, pages, pfn, entries=verdict.entries)
    if verdict.effect in {PageEffect.SOFT_FREE, PageEffect.SOFT_USED}:
        _unmap_page(tasks, pages, pfn, entries=False)


def _set_poison(pages: Pages, pfn: int, change: int) -> None:
    """Set (1) or clear (0) HWPoison of a page; of a hugetlb page, in the list of its folio too."""
    if not change:
        pages.clear(*pages.unit(pfn))
        return
    pages.mark(pfn, _RAW if pages.at(pfn).kind == PageKind.HUGE else PageFlag.HWPOISON)


def _apply(pages: Pages, kernel: Kernel, pfn: int, effect: PageEffect, *, unmapped: bool) -> None:
    """Put a page into the condition that a call leaves it in (table "Page afterwards" of the poison model)."""
    page = pages.at(pfn)
    if effect in _EFFECTS:
        _EFFECTS[effect](pages, pfn, page)
    elif effect in {PageEffect.HELD, PageEffect.SWAPCACHE_HELD}:
        gone = PageFlag.MAPPED if unmapped else 0
        gone |= PageFlag.SWAPCACHE if effect is PageEffect.SWAPCACHE_HELD else 0
        pages.change(pfn, refs=max(page.refs, 2), flags=page.flags & ~gone)
    elif effect is PageEffect.HUGE_KEPT:
        kept = kernel.has("hugetlb-raw-list")  # before, a file page was removed from its cache
        flags = page.flags & ~PageFlag.MAPPED | (PageFlag.MAPPING_SET if kept else 0)
        pages.change(pfn, refs=2 if kept else 1, flags=flags)
    elif effect in {PageEffect.SOFT_FREE, PageEffect.SOFT_USED}:
        _soft_offlined(pages, kernel, pfn, page, free=effect is PageEffect.SOFT_FREE)


def _unmap_page(tasks: Tasks, pages: Pages, pfn: int, *, entries: bool) -> None:
    """Remove the mappings of a page (of its hugetlb folio), leaving hwpoison entries or nothing."""
    page = pages.at(pfn)
    if entries:
        tasks.poison(*pages.unit(pfn), whole=page.kind == PageKind.HUGE)
    else:
        tasks.unmap(*pages.unit(pfn))


def dax_range(pfn: int, mappings: list[Mapping], page_shift: int) -> tuple[int, int]:
    """Return the pfns that a DAX error unmaps: the largest mapping size among the collected, aligned."""
    shift = max((m.shift for m in mappings), default=page_shift) - page_shift
    first = pfn >> shift << shift
    return first, first + (1 << shift)


def _taken_off(pages: Pages, pfn: int, page: Page) -> None:
    if page.kind == PageKind.HUGE:
        _dissolve(pages, pfn)
    pages.describe(pfn, pfn + 1, _KERNEL)
    pages.mark(pfn, PageFlag.TAKEN_OFF)


def _huge_freed(pages: Pages, pfn: int, page: Page) -> None:
    free = page.has(PageFlag.HUGE_FREE)
    if not page.has(PageFlag.NOT_DISSOLVABLE) and (free or page.pins == 0):
        _dissolve(pages, pfn)
    elif free:
        pages.change(pfn, refs=0)
    else:
        pages.change(pfn, refs=0, flags=page.flags & ~PageFlag.MAPPED | PageFlag.HUGE_FREE)


def _dissolve(pages: Pages, pfn: int) -> None:
    """Turn a hugetlb folio into free pages; the marks go to the pages that are broken."""
    start, end = pages.unit(pfn)
    broken = {*pages.raw_in(pfn), pfn}
    pages.clear(start, end)
    pages.describe(start, end, _FREE)
    for page_frame in broken:
        pages.mark(page_frame, PageFlag.HWPOISON)


def _removed(pages: Pages, pfn: int, page: Page) -> None:
    pages.describe(pfn, pfn + 1, _KERNEL)


def _shmem_kept(pages: Pages, pfn: int, page: Page) -> None:
    pages.describe(pfn, pfn + 1, Page(kind=PageKind.KERNEL, refs=2, flags=PageFlag.MAPPING_SET))


def _swapcache_kept(pages: Pages, pfn: int, page: Page) -> None:
    pages.change(pfn, refs=2, flags=page.flags & ~(PageFlag.DIRTY | PageFlag.MAPPED))


def _in_buddy(pages: Pages, pfn: int, page: Page) -> None:
    pages.change(pfn, refs=0)


def _raw_added(pages: Pages, pfn: int, page: Page) -> None:
    pages.mark(pfn, _RAW)


def _raw_moved(pages: Pages, pfn: int, page: Page) -> None:
    # A tail has a flag of its own then, which nothing looks at while it is part of a hugetlb page.
    if pfn == pages.unit(pfn)[0]:
        pages.mark(pfn, PageFlag.HWPOISON)


def _unpoisoned(pages: Pages, pfn: int, page: Page) -> None:
    freed = page.refs == 1
    pages.clear(*pages.unit(pfn))
    if page.kind == PageKind.HUGE:
        pages.change(pfn, refs=0, flags=page.flags | (PageFlag.HUGE_FREE if freed else 0))
    elif freed:
        pages.describe(pfn, pfn + 1, _FREE)
    else:
        pages.change(pfn, refs=0)


def _soft_offlined(pages: Pages, kernel: Kernel, pfn: int, page: Page, *, free: bool) -> None:
    if page.kind == PageKind.HUGE:
        pages.mark(pfn, _RAW)
        if page.has(PageFlag.NOT_DISSOLVABLE):
            pages.change(pfn, refs=0, flags=page.flags & ~PageFlag.MAPPED | PageFlag.HUGE_FREE)
            return
        _dissolve(pages, pfn)
    pages.describe(pfn, pfn + 1, Page(kind=PageKind.KERNEL, refs=1 if kernel.has("soft-offline-by-pfn") else 0))
    pages.mark(pfn, PageFlag.HWPOISON | PageFlag.TAKEN_OFF if free else PageFlag.HWPOISON)


_EFFECTS: dict[PageEffect, Callable[[Pages, int, Page], None]] = {
    PageEffect.TAKEN_OFF: _taken_off,
    PageEffect.IN_BUDDY: _in_buddy,
    PageEffect.HUGE_FREED: _huge_freed,
    PageEffect.REMOVED: _removed,
    PageEffect.SHMEM_KEPT: _shmem_kept,
    PageEffect.SWAPCACHE_KEPT: _swapcache_kept,
    PageEffect.RAW_ADDED: _raw_added,
    PageEffect.RAW_MOVED: _raw_moved,
    PageEffect.UNPOISONED: _unpoisoned,
}
