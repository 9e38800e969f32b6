"""Devices of dynamic dax regions: created, sized, mapped, aligned, deleted (walk.md 5.8)."""

from __future__ import annotations

import errno
import re

from replay.scalar.dax_drivers import Drivers
from replay.scalar.devices import Device, DeviceRequest, Region, Steps, Verdict
from replay.scalar.ranges import Range, contains
from replay.trace.schema import DaxAction, DaxDriver, DaxFlags

__all__ = ("ID", "Sizes")

UNIT = 2 << 20  # what device memory is mapped in
ID = re.compile(r"dax(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\n?", re.ASCII)


class Sizes(Drivers):
    """What writes to the files of regions and devices do."""

    def size(self, asked: DeviceRequest) -> Steps:
        """A write to create, delete, size, align or mapping of a dynamic region or its devices."""
        yield from ()
        ret, check = self.size_verdict(asked)
        if check == "mapped":
            self.devices[asked.name].ranges.append(asked.bytes)
        elif check == "changed":
            numbers = ID.fullmatch(asked.name)
            assert numbers is not None
            region = self.regions[int(numbers[1])]
            if asked.key == DaxAction.CREATE:
                memmap = bool(asked.flags & DaxFlags.MEMMAP_ON_MEMORY)
                self.devices[asked.name] = Device(asked.name, region, [], memmap_on_memory=memmap, align=region.align)
            elif asked.key == DaxAction.DELETE:
                del self.devices[asked.name]
            elif asked.key == DaxAction.ALIGN:
                self.devices[asked.name].align = asked.value
            else:
                self.resize(region, self.devices[asked.name], asked.bytes[1] - asked.bytes[0])
        return ret, f"dax_device/{check}"

    def size_verdict(self, asked: DeviceRequest) -> Verdict:
        """The first thing that stands against it."""
        if not self.state.has("kmem-driver"):
            return -errno.ENODEV, "absent"
        numbers = re.fullmatch(r"dax(\d+)\.(\d+)", asked.name, re.ASCII)
        region = self.regions.get(int(numbers[1])) if numbers else None
        if region is None:
            return -errno.ENOENT, "no-region"
        device, action = self.devices.get(asked.name), DaxAction(asked.key)
        if not region.dynamic:
            shown = action in (DaxAction.SIZE, DaxAction.ALIGN)
            return (-errno.EACCES, "read-only") if shown else (-errno.ENOENT, "static")
        gaps = self.gaps(region)
        left = sum(end - start for start, end in gaps)
        if action == DaxAction.CREATE:
            if device is not None:
                return -errno.EEXIST, "exists"
            return (0, "changed") if left else (-errno.ENOSPC, "full")
        if device is None:
            return (-errno.ENXIO, "victim") if action == DaxAction.DELETE else (-errno.ENOENT, "unknown")
        if action == DaxAction.MAPPING:
            return self.mapping_verdict(asked, device, gaps)
        return self.change_verdict(asked, device, left) or (0, "changed")

    def mapping_verdict(self, asked: DeviceRequest, device: Device, gaps: list[Range]) -> Verdict:
        """Whether a device gets one more range; nobody asks for its driver."""
        if (asked.bytes[1] - asked.bytes[0]) % max(device.align, UNIT):
            ignored = self.state.has("dax-mapping-ignores-misaligned")
            return (0, "mapping-ignored") if ignored else (-errno.ENXIO, "mapping-unaligned")
        free = any(contains(gap, asked.bytes) for gap in gaps)
        return (0, "mapped") if free else (-errno.ENOMEM, "mapping-taken")

    def change_verdict(self, asked: DeviceRequest, device: Device, left: int) -> Verdict | None:
        """What stands against a change of a device, whose region has so many bytes left."""
        action = DaxAction(asked.key)
        lengths = [end - start for start, end in device.ranges]
        size, held, page = asked.bytes[1] - asked.bytes[0], sum(lengths), self.state.resources.page
        entries = page // 8  # of a page table
        if action == DaxAction.SIZE and size % max(device.align, UNIT):
            return -errno.EINVAL, "unaligned"
        if action == DaxAction.ALIGN and asked.value not in (page, page * entries, page * entries * entries):
            return -errno.EINVAL, "unaligned"
        if device.driver != DaxDriver.NONE:
            return -errno.EBUSY, "bound"
        if action == DaxAction.ALIGN and any(length % max(asked.value, UNIT) for length in lengths):
            return -errno.EINVAL, "misfit"
        if action == DaxAction.SIZE and size - held > left:
            return -errno.ENOSPC, "full"
        if action == DaxAction.DELETE and held:
            return -errno.EBUSY, "sized"
        if action == DaxAction.DELETE and asked.name.endswith(".0"):
            return -errno.EBUSY, "first"
        return None

    def gaps(self, region: Region) -> list[Range]:
        """The bytes of a region that no device has."""
        taken = sorted(span for d in self.devices.values() if d.region is region for span in d.ranges)
        free, at = [], region.bytes[0]
        for start, end in taken:
            free.append((at, start))
            at = end
        return [gap for gap in (*free, (at, region.bytes[1])) if gap[0] < gap[1]]

    def resize(self, region: Region, device: Device, size: int) -> None:
        """A device gives up memory from its end on, or takes the lowest free memory of its region."""
        device.added = []
        while sum(end - start for start, end in device.ranges) > size:
            start, end = device.ranges.pop()
            keep = size - sum(high - low for low, high in device.ranges)
            if keep > 0:
                device.ranges.append((start, start + keep))
        for start, end in self.gaps(region):
            more = min(end - start, size - sum(high - low for low, high in device.ranges))
            if more <= 0:
                break
            if device.ranges and device.ranges[-1][1] == start:
                device.ranges[-1] = (device.ranges[-1][0], start + more)
            else:
                device.ranges.append((start, start + more))
