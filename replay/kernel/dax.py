"""device-dax: which driver takes a device, and what the drivers do with it (walk semantics 5.1, 5.3 to 5.5).

device_dax reserves the ranges of a device and maps them. kmem rounds them inward to memory blocks, reserves them and adds
them as System RAM below the reservation; unbound, it takes back what is offline. Mapping, adding and removing are calls of
their own: what is written here as a plan asks for them one by one, so that a trace can tell when each part of them happened.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import TypeAlias

from replay.kernel.calls import Call, Kernel, Request, fact
from replay.kernel.dax_rules import (
    DAX_DRIVER,
    DAX_FUNCTIONS,
    DAX_ID,
    DAX_MATCH,
    DAX_PROBE,
    DEVICE_DAX_PROBE,
    KMEM_ADD,
    KMEM_RELEASE,
    KMEM_REMOVE,
    KMEM_RESERVE,
    DeviceFacts,
    DriverFacts,
    IdFacts,
    MatchFacts,
    Outcome,
    ProbeFacts,
    RangeFacts,
    RemoveFacts,
    Step,
    decide,
)
from replay.kernel.hotplug import AddMemory, RemoveMemory
from replay.kernel.memremap import MemremapPages, MemunmapPages
from replay.machine.devices import DaxDevice, DaxRegion, Driver
from replay.machine.geometry import Geometry
from replay.machine.machine import Machine
from replay.machine.pagemaps import Altmap
from replay.machine.resources import Node
from replay.trace.outcomes import RET_UNDEFINED
from replay.trace.schema import AddFlags, PgmapType

__all__ = (
    "DAX_FUNCTIONS",
    "Asked",
    "DaxBus",
    "DaxDevice",
    "DaxRegion",
    "Driver",
    "Outcome",
    "Plan",
    "Step",
    "aligned_pfns",
    "carry_out",
    "dax_probe",
    "dax_unbind",
    "map_without_bus",
    "release",
    "step_of",
)


@dataclass(frozen=True)
class Asked:
    """A call that a plan wants to be made before it goes on."""

    call: type[Call]
    request: Request


# Yields the calls it wants, is sent the finished calls, returns what became of the request.
Plan: TypeAlias = Generator[Asked, Call, Outcome]


def carry_out(machine: Machine, kernel: Kernel, plan: Plan, env: Sequence[int] = ()) -> Outcome:
    """Make all calls of a plan at once; ``env``: for each of them what the world imposes on it, 0 for nothing."""
    imposed: Iterator[int] = chain(env, repeat(0))
    try:
        asked = next(plan)
        while True:
            request = replace(asked.request, env=next(imposed) if asked.call is AddMemory else 0)
            call = asked.call(machine, kernel, request)
            call.begin()
            call.done()
            asked = plan.send(call)
    except StopIteration as stop:
        outcome: Outcome = stop.value
        return outcome


def aligned_pfns(span: tuple[int, int], geometry: Geometry) -> tuple[int, int]:
    """Return the pfns ``[start, end)`` of the whole memory blocks in bytes ``[first, last]``; end <= start for none."""
    block = geometry.memory_block_bytes
    first, after = -(-span[0] // block) * block, (span[1] + 1) // block * block
    return first >> geometry.page_shift, after >> geometry.page_shift


def step_of(call: Call) -> Step:
    """Return the decision that a finished call came to."""
    check = call.kernel.function(call.function).checks[call.check]
    return Step(f"{call.function.name}/{check.id}", call.ret, call.function, call.check)


def release(machine: Machine, first: int, last: int) -> None:
    """Take the reservation of bytes ``[first, last]`` out of the resource tree."""
    machine.resources.remove(first, last)
    machine.resources_changed(first, last)


def probe(machine: Machine, kernel: Kernel, driver: Driver, device: DaxDevice) -> Plan:
    """Bind a device to a driver that matches it; it is bound afterwards unless the code is an error."""
    spans = [aligned_pfns(r, machine.geometry) for r in device.ranges]
    nothing = all(start >= end for start, end in spans)
    facts = (driver is Driver.KMEM, not spans, len(spans) != 1, nothing, device.region.target_node < 0)
    check, step = decide(DAX_PROBE, ProbeFacts(*map(fact, facts)), kernel)
    device.driver = None
    steps = [step]
    if check == "device":
        steps += yield from _map(machine, kernel, device)
    elif check == "kmem":
        steps += yield from _add_all(machine, kernel, device, spans)
    ret = steps[-1].ret
    device.driver = None if ret else driver
    return Outcome(ret, tuple(steps))


def map_without_bus(machine: Machine, kernel: Kernel, device: DaxDevice) -> Plan:
    """Map a device in a kernel that has no dax bus: whoever makes the device does it."""
    machine.devices.daxes[device.name] = device
    steps = yield from _map(machine, kernel, device)
    device.driver = None if steps[-1].ret else Driver.DEVICE
    return Outcome(steps[-1].ret, tuple(steps))


def _map(machine: Machine, kernel: Kernel, device: DaxDevice) -> Generator[Asked, Call, list[Step]]:
    """Reserve the ranges of a device and map them, with the metadata in front of them if it has some."""
    static = not device.region.dynamic
    taken: list[tuple[int, int]] = []
    for first, last in device.ranges:
        if not machine.resources.insert(Node(first, last, device.name, busy=True), nested=True):
            break
        taken.append((first, last))
    several, refused = static and len(device.ranges) > 1, len(taken) < len(device.ranges)
    check, step = decide(DEVICE_DAX_PROBE, DeviceFacts(fact(several), fact(refused), fact(False)), kernel)
    steps = [step]
    if check == "mapped" and device.ranges:
        call = yield Asked(MemremapPages, _mapping(machine, device))
        assert isinstance(call, MemremapPages)
        if call.ret:
            failed = DeviceFacts(fact(False), fact(False), fact(True))
            steps = [step_of(call), decide(DEVICE_DAX_PROBE, failed, kernel, imposed=call.ret)[1]]
        else:
            device.pgmap = call.request.pgmap
            steps = [step_of(call), step]
    if steps[-1].ret:
        for first, last in taken:
            release(machine, first, last)
    else:
        device.held = tuple(taken)
    return steps


def _mapping(machine: Machine, device: DaxDevice) -> Request:
    shift = machine.geometry.page_shift
    ranges = tuple((first >> shift, last + 1 >> shift) for first, last in device.ranges)
    altmap = None
    if device.claim is not None:
        ranges = device.claim.ranges
        altmap = None if device.claim.altmap is None else Altmap(*device.claim.altmap)
    return Request(
        start=ranges[0][0],
        end=ranges[0][1],
        pgmap=machine.pagemaps.fresh(),
        pgmap_type=PgmapType.GENERIC,
        ranges=ranges,
        altmap=altmap,
        node=max(device.region.target_node, 0),
    )


def _add_all(
    machine: Machine, kernel: Kernel, device: DaxDevice, spans: list[tuple[int, int]]
) -> Generator[Asked, Call, list[Step]]:
    """Add the memory of a device, range by range; some ranges may be skipped although the code is 0."""
    steps: list[Step] = []
    device.added = [False] * len(spans)
    for i, span in enumerate(spans):
        steps += yield from _add(machine, kernel, device, span)
        device.added[i] = steps[-1].check == "kmem_add/added"
        if steps[-1].ret:
            break
    return steps


def _add(
    machine: Machine, kernel: Kernel, device: DaxDevice, span: tuple[int, int]
) -> Generator[Asked, Call, list[Step]]:
    """Reserve and add pfns ``[start, end)``."""
    (start, end), shift, mapped = span, machine.geometry.page_shift, fact(any(device.added))
    first, last = start << shift, (end << shift) - 1
    claimed = start < end and machine.resources.conflict_parent(first, last, nested=True) is None
    check, reserve = decide(KMEM_RESERVE, RangeFacts(fact(start >= end), fact(claimed), mapped), kernel)
    if check != "reserved":
        return [reserve]
    machine.resources.insert(Node(first, last, device.name, busy=False, ram=True), nested=True)
    managed, hosted = kernel.has("driver-managed-memory"), kernel.has("kmem-memmap-on-memory")
    flags = AddFlags.DRIVER_MANAGED * managed | AddFlags.MEMMAP_ON_MEMORY * (hosted and device.memmap_on_memory)
    name = "System RAM (kmem)" if managed else "System RAM"
    node = max(device.region.target_node, 0)
    call = yield Asked(AddMemory, Request(start, end, name=name, flags=flags, node=node))
    check, add = decide(KMEM_ADD, RangeFacts(fact(False), fact(call.ret), mapped), kernel, imposed=call.ret)
    if check in {"released", "failed-later"}:
        release(machine, first, last)
    return [reserve, step_of(call), add]


def unbind(machine: Machine, kernel: Kernel, device: DaxDevice) -> Plan:
    """Unbind a device. It succeeds whatever becomes of the memory."""
    steps: list[Step] = []
    if device.driver is Driver.DEVICE and device.pgmap:
        call = yield Asked(MemunmapPages, Request(pgmap=device.pgmap))
        steps.append(step_of(call))
        for first, last in device.held:
            release(machine, first, last)
        device.pgmap, device.held = 0, ()
    for i, span in enumerate(device.ranges if device.driver is Driver.KMEM else ()):
        start, end = aligned_pfns(span, machine.geometry)
        younger = i >= len(device.added)
        missing = not younger and not device.added[i]
        facts = RemoveFacts(fact(start >= end), fact(younger), fact(missing), fact(kernel.config.hotremove))
        check, step = decide(KMEM_REMOVE, facts, kernel)
        steps.append(step)
        if step.ret:
            break
        if check == "remove":
            call = yield Asked(RemoveMemory, Request(start, end))
            check, step = decide(KMEM_RELEASE, RangeFacts(fact(False), fact(call.ret), fact(False)), kernel)
            steps += [step_of(call), step]
        if check == "released":
            shift = machine.geometry.page_shift
            release(machine, start << shift, (end << shift) - 1)
            device.added[i] = False
        stays = not younger and device.added[i]
        device.hotremove_failed |= kernel.has("driver-managed-memory") and (check == "no-config" or stays)
    device.driver = None
    return Outcome(steps[-1].ret if steps else 0, tuple(steps))


def dax_probe(machine: Machine, kernel: Kernel, driver: Driver, device: DaxDevice, env: Sequence[int] = ()) -> Outcome:
    """Bind a device, with all that it takes. kmem adds its memory, offline.

    Args:
        machine: changes.
        kernel: whose rules apply.
        driver: matches the device.
        device: not bound; is bound afterwards unless the code is an error.
        env: for each range a negative errno that the world makes add_memory fail with, 0 for none.
    """
    return carry_out(machine, kernel, probe(machine, kernel, driver, device), env)


def dax_unbind(machine: Machine, kernel: Kernel, device: DaxDevice) -> Outcome:
    """Unbind a device, with all that it takes."""
    return carry_out(machine, kernel, unbind(machine, kernel, device))


class DaxBus:
    """The dax bus of a machine: who takes a device, and what the drivers were told. Unknown drivers are a KeyError.

    Args:
        machine: its ``devices`` are on the bus; binding changes its memory.
        kernel: whose rules apply.
        drivers: loaded, in order; None: as the machine has them.
        kmem_built: the kernel has kmem, loaded or not.
    """

    def __init__(
        self, machine: Machine, kernel: Kernel, drivers: Sequence[Driver] | None = None, *, kmem_built: bool = True
    ) -> None:
        self.machine, self.kernel, self.kmem_built = machine, kernel, kmem_built
        self._devices = machine.devices
        if drivers is not None:
            self._devices.ids = {driver: set() for driver in drivers}

    @property
    def ids(self) -> dict[Driver, set[str]]:
        """Names that each loaded driver was told."""
        return self._devices.ids

    def add(self, device: DaxDevice) -> Outcome:
        """Add a device; the first driver that matches is bound, if its probe lets it."""
        return carry_out(self.machine, self.kernel, self.adding(device))

    def new_id(self, driver: Driver, text: str) -> Outcome:
        """Write to new_id: a driver is told a name, and tries all devices without a driver; their codes do not count."""
        return carry_out(self.machine, self.kernel, self.telling(driver, text))

    def bind(self, driver: Driver, device: DaxDevice) -> Outcome:
        """Write to bind: bind a device to a driver that matches it."""
        return carry_out(self.machine, self.kernel, self.binding(driver, device))

    def unbind(self, device: DaxDevice) -> Outcome:
        """Unbind a device; it has no driver until somebody binds it."""
        return dax_unbind(self.machine, self.kernel, device)

    def adding(self, device: DaxDevice) -> Plan:
        """Plan ``add``."""
        self._devices.daxes[device.name] = device
        found = next((driver for driver in self.ids if self._match(driver, device).ret > 0), None)
        if found is None:
            return Outcome(0, ())
        return (yield from probe(self.machine, self.kernel, found, device))

    def telling(self, driver: Driver, text: str) -> Plan:
        """Plan ``new_id``."""
        outcome = self._id(driver, text, remove=False)
        if outcome.ret:
            return outcome
        self.ids[driver].add(text.removesuffix("\n"))
        steps: list[Step] = []
        for device in list(self._devices.daxes.values()):
            if device.on_bus and device.driver is None and self._match(driver, device).ret > 0:
                steps += (yield from probe(self.machine, self.kernel, driver, device)).steps
        return Outcome(0, (*steps, *outcome.steps))

    def binding(self, driver: Driver, device: DaxDevice) -> Plan:
        """Plan ``bind``."""
        match = self._match(driver, device)
        bound, matches = fact(device.driver is not None), fact(match.ret > 0)
        _, step = decide(DAX_DRIVER, DriverFacts(fact(True), bound, fact(False), matches, fact(False)), self.kernel)
        if step.ret:
            return Outcome(step.ret, (match, step))
        outcome = yield from probe(self.machine, self.kernel, driver, device)
        if outcome.ret in {0, RET_UNDEFINED}:
            return Outcome(outcome.ret, (match, step, *outcome.steps))
        failed = DriverFacts(fact(True), bound, fact(False), matches, fact(True))
        last = decide(DAX_DRIVER, failed, self.kernel, imposed=outcome.ret)[1]
        return Outcome(last.ret, (match, *outcome.steps, last))

    def remove_id(self, driver: Driver, text: str) -> Outcome:
        """Write to remove_id: a driver forgets a name; nothing is unbound."""
        outcome = self._id(driver, text, remove=True)
        self.ids[driver].discard(text.removesuffix("\n"))
        return outcome

    def _id(self, driver: Driver, text: str, *, remove: bool) -> Outcome:
        malformed = not re.fullmatch(r"dax(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\n?", text, re.ASCII)
        stored = text.removesuffix("\n") in self.ids[driver]
        _, step = decide(DAX_ID, IdFacts(fact(malformed), fact(stored), fact(remove)), self.kernel)
        return Outcome(step.ret, (step,))

    def _match(self, driver: Driver, device: DaxDevice) -> Step:
        facts = (device.name in self.ids[driver], driver is Driver.KMEM, device.region.kmem, self.kmem_built)
        return decide(DAX_MATCH, MatchFacts(*map(fact, facts)), self.kernel)[1]
