"""Rows as literals, one dictionary of given columns each, and the same rows as columns: for traces of a few rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from replay.trace.batch import Array, Batch, Given, Slot
from replay.trace.schema import COLUMNS

__all__ = ("Row", "batch_of", "columns_of")

Row: TypeAlias = Mapping[str, int]


def columns_of(rows: Sequence[Row]) -> dict[str, tuple[Array, Given]]:
    """Return the columns that some row gives: values (0 where a row gives none), and True or where they are given."""
    columns: dict[str, tuple[Array, Given]] = {}
    for name, column in COLUMNS.items():
        given = np.array([name in row for row in rows], np.bool_)
        if given.any():
            values = np.array([row.get(name, 0) for row in rows], column.numpy)
            columns[name] = values, True if given.all() else given
    return columns


def batch_of(rows: Sequence[Row], first: int = 0) -> Batch:
    """Return rows as a batch that begins with row number ``first``; columns are stored only if some row gives them."""
    return Batch(first, len(rows), {name: Slot(values, given) for name, (values, given) in columns_of(rows).items()})
