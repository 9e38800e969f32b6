"""The mutation score: of the small mistakes that a kernel function could have, how many do these traces notice?

A mutant is noticed when some state that the traces meet is answered otherwise by it: up to the first such state the
machine is the same, so the replay of the mutant would differ there. One that no state at all tells apart from the kernel,
which is proven over the whole state space, is equivalent and does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.compare.diff import Scope, diff
from replay.compare.met import Met
from replay.compare.mutants import Mutant, mutants
from replay.engine.poison_verdicts import poison_functions
from replay.kernel.calls import Kernel
from replay.kernel.config import KernelConfig
from replay.kernel.decision import KernelFunction
from replay.kernel.kill import KILL_ACCESSING_PROCESS
from replay.kernel.poison_calls import PoisonFunction, verdicts
from replay.kernel.profiles import Profile
from replay.kernel.registry import CALLS, FUNCTIONS
from replay.kernel.rules import Rules

__all__ = ("FunctionScore", "score_functions")

_CALLS = {FUNCTIONS[kind].name for kind in CALLS}
_SEEN = ("ret", "action", "result", "poison", "counted", "effect", "kills", "unmapped", "entries", "event", "undecided")


@dataclass(frozen=True)
class FunctionScore:
    """How the mutants of one function fared.

    Attributes:
        name: under which its calls are counted.
        noticed: mutants that some trace notices.
        equivalent: mutants that answer every state as the kernel does.
        survived: the others.
        states: different states that the traces meet.
    """

    name: str
    noticed: Sequence[Mutant]
    equivalent: Sequence[Mutant]
    survived: Sequence[Mutant]
    states: int

    @property
    def score(self) -> float:
        """Noticed mutants among those that could be, 1.0 if there are none."""
        could = len(self.noticed) + len(self.survived)
        return len(self.noticed) / could if could else 1.0


def score_functions(
    met: Met, names: Sequence[str], progress: Callable[[int, int], None] | None = None
) -> list[FunctionScore]:
    """Return the score of functions, for the traces that were met.

    Args:
        met: what traces ask the kernel.
        names: of functions.
        progress: is told (functions done, in all).
    """
    found = []
    for number, name in enumerate(names):
        found.append(_score(met, name))
        if progress is not None:
            progress(number + 1, len(names))
    return found


def _score(met: Met, name: str) -> FunctionScore:
    function = met.function(name)
    states = met.states.get(name)
    groups = (
        [(group, count, _seen(name, function, group, count, met)) for group, count in states.groups(met.kernel)]
        if states
        else []
    )
    noticed: list[Mutant] = []
    equivalent: list[Mutant] = []
    survived: list[Mutant] = []
    for mutant in mutants(function, met.kernel.features):
        if any(_differs(before, _seen(name, mutant.function, group, count, met)) for group, count, before in groups):
            noticed.append(mutant)
        elif _equivalent(met.kernel, function, mutant):
            equivalent.append(mutant)
        else:
            survived.append(mutant)
    return FunctionScore(name, noticed, equivalent, survived, len(states.rows) if states else 0)


def _seen(name: str, function: KernelFunction[Any], group: Any, count: int, met: Met) -> list[NDArray[Any]]:  # noqa: ANN401
    """Return what can be seen of the answers to states, column by column."""
    features = met.kernel.features
    if isinstance(function, PoisonFunction):
        plain = Kernel(features, KernelConfig(), met.kernel.rules)
        found = verdicts(function, group, count, plain.function(KILL_ACCESSING_PROCESS))
        return [np.asarray(getattr(found, column)) for column in _SEEN]
    decisions = function.tabulate(group, count, features)
    if name not in _CALLS:
        return [decisions.value]
    # Of calls that succeed, the check that lets them tells what they do.
    ids = np.array([check.id for check in function.checks])[decisions.check]
    return [decisions.value, np.where(decisions.value == 0, ids, "")]


def _differs(a: list[NDArray[Any]], b: list[NDArray[Any]]) -> bool:
    return any((x != y).any() for x, y in zip(a, b, strict=True))


def _equivalent(kernel: Profile, function: KernelFunction[Any], mutant: Mutant) -> bool:
    """Return whether no state tells a mutant from the kernel; proven, not tried."""
    rules = kernel.rules
    changed = Rules({**rules.functions, function.name: mutant.function}, rules.marks, rules.hooks, rules.digest)
    other = Profile(f"{kernel.name} with a mistake", kernel.features, kernel.poison_only, changed)
    name = next((n for n, f in poison_functions(_plain(kernel)).items() if f.name == function.name), function.name)
    return diff(kernel, other, Scope(functions=(name,), arch="")).equivalent


def _plain(kernel: Profile) -> Kernel:
    return Kernel(kernel.features, KernelConfig(), kernel.rules)
