"""A kernel function as data: an ordered list of named checks over a small state.

A check says when it decides, what the answer is then, and which features bring it in or take it out. The list is written
once; ``tabulate`` evaluates it over arrays of states, ``decide`` over a single one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from replay.errors import UndecidedError

__all__ = ("Answer", "Bools", "Check", "Codes", "Decisions", "KernelFunction")

S = TypeVar("S")
Bools = NDArray[np.bool_]
Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class Answer:
    """What a function returns.

    Attributes:
        name: short name shown to people ("page", "no-section", "-EBUSY").
        value: 1 or 0 for lookups (yes or no), the return code for calls.
    """

    name: str
    value: int


@dataclass(frozen=True)
class Check(Generic[S]):
    """One named step.

    Attributes:
        id: unique within the function.
        when: the states it decides, as a boolean array over them.
        answer: the answer it decides on.
        needs: features that must all be there for the check to exist.
        unless: features of which none may be there.
        why: one line in plain words, for `replay explain`.
        imposed: the outcome comes from outside the modelled kernel, so comparing it with a recording proves nothing.
        slow: a pagemap was looked up to decide it.
        source: file and line of a candidate's check, "" for one that ships with this package.
    """

    id: str
    when: Callable[[S], Bools]
    answer: Answer
    needs: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    why: str = ""
    imposed: bool = False
    slow: bool = False
    source: str = ""

    def active(self, features: frozenset[str]) -> bool:
        """Return whether a kernel with these features has the check."""
        return features.issuperset(self.needs) and features.isdisjoint(self.unless)


@dataclass(frozen=True)
class Decisions:
    """Decisions over many states.

    Attributes:
        check: index of the deciding check in the function's list, uint8, one per state.
        value: answer value, int32, one per state.
    """

    check: Codes
    value: NDArray[np.int32]


@dataclass(frozen=True)
class KernelFunction(Generic[S]):
    """An ordered list of checks; the first that holds decides, and the last one always holds.

    Attributes:
        name: the kernel's own name of the function.
        checks: in the order in which the kernel makes them.
    """

    name: str
    checks: tuple[Check[S], ...]

    def active(self, features: frozenset[str]) -> Iterator[tuple[int, Check[S]]]:
        """Yield (index, check) of the checks that a kernel with these features makes."""
        return ((i, check) for i, check in enumerate(self.checks) if check.active(features))

    def tabulate(self, states: S, count: int, features: frozenset[str]) -> Decisions:
        """Evaluate the checks over ``count`` states.

        Args:
            states: fields of the states, as arrays of length ``count`` (or broadcastable to it).
            count: number of states.
            features: of the kernel.

        Raises:
            UndecidedError: some state is decided by no check.
        """
        check = np.full(count, 255, np.uint8)
        value = np.zeros(count, np.int32)
        open_ = np.ones(count, np.bool_)
        for index, step in self.active(features):
            hit = open_ & step.when(states)
            check[hit] = index
            value[hit] = step.answer.value
            open_ &= ~hit
        if open_.any():
            raise UndecidedError(f"{self.name}: {int(open_.sum())} states are decided by no check")
        return Decisions(check, value)

    def decide(self, state: S, features: frozenset[str]) -> int:
        """Return the index of the check that decides one state (fields are scalars)."""
        for index, step in self.active(features):
            if step.when(state):
                return index
        raise UndecidedError(f"{self.name}: a state is decided by no check")
