"""Gather: lookups of single pfns, one table access each, in chunks that stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from replay.engine.resolve import MIXED, StateIndex
from replay.engine.tabulate import UNDECIDED, DecisionTable

__all__ = ("CHUNK", "SingleLookup")

CHUNK = 1 << 16  # rows; index and class buffers of a chunk fit the second level cache

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]


class SingleLookup:
    """A function's classes over the subsections of one state of the machine.

    Args:
        index: state codes.
        table: the function.

    Attributes:
        by_segment: class byte of each segment, uint8.
    """

    def __init__(self, index: StateIndex, table: DecisionTable) -> None:
        self.index = index
        self.by_segment: U8 = table.classes[index.codes]
        self._flat: U8 = table.classes[index.flat & ~MIXED]
        self._flat[index.flat == MIXED] = UNDECIDED
        self._last = np.uint64(self._flat.size - 1)
        self._rows = np.empty(CHUNK, np.uint64)
        self._classes = np.empty(CHUNK, np.uint8)

    def classes(self, pfns: U64) -> U8:
        """Return the class byte of each pfn (at most CHUNK of them). The buffer is used again by the next call."""
        rows = self._rows[: pfns.size]
        found = self._classes[: pfns.size]
        np.right_shift(pfns, self.index.shift, out=rows)
        np.minimum(rows, self._last, out=rows)
        np.take(self._flat, rows.view(np.int64), out=found, mode="wrap")  # wrap: no bounds check needed, none made
        undecided = np.flatnonzero(found == UNDECIDED)
        if undecided.size:
            found[undecided] = self.by_segment[self.index.segment_of(pfns[undecided])]
        return found

    def chunks(self, pfns: U64) -> Iterator[tuple[int, U8]]:
        """Yield (offset, class bytes) over any number of pfns."""
        for offset in range(0, pfns.size, CHUNK):
            yield offset, self.classes(pfns[offset : offset + CHUNK])
