"""Onlining and offlining: what is there, how the range lies, what else is in the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product

from replay.sources.synthetic.covering_places import ENV, RAM, Places
from replay.sources.synthetic.covering_script import Row
from replay.trace.poison import PageFlag, PageKind
from replay.trace.schema import EventKind, Phase, Zone

__all__ = ("blocks",)

_K = EventKind
_KINDS = (_K.ONLINE_PAGES, _K.OFFLINE_PAGES, _K.MEMORY_BLOCK_ONLINE, _K.MEMORY_BLOCK_OFFLINE)
_NOTHING, _POISON, _REFUSED, _DEVICE = range(4)  # that is in the way


@dataclass
class _There:
    """A place.

    Attributes:
        pfn: first pfn.
        pages: of the range.
        rows: that make it what it is.
        ours: nobody else uses it.
    """

    pfn: int
    pages: int
    rows: list[Row] = field(default_factory=list)
    ours: bool = True


def blocks(p: Places) -> Iterator[list[Row]]:
    """Yield requests, each with what makes and unmakes its place."""
    shapes = ((0, 0), (5, 0), (0, 5), (p.sub, 0), (0, p.sub))
    for kind, make, (first, last), extra in product(_KINDS, _PLACES, shapes, range(4)):
        there = make(p, kind)
        pages, page = there.pages, {"kind": _K.PAGE_STATE, "pfn": there.pfn + 7, "page_kind": PageKind.LRU}
        rows, back = list(there.rows), list[Row]()
        if extra == _POISON:
            rows.append({**page, "page_flags": int(PageFlag.POISON_GIVEN | PageFlag.HWPOISON)})
        if extra == _DEVICE:
            rows.append(p.map(there.pfn + p.block, p.sub))
            pages += p.section
        row = p.range(kind, there.pfn + first, pages - first - last)
        if not there.ours:  # leave it as it was
            other = _K.ONLINE_PAGES if "OFFLINE" in kind.name else _K.OFFLINE_PAGES
            back = [p.range(other, there.pfn, pages), *_online_again(p, there.pfn, pages)]
            back += [{**page, "page_flags": int(PageFlag.POISON_GIVEN)}] if extra == _POISON else []
        row |= {"zone": Zone.NORMAL} if "ONLINE" in kind.name else {}
        row |= {"env": ENV} if extra == _REFUSED else {}
        yield [*rows, row, *back]


def _nothing(p: Places, _: EventKind) -> _There:
    return _There(p.place(), p.block)


def _added(p: Places, _: EventKind) -> _There:
    pfn = p.place()
    return _There(pfn, p.block, [p.range(_K.ADD_MEMORY, pfn, p.block, label=RAM)])


def _online(p: Places, kind: EventKind) -> _There:
    there = _added(p, kind)
    there.rows.append(p.range(_K.MEMORY_BLOCK_ONLINE, there.pfn, p.block, zone=Zone.NORMAL))
    return there


def _section_online(p: Places, kind: EventKind) -> _There:
    """A section goes online by itself; its block device does not know."""
    there = _added(p, kind)
    there.rows.append(p.range(_K.ONLINE_PAGES, there.pfn, p.section, zone=Zone.NORMAL))
    return there


def _section_gone(p: Places, kind: EventKind) -> _There:
    """The block device is there, and part of its memory is not."""
    there = _added(p, kind)
    gone = p.begun(p.range(_K.REMOVE_MEMORY, there.pfn, p.block))
    there.rows += [gone, p.range(_K.REMOVE_MEMORY, there.pfn, p.section, phase=Phase.SECTIONS, call=gone["call"])]
    return there


def _boot_half(p: Places, _: EventKind) -> _There:
    """Half a section of boot memory."""
    return _There(p.boot[1].start, p.block, ours=False)


def _zones(p: Places, _: EventKind) -> _There:
    """Boot memory on both sides of the border of two zones."""
    return _There(p.boot[0].end - 2 * p.block, 2 * p.block, ours=False)


def _no_ram(p: Places, kind: EventKind) -> _There:
    """Somebody took the resource away."""
    offline = kind in {_K.OFFLINE_PAGES, _K.MEMORY_BLOCK_OFFLINE}
    there = _online(p, kind) if offline else _added(p, kind)
    there.rows.append(p.unclaim(p.claim(there.pfn, p.block)))
    return there


def _no_ram_section_gone(p: Places, kind: EventKind) -> _There:
    there = _section_gone(p, kind)
    there.rows.append(p.unclaim(p.claim(there.pfn, p.block)))
    return there


_PLACES: tuple[Callable[[Places, EventKind], _There], ...] = (
    _nothing, _added, _online, _section_online, _section_gone, _boot_half, _zones, _no_ram, _no_ram_section_gone
)  # fmt: skip


def _online_again(p: Places, pfn: int, pages: int) -> list[Row]:
    starts = range(pfn // p.block * p.block, pfn + pages, p.block)
    return [p.range(_K.MEMORY_BLOCK_ONLINE, at, p.block, zone=Zone.NORMAL) for at in starts]
