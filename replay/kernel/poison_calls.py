"""What poison calls answer, and their checks evaluated over many states at once.

A poison call does more than return: it reports an action, sets or clears HWPoison, counts, and leaves the page in some
condition. Where the rules name a value that depends on the state, the answer says which (``Ret``, ``Row``, ``Counts``), and
``verdicts`` fills it in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from replay.kernel.decision import Answer, Bools, Check, Codes, KernelFunction
from replay.kernel.kill import KILL_ACCESSING_PROCESS
from replay.kernel.poison_state import DEFAULTS, PoisonState
from replay.kernel.poison_types import ActionType
from replay.trace.poison import NO_ACTION, ActionResult, MfFlag, PageKind

__all__ = (
    "KEEP",
    "Counts",
    "Kills",
    "PageEffect",
    "PoisonAnswer",
    "PoisonCheck",
    "PoisonFunction",
    "Ret",
    "Row",
    "Verdicts",
    "counter_change",
    "counts_as_event",
    "goes_unmapped",
    "lru_row",
    "lru_row_2009",
    "madvise_flags",
    "verdicts",
)

KEEP = -1  # Verdicts.poison: HWPoison stays as it is
_MANY = 512  # from so many states on, only the distinct ones are evaluated


class Ret(IntEnum):
    """Where the return code comes from."""

    FIXED = 0
    ACCESSOR = 1  # KRC of the rules: what killing the accessing process returns
    OWNER = 2  # OWN: the owner handler's
    MIGRATION = 3  # MIG


class Row(IntEnum):
    """How the action type is looked up in the state table."""

    NONE = 0  # the answer names it
    LRU = 1  # dirty or clean; mlocked before unevictable
    LRU_2009 = 2  # unevictable before mlocked


class Counts(IntEnum):
    """What is added to the global counter."""

    NONE = 0
    STANDARD = 1  # poison semantics 8.7
    ONE = 2
    RAW = 3  # one if the subpage is new to the raw list
    RAW_AND_ONE = 4
    MINUS_ONE = 5
    MINUS_RAW = 6  # length of the raw list


class PageEffect(IntEnum):
    """What becomes of the page (table "Page afterwards" of the poison model)."""

    UNCHANGED = 0
    TAKEN_OFF = 1  # KERNEL, refs 1, TAKEN_OFF; of a dissolved hugetlb page the other pages become BUDDY
    IN_BUDDY = 2  # as it was, refs 0
    HUGE_FREED = 3  # refs 0; dissolved into BUDDY pages if that works, else a free hugetlb page
    REMOVED = 4  # KERNEL, refs 1, no mapping
    SHMEM_KEPT = 5  # KERNEL, refs 2, MAPPING_SET
    SWAPCACHE_KEPT = 6  # as it was without DIRTY and MAPPED, refs 2
    HELD = 7  # as it was, refs at least 2; not mapped if ``Verdicts.unmapped``
    HUGE_KEPT = 8  # as it was, not mapped, refs 2, MAPPING_SET
    RAW_ADDED = 9  # unchanged; the raw list gets the pfn unless it has it
    DAX = 10  # unchanged; all mappings go if anybody was collected
    SOFT_FREE = 12  # KERNEL, refs 1 (0 without soft-offline-by-pfn), TAKEN_OFF
    SOFT_USED = 13  # KERNEL, refs 1 (0 without soft-offline-by-pfn)
    RAW_MOVED = 16  # the raw list of a hugetlb page is dissolved: each page on it gets HWPOISON of its own
    SWAPCACHE_HELD = 15  # as HELD, and no longer in the swap cache
    UNPOISONED = 14  # HWPOISON, TAKEN_OFF, raw entries cleared; refs 0, BUDDY if refs was 1


class Kills(IntEnum):
    """Who may be signalled, and by which rule."""

    NOBODY = 0
    MAPPERS = 1  # poison semantics 8.5 over the mappings of the page
    UNSPLIT = 2  # the same, forced, nothing unmapped, lsb of the folio
    DAX = 3  # AR and MUST forced
    ACCESSOR = 4  # the calling task, 3.5
    SGX = 5  # the calling task, if AR
    PFN_SPACE = 6  # mappers of the pfn, MUST and AR forced, nothing unmapped


@dataclass(frozen=True)
class PoisonAnswer(Answer):
    """What a poison call answers.

    Attributes:
        action: type reported, None for none (or ``row``).
        result: result reported, None for none.
        poison: 1 or 0 if HWPoison is set or cleared.
        counts: what is added to the global counter.
        effect: what becomes of the page.
        kills: who may be signalled.
        ret: where the return code comes from, if not ``value``.
        row: how the type is looked up, if not ``action``.
        unmaps: the user-mapping step is made.
    """

    action: ActionType | None = None
    result: ActionResult | None = None
    poison: int | None = None
    counts: Counts = Counts.NONE
    effect: PageEffect = PageEffect.UNCHANGED
    kills: Kills = Kills.NOBODY
    ret: Ret = Ret.FIXED
    row: Row = Row.NONE
    unmaps: bool = False


@dataclass(frozen=True)
class PoisonCheck(Check[PoisonState]):
    """A check of a poison call.

    Attributes:
        rule: its row in poison semantics 8.4, 8.6 or 8.7; a letter at the end tells alternatives of one row apart.
        page: it comes when the page is looked at, so of a page that is not described it decides nothing.
    """

    rule: str = ""
    page: bool = True


@dataclass(frozen=True)
class _Columns:
    """The answers of a function's checks, column by column."""

    value: NDArray[np.int64]
    action: Codes
    result: Codes
    poison: NDArray[np.int8]
    counts: Codes
    effect: Codes
    kills: Codes
    ret: Codes
    row: Codes
    unmaps: Bools
    page: Bools


@dataclass(frozen=True, eq=False)
class PoisonFunction(KernelFunction[PoisonState]):
    """A poison call: its checks are ``PoisonCheck``, their answers ``PoisonAnswer``."""

    @cached_property
    def columns(self) -> _Columns:
        """The answers of the checks, column by column."""
        answers = [cast(PoisonAnswer, check.answer) for check in self.checks]
        return _Columns(
            value=np.array([a.value for a in answers], np.int64),
            action=np.array([NO_ACTION if a.action is None else a.action for a in answers], np.uint8),
            result=np.array([NO_ACTION if a.result is None else a.result for a in answers], np.uint8),
            poison=np.array([KEEP if a.poison is None else a.poison for a in answers], np.int8),
            counts=np.array([a.counts for a in answers], np.uint8),
            effect=np.array([a.effect for a in answers], np.uint8),
            kills=np.array([a.kills for a in answers], np.uint8),
            ret=np.array([a.ret for a in answers], np.uint8),
            row=np.array([a.row for a in answers], np.uint8),
            unmaps=np.array([a.unmaps for a in answers], np.bool_),
            page=np.array([cast(PoisonCheck, check).page for check in self.checks], np.bool_),
        )


@dataclass(frozen=True)
class Verdicts:
    """What a call answers for many states, one element each.

    Attributes:
        check: index of the deciding check, uint8.
        ret: return code, int64.
        action: ActionType, NO_ACTION for none, uint8.
        result: ActionResult, NO_ACTION for none, uint8.
        poison: 1 set, 0 cleared, KEEP, int8.
        counted: change of the global counter, int64.
        effect: PageEffect, uint8.
        kills: Kills, uint8.
        unmapped: all mappings of the page are gone afterwards.
        entries: and left hwpoison entries behind.
        event: an event that is counted, globally and by node.
        undecided: the page is of kind UNKNOWN, and the deciding check looks at it; the other columns mean nothing.
    """

    check: Codes
    ret: NDArray[np.int64]
    action: Codes
    result: Codes
    poison: NDArray[np.int8]
    counted: NDArray[np.int64]
    effect: Codes
    kills: Codes
    unmapped: Bools
    entries: Bools
    event: Bools
    undecided: Bools

    def spread(self, inverse: NDArray[np.intp]) -> Verdicts:
        """Return the verdicts at these positions."""
        return Verdicts(*(getattr(self, name)[inverse] for name in self.__dataclass_fields__))


def madvise_flags(features: frozenset[str]) -> MfFlag:
    """Return the flags with which MADV_HWPOISON calls memory_failure (poison semantics 2)."""
    flags = MfFlag(0)
    if "madvise-drops-reference" not in features:
        flags |= MfFlag.COUNT_INCREASED
    if "simulated-injection" in features:
        flags |= MfFlag.SW_SIMULATED
    if "madvise-action-required" in features:
        flags |= MfFlag.ACTION_REQUIRED
    return flags


def verdicts(
    function: PoisonFunction,
    states: PoisonState,
    count: int,
    accessor: KernelFunction[PoisonState] = KILL_ACCESSING_PROCESS,
) -> Verdicts:
    """Decide many calls at once.

    Args:
        function: MEMORY_FAILURE, MEMORY_FAILURE_2009, SOFT_OFFLINE_PAGE or UNPOISON_MEMORY.
        states: one per call.
        count: how many.
        accessor: decides what killing the accessing process returns.
    """
    if count >= _MANY:
        first, inverse = states.distinct(count)
        return _verdicts(function, states.take(first), len(first), accessor).spread(inverse)
    return _verdicts(function, states, count, accessor)


def _verdicts(
    function: PoisonFunction, states: PoisonState, count: int, accessor: KernelFunction[PoisonState]
) -> Verdicts:
    columns = function.columns
    if count == 1 and all(getattr(states, name).ndim == 0 for name in DEFAULTS):
        check = np.array([function.decide(states, states.features)], np.uint8)  # stops at the first that holds
    else:
        check = function.tabulate(states, count, states.features).check
    action, result, poison = columns.action[check], columns.result[check], columns.poison[check]
    row = columns.row[check]
    for kind, types in ((Row.LRU, lru_row(states)), (Row.LRU_2009, lru_row_2009(states))):
        np.copyto(action, types, where=row == kind)
    event = counts_as_event(action, states)
    unmapped = columns.unmaps[check] & goes_unmapped(states)
    return Verdicts(
        check=check,
        ret=_ret(columns.ret[check], columns.value[check], states, count, accessor),
        action=action,
        result=result,
        poison=poison,
        counted=counter_change(columns.counts[check], event, action, poison, states),
        effect=columns.effect[check],
        kills=columns.kills[check],
        unmapped=unmapped,
        entries=unmapped & states.hwpte,
        event=event,
        undecided=columns.page[check] & states.kind_in(PageKind.UNKNOWN),
    )


def _ret(
    source: Codes, ret: NDArray[np.int64], states: PoisonState, count: int, accessor: KernelFunction[PoisonState]
) -> NDArray[np.int64]:
    if (source == Ret.ACCESSOR).any():
        killed = accessor.tabulate(states, count, states.features).value
        np.copyto(ret, killed, where=source == Ret.ACCESSOR)
    np.copyto(ret, states.own_rc, where=source == Ret.OWNER)
    np.copyto(ret, states.mig, where=source == Ret.MIGRATION)
    return ret


def goes_unmapped(states: PoisonState) -> Bools:
    """Return where the user-mapping step, if it is made, leaves the page without mappings."""
    skipped = states.ksm & (not states.has("ksm-poison"))
    return np.asarray(states.mapped & ~states.ufail & ~skipped)


def counts_as_event(action: Codes, states: PoisonState) -> Bools:
    """Return which calls report an event that is counted (8.7); before poison-counted-at-event none is."""
    if not states.has("poison-counted-at-event"):
        return np.zeros(action.shape, np.bool_)
    event: Bools = (action != NO_ACTION) & (action != ActionType.PFN_MAP)
    if states.has("already-poisoned-uncounted"):
        event &= action != ActionType.ALREADY_POISONED
    return event


def counter_change(
    counts: Codes, event: Bools, action: Codes, poison: NDArray[np.int8], states: PoisonState
) -> NDArray[np.int64]:
    """Return the change of the global counter (8.7): events count where they do, else the setting of the flag."""
    at_event = states.has("poison-counted-at-event")
    standard = event if at_event else (poison == 1) & (action != ActionType.DAX)
    change = np.zeros(counts.shape, np.int64)
    raw = np.asarray(states.newraw, np.int64)
    for kind, value in (
        (Counts.STANDARD, standard),
        (Counts.ONE, 1),
        (Counts.RAW, raw),
        (Counts.RAW_AND_ONE, raw + 1),
        (Counts.MINUS_ONE, -1),
        (Counts.MINUS_RAW, -states.rawcnt.astype(np.int64)),
    ):
        np.copyto(change, value, where=counts == kind)
    return change


def _by_dirt(states: PoisonState, dirty: ActionType, clean: ActionType) -> Codes:
    return np.where(states.dirty2, np.uint8(dirty), np.uint8(clean))


def lru_row(states: PoisonState) -> Codes:
    """Return the LRU rows of the state table (1.6)."""
    lru, unev, mlocked = _lru_rows(states)
    return np.where(states.mlk, mlocked, np.where(states.unev, unev, lru))


def lru_row_2009(states: PoisonState) -> Codes:
    """Return the rows of v2.6.32 (8.6)."""
    lru, unev, mlocked = _lru_rows(states)
    return np.where(states.unev, unev, np.where(states.mlk, mlocked, lru))


def _lru_rows(states: PoisonState) -> tuple[Codes, Codes, Codes]:
    """Return the ordinary, unevictable and mlocked rows, dirty or clean."""
    return (
        _by_dirt(states, ActionType.DIRTY_LRU, ActionType.CLEAN_LRU),
        _by_dirt(states, ActionType.DIRTY_UNEVICTABLE_LRU, ActionType.CLEAN_UNEVICTABLE_LRU),
        _by_dirt(states, ActionType.DIRTY_MLOCKED_LRU, ActionType.CLEAN_MLOCKED_LRU),
    )
