"""Rows about devices, and rows of the calls that devices' calls make."""

from __future__ import annotations

from replay.scalar.calls import Call
from replay.scalar.devices import DeviceCall, DeviceRequest, Wanted
from replay.scalar.machine import ScalarMachine
from replay.scalar.queries import Row, empty_outcome, value
from replay.trace.schema import EventKind, Phase

__all__ = ("DeviceRows",)

NOTHING: Row = {}


class DeviceRows:
    """The calls about devices that are under way."""

    def __init__(self, machine: ScalarMachine) -> None:
        self.machine = machine
        self.open: dict[int, DeviceCall] = {}  # by call
        self.parents: dict[int, DeviceCall] = {}  # of the calls under way that they made
        self.asked: dict[int, Row] = {}  # rows that began them

    def step(self, kind: EventKind, row: Row) -> dict[str, object]:
        """Carry out a row about a device; the verdict is told on the last row of its call."""
        phase, number = Phase(value(row, "phase")), value(row, "call")
        if phase == Phase.DONE:
            call, first = self.open.pop(number), self.asked.pop(number)
        else:
            call, first = self.machine.bus.call(kind, self.request(row)), row
        if phase == Phase.BEGIN:
            self.open[number], self.asked[number] = call, row
            return empty_outcome()
        told = first
        while call.wanted is not None:
            made = self.make(call.wanted, told)
            made.done()
            call.go(made)
            told = NOTHING
        ret, check = call.verdict
        return {**empty_outcome(), "ret": ret, "check": check, "match": int(ret == row.get("recorded_ret"))}

    def request(self, row: Row) -> DeviceRequest:
        """What the row asks for."""
        start, node = value(row, "start"), row.get("node")
        return DeviceRequest(
            key=value(row, "key"),
            name=self.machine.label(row.get("label")),
            bytes=(start, start + value(row, "size")),
            flags=value(row, "flags"),
            value=value(row, "value"),
            node=-1 if node is None else max(node, -1),
            pfns=(value(row, "pfn"), value(row, "pfn") + value(row, "nr_pages")),
            first_pfn=row.get("altmap_base"),
            page_shift=value(row, "map_shift"),
        )

    def nested(self, kind: EventKind, row: Row) -> tuple[Call, DeviceCall] | None:
        """The call that a device's call wants, where this row tells of it; None when it wants no such call."""
        parent = self.open.get(value(row, "caller"))
        if parent is None or parent.wanted is None or parent.wanted.kind != kind:
            return None
        return self.make(parent.wanted, row), parent

    def make(self, wanted: Wanted, told: Row) -> Call:
        """Begin a wanted call; what the world did to it, and the number of a pagemap, are told by a row."""
        machine, env = self.machine, value(told, "env")
        pfn, pages = wanted.pfns[0], wanted.pfns[1] - wanted.pfns[0]
        if wanted.kind == EventKind.ADD_MEMORY:
            return machine.begin_add_memory(pfn, pages, flags=wanted.flags, name=wanted.name, env=env, node=wanted.node)
        if wanted.kind == EventKind.REMOVE_MEMORY:
            return machine.begin_remove_memory(pfn, pages)
        if wanted.kind == EventKind.MEMUNMAP_PAGES:
            return machine.begin_memunmap_pages(wanted.pgmap)
        pgmap = value(told, "pgmap") or wanted.pgmap
        ranges = [(start, end - start) for start, end in wanted.ranges]
        call = machine.begin_memremap_pages(pgmap, ranges, altmap=wanted.altmap, env=env, pgmap_type=wanted.pgmap_type)
        call.pgmap = pgmap
        return call
