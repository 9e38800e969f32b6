"""Gather: lookups of single pfns, one table access each, in chunks that stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from replay.engine.resolve import MIXED, StateIndex
from replay.engine.tabulate import UNDECIDED, DecisionTable
from replay.machine.distinct import distinct

__all__ = ("CHUNK", "Scratch", "SingleLookup", "ascending")

CHUNK = 1 << 16  # rows; index and class buffers of a chunk fit the second level cache
_PROBE = 16  # neighbours looked at before a whole chunk is

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
Counted: TypeAlias = tuple[NDArray[np.int64], U64, U8]


class Scratch:
    """Buffers of one thread, used again for every chunk.

    Attributes:
        rows: of the flat table.
        classes: class bytes.
        hits: booleans.
        filled: ``classes`` holds those of the chunk that was counted last.
        order: classes, the most frequent of the last chunk first: most chunks are done after a few of them.
        made_for: whose classes they are.
    """

    def __init__(self) -> None:
        self._room: U64 = np.empty(0, np.uint64)
        self.filled = False
        self.order: list[int] = []
        self.made_for = (0, -1)
        self.rows = np.empty(CHUNK, np.uint64)
        self.classes = np.empty(CHUNK, np.uint8)
        self.hits = np.empty(CHUNK, np.bool_)

    def room(self, size: int) -> U64:
        """Return at least so many numbers, undefined."""
        if self._room.size < size:
            self._room = np.empty(size, np.uint64)
        return self._room


class SingleLookup:
    """A function's classes over the subsections of the machine; ``sync`` follows its changes.

    Args:
        index: state codes.
        table: the function.

    Attributes:
        table: the function's classes by state code.
        by_segment: class byte of each segment, uint8.
        labels: class bytes that occur, ascending, uint8.
    """

    def __init__(self, index: StateIndex, table: DecisionTable) -> None:
        self.index = index
        self.table = table
        self._version = self._flat_version = -1
        self.by_segment: U8 = np.empty(0, np.uint8)
        self.labels: U8 = np.empty(0, np.uint8)
        self._flat: U8 = np.empty(0, np.uint8)
        self.sync()

    def sync(self) -> bool:
        """Follow the segments of the index; return whether something changed."""
        if self._version == self.index.version:
            return False
        self._version = self.index.version
        self.by_segment = self.table.classes[self.index.codes]
        self.labels = distinct(self.by_segment)
        return True

    def sync_flat(self) -> None:
        """Follow the flat table, which runs have no need of."""
        index = self.index
        if self._flat_version == index.version:
            return
        spans = index.changed_since(self._flat_version)
        self._flat_version = index.version
        if spans is None:
            self._flat = self._classes_of(index.flat)
        else:
            for low, high in spans:
                self._flat[low:high] = self._classes_of(index.flat[low:high])

    def _classes_of(self, codes: NDArray[np.uint16]) -> U8:
        classes: U8 = self.table.classes[codes & ~MIXED]
        classes[codes == MIXED] = UNDECIDED
        return classes

    def classes(self, pfns: U64, scratch: Scratch) -> U8:
        """Return the class byte of each pfn (at most CHUNK of them), in a buffer of ``scratch``."""
        found = self._gather(pfns, scratch)
        hits = np.equal(found, UNDECIDED, out=scratch.hits[: pfns.size])
        if hits.any():
            self._search(found, np.flatnonzero(hits), pfns)
        return found

    def _gather(self, pfns: U64, scratch: Scratch) -> U8:
        """Return the class byte of each pfn's subsection, UNDECIDED where that has several."""
        self.sync_flat()
        rows = np.right_shift(pfns, self.index.shift, out=scratch.rows[: pfns.size])
        found = scratch.classes[: pfns.size]
        # Pfns behind the table are clipped to its last entry, which is UNDECIDED.
        return np.take(self._flat, rows.view(np.int64), out=found, mode="clip")

    def _search(self, found: U8, which: NDArray[np.int64], pfns: U64) -> None:
        """Put in the classes of some pfns by their segments."""
        found[which] = self.by_segment[self.index.segment_of(pfns[which])]

    def chunks(self, pfns: U64, scratch: Scratch) -> Iterator[tuple[int, U8]]:
        """Yield (offset, class bytes) over any number of pfns."""
        for offset in range(0, pfns.size, CHUNK):
            yield offset, self.classes(pfns[offset : offset + CHUNK], scratch)

    def count(self, pfns: U64, scratch: Scratch) -> NDArray[np.int64]:
        """Return how many pfns (at most CHUNK) fall into each of the 256 classes; pfns in order need no gather.

        If there was one, ``scratch`` has the class of each pfn afterwards, and says so.
        """
        counts = np.zeros(256, np.int64)
        scratch.filled = False
        if ascending(pfns, scratch):
            self._count_ascending(pfns, counts)
            return counts
        found = self._gather(pfns, scratch)
        hits = scratch.hits[: pfns.size]
        left = pfns.size
        order = scratch.order if scratch.made_for == (id(self), self._version) else self.labels.tolist()
        for label in order:
            counts[label] = np.count_nonzero(np.equal(found, label, out=hits))
            left -= int(counts[label])
            if not left:
                break
        else:
            undecided = np.flatnonzero(np.equal(found, UNDECIDED, out=hits))
            self._search(found, undecided, pfns)
            counts += np.bincount(found[undecided], minlength=256)
        scratch.order, scratch.made_for = sorted(order, key=counts.__getitem__, reverse=True), (id(self), self._version)
        scratch.filled = True
        return counts

    def count_compiled(self, loops: ModuleType, pfns: U64, watched: NDArray[np.bool_], scratch: Scratch) -> Counted:
        """Do as ``count`` does for any number of pfns, in a compiled loop.

        Returns:
            How many fall into each of the 256 classes, and the pfns (with their classes) of the watched ones.
        """
        self.sync_flat()
        special = np.append(self.labels[watched[self.labels]], np.uint8(UNDECIDED))
        counts, picked = np.zeros(256, np.int64), scratch.room(pfns.size)
        found = loops.count_singles(pfns, self.index.shift, self._flat, special, counts, picked)
        counts[special] = 0
        pfns = picked[:found].copy()
        classes = self.by_segment[self.index.segment_of(pfns)]
        counts += np.bincount(classes, minlength=256)
        return counts, pfns, classes

    def _count_ascending(self, pfns: U64, counts: NDArray[np.int64]) -> None:
        """Count by the segment borders that the pfns cross."""
        low, high = self.index.segment_of(pfns[[0, -1]]).tolist()
        borders = np.searchsorted(pfns, self.index.starts[low + 1 : high + 1])
        lengths = np.diff(np.concatenate([[0], borders, [pfns.size]]))
        np.add.at(counts, self.by_segment[low : high + 1], lengths)


def ascending(pfns: U64, scratch: Scratch) -> bool:
    """Return whether pfns never decrease; a few neighbours are asked first, as in most traces they tell."""
    probe = pfns[:_PROBE]
    if (probe[1:] < probe[:-1]).any():
        return False
    hits = np.greater_equal(pfns[1:], pfns[:-1], out=scratch.hits[: max(pfns.size - 1, 0)])
    return bool(hits.all())
