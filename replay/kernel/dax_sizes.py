"""Devices of dynamic dax regions: created, sized, mapped, aligned, deleted (walk semantics 5.8).

A region hands out its memory from its first byte on, gap by gap; a device gives back from its last range on.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass

from replay.kernel.calls import always, error, fact, ok
from replay.kernel.dax import Outcome, Plan
from replay.kernel.dax_rules import decide
from replay.kernel.decision import Answer, Bools, Check, KernelFunction
from replay.kernel.device_calls import DeviceCall
from replay.kernel.namespace import alignments
from replay.machine.devices import DaxDevice, DaxRegion
from replay.machine.geometry import SUBSECTION_SHIFT
from replay.trace.schema import DaxAction, DaxFlags

__all__ = ("DAX_DEVICE", "SizeCall", "SizeFacts")

_UNIT = 1 << SUBSECTION_SHIFT  # memory of devices comes in pieces that can be mapped
_NAME = re.compile(r"dax(\d+)\.(\d+)", re.ASCII)


@dataclass(frozen=True)
class SizeFacts:
    """What a write to a file of a region or device looks at.

    Attributes:
        region: the region exists.
        dynamic: it has such files.
        shown: the file is there, but for reading, in a region that is not dynamic.
        missing: the device does not exist, and should.
        away: it is to be deleted.
        exists: the device exists, and should not.
        mapping: a range of one's own choice is asked for.
        unaligned: the number is no multiple of what it has to be, or no alignment.
        taken: the range is not free, or not all of it in the region.
        bound: the device has a driver.
        misfit: a range of the device is no multiple of the new alignment.
        full: the region has not that much left.
        sized: a device that still has memory is to be deleted.
        first: the region's first device is to be deleted.
    """

    region: Bools
    dynamic: Bools
    shown: Bools
    missing: Bools
    away: Bools
    exists: Bools
    mapping: Bools
    unaligned: Bools
    taken: Bools
    bound: Bools
    misfit: Bools
    full: Bools
    sized: Bools
    first: Bools


_NO_FILE, _BUSY = error(errno.ENOENT), error(errno.EBUSY)

DAX_DEVICE: KernelFunction[SizeFacts] = KernelFunction(
    "dax_device",
    (
        Check("absent", always, error(errno.ENODEV), unless=("kmem-driver",), why="no bus"),
        Check("no-region", lambda s: ~s.region, _NO_FILE, why="no such region"),
        Check(
            "read-only", lambda s: ~s.dynamic & s.shown, error(errno.EACCES), why="in a static region only to be read"
        ),
        Check("static", lambda s: ~s.dynamic, _NO_FILE, why="a static region has no such file"),
        Check("victim", lambda s: s.missing & s.away, error(errno.ENXIO), why="no such device to be deleted"),
        Check("unknown", lambda s: s.missing, _NO_FILE, why="no such device"),
        Check("exists", lambda s: s.exists, error(errno.EEXIST), why="a device of that name is there"),
        Check(
            "mapping-ignored",
            lambda s: s.mapping & s.unaligned,
            Answer("ignored", 0),
            needs=("dax-mapping-ignores-misaligned",),
            why="a size that is misaligned has no effect",
        ),
        Check(
            "mapping-unaligned", lambda s: s.mapping & s.unaligned, error(errno.ENXIO), why="a size that is misaligned"
        ),
        Check(
            "mapping-taken", lambda s: s.mapping & s.taken, error(errno.ENOMEM), why="not free, or not in the region"
        ),
        Check("mapped", lambda s: s.mapping, ok, why="one more range, whether a driver has the device or not"),
        Check("unaligned", lambda s: s.unaligned, error(errno.EINVAL), why="not a multiple of the alignment"),
        Check("bound", lambda s: s.bound, _BUSY, why="a driver has it"),
        Check("misfit", lambda s: s.misfit, error(errno.EINVAL), why="a range is no multiple of the new alignment"),
        Check("full", lambda s: s.full, error(errno.ENOSPC), why="the region has not that much left"),
        Check("sized", lambda s: s.sized, _BUSY, why="it still has memory"),
        Check("first", lambda s: s.first, _BUSY, why="the first device of a region stays"),
        Check("changed", always, ok, why="nothing stands against it"),
    ),
)


class SizeCall(DeviceCall):
    """A write to create, delete, size, align or mapping. A device that is created has no memory; no driver takes it."""

    function = DAX_DEVICE

    def plan(self) -> Plan:
        """Decide, and change the device."""
        yield from ()  # it makes no other calls
        r, devices = self.request, self.machine.devices
        found = _NAME.fullmatch(r.name)
        region = devices.regions.get(int(found[1])) if found else None
        device = devices.daxes.get(r.name)
        check, step = decide(DAX_DEVICE, self._facts(region, device), self.kernel)
        if check == "mapped" and device is not None:
            device.ranges = (*device.ranges, (r.first_byte, r.last_byte))
        elif check == "changed" and found is not None and region is not None:
            self._change(region, device, int(found[2]))
        return Outcome(step.ret, (step,))

    def _facts(self, region: DaxRegion | None, device: DaxDevice | None) -> SizeFacts:
        r, action, geometry = self.request, DaxAction(self.request.key), self.machine.geometry
        size, held = r.last_byte + 1 - r.first_byte, _size(device)
        unit = max(device.align if device else 1, _UNIT)
        is_size, is_align, create = action is DaxAction.SIZE, action is DaxAction.ALIGN, action is DaxAction.CREATE
        mapping, away = action is DaxAction.MAPPING, action is DaxAction.DELETE
        gaps = self._gaps(region) if region else []
        left = sum(end - start for start, end in gaps)
        lengths = [last + 1 - first for first, last in device.ranges] if device else []
        return SizeFacts(
            region=fact(region),
            dynamic=fact(region and region.dynamic),
            shown=fact(is_size or is_align),
            missing=fact(not create and device is None),
            away=fact(away),
            exists=fact(create and device is not None),
            mapping=fact(mapping),
            unaligned=fact(r.value not in alignments(geometry) if is_align else (is_size or mapping) and size % unit),
            taken=fact(mapping and not any(low <= r.first_byte and r.last_byte < high for low, high in gaps)),
            bound=fact(not create and device is not None and device.driver is not None),
            misfit=fact(is_align and any(length % max(r.value, _UNIT) for length in lengths)),
            full=fact((is_size and size - held > left) or (create and not left)),
            sized=fact(away and held),
            first=fact(away and device is not None and not device.index),
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
