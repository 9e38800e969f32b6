"""DAMON's sampling of physical memory.

Every tick asks for the page sampled last in each region, asks again, and then for the page to sample next, each time
region by region in the order of addresses. After some ticks (the aggregation interval) neighbouring regions are merged
and split at random again: here every second border stays and the other one moves.
"""

from __future__ import annotations

import numpy as np

from replay.errors import UsageError
from replay.sources.synthetic.machines import Span
from replay.sources.synthetic.rows import Columns, Part
from replay.sources.synthetic.streams import Stream
from replay.trace.schema import EventKind

__all__ = ("sampled",)

_ASKED = 3  # times that a region is asked in a tick
_SMALLEST = 10  # parts in a hundred that a split leaves to the smaller region


def sampled(span: Span, regions: int, aggregation: int, stream: Stream) -> Part:
    """Return the lookups of DAMON.

    Args:
        span: what is monitored, pfns, half open.
        regions: an even number.
        aggregation: ticks between splits.
        stream: of random numbers.

    Raises:
        UsageError: an odd number of regions, or more than there are pages for.
    """
    pairs, pages = regions // 2, span[1] - span[0]
    if regions % 2 or pages // max(pairs, 1) < _SMALLEST:
        most = pages // _SMALLEST * 2
        raise UsageError(
            f"damon: regions={regions}: needed an even number up to {most}, as {min(regions // 2 * 2 or 2, most)}"
        )
    edges = span[0] + np.arange(pairs + 1, dtype=np.int64) * pages // pairs
    # Words of the stream: for each tick one per region; the splits have a stream of their own.
    splits = Stream(int(stream.words(0, 1)[0]), "splits")

    def borders(first: int, last: int) -> np.ndarray:
        """Return the borders of all regions, one row per aggregation interval ``[first, last]``."""
        turns = last - first + 1
        share = splits.below(first * pairs, turns * pairs, 100 - 2 * _SMALLEST).astype(np.int64) + _SMALLEST
        found = np.empty((turns, regions + 1), np.int64)
        found[:, 0::2] = edges
        found[:, 1::2] = edges[:-1] + np.diff(edges) * share.reshape(turns, pairs) // 100
        return found

    def samples(first: int, ticks: int) -> np.ndarray:
        """Return the pfns sampled from each of some ticks to the next, one row per tick."""
        turn = np.arange(first, first + ticks) // aggregation
        border = borders(int(turn[0]), int(turn[-1]))
        starts, widths = border[:, :-1], np.diff(border)
        # Regions differ in width, so this is ``scaled`` with an array of bounds: still one rounding.
        part = (stream.words(1 + first * regions, ticks * regions) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        own = turn - turn[0]
        within: np.ndarray = (part.reshape(ticks, regions) * widths[own]).astype(np.int64)
        within += starts[own]
        return within

    def rows(first: int, count: int) -> Columns:
        size = _ASKED * regions
        low, high = first // size, -(-(first + count) // size)
        pfns = samples(low, high - low + 1)
        asked = np.stack([pfns[:-1], pfns[:-1], pfns[1:]], axis=1).reshape(-1)
        skip = first - low * size
        kind = np.full(count, EventKind.PFN_TO_ONLINE_PAGE, np.uint8)
        return {"kind": (kind, None), "pfn": (asked[skip : skip + count].view(np.uint64), None)}

    return Part("damon", rows, frozenset({"kind", "pfn"}))
