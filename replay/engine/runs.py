"""Runs: how many pfns of ``pfn, pfn + stride, …`` fall into each class, exact to the page.

Runs of stride one are answered from prefix sums over the segments and cost the same whatever their length; other strides
are counted segment by segment, so they cost as many steps as they cross segments, not as they have pfns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from replay.engine.locate import Locator

__all__ = ("MAX_PAIRS", "Placed", "RunCounter", "Runs")

MAX_PAIRS = 1 << 24  # (run, segment) pairs counted at once
_WORD = (1 << 64) - 1

Bools = NDArray[np.bool_]
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

    def part(self, which: I64 | slice) -> Runs:
        """Return some of the runs."""
        return Runs(self.first[which], self.count[which], self.stride[which])


@dataclass(frozen=True)
class Placed:
    """Runs and where they lie.

    Attributes:
        runs: the runs.
        end: pfn after the last.
        low: segment of the first pfn.
        high: segment of ``end``.
        strided: the runs whose stride is not one.
        pairs: (number within ``strided``, segment, pfns) of those, None if there are none.
    """

    runs: Runs
    end: U64
    low: I64
    high: I64
    strided: I64
    pairs: tuple[I64, I64, I64] | None


class RunCounter:
    """Counts pfns of runs by class.

    Contiguous runs: with the pfns of some classes counted up to each segment, those below a pfn are a sum of two numbers
    of its segment; a run is the difference of two such sums.

    Args:
        starts: first pfn of each segment, uint64, starting with 0; the last segment is open-ended.
        classes: class byte of each segment, uint8.

    Attributes:
        present: which of the 256 classes occur.
    """

    def __init__(self, starts: U64, classes: U8) -> None:
        self.starts = starts
        self._classes = classes
        self._locate = Locator(starts)
        self._sums: dict[bytes, tuple[U64, U64]] = {}
        present = np.zeros(256, np.bool_)
        present[classes] = True
        self.present = present

    def step(self, runs: Runs) -> int:
        """Return how many runs may be placed at once, so that pairs of strided ones take bounded memory."""
        return max(MAX_PAIRS // self.starts.size, 1) if (runs.stride != 1).any() else len(runs)

    def place(self, runs: Runs) -> Placed:
        """Return runs with the segments that they begin and end in."""
        end = runs.last + np.uint64(1)
        strided = np.flatnonzero(runs.stride != 1)
        pairs = self.pairs(runs.part(strided)) if strided.size else None
        high = self._locate(end)
        high[end == 0] = self.starts.size - 1  # behind the last number that there is; sums are modulo 2**64 as well
        return Placed(runs, end, self._locate(runs.first), high, strided, pairs)

    def pages(self, placed: Placed, which: Bools) -> I64:
        """Return how many pfns of each run fall into the classes of which ``which`` (256 of them) is true, int64."""
        if not (which & self.present).any():
            return np.zeros(len(placed.runs), np.int64)
        offset, mask = self._below(which)
        result = mask[placed.high]
        result &= placed.end
        result += offset[placed.high]
        low = mask[placed.low]
        low &= placed.runs.first
        low += offset[placed.low]
        result -= low
        pages = result.view(np.int64)
        if placed.pairs is not None:
            run, segment, count = placed.pairs
            hit = which[self._classes[segment]]
            pages[placed.strided] = 0
            np.add.at(pages, placed.strided[run[hit]], count[hit])
        return pages

    def count_compiled(self, loops: ModuleType, runs: Runs, watched: Bools) -> tuple[I64, tuple[U64, U64, I64]]:
        """Return ``totals`` of runs, all of stride one, and their ``pieces`` in watched classes, by a compiled loop."""
        size = self.starts.size
        ends, sums = np.zeros((3, size), np.int64), np.zeros((2, size), np.uint64)
        member = watched[self._classes]
        picked = np.empty(len(runs), np.int64)
        cells, shift = self._locate.cells, self._locate.shift
        found = loops.count_runs(runs.first, runs.count, self.starts, cells, shift, member, ends, sums, picked)
        placed = self.place(runs.part(picked[:found]))
        counts = self.totals(placed)
        before, behind = self._sum_of(ends[0], sums[0]), self._sum_of(ends[1], sums[1])
        for label in before:
            counts[label] += behind[label] - before[label] & _WORD
        pieces = zip(self.pieces(placed, watched), self._whole(ends[0], ends[1], ends[2], member), strict=True)
        first, last, count = (np.concatenate(column) for column in pieces)
        return counts, (first, last, count)

    def totals(self, placed: Placed) -> I64:
        """Return how many pfns of all runs together fall into each of the 256 classes, int64."""
        counts = np.zeros(256, np.int64)
        labels = np.flatnonzero(self.present).tolist()
        if placed.pairs is not None:
            for label in labels:
                counts[label] = self.pages(placed, _only(label)).sum()
            return counts
        before, ends = self._sum_below(placed.runs.first, placed.low), self._sum_below(placed.end, placed.high)
        for label in labels:
            counts[label] = ends[label] - before[label] & _WORD
        return counts

    def several(self, placed: Placed, value: U8) -> tuple[U8, Bools]:
        """Return the value (by class, 256 of them) that each run begins with, and whether it meets another one."""
        values = value[self._classes]
        first = values[placed.low]
        changes = np.cumsum(np.append(False, values[1:] != values[:-1]), dtype=np.int64)
        met = changes[placed.low] != changes[self._locate(placed.end - np.uint64(1))]
        if placed.pairs is not None:
            run, segment, pages = placed.pairs
            at = placed.strided[run]
            met[placed.strided] = False
            met[at[(values[segment] != first[at]) & (pages > 0)]] = True
        return first, met

    def pieces(self, placed: Placed, which: Bools) -> tuple[U64, U64, I64]:
        """Return (first pfn, last pfn, pfns) of the parts of the runs that fall into some of the 256 classes.

        A segment that runs pass over as a whole is one piece for all of them.
        """
        member = which[self._classes]
        first, last, count = self._pieces_of_pairs(placed, member)
        straight = np.ones(len(placed.runs), np.bool_)
        straight[placed.strided] = False
        low, high, runs = placed.low[straight], placed.high[straight], placed.runs.part(np.flatnonzero(straight))
        size = self.starts.size
        begun, ended = np.bincount(low, minlength=size), np.bincount(high, minlength=size)
        within = np.bincount(low[low == high], minlength=size)
        ends = np.append(self.starts[1:], np.uint64(0)) - np.uint64(1)
        parts = [(first, last, count), self._whole(begun, ended, within, member)]
        for segment, others in ((low, None), (high, low)):
            hit = member[segment] if others is None else member[segment] & (segment != others)
            hit = np.flatnonzero(hit)
            first = np.maximum(self.starts[segment[hit]], runs.first[hit])
            last = np.minimum(ends[segment[hit]], runs.last[hit])
            some = first <= last  # a run may end where a segment starts
            parts.append((first[some], last[some], (last - first + np.uint64(1))[some].astype(np.int64)))
        first, last, count = (np.concatenate(column) for column in zip(*parts, strict=True))
        return first, last, count

    def _whole(self, begun: I64, ended: I64, within: I64, member: Bools) -> tuple[U64, U64, I64]:
        """Return as pieces those segments, among ``member``, that runs begin before and end behind.

        Args:
            begun: runs that begin in each segment.
            ended: runs that end in it.
            within: runs that do both.
            member: the segments asked about.
        """
        over = np.cumsum(begun) - begun - np.cumsum(ended) + within
        whole = np.flatnonzero(member & (over > 0))
        last = (np.append(self.starts[1:], np.uint64(0)) - np.uint64(1))[whole]
        lengths = (last - self.starts[whole] + np.uint64(1)).astype(np.int64)
        return self.starts[whole], last, over[whole] * lengths

    def _pieces_of_pairs(self, placed: Placed, member: Bools) -> tuple[U64, U64, I64]:
        """Return the pieces of strided runs."""
        if placed.pairs is None:
            return np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.int64)
        run, segment, count = placed.pairs
        hit = member[segment] & (count > 0)
        runs, segment = placed.runs.part(placed.strided[run[hit]]), segment[hit]
        ends = np.append(self.starts[1:], np.uint64(0)) - np.uint64(1)
        return np.maximum(self.starts[segment], runs.first), np.minimum(ends[segment], runs.last), count[hit]

    def _sum_below(self, pfns: U64, segment: I64) -> dict[int, int]:
        """Return per class the sum over pfns of how many of it lie below, modulo 2**64."""
        size = self.starts.size
        hits = np.bincount(segment, minlength=size)
        # Sums of up to 2**20 halves of 32 bits are exact as doubles.
        low = np.bincount(segment, pfns & np.uint64(0xFFFFFFFF), size).astype(np.uint64)
        high = np.bincount(segment, pfns >> np.uint64(32), size).astype(np.uint64)
        return self._sum_of(hits, low + (high << np.uint64(32)))

    def _sum_of(self, hits: I64, inside: U64) -> dict[int, int]:
        """Return the same from how many pfns lie in each segment, and the sum of those, modulo 2**64."""
        touched = np.flatnonzero(hits)
        sums: dict[int, int] = {}
        for label in np.flatnonzero(self.present).tolist():
            offset, mask = self._below(_only(label))
            total = (offset[touched] * hits[touched].astype(np.uint64) + (mask & inside)[touched]).sum(dtype=np.uint64)
            sums[label] = int(total)
        return sums

    def _below(self, which: Bools) -> tuple[U64, U64]:
        """Return per segment the two numbers: pfns below x are ``offset + (mask & x)``, modulo 2**64, for x within it."""
        key = which.tobytes()
        if key not in self._sums:
            member = which[self._classes]
            lengths = np.where(member[:-1], np.diff(self.starts), np.uint64(0))
            before = np.concatenate([np.zeros(1, np.uint64), np.cumsum(lengths, dtype=np.uint64)])
            mask = np.where(member, ~np.uint64(0), np.uint64(0))
            self._sums[key] = before - (mask & self.starts), mask
        return self._sums[key]

    def pairs(self, runs: Runs) -> tuple[I64, I64, I64]:
        """Return (run, segment, pfns) for every segment that a run has pfns in or passes over."""
        low, high = self._locate(runs.first), self._locate(runs.last)
        crossed = high - low + 1
        total = int(crossed.sum())
        run = np.repeat(np.arange(len(runs)), crossed)
        offset = np.arange(total) - np.repeat(np.cumsum(crossed) - crossed, crossed)
        segment = np.repeat(low, crossed) + offset
        first, stride, count = runs.first[run], runs.stride[run], runs.count[run]
        is_last = segment == high[run]
        end = self.starts[np.minimum(segment + 1, self.starts.size - 1)]
        upto = np.where(is_last, count, _below(end, first, stride))
        since = np.where(segment == low[run], 0, _below(self.starts[segment], first, stride))
        return run, segment, (upto - since).astype(np.int64)


@cache
def _only(label: int) -> Bools:
    which = np.zeros(256, np.bool_)
    which[label] = True
    return which


def _below(pfn: U64, first: U64, stride: U64) -> U64:
    """Return how many of ``first, first + stride, …`` are below a pfn that is not below ``first``."""
    gap = np.where(pfn > first, pfn - first, np.uint64(0))
    return np.asarray((gap + stride - np.uint64(1)) // stride, np.uint64)
