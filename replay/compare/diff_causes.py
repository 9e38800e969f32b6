"""Why two kernels answer differently in a state: the features, or the checks of a candidate, that make the difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from replay.compare.diff_sides import Side
from replay.compare.diff_spaces import Space
from replay.kernel.decision import Check, KernelFunction

__all__ = ("Blame", "Cause", "Causes")


@dataclass(frozen=True)
class Cause:
    """What makes a difference.

    Attributes:
        features: ids of features that one kernel has and the other has not.
        checks: "kernel: function/check" of checks that only a candidate has, or that a candidate took away.
    """

    features: frozenset[str] = frozenset()
    checks: frozenset[str] = frozenset()

    def __or__(self, other: Cause) -> Cause:
        return Cause(self.features | other.features, self.checks | other.checks)


@dataclass(frozen=True)
class Blame:
    """Why one check decides here, and another one there.

    Attributes:
        cause: what makes the difference.
        sure: it lies in which checks there are; otherwise both kernels have the check, and its condition asks for features.
        came: it is the new check that matters, otherwise the old one.
    """

    cause: Cause
    sure: bool
    came: bool


class Causes:
    """Causes of the differences of one function.

    Args:
        space: of the states.
        p: one side, and its form of the function.
        q: the other side, and its form.
        swapped: features for which the two forms are different functions altogether.
    """

    def __init__(
        self,
        space: Space,
        p: tuple[Side, KernelFunction[Any]],
        q: tuple[Side, KernelFunction[Any]],
        swapped: frozenset[str] = frozenset(),
    ) -> None:
        self._swapped = swapped
        self._space = space
        self._sides = p[0], q[0]
        self._places = tuple({id(check): i for i, check in enumerate(f.checks)} for _, f in (p, q))
        self._names = tuple(f.name for _, f in (p, q))
        self._differ = p[0].features ^ q[0].features

    def of_features(self, asked: frozenset[str]) -> Cause:
        """Return the cause that lies in what was asked for."""
        return Cause(asked & self._differ)

    def of_checks(self, before: Check[Any], after: Check[Any]) -> Blame:
        """Return why ``before`` decides in one kernel and ``after`` in the other.

        Of the two the one that comes first matters: it came in, went, or holds in other states. Where the first one went,
        the second one matters too if it is new.
        """
        if self._swapped:
            return Blame(Cause(self._swapped), sure=True, came=True)
        came = self._blame(after, 1)
        if self._first(before, after) == 1:
            return came
        gone = self._blame(before, 0)
        if self._has(after, 0) or (self._has(before, 1) and self._first(before, after) == 0):
            return gone
        if self._has(before, 1):
            return came
        return Blame(gone.cause | came.cause, gone.sure and came.sure, came=True)

    def _first(self, before: Check[Any], after: Check[Any]) -> int | None:
        """Return 0 if ``before`` comes first, 1 if ``after`` does, None if no function has both."""
        for places in self._places:
            if id(before) in places and id(after) in places:
                return int(places[id(after)] < places[id(before)])
        return None

    def _has(self, check: Check[Any], side: int) -> bool:
        return id(check) in self._places[side] and check.active(self._sides[side].features)

    def _blame(self, check: Check[Any], side: int) -> Blame:
        """Return why a check of one side does not decide in the other."""
        own, other = self._sides[side], self._sides[1 - side]
        missing = frozenset(check.needs) - other.features | frozenset(check.unless) & other.features
        if missing:
            return Blame(Cause(missing), True, side == 1)
        if id(check) not in self._places[1 - side]:
            return Blame(Cause(checks=frozenset({f"{own.name}: {self._names[side]}/{check.id}"})), True, side == 1)
        return Blame(self.of_features(self._space.asked(check, own)), False, side == 1)
