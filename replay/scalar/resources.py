"""The resource tree of /proc/iomem, and the two questions that are asked about it (model.md, Resources)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field

from replay.scalar.ranges import Range, contains, overlaps, round_down, round_up, subtract
from replay.trace.header import MachineDescription
from replay.trace.schema import ResourceFlags

__all__ = ("DISJOINT", "INTERSECTS", "MIXED", "Entry", "ResourceTree")

INTERSECTS, DISJOINT, MIXED = 0, 1, 2

SYSTEM_RAM = int(ResourceFlags.RAM)
BUSY_SYSTEM_RAM = int(ResourceFlags.RAM | ResourceFlags.BUSY)


@dataclass
class Entry:
    """An entry of the tree; the range is in bytes."""

    range: Range
    name: str
    flags: int
    children: list[Entry] = field(default_factory=list)

    def is_of(self, flags: int) -> bool:
        """Whether it has all the flags asked for."""
        return self.flags & flags == flags

    def descendants(self) -> Iterator[Entry]:
        """Everything below it, parents before children, ascending."""
        for child in self.children:
            yield child
            yield from child.descendants()


class ResourceTree:
    """The tree of one machine."""

    def __init__(self, description: MachineDescription, features: frozenset[str]) -> None:
        self.features = features
        self.page = 1 << description.page_shift
        self.root = Entry((0, 1 << 128), "root", 0)
        path = [self.root]
        for r in description.resources:
            flags = (ResourceFlags.BUSY if r.busy else 0) | (ResourceFlags.RAM if r.ram else 0)
            entry = Entry((r.start, r.end + 1), r.name, int(flags))
            while not contains(path[-1].range, entry.range):
                path.pop()
            path[-1].children.append(entry)
            path.append(entry)
        if not description.resources:
            for memory in description.memory:
                if not memory.nomap:
                    whole = (memory.start * self.page, memory.end * self.page)
                    self.root.children.append(Entry(whole, "System RAM", BUSY_SYSTEM_RAM))

    # Conflict and insertion.

    def place_for(self, wanted: Range, *, descend: bool) -> Entry | None:
        """The entry below which a range would be inserted, or None when there is a conflict."""
        current = self.root
        while True:
            overlapping = [child for child in current.children if overlaps(child.range, wanted)]
            if not overlapping:
                return current
            first = overlapping[0]
            if not (descend and not first.is_of(ResourceFlags.BUSY) and contains(first.range, wanted)):
                return None
            current = first

    def insert(self, wanted: Range, name: str, flags: int, *, descend: bool = True) -> bool:
        """Insert an entry, below others only if it may descend; False when there is a conflict."""
        place = self.place_for(wanted, descend=descend)
        if place is None:
            return False
        place.children.append(Entry(wanted, name, flags))
        place.children.sort(key=lambda entry: entry.range)
        return True

    def remove(self, wanted: Range) -> bool:
        """Remove the innermost entry of exactly that range, with all below it; False when there is none."""
        found: Entry | None = None
        for parent in [self.root, *self.root.descendants()]:
            if any(child.range == wanted for child in parent.children):
                found = parent
        if found is not None:
            found.children = [child for child in found.children if child.range != wanted]
        return found is not None

    def cut_ram(self, removed: Range) -> None:
        """Take a range out of every busy System RAM entry; children that lie in what is left stay there."""
        self._cut_below(self.root, removed)

    def _cut_below(self, parent: Entry, removed: Range) -> None:
        children = []
        for child in parent.children:
            if child.is_of(BUSY_SYSTEM_RAM) and overlaps(child.range, removed):
                for left in subtract(child.range, [removed]):
                    inside = [entry for entry in child.children if contains(left, entry.range)]
                    children.append(Entry(left, child.name, child.flags, inside))
            else:
                self._cut_below(child, removed)
                children.append(child)
        parent.children = children

    # Questions.

    def region_intersects(self, asked: Range, flags: int) -> int:
        """INTERSECTS, DISJOINT or MIXED (walk.md 4.7)."""
        of_type = other = False
        for entry in self.root.children:
            if not overlaps(entry.range, asked):
                continue
            if entry.is_of(flags):
                of_type = True
                continue
            if "region-intersects-nested" not in self.features:
                other = True
                continue
            part = (max(entry.range[0], asked[0]), min(entry.range[1], asked[1]))
            matching = [below.range for below in entry.descendants() if below.is_of(flags)]
            if any(overlaps(below, part) for below in matching):
                of_type = True
            if subtract(part, matching):
                other = True
        if not of_type:
            return DISJOINT
        return MIXED if other else INTERSECTS

    def system_ram_pages(self, asked: Range) -> list[Range]:
        """The pfn ranges that walk_system_ram_range visits in a pfn range."""
        clip = (asked[0] * self.page, asked[1] * self.page)
        visited = []
        for entry in self._busy_ram_below(self.root):
            start = round_up(max(entry.range[0], clip[0]), self.page) // self.page
            end = round_down(min(entry.range[1], clip[1]), self.page) // self.page
            if start < end:
                visited.append((start, end))
        return visited

    def walk_system_ram_range(self, asked: Range) -> tuple[int, int]:
        """The return code, and the number of pages visited (walk.md 4.8)."""
        visited = self.system_ram_pages(asked)
        if visited:
            return 0, sum(end - start for start, end in visited)
        return (-errno.EINVAL if "walk-ram-error-codes" in self.features else -1), 0

    def _busy_ram_below(self, parent: Entry) -> Iterator[Entry]:
        for child in parent.children:
            if child.is_of(BUSY_SYSTEM_RAM):
                yield child
            elif "walk-ram-children" in self.features:
                yield from self._busy_ram_below(child)

    def ram_covers_page(self, pfn: int) -> bool:
        """Whether some busy System RAM entry covers the whole page."""
        page = (pfn * self.page, (pfn + 1) * self.page)
        return any(e.is_of(BUSY_SYSTEM_RAM) and contains(e.range, page) for e in self.root.descendants())

    def end_of_ram(self) -> int:
        """The pfn after the highest busy System RAM page (0 where there is none)."""
        ends = [entry.range[1] // self.page for entry in self.root.descendants() if entry.is_of(BUSY_SYSTEM_RAM)]
        return max(ends, default=0)
