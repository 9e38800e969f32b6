"""Many plain poison calls against the recording, column by column."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from replay.engine.poison_call import Decided
from replay.engine.poison_columns import column_at, recorded_at
from replay.engine.poison_plain import Walked
from replay.engine.poison_steps import Steps
from replay.engine.rows import ColumnSource, Recorded
from replay.engine.tally import MAX_DIFFERENCES, Difference, Tally
from replay.kernel.poison_types import ActionType, decode
from replay.trace.poison import NO_ACTION, ActionResult

__all__ = ("ACTION", "FLAG", "UNDECIDED", "compare_plain", "event_text")

ACTION = "poison action"
FLAG = "HWPoison flag"
UNDECIDED = "the state of the page is not in the trace"

Bools = NDArray[np.bool_]
I64 = NDArray[np.int64]


def compare_plain(
    tally: Tally, kernel: str, calls: Walked, batch: ColumnSource, differ: Callable[[Difference], None]
) -> Bools:
    """Compare calls with what was recorded about them.

    Args:
        tally: where to count.
        kernel: version that recorded the trace.
        calls: the calls.
        batch: their rows.
        differ: takes the first calls of each aspect that differ, in the order of the rows.

    Returns:
        For each call whether it returned what was recorded.
    """
    steps = calls.steps
    comparison = _Comparison(tally, calls, batch, differ)
    ret = recorded_at(batch, "recorded_ret", calls.rows)
    same = comparison.hold(
        ret,
        lambda: ret.value == steps.ret[calls.step],
        lambda call: call.kind.name.lower(),
        lambda at: str(ret.value[at]),
        lambda call: str(call.ret),
    )
    number = recorded_at(batch, "recorded_type", calls.rows)
    result = recorded_at(batch, "recorded_result", calls.rows)
    events = _Events()
    comparison.hold(
        number,
        lambda: events.recorded(kernel, number, result) == events.replayed(steps)[calls.step],
        lambda _: ACTION,
        lambda at: _recorded_text(kernel, number, result, at),
        lambda call: event_text(call.action, call.result),
    )
    flag = recorded_at(batch, "recorded_hwpoison", calls.rows)
    comparison.hold(
        flag,
        lambda: flag.value == steps.poisoned[calls.step],
        lambda _: FLAG,
        lambda at: str(flag.value[at]),
        lambda call: str(int(call.poisoned)),
    )
    return same


class _Comparison:
    """Holds one aspect of calls after the other against the recording."""

    def __init__(self, tally: Tally, calls: Walked, batch: ColumnSource, differ: Callable[[Difference], None]) -> None:
        self._tally, self._calls, self._batch, self._differ = tally, calls, batch, differ

    def hold(
        self,
        recorded: Recorded,
        alike: Callable[[], Bools],
        aspect: Callable[[Decided], str],
        recorded_text: Callable[[int], str],
        replayed_text: Callable[[Decided], str],
    ) -> Bools:
        """Count the calls that agree, and return which; nobody asks about an aspect that was not recorded."""
        calls, steps = self._calls, self._calls.steps
        if not recorded.any():
            return np.zeros(calls.rows.size, np.bool_)
        given = recorded.mask()
        agreed = alike() & given & ~steps.undecided[calls.step]
        asked, good = (np.bincount(calls.step[which], minlength=len(steps.calls)) for which in (given, agreed))
        for step in np.flatnonzero(asked).tolist():
            call, count = steps.calls[step], int(asked[step])
            unproven = count if call.undecided else 0
            self._tally.compare(aspect(call), count, int(good[step]), UNDECIDED, unproven)
        wrong = np.flatnonzero(given & ~agreed & ~steps.undecided[calls.step])
        for kind in np.unique(steps.kind) if wrong.size else ():
            for at in wrong[steps.kind[calls.step[wrong]] == kind][:MAX_DIFFERENCES].tolist():
                call = steps.calls[calls.step[at]]
                row, pfn = int(calls.rows[at]), int(column_at(self._batch, "pfn", calls.rows)[at])
                replayed = f"{replayed_text(call)} ({call.check.id if call.check else '?'})"
                self._differ(Difference(aspect(call), self._batch.row + row, pfn, recorded_text(at), replayed, 1))
        return agreed


class _Events:
    """Numbers for what was said about events, so that they can be compared as arrays; alike if the words are."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def recorded(self, kernel: str, number: Recorded, result: Recorded) -> I64:
        """Return the numbers of recorded events; of rows that have none, any."""
        keys = number.value.astype(np.int64) << 8 | np.where(result.mask(), result.value, 0).astype(np.int64)
        present = np.flatnonzero(np.bincount(keys[number.mask()], minlength=1 << 16))
        numbers: I64 = np.zeros(1 << 16, np.int64)
        numbers[present] = [self._number(_decoded_text(kernel, key >> 8, key & 255)) for key in present.tolist()]
        return np.take(numbers, keys)

    def replayed(self, steps: Steps) -> I64:
        """Return the number of each step's event."""
        return np.array([self._number(event_text(c.action, c.result)) for c in steps.calls], np.int64)

    def _number(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers))


def event_text(action: int | None, result: int | None) -> str:
    """Return an event in words; NO_ACTION or None for none."""
    if action is None or action == NO_ACTION:
        return "no action"
    return f"{ActionType(action).display}: {ActionResult(result or 0).name.capitalize()}"


def _decoded_text(kernel: str, number: int, result: int) -> str:
    return event_text(decode(kernel, number), result)


def _recorded_text(kernel: str, number: Recorded, result: Recorded, at: int) -> str:
    return _decoded_text(kernel, int(number.value[at]), int(result.value[at]) if result.mask()[at] else 0)
