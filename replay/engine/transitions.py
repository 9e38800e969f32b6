"""Rows that may change the machine: from columns to requests, from phases to effects."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from replay.kernel.calls import Call, Kernel, Request
from replay.kernel.registry import CALLS
from replay.machine.machine import Machine
from replay.machine.pagemaps import Altmap
from replay.trace.schema import EventKind, Phase

__all__ = ("Transitions",)

Cell = Callable[[str], int | None]


class Transitions:
    """Carries out the transition rows of a trace, one kernel's way.

    Args:
        machine: the memory.
        kernel: whose rules apply.
        strings: names that ``label`` refers to.
    """

    def __init__(self, machine: Machine, kernel: Kernel, strings: Sequence[str]) -> None:
        self.machine = machine
        self.kernel = kernel
        self.strings = strings
        self._open: dict[int, Call] = {}
        self._more_ranges: dict[int, list[tuple[int, int]]] = {}

    def carry_out(self, kind: EventKind, cell: Cell) -> Call | None:
        """Carry out one row.

        Args:
            kind: a transition.
            cell: gives a column of the row, None where it is not given.

        Returns:
            The call, when this row made it (WHOLE or BEGIN); its ``check`` and ``ret`` are the verdict.
        """
        start, end = _range(cell)
        if kind is EventKind.PGMAP_RANGE:
            self._more_ranges.setdefault(cell("pgmap") or 0, []).append((start, end))
            return None
        phase = Phase(cell("phase") or 0)
        if phase in {Phase.WHOLE, Phase.BEGIN}:
            return self._begin(kind, cell, phase)
        call = self._open[cell("call") or 0]
        if phase is Phase.SECTIONS:
            call.sections(start, end)
        elif phase is Phase.ZONE:
            call.zone(start, end)
        else:
            call.done()
            del self._open[cell("call") or 0]
        return None

    def _begin(self, kind: EventKind, cell: Cell, phase: Phase) -> Call:
        call = CALLS[kind](self.machine, self.kernel, self._request(kind, cell))
        call.begin()
        if call.ret == 0:
            call.happened("begin", call.request.start, call.request.end)
        if phase is Phase.WHOLE:
            call.done()
        else:
            self._open[cell("call") or 0] = call
        return call

    def _request(self, kind: EventKind, cell: Cell) -> Request:
        start, end = _range(cell)
        pgmap = cell("pgmap") or 0
        label = cell("label")
        base = cell("altmap_base")
        ranges: tuple[tuple[int, int], ...] = ()
        if kind is EventKind.MEMREMAP_PAGES:
            ranges = ((start, end), *self._more_ranges.pop(pgmap, []))
        return Request(
            start=start,
            end=end,
            first_byte=cell("start") or 0,
            last_byte=(cell("start") or 0) + (cell("size") or 0) - 1,
            name="" if label is None else self.strings[label],
            flags=cell("flags") or 0,
            node=max(cell("node") or 0, 0),
            env=cell("env") or 0,
            pgmap=pgmap,
            pgmap_type=cell("pgmap_type") or 0,
            vmemmap_shift=cell("vmemmap_shift") or 0,
            ranges=ranges,
            altmap=None if base is None else Altmap(base, cell("altmap_reserve") or 0, cell("altmap_free") or 0),
        )


def _range(cell: Cell) -> tuple[int, int]:
    start, pages = cell("pfn"), cell("nr_pages")
    return (0, 0) if start is None else (start, start + (1 if pages is None else pages))
