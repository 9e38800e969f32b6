"""memory_failure of v2.6.32, the first release (poison semantics 1.2; rules Z1 to Z11 of 8.6).

``MEMORY_FAILURE_2009`` replaces ``MEMORY_FAILURE`` in kernels with the feature poison-2009. It returns codes only
internally: the function that drivers call is void. Signals: ``KILL_PROCS_2009``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from replay.kernel.calls import always
from replay.kernel.decision import Bools
from replay.kernel.memory_failure_answers import check
from replay.kernel.poison_calls import Counts, Kills, PageEffect, PoisonAnswer, PoisonFunction, Row
from replay.kernel.poison_state import HugeState, PoisonState
from replay.kernel.poison_types import ActionType
from replay.trace.outcomes import RET_BUG
from replay.trace.poison import ActionResult, MappingClass, PageKind

__all__ = ("MEMORY_FAILURE_2009",)

_K, _M, _T, _E = PageKind, MappingClass, ActionType, PageEffect
_I, _F, _D, _R = ActionResult.IGNORED, ActionResult.FAILED, ActionResult.DELAYED, ActionResult.RECOVERED
_NEED = ("poison-2009",)


def _event(name: str, value: int, action: ActionType | None, result: ActionResult, effect: PageEffect) -> PoisonAnswer:
    """Return an answer after the flag was set, which counts."""
    return PoisonAnswer(name, value, action, result, 1, Counts.ONE, effect)


def _isolated(value: int, action: ActionType | None, result: ActionResult, effect: PageEffect) -> PoisonAnswer:
    """Return an answer after user mappings were processed; without a type, that of the LRU row."""
    answer = _event("0" if value == 0 else "-EBUSY", value, action, result, effect)
    return replace(answer, kills=Kills.MAPPERS, unmaps=True, row=Row.NONE if action else Row.LRU_2009)


def _no_reference(s: PoisonState) -> Bools:
    return np.asarray(s.kind_in(_K.BUDDY, _K.PCP, _K.KERNEL_TAIL) | (s.hg & (s.ht == HugeState.FREE)))


def _removable(s: PoisonState) -> Bools:
    dropped = s.map_in(_M.BLOCK_DEVICE, _M.NO_OPERATION) & ~s.dirty2
    return s.anon | (s.rel & (s.map_in(_M.REGULAR, _M.SHMEM) | dropped))


_check = partial(check, needs=_NEED)
_entry = partial(_check, page=False)

MEMORY_FAILURE_2009: PoisonFunction = PoisonFunction(
    "memory_failure_2009",
    (
        _entry("Z1", "recovery-off", lambda s: ~s.recov, PoisonAnswer("panic", RET_BUG), "the sysctl says to panic"),
        _entry(
            "Z2", "invalid", lambda s: ~s.valid, PoisonAnswer("-EIO", -5, _T.OUTSIDE_CONTROL, _I), "pfn_valid says no"
        ),
        _check("Z3", "already", lambda s: s.hwp, PoisonAnswer("0", 0, _T.ALREADY_POISONED, _I), "poisoned already"),
        _check(
            "Z4",
            "buddy",
            lambda s: s.kind_in(_K.BUDDY) & s.bhead,
            _event("0", 0, _T.KERNEL_HIGH_ORDER, _I, _E.IN_BUDDY),
            "the first page of a free block: marked where it is",
        ),
        _check(
            "Z5",
            "no-reference",
            _no_reference,
            _event("-EBUSY", -16, _T.KERNEL_HIGH_ORDER, _I, _E.IN_BUDDY),
            "no reference to be had: free, or part of a high-order kernel block",
        ),
        _check(
            "Z6",
            "not-lru",
            lambda s: ~s.kind_in(_K.LRU),
            _event("-EBUSY", -16, _T.NOT_LRU, _I, _E.UNCHANGED),
            "not on the LRU, so it cannot be isolated",
        ),
        _check(
            "Z7",
            "truncated",
            lambda s: ~s.anon & ~s.swapc & (s.map == _M.NONE),
            _isolated(0, _T.TRUNCATED_LRU, _I, _E.HELD),
            "the page was cut off its file meanwhile",
        ),
        _check(
            "Z8",
            "swapcache-dirty",
            lambda s: s.swapc & s.dirty2,
            _isolated(-16, _T.DIRTY_SWAPCACHE, _D, _E.SWAPCACHE_KEPT),
            "dirty swap cache: kept; delayed is not success here",
        ),
        _check(
            "Z9",
            "swapcache-clean",
            lambda s: s.swapc,
            _isolated(0, _T.CLEAN_SWAPCACHE, _R, _E.REMOVED),
            "clean swap cache: removed, to be read again",
        ),
        _check("Z10", "lru", _removable, _isolated(0, None, _R, _E.REMOVED), "an anonymous or file page, isolated"),
        _check("Z11", "failed", always, _isolated(-16, None, _F, _E.HELD), "the page cannot be removed from its file"),
    ),
)
