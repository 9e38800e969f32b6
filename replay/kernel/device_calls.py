"""Rows about the dax bus and namespaces as calls: each follows a plan, which asks for other calls (walk semantics 5)."""

from __future__ import annotations

import errno
import re
from abc import abstractmethod
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

from replay.kernel.calls import Call, Kernel, Request, always, error, fact, ok
from replay.kernel.dax import Asked, DaxBus, Outcome, Plan, map_without_bus, release, step_of, unbind
from replay.kernel.dax_rules import DAX_DRIVER, DriverFacts, Step, decide
from replay.kernel.decision import Answer, Bools, Check, KernelFunction
from replay.kernel.memremap import MemremapPages, MemunmapPages
from replay.kernel.namespace import ND_PFN_INIT, ND_PFN_VALIDATE, InfoBlock, Layout, Mode, Namespace, attach, create
from replay.machine.devices import Claim, DaxDevice, DaxRegion, Driver, NamespaceState
from replay.machine.geometry import SUBSECTION_SHIFT
from replay.machine.machine import Machine
from replay.machine.resources import Node
from replay.trace.schema import DaxAction, DaxDriver, DaxFlags, NamespaceFlags, PgmapType

__all__ = (
    "DAX_REGION",
    "NAMESPACE",
    "DeviceCall",
    "DriverCall",
    "NamespaceCall",
    "NamespaceFacts",
    "RegionCall",
    "RegionFacts",
)

_DRIVERS = {DaxDriver.DEVICE_DAX: Driver.DEVICE, DaxDriver.KMEM: Driver.KMEM}
_NAME = re.compile(r"(?:namespace|dax)(\d+)\.(\d+)", re.ASCII)


class DeviceCall(Call):
    """A call that makes other calls. When it has begun it waits for the one that it has asked for, if any.

    Attributes:
        asked: the call that it waits for; None when all of them are made.
        steps: decisions on the way, in order; but the last one is the verdict.
        own: finished calls that no row tells of.
    """

    def __init__(self, machine: Machine, kernel: Kernel, request: Request) -> None:
        super().__init__(machine, kernel, request)
        self.asked: Asked | None = None
        self.steps: tuple[Step, ...] = ()
        self.own: list[Call] = []
        self._plan: Plan | None = None

    @abstractmethod
    def plan(self) -> Plan:
        """Return what the call does, one asked call after the other."""

    def begin(self) -> None:
        """Go on until something else is asked for."""
        self._plan = self.plan()
        self._go(None)

    def nested(self, kind: type[Call], told: Request) -> Call | None:
        """Return the call that is asked for, not begun; None when no call of that kind is.

        Args:
            kind: of the call that a trace tells of.
            told: of it, what the trace says: the world's refusal and the id of a pagemap are taken from there.
        """
        if self.asked is None or self.asked.call is not kind:
            return None
        own = replace(self.asked.request, env=told.env)
        if issubclass(kind, MemremapPages) and told.pgmap:
            own = replace(own, pgmap=told.pgmap, vmemmap_shift=told.vmemmap_shift, node=told.node)
        return kind(self.machine, self.kernel, own)

    def finished(self, call: Call) -> None:
        """Take in the call that was asked for, and go on."""
        self._go(call)

    def done(self) -> None:
        """Make all calls that are still asked for."""
        told = replace(self.request, node=max(self.request.node, 0))
        while self.asked is not None:
            call = self.nested(self.asked.call, told)
            assert call is not None
            call.begin()
            call.done()
            self.own.append(call)
            told = Request()  # what the row says holds for the first call
            self.finished(call)

    def apply(self, start: int, end: int) -> None:
        """Nothing: the calls that it makes do."""

    def _go(self, call: Call | None) -> None:
        assert self._plan is not None
        try:
            self.asked = next(self._plan) if call is None else self._plan.send(call)
        except StopIteration as stop:
            outcome: Outcome = stop.value
            self.asked, self.steps, self.ret = None, outcome.steps, outcome.ret


class DriverCall(DeviceCall):
    """A write to bind, unbind, new_id or remove_id of a driver of the dax bus."""

    function = DAX_DRIVER

    def plan(self) -> Plan:
        """Match, and let the driver do its part."""
        r, bus = self.request, DaxBus(self.machine, self.kernel)
        device = self.machine.devices.daxes.get(r.name)
        driver = _DRIVERS[DaxDriver(r.flags)]
        if r.key == DaxAction.NEW_ID:
            return (yield from bus.telling(driver, r.name))
        if r.key == DaxAction.REMOVE_ID:
            return bus.remove_id(driver, r.name)
        away = r.key == DaxAction.UNBIND
        bound = device is not None and (device.driver is driver if away else device.driver is not None)
        _, step = decide(DAX_DRIVER, DriverFacts(fact(device), fact(bound), fact(away)), self.kernel)
        if step.ret or device is None:
            return Outcome(step.ret, (step,))
        after = (
            (yield from unbind(self.machine, self.kernel, device)) if away else (yield from bus.binding(driver, device))
        )
        # Unbinding succeeds whatever becomes of the memory.
        succeeded = away and not after.ret
        return Outcome(after.ret, (*after.steps, step) if succeeded else (step, *after.steps))


@dataclass(frozen=True)
class RegionFacts:
    """A region is to appear or to go: the kernel knows it already; it is to go."""

    known: Bools
    away: Bools


DAX_REGION: KernelFunction[RegionFacts] = KernelFunction(
    "dax_region",
    (
        Check("absent", always, Answer("absent", -errno.ENODEV), unless=("kmem-driver",), why="no bus"),
        Check("exists", lambda s: s.known & ~s.away, error(errno.EEXIST), why="a region of that number is there"),
        Check("unknown", lambda s: ~s.known & s.away, error(errno.ENODEV), why="no such region"),
        Check("changed", always, ok, why="the region appears, or goes with its devices"),
    ),
)


class RegionCall(DeviceCall):
    """A region of the dax bus appears or goes. One that is not dynamic comes with the device that has all of it."""

    function = DAX_REGION

    def plan(self) -> Plan:
        """Make the region, or take its devices away."""
        r, devices = self.request, self.machine.devices
        away = r.key == DaxAction.DELETE
        _, step = decide(DAX_REGION, RegionFacts(fact(r.value in devices.regions), fact(away)), self.kernel)
        if step.ret:
            return Outcome(step.ret, (step,))
        steps: list[Step] = []
        if away:
            for device in [d for d in devices.daxes.values() if d.region.id == r.value]:
                steps += yield from _take_away(self.machine, self.kernel, device)
            del devices.regions[r.value]
            return Outcome(0, (*steps, step))
        dynamic = bool(r.flags & DaxFlags.DYNAMIC) and self.kernel.has("dax-ranges")
        span = (r.first_byte, r.last_byte)
        region = DaxRegion(r.value, r.node, bool(r.flags & DaxFlags.KMEM), dynamic, span)
        devices.regions[region.id] = region
        if not dynamic:
            device = DaxDevice(region, (span,), memmap_on_memory=bool(r.flags & DaxFlags.MEMMAP_ON_MEMORY))
            steps += (yield from DaxBus(self.machine, self.kernel).adding(device)).steps
        return Outcome(0, (*steps, step))


def _take_away(machine: Machine, kernel: Kernel, device: DaxDevice) -> Generator[Asked, Call, list[Step]]:
    """Unbind a device and remove it from the bus."""
    outcome = yield from unbind(machine, kernel, device)
    del machine.devices.daxes[device.name]
    return list(outcome.steps)


@dataclass(frozen=True)
class NamespaceFacts:
    """A namespace is to be used or given up: in use already; to be given up; its bytes are claimed; not mapped."""

    known: Bools
    away: Bools
    claimed: Bools
    failed: Bools


NAMESPACE: KernelFunction[NamespaceFacts] = KernelFunction(
    "namespace",
    (
        Check("exists", lambda s: s.known & ~s.away, error(errno.EBUSY), why="it is in use"),
        Check("unknown", lambda s: ~s.known & s.away, error(errno.ENODEV), why="it is not in use"),
        Check("claimed", lambda s: s.claimed, error(errno.EBUSY), why="something claims part of it"),
        Check("not-mapped", lambda s: s.failed, ok, why="memremap_pages refused", imposed=True),
        Check("changed", always, ok, why="in use, or given up"),
    ),
)


class NamespaceCall(DeviceCall):
    """A namespace is put to use (raw, fsdax, devdax) or given up."""

    function = NAMESPACE

    def plan(self) -> Plan:
        """Put to use, or give up."""
        r, devices = self.request, self.machine.devices
        away = r.key == DaxAction.DELETE
        first = self._step(known=r.name in devices.namespaces, away=away)
        if first.ret:
            return Outcome(first.ret, (first,))
        steps = (yield from self._give_up()) if away else (yield from self._use())
        return Outcome(steps[-1].ret, tuple(steps))

    def _step(self, *, known: bool = False, away: bool = False, claimed: bool = False, failed: int = 0) -> Step:
        facts = NamespaceFacts(fact(known), fact(away), fact(claimed), fact(failed))
        return decide(NAMESPACE, facts, self.kernel, imposed=failed)[1]

    def _give_up(self) -> Generator[Asked, Call, list[Step]]:
        state = self.machine.devices.namespaces.pop(self.request.name)
        steps: list[Step] = []
        if state.device is not None:
            steps += yield from _take_away(self.machine, self.kernel, state.device)
            self.machine.devices.regions.pop(state.device.region.id, None)
        if state.pgmap:
            steps.append(step_of((yield Asked(MemunmapPages, Request(pgmap=state.pgmap)))))
        release(self.machine, *state.reserved)
        return [*steps, self._step(known=True, away=True)]

    def _use(self) -> Generator[Asked, Call, list[Step]]:
        r, m = self.request, self.machine
        whole = (r.first_byte, r.last_byte)
        if not r.flags & (NamespaceFlags.FSDAX | NamespaceFlags.DEVDAX):
            unit, shift = (1 << SUBSECTION_SHIFT) - 1, m.geometry.page_shift
            legacy = r.flags & NamespaceFlags.LEGACY and not r.first_byte & unit and not (r.last_byte + 1) & unit
            pfns = ((r.first_byte >> shift, r.last_byte + 1 >> shift),)
            return (yield from self._block_device(whole, Layout(pfns, None, pfns[0][0]) if legacy else None))
        devdax = bool(r.flags & NamespaceFlags.DEVDAX)
        mode = Mode.MEM if r.flags & NamespaceFlags.MAP_MEM else Mode.DEV
        namespace = Namespace(
            r.first_byte, r.last_byte + 1 - r.first_byte, mode, r.value or 1 << SUBSECTION_SHIFT, devdax
        )
        check, ret, info = create(m, self.kernel, namespace)
        steps = [_as_step(ND_PFN_INIT, check, ret)]
        if info is None:
            return steps
        check, ret, layout = attach(m.geometry, self.kernel, namespace, info)
        steps.append(_as_step(ND_PFN_VALIDATE, check, ret))
        if layout is None:
            return steps
        if devdax:
            return steps + (yield from self._dax_device(namespace, info, layout))
        return steps + (yield from self._block_device(whole, layout))

    def _block_device(self, span: tuple[int, int], layout: Layout | None) -> Generator[Asked, Call, list[Step]]:
        """Claim all of a namespace and map it, for raw and fsdax."""
        m, r = self.machine, self.request
        if not m.resources.insert(Node(*span, r.name, busy=True), nested=True):
            return [self._step(claimed=True)]
        state = NamespaceState(span)
        steps: list[Step] = []
        if layout is not None:
            call = yield Asked(MemremapPages, self._mapping(layout))
            steps.append(step_of(call))
            if call.ret:
                release(m, *span)
                return [*steps, self._step(failed=call.ret)]
            state.pgmap = call.request.pgmap
        m.devices.namespaces[r.name] = state
        return [*steps, self._step()]

    def _mapping(self, layout: Layout) -> Request:
        (start, end), *_ = layout.ranges
        return Request(
            start=start, end=end, pgmap=self.machine.pagemaps.fresh(), pgmap_type=PgmapType.FS_DAX, ranges=layout.ranges,
            altmap=layout.altmap, node=max(self.request.node, 0),
        )  # fmt: skip

    def _dax_device(self, namespace: Namespace, info: InfoBlock, layout: Layout) -> Generator[Asked, Call, list[Step]]:
        """Claim the metadata; what is left is a device on the dax bus, offered to the drivers."""
        m, r = self.machine, self.request
        first = namespace.start + info.start_pad
        metadata, data = (first, first + info.dataoff - 1), (first + info.dataoff, namespace.end - info.end_trunc - 1)
        if not m.resources.insert(Node(*metadata, r.name, busy=True), nested=True):
            return [self._step(claimed=True)]
        found = _NAME.fullmatch(r.name)
        number, index = (int(found[1]), int(found[2])) if found else (0, 0)
        region = DaxRegion(number, r.node, span=data, align=namespace.align)
        altmap = layout.altmap
        claim = Claim(layout.ranges, None if altmap is None else (altmap.base, altmap.reserve, altmap.free))
        device = DaxDevice(region, (data,), index, align=namespace.align, claim=claim)
        m.devices.regions[number] = region
        m.devices.namespaces[r.name] = NamespaceState(metadata, device)
        if self.kernel.has("kmem-driver"):
            outcome = yield from DaxBus(m, self.kernel).adding(device)
            return [*outcome.steps, self._step()]
        outcome = yield from map_without_bus(m, self.kernel, device)
        if outcome.ret:
            del m.devices.namespaces[r.name], m.devices.daxes[device.name], m.devices.regions[number]
            release(m, *metadata)
            return list(outcome.steps)
        return [*outcome.steps, self._step()]


def _as_step(function: KernelFunction[Any], check: int, ret: int) -> Step:
    return Step(f"{function.name}/{function.checks[check].id}", ret, function, check)
