"""memory_failure of hugetlb pages (poison semantics 1.5; rules R20 to R46 of 8.4)."""

from __future__ import annotations

from dataclasses import replace

from replay.kernel.memory_failure_answers import NOT_GOT, STILL_MAPPED, already, check, event, listed, mapped, silent
from replay.kernel.poison_calls import Counts, PageEffect
from replay.kernel.poison_state import HugeState
from replay.kernel.poison_types import ActionType
from replay.trace.poison import ActionResult

__all__ = ("HUGETLB",)

_T, _E = ActionType, PageEffect
_I, _F, _D, _R = ActionResult.IGNORED, ActionResult.FAILED, ActionResult.DELAYED, ActionResult.RECOVERED
_RAW, _LATE, _TOFF = "hugetlb-raw-list", "late-action-types", "take-off-buddy"
_EVENT, _UNCOUNTED = "already-poisoned-event", "already-poisoned-uncounted"

_HUGE_FAILED = mapped(event(-16, _T.HUGE, _F, _E.HELD))
_FREE_HUGE_TAKEN = event(0, _T.FREE_HUGE, _R, _E.TAKEN_OFF)
_FREE_HUGE_FAILED = event(-16, _T.FREE_HUGE, _F, _E.HELD)
_RESERVED = "a free hugetlb page that cannot be dissolved (the pool has promised it), or is taken again at once"

HUGETLB = (
    check("R20", "huge-already", lambda s: s.hg & s.hwp, silent(0), "the head is poisoned already", unless=(_RAW,)),
    check(
        "R21",
        "huge-free-tail",
        lambda s: s.free_hg & s.tail,
        silent(0, poison=1),
        "a tail of a free hugetlb page: a test against races gives up",
        unless=(_RAW,),
    ),
    check(
        "R22",
        "huge-free-filter",
        lambda s: s.free_hg & s.filt,
        silent(0, poison=0),
        "a free hugetlb page that the filter rejects",
        unless=(_RAW,),
    ),
    check(
        "R23",
        "huge-free-delayed",
        lambda s: s.free_hg,
        event(0, _T.FREE_HUGE, _D, _E.HUGE_FREED),
        "a free hugetlb page: dissolved if that works",
        unless=(_RAW, _TOFF),
    ),
    check(
        "R24",
        "huge-free-taken-off",
        lambda s: s.free_hg & s.dissolv,
        _FREE_HUGE_TAKEN,
        "a free hugetlb page: dissolved, and the page taken off the buddy lists",
        needs=(_TOFF,),
        unless=(_RAW,),
    ),
    check(
        "R25", "huge-free-reserved", lambda s: s.free_hg, _FREE_HUGE_FAILED, _RESERVED, needs=(_TOFF,), unless=(_RAW,)
    ),
    check(
        "R26",
        "huge-too-large",
        lambda s: s.hg & s.pud,
        event(-16, _T.NON_PMD_HUGE, _I),
        "hugetlb pages larger than a PMD are not handled",
        unless=(_RAW,),
    ),
    check(
        "R30",
        "huge-poisoned",
        lambda s: s.hg & s.hwp,
        listed(already(counts=Counts.RAW)),
        "the hugetlb page is poisoned already: the subpage is listed, silently",
        needs=(_RAW,),
        unless=(_EVENT,),
    ),
    check(
        "R31",
        "huge-poisoned-consumed",
        lambda s: s.hg & s.hwp & s.AR,
        listed(already(_T.ALREADY_POISONED, _F, Counts.RAW_AND_ONE)),
        "the hugetlb page is poisoned already, and somebody consumed it",
        needs=(_RAW, _EVENT),
        unless=(_UNCOUNTED,),
    ),
    check(
        "R32",
        "huge-poisoned-silent",
        lambda s: s.hg & s.hwp,
        listed(already(counts=Counts.RAW)),
        "the hugetlb page is poisoned already: the subpage is listed, silently",
        needs=(_RAW, _EVENT),
        unless=(_UNCOUNTED,),
    ),
    check(
        "R33",
        "huge-subpage-listed",
        lambda s: s.hg & s.hwp & s.rawhit & ~s.unrel,
        already(_T.ALREADY_POISONED, _F),
        "this very subpage is listed already",
        needs=(_RAW, _EVENT, _UNCOUNTED),
    ),
    check(
        "R34",
        "huge-subpage-new",
        lambda s: s.hg & s.hwp,
        listed(already(_T.HUGE, _F, Counts.STANDARD)),
        "another subpage of a poisoned hugetlb page: listed, and counted as a failure",
        needs=(_RAW, _EVENT, _UNCOUNTED),
    ),
    check(
        "R35",
        "huge-busy-unknown",
        lambda s: s.hg & ~s.COUNT & (s.ht == HugeState.BUSY),
        NOT_GOT[0],
        "the hugetlb page is being isolated, allocated or demoted",
        needs=(_RAW,),
        unless=(_LATE,),
    ),
    check(
        "R36",
        "huge-busy",
        lambda s: s.hg & ~s.COUNT & (s.ht == HugeState.BUSY),
        NOT_GOT[1],
        "the hugetlb page is being isolated, allocated or demoted",
        needs=(_RAW, _LATE),
    ),
    check(
        "R37",
        "huge-filter",
        lambda s: s.hg & s.filt,
        replace(silent(-95, poison=0), effect=_E.RAW_MOVED),
        "a hugetlb page that the filter rejects: the folio is cleared, but the mark moves to the broken page",
        needs=(_RAW,),
    ),
    check(
        "R38",
        "huge-free",
        lambda s: s.free_hg & s.dissolv,
        _FREE_HUGE_TAKEN,
        "a free hugetlb page: dissolved, and the page taken off the buddy lists",
        needs=(_RAW,),
    ),
    check("R39", "huge-free-failed", lambda s: s.free_hg, _FREE_HUGE_FAILED, _RESERVED, needs=(_RAW,)),
    check(
        "R40",
        "huge-unmap-failed-ignored",
        lambda s: s.hg & s.ufail,
        STILL_MAPPED[0],
        "the hugetlb page is still mapped after unmapping",
        unless=(_LATE,),
    ),
    check(
        "R41",
        "huge-unmap-failed",
        lambda s: s.hg & s.ufail,
        STILL_MAPPED[1],
        "the hugetlb page is still mapped after unmapping",
        needs=(_LATE,),
    ),
    check(
        "R42",
        "huge-file",
        lambda s: s.hg & ~s.anon & s.rel & (s.pins == 0),
        mapped(event(0, _T.HUGE, _R, _E.HUGE_KEPT)),
        "a hugetlb page of a file, and nobody else holds it",
    ),
    check(
        "R43",
        "huge-file-failed",
        lambda s: s.hg & ~s.anon,
        _HUGE_FAILED,
        "a hugetlb page of a file that somebody holds",
    ),
    check(
        "R44",
        "huge-anon-released",
        lambda s: s.hg & (s.pins < 2),
        mapped(event(0, _T.HUGE, _R, _E.HUGE_FREED)),
        "an anonymous hugetlb page: released, dissolved if that works",
        unless=(_TOFF,),
    ),
    check(
        "R45",
        "huge-anon",
        lambda s: s.hg & s.dissolv & (s.pins == 0),
        mapped(event(0, _T.HUGE, _R, _E.TAKEN_OFF)),
        "an anonymous hugetlb page: dissolved, and the page taken off the buddy lists",
        needs=(_TOFF,),
    ),
    check("R46", "huge-failed", lambda s: s.hg, _HUGE_FAILED, "the hugetlb page is held, or cannot be dissolved"),
)
