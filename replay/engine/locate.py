"""From pfns to segments, fast for many pfns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ("Locator",)

_COARSE_BITS = 14  # the table stays in the first level cache
_SEARCH = -1
_FEW = 64

U64 = NDArray[np.uint64]


class Locator:
    """Finds the segments of many pfns: by a coarse table where the segments are larger than its cells, else by search.

    Args:
        starts: first pfn of each segment, uint64, ascending from 0; the last segment is open-ended.
    """

    def __init__(self, starts: U64) -> None:
        self._starts = starts
        top = int(starts[-1])
        self._shift = np.uint64(max(top.bit_length() - _COARSE_BITS, 0))
        cells = (top >> int(self._shift)) + 2  # the last one stands for all beyond
        edges = np.arange(cells, dtype=np.uint64) << self._shift
        low = np.searchsorted(starts, edges, "right") - 1
        high = np.append(np.searchsorted(starts, edges[1:], "left") - 1, low[-1])
        self._cells = np.where(low == high, low, _SEARCH).astype(np.int64)
        self._last = np.uint64(cells - 1)

    def __call__(self, pfns: U64) -> NDArray[np.int64]:
        """Return the index of the segment that holds each pfn."""
        if pfns.size < _FEW:
            return np.asarray(np.searchsorted(self._starts, pfns, "right") - 1, np.int64)
        cell = pfns >> self._shift
        np.minimum(cell, self._last, out=cell)
        found = np.take(self._cells, cell.view(np.int64), mode="wrap")
        torn = np.flatnonzero(found == _SEARCH)
        if torn.size:
            found[torn] = np.searchsorted(self._starts, pfns[torn], "right") - 1
        return found
