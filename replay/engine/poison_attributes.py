"""From a page's description to the attributes that the rules of poison look at."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from replay.kernel.poison_state import HugeState
from replay.machine.pages import Pages
from replay.trace.poison import PageFlag, PageKind
from replay.trace.schema import EventKind, PgmapType

__all__ = ("flags_for", "mark_attributes", "page_attributes", "pgmap_class")

_F = PageFlag
_SET = {
    "filt": _F.FILTERED,
    "plat": _F.PLATFORM,
    "sgx": _F.SGX,
    "pfnsp": _F.PFN_SPACE,
    "tail": _F.TAIL,
    "pud": _F.PUD,
    "large": _F.LARGE,
    "anon": _F.ANON,
    "minord": _F.MIN_ORDER,
    "ksm": _F.KSM,
    "swapc": _F.SWAPCACHE,
    "dirty": _F.DIRTY,
    "mlk": _F.MLOCKED,
    "unev": _F.UNEVICTABLE,
    "wb": _F.WRITEBACK,
    "mapped": _F.MAPPED,
    "pdirty": _F.PTE_DIRTY,
    "pwrite": _F.PTE_WRITE,
    "evict": _F.EVICTABLE,
    "mapnn": _F.MAPPING_SET,
}
_CLEAR = {
    "daxlock": _F.NO_DAX_ENTRY,
    "toff": _F.NO_TAKE_OFF,
    "bhead": _F.NOT_BLOCK_HEAD,
    "dissolv": _F.NOT_DISSOLVABLE,
    "split": _F.UNSPLITTABLE,
    "unmap": _F.UNMAP_FAILS,
    "rel": _F.NOT_RELEASABLE,
    "wbk": _F.NO_WRITEBACK_MAPPING,
    "iso": _F.NOT_ISOLATABLE,
}


@lru_cache(1 << 12)
def page_attributes(flags: int) -> dict[str, object]:
    """Return the attributes that a page's flags give; those named after what fails are set when the flag is clear."""
    huge = HugeState.FREE if flags & _F.HUGE_FREE else HugeState.BUSY if flags & _F.HUGE_BUSY else HugeState.USED
    return {
        **{name: bool(flags & flag) for name, flag in _SET.items()},
        **{name: not flags & flag for name, flag in _CLEAR.items()},
        "ht": int(huge),
    }


def flags_for(attributes: Mapping[str, object]) -> PageFlag:
    """Return the page flags that give these attributes, the reverse of ``page_attributes``; others are not looked at."""
    flags = PageFlag(0)
    for name, flag in _SET.items():
        flags |= flag if attributes.get(name, False) else PageFlag(0)
    for name, flag in _CLEAR.items():
        flags |= PageFlag(0) if attributes.get(name, True) else flag
    state = {HugeState.FREE: _F.HUGE_FREE, HugeState.BUSY: _F.HUGE_BUSY}
    return flags | state.get(HugeState(int(str(attributes.get("ht", 0)))), PageFlag(0))


def mark_attributes(kind: EventKind, pages: Pages, pfn: int) -> dict[str, object]:
    """Return the attributes that earlier calls left on a page, as a call of this kind sees them."""
    page, marks = pages.at(pfn), pages.condition(pfn).marks
    if page.kind != PageKind.HUGE:
        return {"hwp": bool(marks & PageFlag.HWPOISON), "taken": bool(marks & PageFlag.TAKEN_OFF)}
    tail = pfn != pages.unit(pfn)[0] or page.has(PageFlag.TAIL)
    poisoned = pages.is_poisoned(pfn)
    if kind is not EventKind.MEMORY_FAILURE:
        poisoned &= not tail  # these look at the page's own flag, which only the head carries
    return {
        "tail": tail,
        "hwp": poisoned,
        "rawhit": bool(marks & PageFlag.RAW_LISTED),
        "rawcnt": len(pages.raw_in(pfn)),
        "unrel": bool(marks & PageFlag.RAW_UNRELIABLE),
    }


def pgmap_class(pgmap_type: int) -> int:
    """Return the class of a pagemap's type: device-dax had a type of its own for two releases, and none before."""
    return PgmapType.GENERIC if pgmap_type in {PgmapType.DEVDAX, PgmapType.NONE} else pgmap_type
