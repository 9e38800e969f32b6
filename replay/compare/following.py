"""Which poison calls differ because of what they ask or of what earlier calls left, and not by the rules of either kernel.

Rules of poison calls look at features too, so two released kernels hardly ever have the same function as a whole. What
counts is the states at hand. Each kernel met one: what its own lookups said about the pfn, and in which condition earlier
calls had left the page. If both kernels' rules say the same of the one state, and the same of the other one, then it is
the states that make the difference, not the rules.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from replay.engine.poison_call import Decided
from replay.engine.poison_verdicts import poison_function
from replay.engine.rows import Outcomes
from replay.kernel.calls import Kernel
from replay.kernel.kill import KILL_ACCESSING_PROCESS
from replay.kernel.poison_calls import verdicts
from replay.kernel.poison_state import DEFAULTS, PoisonState
from replay.trace.schema import EventKind

__all__ = ("CallStates", "Following")

I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]
_State = tuple[object, ...]
_MAX = 1 << 16  # different states of one batch that are kept; of calls in others nothing is known
_UNKNOWN = -1
# What a verdict says, beside which signals and the flag are all that is seen.
_SAID = ("ret", "action", "result", "counted", "poison", "effect", "kills", "unmapped", "entries", "event", "undecided")


class CallStates:
    """The states in which the poison calls of a batch met one kernel.

    Args:
        numbers: of the states, shared by both kernels.

    Attributes:
        of_row: number of each row's state; None as long as no row is a poison call.
    """

    def __init__(self, numbers: dict[_State, int]) -> None:
        self.of_row: I64 | None = None
        self._numbers, self._rows = numbers, 0

    def begin(self, rows: int) -> None:
        """Begin a batch of some rows."""
        self.of_row, self._rows = None, rows

    def poison(self, calls: Sequence[Decided], rows: I64, like: I64) -> None:
        """Take calls, see ``PoisonObserver``."""
        if self.of_row is None:
            self.of_row = np.full(self._rows, _UNKNOWN, np.int64)
        self.of_row[rows] = np.array([self._number(call) for call in calls], np.int64)[like]

    def _number(self, call: Decided) -> int:
        attributes = call.attributes
        key = tuple([attributes.get(name, default) for name, default in _PLAIN.items()])
        if len(self._numbers) < _MAX:
            return self._numbers.setdefault(key, len(self._numbers))
        return self._numbers.get(key, _UNKNOWN)


class Following:
    """The states of both kernels' poison calls, batch by batch.

    Attributes:
        sides: of the baseline and of the candidate; their replays are to tell them of calls.
    """

    def __init__(self) -> None:
        self._numbers: dict[_State, int] = {}
        self.sides = CallStates(self._numbers), CallStates(self._numbers)

    def begin(self, rows: int) -> None:
        """Begin a batch of some rows."""
        self._numbers.clear()
        for side in self.sides:
            side.begin(rows)

    def follows(
        self, kind: EventKind, rows: I64, kernels: tuple[Kernel, Kernel], outcomes: tuple[Outcomes, Outcomes]
    ) -> Bools:
        """Return the calls, all of one kind, whose verdicts differ by their states and not by the kernels' rules.

        Args:
            kind: of the calls.
            rows: their indices within the batch.
            kernels: baseline and candidate.
            outcomes: what they answered, row-aligned with the batch.
        """
        found = np.zeros(rows.size, np.bool_)
        if any(side.of_row is None for side in self.sides):
            return found
        a, b = (side.of_row[rows] for side in self.sides if side.of_row is not None)
        apart = np.flatnonzero((a != b) & (a != _UNKNOWN) & (b != _UNKNOWN))
        if not apart.size:
            return found
        numbers, inverse = np.unique(np.concatenate([a[apart], b[apart]]), return_inverse=True)
        first, second = np.split(inverse, 2)
        states = list(self._numbers)
        columns = zip(*(states[number] for number in numbers.tolist()), strict=True)
        given = {name: np.array(column) for name, column in zip(DEFAULTS, columns, strict=True)}
        ours, theirs = (_said(kind, kernel, numbers.size, given) for kernel in kernels)
        same_rules = _equal(ours, theirs, slice(None), slice(None))
        follows = same_rules[first] & same_rules[second] & ~_equal(ours, theirs, first, second)
        # What else is seen has to come of the states too: the flag of what is said or of how the page was, signals of the
        # rule by which tasks are collected. Which of them are signalled is decided by rules that were not looked at here.
        at = rows[apart]
        flagged = outcomes[0]["poisoned"][at] == outcomes[1]["poisoned"][at]
        flagged |= (ours["poison"][first] != theirs["poison"][second]) | (given["hwp"][first] != given["hwp"][second])
        told = outcomes[0]["signals"][at] == outcomes[1]["signals"][at]
        told |= ours["kills"][first] != theirs["kills"][second]
        found[apart] = follows & flagged & told
        return found


_PLAIN = {name: default.item() for name, default in DEFAULTS.items()}
_Said = dict[str, NDArray[np.generic]]


def _said(kind: EventKind, kernel: Kernel, count: int, given: dict[str, NDArray[np.generic]]) -> _Said:
    """Return what one kernel's rules say of states, column by column; of calls that are not decided, that alone."""
    states = PoisonState.of(count, kernel.features, **given)
    found = verdicts(poison_function(kind, kernel), states, count, kernel.function(KILL_ACCESSING_PROCESS))
    undecided = np.broadcast_to(np.asarray(found.undecided, np.bool_), (count,))
    columns = {name: np.broadcast_to(np.asarray(getattr(found, name)), (count,)) for name in _SAID}
    return {name: column if name == "undecided" else np.where(undecided, 0, column) for name, column in columns.items()}


def _equal(ours: _Said, theirs: _Said, first: I64 | slice, second: I64 | slice) -> Bools:
    """Return whether the one kernel says of some states what the other says of others."""
    return np.asarray(np.logical_and.reduce([ours[name][first] == theirs[name][second] for name in _SAID]))
