"""What several sources say about one thing must be the same: contradictions are refused, doubts are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from replay.errors import InputError
from replay.trace.header import BootRange

from .blocks import MemoryBlock, MemoryBlocks
from .devices import Device
from .iomem import IomemEntry
from .pageflags import PageFlags

__all__ = ("check_blocks", "check_devices", "check_pages", "check_ram")

# Modes in which all that can be used of a device lies in the resource of its name. The namespace of a dax device keeps only
# what is in front of that, and memory for the system only whole memory blocks.
_WHOLE_RESOURCE = {"namespace": ("raw", "sector", "fsdax"), "dax": ("devdax",)}
_HINT = "take all files at the same time, on the same machine"


def check_blocks(first: MemoryBlocks, second: MemoryBlocks, where: str) -> MemoryBlocks:
    """Return what two sources say about memory blocks.

    Raises:
        InputError: they contradict each other.
    """
    if None not in {first.size, second.size} and first.size != second.size:
        raise InputError(
            where, f"blocks of {second.size:#x} bytes", f"{first.size:#x} as the memory blocks have", _HINT
        )
    for number in sorted(set(first.blocks) ^ set(second.blocks)):
        known = first.blocks.get(number) or second.blocks[number]
        other = where if number in first.blocks else next(iter(first.blocks.values())).where
        raise InputError(other, f"no block {number}", f"it, as {known.where} has", _HINT)
    merged = {}
    for number, block in first.blocks.items():
        other_block = second.blocks[number]
        if block.state != other_block.state:
            found = f"block {number} {other_block.state}"
            raise InputError(other_block.where, found, f"{block.state} as in {block.where}", _HINT)
        if block.nodes and other_block.nodes and not set(other_block.nodes) <= set(block.nodes):
            found = f"block {number} on node {', '.join(map(str, other_block.nodes))}"
            needed = f"node {', '.join(map(str, block.nodes))} as in {block.where}"
            raise InputError(other_block.where, found, needed, _HINT)
        merged[number] = MemoryBlock(block.state, block.nodes or other_block.nodes, block.where)
    return MemoryBlocks(merged, first.size or second.size)


def check_ram(memory: tuple[BootRange, ...], blocks: MemoryBlocks, page_shift: int, block_bytes: int) -> list[str]:
    """Compare memory with memory blocks; returns doubts.

    Raises:
        InputError: memory without a block.
    """
    pages = block_bytes >> page_shift
    for part in memory:
        for number in range(part.start // pages, (part.end - 1) // pages + 1):
            if number not in blocks.blocks:
                where = next(iter(blocks.blocks.values())).where
                found = f"no memory block {number}"
                raise InputError(where, found, f"one for the memory at pfn {part.start:#x} to {part.end:#x}", _HINT)
    offline = [number for number, block in blocks.blocks.items() if block.state != "online"]
    if not offline:
        return []
    return [f"{len(offline)} memory blocks are not online ({_listed(offline)}); a trace begins with all memory online"]


def check_devices(devices: list[Device], entries: list[IomemEntry], where: Path, block_bytes: int) -> list[str]:
    """Compare devices with the resources of their name; returns doubts.

    Raises:
        InputError: a device larger than its resource, or whose memory blocks are larger than the device.
    """
    doubts = []
    sizes: Counter[str] = Counter()  # a dax device may have several ranges
    for entry in entries:
        sizes[entry.name] += entry.end - entry.start + 1
    for device in devices:
        if device.name not in sizes:
            doubts.append(f"{device.name} is not in {where.name}: not enabled, or iomem was taken at another time")
        elif (
            device.mode in _WHOLE_RESOURCE.get(device.name.rstrip("0123456789."), ())
            and device.size > sizes[device.name]
        ):
            found = f"{device.name} with {device.size} bytes"
            raise InputError(device.where, found, f"at most the {sizes[device.name]} bytes of it in {where}", _HINT)
        if device.mode == "system-ram" and device.blocks * block_bytes > device.size:
            found = f"{device.blocks} memory blocks on the {device.size} bytes of {device.name}"
            raise InputError(
                device.where, found, f"at most {device.size // block_bytes} of {block_bytes:#x} bytes", _HINT
            )
    listed = {device.name for device in devices}
    if devices:
        for name in sorted(sizes):
            kind = name.rstrip("0123456789.")
            if kind in {"namespace", "dax"} and name not in listed and any(d.name.startswith(kind) for d in devices):
                doubts.append(f"{name} is in {where.name} and not among the devices")
    return doubts


def check_pages(
    pages: PageFlags, memory: tuple[BootRange, ...], blocks: MemoryBlocks | None, pages_per_block: int
) -> list[str]:
    """Compare pages with memory; returns doubts.

    Raises:
        InputError: a block that is online has memory without pages.
    """
    doubts = (
        [f"{pages.poisoned} pages are poisoned already; a machine description does not tell"] if pages.poisoned else []
    )
    missing = 0
    for low, high in _common(pages.absent, [(part.start, part.end) for part in memory]):
        missing += high - low
        for number in range(low // pages_per_block, (high - 1) // pages_per_block + 1) if blocks is not None else ():
            assert blocks is not None
            block = blocks.blocks.get(number)
            if block is not None and block.state == "online":
                found = f"memory block {number} online"
                needed = f"a page at its pfn {max(low, number * pages_per_block):#x}, which has none by its flags"
                raise InputError(block.where, found, needed, _HINT)
    if missing:
        doubts.append(f"{missing} pages of memory do not exist by their flags: offline, or taken at another time")
    return doubts


def _common(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield what two ascending lists of runs have in common."""
    at = 0
    for low, high in first:
        while at < len(second) and second[at][1] <= low:
            at += 1
        index = at
        while index < len(second) and second[index][0] < high:
            yield max(low, second[index][0]), min(high, second[index][1])
            index += 1


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (" …" if len(numbers) > 8 else "")
