"""Rows and lookups -> the columns of a trace, in order, with windows counted in rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from replay.trace.schema import COLUMNS

from .ftrace import Events, Ints
from .lookups import NOT_GIVEN, Lookups
from .rows import Order, Row
from .runs import Runs, compress
from .windows import open_dumps, open_lookups

__all__ = ("Column", "build_table")

Column = tuple[npt.NDArray[np.integer], npt.NDArray[np.bool_]]
_KEY = 8  # more than there are values of Order
# Columns that every row gives: null would mean the same, and whole columns are read without a copy.
_FILLED = ("nr_pages", "stride", "phase", "window")
_FROM_LOOKUPS = {
    "kind": "kind", "pfn": "pfn", "task": "task", "call": "call", "pgmap": "pgmap", "recorded_ret": "ret",
    "recorded_slow": "slow", "recorded_pgmap": "found",
}  # fmt: skip


def build_table(events: Events, rows: list[Row], lookups: Lookups) -> dict[str, Column]:
    """Return the columns that are used: values, and a mask of those that are given.

    Args:
        events: the trace, for the time.
        rows: rows that are no lookups, in any order; rows of equal place stay in this order.
        lookups: in the order of ``begin``.
    """
    rows = sorted(rows, key=lambda row: row.key)
    effects = [index for index, row in enumerate(rows) if row.effect is not None]
    target = open_lookups(lookups, [rows[i] for i in effects])
    dumps = open_dumps(rows, [rows[i] for i in effects])
    order = np.argsort(lookups.at, kind="stable")
    lookups, target = lookups.take(order), target[order]
    row_key = np.array([row.at * _KEY + row.order for row in rows], np.int64)
    lookup_key = lookups.at * _KEY + Order.LOOKUP
    runs = compress(lookups, np.searchsorted(row_key, lookup_key), target >= 0)
    merged = np.argsort(np.concatenate((row_key, lookup_key[runs.first])), kind="stable")
    place = np.empty(len(merged), np.int64)
    place[merged] = np.arange(len(merged))
    row_place, run_place = place[: len(rows)], place[len(rows) :]

    table = _Table(len(merged))
    at = np.concatenate((np.array([row.at for row in rows], np.int64), lookups.at[runs.first]))[merged]
    table.put("time", np.arange(len(merged)), events.time[np.clip(at, 0, len(events) - 1)])
    _put_rows(table, rows, row_place)
    _put_runs(table, lookups, runs, run_place)
    effect_place = row_place[np.array(effects, np.int64)]
    open_run = np.flatnonzero(target[runs.first] >= 0)
    table.put("window", run_place[open_run], effect_place[target[runs.first[open_run]]] - run_place[open_run])
    for index, number in dumps.items():
        table.put("window", row_place[[index]], effect_place[number] - row_place[[index]])
    return table.columns()


def _put_rows(table: _Table, rows: list[Row], place: Ints) -> None:
    table.put("kind", place, np.array([row.kind for row in rows], np.int64))
    for name in COLUMNS:
        chosen = [index for index, row in enumerate(rows) if name in row.values]
        if chosen:
            table.put(name, place[chosen], [rows[index].values[name] for index in chosen])


def _put_runs(table: _Table, lookups: Lookups, runs: Runs, place: Ints) -> None:
    for name, source in _FROM_LOOKUPS.items():
        values = getattr(lookups, source)[runs.first]
        given = np.full(values.size, True) if name == "pfn" else values != NOT_GIVEN
        if given.any():
            table.put(name, place[given], values[given])
    table.put("nr_pages", place, runs.length)
    table.put("stride", place, runs.stride)


class _Table:
    """Columns of one length that are filled piece by piece."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._columns: dict[str, Column] = {}

    def put(self, name: str, at: Ints, values: npt.ArrayLike) -> None:
        """Set values of a column; it is made when it is first used."""
        column = COLUMNS[name]
        if name not in self._columns:
            filled = name in _FILLED
            content = np.full(self._length, column.default if filled else 0, column.numpy)
            self._columns[name] = content, np.full(self._length, filled)
        content, given = self._columns[name]
        content[at] = np.asarray(values, dtype=column.numpy)
        given[at] = True

    def columns(self) -> dict[str, Column]:
        """Return the columns in the order of the format."""
        return {name: self._columns[name] for name in COLUMNS if name in self._columns}
