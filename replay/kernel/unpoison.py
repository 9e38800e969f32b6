"""unpoison_memory of v4.18 and later (poison semantics 6; rules U1 to U10 of 8.7)."""

from __future__ import annotations

from functools import partial

from replay.kernel.calls import always
from replay.kernel.memory_failure_answers import check, silent
from replay.kernel.poison_calls import Counts, PageEffect, PoisonAnswer, PoisonFunction
from replay.trace.poison import PageKind

__all__ = ("UNPOISON_MEMORY",)

_K = PageKind
_ONLINE, _RAW = "unpoison-online-page", "hugetlb-raw-list"


def _done(counts: Counts) -> PoisonAnswer:
    return PoisonAnswer("0", 0, poison=0, counts=counts, effect=PageEffect.UNPOISONED)


_entry = partial(check, page=False)

UNPOISON_MEMORY: PoisonFunction = PoisonFunction(
    "unpoison_memory",
    (
        _entry("U1", "not-online", lambda s: ~s.online, silent(-5), "no online page", needs=(_ONLINE,)),
        _entry("U2", "invalid", lambda s: ~s.valid, silent(-6), "pfn_valid says no", unless=(_ONLINE,)),
        _entry(
            "U3",
            "hardware-error-seen",
            lambda s: s.hwmf,
            silent(-95),
            "a real error was seen since boot, so poison may be real",
            needs=(_RAW,),
        ),
        check("U4", "huge-zero", lambda s: s.kind_in(_K.HUGE_ZERO), silent(-95), "the huge zero page", needs=(_RAW,)),
        check("U5a", "not-poisoned", lambda s: ~s.hwp, silent(-16), "not poisoned", needs=(_RAW,)),
        check("U5b", "referenced", lambda s: s.refs > 1, silent(-16), "somebody holds the page", needs=(_RAW,)),
        check("U5c", "mapped", lambda s: s.mapped, silent(-16), "somebody maps the page", needs=(_RAW,)),
        check(
            "U5d",
            "has-mapping",
            lambda s: s.mapnn,
            silent(-16),
            "the page belongs to a file, which may have been told",
            needs=(_RAW,),
        ),
        check(
            "U6a",
            "kernel-page",
            lambda s: s.kind_in(_K.SLAB, _K.SLAB_COMPOUND, _K.PAGE_TABLE, _K.RESERVED),
            silent(-16),
            "a page of the kernel itself",
            needs=(_RAW,),
        ),
        check(
            "U6b",
            "offline-page",
            lambda s: s.kind_in(_K.OFFLINE),
            silent(-16),
            "a page that is logically offline",
            needs=(_RAW, "late-action-types"),
        ),
        check(
            "U7",
            "huge-list",
            lambda s: s.hg & ((s.rawcnt == 0) | s.unrel),
            silent(-16),
            "the hugetlb page does not know which of its subpages are poisoned",
            needs=(_RAW,),
        ),
        check("U8a", "not-poisoned-success", lambda s: ~s.hwp, silent(0), "not poisoned", unless=(_RAW,)),
        check(
            "U8b",
            "in-use",
            lambda s: (s.refs > 1) | s.mapped | s.mapnn,
            silent(0),
            "somebody holds or maps the page: nothing is done, and nothing said",
            unless=(_RAW,),
        ),
        check(
            "U8c",
            "compound",
            lambda s: s.large | s.kind_in(_K.SLAB_COMPOUND, _K.HUGE_ZERO),
            silent(0),
            "part of a larger page: nothing is done, and nothing said",
            unless=(_RAW,),
        ),
        check(
            "U9", "huge", lambda s: s.hg, _done(Counts.MINUS_RAW), "all subpages of the list are freed", needs=(_RAW,)
        ),
        check("U10", "unpoisoned", always, _done(Counts.MINUS_ONE), "the flag is cleared, and the page freed"),
    ),
)
