"""device-dax: which driver takes a device, and what kmem does with it (walk semantics 5.1, 5.4, 5.5).

kmem rounds the ranges of a device inward to memory blocks, reserves them and adds them as System RAM below the reservation;
unbound, it takes back what is offline. Adding and removing are ``AddMemory`` and ``RemoveMemory`` on the machine itself. A
device bound to device_dax is only state here: its mapping is a memremap_pages call.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from replay.errors import UsageError
from replay.kernel.calls import Call, Kernel, Request, always, error, fact, ok, undefined
from replay.kernel.decision import Answer, Bools, Check, KernelFunction
from replay.kernel.hotplug import AddMemory, RemoveMemory
from replay.machine.geometry import Geometry
from replay.machine.machine import Machine
from replay.machine.resources import Node
from replay.trace.schema import AddFlags

__all__ = (
    "DAX_FUNCTIONS",
    "DaxBus",
    "DaxDevice",
    "DaxRegion",
    "Driver",
    "Outcome",
    "Step",
    "aligned_pfns",
    "dax_probe",
    "dax_unbind",
)

_BUSY, _INVALID, _skipped = error(errno.EBUSY), error(errno.EINVAL), Answer("skipped", 0)


class Driver(StrEnum):
    """Drivers of the dax bus."""

    DEVICE = "device_dax"
    KMEM = "kmem"


@dataclass(frozen=True)
class DaxRegion:
    """Where devices come from.

    Attributes:
        id: number in the devices' names.
        target_node: node of the memory, -1 for unknown (``namespace.region_nodes``).
        kmem: flagged as memory for kmem (hmem, cxl), not persistent memory.
    """

    id: int = 0
    target_node: int = 0
    kmem: bool = False


@dataclass(eq=False)
class DaxDevice:
    """A device of the dax bus.

    Attributes:
        region: where it comes from.
        ranges: (first byte, last byte inclusive) of its memory.
        index: number within the region.
        memmap_on_memory: its memmap is to live in the added memory, where the kernel can do that.
        driver: bound to, None for no driver.
        added: for each range whether kmem added it.
        hotremove_failed: kmem could not take everything back.
    """

    region: DaxRegion
    ranges: tuple[tuple[int, int], ...]
    index: int = 0
    memmap_on_memory: bool = False
    driver: Driver | None = None
    added: list[bool] = field(default_factory=list)
    hotremove_failed: bool = False

    @property
    def name(self) -> str:
        """``dax<region>.<index>``."""
        return f"dax{self.region.id}.{self.index}"


@dataclass(frozen=True)
class Step:
    """One decision on the way: ``function/check`` and its code."""

    check: str
    ret: int


@dataclass(frozen=True)
class Outcome:
    """What became of a request: code of the driver or of the write to sysfs, and the decisions, in order."""

    ret: int
    steps: tuple[Step, ...]

    @property
    def applicable(self) -> bool:
        """Whether the kernel has what was asked for."""
        return not any(step.check.endswith("/absent") for step in self.steps)


@dataclass(frozen=True)
class ProbeFacts:
    """The driver is kmem; of the device: no range, not exactly one, no whole memory block, an unknown target node."""

    kmem: Bools
    empty: Bools
    several: Bools
    nothing: Bools
    nowhere: Bools


@dataclass(frozen=True)
class RangeFacts:
    """A range: no whole block in it; claimed, or refused by add_memory or remove_memory; an earlier one was added."""

    nothing: Bools
    refused: Bools
    mapped: Bools


@dataclass(frozen=True)
class RemoveFacts:
    """A range to be taken back: no whole block in it, never added, the kernel is built with MEMORY_HOTREMOVE."""

    nothing: Bools
    missing: Bools
    supported: Bools


_absent: Check[Any] = Check("absent", always, Answer("absent", -errno.ENODEV), unless=("kmem-driver",), why="no bus")

DAX_PROBE: KernelFunction[ProbeFacts] = KernelFunction(
    "dax_bus_probe",
    (
        _absent,
        Check("empty", lambda s: s.empty, error(errno.ENXIO), needs=("dax-ranges",), why="the device has no memory"),
        Check("device", lambda s: ~s.kmem, ok, why="device_dax takes it"),
        Check("target-node", lambda s: s.nowhere, _INVALID, why="nobody knows which node the memory belongs to"),
        Check("no-blocks", lambda s: s.nothing, _INVALID, needs=("kmem-refuses-no-memory",), why="no whole block"),
        Check("ranges", lambda s: s.several, undefined, unless=("dax-ranges",), why="devices have one range"),
        Check("kmem", always, ok, why="kmem looks at the ranges one by one"),
    ),
)
KMEM_RESERVE: KernelFunction[RangeFacts] = KernelFunction(
    "kmem_reserve",
    (
        Check("too-small", lambda s: s.nothing, _skipped, needs=("dax-ranges",), why="no whole memory block"),
        Check("no-size", lambda s: s.nothing, _BUSY, why="a range of no size cannot be reserved"),
        Check("claimed-later", lambda s: s.refused & s.mapped, _skipped, why="claimed; memory that is in stays in"),
        Check("claimed", lambda s: s.refused, _BUSY, why="something claims part of the range"),
        Check("reserved", always, ok, why="the range is free"),
    ),
)
KMEM_ADD: KernelFunction[RangeFacts] = KernelFunction(
    "kmem_add",
    (
        Check("failed-later", lambda s: s.refused & s.mapped, _skipped, why="not added; memory that is in stays in"),
        Check("released", lambda s: s.refused, ok, needs=("kmem-releases-reservation",), why="not added", imposed=True),
        Check("leaked", lambda s: s.refused, ok, why="not added, and the reservation stays", imposed=True),
        Check("added", always, ok, why="the range is System RAM now"),
    ),
)
KMEM_REMOVE: KernelFunction[RemoveFacts] = KernelFunction(
    "kmem_remove",
    (
        Check("no-hotremove", always, ok, unless=("kmem-hot-remove",), why="kmem never takes memory back"),
        Check("no-config", lambda s: ~s.supported, ok, why="built without MEMORY_HOTREMOVE"),
        Check("too-small", lambda s: s.nothing, _skipped, needs=("dax-ranges",), why="no whole memory block"),
        Check("skipped", lambda s: s.missing, ok, needs=("kmem-skips-never-added",), why="was never added"),
        Check("missing", lambda s: s.missing, undefined, why="takes back what it never added"),
        Check("remove", always, ok, why="the range was added"),
    ),
)
KMEM_RELEASE: KernelFunction[RangeFacts] = KernelFunction(
    "kmem_release",
    (
        Check("stays", lambda s: s.refused, ok, why="a block is online: memory and reservation stay"),
        Check("released", always, ok, why="memory and reservation are gone"),
    ),
)


def aligned_pfns(span: tuple[int, int], geometry: Geometry) -> tuple[int, int]:
    """Return the pfns ``[start, end)`` of the whole memory blocks in bytes ``[first, last]``; end <= start for none."""
    block = geometry.memory_block_bytes
    first, after = -(-span[0] // block) * block, (span[1] + 1) // block * block
    return first >> geometry.page_shift, after >> geometry.page_shift


def _decide(function: KernelFunction[Any], facts: object, kernel: Kernel, imposed: int = 0) -> tuple[str, Step]:
    """Return the id of the check that decides, and the step; ``imposed`` is the code where it comes from another call."""
    check = function.checks[function.decide(facts, kernel.features)]
    return check.id, Step(f"{function.name}/{check.id}", imposed if check.imposed else check.answer.value)


def dax_probe(machine: Machine, kernel: Kernel, driver: Driver, device: DaxDevice, env: Sequence[int] = ()) -> Outcome:
    """Bind a device. kmem adds its memory, offline; it may skip ranges although the code is 0.

    Args:
        machine: changes.
        kernel: whose rules apply.
        driver: matches the device.
        device: not bound; is bound afterwards unless the code is an error.
        env: for each range a negative errno that the world makes add_memory fail with, 0 for none.
    """
    spans = [aligned_pfns(r, machine.geometry) for r in device.ranges]
    nothing = all(start >= end for start, end in spans)
    facts = (driver is Driver.KMEM, not spans, len(spans) != 1, nothing, device.region.target_node < 0)
    check, step = _decide(DAX_PROBE, ProbeFacts(*map(fact, facts)), kernel)
    if check != "kmem":
        device.driver = driver if check == "device" else None
        return Outcome(step.ret, (step,))
    steps, device.added = [step], [False] * len(spans)
    for i, span in enumerate(spans):
        steps += _add(machine, kernel, device, span, env[i] if i < len(env) else 0)
        device.added[i] = steps[-1].check == "kmem_add/added"
        if steps[-1].ret:
            return Outcome(steps[-1].ret, tuple(steps))
    device.driver = driver
    return Outcome(0, tuple(steps))


def _add(machine: Machine, kernel: Kernel, device: DaxDevice, span: tuple[int, int], env: int) -> list[Step]:
    """Reserve and add pfns ``[start, end)``."""
    (start, end), shift, mapped = span, machine.geometry.page_shift, fact(any(device.added))
    first, last = start << shift, (end << shift) - 1
    claimed = start < end and machine.resources.conflict_parent(first, last, nested=True) is None
    check, reserve = _decide(KMEM_RESERVE, RangeFacts(fact(start >= end), fact(claimed), mapped), kernel)
    if check != "reserved":
        return [reserve]
    machine.resources.insert(Node(first, last, device.name, busy=False, ram=True), nested=True)
    managed, hosted = kernel.has("driver-managed-memory"), kernel.has("kmem-memmap-on-memory")
    flags = AddFlags.DRIVER_MANAGED * managed | AddFlags.MEMMAP_ON_MEMORY * (hosted and device.memmap_on_memory)
    name = "System RAM (kmem)" if managed else "System RAM"
    call = _carry_out(AddMemory(machine, kernel, Request(start, end, name=name, flags=flags, env=env)))
    check, add = _decide(KMEM_ADD, RangeFacts(fact(False), fact(call.ret), mapped), kernel, imposed=call.ret)
    if check in {"released", "failed-later"}:
        _release(machine, start, end)
    return [reserve, call, add]


def dax_unbind(machine: Machine, kernel: Kernel, device: DaxDevice, *, hotremove: bool = True) -> Outcome:
    """Unbind a device, in a kernel built with MEMORY_HOTREMOVE or not. It succeeds whatever becomes of the memory."""
    steps: list[Step] = []
    for i, span in enumerate(device.ranges if device.driver is Driver.KMEM else ()):
        start, end = aligned_pfns(span, machine.geometry)
        facts = RemoveFacts(fact(start >= end), fact(not device.added[i]), fact(hotremove))
        check, step = _decide(KMEM_REMOVE, facts, kernel)
        steps.append(step)
        if step.ret:
            break
        if check == "remove":
            call = _carry_out(RemoveMemory(machine, kernel, Request(start, end)))
            check, step = _decide(KMEM_RELEASE, RangeFacts(fact(False), fact(call.ret), fact(False)), kernel)
            steps += [call, step]
        if check == "released":
            _release(machine, start, end)
            device.added[i] = False
        device.hotremove_failed |= kernel.has("driver-managed-memory") and (check == "no-config" or device.added[i])
    device.driver = None
    return Outcome(steps[-1].ret if steps else 0, tuple(steps))


def _release(machine: Machine, start: int, end: int) -> None:
    """Take the reservation of pfns ``[start, end)`` out of the resource tree."""
    first, last = start << machine.geometry.page_shift, (end << machine.geometry.page_shift) - 1
    machine.resources.remove(first, last)
    machine.resources_changed(first, last)


def _carry_out(call: Call) -> Step:
    call.begin()
    call.done()
    return Step(f"{call.function.name}/{call.function.checks[call.check].id}", call.ret)


@dataclass(frozen=True)
class MatchFacts:
    """A driver and a device: its name is among the driver's ids, the driver is kmem, the region is kmem's, kmem is built."""

    by_id: Bools
    kmem: Bools
    region: Bools
    built: Bools


@dataclass(frozen=True)
class IdFacts:
    """A write to new_id or remove_id: the text is no device name, the id is stored, remove_id is written."""

    malformed: Bools
    stored: Bools
    remove: Bools


_yes, _no = Answer("yes", 1), Answer("no", 0)
_BY_REGION = ("dax-driver-by-region",)

DAX_MATCH: KernelFunction[MatchFacts] = KernelFunction(
    "dax_bus_match",
    (
        _absent,
        Check("id", lambda s: s.by_id, _yes, why="the driver was told this name"),
        Check("any", lambda s: ~s.kmem, _yes, unless=_BY_REGION, why="device_dax takes everything"),
        Check("region", lambda s: s.kmem == s.region, _yes, needs=_BY_REGION, why="the region's own driver"),
        Check("no-kmem", lambda s: ~s.kmem & ~s.built, _yes, needs=_BY_REGION, why="kmem is not built"),
        Check("no", always, _no, why="not for this driver"),
    ),
)
DAX_ID: KernelFunction[IdFacts] = KernelFunction(
    "dax_id",
    (
        _absent,
        Check("malformed", lambda s: s.malformed, _INVALID, why="not exactly dax<region>.<index>"),
        Check("dropped", lambda s: s.remove, ok, why="forgotten, if it was known; bound devices stay bound"),
        Check("again", lambda s: s.stored, ok, why="stored already; devices without a driver are tried"),
        Check("stored", always, ok, why="devices without a driver are tried"),
    ),
)
DAX_FUNCTIONS = (DAX_MATCH, DAX_PROBE, DAX_ID, KMEM_RESERVE, KMEM_ADD, KMEM_REMOVE, KMEM_RELEASE)


class DaxBus:
    """The dax bus: devices, loaded drivers and the ids that these were told. Other drivers are a KeyError.

    Args:
        machine: the memory that binding changes.
        kernel: whose rules apply.
        drivers: loaded, in order.
        kmem_built: the kernel has kmem, loaded or not.
    """

    def __init__(
        self, machine: Machine, kernel: Kernel, drivers: Sequence[Driver] = tuple(Driver), *, kmem_built: bool = True
    ) -> None:
        self.machine, self.kernel, self.kmem_built = machine, kernel, kmem_built
        self.ids: dict[Driver, set[str]] = {driver: set() for driver in drivers}
        self.devices: list[DaxDevice] = []

    def add(self, device: DaxDevice) -> Outcome:
        """Add a device; the first driver that matches is bound, if its probe lets it."""
        self.devices.append(device)
        found = next((driver for driver in self.ids if self._match(driver, device).ret > 0), None)
        return Outcome(0, ()) if found is None else dax_probe(self.machine, self.kernel, found, device)

    def new_id(self, driver: Driver, text: str) -> Outcome:
        """Write to new_id: a driver is told a name, and tries all devices without a driver; their codes do not count."""
        outcome = self._id(driver, text, remove=False)
        if outcome.ret:
            return outcome
        self.ids[driver].add(text.removesuffix("\n"))
        unbound = [d for d in self.devices if d.driver is None and self._match(driver, d).ret > 0]
        probes = [dax_probe(self.machine, self.kernel, driver, device).steps for device in unbound]
        return Outcome(0, outcome.steps + tuple(step for steps in probes for step in steps))

    def remove_id(self, driver: Driver, text: str) -> Outcome:
        """Write to remove_id: a driver forgets a name; nothing is unbound."""
        outcome = self._id(driver, text, remove=True)
        self.ids[driver].discard(text.removesuffix("\n"))
        return outcome

    def bind(self, driver: Driver, device: DaxDevice) -> Outcome:
        """Bind a device to a driver that matches it; -ENODEV where it does not.

        Raises:
            UsageError: the device is bound already.
        """
        if device.driver is not None:
            raise UsageError(f"{device.name} is bound to {device.driver}; unbind it first")
        match = self._match(driver, device)
        if match.ret <= 0:
            return Outcome(-errno.ENODEV, (match,))
        return dax_probe(self.machine, self.kernel, driver, device)

    def unbind(self, device: DaxDevice, *, hotremove: bool = True) -> Outcome:
        """Unbind a device; it has no driver until somebody binds it."""
        return dax_unbind(self.machine, self.kernel, device, hotremove=hotremove)

    def _id(self, driver: Driver, text: str, *, remove: bool) -> Outcome:
        malformed = not re.fullmatch(r"dax(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\n?", text, re.ASCII)
        stored = text.removesuffix("\n") in self.ids[driver]
        _, step = _decide(DAX_ID, IdFacts(fact(malformed), fact(stored), fact(remove)), self.kernel)
        return Outcome(step.ret, (step,))

    def _match(self, driver: Driver, device: DaxDevice) -> Step:
        facts = (device.name in self.ids[driver], driver is Driver.KMEM, device.region.kmem, self.kmem_built)
        return _decide(DAX_MATCH, MatchFacts(*map(fact, facts)), self.kernel)[1]
