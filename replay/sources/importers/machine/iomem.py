"""/proc/iomem: its lines, and what they say about resources."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from replay.errors import InputError
from replay.trace.header import Resource

__all__ = ("RESOURCE_FLAGS", "SYSTEM_RAM", "IomemEntry", "parse_iomem", "resources")

SYSTEM_RAM = "System RAM"

_IOMEM = re.compile(r"( *)([0-9a-f]{1,16})-([0-9a-f]{1,16}) : (.*)")


class _Flags(NamedTuple):
    busy: bool
    ram: bool


RESOURCE_FLAGS: tuple[tuple[str, _Flags], ...] = (
    # name in /proc/iomem (a pattern for the whole name): busy, System RAM flag. First match; nested entries inherit
    # from a System RAM parent; anything not listed is a region that some driver claimed: busy.
    (r"System RAM(?: \(\w+\))?", _Flags(busy=True, ram=True)),
    (r"Persistent Memory(?: \(legacy\))?", _Flags(busy=False, ram=False)),
    (r"Soft Reserved", _Flags(busy=False, ram=False)),
    (r"Reserved", _Flags(busy=False, ram=False)),
    (r"PCI Bus .*", _Flags(busy=False, ram=False)),
    (r"PCI (?:MMCONFIG|ECAM) .*", _Flags(busy=False, ram=False)),
    (r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", _Flags(busy=False, ram=False)),
    (r"CXL Window \d+", _Flags(busy=False, ram=False)),
    (r".*", _Flags(busy=True, ram=False)),
)


@dataclass(frozen=True)
class IomemEntry:
    """A line of /proc/iomem: bytes [start, end], inclusive; depth 0 is a top-level entry."""

    depth: int
    start: int
    end: int
    name: str


def parse_iomem(text: str, where: object) -> list[IomemEntry]:
    """Parse /proc/iomem, in file order.

    Raises:
        InputError: a line is none of /proc/iomem, the file is empty, or it was read without privileges.
    """
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        found = _IOMEM.fullmatch(line.rstrip())
        if found is None:
            if line.strip():
                raise InputError(f"{where}:{number}", repr(line[:80]), "`START-END : NAME` in hexadecimal")
            continue
        entries.append(IomemEntry(len(found[1]) // 2, int(found[2], 16), int(found[3], 16), found[4]))
    if not entries:
        raise InputError(where, "an empty file", "a copy of /proc/iomem")
    if all(entry.end == 0 for entry in entries):
        raise InputError(where, "addresses that are all zero", "real addresses", "read /proc/iomem as root")
    return entries


def resources(entries: list[IomemEntry]) -> tuple[Resource, ...]:
    """Return the entries as resources, with the flags that their names stand for."""
    found: list[Resource] = []
    inside: list[_Flags | None] = []  # per depth: the flags handed down by a System RAM entry
    for entry in entries:
        own = next(flags for pattern, flags in RESOURCE_FLAGS if re.fullmatch(pattern, entry.name))
        inside = inside[: entry.depth]
        flags = (inside[-1] if inside else None) or own
        inside.append(flags if flags.ram else None)
        found.append(Resource(entry.start, entry.end, entry.name, flags.busy, flags.ram))
    return tuple(found)
