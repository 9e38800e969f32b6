"""Requests to map devices: what is in the range, several ranges, an altmap that fits or does not, no memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product

from replay.sources.synthetic.covering_places import BUSY_RAM, ENV, RAM, Places
from replay.sources.synthetic.covering_script import Row
from replay.trace.schema import EventKind

__all__ = ("maps",)

_K = EventKind


@dataclass
class _There:
    """A range.

    Attributes:
        pfn: first pfn.
        pages: of it.
        rows: that make it what it is.
        after: rows that undo what others would see.
    """

    pfn: int
    pages: int
    rows: list[Row] = field(default_factory=list)
    after: list[Row] = field(default_factory=list)


def maps(p: Places) -> Iterator[list[Row]]:
    """Yield requests, each with what makes its range."""
    for make, several, altmap, odd, env in product(_RANGES, (0, 1), range(3), (0, 1), (0, ENV)):
        there = make(p, p.place(4))
        start, rows = there.pfn + odd, list(there.rows)
        row = p.map(start, there.pages)
        if several:
            rows.append(p.range(_K.PGMAP_RANGE, p.place(), p.sub, pgmap=row["pgmap"]))
        if altmap:
            row |= {"altmap_base": start + (altmap - 1), "altmap_reserve": 0, "altmap_free": 4}
        row |= {"env": env} if env else {}
        yield [*rows, row, *p.look(there.pfn), *there.after]


def _free(p: Places, pfn: int) -> _There:
    return _There(pfn, 4 * p.sub)


def _ram(p: Places, pfn: int) -> _There:
    return _There(pfn, 4 * p.sub, [p.range(_K.ADD_MEMORY, pfn, p.block, label=RAM)])


def _half_ram(p: Places, pfn: int) -> _There:
    """System RAM, and something else before it."""
    start = pfn + p.block - 4 * p.sub
    return _There(start, 8 * p.sub, [p.range(_K.ADD_MEMORY, pfn + p.block, p.block, label=RAM), p.claim(start, p.sub)])


def _live(p: Places, pfn: int) -> _There:
    return _There(pfn, 4 * p.sub, [p.map(pfn, 2 * p.section)])


def _live_within(p: Places, pfn: int) -> _There:
    """A pagemap in the middle: neither end is covered."""
    return _There(pfn, 3 * p.section, [p.map(pfn + p.section, p.sub)])


def _over_limit(p: Places, _: int) -> _There:
    return _There(p.limit - 2 * p.sub, 4 * p.sub)


def _dying(p: Places, pfn: int) -> _There:
    """A pagemap that is going: not live, but its sections are there."""
    first = p.map(pfn, p.section)
    return _There(pfn, 4 * p.sub, [first, p.begun({"kind": _K.MEMUNMAP_PAGES, "pgmap": first["pgmap"]})])


def _before_dying(p: Places, pfn: int) -> _There:
    there = _dying(p, pfn)
    there.pfn, there.pages = pfn - p.sub, 2 * p.sub
    return there


def _left_behind(p: Places, pfn: int) -> _There:
    """What a failed add leaves behind: sections of nobody."""
    blocker = p.map(pfn + p.block + p.sub, p.sub)
    return _There(pfn, 4 * p.sub, [blocker, p.range(_K.ADD_MEMORY, pfn, 2 * p.block, label=RAM)])


def _live_ram(p: Places, pfn: int) -> _There:
    return _There(pfn, 4 * p.sub, [p.map(pfn, 2 * p.section), p.claim(pfn, 4 * p.sub, BUSY_RAM)])


def _ram_beyond(p: Places, _: int) -> _There:
    claim = p.claim(p.limit + 3 * p.block, 4 * p.sub, BUSY_RAM)
    return _There(p.limit + 3 * p.block, 4 * p.sub, [claim], [p.unclaim(claim)])


def _within_over_limit(p: Places, _: int) -> _There:
    """The index has something within, but not at the ends, of which one is beyond the limit."""
    inside = p.map(p.limit - p.section, p.section)
    gone: Row = {"kind": _K.MEMUNMAP_PAGES, "pgmap": inside["pgmap"]}
    return _There(p.limit - 2 * p.section, 3 * p.section, [inside], [gone])


def _within_half_ram(p: Places, pfn: int) -> _There:
    """The index has something within, and there are System RAM and something else."""
    claims = [p.claim(pfn, p.sub, BUSY_RAM), p.claim(pfn + p.sub, p.sub)]
    return _There(pfn, 3 * p.section, [p.map(pfn + p.section, p.sub), *claims])


_RANGES: tuple[Callable[[Places, int], _There], ...] = (
    _free, _ram, _half_ram, _live, _live_within, _over_limit, _dying, _before_dying, _left_behind, _live_ram,
    _ram_beyond, _within_over_limit, _within_half_ram,
)  # fmt: skip
