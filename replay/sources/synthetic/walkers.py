"""What walks pfns in Linux: the table. ``walks.py`` turns a row of it into lookups.

Facts of ``docs/semantics/walk.md`` section 6. A walker goes over some spans of a machine, stops every so many pages,
and looks up some pfns at each stop. Which function it asks depends on the kernel; where a kernel's walker asks none (a
plain access to the page), there is nothing to generate, and the walker is refused for that kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from replay.sources.synthetic.parameters import Parameter, count
from replay.sources.synthetic.walker import Look, Looks, Units, Walker, lines
from replay.trace.schema import EventKind

__all__ = ("WALKERS",)

_ALL = lines("4.18")
_A, _B_ON = lines("4.18", "4.19"), lines("5.1")
_TO_53, _FROM_54 = lines("4.18", "5.3"), lines("5.4")
_VALID, _ONLINE = EventKind.PFN_VALID, EventKind.PFN_TO_ONLINE_PAGE


def _one(kind: EventKind) -> Looks:
    return lambda _: (Look(kind),)


def _run(kind: EventKind) -> Looks:
    return lambda u: (Look(kind, pages=u.run),)


def _valid_then_online(
    before: tuple[str, ...], since: tuple[str, ...], looks: Callable[[EventKind], Looks]
) -> Mapping[tuple[str, ...], Looks]:
    return {before: looks(_VALID), since: looks(_ONLINE)}


def _run_parameter(default: int, about: str) -> tuple[Parameter, ...]:
    return (Parameter("run", str(default), f"pages of one row: {about}", count(1, 1 << 20)),)


# The check of a whole pageblock: both ends valid, the first page online and in the zone.
_BLOCK_CHECK: Mapping[tuple[str, ...], Looks] = {
    lines("4.18", "6.1"): lambda u: (Look(_VALID), Look(_VALID, at=u.pageblock - 1), Look(_ONLINE)),
    lines("6.12"): lambda u: (Look(_VALID, at=u.pageblock - 1), Look(_ONLINE)),
}


def _isolation(*behind: str) -> Looks:
    """Both neighbours, the pageblocks between the edge ones, the test of all, the first once more, and the undoing.

    Args:
        behind: units; where the memory behind the block is online, the pfns that lie so far before its end are asked
            for too.
    """

    def looks(u: Units) -> tuple[Look, ...]:
        blocks, unit = u.block // u.pageblock, u.pageblock
        edge = tuple(Look(_ONLINE, at=u.block - getattr(u, name)) for name in behind)
        inner = (Look(_ONLINE, at=unit, pages=blocks - 2, stride=unit),) if blocks > 2 else ()
        every = Look(_ONLINE, pages=blocks, stride=unit)
        return (Look(_ONLINE, at=-1), Look(_ONLINE, at=u.block), *edge, *inner, every, Look(_ONLINE), every)

    return looks


def _isolation_old(u: Units) -> tuple[Look, ...]:
    every = Look(_ONLINE, pages=u.block // u.pageblock, stride=u.pageblock)
    return (every, every, every)


def _offline(isolation: Looks, scan: EventKind | None, *, tested: int) -> Looks:
    """Isolate, scan for what has to move, test: over one block after the other; ``tested`` looks belong to the test."""

    def looks(u: Units) -> tuple[Look, ...]:
        *before, _undo = isolation(u)
        at = len(before) - tested
        return (*before[:at], *((Look(scan, pages=u.block),) if scan else ()), *before[at:])

    return looks


_ROWS = (
    Walker(
        "compaction-migrate",
        "compaction, migrate scanner: pageblocks that pages are taken from",
        "zones",
        "pageblock",
        "up",
        _BLOCK_CHECK,
    ),
    Walker(
        "compaction-free",
        "compaction, free scanner: pageblocks that pages go to",
        "zones",
        "pageblock",
        "down",
        _BLOCK_CHECK,
    ),
    Walker(
        "compaction",
        "both scanners of compaction by turns, until they meet",
        "zones",
        "pageblock",
        "meet",
        _BLOCK_CHECK,
    ),
    Walker(
        "compaction-reset",
        "compaction forgets which pageblocks it skipped",
        "zones",
        "pageblock",
        {_A: "up", _B_ON: "meet"},
        {_A: _one(_ONLINE), _B_ON: lambda u: (Look(_ONLINE), Look(_ONLINE), Look(_ONLINE, at=u.pageblock - 1))},
        note="4.18 and 4.19 have one cursor, upwards",
    ),
    Walker(
        "pageblock-contiguity",
        "whether a zone is free of holes, asked when memory goes online",
        "zone-head",
        "pageblock",
        "up",
        {_ALL: lambda u: (Look(_ONLINE), Look(_VALID, at=u.pageblock - 1))},
        note="ends at the first hole",
    ),
    Walker(
        "pagetypeinfo", "/proc/pagetypeinfo, count of pageblocks", "zones", "pageblock", "up", {_ALL: _one(_ONLINE)}
    ),
    Walker(
        "pagetypeinfo-mixed",
        "/proc/pagetypeinfo, pageblocks of mixed use",
        "zones",
        "pageblock",
        "up",
        _valid_then_online(_TO_53, _FROM_54, _one),
        note="pages inside a pageblock are not looked up",
    ),
    Walker("page-owner", "a read of /sys/kernel/debug/page_owner", "pfns", "buddy", "up", {_ALL: _one(_VALID)}),
    Walker("page-owner-init", "page_owner at boot", "zones", "pageblock", "up", {_ALL: _one(_VALID)}),
    Walker(
        "kpageflags",
        "/proc/kpageflags, kpagecount and kpagecgroup, read from one end to the other",
        "pfns-to-section",
        "run",
        "up",
        _valid_then_online(_TO_53, _FROM_54, _run),
        _run_parameter(512, "what one read(2) asks for; 512 is 4 KiB"),
    ),
    Walker(
        "kpageflags-reads",
        "the same reads, as such: whether an entry is there at all",
        "pfns-to-section",
        "run",
        "up",
        {_ALL: _run(EventKind.KPAGEFLAGS)},
        _run_parameter(512, "what one read(2) asks for; 512 is 4 KiB"),
    ),
    Walker(
        "page-idle",
        "/sys/kernel/mm/page_idle/bitmap",
        "pfns",
        "run",
        "up",
        _valid_then_online(_TO_53, _FROM_54, _run),
        _run_parameter(64, "64 bits are one word of the bitmap"),
    ),
    Walker(
        "kmemleak",
        "kmemleak scans struct pages",
        "zones-or-nodes",
        "run",
        "up",
        _valid_then_online(_A, _B_ON, _run),
        _run_parameter(64, "it gives way every 64"),
    ),
    Walker(
        "hibernation",
        "hibernation counts pages, then copies them",
        "zones-twice",
        "run",
        "up",
        {_A: _run(_VALID), _B_ON: lambda u: (Look(_VALID, pages=u.run), Look(_ONLINE, pages=u.run))},
        _run_parameter(1, "1 is exact: both questions of a page before the next; more makes a smaller trace"),
    ),
    Walker(
        "split-huge-pages",
        "split_huge_pages of debugfs",
        "zones",
        "run",
        "up",
        {lines("6.1"): _run(_ONLINE)},
        _run_parameter(64, "it goes page by page"),
    ),
    Walker(
        "contiguous-alloc",
        "alloc_contig_pages tries one window after the other",
        "windows",
        "run",
        "up",
        {_ALL: _run(_ONLINE)},
        _run_parameter(8192, "the pages wanted"),
    ),
    Walker(
        "isolation",
        "isolation of a memory block: start, test, undo",
        "blocks",
        "block",
        "up",
        {
            lines("4.18", "5.12"): _isolation_old,
            lines("6.1", "6.1"): _isolation("buddy"),
            lines("6.12"): _isolation("buddy", "pageblock"),
        },
        note="as where the memory on both sides is online",
    ),
    Walker(
        "offline",
        "the phases of taking a memory block offline: isolate, scan, test",
        "blocks",
        "block",
        "up",
        {
            lines("4.18", "5.12"): _offline(_isolation_old, _VALID, tested=1),
            lines("6.1", "6.1"): _offline(_isolation("buddy"), None, tested=2),
            lines("6.12"): _offline(_isolation("buddy", "pageblock"), None, tested=2),
        },
        note="the block stays online; hotplug-churn takes blocks off and on",
    ),
    Walker(
        "zone-shrink",
        "how far a zone still reaches after memory went",
        "zones",
        {lines("4.18", "5.1"): "section", lines("5.3"): "subsection"},
        "up",
        _valid_then_online(_TO_53, _FROM_54, _one),
    ),
    Walker(
        "zone-shrink-end",
        "the same from the end of the zone",
        "zones",
        {lines("4.18", "5.1"): "section", lines("5.3"): "subsection"},
        "down",
        {
            lines("4.18", "5.1"): lambda u: (Look(_VALID, at=u.section - 1),),
            lines("5.3", "5.3"): lambda u: (Look(_VALID, at=u.subsection - 1),),
            _FROM_54: lambda u: (Look(_ONLINE, at=u.subsection - 1),),
        },
    ),
    Walker(
        "test-zone",
        "whether all pages of a memory block are of one zone",
        "blocks",
        "buddy",
        "up",
        {lines("4.18", "5.12"): _one(_VALID)},
        arches=("aarch64",),
        note="asks only where zones may have holes",
    ),
    Walker(
        "shuffle",
        "the free lists are shuffled",
        "zones",
        "buddy",
        "up",
        {lines("5.3"): lambda _: (Look(_ONLINE), Look(_ONLINE, partner=True))},
    ),
    Walker("kcore", "/proc/kcore, the linear map", "ram", "page", "up", {lines("6.1"): _one(_ONLINE)}),
    Walker(
        "damon",
        "DAMON samples physical memory: a page per region, looked up twice, then the next",
        "damon",
        "page",
        "sampled",
        {lines("6.1"): _one(_ONLINE)},
        (
            Parameter("regions", "30", "regions sampled", count(2, 1 << 16)),
            Parameter("aggregation", "20", "samples after which regions are merged and split anew", count(1, 1 << 20)),
        ),
        note="6.1 and 6.12 take the largest System RAM range, 7.2 the span of all",
    ),
    Walker(
        "damon-action",
        "a DAMON scheme pages out or migrates",
        "ram-span",
        "run",
        "up",
        {lines("6.1"): _run(_ONLINE)},
        _run_parameter(1, "512 where memory is in 2 MiB folios (7.2 steps by folios)"),
    ),
    Walker(
        "damon-target",
        "what DAMON monitors is looked for",
        "whole",
        "block",
        "up",
        {lines("7.2"): lambda u: (Look(EventKind.WALK_SYSTEM_RAM_RANGE, pages=u.block),)},
    ),
    Walker(
        "error-injection",
        "memory errors and soft offline by address",
        "ram-span",
        "page",
        "random",
        {_FROM_54: _one(_ONLINE), _TO_53: _one(_VALID)},
    ),
    Walker(
        "crash-kernel",
        "kexec walks System RAM for a place",
        "whole",
        "block",
        "up",
        {_ALL: lambda u: (Look(EventKind.WALK_SYSTEM_RAM_RANGE, pages=u.block),)},
    ),
)
WALKERS = {w.name: w for w in _ROWS}
