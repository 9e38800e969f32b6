"""What a decision about poison looks at: the attributes of poison.md 8.1 and the derived columns of 8.3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replay.scalar.capabilities import Capabilities
from replay.scalar.lookups import get_dev_pagemap, pfn_to_online_page, pfn_valid, pgmap_pfn_valid
from replay.scalar.pages import Page
from replay.trace.poison import CallContext, MappingClass, MfFlag, PageFlag, PageKind, SysctlKey
from replay.trace.schema import PgmapType

if TYPE_CHECKING:
    from replay.scalar.state import State

__all__ = ("Facts", "gather")

EFAULT, EHWPOISON = 14, 133


@dataclass(frozen=True)
class Facts:
    """Attributes as in 8.1, by the names there; the properties are the columns of 8.3.

    ``hwp`` is the flag of the folio, ``own_hwp`` that of the page itself; a tail of a hugetlb page has none while the page
    is huge. ``huge_use`` is ``ht``.
    """

    c: Capabilities
    page: Page
    # request, global, current
    count: bool
    ar: bool
    must: bool
    recov: bool
    softon: bool
    es: bool
    hwmf: bool
    nomm: bool
    curpt: bool
    mig: int
    # address, pagemap
    valid: bool
    online: bool
    pgmap: PgmapType
    meta: bool
    daxlock: bool
    # poison
    hwp: bool
    own_hwp: bool
    is_tail: bool
    rawhit: bool
    unrel: bool
    rawcnt: int

    def has(self, flag: PageFlag) -> bool:
        """Whether the page is described with a flag."""
        return bool(self.page.flags & flag)

    @property
    def kind(self) -> PageKind:  # noqa: D102
        return self.page.kind

    @property
    def map(self) -> MappingClass:  # noqa: D102
        return self.page.mapping

    @property
    def pins(self) -> int:  # noqa: D102
        return self.page.pins

    @property
    def anon(self) -> bool:  # noqa: D102
        return self.has(PageFlag.ANON)

    @property
    def swapc(self) -> bool:  # noqa: D102
        return self.has(PageFlag.SWAPCACHE)

    @property
    def large(self) -> bool:  # noqa: D102
        return self.has(PageFlag.LARGE)

    @property
    def minord(self) -> bool:  # noqa: D102
        return self.has(PageFlag.MIN_ORDER)

    @property
    def ksm(self) -> bool:  # noqa: D102
        return self.has(PageFlag.KSM)

    @property
    def filt(self) -> bool:  # noqa: D102
        return self.has(PageFlag.FILTERED)

    @property
    def mapped(self) -> bool:  # noqa: D102
        return self.has(PageFlag.MAPPED)

    @property
    def unmap(self) -> bool:  # noqa: D102
        return not self.has(PageFlag.UNMAP_FAILS)

    @property
    def split(self) -> bool:  # noqa: D102
        return not self.has(PageFlag.UNSPLITTABLE)

    @property
    def rel(self) -> bool:  # noqa: D102
        return not self.has(PageFlag.NOT_RELEASABLE)

    @property
    def toff(self) -> bool:  # noqa: D102
        return not self.has(PageFlag.NO_TAKE_OFF)

    @property
    def dissolv(self) -> bool:  # noqa: D102
        return not self.has(PageFlag.NOT_DISSOLVABLE)

    @property
    def tail(self) -> bool:  # noqa: D102
        return self.is_tail

    @property
    def huge_use(self) -> str:  # noqa: D102
        if self.has(PageFlag.HUGE_FREE):
            return "FREE"
        return "BUSY" if self.has(PageFlag.HUGE_BUSY) else "USED"

    # 8.3

    @property
    def dv(self) -> bool:
        """It takes the dev_pagemap path."""
        return bool(self.c.c_dax) and self.pgmap != PgmapType.NONE and not (self.c.c_online and self.online)

    @property
    def devmem(self) -> bool:
        """Device memory that the CPU does not simply load from."""
        return self.pgmap in (PgmapType.PRIVATE, PgmapType.COHERENT, PgmapType.PUBLIC)

    @property
    def hg(self) -> bool:
        """A hugetlb page."""
        return self.kind == PageKind.HUGE

    @property
    def gl(self) -> bool:
        """The reference step is made."""
        return not self.count or bool(self.c.c_getalw)

    @property
    def isbud(self) -> bool:
        """Free, as the reference step sees it."""
        return self.kind == PageKind.BUDDY or (self.kind == PageKind.PCP and bool(self.c.c_toff))

    @property
    def lg(self) -> bool:
        """To be split."""
        return (self.kind == PageKind.LRU and self.large) or self.kind == PageKind.HUGE_ZERO

    @property
    def spl(self) -> bool:
        """The split succeeds."""
        return self.split and self.kind != PageKind.HUGE_ZERO

    @property
    def wbmap(self) -> bool:
        """A page-cache page whose mapping supports writeback."""
        writes_back = self.map in (MappingClass.REGULAR, MappingClass.BLOCK_DEVICE, MappingClass.NO_OPERATION)
        return not self.anon and writes_back and not self.has(PageFlag.NO_WRITEBACK_MAPPING)

    @property
    def mp(self) -> bool:
        """Still mapped when user mappings are looked at: splitting a file THP removes its mappings."""
        lost = self.large and not self.anon and self.split and not self.minord and bool(self.c.c_fthp)
        return self.mapped and not lost

    @property
    def mkcl(self) -> bool:
        """The clean test is made."""
        return self.mp and not self.must and not self.has(PageFlag.DIRTY) and self.wbmap

    @property
    def drop(self) -> bool:
        """A clean drop."""
        return self.mkcl and not self.has(PageFlag.PTE_DIRTY | PageFlag.PTE_WRITE)

    @property
    def dirty2(self) -> bool:
        """Dirty after the user mappings were looked at."""
        dirty_entry = self.mapped and self.has(PageFlag.PTE_DIRTY)
        return self.has(PageFlag.DIRTY) or (self.mkcl and not self.drop) or dirty_entry

    @property
    def ufail(self) -> bool:
        """Unmapping fails."""
        return self.mp and not self.unmap

    @property
    def mapok(self) -> bool:
        """The mapping lets its pages be removed."""
        if self.map in (MappingClass.BLOCK_DEVICE, MappingClass.NO_OPERATION):
            refused = self.map == MappingClass.BLOCK_DEVICE and self.c.c_bdev
            return not self.dirty2 and not refused
        return self.map in (MappingClass.REGULAR, MappingClass.SHMEM)

    @property
    def okrow(self) -> bool:
        """The handler of an LRU page succeeds."""
        if self.anon:
            return self.pins == 0 or not self.c.c_ref
        return self.rel and self.mapok and self.pins == 0

    @property
    def krc(self) -> int:
        """The return code for a page already poisoned."""
        if not self.ar:
            return -EHWPOISON
        if self.nomm:
            return -EFAULT
        if self.curpt:
            return -EHWPOISON
        return -EFAULT if self.c.c_nf14 else 0

    @property
    def newraw(self) -> bool:
        """The page is not in the raw list yet."""
        return not self.rawhit and not self.unrel

    @property
    def forcek(self) -> bool:
        """Collected tasks are signalled."""
        return self.dirty2 or self.must or (bool(self.c.c_fk) and self.ufail)

    @property
    def hwpte(self) -> bool:
        """Unmapping leaves hwpoison entries."""
        return self.mp and self.unmap and not self.swapc and not self.drop

    @property
    def row(self) -> str:
        """The ROW of the state table."""
        state = "DIRTY_" if self.dirty2 else "CLEAN_"
        if self.has(PageFlag.MLOCKED):
            return state + "MLOCKED_LRU"
        return state + ("UNEVICTABLE_LRU" if self.has(PageFlag.UNEVICTABLE) else "LRU")


def gather(
    state: State, pfn: int, *, flags: int = 0, task: int | None = None, context: int = 0, value: int = 0
) -> Facts:
    """The attributes for a call about a page."""
    c, poison = state.capabilities, state.poison
    page = poison.pages.at(pfn)
    marks = poison.pages.marks_at(pfn)
    hwp = poison.pages.poisoned(pfn)
    tail = page.kind == PageKind.HUGE and (pfn != poison.pages.unit(pfn)[0] or bool(page.flags & PageFlag.TAIL))
    number, _ = get_dev_pagemap(state, pfn)
    pgmap = pgmap_class(state, number)
    entry = bool(context & CallContext.HAS_ENTRY)
    if task is not None and not context & CallContext.NO_ENTRY:
        entry = entry or poison.tasks.entry(task, pfn) is not None
    no_entry = bool(page.flags & PageFlag.NO_DAX_ENTRY) or (pgmap == PgmapType.GENERIC and not c.dax_mapping)
    return Facts(
        c=c,
        page=page,
        count=bool(flags & MfFlag.COUNT_INCREASED),
        ar=bool(flags & MfFlag.ACTION_REQUIRED),
        must=bool(flags & MfFlag.MUST_KILL),
        recov=bool(poison.sysctls[SysctlKey.RECOVERY]),
        softon=bool(poison.sysctls[SysctlKey.ENABLE_SOFT_OFFLINE]),
        es=bool(poison.sysctls[SysctlKey.EARLY_KILL]),
        hwmf=poison.hardware_seen,
        nomm=bool(context & CallContext.NO_MM),
        curpt=entry,
        mig=value,
        valid=bool(pfn_valid(state, pfn)[0]),
        online=bool(pfn_to_online_page(state, pfn)[0]),
        pgmap=pgmap,
        meta=number != 0 and not pgmap_pfn_valid(state, number, pfn)[0],
        daxlock=not (c.dax_lock and no_entry),
        hwp=hwp,
        own_hwp=hwp and not tail,
        is_tail=tail,
        rawhit=bool(marks & PageFlag.RAW_LISTED),
        unrel=bool(marks & PageFlag.RAW_UNRELIABLE),
        rawcnt=poison.pages.raw_pages(pfn),
    )


def pgmap_class(state: State, number: int) -> PgmapType:
    """The type of a pagemap as far as decisions tell types apart."""
    if not number:
        return PgmapType.NONE
    found = PgmapType(state.pagemaps[number].type)
    return PgmapType.GENERIC if found in (PgmapType.NONE, PgmapType.DEVDAX) else found
