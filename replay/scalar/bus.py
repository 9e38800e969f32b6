"""The rows about drivers, regions and namespaces, as calls."""

from __future__ import annotations

import errno
import re

from replay.scalar.dax_sizes import ID, Sizes
from replay.scalar.devices import Device, DeviceCall, DeviceRequest, InUse, Region, Steps, Verdict, Wanted
from replay.scalar.namespaces import INFO, Block, Layout, block_told, lay_out, new_block, refusal
from replay.scalar.ranges import Range
from replay.scalar.state import Altmap
from replay.trace.outcomes import RET_UNDEFINED
from replay.trace.schema import DaxAction, DaxDriver, DaxFlags, EventKind, NamespaceFlags, PgmapType, ResourceFlags

__all__ = ("Bus",)


class Bus(Sizes):
    """The dax bus and the namespaces of one machine."""

    def call(self, kind: EventKind, asked: DeviceRequest) -> DeviceCall:
        """Begin the call of a row."""
        steps = {
            EventKind.DAX_REGION: self.region,
            EventKind.DAX_DEVICE: self.size,
            EventKind.DAX_DRIVER: self.driver,
            EventKind.NAMESPACE: self.namespace,
            EventKind.BADBLOCKS: self.bad.step,
        }
        return DeviceCall(steps[kind](asked))

    # The rows.

    def driver(self, asked: DeviceRequest) -> Steps:
        """A write to bind, unbind, new_id or remove_id."""
        driver, exists = asked.flags, self.state.has("kmem-driver")
        if asked.key in (DaxAction.NEW_ID, DaxAction.REMOVE_ID):
            return (yield from self.tell(driver, asked))
        if not exists:
            return -errno.ENODEV, "dax_driver/absent"
        device = self.devices.get(asked.name)
        if device is None or not device.on_bus:
            return -errno.ENODEV, "dax_driver/unknown"
        if asked.key == DaxAction.UNBIND:
            if device.driver != driver:
                return -errno.ENODEV, "dax_driver/not-bound"
            ret, check = yield from self.let_go(device)
            return (ret, check) if ret else (0, "dax_driver/asked")
        if not self.matches(driver, device)[0]:
            return -errno.ENODEV, "dax_driver/unmatched"
        tells = self.state.has("bind-returns-probe-code")
        if device.driver != DaxDriver.NONE:
            return (-errno.EBUSY, "dax_driver/bound") if tells else (-errno.ENODEV, "dax_driver/bound-declined")
        ret, check = yield from self.probe(driver, device)
        if ret in (0, RET_UNDEFINED):
            return ret, check
        return (ret, "dax_driver/failed") if tells else (-errno.ENODEV, "dax_driver/declined")

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
            if device.on_bus and device.driver == DaxDriver.NONE and self.matches(driver, device)[0]:
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
        """A namespace is put to use or given up, or its info block is told."""
        if asked.key == DaxAction.INFO:
            self.media[asked.name, asked.bytes[0]] = block_told(asked, self.state.resources.page)
            return 0, "namespace/told"
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
        kept = self.media.get((asked.name, asked.bytes[0])) if asked.flags & NamespaceFlags.KEEP else None
        if asked.flags & (NamespaceFlags.FSDAX | NamespaceFlags.DEVDAX):
            return (yield from self.formatted(asked, kept))
        if kept is not None and not self.bad.in_info_block(asked.bytes[0]):
            refused = refusal(self.state, asked.bytes, kept, kept.align, ram=kept.ram)
            if refused is None:
                return (yield from self.attached(asked, kept))
            if refused[0] == -errno.EOPNOTSUPP:
                return refused
        return (yield from self.raw(asked))

    def raw(self, asked: DeviceRequest) -> Steps:
        """A namespace without an info block; only those of legacy regions get pages."""
        whole_units = not any(edge % (2 << 20) for edge in asked.bytes)
        page = self.state.resources.page
        pfns = (asked.bytes[0] // page, asked.bytes[1] // page)
        mapped = asked.flags & NamespaceFlags.LEGACY and whole_units
        return (yield from self.block_device(asked, (pfns, None) if mapped else None))

    def formatted(self, asked: DeviceRequest, kept: Block | None) -> Steps:
        """Fsdax or devdax is asked for: by the block that is there if it is of that kind, else by a new one."""
        align, ram = asked.value or 2 << 20, bool(asked.flags & NamespaceFlags.MAP_MEM)
        if self.bad.in_info_block(asked.bytes[0]):
            return -errno.ENXIO, "nd_pfn_validate/unreadable"
        block: Block | Verdict | None = kept
        if kept is None or kept.devdax != bool(asked.flags & NamespaceFlags.DEVDAX):
            block = new_block(self.state, asked.bytes, asked.flags, align)
        if not isinstance(block, Block):
            assert block is not None
            return block
        refused = refusal(self.state, asked.bytes, block, align, ram=ram)
        return refused if refused is not None else (yield from self.attached(asked, block))

    def attached(self, asked: DeviceRequest, block: Block) -> Steps:
        """Map a namespace as its info block says; errors where its memmap will be are cleared."""
        self.media[asked.name, asked.bytes[0]] = block
        if not block.ram:
            self.bad.take((asked.bytes[0] + INFO, asked.bytes[0] + block.offset))
        layout = lay_out(self.state, asked.bytes, block)
        if block.devdax:
            return (yield from self.dax_device(asked, layout, block.align))
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

    def dax_device(self, asked: DeviceRequest, layout: Layout, align: int) -> Steps:
        """A devdax namespace claims its metadata, the data become a dax device."""
        metadata = (layout.start, layout.data[0])
        if not self.claim(metadata, asked.name, int(ResourceFlags.BUSY)):
            return -errno.EBUSY, "namespace/claimed"
        numbers = re.fullmatch(r"namespace(\d+)\.(\d+)", asked.name, re.ASCII)
        region, index = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
        own = Region(region, asked.node, bytes=layout.data, align=align)
        mapped = (layout.pfns, layout.altmap)
        device = Device(f"dax{region}.{index}", own, [layout.data], align=own.align, mapped=mapped)
        self.regions[region] = own
        self.namespaces[asked.name] = InUse(metadata, device)
        in_class = self.state.has("dax-class-compat") and self.state.config["DEV_DAX_PMEM_COMPAT"]
        if self.state.has("kmem-driver") and not in_class:
            yield from self.offer(device)
            return 0, "namespace/changed"
        # Not on a bus: who makes the device maps it.
        device.on_bus = False
        self.devices[device.name] = device
        ret, check = yield from self.map(device)
        if ret:
            del self.namespaces[asked.name], self.devices[device.name], self.regions[region]
            self.state.resources.remove(metadata)
            return ret, check
        device.driver = DaxDriver.DEVICE_DAX
        return 0, "namespace/changed"
