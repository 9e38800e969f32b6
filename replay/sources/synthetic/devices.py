"""Device memory of a synthetic machine as rows: what is mapped before a workload begins, and the calls that change it.

Pagemap ids count the mappings of all devices: mapping *j* of device *d* is ``1 + d + j * devices``, so that a workload
which maps a device again and again has ids that grow by a constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from replay.sources.synthetic.layout import Device
from replay.sources.synthetic.machines import Span, SyntheticMachine
from replay.sources.synthetic.rows import Row
from replay.trace.poison import PageKind
from replay.trace.schema import AddFlags, EventKind, PgmapType, Phase, ResourceFlags

__all__ = ("blocks_of", "data_of", "front_of", "mapping", "pgmap_id", "plugging", "unmapping", "unplugging")

_STRUCT_PAGE_BYTES = 64
_INFO_BYTES = 8 << 10
_ALIGN = 2 << 20
# Use of a device -> type of its pagemap, whether its memmap lies on the device.
_TYPES = {
    "fsdax": (PgmapType.FS_DAX, True),
    "devdax": (PgmapType.GENERIC, True),
    "raw": (PgmapType.FS_DAX, False),
    "private": (PgmapType.PRIVATE, False),
    "coherent": (PgmapType.COHERENT, False),
}


def pgmap_id(device: Device, machine: SyntheticMachine, number: int = 0) -> int:
    """Return the id of a device's mapping ``number``, from 0."""
    return 1 + device.number + number * len(machine.devices)


def _altmap(device: Device, machine: SyntheticMachine) -> tuple[int, int]:
    """Return (pages reserved, pages of the memmap) of a namespace whose memmap lies on it."""
    shift = machine.geometry.page_shift
    data = _INFO_BYTES + device.pages * _STRUCT_PAGE_BYTES
    offset = -(-data // _ALIGN) * _ALIGN >> shift
    reserve = -(-_INFO_BYTES >> shift)
    return reserve, offset - reserve


def data_of(device: Device, machine: SyntheticMachine) -> Span:
    """Return the pfns of a device that hold data, when it is used as its mode says."""
    if device.mode in _TYPES and _TYPES[device.mode][1]:
        return device.start + sum(_altmap(device, machine)), device.end
    return device.start, device.end


def blocks_of(device: Device, machine: SyntheticMachine) -> list[int]:
    """Return the first pfns of the whole memory blocks in a device."""
    pages = machine.geometry.pages_per_block
    return list(range(-(-device.start // pages) * pages, device.end - pages + 1, pages))


def mapping(
    device: Device, machine: SyntheticMachine, pgmap: int, use: str, call: int | None = None, pieces: int = 4
) -> Iterator[Row]:
    """Yield the rows that map a device.

    Args:
        device: what is mapped.
        machine: its machine.
        pgmap: id of the new pagemap.
        use: fsdax, devdax, raw, private or coherent.
        call: id of the call, to make it in phases; None makes one row.
        pieces: at most so many rows say that sections were added.
    """
    kind, altmap = _TYPES[use]
    row = {"kind": int(EventKind.MEMREMAP_PAGES), "pfn": device.start, "nr_pages": device.pages, "pgmap": pgmap}
    row |= {"pgmap_type": int(kind)}
    if altmap:
        reserve, free = _altmap(device, machine)
        row |= {"altmap_base": device.start, "altmap_reserve": reserve, "altmap_free": free}
    if call is None:
        yield row
        return
    yield row | {"phase": int(Phase.BEGIN), "call": call}
    yield from _phases(row, call, pieces, machine, zone=True)


def unmapping(
    device: Device, machine: SyntheticMachine, pgmap: int, call: int | None = None, pieces: int = 4
) -> Iterator[Row]:
    """Yield the rows that unmap a device; arguments as of ``mapping``."""
    row = {"kind": int(EventKind.MEMUNMAP_PAGES), "pfn": device.start, "nr_pages": device.pages, "pgmap": pgmap}
    if call is None:
        yield row
        return
    yield row | {"phase": int(Phase.BEGIN), "call": call}
    yield from _phases(row, call, pieces, machine, zone=False)


def _phases(row: Row, call: int, pieces: int, machine: SyntheticMachine, *, zone: bool) -> Iterator[Row]:
    """Yield what follows the BEGIN row: sections in pieces, the zone, the end."""
    start, end, section = row["pfn"], row["pfn"] + row["nr_pages"], machine.geometry.pages_per_section
    size = max(-(-(end - start) // pieces // section) * section, section)
    edges = [start, *range(start // section * section + size, end, size), end]
    same = {"kind": row["kind"], "call": call}
    for low, high in pairwise(edges):
        yield same | {"phase": int(Phase.SECTIONS), "pfn": low, "nr_pages": high - low}
    if zone:
        yield same | {"phase": int(Phase.ZONE), "pfn": start, "nr_pages": end - start}
    yield same | {"phase": int(Phase.DONE)}


def plugging(device: Device, machine: SyntheticMachine, blocks: Sequence[int]) -> Iterator[Row]:
    """Yield the rows by which the kmem driver takes a device, and by which blocks of it go online."""
    pages, every = machine.geometry.pages_per_block, blocks_of(device, machine)
    shift = machine.geometry.page_shift
    start, size = every[0], len(every) * pages
    yield {
        "kind": int(EventKind.RESOURCE_INSERT), "start": start << shift, "size": size << shift,
        "label": machine.label(device.name), "flags": int(ResourceFlags.RAM),
    }  # fmt: skip
    yield {
        "kind": int(EventKind.ADD_MEMORY), "pfn": start, "nr_pages": size, "node": device.node,
        "label": machine.label("System RAM (kmem)"), "flags": int(AddFlags.DRIVER_MANAGED),
    }  # fmt: skip
    for block in blocks:
        yield {"kind": int(EventKind.MEMORY_BLOCK_ONLINE), "pfn": block, "nr_pages": pages}


def unplugging(device: Device, machine: SyntheticMachine, blocks: Sequence[int]) -> Iterator[Row]:
    """Yield the rows by which blocks of a device go offline and the kmem driver lets go of it."""
    pages, every = machine.geometry.pages_per_block, blocks_of(device, machine)
    shift = machine.geometry.page_shift
    for block in reversed(blocks):
        yield {"kind": int(EventKind.MEMORY_BLOCK_OFFLINE), "pfn": block, "nr_pages": pages}
    yield {"kind": int(EventKind.REMOVE_MEMORY), "pfn": every[0], "nr_pages": len(every) * pages}
    yield {"kind": int(EventKind.RESOURCE_REMOVE), "start": every[0] << shift, "size": len(every) * pages << shift}


def front_of(machine: SyntheticMachine, *, without: frozenset[int] = frozenset()) -> Iterator[Row]:
    """Yield the rows that bring a machine into use: devices mapped or plugged, partial blocks filled.

    Args:
        machine: what is brought into use.
        without: numbers of devices that a workload maps itself.
    """
    for device in machine.devices:
        if device.number in without:
            continue
        if device.mode == "kmem":
            yield from plugging(device, machine, blocks_of(device, machine))
        else:
            yield from mapping(device, machine, pgmap_id(device, machine), device.mode)
    yield from _partial_blocks(machine)


def _partial_blocks(machine: SyntheticMachine) -> Iterator[Row]:
    """Yield the blocks that a hypervisor adds: online as a whole, the end of each not there for anybody to use."""
    pages, unit = machine.geometry.pages_per_block, machine.geometry.pages_per_subsection
    there = machine.plugged * unit
    for start, end in machine.partial:
        for block in range(start, end, pages):
            yield {
                "kind": int(EventKind.ADD_MEMORY), "pfn": block, "nr_pages": pages, "node": 0,
                "label": machine.label("System RAM (virtio_mem)"), "flags": int(AddFlags.DRIVER_MANAGED),
            }  # fmt: skip
            yield {"kind": int(EventKind.MEMORY_BLOCK_ONLINE), "pfn": block, "nr_pages": pages}
            if there < pages:
                yield {
                    "kind": int(EventKind.PAGE_STATE), "pfn": block + there, "nr_pages": pages - there,
                    "page_kind": int(PageKind.OFFLINE),
                }  # fmt: skip
