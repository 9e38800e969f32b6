"""What pages are used for: the mix of a machine that is at work, as PAGE_STATE rows.

RAM is cut into ranges of whole subsections, and each range gets one use; how often is in the table. A real machine
mixes uses from page to page; for what an error does to a page that makes no difference, and a million ranges would only
make traces larger.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from replay.sources.synthetic.devices import data_of
from replay.sources.synthetic.machines import SyntheticMachine
from replay.sources.synthetic.rows import Row
from replay.sources.synthetic.streams import Stream
from replay.trace.poison import MappingClass, PageFlag, PageKind
from replay.trace.schema import EventKind

__all__ = ("USES", "described_devices", "described_ram", "use_of")

_LRU, _CACHE = int(PageKind.LRU), int(PageFlag.MAPPING_SET | PageFlag.EVICTABLE)
# Use -> (parts in a hundred, what the rows say).
USES: dict[str, tuple[int, Row]] = {
    "anonymous": (38, {"page_kind": _LRU, "page_flags": int(PageFlag.ANON | PageFlag.DIRTY)}),
    "anonymous-huge": (8, {"page_kind": _LRU, "page_flags": int(PageFlag.ANON | PageFlag.DIRTY | PageFlag.LARGE)}),
    "cache-clean": (20, {"page_kind": _LRU, "page_flags": _CACHE, "refs": 2}),
    "cache-dirty": (6, {"page_kind": _LRU, "page_flags": int(PageFlag.MAPPING_SET | PageFlag.DIRTY), "refs": 2}),
    "shmem": (
        4,
        {
            "page_kind": _LRU,
            "page_flags": int(PageFlag.MAPPING_SET | PageFlag.DIRTY),
            "mapping": int(MappingClass.SHMEM),
            "refs": 2,
        },
    ),
    "free": (12, {"page_kind": int(PageKind.BUDDY), "refs": 0}),
    "slab": (5, {"page_kind": int(PageKind.SLAB)}),
    "page-table": (2, {"page_kind": int(PageKind.PAGE_TABLE)}),
    "kernel": (4, {"page_kind": int(PageKind.KERNEL)}),
    "pinned": (
        1,
        {
            "page_kind": _LRU,
            "page_flags": int(PageFlag.ANON | PageFlag.DIRTY | PageFlag.NOT_ISOLATABLE),
            "pins": 1,
            "refs": 2,
        },
    ),
}
_HUNDRED = sum(parts for parts, _ in USES.values())
_RANGES = 512  # of RAM; as many as keep the rows in front few


def use_of(word: int) -> str:
    """Return the use that a number below 100 stands for."""
    for name, (parts, _) in USES.items():
        if word < parts:
            return name
        word -= parts
    raise AssertionError


def described_ram(machine: SyntheticMachine, seed: int) -> Iterator[Row]:
    """Yield a PAGE_STATE row for each range of RAM; the same for every part of a trace."""
    stream, unit = Stream(seed, "page uses"), machine.geometry.pages_per_subsection
    total = sum(end - start for start, end in machine.ram)
    number = 0
    for start, end in machine.ram:
        ranges = max(_RANGES * (end - start) // total, 1)
        inner = {start + (end - start) * k // ranges // unit * unit for k in range(1, ranges)}
        for low, high in pairwise(sorted({start, end, *(at for at in inner if start < at < end)})):
            row = USES[use_of(stream.one(number, _HUNDRED))][1]
            yield {"kind": int(EventKind.PAGE_STATE), "pfn": low, "nr_pages": high - low, **row}
            number += 1


def described_devices(machine: SyntheticMachine) -> Iterator[Row]:
    """Yield a PAGE_STATE row for the data of each device that is not used as RAM."""
    for device in machine.devices:
        if device.mode != "kmem":
            start, end = data_of(device, machine)
            yield {
                "kind": int(EventKind.PAGE_STATE),
                "pfn": start,
                "nr_pages": end - start,
                "page_kind": int(PageKind.RESERVED),
            }
