"""The state table of memory_failure, and unmapping before it (poison semantics 1.6 and 1.7; rules R70 to R91 of 8.4)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from replay.kernel.calls import always
from replay.kernel.decision import Bools
from replay.kernel.memory_failure_answers import STILL_MAPPED, check, event, mapped
from replay.kernel.poison_calls import PageEffect, PoisonAnswer, Row
from replay.kernel.poison_state import PoisonState
from replay.kernel.poison_types import ActionType
from replay.trace.poison import ActionResult, MappingClass, PageKind

__all__ = ("KERNEL_PAGES", "TABLE")

_K, _M, _T, _E = PageKind, MappingClass, ActionType, PageEffect
_I, _F, _D, _R = ActionResult.IGNORED, ActionResult.FAILED, ActionResult.DELAYED, ActionResult.RECOVERED
_LATE = "late-action-types"
_REF = "extra-reference-per-handler"


def _slab(s: PoisonState) -> Bools:
    return s.kind_in(_K.SLAB, _K.SLAB_COMPOUND)


KERNEL_PAGES = (
    check(
        "R70",
        "reserved-failed",
        lambda s: s.kind == _K.RESERVED,
        event(-16, _T.KERNEL, _F, _E.HELD),
        "a reserved page; it is in use, which makes ignoring it a failure",
        unless=(_REF,),
    ),
    check(
        "R71",
        "reserved",
        lambda s: s.kind == _K.RESERVED,
        event(-16, _T.KERNEL, _I, _E.HELD),
        "a reserved page",
        needs=(_REF,),
    ),
    check(
        "R72",
        "slab-failed",
        _slab,
        event(-16, _T.SLAB, _F, _E.HELD),
        "a slab page; it is in use, which makes ignoring it a failure",
        unless=(_REF,),
    ),
    check(
        "R72b",
        "slab",
        _slab,
        event(-16, _T.SLAB, _I, _E.HELD),
        "a slab page",
        needs=(_REF,),
        unless=(_LATE,),
    ),
    check(
        "R73",
        "unknown-failed",
        lambda s: s.offlru,
        event(-16, _T.UNKNOWN, _F, _E.HELD),
        "off the LRU and of no known kind",
        unless=(_LATE,),
    ),
    check(
        "R74",
        "unknown",
        lambda s: s.offlru,
        event(-16, _T.UNKNOWN, _I),
        "off the LRU and of no known kind",
        needs=(_LATE,),
    ),
)


def _row(value: int, result: ActionResult, effect: PageEffect) -> PoisonAnswer:
    return replace(mapped(event(value, _T.UNKNOWN, result, effect)), action=None, row=Row.LRU)


def _file(s: PoisonState) -> Bools:
    """A file page that nobody else holds and that can be released; its mapping decides the rest."""
    return np.asarray(~s.anon & s.rel & (s.pins == 0))


TABLE = (
    check(
        "R80",
        "ksm",
        lambda s: s.ksm & s.mp,
        event(-16, _T.UNMAP_FAILED, _I, _E.HELD),
        "KSM pages are given up without a try to unmap them",
        unless=("ksm-poison",),
    ),
    check(
        "R81",
        "unmap-failed-ignored",
        lambda s: s.ufail,
        STILL_MAPPED[0],
        "the page is still mapped after unmapping",
        unless=(_LATE,),
    ),
    check(
        "R82",
        "unmap-failed",
        lambda s: s.ufail,
        STILL_MAPPED[1],
        "the page is still mapped after unmapping",
        needs=(_LATE,),
    ),
    check(
        "R83",
        "truncated",
        lambda s: ~s.anon & ~s.swapc & (s.map == _M.NONE),
        mapped(event(-16, _T.TRUNCATED_LRU, _I, _E.HELD)),
        "the page was cut off its file meanwhile",
    ),
    check(
        "R84",
        "swapcache-dirty",
        lambda s: s.swapc & s.dirty2 & (s.pins == 0),
        mapped(event(0, _T.DIRTY_SWAPCACHE, _D, _E.SWAPCACHE_KEPT)),
        "dirty swap cache: kept, so that an access finds the poison",
    ),
    check(
        "R85",
        "swapcache-dirty-held",
        lambda s: s.swapc & s.dirty2,
        mapped(event(-16, _T.DIRTY_SWAPCACHE, _F, _E.HELD)),
        "dirty swap cache that somebody holds",
    ),
    check(
        "R86",
        "swapcache-clean",
        lambda s: s.swapc & (s.pins == 0),
        mapped(event(0, _T.CLEAN_SWAPCACHE, _R, _E.REMOVED)),
        "clean swap cache: removed, to be read again",
    ),
    check(
        "R87",
        "swapcache-clean-held",
        lambda s: s.swapc,
        mapped(event(-16, _T.CLEAN_SWAPCACHE, _F, _E.SWAPCACHE_HELD)),
        "clean swap cache that somebody holds: removed all the same",
    ),
    check("R90a", "anon", lambda s: s.anon & (s.pins == 0), _row(0, _R, _E.REMOVED), "an anonymous page, isolated"),
    check(
        "R90b",
        "anon-held",
        lambda s: s.anon,
        _row(0, _R, _E.REMOVED),
        "an anonymous page; who else holds it does not matter",
        needs=(_REF,),
    ),
    check(
        "R90c",
        "shmem-kept",
        lambda s: _file(s) & (s.map == _M.SHMEM),
        _row(0, _R, _E.SHMEM_KEPT),
        "a shmem page: kept in its file, so that an access finds the poison",
        needs=("file-thp-split",),
    ),
    check(
        "R90d",
        "block-device",
        lambda s: _file(s) & (s.map == _M.BLOCK_DEVICE) & ~s.dirty2,
        _row(0, _R, _E.REMOVED),
        "a clean page of a block device, dropped from its cache: with buffer heads there is no operation to remove it",
        unless=("block-device-no-remove",),
    ),
    check(
        "R90e",
        "file",
        lambda s: _file(s) & (s.map_in(_M.REGULAR, _M.SHMEM) | ((s.map == _M.NO_OPERATION) & ~s.dirty2)),
        _row(0, _R, _E.REMOVED),
        "a file page, removed from its file; where there is no operation for that, it is dropped while it is clean",
    ),
    check("R91", "failed", always, _row(-16, _F, _E.HELD), "the page is held, or cannot be removed from its file"),
)
