"""Runs: how many pfns of ``pfn, pfn + stride, …`` fall into each class, exact to the page.

Runs of stride one are answered from prefix sums over the segments and cost the same whatever their length; other strides
are counted segment by segment, so they cost as many steps as they cross segments, not as they have pfns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from replay.errors import InputError

__all__ = ("MAX_PAIRS", "RunCounter", "Runs")

MAX_PAIRS = 1 << 24  # (run, segment) pairs counted at once

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
U8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Runs:
    """Runs with positive strides; a descending run is the same set of pfns counted from its other end.

    Attributes:
        first: lowest pfn of each run, uint64.
        count: pfns in each run, uint64, at least 1.
        stride: distance of neighbours, uint64, at least 1.
    """

    first: U64
    count: U64
    stride: U64

    @classmethod
    def of(cls, pfn: U64, nr_pages: U64, stride: I64) -> Runs:
        """Return runs as the trace gives them, descending ones turned round."""
        step = np.abs(stride).astype(np.uint64)
        span = (nr_pages - np.uint64(1)) * step
        return cls(np.where(stride < 0, pfn - span, pfn), nr_pages, np.maximum(step, np.uint64(1)))

    @property
    def last(self) -> U64:
        """Highest pfn of each run."""
        return self.first + (self.count - np.uint64(1)) * self.stride

    def __len__(self) -> int:
        return self.first.size

    def take(self, which: I64) -> Runs:
        """Return some of the runs."""
        return Runs(self.first[which], self.count[which], self.stride[which])


class RunCounter:
    """Counts pfns of runs per class.

    Args:
        starts: first pfn of each segment, uint64, starting with 0; the last segment is open-ended.
        classes: class byte of each segment, uint8.

    Attributes:
        labels: the class bytes that occur, ascending, uint8.
    """

    def __init__(self, starts: U64, classes: U8) -> None:
        self.starts = starts
        self.labels, group = np.unique(classes, return_inverse=True)
        self._group = group.astype(np.int64)
        lengths = np.diff(starts)
        per_class = np.zeros((self.labels.size, starts.size), np.uint64)
        for k in range(self.labels.size):
            per_class[k, 1:] = np.cumsum(np.where(self._group[:-1] == k, lengths, 0))
        self._before = per_class  # pfns of class k in front of each segment

    def counts(self, runs: Runs) -> I64:
        """Return an array (labels, runs) of pfns per class, int64."""
        result = np.empty((self.labels.size, len(runs)), np.int64)
        plain = runs.stride == 1
        if plain.all():
            return self._contiguous(runs)
        which = np.flatnonzero(plain)
        result[:, which] = self._contiguous(runs.take(which))
        which = np.flatnonzero(~plain)
        result[:, which] = self._strided(runs.take(which))
        return result

    def _contiguous(self, runs: Runs) -> I64:
        return (self._below(runs.last) - self._below(runs.first) + self._own(runs.last)).astype(np.int64)

    def _below(self, pfns: U64) -> U64:
        """Return (labels, pfns): how many pfns of each class lie below each pfn."""
        segment = np.searchsorted(self.starts, pfns, "right") - 1
        below = self._before[:, segment]
        below[self._group[segment], np.arange(pfns.size)] += pfns - self.starts[segment]
        return below

    def _own(self, pfns: U64) -> U64:
        segment = np.searchsorted(self.starts, pfns, "right") - 1
        own = np.zeros((self.labels.size, pfns.size), np.uint64)
        own[self._group[segment], np.arange(pfns.size)] = 1
        return own

    def _strided(self, runs: Runs) -> I64:
        run, segment, pages = self.pairs(runs)
        result = np.zeros((self.labels.size, len(runs)), np.int64)
        np.add.at(result, (self._group[segment], run), pages)
        return result

    def pairs(self, runs: Runs) -> tuple[I64, I64, I64]:
        """Return (run, segment, pfns) for every segment that a run has pfns in or passes over.

        Raises:
            InputError: the runs cross so many segments that memory would not be bounded.
        """
        low = np.searchsorted(self.starts, runs.first, "right") - 1
        high = np.searchsorted(self.starts, runs.last, "right") - 1
        crossed = high - low + 1
        total = int(crossed.sum())
        if total > MAX_PAIRS:
            raise InputError("runs", f"{total} crossings of state borders in one batch", f"at most {MAX_PAIRS}",
                             "split the trace into smaller batches")  # fmt: skip
        run = np.repeat(np.arange(len(runs)), crossed)
        offset = np.arange(total) - np.repeat(np.cumsum(crossed) - crossed, crossed)
        segment = np.repeat(low, crossed) + offset
        first, stride, count = runs.first[run], runs.stride[run], runs.count[run]
        is_last = segment == high[run]
        end = self.starts[np.minimum(segment + 1, self.starts.size - 1)]
        upto = np.where(is_last, count, _below(end, first, stride))
        since = np.where(segment == low[run], 0, _below(self.starts[segment], first, stride))
        return run, segment, (upto - since).astype(np.int64)


def _below(pfn: U64, first: U64, stride: U64) -> U64:
    """Return how many of ``first, first + stride, …`` are below a pfn that is not below ``first``."""
    gap = np.where(pfn > first, pfn - first, np.uint64(0))
    return np.asarray((gap + stride - np.uint64(1)) // stride, np.uint64)
