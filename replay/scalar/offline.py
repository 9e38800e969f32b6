"""soft_offline_page and unpoison_memory as ordered rules (poison.md 8.7)."""

# ruff: noqa: PLR0911 - one rule after the other, as in the document

from __future__ import annotations

from errno import EBUSY, EIO, ENXIO, EOPNOTSUPP

from replay.scalar.facts import Facts
from replay.scalar.verdict import UNDECIDED, Verdict
from replay.trace.poison import PageFlag, PageKind

__all__ = ("decide_soft_offline", "decide_unpoison")

HANDLED = (PageKind.BUDDY, PageKind.HUGE, PageKind.LRU, PageKind.MOVABLE)
NEVER_FREED = (PageKind.SLAB, PageKind.SLAB_COMPOUND, PageKind.PAGE_TABLE, PageKind.RESERVED)


def decide_soft_offline(f: Facts) -> Verdict:
    """S1 to S24, the first rule that holds."""
    c = f.c
    if not f.valid:
        return Verdict("S1", -ENXIO, num=0)
    if c.s_pfn and not f.online:
        return Verdict("S2", -EIO, num=0)
    if c.s_zd and f.pgmap:
        return Verdict("S3", -EIO, num=0)
    if c.s_en and not f.softon:
        return Verdict("S4", -EOPNOTSUPP, num=0)
    if f.kind == PageKind.UNKNOWN:
        return Verdict(UNDECIDED, 0, num=0)
    return refused_soft_offline(f) or free_soft_offline(f) or used_soft_offline(f)


def refused_soft_offline(f: Facts) -> Verdict | None:
    """S5 to S9."""
    c = f.c
    if f.own_hwp and not c.s_pfn:
        return Verdict("S5", -EBUSY, num=0)
    if f.own_hwp:
        return Verdict("S6", 0, num=0)
    if f.filt and c.c_f95:
        return Verdict("S9", -EOPNOTSUPP, num=0)
    file_folio = f.kind == PageKind.LRU and f.large and not f.anon and not f.count
    if c.s_pfn and not c.c_hnd and (f.kind in (PageKind.SLAB_COMPOUND, PageKind.HUGE_ZERO) or file_folio):
        return Verdict("S7a", -EBUSY, num=0)
    if f.kind not in HANDLED and not (f.kind == PageKind.PCP and c.c_toff):
        return Verdict("S7", -EIO, num=0)
    if f.hg and f.huge_use == "BUSY" and c.c_hnd:
        return Verdict("S7b", -EIO, num=0)
    if file_folio and not c.c_fthp:
        return Verdict("S8", -EIO, num=0)
    return None


def free_soft_offline(f: Facts) -> Verdict | None:
    """S10 to S16."""
    c = f.c
    if f.isbud and not c.s_strict:
        return Verdict("S10", 0, hwp=True, num=1)
    if f.isbud and f.toff:
        return Verdict("S11", 0, hwp=True, num=1)
    if f.isbud and c.s_fail0:
        return Verdict("S12", 0, num=0)
    if f.isbud:
        return Verdict("S13", -EBUSY, num=0)
    if not (f.hg and f.huge_use == "FREE"):
        return None
    if not c.s_strict or f.dissolv:
        return Verdict("S14", 0, hwp=True, num=1)
    if c.s_fail0:
        return Verdict("S15", 0, num=0)
    return Verdict("S16", -EBUSY, num=0)


def used_soft_offline(f: Facts) -> Verdict:
    """S17 to S24."""
    c = f.c
    unsplit = not f.split or (not f.anon and not c.c_fthp) or (c.c_minord and f.minord)
    if f.kind == PageKind.LRU and f.large and unsplit:
        return Verdict("S17", -EBUSY, num=0)
    if f.kind == PageKind.LRU and f.has(PageFlag.EVICTABLE):
        return Verdict("S18", 0, hwp=True, num=1)
    if f.has(PageFlag.NOT_ISOLATABLE) or (f.hg and f.huge_use == "BUSY"):
        return Verdict("S19", -EBUSY, num=0)
    if f.mig < 0:
        return Verdict("S20", f.mig, num=0)
    if f.mig > 0 and not c.s_pfn:
        return Verdict("S21", -EIO, num=0)
    if f.mig > 0:
        return Verdict("S22", -EBUSY, num=0)
    if f.hg and c.s_strict and not f.dissolv:
        return Verdict("S23", -EBUSY, num=0)
    return Verdict("S24", 0, hwp=True, num=1)


def decide_unpoison(f: Facts) -> Verdict:
    """U1 to U10, the first rule that holds."""
    c = f.c
    if c.u_on and not f.online:
        return Verdict("U1", -EIO, num=0)
    if not c.u_on and not f.valid:
        return Verdict("U2", -ENXIO, num=0)
    if c.c_raw and f.hwmf:
        return Verdict("U3", -EOPNOTSUPP, num=0)
    if f.kind == PageKind.UNKNOWN:
        return Verdict(UNDECIDED, 0, num=0)
    in_use = not f.own_hwp or f.page.refs > 1 or f.mapped or f.has(PageFlag.MAPPING_SET)
    if c.c_raw:
        if f.kind == PageKind.HUGE_ZERO:
            return Verdict("U4", -EOPNOTSUPP, num=0)
        if in_use:
            return Verdict("U5", -EBUSY, num=0)
        if f.kind in NEVER_FREED or (f.kind == PageKind.OFFLINE and c.c_late):
            return Verdict("U6", -EBUSY, num=0)
        if f.hg and (f.rawcnt == 0 or f.unrel):
            return Verdict("U7", -EBUSY, num=0)
    elif in_use or f.large or f.kind in (PageKind.SLAB_COMPOUND, PageKind.HUGE_ZERO):
        return Verdict("U8", 0, num=0)
    if c.c_raw and f.hg:
        return Verdict("U9", 0, hwp=False, num=-f.rawcnt)
    return Verdict("U10", 0, hwp=False, num=-1)
