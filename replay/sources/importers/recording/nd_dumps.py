"""Prints of /sys/bus/nd and /sys/bus/dax: regions, namespaces in use, dax devices."""

from __future__ import annotations

import re
from dataclasses import dataclass

from replay.trace.schema import DaxDriver, NamespaceFlags

__all__ = ("DaxPrint", "NamespacePrint", "NdDump", "RegionPrint", "read_nd")

_SECTION = re.compile(r"^\[/sys/bus/(nd|dax)/devices/([\w.:]+)\]\n((?:(?!\[).*\n?)*)", re.M)
_ATTRIBUTE = re.compile(r"^([\w/]+)=(.*)$", re.M)
_DRIVERS = {"device_dax": DaxDriver.DEVICE_DAX, "kmem": DaxDriver.KMEM}


@dataclass(frozen=True)
class RegionPrint:
    """A region of persistent memory: bytes, node, and whether the firmware's e820 map reported it (no dimm behind it)."""

    start: int
    size: int
    node: int | None
    legacy: bool


@dataclass(frozen=True)
class NamespacePrint:
    """A namespace in use.

    Attributes:
        start: first byte.
        size: bytes, metadata included.
        flags: FSDAX or DEVDAX, none for raw.
        align: of the data, 0 for raw.
        node: target node, None where it is not shown.
        uuid: of the info block by which it is in use, "" for raw.
    """

    start: int
    size: int
    flags: int
    align: int
    node: int | None
    uuid: str = ""


@dataclass(frozen=True)
class DaxPrint:
    """A device of the dax bus.

    Attributes:
        start: first byte, None without memory.
        size: bytes of its first range.
        driver: bound to.
        node: target node, None where it is not shown.
        total: bytes of all its ranges.
    """

    start: int | None
    size: int
    driver: DaxDriver
    node: int | None
    total: int = 0


@dataclass(frozen=True)
class NdDump:
    """One print: regions by name, namespaces in use by name, dax devices by name."""

    regions: dict[str, RegionPrint]
    namespaces: dict[str, NamespacePrint]
    daxes: dict[str, DaxPrint]


def read_nd(text: str) -> NdDump:
    """Parse a print; what has no size, or no driver, is not in use."""
    nd: dict[str, dict[str, str]] = {}
    daxes: dict[str, DaxPrint] = {}
    for bus, name, body in _SECTION.findall(text):
        attributes = dict(_ATTRIBUTE.findall(body))
        if bus == "nd":
            nd[name] = attributes
        else:
            start, size, node = (_number(attributes, key) for key in ("resource", "size", "target_node"))
            driver = _DRIVERS.get(attributes.get("driver", ""), DaxDriver.NONE)
            first, last = (_number(attributes, f"mapping0/{edge}") for edge in ("start", "end"))
            length = size or 0 if first is None or last is None else last + 1 - first
            daxes[name] = DaxPrint(start if size else None, length, driver, node, size or 0)
    regions, namespaces = {}, {}
    for name, attributes in nd.items():
        start, size = _number(attributes, "resource"), _number(attributes, "size")
        if start is None or not size:
            continue
        node = _number(attributes, "target_node")
        if re.fullmatch(r"region\d+", name):
            regions[name] = RegionPrint(start, size, node, _number(attributes, "mappings") == 0)
        elif name.startswith("namespace"):
            holder = nd.get(attributes.get("holder", ""), {})
            if holder.get("driver") or (attributes.get("driver") and not attributes.get("holder")):
                devdax = holder.get("devtype") == "nd_dax"
                flags = (NamespaceFlags.DEVDAX if devdax else NamespaceFlags.FSDAX) if holder else 0
                align = _number(holder, "align") or 0
                uuid = holder.get("uuid", "")
                namespaces[name] = NamespacePrint(start, size, int(flags), align, node, uuid)
    return NdDump(regions, namespaces, daxes)


def _number(attributes: dict[str, str], key: str) -> int | None:
    try:
        return int(attributes.get(key, ""), 0)
    except ValueError:
        return None
