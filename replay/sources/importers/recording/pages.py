"""kpageflags of a page -> what the memory error code tells apart, as far as the flags say."""

from __future__ import annotations

from typing import NamedTuple

from replay.sources.importers.machine.pageflags import Kpf
from replay.trace.poison import PageFlag, PageKind

__all__ = ("HUGE_ORDER", "Kpf", "PageView", "is_readable", "read_page")

HUGE_ORDER = 9  # of a 2 MiB folio


class _Rule(NamedTuple):
    every: int  # bits that are all set
    some: int  # bits of which one is set; 0: does not matter
    none: int  # bits that are all clear
    kind: PageKind


_RULES = (
    # First match. A page in use without the LRU bit is on its way to the LRU. A free page has no bit when it is on a
    # per-CPU list; so does a page that the kernel uses for itself.
    _Rule(Kpf.HUGE, 0, 0, PageKind.HUGE),
    _Rule(Kpf.BUDDY, 0, 0, PageKind.BUDDY),
    _Rule(Kpf.SLAB, Kpf.HEAD | Kpf.TAIL, 0, PageKind.SLAB_COMPOUND),
    _Rule(Kpf.SLAB, 0, 0, PageKind.SLAB),
    _Rule(Kpf.PGTABLE, 0, 0, PageKind.PAGE_TABLE),
    _Rule(Kpf.OFFLINE, 0, 0, PageKind.OFFLINE),
    _Rule(Kpf.ZERO | Kpf.THP, 0, 0, PageKind.HUGE_ZERO),
    _Rule(0, Kpf.RESERVED | Kpf.ZERO, 0, PageKind.RESERVED),
    # Mapped by a process, and nothing else: a buffer of the kernel's own. A user page has been written or read at least.
    _Rule(Kpf.MMAP, 0, Kpf.LRU | Kpf.ANON | Kpf.THP | Kpf.UPTODATE | Kpf.SWAPCACHE | Kpf.HWPOISON, PageKind.KERNEL),
    _Rule(0, Kpf.LRU | Kpf.MMAP | Kpf.ANON | Kpf.THP, 0, PageKind.LRU),
    _Rule(Kpf.UPTODATE, 0, Kpf.HWPOISON, PageKind.LRU),
)
_FLAGS = (
    # bits that are all set, bits that are all clear -> flag
    (Kpf.ANON, 0, PageFlag.ANON),
    (Kpf.KSM, 0, PageFlag.KSM),
    (Kpf.SWAPCACHE | Kpf.ANON, 0, PageFlag.SWAPCACHE),
    (Kpf.THP, 0, PageFlag.LARGE),
    (Kpf.DIRTY, 0, PageFlag.DIRTY),
    (Kpf.WRITEBACK, 0, PageFlag.WRITEBACK),
    (Kpf.MMAP, 0, PageFlag.MAPPED),
    (Kpf.UNEVICTABLE, Kpf.MLOCKED, PageFlag.UNEVICTABLE),  # unmapping takes back what mlock did
)


class PageView(NamedTuple):
    """What kpageflags says about a page.

    Attributes:
        kind: UNKNOWN when no bit tells.
        flags: PageFlag bits.
        order: folio order, as far as the flags say.
        compound: it is a part of a block of pages that are no user memory.
        poisoned: the HWPoison bit.
    """

    kind: PageKind
    flags: int
    order: int
    compound: bool
    poisoned: bool


def is_readable(flags: int | None) -> bool:
    """Return whether /proc/kpageflags had an entry for the page, as far as that can be told."""
    return flags is not None and not flags & Kpf.NOPAGE


def read_page(flags: int, offset: int) -> PageView:
    """Decode an entry of /proc/kpageflags.

    Args:
        flags: the entry.
        offset: pages from the start of the 2 MiB that hold the page.
    """
    kind = next((rule.kind for rule in _RULES if _matches(rule, flags)), PageKind.UNKNOWN)
    page_flags, order = 0, 0
    if kind == PageKind.LRU:
        page_flags = sum(int(flag) for every, none, flag in _FLAGS if flags & every == every and not flags & none)
        order = HUGE_ORDER if flags & Kpf.THP else 0
    elif kind == PageKind.HUGE:
        mapped = bool(flags & Kpf.MMAP)
        page_flags = (PageFlag.ANON if flags & Kpf.ANON else 0) | (PageFlag.TAIL if offset else 0)
        page_flags |= PageFlag.MAPPED if mapped else PageFlag.HUGE_FREE
        order = HUGE_ORDER
    elif kind == PageKind.HUGE_ZERO:
        order = HUGE_ORDER
    compound = kind == PageKind.UNKNOWN and bool(flags & (Kpf.HEAD | Kpf.TAIL))
    return PageView(kind, page_flags, order, compound, bool(flags & Kpf.HWPOISON))


def _matches(rule: _Rule, flags: int) -> bool:
    return flags & rule.every == rule.every and (not rule.some or bool(flags & rule.some)) and not flags & rule.none
