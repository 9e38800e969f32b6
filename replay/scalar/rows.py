"""Replaying rows one by one: calls with their phases, queries with their windows (architecture.md, Outcomes)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from replay.scalar.calls import Call
from replay.scalar.device_rows import DeviceRows
from replay.scalar.machine import ScalarMachine
from replay.scalar.poison_rows import POISON_KINDS, PoisonRows, no_details
from replay.scalar.queries import QUERIES, Query, Row, empty_outcome, value
from replay.trace.header import MachineDescription
from replay.trace.schema import COLUMNS, DEVICE_CALLS, KINDS, TRANSITIONS, EventKind, Phase

if TYPE_CHECKING:
    from replay.trace.reader import TraceFile

__all__ = ("Decided", "replay_poison_rows", "replay_rows", "replay_trace", "rows_of")

Decided = Callable[[EventKind, "Counter[str]"], None]


def replay_rows(
    description: MachineDescription,
    rows: Iterable[Row],
    features: frozenset[str],
    strings: Sequence[str] = (),
    decided: Decided | None = None,
    *,
    closed_loop: bool = True,
) -> list[dict[str, object]]:
    """Replay rows on a machine.

    Args:
        description: the machine at boot.
        rows: schema columns by name; absent or None is null.
        features: feature ids of the kernel to replay.
        strings: what labels mean.
        decided: is told the kind of each row that asks or calls, and how often which check decided in it.
        closed_loop: tasks that signals kill lose their mappings.

    Returns:
        For each row its outcome columns; ``check`` is "function/check-id", "" or "several". Rows about poison fill ``ret``
        and ``match`` only; `replay_poison_rows` tells more of them.
    """
    machine = ScalarMachine(description, features, strings, closed_loop=closed_loop)
    return _replay(machine, rows, PoisonRows(machine), decided)


def replay_poison_rows(
    description: MachineDescription,
    rows: Iterable[Row],
    features: frozenset[str],
    strings: Sequence[str] = (),
    *,
    closed_loop: bool = True,
    signals_recorded: bool = True,
) -> list[dict[str, object]]:
    """Replay rows on a machine, and tell what calls about poison did.

    Args:
        description: the machine at boot.
        rows: schema columns by name; absent or None is null.
        features: feature ids of the kernel to replay.
        strings: what labels mean.
        closed_loop: tasks that signals kill lose their mappings.
        signals_recorded: SIGNAL rows are complete.

    Returns:
        For each row the columns of `replay_rows`, and: ``action``, ``result`` ("" without an event), ``poisoned``,
        ``counted``, ``signals`` (sorted tuples of task, signal, code, address, lsb), ``rule``, ``undecided``,
        ``signals_compared``, ``signals_matched``. They are neutral in rows that are no calls about poison.
    """
    machine = ScalarMachine(description, features, strings, closed_loop=closed_loop)
    poison = PoisonRows(machine)
    outcomes = _replay(machine, rows, poison, None)
    poison.finish(signals_recorded=signals_recorded)
    return [{**outcome, **poison.details.get(number, no_details())} for number, outcome in enumerate(outcomes)]


def _replay(
    machine: ScalarMachine, rows: Iterable[Row], poison: PoisonRows, decided: Decided | None
) -> list[dict[str, object]]:
    calls = _Calls(machine)
    outcomes: list[dict[str, object]] = []
    open_queries: dict[int, Query] = {}  # by row
    for number, row in enumerate(rows):
        kind = EventKind(value(row, "kind"))
        for asked in [n for n, query in open_queries.items() if number > n + value(query.row, "window")]:
            outcomes[asked] = open_queries.pop(asked).outcome()
        outcome = empty_outcome()
        if kind in TRANSITIONS or kind in DEVICE_CALLS:
            outcome = calls.step(kind, row)
            if decided and kind in TRANSITIONS and outcome["check"]:
                decided(kind, Counter([str(outcome["check"]).partition("/")[2]]))
            for query in open_queries.values():
                query.look(machine)
        elif kind in POISON_KINDS:
            outcome |= poison.step(kind, number, row)
        elif kind in QUERIES:
            query = Query(row)
            query.look(machine)
            outcome = query.outcome()
            if decided:
                decided(kind, query.checks)
            if value(row, "window"):
                open_queries[number] = query
        outcomes.append(outcome)
    for asked, query in open_queries.items():
        outcomes[asked] = query.outcome()
    return outcomes


def replay_trace(trace: TraceFile, features: frozenset[str], decided: Decided | None = None) -> list[dict[str, object]]:
    """Replay a trace file; see `replay_rows`."""
    return replay_rows(trace.machine, rows_of(trace), features, trace.strings, decided)


def rows_of(trace: TraceFile) -> Iterator[Row]:
    """The rows of a trace file, null as None."""
    for batch in trace.batches():
        columns: dict[str, list[int | None]] = {}
        for name in trace.columns:
            if name not in COLUMNS:
                continue
            found, given = batch.column(name).tolist(), batch.given(name)
            flags = [given] * len(batch) if isinstance(given, bool) else given.tolist()
            columns[name] = [item if there else None for item, there in zip(found, flags, strict=True)]
        for n in range(len(batch)):
            yield {name: column[n] for name, column in columns.items()}


class _Calls:
    """The calls under way."""

    def __init__(self, machine: ScalarMachine) -> None:
        self.machine = machine
        self.open: dict[int | None, Call] = {}
        self.devices = DeviceRows(machine)
        self.further_ranges: dict[int, list[tuple[int, int]]] = {}

    def step(self, kind: EventKind, row: Row) -> dict[str, object]:
        """Carry out one transition row."""
        phase = Phase(value(row, "phase"))
        if kind in DEVICE_CALLS:
            return self.devices.step(kind, row)
        if kind == EventKind.PGMAP_RANGE and phase in (Phase.WHOLE, Phase.BEGIN):
            self.further_ranges.setdefault(value(row, "pgmap"), []).append((value(row, "pfn"), value(row, "nr_pages")))
            return empty_outcome()
        if row.get("caller") is not None and phase in (Phase.WHOLE, Phase.BEGIN):
            return self.nested(kind, row, phase)
        if phase in (Phase.WHOLE, Phase.BEGIN):
            ret, check = self.begin(kind, row, phase)
            match = int(ret == row.get("recorded_ret"))
            return {**empty_outcome(), "ret": ret, "check": f"{KINDS[kind]}/{check}", "match": match}
        call = self.open.get(row.get("call"))
        if call is not None:
            if phase == Phase.SECTIONS:
                call.sections(value(row, "pfn"), value(row, "nr_pages"))
            elif phase == Phase.ZONE:
                call.zone(value(row, "pfn"), value(row, "nr_pages"))
            else:
                call.done()
                del self.open[row.get("call")]
                parent = self.devices.parents.pop(value(row, "call"), None)
                if parent is not None:
                    parent.go(call)
        return empty_outcome()

    def nested(self, kind: EventKind, row: Row, phase: Phase) -> dict[str, object]:
        """Begin a call that a device's call makes, if it makes one."""
        found = self.devices.nested(kind, row)
        if found is None:
            return empty_outcome()
        call, parent = found
        if phase == Phase.WHOLE:
            call.done()
            parent.go(call)
        else:
            self.open[row.get("call")] = call
            self.devices.parents[value(row, "call")] = parent
        match = int(call.ret == row.get("recorded_ret"))
        return {**empty_outcome(), "ret": call.ret, "check": f"{KINDS[kind]}/{call.check}", "match": match}

    def begin(self, kind: EventKind, row: Row, phase: Phase) -> tuple[int, str]:
        """Make the checks of a call, and all of it when no later rows are to come."""
        start, size = value(row, "start"), value(row, "size")
        if kind == EventKind.RESOURCE_INSERT:
            name = self.machine.label(row.get("label"))
            return self.machine.resource_insert(start, size, name, value(row, "flags"))
        if kind == EventKind.RESOURCE_REMOVE:
            return self.machine.resource_remove(start, size)
        call = self.call(kind, row)
        if phase == Phase.WHOLE:
            return call.done()
        self.open[row.get("call")] = call
        return call.ret, call.check

    def call(self, kind: EventKind, row: Row) -> Call:
        """The call that a WHOLE or BEGIN row makes."""
        machine, env = self.machine, value(row, "env")
        pfn, nr_pages, pgmap = value(row, "pfn"), value(row, "nr_pages"), value(row, "pgmap")
        if kind == EventKind.ADD_MEMORY:
            name = machine.label(row.get("label"), "System RAM")
            flags, node = value(row, "flags"), value(row, "node")
            return machine.begin_add_memory(pfn, nr_pages, flags=flags, name=name, env=env, node=node)
        if kind == EventKind.REMOVE_MEMORY:
            return machine.begin_remove_memory(pfn, nr_pages)
        if kind == EventKind.ONLINE_PAGES:
            return machine.begin_online_pages(pfn, nr_pages, env=env)
        if kind == EventKind.OFFLINE_PAGES:
            return machine.begin_offline_pages(pfn, nr_pages, env=env)
        if kind == EventKind.MEMORY_BLOCK_ONLINE:
            return machine.begin_memory_block_online(pfn, nr_pages, env=env)
        if kind == EventKind.MEMORY_BLOCK_OFFLINE:
            return machine.begin_memory_block_offline(pfn, nr_pages, env=env)
        if kind == EventKind.MEMREMAP_PAGES:
            ranges = [(pfn, nr_pages), *self.further_ranges.get(pgmap, [])]
            base = row.get("altmap_base")
            altmap = None if base is None else (base, value(row, "altmap_reserve"), value(row, "altmap_free"))
            pgmap_type = value(row, "pgmap_type")
            return machine.begin_memremap_pages(pgmap, ranges, altmap=altmap, env=env, pgmap_type=pgmap_type)
        return machine.begin_memunmap_pages(pgmap)
