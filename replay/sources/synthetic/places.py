"""Where a walk stops: functions from the number of a stop to its pfn."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

import numpy as np
from numpy.typing import NDArray

from replay.sources.synthetic.rows import Places
from replay.sources.synthetic.streams import Stream

__all__ = ("Spans", "fixed", "marching", "meeting", "random_in", "shuffled", "stops_of")

Spans = Sequence[tuple[int, int]]
_SMALL = 1 << 16  # stops of a pass up to which all are kept
_MOST = 1 << 22  # places made at once
_MOST_PLACES = 1 << 40
_Pfns = NDArray[np.uint64]


def stops_of(spans: Spans, step: int) -> int:
    """Return the number of stops of one pass: from the first pfn of each span on, ``step`` pfns apart."""
    return sum(-(-(end - start) // step) for start, end in spans)


def marching(spans: Spans, step: int = 1, *, down: bool = False) -> Places:
    """Return stops that go through the spans again and again.

    Args:
        spans: pfns, half open, in the order in which they are walked upwards.
        step: pfns from one stop to the next within a span.
        down: from the last stop to the first.
    """
    counts = np.array([-(-(end - start) // step) for start, end in spans], np.int64)
    bases = np.array([start for start, _ in spans], np.int64)
    befores = np.concatenate(([0], np.cumsum(counts)))
    total = int(befores[-1])
    # Within a span: pfn = base + (n - stops before the span) * step.
    shifted = bases - befores[:-1] * step

    def piece(first: int, count: int) -> _Pfns:
        """Return stops ``[first, first + count)`` of one pass upwards."""
        low = int(np.searchsorted(befores, first, "right")) - 1
        high = int(np.searchsorted(befores, first + count, "left"))
        edges = np.clip(befores[low : high + 1], first, first + count)
        number = np.arange(first, first + count, dtype=np.int64)
        number *= step
        number += shifted[low] if high - low == 1 else np.repeat(shifted[low:high], np.diff(edges))
        return number.view(np.uint64)

    def in_pass(first: int, count: int) -> _Pfns:
        return piece(total - first - count, count)[::-1] if down else piece(first, count)

    kept = in_pass(0, total) if total <= _SMALL else None

    def places(first: int, count: int) -> _Pfns:
        start = first % total
        if kept is not None:
            repeats = -(-(start + count) // total)
            return np.tile(kept, repeats)[start : start + count]
        pieces: list[_Pfns] = []
        while count or not pieces:
            size = min(count, total - start)
            pieces.append(in_pass(start, size))
            count, start = count - size, 0
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    return places


def meeting(spans: Spans, step: int) -> Places:
    """Return the stops of two cursors by turns, one from below and one from above, until they meet; then again."""
    total = stops_of(spans, step)
    up, down = marching(spans, step), marching(spans, step, down=True)

    def places(first: int, count: int) -> _Pfns:
        found = np.empty(count, np.uint64)
        done = 0
        while done < count:
            start = (first + done) % total
            size = min(count - done, total - start)
            low, high = -(-start // 2), -(-(start + size) // 2)  # of the cursor from below: even places
            out = found[done : done + size]
            out[start % 2 :: 2] = up(low, high - low)
            low, high = start // 2, (start + size) // 2
            out[1 - start % 2 :: 2] = down(low, high - low)
            done += size
        return found

    return places


def random_in(spans: Spans, stream: Stream, unit: int = 1) -> Places:
    """Return random pfns of the spans, each as likely as any other; multiples of ``unit`` from the start of a span."""
    counts = np.array([(end - start) // unit for start, end in spans], np.int64)
    befores = np.concatenate(([0], np.cumsum(counts)))
    shifted = np.array([start for start, _ in spans], np.int64) - befores[:-1] * unit
    total = int(befores[-1])

    def places(first: int, count: int) -> _Pfns:
        number = stream.below(first, count, total)
        if unit != 1:
            number *= np.uint64(unit)
        if len(counts) == 1:
            number += np.uint64(int(shifted[0]) & (1 << 64) - 1)
            return number
        span = np.searchsorted(befores * unit, number.view(np.int64), "right") - 1
        number += shifted[span].view(np.uint64)
        return number

    return places


def shuffled(spans: Spans, stream: Stream, unit: int = 1) -> Places:
    """Return every place of the spans once, in no order, then all of them again in another one.

    Place *n* of a pass is ``a * n + b`` modulo the number of places, with ``a`` coprime to it.
    """
    total = stops_of(spans, unit)
    straight = marching(spans, unit)
    small = straight(0, total) if total <= _SMALL else None

    def one_pass(turn: int, first: int, count: int) -> _Pfns:
        factor = _coprime(stream.one(2 * turn, total) | 1, total)
        begin = (stream.one(2 * turn + 1, total) + first * factor) % total
        assert count <= _MOST
        assert total <= _MOST_PLACES  # so that the product fits 64 bits
        number = np.arange(count, dtype=np.uint64)
        number *= np.uint64(factor % total)
        number += np.uint64(begin)
        number %= np.uint64(total)
        return small.take(number.view(np.int64)) if small is not None else _placed(number)

    counts = np.array([-(-(end - start) // unit) for start, end in spans], np.int64)
    befores = np.concatenate(([0], np.cumsum(counts)))
    shifted = np.array([start for start, _ in spans], np.int64) - befores[:-1] * unit

    def _placed(number: _Pfns) -> _Pfns:
        span = np.searchsorted(befores, number.view(np.int64), "right") - 1
        number *= np.uint64(unit)
        number += shifted[span].view(np.uint64)
        return number

    def places(first: int, count: int) -> _Pfns:
        pieces: list[_Pfns] = []
        while count or not pieces:
            turn, start = divmod(first, total)
            size = min(count, total - start)
            pieces.append(one_pass(turn, start, size))
            first, count = first + size, count - size
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    return places


def fixed(pfn: int) -> Places:
    """Return the same pfn again and again."""
    return lambda _first, count: np.full(count, pfn, np.uint64)


def _coprime(near: int, total: int) -> int:
    """Return a number from ``near`` on that shares no factor with ``total``."""
    while gcd(near, total) != 1:
        near += 1
    return near
