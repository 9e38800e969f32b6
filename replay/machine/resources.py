"""The resource tree (/proc/iomem): who claims which physical addresses. Byte addresses, ends inclusive as in the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from replay.errors import TraceError
from replay.trace.header import Resource

__all__ = ("Node", "Region", "ResourceTree")


class Region(IntEnum):
    """Answers of region_intersects, with the kernel's numbers."""

    INTERSECTS = 0
    DISJOINT = 1
    MIXED = 2


@dataclass
class Node:
    """An entry and the entries below it, ascending and disjoint."""

    start: int
    end: int
    name: str
    busy: bool = False
    ram: bool = False
    children: list[Node] = field(default_factory=list)

    def overlaps(self, start: int, end: int) -> bool:
        """Return whether the entry touches ``[start, end]``."""
        return self.start <= end and start <= self.end

    def contains(self, start: int, end: int) -> bool:
        """Return whether the entry contains ``[start, end]``."""
        return self.start <= start and end <= self.end

    def matches(self, *, busy: bool, ram: bool) -> bool:
        """Return whether the entry has all the flags asked for."""
        return (self.busy or not busy) and (self.ram or not ram)


class ResourceTree:
    """The tree.

    Args:
        entries: in the order of /proc/iomem, parents before children.
        where: where they come from, for errors.

    Raises:
        TraceError: an entry crosses the border of another one.
    """

    def __init__(self, entries: Sequence[Resource] = (), where: str = "machine.resources") -> None:
        self.root = Node(0, (1 << 64) - 1, "root")
        for i, entry in enumerate(entries):
            node = Node(entry.start, entry.end, entry.name, entry.busy, entry.ram)
            if entry.start > entry.end or not self.place(node):
                raise TraceError(
                    f"{where}[{i}]",
                    f"{entry.start:#x}-{entry.end:#x} {entry.name!r}",
                    "entries that nest, parents first",
                )

    def place(self, node: Node) -> bool:
        """Put an entry where it nests, below the smallest entry that contains it; return False if it crosses one."""
        parent = self.root
        while True:
            overlapping = [c for c in parent.children if c.overlaps(node.start, node.end)]
            if not overlapping:
                parent.children.append(node)
                parent.children.sort(key=lambda c: c.start)
                return True
            if len(overlapping) > 1 or not overlapping[0].contains(node.start, node.end):
                return False
            parent = overlapping[0]

    def insert(self, node: Node, *, nested: bool) -> bool:
        """Insert an entry as adding memory does; return False on a conflict.

        Args:
            node: the new entry.
            nested: whether it may go below a child that is not busy and contains it.
        """
        parent = self.conflict_parent(node.start, node.end, nested=nested)
        if parent is None:
            return False
        parent.children.append(node)
        parent.children.sort(key=lambda c: c.start)
        return True

    def conflict_parent(self, start: int, end: int, *, nested: bool) -> Node | None:
        """Return the entry below which ``[start, end]`` would go, or None on a conflict."""
        parent = self.root
        while True:
            child = next((c for c in parent.children if c.overlaps(start, end)), None)
            if child is None:
                return parent
            if not nested or child.busy or not child.contains(start, end):
                return None
            parent = child

    def remove_ram(self, start: int, end: int) -> None:
        """Take ``[start, end]`` out of every System RAM entry, which shrinks, splits or disappears."""
        _cut(self.root, start, end)

    def remove(self, start: int, end: int) -> bool:
        """Remove the innermost entry with exactly these bounds, and all below it. Return whether there was one."""
        found = _find_exact(self.root, start, end)
        if found is not None:
            found[0].children.remove(found[1])
        return found is not None

    def walk(self) -> Iterator[tuple[int, Node]]:
        """Yield (depth, entry) in the order of /proc/iomem."""
        return _walk(self.root, 0)

    def has(self, depth: int, start: int, end: int, name: str) -> bool:
        """Return whether there is an entry of exactly these bytes and this name, so many levels below the top."""
        level = self.root.children
        for _ in range(depth):
            inside = next((node for node in level if node.contains(start, end)), None)
            if inside is None:
                return False
            level = inside.children
        return any((node.start, node.end, node.name) == (start, end, name) for node in level)

    def region_intersects(self, start: int, end: int, *, busy: bool, ram: bool, nested: bool) -> Region:
        """Return how ``[start, end]`` relates to the entries with the flags asked for.

        Args:
            start: first byte.
            end: last byte, inclusive.
            busy: the flag asked for.
            ram: the flag asked for.
            nested: whether top-level entries without the flags are searched for entries below that have them.
        """
        of_type = other = False
        for child in self.root.children:
            if not child.overlaps(start, end):
                continue
            if child.matches(busy=busy, ram=ram):
                of_type = True
                continue
            if not nested:
                other = True
                continue
            low, high = max(start, child.start), min(end, child.end)
            found, covered = _cover(child, low, high, busy=busy, ram=ram)
            of_type |= found
            other |= not covered
        if not of_type:
            return Region.DISJOINT
        return Region.MIXED if other else Region.INTERSECTS

    def ram_ranges(self, start: int, end: int, page_shift: int, *, children: bool) -> list[tuple[int, int]]:
        """Return the page ranges (half open) of busy System RAM within pfns ``[start, end)``, rounded inward.

        Args:
            start: first pfn.
            end: pfn after the last.
            page_shift: log2 of the page size.
            children: look below entries that are not themselves busy System RAM.
        """
        low, high = start << page_shift, (end << page_shift) - 1
        found = []
        for node in _ram(self.root, low, high, children=children):
            first = max(node.start, low) + (1 << page_shift) - 1 >> page_shift
            last = min(node.end, high) + 1 >> page_shift
            if first < last:
                found.append((first, last))
        return found


def _walk(node: Node, depth: int) -> Iterator[tuple[int, Node]]:
    for child in node.children:
        yield depth, child
        yield from _walk(child, depth + 1)


def _ram(node: Node, low: int, high: int, *, children: bool) -> Iterator[Node]:
    """Yield busy System RAM entries in ascending order; one hides what is below it."""
    for child in node.children:
        if not child.overlaps(low, high):
            continue
        if child.busy and child.ram:
            yield child
        elif children:
            yield from _ram(child, low, high, children=True)


def _cover(node: Node, low: int, high: int, *, busy: bool, ram: bool) -> tuple[bool, bool]:
    """Return whether any, and whether all of ``[low, high]`` is covered by matching entries below the node."""
    position, found = low, False
    for _, child in _walk(node, 0):
        if child.matches(busy=busy, ram=ram) and child.overlaps(low, high):
            found = True
            if child.start <= position:
                position = max(position, child.end + 1)
    return found, found and position > high


def _find_exact(node: Node, start: int, end: int) -> tuple[Node, Node] | None:
    for child in node.children:
        if child.contains(start, end):
            deeper = _find_exact(child, start, end)
            if deeper is not None:
                return deeper
            return (node, child) if (child.start, child.end) == (start, end) else None
    return None


def _cut(node: Node, start: int, end: int) -> None:
    kept: list[Node] = []
    for child in node.children:
        if not child.overlaps(start, end):
            kept.append(child)
        elif not child.ram or not child.busy:
            _cut(child, start, end)
            kept.append(child)
        else:
            kept += _remainders(child, start, end)
    node.children = kept


def _remainders(node: Node, start: int, end: int) -> list[Node]:
    parts = [(node.start, start - 1), (end + 1, node.end)]
    return [
        Node(low, high, node.name, node.busy, node.ram, [c for c in node.children if low <= c.start and c.end <= high])
        for low, high in parts
        if low <= high
    ]
