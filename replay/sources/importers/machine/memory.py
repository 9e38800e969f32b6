"""Boot memory and nodes: from the System RAM of /proc/iomem, memory blocks and zones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

from replay.errors import InputError
from replay.trace.header import BootRange

from .iomem import SYSTEM_RAM, IomemEntry

__all__ = ("boot_memory", "node_spans")

_ZONE = re.compile(r"Node (\d+), zone +\w+\n(.*?)(?=^Node |\Z)", re.M | re.S)


def node_spans(text: str) -> list[tuple[int, int, int]]:
    """Parse /proc/zoneinfo: (first pfn, pfn after the last, node) of every zone that spans something, ascending."""
    spans = []
    for node, body in _ZONE.findall(text):
        spanned, start = re.search(r"^\s+spanned\s+(\d+)", body, re.M), re.search(r"^\s+start_pfn:\s+(\d+)", body, re.M)
        if spanned and start and int(spanned[1]):
            spans.append((int(start[1]), int(start[1]) + int(spanned[1]), int(node)))
    return sorted(spans)


def boot_memory(
    entries: list[IomemEntry],
    page_shift: int,
    block: int,
    nodes: Mapping[int, tuple[int, ...]],
    spans: list[tuple[int, int, int]],
    where: object,
    warn: list[str],
) -> tuple[BootRange, ...]:
    """Return the top-level System RAM entries, rounded inward to pages and cut where the node changes.

    Args:
        entries: of /proc/iomem.
        page_shift: log2 of the page size.
        block: pages of a memory block.
        nodes: per memory block its nodes.
        spans: of zones, as ``node_spans`` gives them.
        where: the copy of /proc/iomem, for the error.
        warn: takes what had to be assumed.

    Raises:
        InputError: there is none.
    """
    ranges: list[BootRange] = []
    for entry in entries:
        start, end = -(-entry.start >> page_shift), (entry.end + 1) >> page_shift
        if entry.depth or entry.name != SYSTEM_RAM or start >= end:
            continue
        cuts = {start, end, *range(start - start % block + block, end, block)}
        cuts |= {border for low, high, _ in spans for border in (low, high) if start < border < end}
        for low, high in pairwise(sorted(cuts)):
            node = _node_of(low, nodes.get(low // block, ()), spans, warn)
            if ranges and ranges[-1].end == low and ranges[-1].node == node and low != start:
                ranges[-1] = BootRange(ranges[-1].start, high, node)
            else:
                ranges.append(BootRange(low, high, node))
    if not ranges:
        raise InputError(where, "no System RAM", "memory that the machine booted with")
    return tuple(ranges)


def _node_of(pfn: int, nodes: tuple[int, ...], spans: list[tuple[int, int, int]], warn: list[str]) -> int:
    if len(nodes) == 1:
        return nodes[0]
    for low, high, node in spans:
        if low <= pfn < high and (not nodes or node in nodes):
            return node
    if nodes:
        warn.append(f"the memory block of pfn {pfn:#x} belongs to nodes {nodes}, and zoneinfo.txt does not say which")
    return nodes[0] if nodes else 0
