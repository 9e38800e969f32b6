"""Devices of a dynamic region of the dax bus -> rows about the region, its devices and their drivers.

No namespace stands behind such a region (soft reserved memory), and the recorder sees neither the writes to its files nor
the drivers. That a device is there, with how many bytes and which driver, is told by the prints of /sys/bus/dax; when it
came, went, or changed its driver, by the calls of the memory layer, where there are any, else by the end of the step. Which
bytes a device gets is left to the replay, which is held against the calls, /proc/iomem and the prints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from replay.trace.header import Resource
from replay.trace.schema import DaxAction, DaxDriver, DaxFlags, EventKind

from .calls import Call
from .nd_dumps import DaxPrint, NdDump
from .rows import Order, Row, Strings
from .transitions import owner_kind

__all__ = ("DynamicDevices", "dynamic_regions")

Around = Callable[[list[Call], EventKind, str, dict[str, int]], None]
_MAP, _UNMAP = EventKind.MEMREMAP_PAGES, EventKind.MEMUNMAP_PAGES
_ADD, _REMOVE = EventKind.ADD_MEMORY, EventKind.REMOVE_MEMORY


def dynamic_regions(dumps: list[tuple[int, NdDump]], resources: tuple[Resource, ...]) -> dict[int, Resource]:
    """Return the memory of the regions that devices of a recording come from, by number; none if some is not known."""
    regions: dict[int, Resource] = {}
    for _, dump in dumps:
        for name, device in dump.daxes.items():
            found = [r for r in resources if r.name == "Soft Reserved" and r.start <= (device.start or -1) <= r.end]
            if device.start is not None and not found:
                return {}
            if found:
                regions.setdefault(_region(name), found[0])
    return regions


def _region(name: str) -> int:
    return int(name.removeprefix("dax").partition(".")[0])


class DynamicDevices:
    """Makes the rows about the devices of dynamic regions.

    Args:
        dumps: (event index, print), ascending.
        calls: the calls that drivers make.
        regions: memory of the regions, by number.
        strings: takes labels.
        rows: takes the rows that stand alone.
        around: makes the rows of a driver's call around the calls that it made.

    Attributes:
        lost: the first call of which it is not known which device it is for, None where there is none.
    """

    def __init__(
        self, dumps: list[tuple[int, NdDump]], calls: list[Call], regions: dict[int, Resource], strings: Strings,
        rows: list[Row], around: Around,
    ) -> None:  # fmt: skip
        self._dumps, self._calls, self._regions = dumps, calls, regions
        self._strings, self._rows, self._around = strings, rows, around
        self._seen: set[int] = set()  # regions
        self._now: dict[str, tuple[int, DaxDriver]] = {}  # bytes and driver of the devices that there are
        self._mapped: dict[int, str] = {}  # first byte of a pagemap -> device
        self.lost: Call | None = None

    def read(self) -> None:
        """Make the rows."""
        calls = list(self._calls)
        for at, dump in self._dumps:
            during = [call for call in calls if call.begin < at]
            del calls[: len(during)]
            for group in self._groups(during, dump.daxes):
                self._take(group, dump.daxes)
            self._settle(at, dump.daxes)

    def _groups(self, calls: list[Call], after: dict[str, DaxPrint]) -> Iterator[list[Call]]:
        """Yield calls that one driver's call made: of one kind after the other, and of one device where memory is added."""
        group: list[Call] = []
        for call in calls:
            kind = owner_kind(call)
            if group and not (kind in (_ADD, _REMOVE) and kind == owner_kind(group[-1]) and self._kmem(after)):
                yield group
                group = []
            group.append(call)
        if group:
            yield group

    def _kmem(self, after: dict[str, DaxPrint]) -> list[str]:
        """Return the one device that kmem has, before or after; several at once are not told apart."""
        found = {name for name, device in after.items() if device.driver == DaxDriver.KMEM}
        found |= {name for name, (_, driver) in self._now.items() if driver == DaxDriver.KMEM}
        return sorted(found) if len(found) == 1 else []

    def _take(self, calls: list[Call], after: dict[str, DaxPrint]) -> None:
        kind, start = owner_kind(calls[0]), calls[0].given.get("range_start", calls[0].given.get("start", 0))
        if kind == _MAP:
            name = next((n for n, d in after.items() if d.start == start and d.driver == DaxDriver.DEVICE_DAX), "")
            if name:
                self._resize(calls[0].begin, name, after[name].total)
                self._tell(calls, name, DaxDriver.DEVICE_DAX)
                self._mapped[start] = name
                return
        elif kind == _UNMAP and start in self._mapped:
            self._let_go(calls, self._mapped.pop(start), after)
            return
        elif kind in (_ADD, _REMOVE) and (names := self._kmem(after)):
            if kind == _ADD:
                self._tell(calls, names[0], DaxDriver.KMEM)
            else:
                self._let_go(calls, names[0], after)
            return
        self.lost = self.lost or calls[0]

    def _tell(self, calls: list[Call], name: str, driver: DaxDriver) -> None:
        """A driver is told a device's name, and takes it."""
        self._around(calls, EventKind.DAX_DRIVER, name, {"key": DaxAction.NEW_ID, "flags": int(driver)})
        self._now[name] = (self._now[name][0], driver)

    def _let_go(self, calls: list[Call], name: str, after: dict[str, DaxPrint]) -> None:
        """A driver forgets a device and loses it; the tool that makes it do that may give its memory back at once."""
        size, driver = self._now[name]
        self._alone(calls[0].begin, EventKind.DAX_DRIVER, name, {"key": DaxAction.REMOVE_ID, "flags": int(driver)})
        self._around(calls, EventKind.DAX_DRIVER, name, {"key": DaxAction.UNBIND, "flags": int(driver)})
        self._now[name] = (size, DaxDriver.NONE)
        left = after.get(name)
        if left is None or left.total != size:
            self._give_up(calls[-1].end + 1, name, gone=left is None)

    def _settle(self, at: int, after: dict[str, DaxPrint]) -> None:
        """Let the devices be what a print shows, where no call told of it."""
        for name in [name for name in self._now if name not in after]:
            self._give_up(at, name, gone=True)
        for name, device in after.items():
            self._resize(at, name, device.total)

    def _give_up(self, at: int, name: str, *, gone: bool) -> None:
        if self._now[name][0]:
            self._device(at, name, DaxAction.SIZE)
        if gone:
            self._device(at, name, DaxAction.DELETE)
            del self._now[name]
        else:
            self._now[name] = (0, DaxDriver.NONE)

    def _resize(self, at: int, name: str, size: int) -> None:
        """Make a device, and its region, if they are new, and give it its size."""
        region = _region(name)
        if region not in self._regions:
            return
        if region not in self._seen:
            self._seen.add(region)
            self._appear(at, region)
        if name not in self._now:
            self._device(at, name, DaxAction.CREATE)
            self._now[name] = (0, DaxDriver.NONE)
        if self._now[name][0] != size:
            self._device(at, name, DaxAction.SIZE, size)
            self._now[name] = (size, self._now[name][1])

    def _appear(self, at: int, region: int) -> None:
        memory = self._regions[region]
        nodes = [d.node for _, dump in self._dumps for n, d in dump.daxes.items() if _region(n) == region]
        values = {"key": int(DaxAction.CREATE), "value": region, "start": memory.start}
        values |= {"size": memory.end + 1 - memory.start, "flags": int(DaxFlags.DYNAMIC | DaxFlags.KMEM)}
        values |= {"node": nodes[0]} if nodes and nodes[0] is not None else {}
        self._rows.append(Row(max(at, 0), Order.STATE, EventKind.DAX_REGION, values))

    def _device(self, at: int, name: str, action: DaxAction, size: int = 0) -> None:
        values = {"key": int(action)} | ({"start": 0, "size": size} if size else {})
        self._alone(at, EventKind.DAX_DEVICE, name, values)

    def _alone(self, at: int, kind: EventKind, name: str, values: dict[str, int]) -> None:
        self._rows.append(Row(max(at, 0), Order.STATE, kind, {**values, "label": self._strings.label(name)}))
