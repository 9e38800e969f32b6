"""What drivers of namespaces and dax devices did -> rows around the calls that they made.

The recorder sees the calls of the memory layer that drivers make, not the drivers. Which device a call is for is told by
the bytes; what namespaces and devices are like is told by the prints of /sys after the step. What a driver must then have
claimed, mapped and added is left to the replay, which is held against the calls and against /proc/iomem.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from replay.trace.header import Resource
from replay.trace.schema import DaxAction, DaxDriver, EventKind, NamespaceFlags, Phase

from .boot import Boot
from .calls import Call
from .dynamic_devices import DynamicDevices, dynamic_regions
from .files import Folder
from .ftrace import Events
from .nd_dumps import NamespacePrint, NdDump, read_nd
from .rows import Order, Row, Strings
from .steps import step_files
from .transitions import ALTMAP_VALID, errno_of, owner_kind

__all__ = ("DeviceReader",)

_ADD = EventKind.ADD_MEMORY
_REMOVE = EventKind.REMOVE_MEMORY
_MAP = EventKind.MEMREMAP_PAGES
_UNMAP = EventKind.MEMUNMAP_PAGES
_MAPPED_UNIT = 2 << 20


@dataclass
class _InUse:
    """A namespace in use, as far as the calls so far tell."""

    print: NamespacePrint
    driver: DaxDriver
    silent: bool = False  # it has no pagemap, so that no call tells of it


class DeviceReader:
    """Makes the rows about devices of one recording.

    Args:
        folder: the recording.
        events: its trace.
        calls: its calls.
        ids: per entry event of a call that is rows of its own, its id.
        boot: the machine.
        strings: takes labels.

    Attributes:
        lacking: after ``read``: why it is not known what drivers claimed, "" if it is.
    """

    def __init__(
        self, folder: Folder, events: Events, calls: list[Call], ids: dict[int, int], boot: Boot, strings: Strings
    ) -> None:  # fmt: skip
        self._events, self._ids, self._boot, self._strings = events, ids, boot, strings
        prints = [*step_files(folder, events, "dax"), (len(events), "dax-end.txt")]
        self._dumps = [(at, read_nd(folder.optional(name))) for at, name in prints if folder.find(name)]
        self._calls = [c for c in calls if owner_kind(c) in (_ADD, _REMOVE, _MAP, _UNMAP)]
        self._in_use: dict[str, _InUse] = {}
        self._next_id = max(ids.values(), default=0)
        self._rows: list[Row] = []
        self._callers: dict[int, int] = {}  # id of a call -> id of the device's call that made it
        self.lacking = ""

    def read(self, rows: list[Row]) -> list[Row]:
        """Return the rows about devices, and note in ``rows``, the rows of calls, which device's call made them."""
        early = [dump for at, dump in self._dumps if at < 0 and (dump.namespaces or dump.daxes)]
        if early:
            self._lack("namespaces or dax devices were in use before the first event")
            return []
        if not any(dump.regions for _, dump in self._dumps):
            regions = dynamic_regions(self._dumps, self._boot.machine.resources)
            if regions:
                return self._dynamic(regions, rows)
            if any(owner_kind(call) == _MAP for call in self._calls):
                self._lack("memory of devices was mapped, and no print of /sys/bus/nd says of which")
            return []
        self._rows += self._region_rows()
        dumps = list(self._dumps)
        for position, call in enumerate(self._calls):
            while dumps and dumps[0][0] < call.begin:
                self._compare_silent(*dumps.pop(0))
            self._take(position, call)
        for at, dump in dumps:
            self._compare_silent(at, dump)
        self._name_callers(rows)
        return self._rows

    def _dynamic(self, regions: dict[int, Resource], rows: list[Row]) -> list[Row]:
        """Return the rows about devices of dynamic regions, none if it is not known of each call which device it is for."""
        inside = [c for c in self._calls if any(r.start <= self._span(c)[0] <= r.end for r in regions.values())]
        devices = DynamicDevices(self._dumps, inside, regions, self._strings, self._rows, self._around)
        devices.read()
        if devices.lost is not None:
            self._lack(
                f"{self._events.at(devices.lost.begin)}: no print tells which dax device {devices.lost.name} is for"
            )
            return []
        self._name_callers(rows)
        return self._rows

    def _name_callers(self, rows: list[Row]) -> None:
        """Note in the rows of calls which device's call made them."""
        for row in rows:
            begins = row.values.get("phase") == Phase.BEGIN
            if begins and (caller := self._callers.get(row.values.get("call", 0))) is not None:
                row.values["caller"] = caller

    def _lack(self, what: str) -> None:
        self.lacking = self.lacking or what

    def _region_rows(self) -> Iterator[Row]:
        """Yield a claim for every region that appears: the driver of the firmware's table makes it."""
        known = {(r.start, r.end) for r in self._boot.machine.resources}
        last = -1
        for at, dump in self._dumps:
            for region in sorted(dump.regions.values(), key=lambda region: region.start):
                span = (region.start, region.start + region.size - 1)
                if not region.legacy and span not in known:
                    known.add(span)
                    label = self._strings.label("Persistent Memory")
                    values = {"start": region.start, "size": region.size, "label": label, "flags": 0}
                    yield Row(last + 1, Order.STATE, EventKind.RESOURCE_INSERT, values)
            last = at

    def _compare_silent(self, at: int, dump: NdDump) -> None:
        """Put to use, and give up, the raw namespaces without a pagemap that a print shows, or no longer shows."""
        for name in [name for name, used in self._in_use.items() if used.silent and name not in dump.namespaces]:
            self._silent_row(at, name, {"key": int(DaxAction.DELETE)})
            del self._in_use[name]
        for name, found in dump.namespaces.items():
            if name not in self._in_use and not found.flags and not self._is_mapped(found):
                values = {"key": int(DaxAction.CREATE), "start": found.start, "size": found.size}
                values["flags"] = int(self._legacy(found))
                self._silent_row(at, name, values | ({} if found.node is None else {"node": found.node}))
                self._in_use[name] = _InUse(found, DaxDriver.NONE, silent=True)

    def _silent_row(self, at: int, name: str, values: dict[str, int]) -> None:
        self._rows.append(
            Row(max(at, 0), Order.STATE, EventKind.NAMESPACE, {**values, "label": self._strings.label(name)})
        )

    def _is_mapped(self, found: NamespacePrint) -> bool:
        """Return whether a raw namespace has a pagemap."""
        return bool(self._legacy(found)) and not (found.start | found.size) & (_MAPPED_UNIT - 1)

    def _legacy(self, found: NamespacePrint) -> NamespaceFlags:
        regions = [region for _, dump in self._dumps for region in dump.regions.values() if region.legacy]
        inside = any(region.start <= found.start < region.start + region.size for region in regions)
        return NamespaceFlags.LEGACY if inside else NamespaceFlags(0)

    def _take(self, position: int, call: Call) -> None:
        kind, span = owner_kind(call), self._span(call)
        name, dump = self._namespace(call, span)
        used = self._in_use.get(name)
        if used is not None and used.silent:
            self._silent_row(call.begin, name, {"key": int(DaxAction.DELETE)})
            del self._in_use[name]
            used, (name, dump) = None, self._namespace(call, span)
        if kind == _MAP and used is None:
            self._put_to_use(call, name, dump)
        elif used is None:
            return  # no device of ours
        elif kind == _MAP:
            self._driver_row(call, name, DaxAction.BIND, DaxDriver.DEVICE_DAX)
        elif kind == _ADD and used.driver == DaxDriver.NONE:
            self._driver_row(call, name, DaxAction.NEW_ID, DaxDriver.KMEM)
        elif kind == _UNMAP or (kind == _REMOVE and used.driver == DaxDriver.KMEM):
            self._take_away(position, call, name)

    def _span(self, call: Call) -> tuple[int, int]:
        given = call.given
        if "range_start" in given:
            return given["range_start"], given["range_end"] + 1
        return given["start"], given["start"] + given["size"] if "size" in given else given["end"] + 1

    def _namespace(self, call: Call, span: tuple[int, int]) -> tuple[str, NamespacePrint | None]:
        """Return the name of the namespace that a call is about, "" for none, and what is printed of it after the call."""
        for name, used in self._in_use.items():
            if used.print.start <= span[0] and span[1] <= used.print.start + used.print.size:
                return name, None
        after = next((dump for at, dump in self._dumps if at > call.begin), None)
        for name, found in after.namespaces.items() if after else ():
            if found.start <= span[0] and span[1] <= found.start + found.size:
                return name, found
        return "", None

    def _put_to_use(self, call: Call, name: str, found: NamespacePrint | None) -> None:
        if found is None:
            self._lack(f"{self._events.at(call.begin)}: memremap_pages of no namespace that /sys shows")
            return
        flags = found.flags
        if flags and not call.given["flags"] & ALTMAP_VALID:
            flags |= NamespaceFlags.MAP_MEM
        flags |= self._legacy(found)
        values = {"key": DaxAction.CREATE, "start": found.start, "size": found.size, "flags": int(flags)}
        if self._as_before(call, name, found):
            # What it is stands on its medium; whoever enables it does not say so, and nor does the row.
            values["flags"] = int(NamespaceFlags.KEEP | self._legacy(found))
        elif found.align:
            values["value"] = found.align
        values |= {} if found.node is None else {"node": found.node}
        self._call_rows(call, EventKind.NAMESPACE, name, values)
        if call.ret is None or errno_of(call.ret) == 0:
            devdax = flags & NamespaceFlags.DEVDAX
            self._in_use[name] = _InUse(found, DaxDriver.DEVICE_DAX if devdax else DaxDriver.NONE)

    def _as_before(self, call: Call, name: str, found: NamespacePrint) -> bool:
        """Return whether a namespace is in use by the info block by which it was in use before."""
        before = [dump.namespaces[name] for at, dump in self._dumps if at < call.begin and name in dump.namespaces]
        return bool(found.uuid) and any(old.uuid == found.uuid for old in before)

    def _driver_row(self, call: Call, name: str, action: DaxAction, driver: DaxDriver) -> None:
        device = name.replace("namespace", "dax")
        self._call_rows(call, EventKind.DAX_DRIVER, device, {"key": action, "flags": int(driver)})
        away = action == DaxAction.UNBIND
        if away or call.ret is None or errno_of(call.ret) == 0:
            self._in_use[name].driver = DaxDriver.NONE if away else driver

    def _take_away(self, position: int, call: Call, name: str) -> None:
        """A namespace is given up, or a driver lets go of its device: what comes next tells."""
        used, following = self._in_use[name], self._following(position, name)
        until = next((at for at, _ in self._dumps if at > call.begin), len(self._events))
        kinds = {(_UNMAP, _ADD), (_REMOVE, _MAP)}
        if following is not None and following.begin < until:
            only_driver = (owner_kind(call), owner_kind(following)) in kinds
        else:
            after = next((dump for at, dump in self._dumps if at > call.begin), None)
            only_driver = after is not None and name.replace("namespace", "dax") in after.daxes
        if used.driver != DaxDriver.NONE and only_driver:
            self._forget_id(call, name, used.driver)
            self._driver_row(call, name, DaxAction.UNBIND, used.driver)
            return
        self._call_rows(call, EventKind.NAMESPACE, name, {"key": DaxAction.DELETE})
        del self._in_use[name]

    def _forget_id(self, call: Call, name: str, driver: DaxDriver) -> None:
        """Daxctl makes a driver forget the device before it unbinds it."""
        label = self._strings.label(name.replace("namespace", "dax"))
        values = {"key": int(DaxAction.REMOVE_ID), "label": label, "flags": int(driver), "task": call.pid}
        self._rows.append(Row(call.begin, Order.STATE, EventKind.DAX_DRIVER, values))

    def _following(self, position: int, name: str) -> Call | None:
        """Return the next call that concerns the same namespace."""
        used = self._in_use[name].print
        for call in self._calls[position + 1 :]:
            low, high = self._span(call)
            if used.start <= low and high <= used.start + used.size:
                return call
        return None

    def _call_rows(self, call: Call, kind: EventKind, name: str, values: dict[str, int]) -> None:
        self._around([call], kind, name, values)

    def _around(self, calls: list[Call], kind: EventKind, name: str, values: dict[str, int]) -> None:
        """Put the rows of a driver's call around the calls that it made, which follow each other."""
        self._next_id += 1
        first, last = calls[0], calls[-1]
        common = {"call": self._next_id, "task": first.pid}
        begin = {**values, **common, "label": self._strings.label(name), "phase": int(Phase.BEGIN)}
        self._rows.append(Row(first.begin, Order.STATE, kind, begin))
        if last.returned:
            self._rows.append(Row(last.end, Order.DONE, kind, {**common, "phase": int(Phase.DONE)}))
        self._callers |= {self._ids[call.begin]: self._next_id for call in calls}
