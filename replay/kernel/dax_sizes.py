"""Devices of dynamic dax regions: created, sized, aligned, deleted (walk semantics 5.1; the codes from memory).

A region hands out its memory from its first byte on, gap by gap; a device gives back from its last range on.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass

from replay.kernel.calls import always, error, fact, ok, undefined
from replay.kernel.dax import Outcome, Plan
from replay.kernel.dax_rules import decide
from replay.kernel.decision import Bools, Check, KernelFunction
from replay.kernel.device_calls import DeviceCall
from replay.machine.devices import DaxDevice, DaxRegion
from replay.trace.schema import DaxAction, DaxFlags

__all__ = ("DAX_DEVICE", "SizeCall", "SizeFacts")

_NAME = re.compile(r"dax(\d+)\.(\d+)", re.ASCII)


@dataclass(frozen=True)
class SizeFacts:
    """What a write to a file of a region or device looks at.

    Attributes:
        region: the region exists.
        dynamic: it has such files.
        missing: the device does not exist, and should.
        exists: the device exists, and should not.
        mapping: a range of its own is asked for.
        unaligned: the number is no multiple of what it has to be, or no alignment.
        bound: the device has a driver.
        misfit: the device's size is no multiple of the new alignment.
        full: the region has not that much left.
        sized: a device that still has memory is to be deleted.
    """

    region: Bools
    dynamic: Bools
    missing: Bools
    exists: Bools
    mapping: Bools
    unaligned: Bools
    bound: Bools
    misfit: Bools
    full: Bools
    sized: Bools


DAX_DEVICE: KernelFunction[SizeFacts] = KernelFunction(
    "dax_device",
    (
        Check("absent", always, error(errno.ENODEV), unless=("kmem-driver",), why="no bus"),
        Check("no-region", lambda s: ~s.region, error(errno.ENODEV), why="no such region"),
        Check("static", lambda s: ~s.dynamic, error(errno.ENOENT), why="a static region has no such file"),
        Check("unknown", lambda s: s.missing, error(errno.ENODEV), why="no such device"),
        Check("exists", lambda s: s.exists, error(errno.EEXIST), why="a device of that name is there"),
        Check("mapping", lambda s: s.mapping, undefined, why="ranges of one's own choice are not modelled"),
        Check("unaligned", lambda s: s.unaligned, error(errno.EINVAL), why="not a multiple of the alignment"),
        Check("bound", lambda s: s.bound, error(errno.EBUSY), why="a driver has it"),
        Check("misfit", lambda s: s.misfit, error(errno.EINVAL), why="its size is no multiple of the new alignment"),
        Check("full", lambda s: s.full, error(errno.ENOSPC), why="the region has not that much left"),
        Check("sized", lambda s: s.sized, error(errno.EBUSY), why="it still has memory"),
        Check("changed", always, ok, why="nothing stands against it"),
    ),
)


class SizeCall(DeviceCall):
    """A write to create, delete, size or align. A device that is created has no memory, and no driver tries it."""

    function = DAX_DEVICE

    def plan(self) -> Plan:
        """Decide, and change the device."""
        yield from ()  # it makes no other calls
        r, devices = self.request, self.machine.devices
        found = _NAME.fullmatch(r.name)
        region = devices.regions.get(int(found[1])) if found else None
        device = devices.daxes.get(r.name)
        _, step = decide(DAX_DEVICE, self._facts(region, device), self.kernel)
        if not step.ret and found is not None and region is not None:
            self._change(region, device, int(found[2]))
        return Outcome(step.ret, (step,))

    def _facts(self, region: DaxRegion | None, device: DaxDevice | None) -> SizeFacts:
        r, action = self.request, DaxAction(self.request.key)
        size, held = r.last_byte + 1 - r.first_byte, _size(device)
        align, page = device.align if device else 1, 1 << self.machine.geometry.page_shift
        is_size, is_align, create = action is DaxAction.SIZE, action is DaxAction.ALIGN, action is DaxAction.CREATE
        left = sum(end - start for start, end in self._gaps(region)) if region else 0
        return SizeFacts(
            region=fact(region),
            dynamic=fact(region and region.dynamic),
            missing=fact(not create and device is None),
            exists=fact(create and device is not None),
            mapping=fact(action is DaxAction.MAPPING),
            unaligned=fact((is_size and size % align) or (is_align and r.value < page)),
            bound=fact(not create and device is not None and device.driver is not None),
            misfit=fact(is_align and r.value > 0 and held % r.value),
            full=fact((is_size and size - held > left) or (create and not left)),
            sized=fact(action is DaxAction.DELETE and held),
        )

    def _change(self, region: DaxRegion, device: DaxDevice | None, index: int) -> None:
        r, devices = self.request, self.machine.devices
        if device is None:
            memmap = bool(r.flags & DaxFlags.MEMMAP_ON_MEMORY)
            devices.daxes[r.name] = DaxDevice(region, (), index, memmap_on_memory=memmap, align=region.align)
        elif r.key == DaxAction.DELETE:
            del devices.daxes[r.name]
        elif r.key == DaxAction.ALIGN:
            device.align = r.value
        else:
            self._resize(region, device, r.last_byte + 1 - r.first_byte)

    def _resize(self, region: DaxRegion, device: DaxDevice, size: int) -> None:
        missing = size - _size(device)
        ranges = list(device.ranges)
        while missing < 0:
            first, last = ranges.pop()
            kept = max(0, last + 1 - first + missing)
            missing += last + 1 - first - kept
            ranges += [(first, first + kept - 1)] if kept else []
        for start, end in self._gaps(region) if missing else ():
            taken = min(missing, end - start)
            if taken and ranges and ranges[-1][1] + 1 == start:
                ranges[-1] = (ranges[-1][0], start + taken - 1)
            elif taken:
                ranges.append((start, start + taken - 1))
            missing -= taken
        device.ranges, device.added = tuple(ranges), []

    def _gaps(self, region: DaxRegion) -> list[tuple[int, int]]:
        """Return the bytes of a region that no device has, half open, ascending."""
        assert region.span is not None
        at, gaps = region.span[0], []
        daxes = self.machine.devices.daxes.values()
        for first, last in sorted(r for d in daxes if d.region.id == region.id for r in d.ranges):
            gaps += [(at, first)] if at < first else []
            at = last + 1
        return [*gaps, (at, region.span[1] + 1)] if at <= region.span[1] else gaps


def _size(device: DaxDevice | None) -> int:
    return sum(last + 1 - first for first, last in device.ranges) if device else 0
