"""device-dax: the checks of the dax bus and of its drivers, in order (walk semantics 5.1, 5.3 to 5.5)."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Any

from replay.kernel.calls import Kernel, always, error, ok, undefined
from replay.kernel.decision import Answer, Bools, Check, KernelFunction

__all__ = (
    "DAX_DRIVER",
    "DAX_FUNCTIONS",
    "DAX_ID",
    "DAX_MATCH",
    "DAX_PROBE",
    "DEVICE_DAX_PROBE",
    "KMEM_ADD",
    "KMEM_RELEASE",
    "KMEM_REMOVE",
    "KMEM_RESERVE",
    "DeviceFacts",
    "DriverFacts",
    "IdFacts",
    "MatchFacts",
    "Outcome",
    "ProbeFacts",
    "RangeFacts",
    "RemoveFacts",
    "Step",
    "decide",
)

_BUSY, _INVALID, _skipped = error(errno.EBUSY), error(errno.EINVAL), Answer("skipped", 0)


@dataclass(frozen=True)
class Step:
    """One decision on the way: ``function/check`` and its code; the function, and the index of its check."""

    check: str
    ret: int
    function: KernelFunction[Any]
    index: int


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
class DeviceFacts:
    """What device_dax looks at: a static device has several ranges; a range is claimed; its mapping failed."""

    several: Bools
    refused: Bools
    failed: Bools


@dataclass(frozen=True)
class DriverFacts:
    """A write to bind or unbind: the device is on the bus, bound, to be unbound; the driver matches it; its probe failed."""

    known: Bools
    bound: Bools
    unbind: Bools
    matches: Bools
    failed: Bools


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
    """A range to be taken back: no whole block in it, younger than the bond, never added; there is MEMORY_HOTREMOVE."""

    nothing: Bools
    younger: Bools
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
        Check("younger", lambda s: s.younger, undefined, why="the device got the range while kmem had it"),
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
_BIND_CODES = ("bind-returns-probe-code",)

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
DEVICE_DAX_PROBE: KernelFunction[DeviceFacts] = KernelFunction(
    "device_dax_probe",
    (
        Check("ranges", lambda s: s.several, _INVALID, needs=("dax-ranges",), why="a static device has one range"),
        Check("claimed", lambda s: s.refused, _BUSY, why="something claims part of the device"),
        Check("not-mapped", lambda s: s.failed, ok, why="memremap_pages refused", imposed=True),
        Check("mapped", always, ok, why="reserved and mapped"),
    ),
)
DAX_DRIVER: KernelFunction[DriverFacts] = KernelFunction(
    "dax_driver",
    (
        _absent,
        Check("unknown", lambda s: ~s.known, error(errno.ENODEV), why="no such device on the bus"),
        Check("not-bound", lambda s: s.unbind & ~s.bound, error(errno.ENODEV), why="not bound to that driver"),
        Check("unmatched", lambda s: ~s.unbind & ~s.matches, error(errno.ENODEV), why="not for this driver"),
        Check("bound", lambda s: ~s.unbind & s.bound, _BUSY, needs=_BIND_CODES, why="a driver has it"),
        Check("bound-declined", lambda s: ~s.unbind & s.bound, error(errno.ENODEV), why="a driver has it"),
        Check("failed", lambda s: s.failed, ok, needs=_BIND_CODES, why="the probe's own code", imposed=True),
        Check("declined", lambda s: s.failed, error(errno.ENODEV), why="the probe failed, with whatever code"),
        Check("asked", always, ok, why="matching and the driver decide"),
    ),
)
DAX_FUNCTIONS = (
    DAX_MATCH,
    DAX_PROBE,
    DAX_ID,
    KMEM_RESERVE,
    KMEM_ADD,
    KMEM_REMOVE,
    KMEM_RELEASE,
    DEVICE_DAX_PROBE,
    DAX_DRIVER,
)


def decide(function: KernelFunction[Any], facts: object, kernel: Kernel, imposed: int = 0) -> tuple[str, Step]:
    """Return the id of the check that decides, and the step; ``imposed`` is the code where it comes from another call."""
    function = kernel.function(function)
    index = function.decide(facts, kernel.features)
    check = function.checks[index]
    ret = imposed if check.imposed else check.answer.value
    return check.id, Step(f"{function.name}/{check.id}", ret, function, index)
