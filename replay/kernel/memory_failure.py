"""memory_failure of v4.18 and later, check by check (poison semantics 8.4; ``rule`` is the row there).

A row of the document that depends on a kernel capability is one check for each alternative, so that the feature that decides
can be named. Races (lost lock, changed compound page, page freed in between) are no checks; attributes stand for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from replay.kernel.calls import always
from replay.kernel.decision import Bools
from replay.kernel.memory_failure_answers import check, event, kept, silent
from replay.kernel.memory_failure_huge import HUGETLB
from replay.kernel.memory_failure_pages import ALREADY, REFERENCE, SPLIT
from replay.kernel.memory_failure_table import KERNEL_PAGES, TABLE
from replay.kernel.poison_calls import Kills, PageEffect, PoisonAnswer, PoisonCheck, PoisonFunction, Ret
from replay.kernel.poison_state import PoisonState
from replay.kernel.poison_types import ActionType
from replay.trace.outcomes import RET_BUG
from replay.trace.poison import ActionResult

__all__ = ("MEMORY_FAILURE",)

_T, _E = ActionType, PageEffect
_I, _F, _R = ActionResult.IGNORED, ActionResult.FAILED, ActionResult.RECOVERED
_ONLINE = "memory-failure-online-page"

_entry = partial(check, page=False)

_ENTRY = (
    _entry(
        "R01",
        "recovery-off",
        lambda s: ~s.recov,
        PoisonAnswer("panic", RET_BUG),
        "the sysctl says to panic",
    ),
    _entry(
        "R02",
        "sgx",
        lambda s: ~s.online & s.sgx,
        replace(silent(0), kills=Kills.SGX),
        "an SGX page: its own handler takes it",
        needs=(_ONLINE, "sgx-poison"),
    ),
    _entry(
        "R03",
        "pfn-space",
        lambda s: ~s.online & ~s.valid & ~s.plat & s.pfnsp,
        kept(event(0, _T.PFN_MAP, _R, kills=Kills.PFN_SPACE)),
        "no struct page, but somebody registered these pfns",
        needs=(_ONLINE, "pfn-space-poison"),
    ),
    _entry(
        "R04",
        "no-pfn-space",
        lambda s: ~s.online & ~s.valid & ~s.plat,
        kept(event(-16, _T.PFN_MAP, _I)),
        "no struct page, and nobody registered these pfns",
        needs=(_ONLINE, "pfn-space-poison"),
    ),
    _entry(
        "R05",
        "not-online",
        lambda s: ~s.online & (~s.valid | (s.pgmap == 0)),
        silent(-6),
        "no online page, and no pagemap either",
        needs=(_ONLINE,),
    ),
    _entry("R06", "invalid", lambda s: ~s.valid, silent(-6), "pfn_valid says no", unless=(_ONLINE,)),
)

_DAX_BUSY = kept(event(-16, _T.DAX, _F))


def _dax(
    rule: str,
    id_: str,
    when: Callable[[PoisonState], Bools],
    answer: PoisonAnswer,
    why: str,
    *needs: str,
    unless: tuple[str, ...] = (),
    page: bool = True,
) -> PoisonCheck:
    needs = ("memory-failure-dev-pagemap", *needs)
    return check(rule, id_, lambda s: s.dv & when(s), answer, why, needs=needs, unless=unless, page=page)


_PAGEMAP = (
    _dax(
        "R10",
        "pagemap-metadata",
        lambda s: s.meta,
        kept(event(-6, _T.DAX, _F)),
        "the pfn is metadata of its pagemap",
        "pgmap-pfn-valid",
        page=False,
    ),
    _dax(
        "R11",
        "owner-handled",
        lambda s: s.own_rc == 0,
        kept(event(0, _T.DAX, _R, _E.DAX, Kills.DAX)),
        "the pagemap's owner handled it: it flags the page, and signals as the generic path does",
        "pgmap-owner-handler",
    ),
    _dax(
        "R12",
        "owner-failed",
        lambda s: s.own_rc != -95,
        replace(kept(event(-16, _T.DAX, _F)), name="owner", ret=Ret.OWNER),
        "the pagemap's owner failed: its error is returned",
        "pgmap-owner-handler",
    ),
    _dax(
        "R13",
        "dax-entry-lock",
        lambda s: ~s.daxentry,
        _DAX_BUSY,
        "no dax mapping entry to lock: nobody maps the page, or the file is gone",
        "dax-entry-lock",
    ),
    _dax(
        "R14",
        "dax-filter-success",
        lambda s: s.filt,
        kept(event(0, _T.DAX, _R)),
        "the filter rejects the page, and that is taken for success",
        unless=("filter-eopnotsupp",),
    ),
    _dax(
        "R15",
        "dax-filter-failed",
        lambda s: s.filt,
        kept(event(-95, _T.DAX, _F)),
        "the filter rejects the page",
        unless=("filter-before-split",),
    ),
    _dax("R16", "dax-filter", lambda s: s.filt, silent(-95), "the filter rejects the page", "filter-before-split"),
    _dax(
        "R17",
        "device-memory",
        lambda s: s.devmem,
        kept(event(-6, _T.DAX, _F)),
        "device memory: only its driver could handle it",
        "pgmap-owner-handler",
    ),
    _dax(
        "R18",
        "device-memory-busy",
        lambda s: s.devmem,
        _DAX_BUSY,
        "device memory cannot be handled",
        unless=("pgmap-owner-handler",),
    ),
    _dax(
        "R19",
        "dax",
        always,
        event(0, _T.DAX, _R, _E.DAX, Kills.DAX),
        "a page of a pagemap: its mappers are signalled and unmapped",
    ),
)

MEMORY_FAILURE: PoisonFunction = PoisonFunction(
    "memory_failure", (*_ENTRY, *_PAGEMAP, *HUGETLB, *ALREADY, *REFERENCE, *SPLIT, *KERNEL_PAGES, *TABLE)
)
