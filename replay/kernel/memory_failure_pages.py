"""memory_failure of base pages and THP up to the state table (poison semantics 1.3, 1.4; rules R50 to R65 of 8.4)."""

from __future__ import annotations

from replay.kernel.decision import Bools
from replay.kernel.memory_failure_answers import NOT_GOT, already, check, event, silent
from replay.kernel.poison_calls import Counts, Kills, PageEffect
from replay.kernel.poison_state import PoisonState
from replay.kernel.poison_types import ActionType
from replay.trace.poison import ActionResult, PageKind

__all__ = ("ALREADY", "REFERENCE", "SPLIT")

_K, _T, _E = PageKind, ActionType, PageEffect
_I, _F, _D, _R = ActionResult.IGNORED, ActionResult.FAILED, ActionResult.DELAYED, ActionResult.RECOVERED
_LATE, _TOFF = "late-action-types", "take-off-buddy"
_EVENT, _UNCOUNTED = "already-poisoned-event", "already-poisoned-uncounted"

ALREADY = (
    check("R50", "already", lambda s: s.hwp, silent(0), "poisoned already", unless=("already-poisoned-error",)),
    check("R51", "already-error", lambda s: s.hwp, already(), "poisoned already", unless=(_EVENT,)),
    check(
        "R52",
        "already-uncounted",
        lambda s: s.hwp,
        already(_T.ALREADY_POISONED, _F),
        "poisoned already",
        needs=(_EVENT, _UNCOUNTED),
    ),
    check(
        "R53",
        "already-counted",
        lambda s: s.hwp,
        already(_T.ALREADY_POISONED, _F, Counts.ONE),
        "poisoned already",
        needs=(_EVENT,),
        unless=(_UNCOUNTED,),
    ),
)


def _no_reference(s: PoisonState) -> Bools:
    """No reference, or a compound page that is neither hugetlb nor anonymous: taken for part of a kernel block."""
    kernel = s.kind_in(_K.PCP, _K.KERNEL_TAIL, _K.SLAB_COMPOUND, _K.HUGE_ZERO)
    return ~s.COUNT & (kernel | (s.kind_in(_K.LRU) & s.large & ~s.anon))


_NOT_HANDLABLE = "neither free nor on the LRU after several tries: nothing the handler could do"
REFERENCE = (
    check(
        "R54",
        "buddy",
        lambda s: s.gl & s.isbud & s.toff,
        event(0, _T.BUDDY, _R, _E.TAKEN_OFF),
        "a free page, taken off the buddy lists",
        needs=(_TOFF,),
    ),
    check(
        "R55",
        "buddy-lost",
        lambda s: s.gl & s.isbud,
        event(-16, _T.BUDDY, _F, _E.HELD),
        "a free page that was gone when it should be taken off, twice",
        needs=(_TOFF,),
    ),
    check(
        "R56",
        "buddy-delayed",
        lambda s: ~s.COUNT & s.kind_in(_K.BUDDY),
        event(0, _T.BUDDY, _D, _E.IN_BUDDY),
        "a free page: it stays where it is, and is dropped when the allocator meets it",
        unless=(_TOFF,),
    ),
    check(
        "R57",
        "high-order-kernel",
        _no_reference,
        event(-16, _T.KERNEL_HIGH_ORDER, _I),
        "no reference to be had, and not free: taken for part of a high-order kernel block",
        unless=("handlable-test",),
    ),
    check(
        "R58",
        "not-handlable-unknown",
        lambda s: s.gl & (s.kind != _K.LRU),
        NOT_GOT[0],
        _NOT_HANDLABLE,
        needs=("handlable-test",),
        unless=(_LATE,),
    ),
    check(
        "R59",
        "not-handlable",
        lambda s: s.gl & (s.kind != _K.LRU),
        NOT_GOT[1],
        _NOT_HANDLABLE,
        needs=("handlable-test", _LATE),
    ),
    check(
        "R60",
        "filter-early",
        lambda s: s.filt,
        silent(-95, poison=0),
        "the filter rejects the page",
        needs=("filter-before-split",),
    ),
)

_UNSPLIT = (
    event(-16, _T.UNSPLIT_THP, _I),
    event(-133, _T.UNSPLIT_THP, _F, kills=Kills.UNSPLIT),
)
SPLIT = (
    check(
        "R61",
        "thp-silent",
        lambda s: s.lg & (~s.anon | ~s.spl),
        silent(-16, poison=0),
        "the large folio cannot be split (of a file: is not even tried); the flag is taken back",
        unless=("unsplit-thp-event",),
    ),
    check(
        "R62a",
        "thp-unsplit-ignored",
        lambda s: s.lg & ~s.spl,
        _UNSPLIT[0],
        "the large folio cannot be split",
        needs=("unsplit-thp-event",),
        unless=("unsplit-thp-kills",),
    ),
    check(
        "R62b",
        "file-thp",
        lambda s: s.lg & ~s.anon,
        _UNSPLIT[0],
        "large folios of files are not split",
        needs=("unsplit-thp-event",),
        unless=("unsplit-thp-kills", "file-thp-split"),
    ),
    check(
        "R63a",
        "thp-unsplit",
        lambda s: s.lg & ~s.spl,
        _UNSPLIT[1],
        "the large folio cannot be split: its mappers are signalled at once",
        needs=("unsplit-thp-event", "unsplit-thp-kills"),
    ),
    check(
        "R63b",
        "min-order",
        lambda s: s.lg & (s.minord > 0),
        _UNSPLIT[1],
        "the file asks for large folios, so there is no splitting to single pages",
        needs=("unsplit-thp-event", "unsplit-thp-kills", "min-order-unsplittable"),
    ),
    check(
        "R64",
        "filter-success",
        lambda s: s.filt,
        silent(0, poison=0),
        "the filter rejects the page, and that is no error",
        unless=("filter-eopnotsupp",),
    ),
    check(
        "R65",
        "filter",
        lambda s: s.filt,
        silent(-95, poison=0),
        "the filter rejects the page",
        needs=("filter-eopnotsupp",),
    ),
)
