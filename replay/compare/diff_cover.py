"""From a set of states to the shortest conditions that describe it.

A condition is a *cube*: for some variables the values that they may have. A cover is a list of cubes that together hold in
all states of the set, and in none outside of what is allowed. Cubes are made as wide as they can be, one after the other,
from a state that is not covered yet; that gives few of them, though not provably the fewest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from replay.compare.diagrams import EMPTY, EVERY, Diagrams, Function

__all__ = ("Cover", "Cube", "cover", "states_of")

Cube = Mapping[int, frozenset[int]]


@dataclass(frozen=True)
class Cover:
    """Conditions for a set of states.

    Attributes:
        cubes: each gives variables and the values they may have; variables that are not named do not matter.
        complete: the cubes hold in all states of the set; otherwise there were too many of them.
    """

    cubes: tuple[Cube, ...]
    complete: bool

    @property
    def words(self) -> int:
        """How many variables are named in all, as a measure of how long the conditions are."""
        return sum(len(cube) for cube in self.cubes)


def cover(
    diagrams: Diagrams,
    states: Function,
    allowed: Function,
    order: Sequence[int],
    most: int = 16,
    care: Function = EVERY,
) -> Cover:
    """Describe a set of states.

    Args:
        diagrams: that the sets belong to.
        states: to be described.
        allowed: states in which the conditions may hold: ``states`` and those that do not matter.
        order: variables; those that come first are left out of conditions first.
        most: cubes after which to give up.
        care: states that can be; values that no such state of a cube has are not named.
    """
    cubes: list[dict[int, frozenset[int]]] = []
    left = states
    while left != EMPTY and len(cubes) < most:
        start = {variable: frozenset((value,)) for variable, value in diagrams.one(left).items()}
        cubes.append(_widen(diagrams, start, allowed, order))
        left = diagrams.without(left, states_of(diagrams, cubes[-1]))
    if left == EMPTY:
        cubes = _needed(diagrams, cubes, states)
    return Cover(tuple(_narrow(diagrams, cube, care) for cube in cubes), left == EMPTY)


def states_of(diagrams: Diagrams, cube: Cube) -> Function:
    """Return the states in which a cube holds."""
    result = EVERY
    for variable in sorted(cube, reverse=True):
        branches = (result if v in cube[variable] else EMPTY for v in range(diagrams.sizes[variable]))
        result = diagrams.node(variable, tuple(branches))
    return result


def _widen(
    diagrams: Diagrams, cube: dict[int, frozenset[int]], allowed: Function, order: Sequence[int]
) -> dict[int, frozenset[int]]:
    for variable in order:
        if variable not in cube:
            continue
        without = {v: values for v, values in cube.items() if v != variable}
        if _holds_within(diagrams, without, allowed):
            cube = without
    for variable in cube:
        for value in range(diagrams.sizes[variable]):
            wider = {**cube, variable: cube[variable] | {value}}
            if value not in cube[variable] and _holds_within(diagrams, wider, allowed):
                cube = wider
    return cube


def _narrow(diagrams: Diagrams, cube: Cube, care: Function) -> Cube:
    """Leave out the values that no state that can be has within the cube."""
    nothing = diagrams.without(EVERY, care)
    for variable, values in cube.items():
        kept = {v for v in values if not _holds_within(diagrams, {**cube, variable: frozenset((v,))}, nothing)}
        cube = {**cube, variable: frozenset(kept)}
    return cube


def _holds_within(diagrams: Diagrams, cube: Cube, allowed: Function) -> bool:
    """Return whether all states of a cube are allowed."""
    seen: set[Function] = set()

    def go(function: Function) -> bool:
        if function < 0:
            return function == EVERY
        if function in seen:
            return True
        variable = diagrams.top(function)
        branches = diagrams.branches(function, variable)
        if not all(go(branches[v]) for v in cube.get(variable, range(len(branches)))):
            return False
        seen.add(function)
        return True

    return go(allowed)


def _needed(
    diagrams: Diagrams, cubes: list[dict[int, frozenset[int]]], states: Function
) -> list[dict[int, frozenset[int]]]:
    """Leave out the cubes whose states the others hold as well."""
    kept = cubes
    for cube in cubes:
        others = [c for c in kept if c is not cube]
        union = reduce(diagrams.either, (states_of(diagrams, c) for c in others), EMPTY)
        if diagrams.without(states, union) == EMPTY:
            kept = others
    return kept
