"""soft_offline_page of v4.18 and later (poison semantics 5; rules S1 to S24 of 8.7).

Soft offline reports no events, and never changes the counters of a node.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from replay.kernel.calls import always
from replay.kernel.decision import Bools
from replay.kernel.memory_failure_answers import check, silent
from replay.kernel.poison_calls import Counts, PageEffect, PoisonAnswer, PoisonFunction, Ret
from replay.kernel.poison_state import HugeState, PoisonState
from replay.trace.poison import PageKind

__all__ = ("SOFT_OFFLINE_PAGE",)

_K = PageKind
_PFN, _STRICT, _FAILED0 = "soft-offline-by-pfn", "soft-offline-strict", "soft-offline-failed-take-off"
_FREE = PoisonAnswer("0", 0, poison=1, counts=Counts.ONE, effect=PageEffect.SOFT_FREE)
_USED = PoisonAnswer("0", 0, poison=1, counts=Counts.ONE, effect=PageEffect.SOFT_USED)
_LOST = "the page could not be taken, which nobody is told"


def _large(s: PoisonState) -> Bools:
    return s.kind_in(_K.LRU) & s.large


def _free_huge(s: PoisonState) -> Bools:
    return np.asarray(s.hg & (s.ht == HugeState.FREE))


def _busy_huge(s: PoisonState) -> Bools:
    return np.asarray(s.hg & (s.ht == HugeState.BUSY))


def _live_compound(s: PoisonState) -> Bools:
    """Compound pages that are neither hugetlb nor anonymous, taken for a page that is being allocated."""
    return s.kind_in(_K.SLAB_COMPOUND, _K.HUGE_ZERO) | (_large(s) & ~s.anon & ~s.COUNT)


def _unknown_type(s: PoisonState) -> Bools:
    return ~s.isbud & ~s.kind_in(_K.BUDDY, _K.HUGE, _K.LRU, _K.MOVABLE)


_entry = partial(check, page=False)

SOFT_OFFLINE_PAGE: PoisonFunction = PoisonFunction(
    "soft_offline_page",
    (
        _entry("S1", "invalid", lambda s: ~s.valid, silent(-6), "pfn_valid says no"),
        _entry("S2", "not-online", lambda s: ~s.online, silent(-5), "no online page", needs=(_PFN,)),
        _entry(
            "S3",
            "zone-device",
            lambda s: s.pgmap != 0,
            silent(-5),
            "a page of a pagemap cannot be replaced",
            needs=("soft-offline-refuses-zone-device",),
        ),
        _entry(
            "S4", "disabled", lambda s: ~s.softon, silent(-95), "the sysctl forbids it", needs=("enable-soft-offline",)
        ),
        check("S5", "poisoned-busy", lambda s: s.hwp, silent(-16), "poisoned already", unless=(_PFN,)),
        check("S6", "poisoned", lambda s: s.hwp, silent(0), "poisoned already: nothing left to do", needs=(_PFN,)),
        check(
            "S9",
            "filter",
            lambda s: s.filt,
            silent(-95),
            "the filter rejects the page, whatever its type",
            needs=("filter-eopnotsupp",),
        ),
        check(
            "S7a",
            "live-compound",
            _live_compound,
            silent(-16),
            "a compound kernel page in use: taken for a race with its allocation",
            needs=(_PFN,),
            unless=("handlable-test",),
        ),
        check("S7", "unknown-type", _unknown_type, silent(-5), "neither free, nor on the LRU, nor movable"),
        check(
            "S7b",
            "huge-busy",
            _busy_huge,
            silent(-5),
            "the hugetlb page is being isolated, allocated or demoted",
            needs=("handlable-test",),
        ),
        check(
            "S8",
            "file-thp-type",
            lambda s: _large(s) & ~s.anon & ~s.COUNT,
            silent(-5),
            "a large folio of a file that the caller has no reference to",
            unless=("file-thp-split",),
        ),
        check("S10", "buddy-marked", lambda s: s.isbud, _FREE, "a free page: marked where it is", unless=(_STRICT,)),
        check("S11", "buddy", lambda s: s.isbud & s.toff, _FREE, "a free page, caught", needs=(_STRICT,)),
        check("S12", "buddy-lost-success", lambda s: s.isbud, silent(0), _LOST, needs=(_STRICT, _FAILED0)),
        check(
            "S13", "buddy-lost", lambda s: s.isbud, silent(-16), "a free page that was gone, twice", needs=(_STRICT,)
        ),
        check("S14a", "huge-free", lambda s: _free_huge(s) & s.dissolv, _FREE, "a free hugetlb page, dissolved"),
        check(
            "S14b",
            "huge-free-marked",
            _free_huge,
            _FREE,
            "a free hugetlb page: marked, whether it can be dissolved or not",
            unless=(_STRICT,),
        ),
        check("S15", "huge-free-success", _free_huge, silent(0), _LOST, needs=(_STRICT, _FAILED0)),
        check(
            "S16",
            "huge-free-failed",
            _free_huge,
            silent(-16),
            "a free hugetlb page that cannot be dissolved",
            needs=(_STRICT,),
        ),
        check("S17a", "thp-unsplit", lambda s: _large(s) & ~s.split, silent(-16), "the large folio cannot be split"),
        check(
            "S17b",
            "file-thp",
            lambda s: _large(s) & ~s.anon,
            silent(-16),
            "large folios of files are not split",
            unless=("file-thp-split",),
        ),
        check(
            "S17c",
            "min-order",
            lambda s: _large(s) & (s.minord > 0),
            silent(-16),
            "the file asks for large folios, so there is no splitting to single pages",
            needs=("min-order-unsplittable",),
        ),
        check("S18", "invalidated", lambda s: s.kind_in(_K.LRU) & s.evict, _USED, "a clean page-cache page, dropped"),
        check("S19", "not-isolated", lambda s: ~s.iso | _busy_huge(s), silent(-16), "the page cannot be isolated"),
        check(
            "S20",
            "migration-error",
            lambda s: s.mig < 0,
            PoisonAnswer("migration", -16, ret=Ret.MIGRATION),
            "migration failed: its error is returned",
        ),
        check("S21", "not-migrated-eio", lambda s: s.mig > 0, silent(-5), "the page was not migrated", unless=(_PFN,)),
        check("S22", "not-migrated", lambda s: s.mig > 0, silent(-16), "the page was not migrated", needs=(_PFN,)),
        check(
            "S23",
            "huge-not-dissolved",
            lambda s: s.hg & ~s.dissolv,
            silent(-16),
            "migrated, but the old hugetlb page cannot be dissolved",
            needs=(_STRICT,),
        ),
        check("S24", "migrated", always, _USED, "migrated; the old page is kept from use"),
    ),
)
