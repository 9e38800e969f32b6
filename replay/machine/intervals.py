"""A sparse map from pfns to small values: sorted, disjoint, half-open intervals."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ("IntervalMap", "piecewise")


def piecewise(borders: NDArray[np.uint64], values: NDArray[Any], pfns: NDArray[np.uint64]) -> NDArray[Any]:
    """Return the values of a piecewise constant function at pfns.

    Borders are looked up among the pfns where there are more of these: many pfns cost little more than writing the result.

    Args:
        borders: where the function changes, ascending; n of them.
        values: n + 1; the first holds below all borders.
        pfns: ascending.
    """
    if pfns.size < borders.size:
        return values[np.searchsorted(borders, pfns, "right")]
    lengths = np.diff(np.searchsorted(pfns, borders), prepend=0, append=pfns.size)
    return np.repeat(values, lengths)


class IntervalMap:
    """Values over disjoint intervals ``[start, end)``; memory is proportional to the number of intervals."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._values: list[int] = []
        self._arrays: tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint32]] | None = None

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        return iter(zip(self._starts, self._ends, self._values, strict=True))

    def assign(self, start: int, end: int, value: int) -> None:
        """Give ``[start, end)`` the value, whatever was there."""
        if start >= end:
            return
        self.clear(start, end)
        i = bisect_left(self._starts, start)
        if i and self._ends[i - 1] == start and self._values[i - 1] == value:
            i -= 1
            self._ends[i] = end
        else:
            self._starts.insert(i, start)
            self._ends.insert(i, end)
            self._values.insert(i, value)
        if i + 1 < len(self._starts) and self._starts[i + 1] == end and self._values[i + 1] == value:
            self._ends[i] = self._ends[i + 1]
            del self._starts[i + 1], self._ends[i + 1], self._values[i + 1]
        self._arrays = None

    def clear(self, start: int, end: int) -> None:
        """Leave ``[start, end)`` without a value."""
        first, last = self._span(start, end)
        if first == last:
            return
        kept = []
        if self._starts[first] < start:
            kept.append((self._starts[first], start, self._values[first]))
        if self._ends[last - 1] > end:
            kept.append((end, self._ends[last - 1], self._values[last - 1]))
        self._starts[first:last] = [k[0] for k in kept]
        self._ends[first:last] = [k[1] for k in kept]
        self._values[first:last] = [k[2] for k in kept]
        self._arrays = None

    def get(self, pfn: int) -> int:
        """Return the value at a pfn, 0 where there is none."""
        i = bisect_right(self._starts, pfn) - 1
        return self._values[i] if i >= 0 and pfn < self._ends[i] else 0

    def overlaps(self, start: int, end: int) -> bool:
        """Return whether any interval touches ``[start, end)``."""
        first, last = self._span(start, end)
        return first != last

    def within(self, start: int, end: int) -> list[tuple[int, int, int]]:
        """Return (start, end, value) of the intervals that touch ``[start, end)``, clipped to it."""
        first, last = self._span(start, end)
        return [(max(start, self._starts[i]), min(end, self._ends[i]), self._values[i]) for i in range(first, last)]

    @property
    def end(self) -> int:
        """End of the highest interval, 0 when empty."""
        return self._ends[-1] if self._ends else 0

    def at(self, pfns: NDArray[np.uint64]) -> NDArray[np.uint32]:
        """Return the values at many pfns (uint32, 0 where there is none)."""
        if not self._starts:
            return np.zeros(pfns.shape, np.uint32)
        starts, ends, values = self._as_arrays()
        i = np.searchsorted(starts, pfns, "right").astype(np.int64) - 1
        hit = (i >= 0) & (pfns < ends[i])
        return np.where(hit, values[i], np.uint32(0))

    def at_sorted(self, pfns: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the values at many ascending pfns (int64, 0 where there is none), in a new array."""
        if not self._starts:
            return np.zeros(pfns.shape, np.int64)
        starts, ends, values = self._as_arrays()
        borders = np.stack([starts, ends], axis=1).reshape(-1)
        between = np.zeros(borders.size + 1, np.int64)
        between[1::2] = values
        return piecewise(borders, between, pfns)

    def _as_arrays(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint32]]:
        if self._arrays is None:
            self._arrays = (
                np.array(self._starts, np.uint64),
                np.array(self._ends, np.uint64),
                np.array(self._values, np.uint32),
            )
        return self._arrays

    def edges(self, start: int, end: int) -> list[int]:
        """Return the interval bounds that lie within ``[start, end]``, in no order."""
        first, last = self._span(start, end)
        bounds = self._starts[first:last] + self._ends[first:last]
        return [b for b in bounds if start <= b <= end]

    def _span(self, start: int, end: int) -> tuple[int, int]:
        """Return the slice of intervals that touch ``[start, end)``."""
        first = bisect_right(self._ends, start)
        return first, max(first, bisect_left(self._starts, end))
