"""Where RAM and devices of a planned machine lie, and the ways in which they share sections.

Ranges are in pfns, half open. A device lies behind the RAM of its node. How it shares sections with RAM:

=========  ==========================================================================================
none       it begins and ends at section borders
start      RAM ends, and the device begins, in the middle of a section
end        the device ends in the middle of a section, and RAM fills the rest of it
both       both of these
inside     the device is half a section long, with RAM before and behind it in that same section
two        RAM, a device of a quarter of a section, and another one share a section
=========  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from replay.errors import UsageError, did_you_mean
from replay.machine.geometry import Geometry
from replay.sources.synthetic.parameters import in_bytes, show_bytes
from replay.sources.synthetic.plans import MODES

__all__ = ("Device", "Memory", "RamRange", "check_memory", "lay_out")

_MIB = 1 << 20
_GIB = 1 << 30
# Byte address of the first RAM; x86 begins at 0 and leaves out what firmware and devices take.
_BASE = {"aarch64": _GIB, "riscv64": 2 * _GIB}
_LOW_TOP, _HIGH_BASE = 2 * _GIB, 4 * _GIB


@dataclass(frozen=True)
class RamRange:
    """RAM at boot, in pfns."""

    start: int
    end: int
    node: int


@dataclass(frozen=True)
class Device:
    """Memory of a device, in pfns.

    Attributes:
        number: from 0.
        mode: one of ``MODES``.
        start: first pfn.
        end: pfn after the last.
        node: NUMA node.
    """

    number: int
    mode: str
    start: int
    end: int
    node: int

    @property
    def name(self) -> str:
        """The name of its resource when it is claimed."""
        return f"dax{self.number}.0"

    @property
    def pages(self) -> int:
        """Its length."""
        return self.end - self.start


@dataclass(frozen=True)
class Memory:
    """RAM at boot, ascending, and devices."""

    ram: tuple[RamRange, ...]
    devices: tuple[Device, ...]


def lay_out(values: Mapping[str, Any], geometry: Geometry) -> Memory:
    """Place RAM and devices of a plan.

    Raises:
        UsageError: they do not fit, or a size is not a multiple of what it is made of.
    """
    if values["ram"] or values["device"]:
        return _given(values, geometry)
    return _Builder(values, geometry).memory()


class _Builder:
    """Places node after node, each with its devices behind its RAM."""

    def __init__(self, values: Mapping[str, Any], geometry: Geometry) -> None:
        self._values, self._geometry = values, geometry
        self._section = geometry.pages_per_section
        self._shift = geometry.page_shift
        self._ram: list[RamRange] = []
        self._devices: list[Device] = []
        self._cursor = 0

    def memory(self) -> Memory:
        v = self._values
        share = self._share("memory", v["memory"], "nodes", v["nodes"])
        length = self._share("pmem", v["pmem"], "namespaces", v["namespaces"]) if v["pmem"] else 0
        self._cursor = _BASE.get(self._geometry.arch, 0) >> self._shift
        for node in range(v["nodes"]):
            if node:
                self._cursor += v["gap"] >> self._shift
                self._align()
            self._node_ram(node, share)
            for number in range(v["namespaces"] if length else 0):
                if number % v["nodes"] == node:
                    mode = v["modes"][number % len(v["modes"])]
                    self._device(mode, v["collisions"][number % len(v["collisions"])], length, node)
        if v["ragged"]:
            last = self._ram[-1]
            self._ram[-1] = RamRange(last.start, last.end - self._geometry.pages_per_subsection * 3 // 8, last.node)
        return Memory(tuple(self._with_holes()), tuple(self._devices))

    def _share(self, name: str, total: int, parts_name: str, parts: int) -> int:
        """Return the pages of one of equal parts, which has to be whole memory blocks."""
        block = self._geometry.memory_block_bytes
        if total % (parts * block):
            near = max(-(-total // (parts * block)), 1) * parts * block
            raise UsageError(
                f"{name}={show_bytes(total)}: needed a multiple of {parts_name} x memory block "
                f"({parts} x {show_bytes(block)}), as {show_bytes(near)}"
            )
        return total // parts >> self._shift

    def _align(self) -> None:
        pages = self._geometry.pages_per_block
        self._cursor = -(-self._cursor // pages) * pages

    def _node_ram(self, node: int, pages: int) -> None:
        if node == 0 and self._geometry.arch == "x86_64":
            low = min(pages, _LOW_TOP >> self._shift)
            self._ram += [RamRange(1, 0x9F, 0), RamRange(_MIB >> self._shift, low, 0)]
            self._cursor, pages = (_HIGH_BASE >> self._shift if pages > low else low), pages - low
        if pages:
            self._ram.append(RamRange(self._cursor, self._cursor + pages, node))
            self._cursor += pages

    def _device(self, mode: str, collision: str, pages: int, node: int) -> None:
        """Place a device behind the RAM, or behind the device before it, and the RAM that shares a section with it."""
        half, quarter = self._section // 2, self._section // 4
        self._align()
        place: Mapping[str, Callable[[], None]] = {
            "none": lambda: self._put(mode, pages, node),
            "start": lambda: self._put(mode, pages - half, node, back=half),
            "end": lambda: self._put(mode, pages - half, node, fill=half),
            "both": lambda: self._put(mode, pages, node, back=half, fill=half),
            "inside": lambda: self._put(mode, half, node, back=half + quarter, fill=quarter),
        }
        if collision == "two":
            self._put(mode, quarter, node, back=half + quarter)
            self._put(mode, pages - half, node)
        else:
            place[collision]()

    def _put(self, mode: str, pages: int, node: int, *, back: int = 0, fill: int = 0) -> None:
        """Place a device ``back`` pages before the cursor, taken from the RAM, and ``fill`` pages of RAM behind."""
        start = self._cursor - back
        if back:
            last = self._ram[-1]
            if last.end != self._cursor or last.end - last.start <= back:  # a section of its own, RAM first
                self._ram.append(RamRange(self._cursor, self._cursor + self._section - back, node))
                start = self._cursor + self._section - back
            else:
                self._ram[-1] = RamRange(last.start, start, last.node)
        self._devices.append(Device(len(self._devices), mode, start, start + pages, node))
        self._cursor = start + pages
        if fill:
            self._ram.append(RamRange(self._cursor, self._cursor + fill, node))
            self._cursor += fill

    def _with_holes(self) -> Iterator[RamRange]:
        """Cut the holes out of the longest range of node 0."""
        number, unit = self._values["holes"], self._geometry.pages_per_subsection
        longest = max((r for r in self._ram if r.node == 0), key=lambda r: r.end - r.start)
        step = (longest.end - longest.start) // (number + 1) // unit * unit
        if number and step < 2 * unit:
            most = max((longest.end - longest.start) // (2 * unit) - 1, 0)
            raise UsageError(f"holes={number}: needed at most {most}, which leave a subsection of RAM between them")
        for part in self._ram:
            start = part.start
            if part is longest:
                for hole in range(1, number + 1):
                    at = -(-part.start // unit) * unit + hole * step
                    yield RamRange(start, at, part.node)
                    start = at + unit
            yield RamRange(start, part.end, part.node)


def _given(values: Mapping[str, Any], geometry: Geometry) -> Memory:
    """Take ranges that were given one by one; RAM as planned where only devices are."""
    ram = _Builder({**values, "pmem": 0}, geometry).memory().ram
    if values["ram"]:
        ranges = []
        for given in values["ram"]:
            place, _, node = given.partition("@")
            start, end = _range("ram", place, given, geometry, geometry.page_shift)
            if node and not node.isdecimal():
                raise UsageError(f"ram={given}: needed a node number behind the @")
            ranges.append(RamRange(start, end, int(node or 0)))
        ram = tuple(sorted(ranges, key=lambda r: r.start))
    devices = []
    for number, given in enumerate(values["device"]):
        mode, at, place = given.partition("@")
        if not at or mode not in MODES:
            raise UsageError(
                f"device={given}: needed MODE@START+SIZE with a mode of {', '.join(MODES)}{did_you_mean(mode, MODES)}"
            )
        start, end = _range("device", place, given, geometry, geometry.page_shift + geometry.subsection_shift)
        devices.append(Device(number, mode, start, end, _nearest(ram, start)))
    return Memory(ram, tuple(devices))


def _range(name: str, place: str, given: str, geometry: Geometry, unit_bits: int) -> tuple[int, int]:
    """Return a range in pfns from START+SIZE in bytes, both multiples of ``2**unit_bits``."""
    first, plus, length = place.partition("+")
    try:
        start, size = in_bytes(first), in_bytes(length)
    except ValueError as error:
        raise UsageError(f"{name}={given}: needed START+SIZE, each {error}") from None
    if not plus or not size:
        raise UsageError(f"{name}={given}: needed START+SIZE of more than 0 bytes")
    for value in (start, size):
        if value % (1 << unit_bits):
            near = value >> unit_bits << unit_bits
            raise UsageError(
                f"{name}={given}: {value:#x} is no multiple of {show_bytes(1 << unit_bits)}; "
                f"needed {near:#x} or {near + (1 << unit_bits):#x}"
            )
    return start >> geometry.page_shift, start + size >> geometry.page_shift


def _nearest(ram: Sequence[RamRange], pfn: int) -> int:
    """Return the node of the RAM closest to a pfn."""
    return min(ram, key=lambda r: min(abs(pfn - r.end), abs(pfn - r.start))).node


def check_memory(memory: Memory, partial: Sequence[tuple[int, int]], geometry: Geometry) -> None:
    """Check that no ranges overlap and that all lie below the limit of physical addresses.

    Raises:
        UsageError: some do not; says where there would be room.
    """
    spans = [(r.start, r.end, "RAM") for r in memory.ram]
    spans += [(d.start, d.end, f"{d.mode} device {d.number}") for d in memory.devices]
    spans += [(s, e, "partial memory") for s, e in partial]
    spans.sort()
    shift, unit = geometry.page_shift, geometry.pages_per_subsection
    for (start, end, what), (start2, end2, what2) in pairwise(spans):
        if end > start2:
            top = -(-max(e for _, e, _ in spans) // unit) * unit
            raise UsageError(
                f"{what2} [{start2 << shift:#x}, {end2 << shift:#x}) overlaps {what} "
                f"[{start << shift:#x}, {end << shift:#x}); needed it behind everything, from {top << shift:#x} on"
            )
    top = max(e for _, e, _ in spans)
    if top > geometry.max_pfns:
        raise UsageError(
            f"the machine ends at {top << shift:#x}, beyond {geometry.max_physmem_bits} physical address bits "
            f"({show_bytes(geometry.max_pfns << shift)}); needed less memory, pmem or gap, or more bits (physmem)"
        )
