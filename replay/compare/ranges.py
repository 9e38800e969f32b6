"""The pfns of differing calls: exact ranges as long as there are not too many, else one for each memory block."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from replay.engine.tally import RangeCount

__all__ = ("PfnRange", "PfnRanges")

_MOST = 4096  # exact ranges kept of a cause
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
_Columns = tuple[U64, U64, U64, I64]


class PfnRange(NamedTuple):
    """Pfns that were asked about.

    Attributes:
        first: the lowest.
        last: the highest, inclusive.
        step: distance from each to the next.
        calls: how many.
    """

    first: int
    last: int
    step: int
    calls: int


class PfnRanges:
    """Counts calls by pfn range.

    Ranges that overlap or touch are one, as are those of the same step that continue each other. Where more than
    4,096 are left, as of random pfns, there is one range for each place, from the lowest to the highest pfn.

    Attributes:
        exact: each pfn of the ranges was asked about.
    """

    def __init__(self) -> None:
        self.exact = True
        self._columns: _Columns = _empty()
        self._coarse = RangeCount()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PfnRanges) and self.listed() == other.listed()

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __repr__(self) -> str:
        return f"PfnRanges({self.listed()!r})"

    def add(self, first: U64, last: U64, calls: I64, place: U64) -> None:
        """Count calls.

        Args:
            first: lowest pfns.
            last: highest pfns, inclusive.
            calls: of each: so many pfns, evenly spread; or one call about all of them.
            place: for each, where it belongs if there get too many.
        """
        if not first.size:
            return
        self._coarse.add_many(first, last, calls, place)
        if self.exact:
            apart = np.maximum(calls - 1, 1).astype(np.uint64)
            step = np.where(calls > 1, (last - first) // apart, np.uint64(1))
            self._take((np.maximum(step, np.uint64(1)), first, last, calls))

    def merge(self, other: PfnRanges) -> None:
        """Count the calls of another part too."""
        self._coarse.merge(other._coarse)
        self.exact &= other.exact
        self._take(other._columns)

    def listed(self) -> list[PfnRange]:
        """Return the ranges, ascending."""
        if not self.exact:
            return [PfnRange(first, last, 1, calls) for first, last, calls in self._coarse.merged()]
        step, first, last, calls = self._columns
        whole = step == 1
        # Every other pfn of a range all of which was asked about says nothing new.
        around = np.searchsorted(first[whole], first, "right") - 1
        ends = np.append(last[whole], np.uint64(0))  # for those that have none below them
        within = ~whole & (last <= ends[around]) & (around >= 0)
        calls = calls.copy()
        np.add.at(calls, np.flatnonzero(whole)[around[within]], calls[within])
        rows = zip(*(column[~within].tolist() for column in (first, last, step, calls)), strict=True)
        return sorted(PfnRange(*row) for row in rows)

    def _take(self, more: _Columns) -> None:
        if self.exact:
            step, first, last, calls = self._columns
            self._columns = _union(
                np.concatenate([step, more[0]]),
                np.concatenate([first, more[1]]),
                np.concatenate([last, more[2]]),
                np.concatenate([calls, more[3]]),
            )
            self.exact = self._columns[0].size <= _MOST
        if not self.exact:
            self._columns = _empty()


def _empty() -> _Columns:
    none = np.empty(0, np.uint64)
    return none, none, none, np.empty(0, np.int64)


def _union(step: U64, first: U64, last: U64, calls: I64) -> _Columns:
    """Return ranges with those joined that overlap or continue each other: of the same step, and a multiple of it apart."""
    if not first.size:
        return step, first, last, calls
    offset = first % step
    order = np.lexsort((first, offset, step))
    step, offset, first, last, calls = step[order], offset[order], first[order], last[order], calls[order]
    apart = np.append(False, (step[1:] != step[:-1]) | (offset[1:] != offset[:-1]))
    group = np.cumsum(apart)
    # The highest pfn so far within each group, by ranks, so that groups can be told apart in one go.
    pfns, rank = np.unique(last, return_inverse=True)
    highest = pfns[np.maximum.accumulate(rank + group * pfns.size) - group * pfns.size]
    starts = np.flatnonzero(apart | np.append(True, first[1:] > highest[:-1] + step[1:]))
    return step[starts], first[starts], np.maximum.reduceat(last, starts), np.add.reduceat(calls, starts)
