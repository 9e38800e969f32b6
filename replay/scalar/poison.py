"""memory_failure as ordered rules (poison.md 8.4, and 8.6 for v2.6.32); the ids are those of the document."""

# ruff: noqa: PLR0911 - one rule after the other, as in the document

from __future__ import annotations

from errno import EBUSY, EIO, ENXIO, EOPNOTSUPP

from replay.scalar.facts import EHWPOISON, Facts
from replay.scalar.verdict import UNDECIDED, Verdict
from replay.trace.outcomes import RET_BUG
from replay.trace.poison import MappingClass, PageFlag, PageKind

__all__ = ("decide_memory_failure",)

SLABS = (PageKind.SLAB, PageKind.SLAB_COMPOUND)


def decide_memory_failure(f: Facts) -> Verdict:
    """The first rule that holds."""
    if f.c.v26:
        return rules_of_2009(f)
    verdict = address_rules(f) or device_rules(f)
    if verdict:
        return verdict
    if f.kind == PageKind.UNKNOWN:
        return Verdict(UNDECIDED, 0, num=0)
    if f.hg:
        return (raw_list_rules(f) if f.c.c_raw else head_flag_rules(f)) or used_hugetlb_rules(f)
    return poisoned_rules(f) or reference_rules(f) or folio_rules(f) or not_lru_rules(f) or lru_rules(f)


def address_rules(f: Facts) -> Verdict | None:
    """R01 to R06."""
    c = f.c
    if not f.recov:
        return Verdict("R01", RET_BUG, num=0)  # panic
    if c.c_online and not f.online:
        if c.c_sgx and f.has(PageFlag.SGX):
            return Verdict("R02", 0, num=0)
        if not f.valid and c.c_pfnmap and not f.has(PageFlag.PLATFORM):
            if f.has(PageFlag.PFN_SPACE):
                return Verdict("R03", 0, "PFN_MAP:R", num=0)
            return Verdict("R04", -EBUSY, "PFN_MAP:I", num=0)
        if not f.valid or not f.pgmap:
            return Verdict("R05", -ENXIO, num=0)
    if not c.c_online and not f.valid:
        return Verdict("R06", -ENXIO, num=0)
    return None


def device_rules(f: Facts) -> Verdict | None:
    """R10 to R19: the dev_pagemap path."""
    c, owner_ret = f.c, f.page.owner_ret
    if not f.dv:
        return None
    if c.c_meta and f.meta:
        return Verdict("R10", -ENXIO, "DAX:F")
    if f.kind == PageKind.UNKNOWN:
        return None  # undecided
    if c.c_own and owner_ret == 0:
        return Verdict("R11", 0, "DAX:R")
    if c.c_own and owner_ret != -EOPNOTSUPP:
        return Verdict("R12", owner_ret, "DAX:F")
    if not f.daxlock:
        return Verdict("R13", -EBUSY, "DAX:F")
    if f.filt and not c.c_f95:
        return Verdict("R14", 0, "DAX:R")
    if f.filt and not c.c_fearly:
        return Verdict("R15", -EOPNOTSUPP, "DAX:F")
    if f.filt:
        return Verdict("R16", -EOPNOTSUPP, num=0)
    if f.devmem and c.c_own:
        return Verdict("R17", -ENXIO, "DAX:F")
    if f.devmem:
        return Verdict("R18", -EBUSY, "DAX:F")
    return Verdict("R19", 0, "DAX:R", hwp=True)


def head_flag_rules(f: Facts) -> Verdict | None:
    """R20 to R26: hugetlb, before there was a raw list."""
    free = not f.count and f.huge_use == "FREE"
    if f.hwp:
        return Verdict("R20", 0, num=0)
    if free and f.tail:
        return Verdict("R21", 0, hwp=True, num=0)
    if free and f.filt:
        return Verdict("R22", 0, hwp=False, num=0)
    if free and not f.c.c_toff:
        return Verdict("R23", 0, "FREE_HUGE:D", hwp=True)
    if free and f.dissolv:
        return Verdict("R24", 0, "FREE_HUGE:R", hwp=True)
    if free:
        return Verdict("R25", -EBUSY, "FREE_HUGE:F", hwp=True)
    if f.has(PageFlag.PUD):
        return Verdict("R26", -EBUSY, "NON_PMD_HUGE:I", hwp=True)
    return None


def raw_list_rules(f: Facts) -> Verdict | None:
    """R30 to R39: hugetlb, with a raw list."""
    c = f.c
    if f.hwp:
        if c.c_alrev == 0:
            return Verdict("R30", f.krc, num=int(f.newraw))
        if c.c_alrev == 2 and f.ar:
            return Verdict("R31", f.krc, "ALREADY_POISONED:F", num=1 + f.newraw)
        if c.c_alrev == 2:
            return Verdict("R32", f.krc, num=int(f.newraw))
        if f.rawhit and not f.unrel:
            return Verdict("R33", f.krc, "ALREADY_POISONED:F", num=0)
        return Verdict("R34", f.krc, "HUGE:F")
    if not f.count and f.huge_use == "BUSY":
        if not c.c_late:
            return Verdict("R35", -EBUSY, "UNKNOWN:I", hwp=True)
        return Verdict("R36", -EBUSY, "GET_HWPOISON:I", hwp=True)
    if f.filt:
        return Verdict("R37", -EOPNOTSUPP, hwp=False, num=0)
    if not f.count and f.huge_use == "FREE":
        if f.dissolv:
            return Verdict("R38", 0, "FREE_HUGE:R", hwp=True)
        return Verdict("R39", -EBUSY, "FREE_HUGE:F", hwp=True)
    return None


def used_hugetlb_rules(f: Facts) -> Verdict:
    """R40 to R46: hugetlb in use."""
    c = f.c
    if f.ufail and not c.c_late:
        return Verdict("R40", -EBUSY, "UNMAP_FAILED:I", hwp=True)
    if f.ufail:
        return Verdict("R41", -EBUSY, "UNMAP_FAILED:F", hwp=True)
    if not f.anon and f.rel and f.pins == 0:
        return Verdict("R42", 0, "HUGE:R", hwp=True)
    if not f.anon:
        return Verdict("R43", -EBUSY, "HUGE:F", hwp=True)
    if not c.c_toff and f.pins < 2:
        return Verdict("R44", 0, "HUGE:R", hwp=True)
    if c.c_toff and f.dissolv and f.pins == 0:
        return Verdict("R45", 0, "HUGE:R", hwp=True)
    return Verdict("R46", -EBUSY, "HUGE:F", hwp=True)


def poisoned_rules(f: Facts) -> Verdict | None:
    """R50 to R53: poisoned already."""
    if not f.hwp:
        return None
    if not f.c.c_alr:
        return Verdict("R50", 0, num=0)
    if f.c.c_alrev == 0:
        return Verdict("R51", f.krc, num=0)
    if f.c.c_alrev == 1:
        return Verdict("R52", f.krc, "ALREADY_POISONED:F", num=0)
    return Verdict("R53", f.krc, "ALREADY_POISONED:F", num=1)


def reference_rules(f: Facts) -> Verdict | None:
    """R54 to R59: what the reference step finds."""
    c = f.c
    if f.gl and f.isbud and c.c_toff:
        if f.toff:
            return Verdict("R54", 0, "BUDDY:R", hwp=True)
        return Verdict("R55", -EBUSY, "BUDDY:F", hwp=True)
    if not f.count and f.kind == PageKind.BUDDY:
        return Verdict("R56", 0, "BUDDY:D", hwp=True)
    no_count = f.kind in (PageKind.PCP, PageKind.KERNEL_TAIL, PageKind.SLAB_COMPOUND, PageKind.HUGE_ZERO)
    file_thp = f.kind == PageKind.LRU and f.large and not f.anon
    if not c.c_hnd and not f.count and (no_count or file_thp):
        return Verdict("R57", -EBUSY, "KERNEL_HIGH_ORDER:I", hwp=True)
    if c.c_hnd and f.gl and f.kind != PageKind.LRU:
        if not c.c_late:
            return Verdict("R58", -EBUSY, "UNKNOWN:I", hwp=True)
        return Verdict("R59", -EBUSY, "GET_HWPOISON:I", hwp=True)
    return None


def folio_rules(f: Facts) -> Verdict | None:
    """R60 to R65: filter and split."""
    c = f.c
    if f.filt and c.c_fearly:
        return Verdict("R60", -EOPNOTSUPP, hwp=False, num=0)
    if f.lg and c.c_thp == 0 and (not f.anon or not f.spl):
        return Verdict("R61", -EBUSY, hwp=False, num=0)
    if f.lg and c.c_thp == 1 and (not f.spl or (not f.anon and not c.c_fthp)):
        return Verdict("R62", -EBUSY, "UNSPLIT_THP:I", hwp=True)
    if f.lg and c.c_thp == 2 and (not f.spl or (c.c_minord and f.minord)):
        return Verdict("R63", -EHWPOISON, "UNSPLIT_THP:F", hwp=True)
    if f.filt and not c.c_f95:
        return Verdict("R64", 0, hwp=False, num=0)
    if f.filt:
        return Verdict("R65", -EOPNOTSUPP, hwp=False, num=0)
    return None


def not_lru_rules(f: Facts) -> Verdict | None:
    """R70 to R74: the state table for pages off the LRU; one under writeback may be waited for and goes on."""
    c = f.c
    if f.kind == PageKind.ISOLATED and f.has(PageFlag.WRITEBACK) and c.wb_waits:
        return None
    if f.kind == PageKind.RESERVED and c.c_ref:
        return Verdict("R70", -EBUSY, "KERNEL:F", hwp=True)
    if f.kind == PageKind.RESERVED:
        return Verdict("R71", -EBUSY, "KERNEL:I", hwp=True)
    if f.kind in SLABS and c.c_ref:
        return Verdict("R72", -EBUSY, "SLAB:F", hwp=True)
    if f.kind in SLABS and not c.c_late:
        return Verdict("R72b", -EBUSY, "SLAB:I", hwp=True)
    if f.kind != PageKind.LRU and not c.c_late:
        return Verdict("R73", -EBUSY, "UNKNOWN:F", hwp=True)
    if f.kind != PageKind.LRU:
        return Verdict("R74", -EBUSY, "UNKNOWN:I", hwp=True)
    return None


def lru_rules(f: Facts) -> Verdict:
    """R80 to R91: user mappings, and the state table for LRU pages."""
    c = f.c
    if f.ksm and f.mp and not c.c_ksm:
        return Verdict("R80", -EBUSY, "UNMAP_FAILED:I", hwp=True)
    if f.ufail and not c.c_late:
        return Verdict("R81", -EBUSY, "UNMAP_FAILED:I", hwp=True)
    if f.ufail:
        return Verdict("R82", -EBUSY, "UNMAP_FAILED:F", hwp=True)
    if not f.anon and not f.swapc and f.map == MappingClass.NONE:
        return Verdict("R83", -EBUSY, "TRUNCATED_LRU:I", hwp=True)
    if f.swapc and f.dirty2 and f.pins == 0:
        return Verdict("R84", 0, "DIRTY_SWAPCACHE:D", hwp=True)
    if f.swapc and f.dirty2:
        return Verdict("R85", -EBUSY, "DIRTY_SWAPCACHE:F", hwp=True)
    if f.swapc and f.pins == 0:
        return Verdict("R86", 0, "CLEAN_SWAPCACHE:R", hwp=True)
    if f.swapc:
        return Verdict("R87", -EBUSY, "CLEAN_SWAPCACHE:F", hwp=True)
    if f.okrow:
        return Verdict("R90", 0, f"{f.row}:R", hwp=True)
    return Verdict("R91", -EBUSY, f"{f.row}:F", hwp=True)


def rules_of_2009(f: Facts) -> Verdict:
    """Z1 to Z11; the events are message texts."""
    if not f.recov:
        return Verdict("Z1", RET_BUG, num=0)  # panic
    if not f.valid:
        return Verdict("Z2", -EIO, "outside control:I", num=0)
    if f.kind == PageKind.UNKNOWN:
        return Verdict(UNDECIDED, 0, num=0)
    if f.hwp:
        return Verdict("Z3", 0, "already:I", num=0)
    if f.kind == PageKind.BUDDY and not f.has(PageFlag.NOT_BLOCK_HEAD):
        return Verdict("Z4", 0, "free or high order:I", hwp=True, num=1)
    free = f.kind in (PageKind.BUDDY, PageKind.PCP, PageKind.KERNEL_TAIL)
    if free or (f.hg and f.huge_use == "FREE"):
        return Verdict("Z5", -EBUSY, "free or high order:I", hwp=True, num=1)
    if f.kind != PageKind.LRU:
        return Verdict("Z6", -EBUSY, "non LRU:I", hwp=True, num=1)
    if not f.anon and not f.swapc and f.map == MappingClass.NONE:
        return Verdict("Z7", 0, "already truncated LRU:I", hwp=True, num=1)
    if f.swapc and f.dirty2:
        return Verdict("Z8", -EBUSY, "swapcache:D", hwp=True, num=1)
    if f.swapc:
        return Verdict("Z9", 0, "swapcache:R", hwp=True, num=1)
    removed = f.map in (MappingClass.REGULAR, MappingClass.SHMEM)
    dropped = f.map in (MappingClass.BLOCK_DEVICE, MappingClass.NO_OPERATION) and not f.dirty2
    if f.anon or (f.rel and (removed or dropped)):
        return Verdict("Z10", 0, f"{row_of_2009(f)}:R", hwp=True, num=1)
    return Verdict("Z11", -EBUSY, f"{row_of_2009(f)}:F", hwp=True, num=1)


def row_of_2009(f: Facts) -> str:
    """ROW26."""
    if f.has(PageFlag.UNEVICTABLE):
        return "unevictable LRU"
    if f.has(PageFlag.MLOCKED):
        return "mlocked LRU"
    return "LRU" if f.dirty2 else "clean LRU"
