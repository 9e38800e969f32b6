"""What two kernels answered to the same rows, unit by unit: a row, or the part of a run that one pair of checks decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.engine.rows import ColumnSource, Outcomes, Parts
from replay.trace.outcomes import CHECK_SEVERAL

__all__ = ("Side", "Units", "units_of")

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
Array = NDArray[Any]


@dataclass(frozen=True)
class Side:
    """What one kernel answered to the lookups of one function in a batch.

    Attributes:
        outcomes: columns, row-aligned with the batch.
        parts: of the runs within which several checks decide.
        base: number of the function's first check in outcomes.
    """

    outcomes: Outcomes
    parts: Sequence[Parts]
    base: int

    def several(self, rows: I64) -> NDArray[np.bool_]:
        """Return in which rows several checks decide."""
        return np.asarray(self.outcomes["check"][rows] == CHECK_SEVERAL)

    def check(self, rows: I64) -> Array:
        """Return the check that decides each of the other rows, by its number within the function, uint8."""
        return (self.outcomes["check"][rows].astype(np.int64) - self.base).astype(np.uint8)

    def wrong(self, rows: I64) -> I64:
        """Return how many pfns of each row are answered against the truth."""
        false_online, false_offline = (self.outcomes[name][rows].astype(np.int64) for name in _WRONG)
        return np.asarray(false_online + false_offline, np.int64)


_WRONG = ("false_online", "false_offline")


@dataclass(frozen=True)
class Units:
    """Units of a batch, in the order of the rows; all arrays have one element each.

    Attributes:
        row: index within the batch, int64.
        first: lowest pfn, uint64.
        last: highest pfn, inclusive, uint64.
        pages: calls: the pfns of a lookup, else 1, int64.
        check: number of the deciding check within the function, of the baseline and of the candidate, uint8.
        wrong: pfns answered against the truth, of each, int64.
    """

    row: I64
    first: U64
    last: U64
    pages: I64
    check: tuple[Array, Array]
    wrong: tuple[I64, I64]

    def take(self, which: Array) -> Units:
        """Return some of the units."""
        check, wrong = self.check, self.wrong
        return Units(
            self.row[which],
            self.first[which],
            self.last[which],
            self.pages[which],
            (check[0][which], check[1][which]),
            (wrong[0][which], wrong[1][which]),
        )


def units_of(batch: ColumnSource, rows: I64, sides: tuple[Side, Side]) -> Units:
    """Return the units of lookup rows, those in parts last.

    Args:
        batch: the rows.
        rows: indices of lookups of one function, ascending.
        sides: what baseline and candidate answered.
    """
    several = sides[0].several(rows) | sides[1].several(rows)
    whole = _whole(batch, rows[~several], sides)
    if not several.any():
        return whole
    split = _split(batch, rows[several], sides)
    both = zip(whole.check, split.check, strict=True), zip(whole.wrong, split.wrong, strict=True)
    check, wrong = ([np.concatenate(pair) for pair in pairs] for pairs in both)
    return Units(
        np.concatenate([whole.row, split.row]),
        np.concatenate([whole.first, split.first]),
        np.concatenate([whole.last, split.last]),
        np.concatenate([whole.pages, split.pages]),
        (check[0], check[1]),
        (wrong[0], wrong[1]),
    )


def _span(batch: ColumnSource, rows: I64) -> tuple[U64, U64, U64]:
    """Return lowest pfn, pfns and stride of lookup rows, descending ones turned round."""
    pfn = np.asarray(batch.column("pfn")[rows], np.uint64)
    if batch.given("nr_pages") is False:
        one = np.ones(rows.size, np.uint64)
        return pfn, one, one
    pages = np.asarray(batch.column("nr_pages")[rows], np.uint64)
    stride = np.asarray(batch.column("stride")[rows], np.int64)
    step = np.maximum(np.abs(stride), 1).astype(np.uint64)
    return np.where(stride < 0, pfn - (pages - np.uint64(1)) * step, pfn), pages, step


def _whole(batch: ColumnSource, rows: I64, sides: tuple[Side, Side]) -> Units:
    first, pages, step = _span(batch, rows)
    a, b = sides
    return Units(
        rows,
        first,
        first + (pages - np.uint64(1)) * step,
        pages.astype(np.int64),
        (a.check(rows), b.check(rows)),
        (a.wrong(rows), b.wrong(rows)),
    )


def _split(batch: ColumnSource, rows: I64, sides: tuple[Side, Side]) -> Units:
    """Return the parts of runs: each kernel's parts cut at the other's borders too."""
    first, pages, step = _span(batch, rows)
    borders = [_borders(side, rows) for side in sides]
    row = np.concatenate([b[0] for b in borders])
    start = np.concatenate([b[1] for b in borders])
    side = np.repeat([0, 1], [b[0].size for b in borders])
    check = np.concatenate([b[2] for b in borders])
    wrong = np.concatenate([b[3] for b in borders])
    order = np.lexsort((start, row))
    row, start, side, check, wrong = row[order], start[order], side[order], check[order], wrong[order]
    here = []
    for number in (
        0,
        1,
    ):  # each side's latest border at or before each border; the first of a row stands at its very start
        latest = np.maximum.accumulate(np.where(side == number, np.arange(row.size), 0))
        here.append(latest)
    same_place = np.append((row[1:] == row[:-1]) & (start[1:] == start[:-1]), False)
    next_start = np.append(start[1:], np.uint64(0))
    last_of_row = np.append(row[1:] != row[:-1], True)
    count = pages[row].astype(np.int64)
    below = _below(first[row], count, step[row], start)
    up_to = np.where(last_of_row, count, _below(first[row], count, step[row], next_start))
    inside = up_to - below
    keep = ~same_place & (inside > 0)
    row, below, up_to, inside = row[keep], below[keep], up_to[keep], inside[keep]
    low = first[row] + below.astype(np.uint64) * step[row]
    high = first[row] + (up_to - 1).astype(np.uint64) * step[row]
    a, b = (latest[keep] for latest in here)
    return Units(rows[row], low, high, inside, (check[a], check[b]), (wrong[a] * inside, wrong[b] * inside))


def _below(first: U64, count: I64, step: U64, pfn: U64) -> I64:
    """Return how many pfns of each run lie below a pfn."""
    distance = np.where(pfn > first, pfn - first, np.uint64(0))
    steps = distance // step + (distance % step != 0)
    return np.asarray(np.minimum(steps, count.astype(np.uint64)), np.int64)


def _borders(side: Side, rows: I64) -> tuple[I64, U64, Array, Array]:
    """Return where one kernel's parts begin: index into rows, pfn, check, wrong; each row has one at pfn 0."""
    found = [
        (np.searchsorted(rows, p.rows), p.first, p.check, p.wrong, np.isin(p.rows, rows))
        for p in side.parts
        if p.rows.size
    ]
    row = np.concatenate([at[mine] for at, _, _, _, mine in found] or [np.empty(0, np.int64)])
    start = np.concatenate([s[mine] for _, s, _, _, mine in found] or [np.empty(0, np.uint64)])
    check = np.concatenate([c[mine] for _, _, c, _, mine in found] or [np.empty(0, np.uint8)])
    wrong = np.concatenate([w[mine] for _, _, _, w, mine in found] or [np.empty(0, np.bool_)])
    order = np.lexsort((start, row))
    row, start, check, wrong = row[order], start[order].copy(), check[order], wrong[order]
    start[np.append(True, row[1:] != row[:-1])[: row.size]] = 0
    alone = np.setdiff1d(np.arange(rows.size), row)  # one check decides all of the run here
    return (
        np.concatenate([row, alone]),
        np.concatenate([start, np.zeros(alone.size, np.uint64)]),
        np.concatenate([check, side.check(rows[alone])]),
        np.concatenate([wrong, side.wrong(rows[alone]) != 0]),
    )
