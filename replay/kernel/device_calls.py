"""Rows about the dax bus as calls: each follows a plan, which asks for other calls (walk semantics 5)."""

from __future__ import annotations

import errno
from abc import abstractmethod
from collections.abc import Generator
from dataclasses import dataclass, replace

from replay.kernel.calls import Call, Kernel, Request, always, error, fact, ok
from replay.kernel.dax import Asked, DaxBus, Outcome, Plan, unbind
from replay.kernel.dax_rules import DAX_DRIVER, DriverFacts, Step, decide
from replay.kernel.decision import Answer, Bools, Check, KernelFunction
from replay.kernel.memremap import MemremapPages
from replay.machine.devices import DaxDevice, DaxRegion, Driver
from replay.machine.machine import Machine
from replay.trace.schema import DaxAction, DaxDriver, DaxFlags

__all__ = ("DAX_REGION", "DeviceCall", "DriverCall", "RegionCall", "RegionFacts", "take_away")

_DRIVERS = {DaxDriver.DEVICE_DAX: Driver.DEVICE, DaxDriver.KMEM: Driver.KMEM}


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
            if call.ret == 0:
                call.happened("begin", call.request.start, call.request.end)
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
        if device is not None and device.on_bus and r.key == DaxAction.BIND:
            return (yield from bus.binding(driver, device))
        away = r.key == DaxAction.UNBIND
        known, bound = device is not None and device.on_bus, device is not None and device.driver is driver
        facts = DriverFacts(fact(known), fact(bound), fact(away), fact(False), fact(False))
        _, step = decide(DAX_DRIVER, facts, self.kernel)
        if step.ret or device is None:
            return Outcome(step.ret, (step,))
        after = yield from unbind(self.machine, self.kernel, device)
        # Unbinding succeeds whatever becomes of the memory.
        return Outcome(after.ret, (step, *after.steps) if after.ret else (*after.steps, step))


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
                steps += yield from take_away(self.machine, self.kernel, device)
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


def take_away(machine: Machine, kernel: Kernel, device: DaxDevice) -> Generator[Asked, Call, list[Step]]:
    """Unbind a device and remove it from the bus."""
    outcome = yield from unbind(machine, kernel, device)
    del machine.devices.daxes[device.name]
    return list(outcome.steps)
