"""Who takes a dax device, and what drivers do with it (walk.md 5.1, 5.3 to 5.5)."""

from __future__ import annotations

import errno

from replay.scalar.bad_ranges import BadRanges
from replay.scalar.devices import Device, InUse, Region, Steps, Verdict, Wanted
from replay.scalar.namespaces import Block
from replay.scalar.ranges import Range, round_down, round_up
from replay.scalar.resources import SYSTEM_RAM
from replay.scalar.state import Altmap, State
from replay.trace.outcomes import RET_UNDEFINED
from replay.trace.schema import AddFlags, DaxDriver, EventKind, PgmapType, ResourceFlags

__all__ = ("Drivers",)

OWN_PAGEMAPS = 1 << 31  # ids of pagemaps that no row numbers


class Drivers:
    """The dax bus and the namespaces of one machine, and what drivers do."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.regions: dict[int, Region] = {}
        self.devices: dict[str, Device] = {}
        self.namespaces: dict[str, InUse] = {}
        self.ids: dict[int, set[str]] = {DaxDriver.DEVICE_DAX: set(), DaxDriver.KMEM: set()}
        self.own_pagemaps = OWN_PAGEMAPS
        self.bad = BadRanges(state)
        self.media: dict[tuple[str, int], Block] = {}  # info blocks, by name and first byte of their namespace

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
        device.claimed = taken
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
            self.give_back(device.claimed)
            device.pgmap, device.claimed = 0, []
        elif device.driver == DaxDriver.KMEM and state.has("kmem-hot-remove") and state.config["MEMORY_HOTREMOVE"]:
            for number, span in enumerate(device.ranges):
                start, end = self.whole_blocks(span)
                if start >= end and state.has("dax-ranges"):
                    continue
                if number >= len(device.added):
                    ret, check = RET_UNDEFINED, "kmem_remove/younger"
                    break
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
