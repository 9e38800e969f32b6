"""Rows that may change the machine: from columns to requests, from phases to effects."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from replay.kernel.calls import Call, Kernel, Request
from replay.kernel.device_calls import DeviceCall
from replay.kernel.registry import CALLS, DEVICE_CALL_TYPES
from replay.machine.machine import Machine
from replay.machine.pagemaps import Altmap
from replay.trace.schema import DEVICE_CALLS, EventKind, Phase

__all__ = ("Cell", "Transitions")

Cell = Callable[[str], int | None]

_TYPES: dict[EventKind, type[Call]] = {**CALLS, **DEVICE_CALL_TYPES}


class Transitions:
    """Carries out the transition rows of a trace, one kernel's way.

    Args:
        machine: the memory.
        kernel: whose rules apply.
        strings: names that ``label`` refers to.

    Attributes:
        asked: after a row that begins a call which a driver made: (the call as the trace tells it, as the driver of the
            replayed kernel asks for it), in words; whoever reads it sets it back to None.
    """

    def __init__(self, machine: Machine, kernel: Kernel, strings: Sequence[str]) -> None:
        self.machine = machine
        self.kernel = kernel
        self.strings = strings
        self.asked: tuple[str, str] | None = None
        self._open: dict[int, Call] = {}
        self._parents: dict[int, DeviceCall] = {}  # of calls under way that drivers made
        self._idle: set[int] = set()  # calls under way that the replayed kernel does not make
        self._more_ranges: dict[int, list[tuple[int, int]]] = {}

    def carry_out(self, kind: EventKind, cell: Cell) -> Call | None:
        """Carry out one row.

        Args:
            kind: a transition, or a call about devices.
            cell: gives a column of the row, None where it is not given.

        Returns:
            The call, when its verdict is there: on the row that made it (WHOLE or BEGIN); for calls about devices, whose
            verdicts depend on the calls that they make, on the last row (WHOLE or DONE).
        """
        start, end = _range(cell)
        if kind is EventKind.PGMAP_RANGE:
            self._more_ranges.setdefault(cell("pgmap") or 0, []).append((start, end))
            return None
        phase, number = Phase(cell("phase") or 0), cell("call") or 0
        if phase in {Phase.WHOLE, Phase.BEGIN}:
            call = self._begin(kind, cell, phase)
            return None if isinstance(call, DeviceCall) and phase is Phase.BEGIN else call
        if number in self._idle:
            self._idle.discard(number) if phase is Phase.DONE else None
            return None
        call = self._open[number]
        if phase is Phase.SECTIONS:
            call.sections(start, end)
        elif phase is Phase.ZONE:
            call.zone(start, end)
        else:
            _finish(call, self._parents.pop(number, None))
            del self._open[number]
            return call if isinstance(call, DeviceCall) else None
        return None

    def _begin(self, kind: EventKind, cell: Cell, phase: Phase) -> Call | None:
        request, number, caller = self._request(kind, cell), cell("call") or 0, cell("caller")
        parent = None if caller is None else self._open.get(caller)
        if caller is None:
            call: Call | None = _TYPES[kind](self.machine, self.kernel, request)
        elif isinstance(parent, DeviceCall):
            call = parent.nested(_TYPES[kind], request)
            self.asked = (_words(request, kind), "no such call" if call is None else _words(call.request, kind))
        else:
            call = None  # the driver's own call is not made either
        if call is None:
            self._idle.update({number} if phase is Phase.BEGIN else ())
            return None
        call.begin()
        if call.ret == 0 and not isinstance(call, DeviceCall):
            call.happened("begin", call.request.start, call.request.end)
        if phase is Phase.WHOLE:
            _finish(call, parent)
        else:
            self._open[number] = call
            if isinstance(parent, DeviceCall):
                self._parents[number] = parent
        return call

    def _request(self, kind: EventKind, cell: Cell) -> Request:
        start, end = _range(cell)
        pgmap = cell("pgmap") or 0
        label, node = cell("label"), cell("node")
        base = cell("altmap_base")
        ranges: tuple[tuple[int, int], ...] = ()
        if kind is EventKind.MEMREMAP_PAGES:
            ranges = ((start, end), *self._more_ranges.pop(pgmap, []))
        unknown = -1 if kind in DEVICE_CALLS else 0
        return Request(
            start=start,
            end=end,
            first_byte=cell("start") or 0,
            last_byte=(cell("start") or 0) + (cell("size") or 0) - 1,
            name="" if label is None else self.strings[label],
            flags=cell("flags") or 0,
            node=max(unknown if node is None else node, unknown),
            key=cell("key") or 0,
            value=cell("value") or 0,
            env=cell("env") or 0,
            pgmap=pgmap,
            pgmap_type=cell("pgmap_type") or 0,
            vmemmap_shift=cell("vmemmap_shift") or 0,
            map_shift=cell("map_shift") or 0,
            ranges=ranges,
            altmap=None if base is None else Altmap(base, cell("altmap_reserve") or 0, cell("altmap_free") or 0),
        )


def _finish(call: Call, parent: Call | None) -> None:
    """Apply what is left of a call, and let the driver that made it go on."""
    call.done()
    if isinstance(parent, DeviceCall):
        parent.finished(call)


def _range(cell: Cell) -> tuple[int, int]:
    start, pages = cell("pfn"), cell("nr_pages")
    return (0, 0) if start is None else (start, start + (1 if pages is None else pages))


def _words(request: Request, kind: EventKind) -> str:
    """Return what of a request a driver decides, in words."""
    if kind is EventKind.MEMUNMAP_PAGES:
        return f"pagemap {request.pgmap}"
    text = f"{request.start:#x}-{request.end - 1:#x}"
    if kind is EventKind.ADD_MEMORY:
        return f"{text} {request.name!r} flags {request.flags} node {request.node}"
    if kind is EventKind.MEMREMAP_PAGES:
        a = request.altmap
        return f"{text} type {request.pgmap_type} " + (
            f"altmap {a.base:#x} reserve {a.reserve:#x} free {a.free:#x}" if a else "no altmap"
        )
    return text
