"""Some consecutive rows of a trace as numpy arrays; what the reader hands out and the writer checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from replay.errors import InvariantError, UnknownNameError
from replay.trace.schema import COLUMNS

__all__ = ("Array", "Batch", "Given", "Slot", "simplified")

Array: TypeAlias = NDArray[Any]
Given: TypeAlias = bool | NDArray[np.bool_]


def simplified(mask: NDArray[np.bool_]) -> Given:
    """Return True or False for a mask that says so for every row."""
    return True if mask.all() else mask if mask.any() else False


_DEFAULTS = {name: column.numpy.type(column.default or 0) for name, column in COLUMNS.items()}


@dataclass
class Slot:
    """One column of a batch as it is stored.

    Attributes:
        values: the values, 0 where the row gives none.
        given: which rows give a value; True or False when that is so for every row.
        bitmap: Arrow validity bits that ``given`` is made from on first use, or None.
    """

    values: Array
    given: Given = True
    bitmap: Array | None = None

    def mask(self) -> Given:
        """Return ``given``, unpacking the validity bits when nobody has asked before."""
        bitmap = self.bitmap  # read once: another thread may be doing the same
        if bitmap is not None:
            mask = np.unpackbits(bitmap, count=len(self.values), bitorder="little").view(np.bool_)
            self.given = simplified(mask)
            self.bitmap = None
        return self.given

    def part(self, start: int, end: int) -> Slot:
        """Return rows ``[start, end)`` as views; ``start`` is a multiple of 8 where validity is still bits."""
        values, bitmap = self.values[start:end], self.bitmap
        if bitmap is not None:
            assert start % 8 == 0
            return Slot(values, bitmap=bitmap[start // 8 : -(-end // 8)])
        given = self.given
        return Slot(values, given if isinstance(given, bool) else simplified(given[start:end]))


class Batch:
    """Consecutive rows of a trace; arrays are read-only views of the file where Arrow allows.

    Attributes:
        row: index of the first row in the trace.
    """

    __slots__ = ("_clean", "_length", "_slots", "_visible", "row")

    def __init__(
        self,
        row: int,
        length: int,
        slots: Mapping[str, Slot],
        *,
        clean: bool = False,
        visible: Iterable[str] | None = None,
    ) -> None:
        self.row = row
        self._length = length
        self._slots = slots
        self._clean = clean  # whether null slots are known to hold 0, so that they need not be replaced again
        self._visible = frozenset(COLUMNS if visible is None else visible)

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return f"Batch(rows {self.row}..{self.row + self._length - 1}, {', '.join(self._slots)})"

    def chosen(self, rows: NDArray[np.int64]) -> Batch:
        """Return copies of some rows; ``row`` is the number of the first, and means nothing for the others."""
        slots = {}
        for name, slot in self._slots.items():
            given = slot.mask()
            mask = given if isinstance(given, bool) else simplified(given[rows])
            slots[name] = Slot(slot.values[rows], mask)
        first = self.row + int(rows[0]) if rows.size else self.row
        return Batch(first, rows.size, slots, clean=self._clean, visible=self._visible)

    def part(self, start: int, end: int) -> Batch:
        """Return rows ``[start, end)`` of this batch as views.

        Args:
            start: a multiple of 8.
            end: at most the number of rows.
        """
        slots = {name: slot.part(start, end) for name, slot in self._slots.items()}
        return Batch(self.row + start, end - start, slots, clean=self._clean, visible=self._visible)

    @property
    def stored_names(self) -> tuple[str, ...]:
        """Names of the columns that are stored, in the file's order."""
        return tuple(self._slots)

    def column(self, name: str) -> Array:
        """Return the values of a column, with its default (0 if it has none) where the row gives none.

        The array is read-only; that of an absent column takes no memory (stride 0).
        """
        slot = self._slot(name)
        default = _DEFAULTS[name]
        if slot is not None:
            if (self._clean and not default) or (given := slot.mask()) is True:
                return slot.values
            if given is not False:
                return np.where(given, slot.values, default)
        return np.ndarray(self._length, default.dtype, default.tobytes(), strides=(0,))

    def given(self, name: str) -> Given:
        """Return which rows give a value for a column: a bool array, or True or False for all rows."""
        slot = self._slot(name)
        return slot is not None and slot.mask()

    def stored(self, name: str) -> Array:
        """Return the values of a stored column as they are in the file, null slots included."""
        return self._slots[name].values

    def selected(self, names: Iterable[str]) -> Batch:
        """Return the same rows, checked, with only the named columns to be asked for."""
        return Batch(self.row, self._length, self._slots, clean=self._clean, visible=names)

    def cleaned(self) -> Batch:
        """Return the same rows, after it was checked that null slots hold 0."""
        return Batch(self.row, self._length, self._slots, clean=True, visible=self._visible)

    def replaced(self, name: str, values: Array) -> Batch:
        """Return the same rows with other values in a column that every row gives."""
        slots = {**self._slots, name: Slot(values)}
        return Batch(self.row, self._length, slots, clean=self._clean, visible=self._visible)

    def _slot(self, name: str) -> Slot | None:
        if name not in COLUMNS:
            raise UnknownNameError("column", name, COLUMNS)
        if name not in self._visible:
            # Answering with the default would be a silent wrong answer.
            raise InvariantError(f"column {name!r} was not asked for when the batches were")
        return self._slots.get(name)
