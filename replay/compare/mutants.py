"""Mutants: a kernel function with one small mistake in it, such as a patch might make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from replay.kernel.calls import always
from replay.kernel.decision import Answer, Check, KernelFunction
from replay.kernel.poison_calls import PoisonAnswer, PoisonCheck, PoisonFunction

__all__ = ("NOTHING", "Mutant", "mutants", "nothing_decides")

NOTHING = "nothing decides"
"""Id of the check that decides where a mutant leaves nothing else to."""
_NO_ANSWER = -(1 << 20)  # no kernel answers with it


@dataclass(frozen=True)
class Mutant:
    """A changed function.

    Attributes:
        how: "drop", "negate" or "swap".
        checks: ids of the checks that it concerns.
        function: the changed form; it has only checks that the kernel makes.
    """

    how: str
    checks: tuple[str, ...]
    function: KernelFunction[Any]

    @property
    def words(self) -> str:
        """What was done."""
        return f"{self.how} {' and '.join(self.checks)}"


def mutants(function: KernelFunction[Any], features: frozenset[str]) -> Iterator[Mutant]:
    """Yield all mutants: each check dropped, each condition negated, each two neighbours swapped.

    Args:
        function: the kernel's form.
        features: of the kernel; checks that it does not make have no mutants.
    """
    made = [check for _, check in function.active(features)]
    last = nothing_decides(function)
    for i, check in enumerate(made):
        yield Mutant("drop", (check.id,), replace(function, checks=(*made[:i], *made[i + 1 :], last)))
        other = replace(check, when=_negated(check))
        yield Mutant("negate", (check.id,), replace(function, checks=(*made[:i], other, *made[i + 1 :], last)))
        if i + 1 < len(made):
            swapped = (*made[:i], made[i + 1], check, *made[i + 2 :], last)
            yield Mutant("swap", (check.id, made[i + 1].id), replace(function, checks=swapped))


def nothing_decides(function: KernelFunction[Any]) -> Check[Any]:
    """Return the check that stands behind the others of a mutant, which may leave states to nobody."""
    if isinstance(function, PoisonFunction):
        return PoisonCheck(NOTHING, always, PoisonAnswer(NOTHING, _NO_ANSWER), page=False)
    return Check(NOTHING, always, Answer(NOTHING, _NO_ANSWER))


def _negated(check: Check[Any]) -> Any:  # noqa: ANN401 - a condition
    return lambda state: ~np.asarray(check.when(state), np.bool_)
