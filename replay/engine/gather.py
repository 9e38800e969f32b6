"""Gather: lookups of single pfns, one table access each, in chunks that stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from replay.engine.resolve import MIXED, StateIndex
from replay.engine.tabulate import UNDECIDED, DecisionTable

__all__ = ("CHUNK", "Scratch", "SingleLookup", "ascending")

CHUNK = 1 << 16  # rows; index and class buffers of a chunk fit the second level cache
_PROBE = 16  # neighbours looked at before a whole chunk is

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]


class Scratch:
    """Buffers of one thread, used again for every chunk."""

    def __init__(self) -> None:
        self.rows = np.empty(CHUNK, np.uint64)
        self.classes = np.empty(CHUNK, np.uint8)
        self.hits = np.empty(CHUNK, np.bool_)


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
        self._last = np.uint64(0)
        self.sync()

    def sync(self) -> bool:
        """Follow the segments of the index; return whether something changed."""
        if self._version == self.index.version:
            return False
        self._version = self.index.version
        self.by_segment = self.table.classes[self.index.codes]
        self.labels = np.unique(self.by_segment)
        return True

    def _sync_flat(self) -> None:
        """Follow the flat table, which runs have no need of."""
        index = self.index
        spans = index.changed_since(self._flat_version)
        self._flat_version = index.version
        if spans is None:
            self._flat = self._classes_of(index.flat)
            self._last = np.uint64(self._flat.size - 1)
        else:
            for low, high in spans:
                self._flat[low:high] = self._classes_of(index.flat[low:high])

    def _classes_of(self, codes: NDArray[np.uint16]) -> U8:
        classes: U8 = self.table.classes[codes & ~MIXED]
        classes[codes == MIXED] = UNDECIDED
        return classes

    def classes(self, pfns: U64, scratch: Scratch) -> U8:
        """Return the class byte of each pfn (at most CHUNK of them), in a buffer of ``scratch``."""
        if self._flat_version != self.index.version:
            self._sync_flat()
        rows = scratch.rows[: pfns.size]
        found = scratch.classes[: pfns.size]
        np.right_shift(pfns, self.index.shift, out=rows)
        np.minimum(rows, self._last, out=rows)
        np.take(self._flat, rows.view(np.int64), out=found, mode="wrap")  # wrap: no bounds check needed, none made
        hits = np.equal(found, UNDECIDED, out=scratch.hits[: pfns.size])
        if hits.any():
            undecided = np.flatnonzero(hits)
            found[undecided] = self.by_segment[self.index.segment_of(pfns[undecided])]
        return found

    def chunks(self, pfns: U64, scratch: Scratch) -> Iterator[tuple[int, U8]]:
        """Yield (offset, class bytes) over any number of pfns."""
        for offset in range(0, pfns.size, CHUNK):
            yield offset, self.classes(pfns[offset : offset + CHUNK], scratch)

    def count(self, pfns: U64, scratch: Scratch) -> NDArray[np.int64]:
        """Return how many pfns (at most CHUNK) fall into each of the 256 classes; pfns in order need no gather."""
        counts = np.zeros(256, np.int64)
        if ascending(pfns, scratch):
            self._count_ascending(pfns, counts)
            return counts
        classes = self.classes(pfns, scratch)
        hits = scratch.hits[: pfns.size]
        left = pfns.size
        for label in self.labels[:-1].tolist():
            found = int(np.count_nonzero(np.equal(classes, label, out=hits)))
            counts[label] = found
            left -= found
        counts[self.labels[-1]] = left
        return counts

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
