"""The simulated memory at one moment: sections, pagemaps, resources, memblock, blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from replay.machine.devices import Devices
from replay.machine.geometry import Geometry
from replay.machine.intervals import IntervalMap
from replay.machine.marks import Marks
from replay.machine.pagemaps import Pagemaps
from replay.machine.pages import Pages
from replay.machine.resources import Node, ResourceTree
from replay.machine.sections import Sections
from replay.machine.tasks import Tasks

__all__ = ("Machine",)


class Machine:
    """Everything that a decision may look at. Changes go through its methods or mark what they touched.

    Attributes:
        geometry: sizes.
        sections: section table.
        pagemaps: pagemaps and their index.
        resources: the resource tree.
        memblock: mapped memory known to memblock, pfn intervals.
        ram: pages wholly covered by System RAM resources, pfn intervals.
        blocks: memory block devices, number -> online.
        pages: descriptions of pages, and the marks that memory errors leave.
        tasks: tasks and what they map.
        devices: dax devices and namespaces.
        badblocks: sectors of 512 bytes that are known to be bad, intervals.
        nodes: NUMA node plus one of memory that the kernel took over, pfn intervals.
        marks: state that a candidate keeps.
        max_pfn: end of the highest page the kernel has taken over.
        touched: pfn ranges changed since somebody last looked (and cleared it).
    """

    def __init__(self, geometry: Geometry, resources: ResourceTree, *, whole_sections: bool) -> None:
        self.geometry = geometry
        self.sections = Sections(geometry, whole=whole_sections)
        self.pagemaps = Pagemaps()
        self.resources = resources
        self.memblock = IntervalMap()
        self.ram = IntervalMap()
        self.blocks: dict[int, bool] = {}
        self.nodes = IntervalMap()
        self.pages = Pages()
        self.tasks = Tasks(geometry.page_shift)
        self.marks = Marks()
        self.devices = Devices()
        self.badblocks = IntervalMap()
        self.max_pfn = 0
        self.touched: list[tuple[int, int]] = []
        self._refresh_ram(0, 1 << 64 - geometry.page_shift)

    def keep_marks(self, with_section: Sequence[bool]) -> None:
        """Keep marks for a candidate: for each, whether it goes when its section goes."""
        self.marks = Marks(with_section)
        if any(with_section):
            self.sections.gone = self._section_gone

    def _section_gone(self, section: int) -> None:
        shift = self.geometry.section_shift
        self.marks.section_gone(section << shift, section + 1 << shift)

    def touch(self, start: int, end: int) -> None:
        """Note that states of pfns ``[start, end)`` may have changed."""
        self.touched.append((start, end))

    def whole_sections(self, start: int, end: int) -> tuple[int, int]:
        """Return ``[start, end)`` extended to section borders."""
        mask = self.geometry.pages_per_section - 1
        return start & ~mask, end + mask & ~mask

    def touch_sections(self, start: int, end: int) -> None:
        """Note that states of all sections that ``[start, end)`` touches may have changed."""
        self.touch(*self.whole_sections(start, end))

    def block_numbers(self, start: int, end: int) -> range:
        """Return the numbers of the memory blocks that pfns ``[start, end)`` touch."""
        pages = self.geometry.pages_per_block
        return range(start // pages, (end + pages - 1) // pages if end > start else start // pages)

    def node_of(self, pfn: int) -> int | None:
        """Return the NUMA node of a page: of its memory, its pagemap, or the memory that shares its section."""
        found = self.nodes.get(pfn)
        if found:
            return found - 1
        pagemap = self.pagemaps.by_id.get(self.pagemaps.index.get(pfn))
        if pagemap is not None:
            return pagemap.node
        beside = self.nodes.within(*self.whole_sections(pfn, pfn + 1))
        return beside[0][2] - 1 if beside else None

    def all_in_nodes(self, pfns: NDArray[np.uint64]) -> bool:
        """Return whether many pages, whose pfns ascend, all belong to memory that the kernel took over."""
        borders = np.array([edge for start, end, _ in self.nodes for edge in (start, end)], np.uint64)
        at = np.searchsorted(pfns, borders)
        return int((at[1::2] - at[::2]).sum()) == pfns.size

    def node_runs(self, pfns: NDArray[np.uint64]) -> list[tuple[int, int, int]]:
        """Return (first, end, node) for pages, whose pfns ascend: what ``node_of`` says of those at ``[first, end)``.

        Pages of no node are left out.
        """
        known = list(self.nodes)
        borders = np.array([edge for start, end, _ in known for edge in (start, end)], np.uint64)
        at = [0, *np.searchsorted(pfns, borders).tolist(), pfns.size]
        nodes = [None, *(node for _, _, value in known for node in (value - 1, None))]
        runs = []
        for low, end, node in zip(at, at[1:], nodes, strict=False):
            runs += [(low, end, node)] if node is not None and low < end else []
            first = low
            while node is None and first < end:
                # Alike within a section, as far as pages belong to one pagemap or to none.
                pfn = int(pfns[first])
                _, border = self.whole_sections(pfn, pfn + 1)
                border = min([border, *(e for e in self.pagemaps.index.edges(pfn + 1, border))])
                after = first + int(np.searchsorted(pfns[first:end], np.uint64(border)))
                if (found := self.node_of(pfn)) is not None:
                    runs.append((first, after, found))
                first = after
        return runs

    def insert_ram(self, start: int, end: int, name: str, *, nested: bool) -> bool:
        """Insert a busy System RAM entry over pfns ``[start, end)``; return False on a conflict."""
        shift = self.geometry.page_shift
        node = Node(start << shift, (end << shift) - 1, name, busy=True, ram=True)
        if not self.resources.insert(node, nested=nested):
            return False
        self._refresh_ram(start, end)
        return True

    def remove_ram(self, start: int, end: int) -> None:
        """Cut pfns ``[start, end)`` out of the System RAM entries."""
        shift = self.geometry.page_shift
        self.resources.remove_ram(start << shift, (end << shift) - 1)
        self._refresh_ram(start, end)

    def resources_changed(self, first: int, last: int) -> None:
        """Note that entries within bytes ``[first, last]`` were inserted or removed."""
        shift = self.geometry.page_shift
        self._refresh_ram(first >> shift, (last >> shift) + 1)

    def raise_max_pfn(self, end: int) -> None:
        """Let max_pfn be at least ``end``; it never falls."""
        if end > self.max_pfn:
            mask = self.geometry.pages_per_section - 1
            self.touch(self.max_pfn & ~mask, end + mask & ~mask)
            self.max_pfn = end

    def _refresh_ram(self, start: int, end: int) -> None:
        self.ram.clear(start, end)
        for low, high in self.resources.ram_ranges(start, end, self.geometry.page_shift, children=True):
            self.ram.assign(low, high, 1)
        self.touch(start, end)
