"""Persistent memory that is used as RAM, with errors on its medium that nobody has read yet.

The model. The medium of a device has bad pages, ``errors`` per TiB at the start, and ``growth`` per TiB more come in
every period. A period is: the device goes from devdax to RAM, all of its whole blocks go online, a share ``touched`` of
the pages is used, the blocks go offline and the device is devdax again. A page that is used and bad is consumed: a
MEMORY_FAILURE with ACTION_REQUIRED, by a task that maps the page where the page is one that tasks map. A page goes bad
at a random time of its period, and is used at one or more random times: one that goes bad after its last use is not
consumed. The kernel takes the page out of use, so it is consumed once in a period; but when the memory is removed, the
kernel forgets which pages were broken. The machine check behind it tells nvdimm too (BADBLOCKS, REPORTED), whose list of bad
ranges outlives that, but which kmem does not look at.

With ``scan``, the device is scanned before each period (BADBLOCKS, FOUND) and every bad page is cleared (CLEAR_ERROR), which
mends the medium. Both ways see the same medium, the same use of pages and the same new errors, for one seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from replay.errors import UsageError
from replay.sources.synthetic.devices import blocks_of, mapping, pgmap_id, plugging, unmapping, unplugging
from replay.sources.synthetic.hotplug import device_of
from replay.sources.synthetic.layout import Device
from replay.sources.synthetic.machines import SyntheticMachine
from replay.sources.synthetic.pages import USES, use_of
from replay.sources.synthetic.rows import Part, Row, listed
from replay.sources.synthetic.streams import Stream
from replay.trace.poison import MfFlag, PageFlag, PageKind, TaskFlag
from replay.trace.schema import BadblocksAction, EventKind

__all__ = ("pmem_as_ram",)

_TIB = 1 << 40
_MAX_ERRORS = 1 << 20  # bad pages of one trace; they are all held
_FINE = 1 << 32
_FIRST_PID = 1000
_ADDRESS = 0x7F00_0000_0000
# Uses of pages that tasks map.
_MAPPED = {"anonymous", "anonymous-huge", "cache-clean", "cache-dirty", "shmem"}
_UNUSED = {"free"}


def pmem_as_ram(machine: SyntheticMachine, values: Mapping[str, Any], stream: Stream, _slot: tuple[int, int]) -> Part:
    """Return all rows of the periods asked for."""
    device = device_of("pmem-as-ram", machine, values["device"])
    if device.mode != "devdax":
        raise UsageError(f"pmem-as-ram: device {device.number} is {device.mode}; needed devdax: --set modes=devdax")
    blocks = blocks_of(device, machine)
    if not blocks:
        raise UsageError("pmem-as-ram: the device holds no whole memory block; needed a larger one (pmem)")
    story = _Story(machine, device, values, stream)
    return listed("pmem-as-ram", list(story.rows(blocks)), claims={f"device {device.number}"})


class _Story:
    """The periods of one device."""

    def __init__(self, machine: SyntheticMachine, device: Device, values: Mapping[str, Any], stream: Stream) -> None:
        self._machine, self._device, self._values = machine, device, values
        self._seed = int(stream.words(0, 1)[0])
        self._tib = (device.pages << machine.geometry.page_shift) / _TIB
        self._pid = _FIRST_PID

    def rows(self, blocks: list[int]) -> Iterator[Row]:
        machine, device, step = self._machine, self._device, len(self._machine.devices)
        pages = machine.geometry.pages_per_block
        low, high = blocks[0], blocks[-1] + pages
        bad = self._new_errors("errors", 0, low, high)
        for period in range(self._values["periods"]):
            yield {"kind": int(EventKind.MARK), "label": machine.label(device.name)}
            if self._values["scan"]:
                yield from (self._bad_range(pfn, BadblocksAction.FOUND) for pfn in sorted(bad))
                yield from ({"kind": int(EventKind.CLEAR_ERROR), "pfn": pfn} for pfn in sorted(bad))
                bad = {}
            own = pgmap_id(device, machine) + period * step
            yield from unmapping(device, machine, own)
            yield from plugging(device, machine, blocks)
            bad = {**self._new_errors("growth", period, low, high), **dict.fromkeys(bad, 0.0)}
            for _, pfn in sorted(self._consumed(bad, period)):
                yield from self._consumption(pfn, period)
            yield from unplugging(device, machine, blocks)
            yield from mapping(device, machine, own + step, "devdax")

    def _bad_range(self, pfn: int, action: BadblocksAction) -> Row:
        shift = self._machine.geometry.page_shift
        return {"kind": int(EventKind.BADBLOCKS), "key": int(action), "start": pfn << shift, "size": 1 << shift}

    def _new_errors(self, name: str, period: int, low: int, high: int) -> dict[int, float]:
        """Return pages that go bad, and when in the period (0 to 1)."""
        expected = float(self._values[name]) * self._tib * (high - low) / self._device.pages
        stream = Stream(self._seed, name, period)
        number = int(expected) + (stream.one(0, _FINE) < (expected - int(expected)) * _FINE)
        if number > _MAX_ERRORS:
            most = int(_MAX_ERRORS / self._tib)
            raise UsageError(
                f"pmem-as-ram: {name}={self._values[name]} per TiB: {number:,} bad pages; needed at most {most}"
            )
        pfns = stream.below(1, number, high - low).astype(np.int64) + low
        times = Stream(self._seed, name, period, "times").words(0, number) / 2.0**64
        # What is bad from the start on was bad before anybody touched it.
        return dict(zip(pfns.tolist(), times.tolist() if name == "growth" else [0.0] * number, strict=True))

    def _consumed(self, bad: Mapping[int, float], period: int) -> Iterator[tuple[float, int]]:
        """Yield (time, pfn) of each bad page that is used when it is bad already."""
        for pfn, since in bad.items():
            if Stream(self._seed, "use", period, pfn).one(0, _FINE) < float(self._values["touched"]) * _FINE:
                last = Stream(self._seed, "last use", period, pfn).one(0, _FINE) / _FINE
                if since == 0.0 or last > since:
                    yield last, pfn

    def _consumption(self, pfn: int, period: int) -> Iterator[Row]:
        """Yield what the page is used for, who uses it, and the error."""
        words = Stream(self._seed, "page", period, pfn)
        number = 0
        while (use := use_of(words.one(number, 100))) in _UNUSED:  # nobody reads a free page
            number += 1
        page = dict(USES[use][1])
        task, self._pid = self._pid, self._pid + 1
        if use in _MAPPED:
            page["page_flags"] |= int(PageFlag.MAPPED) | (
                int(PageFlag.PTE_DIRTY) if page["page_flags"] & PageFlag.DIRTY else 0
            )
            page["page_flags"] &= ~int(PageFlag.EVICTABLE)
        assert page["page_kind"] != PageKind.BUDDY
        yield {"kind": int(EventKind.PAGE_STATE), "pfn": pfn, "nr_pages": 1, **page}
        yield {"kind": int(EventKind.TASK_STATE), "task": task, "flags": int(TaskFlag.HAS_DEFAULT)}
        if use in _MAPPED:
            shift = self._machine.geometry.page_shift
            yield {
                "kind": int(EventKind.MAP_PAGES), "pfn": pfn, "nr_pages": 1, "task": task,
                "vaddr": _ADDRESS, "map_shift": shift,
            }  # fmt: skip
        yield self._bad_range(pfn, BadblocksAction.REPORTED)
        yield {"kind": int(EventKind.MEMORY_FAILURE), "pfn": pfn, "flags": int(MfFlag.ACTION_REQUIRED), "task": task}
        yield {"kind": int(EventKind.TASK_STATE), "task": task, "flags": int(TaskFlag.EXITED)}
