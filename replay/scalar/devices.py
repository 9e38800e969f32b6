"""Namespaces, dax regions, dax devices and their drivers (walk.md 3.4, 5.1, 5.3 to 5.5), as calls that want other calls."""

from __future__ import annotations

import errno
import re
from collections.abc import Generator
from dataclasses import dataclass, field

from replay.scalar.calls import Call
from replay.scalar.namespaces import Layout, lay_out
from replay.scalar.ranges import Range, round_down, round_up
from replay.scalar.resources import SYSTEM_RAM
from replay.scalar.state import Altmap, State
from replay.trace.outcomes import RET_UNDEFINED
from replay.trace.schema import (
    AddFlags,
    DaxAction,
    DaxDriver,
    DaxFlags,
    EventKind,
    NamespaceFlags,
    PgmapType,
    ResourceFlags,
)

__all__ = ("Bus", "DeviceCall", "DeviceRequest", "Wanted")

OWN_PAGEMAPS = 1 << 31  # ids of pagemaps that no row numbers
ID = re.compile(r"dax(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\n?", re.ASCII)

Verdict = tuple[int, str]  # return code, function/check


@dataclass
class Wanted:
    """A call that has to be made before the device's call goes on; only what its kind needs is given."""

    kind: EventKind
    pfns: Range = (0, 0)
    name: str = ""
    flags: int = 0
    node: int = 0
    pgmap: int = 0
    ranges: tuple[Range, ...] = ()
    altmap: Altmap | None = None
    pgmap_type: int = 0


Steps = Generator[Wanted, Call, Verdict]


@dataclass
class Region:
    """A dax region; bytes half open."""

    number: int
    node: int
    kmem: bool = False
    dynamic: bool = False
    bytes: Range = (0, 0)
    align: int = 2 << 20


@dataclass(eq=False)
class Device:
    """A dax device; ranges are bytes, half open; ``mapped`` is what device_dax maps when that is not the ranges."""

    name: str
    region: Region
    ranges: list[Range]
    driver: int = DaxDriver.NONE
    added: list[bool] = field(default_factory=list)
    memmap_on_memory: bool = False
    align: int = 2 << 20
    mapped: tuple[Range, Altmap | None] | None = None
    pgmap: int = 0


@dataclass(eq=False)
class InUse:
    """A namespace in use: what it claims, its device or its pagemap."""

    claimed: Range
    device: Device | None = None
    pgmap: int = 0


@dataclass(frozen=True)
class DeviceRequest:
    """What a row about devices asks for; bytes half open; node -1 where nobody says."""

    key: int
    name: str = ""
    bytes: Range = (0, 0)
    flags: int = 0
    value: int = 0
    node: int = -1


class DeviceCall:
    """A call about devices under way: what it wants next, or its verdict."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.wanted: Wanted | None = None
        self.verdict: Verdict = (0, "")
        self.go(None)

    def go(self, made: Call | None) -> None:
        """Go on, with the call that was wanted."""
        try:
            self.wanted = next(self.steps) if made is None else self.steps.send(made)
        except StopIteration as stop:
            self.wanted, self.verdict = None, stop.value


class Bus:
    """The dax bus and the namespaces of one machine."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.regions: dict[int, Region] = {}
        self.devices: dict[str, Device] = {}
        self.namespaces: dict[str, InUse] = {}
        self.ids: dict[int, set[str]] = {DaxDriver.DEVICE_DAX: set(), DaxDriver.KMEM: set()}
        self.own_pagemaps = OWN_PAGEMAPS

    def call(self, kind: EventKind, asked: DeviceRequest) -> DeviceCall:
        """Begin the call of a row."""
        steps = {
            EventKind.DAX_REGION: self.region,
            EventKind.DAX_DEVICE: self.size,
            EventKind.DAX_DRIVER: self.driver,
            EventKind.NAMESPACE: self.namespace,
        }
        return DeviceCall(steps[kind](asked))

    # Who takes a device.

    def matches(self, driver: int, device: Device) -> tuple[bool, str]:
        """Whether a driver takes a device (5.1, Binding events)."""
        if not self.state.has("kmem-driver"):
            return False, "dax_bus_match/absent"
        if device.name in self.ids[driver]:
            return True, "dax_bus_match/id"
        if not self.state.has("dax-driver-by-region"):
            any_device = driver == DaxDriver.DEVICE_DAX
            return any_device, "dax_bus_match/any" if any_device else "dax_bus_match/no"
        own = (driver == DaxDriver.KMEM) == device.region.kmem
        return own, "dax_bus_match/region" if own else "dax_bus_match/no"

    def offer(self, device: Device) -> Steps:
        """A new device is offered to the drivers in order; its probe's verdict does not count."""
        self.devices[device.name] = device
        for driver in self.ids:
            if self.matches(driver, device)[0]:
                return (yield from self.probe(driver, device))
        return 0, ""

    # What drivers do.

    def claim(self, span: Range, name: str, flags: int) -> bool:
        """Reserve bytes in the resource tree."""
        return self.state.resources.insert(span, name, flags)

    def probe(self, driver: int, device: Device) -> Steps:
        """A driver is given a device (5.3, 5.4)."""
        state, kmem = self.state, driver == DaxDriver.KMEM
        if not state.has("kmem-driver"):
            return -errno.ENODEV, "dax_bus_probe/absent"
        if state.has("dax-ranges") and not device.ranges:
            return -errno.ENXIO, "dax_bus_probe/empty"
        if not kmem:
            verdict = yield from self.map(device)
        else:
            blocks = [self.whole_blocks(span) for span in device.ranges]
            if device.region.node < 0:
                return -errno.EINVAL, "dax_bus_probe/target-node"
            if state.has("kmem-refuses-no-memory") and not any(start < end for start, end in blocks):
                return -errno.EINVAL, "dax_bus_probe/no-blocks"
            if not state.has("dax-ranges") and len(blocks) != 1:
                return RET_UNDEFINED, "dax_bus_probe/ranges"
            verdict = yield from self.add_all(device, blocks)
        if verdict[0] == 0:
            device.driver = driver
        return verdict

    def whole_blocks(self, span: Range) -> Range:
        """The memory blocks that lie in a range of bytes, as bytes."""
        block = self.state.geometry.memory_block_bytes
        return round_up(span[0], block), round_down(span[1], block)

    def map(self, device: Device) -> Steps:
        """device_dax reserves and maps."""
        page = self.state.resources.page
        if self.state.has("dax-ranges") and not device.region.dynamic and len(device.ranges) > 1:
            return -errno.EINVAL, "device_dax_probe/ranges"
        taken: list[Range] = []
        for span in device.ranges:
            if not self.claim(span, device.name, int(ResourceFlags.BUSY)):
                self.give_back(taken)
                return -errno.EBUSY, "device_dax_probe/claimed"
            taken.append(span)
        if taken:
            ranges = tuple((start // page, end // page) for start, end in taken)
            altmap = None
            if device.mapped is not None:
                ranges, altmap = (device.mapped[0],), device.mapped[1]
            call = yield self.mapping(ranges, altmap, PgmapType.GENERIC, device.region.node)
            if call.ret:
                self.give_back(taken)
                return call.ret, "device_dax_probe/not-mapped"
            device.pgmap = call.pgmap
        return 0, "device_dax_probe/mapped"

    def mapping(self, ranges: tuple[Range, ...], altmap: Altmap | None, kind: int, node: int) -> Wanted:
        """A memremap_pages call with a pagemap of our own."""
        self.own_pagemaps += 1
        return Wanted(
            EventKind.MEMREMAP_PAGES,
            ranges[0],
            pgmap=self.own_pagemaps,
            ranges=ranges,
            altmap=altmap,
            pgmap_type=kind,
            node=max(node, 0),
        )

    def give_back(self, spans: list[Range]) -> None:
        """Release reservations."""
        for span in spans:
            self.state.resources.remove(span)

    def add_all(self, device: Device, blocks: list[Range]) -> Steps:
        """Kmem adds range by range; once some range is in, others may be skipped."""
        device.added = [False] * len(blocks)
        verdict: Verdict = (0, "dax_bus_probe/kmem")
        for number, span in enumerate(blocks):
            verdict = yield from self.add(device, number, span)
            if verdict[0]:
                break
        return verdict

    def add(self, device: Device, number: int, span: Range) -> Steps:
        """Reserve and add one range."""
        state, page, some = self.state, self.state.resources.page, any(device.added)
        if span[0] >= span[1]:
            if state.has("dax-ranges"):
                return 0, "kmem_reserve/too-small"
            return -errno.EBUSY, "kmem_reserve/no-size"
        if not self.claim(span, device.name, SYSTEM_RAM):
            return (0, "kmem_reserve/claimed-later") if some else (-errno.EBUSY, "kmem_reserve/claimed")
        managed = state.has("driver-managed-memory")
        flags = int(AddFlags.DRIVER_MANAGED) if managed else 0
        if device.memmap_on_memory and state.has("kmem-memmap-on-memory"):
            flags |= AddFlags.MEMMAP_ON_MEMORY
        call = yield Wanted(
            EventKind.ADD_MEMORY,
            (span[0] // page, span[1] // page),
            name="System RAM (kmem)" if managed else "System RAM",
            flags=flags,
            node=max(device.region.node, 0),
        )
        if call.ret == 0:
            device.added[number] = True
            return 0, "kmem_add/added"
        if some:
            state.resources.remove(span)
            return 0, "kmem_add/failed-later"
        if state.has("kmem-releases-reservation"):
            state.resources.remove(span)
            return call.ret, "kmem_add/released"
        return call.ret, "kmem_add/leaked"

    def let_go(self, device: Device) -> Steps:
        """A device loses its driver (5.5); "" as the check where nothing but success is possible."""
        page, state = self.state.resources.page, self.state
        ret, check = 0, ""
        if device.driver == DaxDriver.DEVICE_DAX and device.pgmap:
            yield Wanted(EventKind.MEMUNMAP_PAGES, pgmap=device.pgmap)
            self.give_back(device.ranges)
            device.pgmap = 0
        elif device.driver == DaxDriver.KMEM and state.has("kmem-hot-remove") and state.config["MEMORY_HOTREMOVE"]:
            for number, span in enumerate(device.ranges):
                start, end = self.whole_blocks(span)
                if start >= end and state.has("dax-ranges"):
                    continue
                if not device.added[number]:
                    if state.has("kmem-skips-never-added"):
                        continue
                    ret, check = RET_UNDEFINED, "kmem_remove/missing"
                    break
                call = yield Wanted(EventKind.REMOVE_MEMORY, (start // page, end // page))
                if call.ret == 0:
                    state.resources.remove((start, end))
                    device.added[number] = False
        device.driver = DaxDriver.NONE
        return ret, check

    # The rows.

    def driver(self, asked: DeviceRequest) -> Steps:
        """A write to bind, unbind, new_id or remove_id."""
        driver, exists = asked.flags, self.state.has("kmem-driver")
        if asked.key in (DaxAction.NEW_ID, DaxAction.REMOVE_ID):
            return (yield from self.tell(driver, asked))
        if not exists:
            return -errno.ENODEV, "dax_driver/absent"
        device = self.devices.get(asked.name)
        if device is None:
            return -errno.ENODEV, "dax_driver/unknown"
        if asked.key == DaxAction.UNBIND:
            if device.driver != driver:
                return -errno.ENODEV, "dax_driver/not-bound"
            ret, check = yield from self.let_go(device)
            return (ret, check) if ret else (0, "dax_driver/asked")
        if device.driver != DaxDriver.NONE:
            return RET_UNDEFINED, "dax_driver/bound"
        matched, how = self.matches(driver, device)
        if not matched:
            return -errno.ENODEV, how
        return (yield from self.probe(driver, device))

    def tell(self, driver: int, asked: DeviceRequest) -> Steps:
        """A driver is told a name, or forgets it; a new name is tried at once."""
        name = asked.name.removesuffix("\n")
        if not self.state.has("kmem-driver"):
            return -errno.ENODEV, "dax_id/absent"
        if not ID.fullmatch(asked.name):
            return -errno.EINVAL, "dax_id/malformed"
        if asked.key == DaxAction.REMOVE_ID:
            self.ids[driver].discard(name)
            return 0, "dax_id/dropped"
        again = name in self.ids[driver]
        self.ids[driver].add(name)
        for device in list(self.devices.values()):
            if device.driver == DaxDriver.NONE and self.matches(driver, device)[0]:
                yield from self.probe(driver, device)
        return 0, "dax_id/again" if again else "dax_id/stored"

    def region(self, asked: DeviceRequest) -> Steps:
        """A region appears or goes."""
        away = asked.key == DaxAction.DELETE
        if not self.state.has("kmem-driver"):
            return -errno.ENODEV, "dax_region/absent"
        if not away and asked.value in self.regions:
            return -errno.EEXIST, "dax_region/exists"
        if away and asked.value not in self.regions:
            return -errno.ENODEV, "dax_region/unknown"
        if away:
            for device in [d for d in self.devices.values() if d.region.number == asked.value]:
                yield from self.let_go(device)
                del self.devices[device.name]
            del self.regions[asked.value]
        else:
            dynamic = bool(asked.flags & DaxFlags.DYNAMIC) and self.state.has("dax-ranges")
            region = Region(asked.value, asked.node, bool(asked.flags & DaxFlags.KMEM), dynamic, asked.bytes)
            self.regions[asked.value] = region
            if not dynamic:
                memmap = bool(asked.flags & DaxFlags.MEMMAP_ON_MEMORY)
                device = Device(f"dax{asked.value}.0", region, [asked.bytes], memmap_on_memory=memmap)
                yield from self.offer(device)
        return 0, "dax_region/changed"

    def namespace(self, asked: DeviceRequest) -> Steps:
        """A namespace is put to use or given up."""
        used = self.namespaces.get(asked.name)
        if asked.key == DaxAction.DELETE:
            if used is None:
                return -errno.ENODEV, "namespace/unknown"
            del self.namespaces[asked.name]
            if used.device is not None:
                yield from self.let_go(used.device)
                del self.devices[used.device.name]
                self.regions.pop(used.device.region.number, None)
            if used.pgmap:
                yield Wanted(EventKind.MEMUNMAP_PAGES, pgmap=used.pgmap)
            self.state.resources.remove(used.claimed)
            return 0, "namespace/changed"
        if used is not None:
            return -errno.EBUSY, "namespace/exists"
        if not asked.flags & (NamespaceFlags.FSDAX | NamespaceFlags.DEVDAX):
            whole_units = not any(edge % (2 << 20) for edge in asked.bytes)
            page = self.state.resources.page
            pfns = (asked.bytes[0] // page, asked.bytes[1] // page)
            mapped = asked.flags & NamespaceFlags.LEGACY and whole_units
            return (yield from self.block_device(asked, (pfns, None) if mapped else None))
        layout = lay_out(self.state, asked.bytes, asked.flags, asked.value or 2 << 20)
        if not isinstance(layout, Layout):
            return layout
        if asked.flags & NamespaceFlags.DEVDAX:
            return (yield from self.dax_device(asked, layout))
        return (yield from self.block_device(asked, (layout.pfns, layout.altmap)))

    def block_device(self, asked: DeviceRequest, mapped: tuple[Range, Altmap | None] | None) -> Steps:
        """A raw or fsdax namespace claims all its bytes and maps them."""
        if not self.claim(asked.bytes, asked.name, int(ResourceFlags.BUSY)):
            return -errno.EBUSY, "namespace/claimed"
        used = InUse(asked.bytes)
        if mapped is not None:
            call = yield self.mapping((mapped[0],), mapped[1], PgmapType.FS_DAX, asked.node)
            if call.ret:
                self.give_back([asked.bytes])
                return call.ret, "namespace/not-mapped"
            used.pgmap = call.pgmap
        self.namespaces[asked.name] = used
        return 0, "namespace/changed"

    def dax_device(self, asked: DeviceRequest, layout: Layout) -> Steps:
        """A devdax namespace claims its metadata, the data become a dax device."""
        metadata = (layout.start, layout.data[0])
        if not self.claim(metadata, asked.name, int(ResourceFlags.BUSY)):
            return -errno.EBUSY, "namespace/claimed"
        numbers = re.fullmatch(r"namespace(\d+)\.(\d+)", asked.name, re.ASCII)
        region, index = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
        own = Region(region, asked.node, bytes=layout.data, align=asked.value or 2 << 20)
        mapped = (layout.pfns, layout.altmap)
        device = Device(f"dax{region}.{index}", own, [layout.data], align=own.align, mapped=mapped)
        self.regions[region] = own
        self.namespaces[asked.name] = InUse(metadata, device)
        if self.state.has("kmem-driver"):
            yield from self.offer(device)
            return 0, "namespace/changed"
        # No bus: who makes the device maps it.
        self.devices[device.name] = device
        ret, check = yield from self.map(device)
        if ret:
            del self.namespaces[asked.name], self.devices[device.name], self.regions[region]
            self.state.resources.remove(metadata)
            return ret, check
        device.driver = DaxDriver.DEVICE_DAX
        return 0, "namespace/changed"

    def size(self, asked: DeviceRequest) -> Steps:
        """A write to create, delete, size or align of a dynamic region or its devices."""
        yield from ()
        ret, check = self.size_verdict(asked)
        if ret == 0:
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
            return -errno.ENODEV, "no-region"
        if not region.dynamic:
            return -errno.ENOENT, "static"
        device, action = self.devices.get(asked.name), DaxAction(asked.key)
        left = sum(end - start for start, end in self.gaps(region))
        if action == DaxAction.CREATE:
            if device is not None:
                return -errno.EEXIST, "exists"
            return (0, "changed") if left else (-errno.ENOSPC, "full")
        if device is None:
            return -errno.ENODEV, "unknown"
        if action == DaxAction.MAPPING:
            return RET_UNDEFINED, "mapping"
        return self.change_verdict(asked, device, left) or (0, "changed")

    def change_verdict(self, asked: DeviceRequest, device: Device, left: int) -> Verdict | None:
        """What stands against a change of a device, whose region has so many bytes left."""
        action = DaxAction(asked.key)
        size, held = asked.bytes[1] - asked.bytes[0], sum(end - start for start, end in device.ranges)
        page = self.state.resources.page
        if (action == DaxAction.SIZE and size % device.align) or (action == DaxAction.ALIGN and asked.value < page):
            return -errno.EINVAL, "unaligned"
        if device.driver != DaxDriver.NONE:
            return -errno.EBUSY, "bound"
        if action == DaxAction.ALIGN and held % asked.value:
            return -errno.EINVAL, "misfit"
        if action == DaxAction.SIZE and size - held > left:
            return -errno.ENOSPC, "full"
        if action == DaxAction.DELETE and held:
            return -errno.EBUSY, "sized"
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
