"""What can be seen of an answer, aspect by aspect: two checks that answer alike are no difference.

An aspect is a function of states, because poison calls look some of what they do up in the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from replay.compare.diagrams import Function, terminal
from replay.compare.diff_sides import Side
from replay.compare.diff_spaces import Space
from replay.kernel.decision import Check, Codes
from replay.kernel.kill import KILL_ACCESSING_PROCESS
from replay.kernel.poison_calls import (
    KEEP,
    Counts,
    PoisonAnswer,
    Ret,
    Row,
    counter_change,
    counts_as_event,
    goes_unmapped,
    lru_row,
    lru_row_2009,
)
from replay.kernel.poison_state import PoisonState
from replay.kernel.poison_types import ActionType
from replay.trace.poison import NO_ACTION

__all__ = ("Answers", "Aspect", "PlainAnswers", "PoisonAnswers", "plain_words")


@dataclass(frozen=True)
class Aspect:
    """One thing that can be seen.

    Attributes:
        value: function of states, with values of the space's names.
        asked: features that it depends on, beside those of the check.
    """

    value: Function
    asked: frozenset[str] = frozenset()


# What is seen of a lookup is yes or no, whatever the reason.
_YES_NO = {
    "pfn_valid": ("invalid", "valid"),
    "pfn_to_online_page": ("NULL", "page"),
    "get_dev_pagemap": ("NULL", "pagemap"),
}
_SEEN = {
    ("pgmap_pfn_valid", "outside"): "no",
    ("pgmap_pfn_valid", "metadata"): "no",
    ("pgmap_pfn_valid", "absent"): "no such function",
    ("kpageflags", "no-page"): "the no-page flag",
    ("kpageflags", "zero"): "0",
}
_LEAVES = ("populated",)  # errors that leave something behind


class PlainAnswers:
    """Functions whose answer is all there is.

    Args:
        space: of the states.
        area: functions of the areas hotplug and devices change the machine: of a success it matters which check it was.
    """

    def __init__(self, space: Space, function: str, area: str) -> None:
        self._space, self._function, self._area = space, function, area

    def aspects(self, check: Check[Any], side: Side) -> dict[str, Aspect]:
        """Return what is seen when a check decides."""
        return {"answer": Aspect(terminal(self._space.names.number(plain_words(self._function, self._area, check))))}


def plain_words(function: str, area: str, check: Check[Any]) -> str:
    """Return what is seen when a check decides, of functions whose answer is all there is.

    Args:
        function: the kernel's name.
        area: of ``AREAS``: functions of the areas hotplug and devices change the machine.
        check: of that function.
    """
    answer = check.answer
    if function in _YES_NO:
        return _YES_NO[function][answer.value == 1]
    if area in {"hotplug", "devices"} and (answer.value >= 0 or check.id in _LEAVES):
        return answer.name if answer.name == check.id else f"{answer.name} ({check.id})"
    return _SEEN.get((function, answer.name), answer.name)


class PoisonAnswers:
    """Poison calls: return code, report, flag, counters, the page afterwards, signals, mappings."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._known: dict[tuple[object, ...], Aspect] = {}

    def aspects(self, check: Check[Any], side: Side) -> dict[str, Aspect]:
        """Return what is seen when a check decides in a kernel."""
        a = cast(PoisonAnswer, check.answer)
        poison = KEEP if a.poison is None else a.poison
        action = self._action(a, side)
        # All rows of the table count alike.
        counted_as = ActionType.DIRTY_LRU if a.row is not Row.NONE else NO_ACTION if a.action is None else a.action
        return {
            "ret": self._ret(a, side),
            "action": action,
            "result": self._fixed(a.result),
            "flag": self._fixed({KEEP: "kept", 0: "cleared", 1: "set"}[poison]),
            "counter": self._counter(a.counts, counted_as, poison, side),
            "event": self._event(counted_as, side),
            "page": self._fixed(a.effect),
            "signals": self._fixed(a.kills),
            "unmapped": self._unmapped(a, side, entries=False),
            "entries": self._unmapped(a, side, entries=True),
        }

    def _fixed(self, value: Any) -> Aspect:  # noqa: ANN401 - anything that can be named
        return Aspect(terminal(self._space.names.number(value)))

    def _evaluated(self, key: tuple[object, ...], side: Side, evaluate: Any) -> Aspect:  # noqa: ANN401
        return Aspect(*self._space.function(key, evaluate, side.features))

    def _ret(self, a: PoisonAnswer, side: Side) -> Aspect:
        if a.ret is Ret.FIXED:
            return self._fixed(a.value)
        if a.ret is Ret.ACCESSOR:
            return self._accessor(side)
        name = {Ret.OWNER: "own_rc", Ret.MIGRATION: "mig"}[a.ret]
        return self._evaluated((name,), side, lambda s: getattr(s, name))

    def _accessor(self, side: Side) -> Aspect:
        """Return what killing the accessing process returns."""
        space = self._space
        function = side.rules.function(KILL_ACCESSING_PROCESS)
        key = ("accessor", id(function), side.features)
        if key not in self._known:
            decided = space.decisions(function, side)
            value = space.diagrams.apply(
                "answer", lambda n, _: space.names.number(space.checks[n].answer.value), decided, decided
            )
            asked = {f for check in function.checks for f in (*check.needs, *check.unless)}
            self._known[key] = Aspect(value, frozenset(asked))
        return self._known[key]

    def _action(self, a: PoisonAnswer, side: Side) -> Aspect:
        if a.row is Row.NONE:
            return self._fixed(None if a.action is None else int(a.action))
        row = lru_row if a.row is Row.LRU else lru_row_2009
        return self._evaluated(("row", a.row), side, row)

    def _counter(self, counts: Counts, action: int, poison: int, side: Side) -> Aspect:
        def change(s: PoisonState) -> object:
            shape = np.broadcast_shapes(np.shape(s.rawhit), np.shape(s.unrel), np.shape(s.rawcnt)) or (1,)
            actions: Codes = np.full(shape, action, np.uint8)
            kinds: Codes = np.full(shape, counts, np.uint8)
            flags: NDArray[np.int8] = np.full(shape, poison, np.int8)
            return counter_change(kinds, counts_as_event(actions, s), actions, flags, s)

        return self._evaluated(("counter", counts, action, poison), side, change)

    def _event(self, action: int, side: Side) -> Aspect:
        return self._evaluated(("event", action), side, lambda s: counts_as_event(np.full(1, action, np.uint8), s))

    def _unmapped(self, a: PoisonAnswer, side: Side, *, entries: bool) -> Aspect:
        if not a.unmaps:
            return self._fixed(False)
        if entries:
            return self._evaluated(("entries",), side, lambda s: goes_unmapped(s) & s.hwpte)
        return self._evaluated(("unmapped",), side, goes_unmapped)


Answers = PlainAnswers | PoisonAnswers
AspectMap = Mapping[str, Aspect]
