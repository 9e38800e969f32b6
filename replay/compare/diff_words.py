"""How conditions are said: the values of each attribute of a state, in a few words."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from replay.kernel.poison_calls import Kills, PageEffect, PoisonAnswer, Ret, Row
from replay.kernel.poison_state import HugeState
from replay.kernel.poison_types import ActionType
from replay.trace.outcomes import RET_BUG
from replay.trace.poison import ActionResult, MappingClass, PageKind
from replay.trace.schema import PgmapType

__all__ = (
    "CODE_WORDS",
    "POISON_CLASSES",
    "POISON_WORDS",
    "WALK_WORDS",
    "aspect_words",
    "code",
    "fact_words",
    "label",
    "parts",
    "say",
)

Values = tuple[tuple[int | bool, ...], tuple[str, ...]]


def _flag(yes: str, no: str = "") -> Values:
    return (False, True), (no or f"not {yes}", yes)


# By the name of the bit in ``kernel.walk.Bit``: clear, set.
WALK_WORDS: dict[str, tuple[str, ...]] = {
    "BEYOND": ("within the section table", "beyond the section table"),
    "HIGH": ("no high pfn bits", "high pfn bits that an address loses"),
    "PRESENT": ("no section", "section present"),
    "VALID": ("no mem_map", "mem_map"),
    "ONLINE": ("section offline", "section online"),
    "EARLY": ("section not early", "section early"),
    "TAINT": ("section not tainted", "section tainted"),
    "SUBSECTION": ("subsection bit clear", "subsection bit set"),
    "PAGEMAP": ("no pagemap", "live pagemap", "dying pagemap"),
    "MEMBLOCK": ("not in memblock", "in memblock"),
    "RAM": ("not System RAM", "System RAM"),
    "LIMIT": ("before the end of the file", "past the end of the file"),
}

_PGMAPS = tuple(t for t in PgmapType if t is not PgmapType.DEVDAX)  # counts as GENERIC
_PGMAP_WORDS = {
    PgmapType.NONE: "no pagemap",
    PgmapType.PRIVATE: "device private pagemap",
    PgmapType.FS_DAX: "fsdax pagemap",
    PgmapType.GENERIC: "device-dax pagemap",
}
_KIND_WORDS = {
    PageKind.UNKNOWN: "unknown page",
    PageKind.LRU: "page on the LRU",
    PageKind.BUDDY: "free page",
    PageKind.PCP: "free page on a CPU list",
    PageKind.HUGE: "hugetlb page",
    PageKind.ISOLATED: "isolated user page",
    PageKind.SLAB: "slab page",
    PageKind.SLAB_COMPOUND: "compound slab page",
    PageKind.PAGE_TABLE: "page table",
    PageKind.RESERVED: "reserved page",
    PageKind.HUGE_ZERO: "huge zero page",
    PageKind.KERNEL_TAIL: "tail of a kernel page",
    PageKind.KERNEL: "kernel page",
    PageKind.MOVABLE: "movable_ops page",
    PageKind.OFFLINE: "logically offline page",
}
_MAP_WORDS = {
    MappingClass.REGULAR: "regular file",
    MappingClass.NONE: "truncated",
    MappingClass.NOT_REGULAR: "file that is not regular",
    MappingClass.BLOCK_DEVICE: "block device",
    MappingClass.NO_OPERATION: "file without error-remove operation",
    MappingClass.SHMEM: "shmem",
    MappingClass.HUGETLB: "hugetlb file",
}

# Attribute of ``PoisonState`` to its values and their words; of ``CODE_WORDS`` the codes are added.
POISON_WORDS: dict[str, Values] = {
    "COUNT": _flag("caller gives a reference", "caller gives no reference"),
    "AR": _flag("poison consumed", "poison not consumed"),
    "MUST": _flag("must kill", "need not kill"),
    "SW": _flag("injected", "not injected"),
    "recov": _flag("recovery on", "recovery switched off"),
    "softon": _flag("soft offline enabled", "soft offline disabled"),
    "es": _flag("early kill by sysctl", "no early kill by sysctl"),
    "hwmf": _flag("hardware error seen before", "no hardware error seen before"),
    "filt": _flag("filter rejects", "filter accepts"),
    "nomm": _flag("caller without address space", "caller with address space"),
    "curpt": _flag("caller has an entry for it", "caller has no entry for it"),
    "valid": _flag("pfn valid", "pfn invalid"),
    "online": _flag("online page", "no online page"),
    "plat": _flag("platform page", "no platform page"),
    "sgx": _flag("SGX page", "no SGX page"),
    "pfnsp": _flag("registered pfn space", "no registered pfn space"),
    "pgmap": (_PGMAPS, tuple(_PGMAP_WORDS.get(t, f"{t.name.lower()} pagemap") for t in _PGMAPS)),
    "meta": _flag("pagemap metadata", "no pagemap metadata"),
    "daxlock": _flag("dax entry locks", "no dax entry to lock"),
    "kind": (tuple(PageKind), tuple(_KIND_WORDS[k] for k in PageKind)),
    "hwp": _flag("poisoned already", "not yet poisoned"),
    "taken": _flag("taken off before", "not taken off before"),
    "rawhit": _flag("subpage listed", "subpage not listed"),
    "unrel": _flag("raw list incomplete", "raw list complete"),
    "rawcnt": ((0, 1, 2), ("raw list empty", "one raw entry", "several raw entries")),
    "toff": _flag("can be taken off the free lists", "cannot be taken off the free lists"),
    "bhead": _flag("first of its free block", "not first of its free block"),
    "ht": (tuple(HugeState), ("hugetlb in use", "hugetlb free", "hugetlb busy")),
    "tail": _flag("tail", "head"),
    "pud": _flag("larger than a PMD", "no larger than a PMD"),
    "dissolv": _flag("can be dissolved", "cannot be dissolved"),
    "large": _flag("large folio", "single page"),
    "anon": _flag("anonymous", "of a file"),
    "split": _flag("can be split", "cannot be split"),
    "minord": ((0, 1), ("no minimum folio order", "minimum folio order")),
    "ksm": _flag("KSM", "not KSM"),
    "swapc": _flag("in the swap cache", "not in the swap cache"),
    "dirty": _flag("dirty", "page clean"),
    "mlk": _flag("mlocked", "not mlocked"),
    "unev": _flag("unevictable", "evictable from the LRU"),
    "wb": _flag("under writeback", "not under writeback"),
    "map": (tuple(MappingClass), tuple(_MAP_WORDS[m] for m in MappingClass)),
    "wbk": _flag("mapping writes back", "mapping does not write back"),
    "mapped": _flag("mapped", "not mapped"),
    "unmap": _flag("can be unmapped", "cannot be unmapped"),
    "pdirty": _flag("dirty page table entry", "no dirty page table entry"),
    "pwrite": _flag("writable page table entry", "no writable page table entry"),
    "pins": ((0, 1, 2), ("nobody else holds it", "one other holds it", "several others hold it")),
    "rel": _flag("can be released", "cannot be released"),
    "evict": _flag("clean cache to drop", "not clean cache to drop"),
    "iso": _flag("can be isolated", "cannot be isolated"),
    "refs": ((0, 1, 2), ("no reference", "one reference", "several references")),
    "mapnn": _flag("mapping pointer set", "no mapping pointer"),
}
# Attributes that are return codes: values that mean something else, their words, and the words for any code.
CODE_WORDS: dict[str, tuple[Values, str]] = {
    "own_rc": (((-95, 0), ("no owner handler", "owner handled it")), "owner fails"),
    "mig": (((0, 1), ("migrates", "does not migrate")), "migration fails"),
}

# Numbers that no check tells apart are one value: from any to the one that stands for it.
POISON_CLASSES: dict[str, Callable[[int], int]] = {
    "mig": lambda returned: min(returned, 1),
    "minord": lambda order: min(order, 1),
    **dict.fromkeys(("pins", "rawcnt", "refs"), lambda count: min(count, 2)),
    "pgmap": lambda kind: PgmapType.GENERIC if kind == PgmapType.DEVDAX else kind,
}

# Facts of calls: not so, so. Others are said by their names.
_FACTS: dict[str, tuple[str, str]] = {
    "AR": ("poison not consumed", "poison consumed"),
    "es": ("no early kill by sysctl", "early kill by sysctl"),
    "mp": ("not mapped", "mapped"),
    "anon": ("of a file", "anonymous"),
    "ksm": ("not KSM", "KSM"),
    "drop": ("not clean all over", "clean all over"),
    "forced": ("clean", "dirty or must kill"),
    "ufail": ("unmapping works", "unmapping fails"),
    "unmapped_dax": ("not a dax page without entries", "dax page without entries"),
    "task.own": ("another address space", "the caller's address space"),
    "task.main_p": ("main thread without policy", "main thread with policy"),
    "task.main_e": ("main thread not early", "main thread early"),
    "task.any_e": ("no thread early", "some thread early"),
    "task.has_def": ("all threads with policy", "some thread without policy"),
    "task.mapped_here": ("no entry in its page tables", "entry in its page tables"),
    "task.covers": ("no VMA over it", "VMA over it"),
    "task.addr_ok": ("address unknown", "address known"),
    "several": ("one range", "several ranges"),
    "altmap": ("no altmap", "altmap"),
    "live_end": ("no live pagemap at an end", "live pagemap at an end"),
    "ram": ("no System RAM", "System RAM"),
    "mixed": ("nothing besides", "something besides"),
    "indexed": ("index empty", "index taken"),
    "beyond": ("within the physical limit", "beyond the physical limit"),
    "misfit": ("altmap fits", "altmap does not fit"),
    "unaligned": ("aligned", "unaligned"),
    "populated": ("nothing populated", "a subsection populated"),
    "env": ("the world agrees", "the world refuses"),
    "bad_name": ("name fine", "name not that of System RAM"),
    "conflict": ("no resource conflict", "resource conflict"),
    "self_hosted": ("memmap fits or lives elsewhere", "memmap cannot live there"),
    "block": ("no block device", "block device exists"),
    "state": ("block in the other state", "no block, or in that state"),
    "sections": ("sections fine", "section in a wrong state"),
    "poisoned": ("not poisoned", "poisoned"),
    "unaligned_section": ("whole sections", "not whole sections"),
    "unaligned_pageblock": ("pageblock start and section end", "no pageblock start or no section end"),
    "odd_pageblock": ("whole pageblocks", "not whole pageblocks"),
    "no_ram": ("some System RAM", "no System RAM"),
    "holes": ("System RAM all over", "not System RAM all over"),
    "zones": ("one zone", "several zones"),
    "past_zone": ("within the zone", "past the zone"),
    "inside": ("outside the pagemap", "inside the pagemap"),
    "data": ("not behind the metadata", "behind the metadata"),
}


def fact_words(name: str) -> tuple[str, str]:
    """Return how it is said that a fact is not so, and that it is."""
    said = name.rsplit(".", maxsplit=1)[-1].replace("_", " ")
    return _FACTS.get(name, (f"not {said}", said))


_ASPECTS = {
    "ret": "return code",
    "action": "report",
    "result": "result",
    "flag": "HWPoison",
    "counter": "poisoned pages counted",
    "event": "counted as an event, by node too",
    "page": "page afterwards",
    "signals": "signals",
    "unmapped": "mappings go",
    "entries": "leaving hwpoison entries",
    "answer": "answer",
}
_EFFECTS = {
    PageEffect.UNCHANGED: "unchanged",
    PageEffect.TAKEN_OFF: "taken off the free lists",
    PageEffect.IN_BUDDY: "still on the free lists",
    PageEffect.HUGE_FREED: "hugetlb page freed",
    PageEffect.REMOVED: "removed from its file or task",
    PageEffect.SHMEM_KEPT: "kept in its shmem file",
    PageEffect.SWAPCACHE_KEPT: "kept in the swap cache",
    PageEffect.HELD: "held by a reference",
    PageEffect.SWAPCACHE_HELD: "held by a reference, out of the swap cache",
    PageEffect.HUGE_KEPT: "hugetlb page kept in its file",
    PageEffect.RAW_ADDED: "subpage listed",
    PageEffect.RAW_MOVED: "listed subpages flagged one by one",
    PageEffect.DAX: "unmapped",
    PageEffect.SOFT_FREE: "taken out of use",
    PageEffect.SOFT_USED: "replaced and taken out of use",
    PageEffect.UNPOISONED: "back in use",
}
_KILLS = {
    Kills.NOBODY: "nobody",
    Kills.MAPPERS: "its mappers",
    Kills.UNSPLIT: "its mappers, forced",
    Kills.DAX: "its mappers (dax)",
    Kills.ACCESSOR: "the consumer",
    Kills.SGX: "the consumer (SGX)",
    Kills.PFN_SPACE: "mappers of the pfn",
}


def aspect_words(name: str) -> str:
    """Return what an aspect of an answer is about."""
    return _ASPECTS[name]


def say(aspect: str, value: Any) -> str:  # noqa: ANN401 - of the aspect
    """Return the value of an aspect in words."""
    if value is None:
        return "none"
    if aspect == "ret":
        return code(value)
    if aspect == "action":
        return ActionType(value).display
    if isinstance(value, PageEffect):
        return _EFFECTS[value]
    if isinstance(value, Kills):
        return _KILLS[value]
    if isinstance(value, ActionResult):
        return value.name.capitalize()
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:+d}" if aspect == "counter" and value else str(value)


def code(value: int) -> str:
    """Return a return code as C names it."""
    if value == RET_BUG:
        return "BUG"
    return f"-{errno.errorcode[-value]}" if -value in errno.errorcode else str(value)


def parts(answer: PoisonAnswer) -> dict[str, str]:
    """Return the aspects of an answer that ``label`` says, in its words: what is looked up in the state goes unsaid."""
    ret = {Ret.OWNER: "the owner's code", Ret.MIGRATION: "the migration's code"}.get(answer.ret, answer.name)
    kind = "" if answer.action is None else answer.action.display
    result = "" if answer.result is None else answer.result.name.capitalize()
    return {"ret": ret, "action": kind if answer.row is Row.NONE else "LRU page", "result": result}


def label(answer: PoisonAnswer) -> str:
    """Return an answer in a few words: the return code, and what is reported."""
    said = parts(answer)
    return f"{said['ret']}, " + (f"{said['action']}: {said['result']}" if said["result"] else "no report")
