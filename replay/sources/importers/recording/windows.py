"""Which lookups cannot be told to stand before or after a change.

A lookup was answered at some moment between two events, and so was a change made. When one of the two intervals ends
before the other begins, their order is certain. When they overlap, the lookup's row has to stand before the change's,
with a window that reaches it: both answers are possible.
"""

from __future__ import annotations

import numpy as np

from .lookups import NOT_GIVEN, Lookups
from .rows import Row

__all__ = ("open_dumps", "open_lookups")

_SHORT = 64  # events that a lookup usually takes at most; longer ones are looked at for every change


def open_lookups(lookups: Lookups, effects: list[Row]) -> np.ndarray:
    """Return per lookup the last change (index into ``effects``) it may have come before, or -1.

    Args:
        lookups: in the order of ``begin``; ``at`` of a lookup whose order is open is set to ``begin``.
        effects: rows with an effect, in their final order.
    """
    target = np.full(len(lookups), NOT_GIVEN, np.int64)
    begin, end, pfn = lookups.begin, lookups.end, lookups.pfn
    long = np.flatnonzero(end - begin > _SHORT)
    for number, row in enumerate(effects):
        effect = row.effect
        assert effect is not None
        first, last = np.searchsorted(begin, (effect.since - _SHORT, row.at))
        near = np.concatenate((np.arange(first, last), long[long < first]))
        overlap = (begin[near] < row.at) & (end[near] > effect.since)
        hit = near[overlap & (pfn[near] >= effect.low) & (pfn[near] < effect.high)]
        target[hit] = number  # effects are in order: the last one stays
    moved = target >= 0
    lookups.at[moved] = lookups.begin[moved]
    for number, row in enumerate(effects):
        _before_later_parts(lookups, row, number, target)
    return target


def _before_later_parts(lookups: Lookups, row: Row, number: int, target: np.ndarray) -> None:
    """Put lookups that a later part of a change had not reached yet in front of its row, which has all of it."""
    assert row.effect is not None
    for part in row.effect.later:
        inside = (lookups.pfn >= part.low) & (lookups.pfn < part.high)
        early = np.flatnonzero(inside & (lookups.begin < part.until) & (lookups.at >= row.at))
        lookups.at[early] = row.at - 1
        open_ = early[lookups.end[early] > part.since]
        target[open_] = number


def open_dumps(rows: list[Row], effects: list[Row]) -> dict[int, int]:
    """Return, for rows (by index) that were read at a moment not known, the last change they may have come before."""
    changes = [(number, row) for number, row in enumerate(effects) if row.effect is not None and row.effect.sections]
    result: dict[int, int] = {}
    for index, row in enumerate(rows):
        if row.asked is None:
            continue
        for number, change in changes:
            effect = change.effect
            assert effect is not None
            if change.at > row.at and effect.since < row.asked.until and (
                effect.low < row.asked.high and row.asked.low < effect.high
            ):  # fmt: skip
                result[index] = number
    return result
