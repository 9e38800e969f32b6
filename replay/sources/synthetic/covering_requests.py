"""Requests to add, remove, unmap and claim, and queries: every combination of what can be wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from replay.sources.synthetic.covering_places import ENV, KMEM, RAM, Places
from replay.sources.synthetic.covering_script import Row
from replay.trace.schema import AddFlags, EventKind, Phase, Zone

__all__ = ("adds", "queries", "removes", "resources", "unmaps")

_K = EventKind


def adds(p: Places) -> Iterator[list[Row]]:
    """Yield requests to add memory: name and flags, what is there, how it lies, no memory for the memmap."""
    flags = (
        0,
        AddFlags.DRIVER_MANAGED,
        AddFlags.MEMMAP_ON_MEMORY,
        AddFlags.DRIVER_MANAGED | AddFlags.MEMMAP_ON_MEMORY,
    )
    for flag, place, odd, env in product(flags, range(5), (0, 1), (0, ENV)):
        pfn, before = p.place(), list[Row]()
        size = p.block - odd * p.sub
        if place == 1:
            before = [p.claim(pfn, p.block)]
        elif place == 2:
            before = [p.map(pfn, p.block)]
        elif place == 3:
            pfn = p.limit - p.block // 2 // p.sub * p.sub * (1 if odd else 2) + (0 if odd else p.block)
        elif place == 4:
            # A block device whose memory is going already, and whose resource somebody else took away.
            gone = p.begun(p.range(_K.REMOVE_MEMORY, pfn, size))
            before = [p.range(_K.ADD_MEMORY, pfn, p.block, label=RAM), gone]
            before.append(p.range(_K.REMOVE_MEMORY, pfn, size, phase=Phase.SECTIONS, call=gone["call"]))
            claim = p.claim(pfn, p.block)
            before.append({"kind": _K.RESOURCE_REMOVE, "start": claim["start"], "size": claim["size"]})
        row = p.range(_K.ADD_MEMORY, pfn, size, flags=int(flag), label=KMEM)
        after = p.look(pfn) if place == 2 else []
        yield [*before, {**row, "env": env} if env else row, *after]
    # Beyond the limit, and claimed at the same time.
    for flag, far in product((0, AddFlags.DRIVER_MANAGED), (0, 1)):
        pfn = p.limit - (1 - far) * p.block
        claim = p.claim(pfn, p.block)
        add = p.range(_K.ADD_MEMORY, pfn, 2 * p.block, flags=int(flag), label=RAM)
        yield [claim, add, p.unclaim(claim)]
    for env in (0, ENV):
        there = p.map(p.limit - p.block, p.block)
        add = p.range(_K.ADD_MEMORY, there["pfn"], 2 * p.block, label=RAM)
        yield [there, {**add, "env": env}, {"kind": _K.MEMUNMAP_PAGES, "pgmap": there["pgmap"]}]


def removes(p: Places) -> Iterator[list[Row]]:
    """Yield requests to take memory away."""
    for odd, online in product((0, 1), (0, 1)):
        pfn = p.place()
        rows = [p.range(_K.ADD_MEMORY, pfn, p.block, label=RAM)]
        rows += [p.range(_K.MEMORY_BLOCK_ONLINE, pfn, p.block, zone=Zone.NORMAL)] if online else []
        yield [*rows, p.range(_K.REMOVE_MEMORY, pfn, p.block - odd * p.sub)]


def unmaps(p: Places) -> Iterator[list[Row]]:
    """Yield pagemaps that go, one of them unknown."""
    row = p.map(p.place(), p.section)
    gone: Row = {"kind": _K.MEMUNMAP_PAGES, "pgmap": row["pgmap"]}
    yield [row, gone]
    p.pgmaps += 1
    yield [{"kind": _K.MEMUNMAP_PAGES, "pgmap": p.pgmaps}]


def resources(p: Places) -> Iterator[list[Row]]:
    """Yield claims, and claims given back."""
    for flags in (1, 2, 3):
        pfn = p.place()
        row = p.claim(pfn, p.sub, flags)
        yield [row]
        yield [row, p.claim(pfn + 1, p.sub)]
        gone: Row = {"kind": _K.RESOURCE_REMOVE, "start": row["start"], "size": row["size"]}
        yield [row, gone]
        yield [row, {**gone, "size": gone["size"] - 4096}]


def queries(p: Places) -> Iterator[list[Row]]:
    """Yield questions about the resource tree."""
    shift = p.machine.page_shift
    for flags, kept in product((1, 2, 3), (1, 2, 3)):
        for first, size in ((0, 4), (4, 8), (0, 8), (5, 2), (0, 24)):
            ask: Row = {"kind": _K.REGION_INTERSECTS, "size": size << shift}
            place = p.place()
            other = p.claim(place + 16, 4, 4 - kept)
            ask["start"] = place + first << shift
            yield [p.claim(place + 4, 8, kept), other, {**ask, "flags": flags}]
    for pfn in (p.boot[0].start, p.boot[0].start - 1, p.place()):
        yield [p.range(_K.WALK_SYSTEM_RAM_RANGE, pfn, 1)]
