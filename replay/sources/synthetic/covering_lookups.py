"""Lookups of pfns in boot memory, beyond it, and in everything that comes and goes in steps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from replay.sources.synthetic.covering_places import RAM, Places
from replay.sources.synthetic.covering_script import Row, Unit
from replay.trace.schema import EventKind, Phase, Zone

__all__ = ("lookup_units",)

_K = EventKind


def _metadata(row: Row, *pfns: int) -> list[Row]:
    return [{"kind": _K.PGMAP_PFN_VALID, "pfn": pfn, "pgmap": row["pgmap"]} for pfn in pfns]


def lookup_units(p: Places) -> Iterator[Unit]:
    """Yield lookups of pfns of boot memory, beyond it, and of everything that comes and goes."""
    high = (1 << 64 - p.machine.page_shift) - 3
    edges = [r.start for r in p.boot] + [r.end - 1 for r in p.boot] + [r.end for r in p.boot]
    edges += [r.end + p.sub for r in p.boot] + [0, p.limit - 1, p.limit, high, p.next]
    edges += [1 << 63 - p.machine.page_shift]
    for pfn in edges:
        for row in p.look(pfn):
            yield Unit((row,))
    for number in (p.boot[0].start | 1 << 64 - p.machine.page_shift, (1 << 64) - 1):
        for kind in (_K.PFN_VALID, _K.PFN_TO_ONLINE_PAGE):
            yield Unit(({"kind": kind, "pfn": number},))
    for pfn in (p.boot[0].start, p.boot[3].start):
        off, on = p.range(_K.OFFLINE_PAGES, pfn, p.section), p.range(_K.ONLINE_PAGES, pfn, p.section, zone=Zone.NORMAL)
        yield Unit((off, *p.look(pfn + 1), on, *p.look(pfn + 1)))
    yield from _added(p)
    for shared in (False, True):
        for before in product((False, True), repeat=3):
            yield _device(p, *before, shared=shared)


def _added(p: Places) -> Iterator[Unit]:
    """Memory that comes in steps, goes online and offline, and goes away in steps."""
    pfn, size = p.place(), p.block
    add = p.begun(p.range(_K.ADD_MEMORY, pfn, size, label=RAM))
    inside = (pfn, pfn + p.sub, pfn + p.section - 1)
    rows = [
        add,
        *p.look(*inside),
        p.range(_K.ADD_MEMORY, pfn, p.sub, phase=Phase.SECTIONS, call=add["call"]),
    ]
    rows += [
        *p.look(*inside),
        {"kind": _K.ADD_MEMORY, "phase": Phase.DONE, "call": add["call"], "pfn": pfn, "nr_pages": size},
    ]
    rows += [*p.look(*inside), p.range(_K.ONLINE_PAGES, pfn, size, zone=Zone.MOVABLE), *p.look(*inside)]
    rows += [p.range(_K.OFFLINE_PAGES, pfn, size), *p.look(*inside)]
    gone = p.begun(p.range(_K.REMOVE_MEMORY, pfn, size))
    half = p.range(_K.REMOVE_MEMORY, pfn, p.sub, phase=Phase.SECTIONS, call=gone["call"])
    rows += [gone, half, *p.look(*inside)]
    rows += [p.range(_K.REMOVE_MEMORY, pfn, size, phase=Phase.DONE, call=gone["call"]), *p.look(*inside)]
    yield Unit(tuple(rows))
    # Added, and then the block onlined before all of it is populated.
    pfn = p.place()
    add = p.begun(p.range(_K.ADD_MEMORY, pfn, size, label=RAM))
    part = p.range(_K.ADD_MEMORY, pfn, p.sub, phase=Phase.SECTIONS, call=add["call"])
    online = p.range(_K.ONLINE_PAGES, pfn, size, zone=Zone.NORMAL)
    yield Unit((add, part, online, *p.look(pfn, pfn + p.sub, pfn + size - 1)))


def _device(p: Places, online: bool, tainted: bool, partly: bool, *, shared: bool) -> Unit:
    """A device that is mapped and goes, alone in its section or beside memory."""
    pfn = p.place()
    rows: list[Row] = []
    if online:
        # The front of the section comes as part of a block that is populated no further.
        add = p.begun(p.range(_K.ADD_MEMORY, pfn, p.block, label=RAM))
        rows.append(add)
        rows.append(p.range(_K.ADD_MEMORY, pfn, p.sub * 4, phase=Phase.SECTIONS, call=add["call"]))
        rows.append(p.range(_K.ONLINE_PAGES, pfn, p.block, zone=Zone.NORMAL))
    start, size = pfn + 8 * p.sub, (4 if partly else 1) * p.sub
    if shared:
        boot = p.boot[1 if partly else 2]
        start = -(-boot.end // p.sub) * p.sub + (8 if tainted else 0) * p.sub
        start += 16 * p.sub if online else 0
    row = p.map(start, size, altmap_base=start, altmap_reserve=1, altmap_free=7)
    inside = (start, start + 8, start + size - 1, start + size, pfn, pfn + p.block)
    ask = [*p.look(*inside), *_metadata(row, start, start + 8, start + size)]
    begun = p.begun(row)
    call = begun["call"]
    steps = [Phase.SECTIONS, *([Phase.ZONE] if tainted else []), Phase.DONE]
    rows += [begun, *ask]
    for phase in steps:
        rows += [
            {**p.range(_K.MEMREMAP_PAGES, start, size, phase=phase, call=call), "pgmap": row["pgmap"]},
            *ask,
        ]
    going = p.begun({"kind": _K.MEMUNMAP_PAGES, "pgmap": row["pgmap"]})
    step = {"kind": _K.MEMUNMAP_PAGES, "pgmap": row["pgmap"], "call": going["call"], "pfn": start, "nr_pages": size}
    rows += [going, *ask, {**step, "phase": Phase.SECTIONS}, *ask, {**step, "phase": Phase.DONE}, *ask]
    return Unit(tuple(rows))
