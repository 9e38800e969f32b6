"""Which answers are those that were recorded, by all that was recorded about a row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from replay.compare.units import Units
from replay.engine.poison_columns import recorded_at
from replay.engine.poison_compare import event_text
from replay.engine.rows import ColumnSource, Outcomes, Recorded
from replay.kernel.poison_types import decode
from replay.trace.outcomes import CHECK_NONE

__all__ = ("PoisonRecord", "possible_within_windows")

Bools = NDArray[np.bool_]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class PoisonRecord:
    """What was recorded about poison calls.

    Attributes:
        rows: of the calls, ascending, int64.
        ret: what they returned.
        type: the action type that they reported, by the recording kernel's number.
        result: what they reported to have come of it.
        flag: HWPoison afterwards.
    """

    rows: I64
    ret: Recorded
    type: Recorded
    result: Recorded
    flag: Recorded

    @classmethod
    def of(cls, batch: ColumnSource, rows: I64) -> PoisonRecord:
        """Return the records of some rows."""
        names = ("recorded_ret", "recorded_type", "recorded_result", "recorded_hwpoison")
        return cls(rows, *(recorded_at(batch, name, rows) for name in names))

    @property
    def given(self) -> Bools:
        """Of which calls anything was recorded."""
        return self._mask(self.ret) | self._mask(self.type) | self._mask(self.flag)

    def agrees(self, outcomes: Outcomes, kernel: str) -> Bools:
        """Return the calls of which something was recorded, and nothing that was is otherwise.

        Args:
            outcomes: of the batch.
            kernel: version that recorded the trace.
        """
        agrees: Bools = self.given & (outcomes["poison_check"][self.rows] != CHECK_NONE)
        for recorded, name in ((self.ret, "ret"), (self.flag, "poisoned")):
            mask = self._mask(recorded)
            agrees[mask] &= recorded.value[mask] == outcomes[name][self.rows][mask]
        mask = self._mask(self.type)
        if mask.any():
            results = np.where(self._mask(self.result), self.result.value, 0)
            said = _numbered(self.type.value[mask], results[mask])
            answered = _numbered(outcomes["action"][self.rows][mask], outcomes["result"][self.rows][mask])
            texts = {n: event_text(decode(kernel, n >> 8), n & 255) for n in np.unique(said).tolist()}
            answers = {n: event_text(n >> 8, n & 255) for n in np.unique(answered).tolist()}
            pairs = zip(said.tolist(), answered.tolist(), strict=True)
            agrees[mask] &= np.fromiter((texts[a] == answers[b] for a, b in pairs), np.bool_, said.size)
        return agrees

    def _mask(self, recorded: Recorded) -> Bools:
        return recorded.mask() if recorded.any() else np.zeros(self.rows.size, np.bool_)


def _numbered(action: NDArray[np.generic], result: NDArray[np.generic]) -> I64:
    return np.asarray(action.astype(np.int64) << 8 | result.astype(np.int64), np.int64)


def possible_within_windows(batch: ColumnSource, units: Units, outcomes: Outcomes) -> Bools:
    """Return the units of rows with a window, all pfns of which may have been answered as recorded within it.

    What counts for such a row is any state between it and the end of its window, not the state at the row.

    Args:
        batch: the rows.
        units: of lookups.
        outcomes: what one kernel answered; of windows that are open still, nothing is known.
    """
    if batch.given("window") is False:
        return np.zeros(units.row.size, np.bool_)
    rows = units.row
    agreed = outcomes["match"][rows].astype(np.int64) + outcomes["race"][rows].astype(np.int64)
    pages = np.asarray(batch.column("nr_pages")[rows], np.int64)
    return np.asarray((batch.column("window")[rows] != 0) & (agreed >= pages), np.bool_)
