"""Rows as a function of their number: a template that is repeated, and the places that it is laid to.

Nothing is remembered from row to row. Any stretch of a workload can be made without the ones before it, so traces of
any length stream, stretches can be made in any order or at the same time, and the rows do not depend on how they were
cut up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from replay.trace.schema import COLUMNS

__all__ = ("Columns", "Part", "Places", "Row", "Table", "listed", "repeated")

Row: TypeAlias = Mapping[str, int]
# Values, and where they are given (None: everywhere).
Columns: TypeAlias = dict[str, tuple[NDArray[Any], NDArray[np.bool_] | None]]
# (first, count) -> what is added to the pfns of repetitions [first, first + count).
Places: TypeAlias = Callable[[int, int], NDArray[np.uint64]]


@dataclass(frozen=True)
class Part:
    """A series of rows, as a rule endless, of one character, without times.

    Attributes:
        name: short name, for messages.
        rows: (first, count) -> columns of rows ``[first, first + count)``.
        columns: names of the columns that the rows and those in front of them have.
        front: rows that have to stand before the first.
        claims: what only one part of a trace may change, for example a device.
        length: rows of a pass, after which a walk begins again from the start, where that makes sense.
        finite: whether there are no more than ``length`` rows.
    """

    name: str
    rows: Callable[[int, int], Columns]
    columns: frozenset[str]
    front: tuple[Row, ...] = ()
    claims: frozenset[str] = frozenset()
    length: int | None = None
    finite: bool = False


class Table:
    """Rows given one by one, as columns.

    Attributes:
        columns: values and masks.
        rows: how many.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = len(rows)
        self.columns: Columns = {}
        for name in dict.fromkeys(name for row in rows for name in row):
            given = np.array([name in row for row in rows])
            values = np.array([row.get(name, 0) for row in rows], COLUMNS[name].numpy)
            self.columns[name] = (values, None if given.all() else given)


def listed(name: str, rows: Sequence[Row], *, front: Iterable[Row] = (), claims: Iterable[str] = ()) -> Part:
    """Return a part of just these rows."""
    made, in_front = Table(rows), tuple(front)

    def part(first: int, count: int) -> Columns:
        return {
            name: (values[first : first + count], None if given is None else given[first : first + count])
            for name, (values, given) in made.columns.items()
        }

    names = frozenset(made.columns).union(*in_front)
    return Part(name, part, names, in_front, frozenset(claims), made.rows, finite=True)


def repeated(
    name: str,
    template: Sequence[Row],
    places: Places | Sequence[Places] | None = None,
    *,
    grows: Mapping[str, int] | None = None,
    choose: Mapping[str, Callable[[int, int], NDArray[Any]]] | None = None,
    front: Iterable[Row] = (),
    claims: Iterable[str] = (),
    passes: int | None = None,
) -> Part:
    """Return a part that repeats some rows.

    Args:
        name: short name.
        template: the rows of one repetition.
        places: what repetition *n* adds to each ``pfn`` of the template; None adds nothing; several are for one row
            each.
        grows: what is added to a column (where the template gives it) from one repetition to the next.
        choose: column -> values for repetitions ``[first, first + count)``, used in each row that gives the column.
        front: rows before the first.
        claims: see ``Part``.
        passes: repetitions in a pass.
    """
    made = Table(template)
    size = made.rows
    steps, chosen = grows or {}, choose or {}

    def rows(first: int, count: int) -> Columns:
        begin, skip = divmod(first, size)
        times = -(-(skip + count) // size)
        offsets = _offsets(places, begin, times)
        found: Columns = {}
        for column, (values, given) in made.columns.items():
            wide = _spread(values, times)
            if column == "pfn" and offsets is not None:
                wide = _added(values, offsets) if offsets.ndim == 1 else (offsets + values).reshape(-1)
            if column in steps:
                wide = wide + _growth(begin, times, steps[column], values.dtype, size)
            if column in chosen:
                wide = np.repeat(chosen[column](begin, times).astype(values.dtype), size)
            mask = None if given is None else _spread(given, times)
            if mask is not None:
                wide = np.where(mask, wide, values.dtype.type(0))
            found[column] = (wide[skip : skip + count], None if mask is None else mask[skip : skip + count])
        return found

    in_front = tuple(front)
    names = frozenset(made.columns).union(*in_front)
    return Part(name, rows, names, in_front, frozenset(claims), passes * size if passes else None)


def _offsets(places: Places | Sequence[Places] | None, begin: int, times: int) -> NDArray[np.uint64] | None:
    if places is None:
        return None
    if callable(places):
        return places(begin, times)
    return np.stack([each(begin, times) for each in places], axis=1)


def _spread(values: NDArray[Any], times: int) -> NDArray[Any]:
    return np.full(times, values[0], values.dtype) if len(values) == 1 else np.tile(values, times)


def _added(values: NDArray[Any], offsets: NDArray[np.uint64]) -> NDArray[Any]:
    if len(values) == 1:
        return offsets + values[0] if values[0] else offsets
    # Offsets are pfns; those of a template may lie before its place, modulo 2**64.
    added: NDArray[Any] = np.add.outer(offsets, values).reshape(-1)
    return added


def _growth(begin: int, times: int, step: int, dtype: np.dtype[Any], size: int) -> NDArray[Any]:
    return np.repeat((np.arange(begin, begin + times, dtype=np.int64) * step).astype(dtype), size)
