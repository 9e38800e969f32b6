"""Verdicts on calls: each state of a call is decided once, and remembered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from replay.engine.poison_call import Answered, Decided
from replay.kernel.calls import Kernel
from replay.kernel.kill import KILL_ACCESSING_PROCESS
from replay.kernel.memory_failure import MEMORY_FAILURE
from replay.kernel.poison_2009 import MEMORY_FAILURE_2009
from replay.kernel.poison_calls import PoisonFunction, verdicts
from replay.kernel.poison_state import DEFAULTS, PoisonState
from replay.kernel.soft_offline import SOFT_OFFLINE_PAGE
from replay.kernel.unpoison import UNPOISON_MEMORY
from replay.trace.schema import POISON_CALLS, EventKind

__all__ = ("Verdicts", "poison_function", "poison_functions")

_MAX = 1 << 16  # states remembered


class Verdicts:
    """What one kernel answers.

    Args:
        kernel: whose rules apply.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._accessor = kernel.function(KILL_ACCESSING_PROCESS)
        self._known: dict[tuple[object, ...], Answered] = {}

    def decide(self, calls: Sequence[Decided]) -> None:
        """Fill in the verdicts of calls that do not depend on each other."""
        keys = [(call.kind, *call.attributes.values()) for call in calls]  # attributes come in an order of their own
        new: dict[tuple[object, ...], Decided] = {}
        for key, call in zip(keys, calls, strict=True):
            known = self._known.get(key)
            if known is not None:
                call.take_over(known)
            else:
                new.setdefault(key, call)
        if not new:
            return
        for kind in {call.kind for call in new.values()}:
            self._decide(poison_function(kind, self._kernel), [call for call in new.values() if call.kind is kind])
        answers = {key: call.answered() for key, call in new.items()}
        for key, call in zip(keys, calls, strict=True):
            if key in answers:
                call.take_over(answers[key])
        if len(self._known) + len(answers) > _MAX:
            self._known = {}
        self._known.update(answers)

    def _decide(self, function: PoisonFunction, calls: Sequence[Decided]) -> None:
        if len(calls) == 1:
            single = PoisonState.of(None, self._kernel.features, **calls[0].attributes)
            calls[0].take(function, verdicts(function, single, 1, self._accessor), 0)
            return
        columns = {name: np.array([c.attributes.get(name, DEFAULTS[name]) for c in calls]) for name in DEFAULTS}
        found = verdicts(
            function, PoisonState.of(len(calls), self._kernel.features, **columns), len(calls), self._accessor
        )
        for i, call in enumerate(calls):
            call.take(function, found, i)


def poison_functions(kernel: Kernel) -> dict[str, PoisonFunction]:
    """Return the kernel's functions behind poison calls, by the event kind's name."""
    return {kind.name.lower(): poison_function(kind, kernel) for kind in POISON_CALLS}


def poison_function(kind: EventKind, kernel: Kernel) -> PoisonFunction:
    """Return the kernel's function behind a poison call."""
    if kind is EventKind.MEMORY_FAILURE:
        return kernel.function(MEMORY_FAILURE_2009 if kernel.has("poison-2009") else MEMORY_FAILURE)
    return kernel.function(SOFT_OFFLINE_PAGE if kind is EventKind.SOFT_OFFLINE_PAGE else UNPOISON_MEMORY)
