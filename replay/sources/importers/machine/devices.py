"""`ndctl list` and `daxctl list`: namespaces and dax devices, whether the output is an object, an array or several."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from replay.errors import InputError
from replay.sources.importers.rejects import Rejects

from .documents import Json, read_documents

__all__ = ("Device", "read_devices")

_TOOLS = {"ndctl": "the output of `ndctl list`", "daxctl": "the output of `daxctl list`"}
_MAX_DEPTH = 8
_HEX = re.compile(r"0x[0-9a-f]{1,16}")
_ROUNDED = "a device whose size is rounded for people: list it without -u, or dax devices with -M as well"
_MEMBERS = ("regions", "namespaces", "buses", "daxregion", "devices", "dimms")  # where devices stand inside of others


@dataclass(frozen=True)
class Device:
    """A namespace or dax device.

    Attributes:
        name: "namespace0.0" or "dax0.0", as in /proc/iomem.
        mode: raw, sector, fsdax, devdax or system-ram.
        size: bytes that can be used.
        map: where its struct pages are: "mem", "dev", or "" where it is not told.
        align: bytes of a mapping; 0 where it is not told.
        blocks: memory blocks of a system-ram device; 0 where it is not told.
        where: file and place.
    """

    name: str
    mode: str
    size: int
    map: str
    align: int
    blocks: int
    where: str

    @property
    def text(self) -> str:
        """Everything about it in one line."""
        parts = [self.mode, f"{self.size} bytes"]
        parts += [f"map={self.map}"] if self.map else []
        parts += [f"align={self.align}"] if self.align else []
        parts += [f"memory blocks={self.blocks}"] if self.blocks else []
        return ", ".join(parts)


def read_devices(path: Path, tool: str, rejects: Rejects) -> list[Device]:
    """Read the devices of `ndctl list` or `daxctl list`.

    Args:
        path: the file.
        tool: "ndctl" or "daxctl", for errors.
        rejects: takes what cannot be used.

    Raises:
        InputError: it is something else, or says different things about one device.
    """
    devices: dict[str, Device] = {}
    for document in read_documents(path, _TOOLS[tool], rejects):
        if not isinstance(document, dict | list):
            raise InputError(path, f"JSON {str(document)[:60]!r}", _TOOLS[tool])
        for place, entry in _objects(document, ""):
            device = _device(entry, f"{path}: {place or 'the whole'}")
            if device is None:
                if "chardev" in entry or str(entry.get("dev", "")).startswith("namespace"):
                    rounded = isinstance(entry.get("size"), str)
                    rejects.add(place or "the whole", _ROUNDED if rounded else "a device without a size", str(entry))
                continue
            known = devices.setdefault(device.name, device)
            if known.text != device.text:
                raise InputError(device.where, f"{device.name} {device.text}", f"{known.text} as in {known.where}")
    return list(devices.values())


def _objects(value: Json, place: str, depth: int = 0) -> Iterator[tuple[str, dict[str, Json]]]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _objects(item, f"{place}[{number}]", depth + 1)
    elif isinstance(value, dict):
        yield place, value
        for name in _MEMBERS:
            if name in value:
                yield from _objects(value[name], f"{place}.{name}".lstrip("."), depth + 1)


def _device(entry: dict[str, Json], where: str) -> Device | None:
    name = entry.get("chardev") or entry.get("dev")
    size = _size(entry)
    if not isinstance(name, str) or size is None or not name.startswith(("dax", "namespace")):
        return None
    mode = entry.get("mode")
    map_ = entry.get("map")
    return Device(
        name[:40], mode[:40] if isinstance(mode, str) else "unknown", size, map_[:10] if isinstance(map_, str) else "",
        _number(entry.get("align")) or 0, _number(entry.get("total_memblocks")) or 0, where,
    )  # fmt: skip


def _size(entry: dict[str, Json]) -> int | None:
    """Return the bytes of a device. Where they are rounded for people, the addresses of its mappings (-M) are exact."""
    size, mappings = entry.get("size"), entry.get("mappings")
    if not isinstance(size, str) or not isinstance(mappings, list):
        return _number(size)
    total = 0
    for mapping in mappings:
        given = mapping if isinstance(mapping, dict) else {}
        start, end = _address(given.get("start")), _address(given.get("end"))
        if start is None or end is None or end < start:
            return None
        total += end + 1 - start
    return total


def _address(value: Json) -> int | None:
    return _number(int(value, 16)) if isinstance(value, str) and _HEX.fullmatch(value) else _number(value)


def _number(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64 else None
