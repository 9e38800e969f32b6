"""Mappings of pages into tasks, found by pfn: who maps this page, and which of these pages are mapped at all."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from replay.machine.intervals import piecewise

__all__ = ("Mapping", "MappingIndex")


@dataclass(frozen=True)
class Mapping:
    """A piece of a task's address space.

    Attributes:
        task: pid.
        start: first pfn.
        end: pfn after the last.
        vaddr: virtual address of the first page, bytes.
        shift: log2 of the bytes that one page table entry maps.
        flags: MapFlag bits.
        poisoned: the page table entries are hwpoison entries.
    """

    task: int
    start: int
    end: int
    vaddr: int
    shift: int
    flags: int = 0
    poisoned: bool = False

    def piece(self, start: int, end: int, page_shift: int) -> Mapping:
        """Return the part that maps pfns ``[start, end)``."""
        return replace(self, start=start, end=end, vaddr=self.address(start, page_shift))

    def address(self, pfn: int, page_shift: int) -> int:
        """Return the virtual address of a page, bytes."""
        return self.vaddr + (pfn - self.start << page_shift)


class MappingIndex:
    """Mappings by the pages they map.

    A mapping of up to 2**k pages stands in the one or two buckets of 2**k pages that it touches. So the mappings of a page
    are in one bucket for each k that occurs, however many others there are. *Age* tells in which order mappings were made;
    pieces of a mapping are as old as the whole, and disjoint.
    """

    def __init__(self) -> None:
        self._sizes: dict[int, dict[int, dict[tuple[int, int], Mapping]]] = {}  # k -> bucket -> (age, start) -> mapping
        self._of_task: dict[int, dict[tuple[int, int], Mapping]] = {}
        self._age = 0
        self._count = 0
        self._borders: tuple[NDArray[np.uint64], NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return self._count

    def add(self, mapping: Mapping, age: int | None = None) -> None:
        """Add a mapping, as the youngest unless its age is given."""
        if age is None:
            self._age += 1
            age = self._age
        key = age, mapping.start
        k = (mapping.end - mapping.start - 1).bit_length()
        buckets = self._sizes.setdefault(k, {})
        for bucket in {mapping.start >> k, mapping.end - 1 >> k}:
            buckets.setdefault(bucket, {})[key] = mapping
        self._of_task.setdefault(mapping.task, {})[key] = mapping
        self._count += 1
        self._borders = None

    def remove(self, age: int, mapping: Mapping) -> None:
        """Remove a mapping."""
        key = age, mapping.start
        k = (mapping.end - mapping.start - 1).bit_length()
        buckets = self._sizes[k]
        for bucket in {mapping.start >> k, mapping.end - 1 >> k}:
            del buckets[bucket][key]
            if not buckets[bucket]:
                del buckets[bucket]
        if not buckets:
            del self._sizes[k]
        del self._of_task[mapping.task][key]
        self._count -= 1
        self._borders = None

    def drop(self, task: int) -> None:
        """Remove the mappings of a task."""
        for (age, _), mapping in list(self._of_task.get(task, {}).items()):
            self.remove(age, mapping)
        self._of_task.pop(task, None)

    def within(self, start: int, end: int) -> list[tuple[int, Mapping]]:
        """Return (age, mapping) of the mappings that touch pfns ``[start, end)``, oldest first."""
        found: dict[tuple[int, int], Mapping] = {}
        for k, buckets in self._sizes.items():
            first, last = start >> k, end - 1 >> k
            near = range(first, last + 1) if last - first < len(buckets) else list(buckets)
            for bucket in near:
                here = buckets.get(bucket, {}).items()
                found.update((key, m) for key, m in here if m.start < end and start < m.end)
        return [(key[0], found[key]) for key in sorted(found)]

    def cover(self, pfns: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which of many pfns, ascending, are mapped."""
        if not self._count:
            return np.zeros(pfns.size, np.bool_)
        if self._borders is None and pfns.size < self._count:
            return np.array([bool(self.within(p, p + 1)) for p in pfns.tolist()], np.bool_)
        if self._borders is None:
            mappings = [m for mine in self._of_task.values() for m in mine.values()]
            starts = np.array([m.start for m in mappings], np.uint64)
            ends = np.array([m.end for m in mappings], np.uint64)
            borders, at = np.unique(np.concatenate([starts, ends]), return_inverse=True)
            change = np.bincount(at[: starts.size], minlength=borders.size)
            change -= np.bincount(at[starts.size :], minlength=borders.size)
            self._borders = borders, np.cumsum(change)
        borders, depth = self._borders
        return piecewise(borders, np.append(0, depth) > 0, pfns)
