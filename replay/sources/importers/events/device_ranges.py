"""What the devices of a machine map, as far as its resources and what ndctl and daxctl say of them tell."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple

from replay.trace.header import MachineDescription, Resource
from replay.trace.schema import PgmapType

__all__ = ("DeviceRange", "device_ranges")

_DEVICE = re.compile(r"(namespace|dax)(\d+\.\d+)")
_INFO_BLOCK = 8192  # bytes in front of the memmap, where a namespace keeps it on the device
_WITHOUT_PAGES = ("raw", "sector", "system-ram")


class DeviceRange(NamedTuple):
    """Pages that a device has mapped.

    Attributes:
        start: first pfn.
        end: pfn after the last.
        values: columns of its MEMREMAP_PAGES row that are known: type, altmap.
        metadata: how many of the first pages are not data.
    """

    start: int
    end: int
    values: dict[str, int]
    metadata: int = 0


def device_ranges(machine: MachineDescription, devices: Mapping[str, str]) -> list[DeviceRange]:
    """Return the ranges of the devices that have pages of a pagemap, ascending.

    A namespace of the mode devdax shows as two entries: what is in front of the data, and the data as a dax device.

    Args:
        machine: its resources are what /proc/iomem shows.
        devices: what ndctl and daxctl said of each, as in the provenance of a machine.
    """
    named = {r.name: r for r in machine.resources if _DEVICE.fullmatch(r.name)}
    memory = sorted(r.start for r in machine.resources if r.ram)
    found = []
    for name, resource in named.items():
        kind, number = name.rstrip("0123456789."), name.lstrip("namespcdx")
        mode = devices.get(name, "").split(",")[0]
        if mode in _WITHOUT_PAGES or _any_inside(memory, resource):
            continue
        if kind == "dax":
            found.append(_dax(machine.page_shift, resource, named.get(f"namespace{number}"),
                              devices.get(f"namespace{number}", "")))  # fmt: skip
        elif f"dax{number}" not in named:
            values = {"pgmap_type": int(PgmapType.FS_DAX)} if mode == "fsdax" else {}
            found.append(_range(machine.page_shift, resource.start, resource.end, values))
    return sorted(found, key=lambda device: device.start)


def _dax(shift: int, data: Resource, front: Resource | None, said: str) -> DeviceRange:
    values = {"pgmap_type": int(PgmapType.GENERIC)}
    if front is None or front.end + 1 != data.start:
        return _range(shift, data.start, data.end, values)
    metadata = 0
    if "map=dev" in said.split(", "):
        metadata, reserve = (data.start - front.start) >> shift, _INFO_BLOCK >> shift
        values |= {"altmap_base": front.start >> shift, "altmap_reserve": reserve, "altmap_free": metadata - reserve}
    return _range(shift, front.start, data.end, values, metadata)


def _range(shift: int, start: int, end: int, values: dict[str, int], metadata: int = 0) -> DeviceRange:
    return DeviceRange(start >> shift, (end >> shift) + 1, values, metadata)


def _any_inside(starts: list[int], outer: Resource) -> bool:
    """Return whether one of some resources, by their first bytes, is inside of another."""
    at = bisect_left(starts, outer.start)
    return at < len(starts) and starts[at] <= outer.end
