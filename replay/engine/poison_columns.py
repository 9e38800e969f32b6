"""Columns of a batch at some of its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.engine.rows import ColumnSource, Recorded
from replay.engine.transitions import Cell

__all__ = ("RowCells", "column_at", "recorded_at")

I64 = NDArray[np.int64]


def column_at(batch: ColumnSource, name: str, rows: I64) -> NDArray[Any]:
    """Return a column at ascending rows, without copying it where they are neighbours."""
    return _at(batch.column(name), rows)


def recorded_at(batch: ColumnSource, name: str, rows: I64) -> Recorded:
    """Return a recorded column at ascending rows."""
    given = batch.given(name)
    return Recorded(column_at(batch, name, rows), given if isinstance(given, bool) else _at(given, rows))


def _at(column: NDArray[Any], rows: I64) -> NDArray[Any]:
    if not rows.size:
        return column[:0]
    first, last = int(rows[0]), int(rows[-1])
    return column[first : last + 1] if last - first + 1 == rows.size else column[rows]


class RowCells:
    """Cells of single rows of a batch; each column is asked for once.

    Args:
        batch: the rows.
    """

    def __init__(self, batch: ColumnSource) -> None:
        self.batch = batch
        self._columns: dict[str, tuple[NDArray[Any], NDArray[np.bool_] | bool]] = {}

    def of(self, row: int) -> Cell:
        """Return a function that gives columns of a row, None where they are not given."""

        def cell(name: str) -> int | None:
            if name not in self._columns:
                self._columns[name] = self.batch.column(name), self.batch.given(name)
            values, given = self._columns[name]
            return int(values[row]) if given is True or (given is not False and given[row]) else None

        return cell
