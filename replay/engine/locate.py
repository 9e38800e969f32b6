"""From pfns to segments, fast for many pfns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ("Locator",)

_COARSE_BITS = 14  # the table stays in the first level cache
_SEARCH = -1
_FEW = 64
_FAR = 4  # bits

U64 = NDArray[np.uint64]


class Locator:
    """Finds the segments of many pfns: by a coarse table where the segments are larger than its cells, else by search.

    Args:
        starts: first pfn of each segment, uint64, ascending from 0; the last segment is open-ended.

    Attributes:
        shift: from pfn to cell.
        cells: segment of each cell, int64, -1 where it has to be searched for; the last stands for all beyond.
    """

    def __init__(self, starts: U64) -> None:
        self._starts = starts
        top = _top(starts.tolist())
        self.shift = np.uint64(max(top.bit_length() - _COARSE_BITS, 0))
        cells = (top >> int(self.shift)) + 1
        edges = np.arange(cells + 1, dtype=np.uint64) << self.shift
        low = np.searchsorted(starts, edges[:-1], "right") - 1
        high = np.searchsorted(starts, edges[1:], "left") - 1
        # One cell more stands for all beyond.
        self.cells = np.append(np.where(low == high, low, _SEARCH), _SEARCH).astype(np.int64)
        self._last = np.uint64(cells)

    def __call__(self, pfns: U64) -> NDArray[np.int64]:
        """Return the index of the segment that holds each pfn."""
        if pfns.size < _FEW:
            return np.asarray(np.searchsorted(self._starts, pfns, "right") - 1, np.int64)
        cell = pfns >> self.shift
        np.minimum(cell, self._last, out=cell)
        found = np.take(self.cells, cell.view(np.int64), mode="wrap")
        torn = np.flatnonzero(found == _SEARCH)
        if torn.size:
            found[torn] = np.searchsorted(self._starts, pfns[torn], "right") - 1
        return found


def _top(starts: list[int]) -> int:
    """Return the highest border that the table covers: limits of the address space lie far beyond all others."""
    while len(starts) > 1 and starts[-1] >> _FAR > starts[-2]:
        starts.pop()
    return starts[-1]
