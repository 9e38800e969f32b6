"""Walkers of the table as rows: their spans on a machine, their stops, what they look up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from replay.errors import UsageError
from replay.sources.synthetic.machines import Span, SyntheticMachine
from replay.sources.synthetic.places import marching, meeting, random_in, stops_of
from replay.sources.synthetic.rows import Columns, Part, Places, Row, repeated
from replay.sources.synthetic.sampling import sampled
from replay.sources.synthetic.streams import Stream
from replay.sources.synthetic.walker import Look, Units, Walker, line_of
from replay.trace.schema import EventKind

__all__ = ("spans_of", "units_of", "walk")

_EXACT_LIMIT = {"4.18", "4.19", "5.1", "5.3", "5.4"}  # kpageflags ends at max_pfn, later at the end of its section
_BUDDY_ORDERS_ABOVE = {12: 1}  # x86_64, riscv64, arm64 and the like with 4 KiB pages: twice a pageblock (walk.md 7.3)


def units_of(machine: SyntheticMachine, run: int = 1) -> Units:
    """Return the sizes that walkers step by."""
    g = machine.geometry
    return Units(
        pageblock=g.pageblock_pages,
        buddy=g.pageblock_pages << _BUDDY_ORDERS_ABOVE.get(g.page_shift, 0),
        section=g.pages_per_section,
        subsection=g.pages_per_subsection,
        block=g.pages_per_block,
        run=run,
    )


def walk(walker: Walker, machine: SyntheticMachine, values: Mapping[str, Any], stream: Stream) -> Part:
    """Return the lookups of a walker, pass after pass.

    Args:
        walker: row of the table.
        machine: what is walked.
        values: parameters.
        stream: of random numbers.

    Raises:
        UsageError: this kernel's walker, or this architecture's, looks nothing up.
    """
    if walker.arches and machine.geometry.arch not in walker.arches:
        raise UsageError(
            f"walker {walker.name} asks nothing on {machine.geometry.arch}; needed {' or '.join(walker.arches)}"
        )
    looks_of = walker.looks_of(machine.kernel)
    units = units_of(machine, values.get("run", 1))
    if walker.order == "sampled":
        (span,) = spans_of("ram-span" if line_of(machine.kernel) == "7.2" else "largest-ram", machine)
        return sampled(span, values["regions"], values["aggregation"], stream)
    spans = spans_of(walker.over, machine, units.run)
    if walker.over == "whole":
        units = Units(units.pageblock, units.buddy, units.section, units.subsection, machine.max_pfn)
    step = 1 if walker.step_of(machine.kernel) == "page" else getattr(units, walker.step_of(machine.kernel))
    looks = looks_of(units)
    # The first pageblock, section … of a span is where that begins, though the span may begin behind it.
    unit = 1 if walker.step_of(machine.kernel) in {"page", "run"} else step
    stops = tuple((start // unit * unit, end) for start, end in spans)
    places = _places(walker.order_of(machine.kernel), stops, step, stream)
    part = repeated(walker.name, [_row(look) for look in looks], places, passes=stops_of(stops, step))
    if any(look.partner for look in looks):
        part = _with_partners(part, looks, spans, stream)
    ragged = any(start % step or end % step for start, end in spans)
    return _within(part, places, looks, spans) if ragged and walker.over != "blocks" else part


def spans_of(over: str, machine: SyntheticMachine, run: int = 1) -> tuple[Span, ...]:
    """Return the spans of pfns that a walker goes over, as ``Walker.over`` names them."""
    ram, small, section = machine.ram, machine.zones, machine.geometry.pages_per_section
    if over == "zones-or-nodes":
        over = "zones" if line_of(machine.kernel) in {"6.1", "6.12", "7.2"} else "nodes"
    found: dict[str, tuple[Span, ...]] = {
        "zones": small,
        "zones-twice": (*small, *small),
        "windows": tuple((-(-s // run) * run, e // run * run) for s, e in small if e // run * run > -(-s // run) * run),
        "zone-head": tuple(_head(span, machine) for span in small),
        "nodes": machine.nodes,
        "pfns": ((0, machine.max_pfn),),
        "pfns-to-section": (
            (
                0,
                machine.max_pfn
                if line_of(machine.kernel) in _EXACT_LIMIT
                else -(-machine.max_pfn // section) * section,
            ),
        ),
        "blocks": tuple((b, b + machine.geometry.pages_per_block) for b in machine.whole_blocks),
        "ram": ram,
        "ram-span": ((ram[0][0], ram[-1][1]),),
        "largest-ram": (max(ram, key=lambda span: span[1] - span[0]),),
        "whole": ((0, machine.max_pfn),),
    }
    if not found[over]:
        what = f"range of {run:,} pages in a zone" if over == "windows" else "memory block that is all RAM"
        raise UsageError(f"machine {machine.name} has no {what}; needed more memory, or a smaller one")
    return found[over]


def _head(span: Span, machine: SyntheticMachine) -> Span:
    """Return a zone up to its first section without RAM, and one pageblock of that: where the walk ends."""
    shift, unit = machine.geometry.section_shift, machine.geometry.pageblock_pages
    present: set[int] = set()
    for start, end in machine.ram:
        if start < span[1] and span[0] < end:
            present.update(range(max(start, span[0]) >> shift, (min(end, span[1]) - 1 >> shift) + 1))
    section = span[0] >> shift
    while section in present:
        section += 1
    return span[0], min(span[1], (section << shift) + unit)


def _places(order: str, spans: tuple[Span, ...], step: int, stream: Stream) -> Places:
    if order == "meet":
        return meeting(spans, step)
    if order == "random":
        return random_in(spans, stream)
    return marching(spans, step, down=order == "down")


def _row(look: Look) -> Row:
    row = {"kind": int(look.kind), "pfn": look.at & (1 << 64) - 1}
    if look.kind == EventKind.WALK_SYSTEM_RAM_RANGE or look.pages != 1:
        row["nr_pages"] = look.pages
    if look.stride != 1:
        row["stride"] = look.stride
    return row


def _within(part: Part, places: Places, looks: tuple[Look, ...], spans: tuple[Span, ...]) -> Part:
    """Keep the lookups of a stop within its span: where they begin, and where runs of neighbouring pages end."""
    known = np.array(sorted(set(spans)), np.int64)

    def rows(first: int, count: int) -> Columns:
        columns = part.rows(first, count)
        begin, skip = divmod(first, len(looks))
        stops = np.repeat(places(begin, -(-(skip + count) // len(looks))), len(looks))[skip : skip + count]
        # A stop may lie before its span by less than a unit, and never behind the last page.
        span = np.searchsorted(known[:, 1], stops.view(np.int64), "right")
        pfn = np.clip(columns["pfn"][0].view(np.int64), known[span, 0], known[span, 1] - 1)
        columns["pfn"] = (pfn.view(np.uint64), None)
        if "nr_pages" in columns:
            pages, given = columns["nr_pages"]
            columns["nr_pages"] = (np.minimum(pages, (known[span, 1] - pfn).view(np.uint64)), given)
        return columns

    return Part(part.name, rows, part.columns, part.front, part.claims, part.length)


def _with_partners(part: Part, looks: tuple[Look, ...], spans: tuple[Span, ...], stream: Stream) -> Part:
    """Put random pfns of all spans in the place of those rows that ask for one."""
    (at,) = (number for number, look in enumerate(looks) if look.partner)
    places, size = random_in(spans, stream), len(looks)

    def rows(first: int, count: int) -> Columns:
        columns = part.rows(first, count)
        begin = (at - first) % size  # of the first such row
        number = -(-(first - at) // size)
        pfn = columns["pfn"][0].copy()
        pfn[begin::size] = places(number, len(range(begin, count, size)))
        columns["pfn"] = (pfn, None)
        return columns

    return Part(part.name, rows, part.columns, part.front, part.claims, part.length)
