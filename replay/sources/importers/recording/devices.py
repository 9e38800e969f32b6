"""Which pages belong to a device at a moment: ranges of pagemaps, and how large the mappings of a dax device are."""

from __future__ import annotations

import re
from typing import NamedTuple

from .calls import Call
from .files import Folder
from .ftrace import Events
from .pagemaps import Pagemaps
from .steps import step_files
from .transitions import ALTMAP_VALID, errno_of, pagemap_ranges

__all__ = ("DaxDevice", "Devices", "Span", "dax_devices", "read_devices")

_DEVICE = re.compile(r"^\[/sys/bus/dax/devices/(dax[\d.]+)\]\n((?:(?!\[).*\n?)*)", re.M)
_ATTRIBUTE = re.compile(r"^(resource|align)=(0x[0-9a-f]+|\d+)$", re.M)


class DaxDevice(NamedTuple):
    """A dax device: its first byte, and the bytes that it maps at once."""

    resource: int
    align: int


class Span(NamedTuple):
    """A range of a pagemap and the time that lives.

    Attributes:
        low: first pfn.
        high: pfn after the last.
        data: first pfn that is not taken up by the pagemap's own metadata.
        since: event at which it was made.
        until: event at which its end began.
        pagemap: id.
    """

    low: int
    high: int
    data: int
    since: int
    until: int
    pagemap: int


class Devices:
    """Pagemaps and dax devices over the time of a trace.

    Args:
        events: the trace.
        calls: its calls.
        pagemaps: ids of pagemaps.
        page_shift: log2 of the page size.
        dumps: (event index, dax devices by name), ascending.
    """

    def __init__(
        self, events: Events, calls: list[Call], pagemaps: Pagemaps, page_shift: int,
        dumps: list[tuple[int, dict[str, DaxDevice]]],
    ) -> None:  # fmt: skip
        self._dumps, self._shift = dumps, page_shift
        ends = {
            pagemaps.id(call.given["pgmap"], call.begin): call.begin
            for call in calls
            if call.name == "memunmap_pages" and not call.inside("memremap_pages")
        }
        self._spans = [
            span
            for call in calls
            if call.name == "memremap_pages" and call.ret is not None and errno_of(call.ret) == 0
            for span in _spans(call, page_shift, ends.get(pagemaps.id_of[call.begin], len(events)),
                               pagemaps.id_of[call.begin])
        ]  # fmt: skip

    def pagemap(self, pfn: int, at: int) -> Span | None:
        """Return the pagemap that holds a pfn at an event."""
        return next((s for s in self._spans if s.low <= pfn < s.high and s.since < at <= s.until), None)

    def alignment(self, path: str, at: int) -> int:
        """Return the bytes that one mapping of a dax device file maps at an event, 0 when that is not known."""
        name = path.rpartition("/")[2]
        known = [devices[name].align for when, devices in self._dumps if when <= at and name in devices]
        return known[-1] if known else 0

    def compound_shift(self, pagemap: int) -> int:
        """Return log2 of the pages that the dax device on a pagemap maps at once, 0 when there is none."""
        span = next((s for s in self._spans if s.pagemap == pagemap), None)
        for when, devices in self._dumps if span else ():
            assert span is not None
            for device in devices.values():
                if span.since < when <= span.until and span.low <= device.resource >> self._shift < span.high:
                    return max(0, (device.align >> self._shift).bit_length() - 1)
        return 0


def _spans(call: Call, page_shift: int, until: int, pagemap: int) -> list[Span]:
    """Return the ranges of a pagemap; the first holds the metadata, if any does."""
    given = call.given
    (low, pages), *more = pagemap_ranges(call, page_shift)
    own = given.get("altmap_reserve", 0) + given.get("altmap_free", 0) if given["flags"] & ALTMAP_VALID else 0
    spans = [Span(low, low + pages, low + own, call.begin, until, pagemap)]
    return spans + [Span(start, start + size, start, call.begin, until, pagemap) for start, size in more]


def dax_devices(text: str) -> dict[str, DaxDevice]:
    """Parse a dump of /sys/bus/dax: the devices by name."""
    found = {name: dict(_ATTRIBUTE.findall(body)) for name, body in _DEVICE.findall(text)}
    return {
        name: DaxDevice(int(values["resource"], 0), int(values["align"], 0))
        for name, values in found.items()
        if len(values) == 2
    }


def read_devices(files: Folder, events: Events, calls: list[Call], pagemaps: Pagemaps, page_shift: int) -> Devices:
    """Return the devices of a recording."""
    dumps = [(at, dax_devices(files.optional(name))) for at, name in step_files(files, events, "dax")]
    return Devices(events, calls, pagemaps, page_shift, dumps)
