"""What calls about poison change (poison-model.md, What a call changes)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replay.scalar.facts import Facts
from replay.scalar.kill import HUGETLB, LRU, LRU_2009, Victim
from replay.scalar.pages import FREE_PAGE, GONE_PAGE, Page
from replay.scalar.ranges import round_down, subtract
from replay.scalar.verdict import Verdict
from replay.trace.poison import Counter, MappingClass, PageFlag, PageKind

if TYPE_CHECKING:
    from replay.scalar.state import State

__all__ = ("after_memory_failure", "after_soft_offline", "after_unpoison")

RESULTS = {"I": Counter.IGNORED, "F": Counter.FAILED, "D": Counter.DELAYED, "R": Counter.RECOVERED}


def counted(f: Facts, verdict: Verdict) -> bool:
    """Whether an event is counted, where events are (8.7)."""
    if verdict.action == "ALREADY_POISONED" and f.c.c_alrev == 1:
        return False
    return bool(f.c.c_cres and verdict.event) and verdict.action != "PFN_MAP"


def count_call(state: State, pfn: int, f: Facts, verdict: Verdict) -> None:
    """The counters."""
    num = verdict.num
    if num is None:
        flagged = verdict.hwp is True and verdict.action != "DAX"
        num = int(counted(f, verdict) if f.c.c_cres else flagged)
    state.poison.count += num
    if counted(f, verdict):
        state.poison.count_event(pfn, RESULTS[verdict.result])


def after_memory_failure(state: State, pfn: int, f: Facts, verdict: Verdict, victims: list[Victim]) -> None:
    """Counters, marks, mappings and the description."""
    count_call(state, pfn, f, verdict)
    pages = state.poison.pages
    if verdict.hwp is True:
        pages.mark(pfn, PageFlag.HWPOISON | (PageFlag.RAW_LISTED if f.hg else 0))
    elif verdict.hwp is False:
        pages.clear(pages.unit(pfn))
        if verdict.rule == "R37" and pfn == pages.unit(pfn)[0]:  # what the raw list held gets the flag itself
            pages.mark(pfn, PageFlag.HWPOISON)
    elif verdict.rule in ("R30", "R31", "R32", "R34") and f.newraw:
        pages.mark(pfn, PageFlag.HWPOISON | PageFlag.RAW_LISTED)
    if verdict.rule in ("R11", "R19"):
        unmap_device(state, pfn, f, victims)
    elif verdict.rule in HUGETLB + LRU + LRU_2009:
        unmap_page(state, pfn, f)
    if verdict.hwp is True and verdict.rule != "R19":
        describe_failed(state, pfn, f, verdict)


def unmapped(f: Facts) -> bool:
    """Whether the user-mapping step leaves the page unmapped."""
    if f.ksm and not f.c.c_ksm:
        return False
    return f.mapped and (f.unmap or not f.mp)


def unmap_page(state: State, pfn: int, f: Facts) -> None:
    """The user-mapping step; a file THP that was split has no mappings any more, and leaves no entries."""
    if unmapped(f):
        state.poison.tasks.unmap_everywhere(state.poison.pages.unit(pfn), leave_entries=f.hwpte)


def unmap_device(state: State, pfn: int, f: Facts, victims: list[Victim]) -> None:
    """The dev_pagemap path takes away what the largest entry among the collected tasks maps (4.2, step 8)."""
    shifts = [victim.mapping.shift for victim in victims if victim.mapping.present]
    if shifts:
        size = 1 << max(0, max(shifts) - state.geometry.page_shift)
        start = round_down(pfn, size)
        state.poison.tasks.zap_everywhere((start, start + size))


def describe_failed(state: State, pfn: int, f: Facts, verdict: Verdict) -> None:
    """The page after memory_failure."""
    page = f.page
    if verdict.event in ("BUDDY:R", "FREE_HUGE:R") or (verdict.event == "HUGE:R" and f.anon):
        page = take_off(state, pfn, f)
    elif verdict.event == "FREE_HUGE:D":
        page = dissolve(state, pfn) if f.dissolv else page.but(refs=0)
    elif verdict.event == "BUDDY:D" or verdict.rule == "Z4":
        page = page.but(refs=0)
    elif verdict.event == "HUGE:R":
        kept = page.but(without=PageFlag.MAPPED)
        page = kept.but(also=PageFlag.MAPPING_SET, refs=2) if f.c.c_raw else kept.but(refs=1)
    elif verdict.rule in ("R84", "Z8"):
        page = page.but(without=PageFlag.DIRTY | PageFlag.MAPPED, refs=2)
    elif verdict.rule in ("R86", "R90", "Z9", "Z10"):
        stays = verdict.rule == "R90" and not f.anon and f.map == MappingClass.SHMEM and f.c.c_fthp
        page = GONE_PAGE.but(also=PageFlag.MAPPING_SET, refs=2) if stays else GONE_PAGE
    elif keeps_reference(verdict):
        gone = verdict.rule in HUGETLB + LRU + LRU_2009 and unmapped(f)
        swap = PageFlag.SWAPCACHE if verdict.rule == "R87" else 0  # the clean handler has removed it by then
        page = page.but(without=(PageFlag.MAPPED if gone else 0) | swap, refs=max(2, page.refs))
    if page != f.page:
        state.poison.pages.described.put((pfn, pfn + 1), page)


def keeps_reference(verdict: Verdict) -> bool:
    """Whether the page is as it was, but for the reference that memory_failure never drops."""
    if verdict.action == "UNSPLIT_THP":
        return False
    return verdict.result == "F" or verdict.action in ("TRUNCATED_LRU", "UNMAP_FAILED") or verdict.rule == "Z7"


def take_off(state: State, pfn: int, f: Facts) -> Page:
    """A free page is taken off the free lists; a hugetlb page is dissolved first."""
    if not f.c.c_toff:  # HUGE:R of an anonymous page, the result of dissolving ignored (7.1)
        if f.dissolv and f.pins == 0:
            return dissolve(state, pfn)
        return f.page.but(without=PageFlag.MAPPED, also=PageFlag.HUGE_FREE, refs=0)
    if f.hg:
        dissolve(state, pfn)
    state.poison.pages.mark(pfn, PageFlag.TAKEN_OFF)
    return GONE_PAGE


def dissolve(state: State, pfn: int) -> Page:
    """A hugetlb page becomes free pages; the marks stay on the ones that are broken, this one among them."""
    pages = state.poison.pages
    folio = pages.unit(pfn)
    broken = {raw for raw in pages.raw if folio[0] <= raw < folio[1]} | {pfn}
    pages.clear(folio)
    for rest in subtract(folio, [(pfn, pfn + 1)]):
        pages.described.put(rest, FREE_PAGE)
    for raw in broken:
        pages.mark(raw, PageFlag.HWPOISON)
    return FREE_PAGE


def after_soft_offline(state: State, pfn: int, f: Facts, verdict: Verdict) -> None:
    """The page after a soft offline that succeeded: nobody maps it, its content is elsewhere."""
    state.poison.count += verdict.num or 0
    if verdict.hwp is not True:
        return
    pages = state.poison.pages
    state.poison.tasks.unmap_everywhere(pages.unit(pfn), leave_entries=False)
    if f.hg and not f.dissolv:  # without soft-offline-strict
        pages.mark(pfn, PageFlag.HWPOISON | PageFlag.RAW_LISTED)
        page = f.page.but(without=PageFlag.MAPPED, also=PageFlag.HUGE_FREE, refs=0)
    else:
        was_free = f.isbud or (f.hg and f.huge_use == "FREE")
        if f.hg:
            dissolve(state, pfn)
        pages.mark(pfn, PageFlag.HWPOISON | (PageFlag.TAKEN_OFF if was_free else 0))
        page = GONE_PAGE.but(refs=1 if f.c.s_pfn else 0)
    pages.described.put((pfn, pfn + 1), page)


def after_unpoison(state: State, pfn: int, f: Facts, verdict: Verdict) -> None:
    """The page after an unpoison that succeeded: freed if only the memory error code held it."""
    state.poison.count += verdict.num or 0
    if verdict.hwp is not False:
        return
    pages = state.poison.pages
    pages.clear(pages.unit(pfn))
    page = f.page.but(refs=0)
    if f.page.refs == 1:
        page = page.but(also=PageFlag.HUGE_FREE) if f.kind == PageKind.HUGE else FREE_PAGE
    pages.described.put((pfn, pfn + 1), page)
