"""States that poison calls have to meet: few that lie in many sets, each as ordinary as possible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from replay.compare.diagrams import EMPTY, Function
from replay.compare.diff_spaces import Space
from replay.kernel.poison_state import DEFAULTS

__all__ = ("choose", "together")

State = dict[str, int]


def together(space: Space, wanted: Mapping[Any, Function]) -> Iterator[State]:
    """Yield states such that each of some sets, none of which is empty, has one: as few as come easily."""
    left = dict(sorted(wanted.items(), key=lambda item: space.diagrams.count(item[1])))
    while left:
        states = left[next(iter(left))]
        for other in list(left):
            both = space.diagrams.both(states, left[other])
            if both != EMPTY:
                states = both
                del left[other]
        yield choose(space, states)


def choose(space: Space, states: Function) -> State:
    """Return one state of a set that is not empty, as ordinary as possible: attribute to value.

    Attributes that do not matter are left out.
    """
    state: State = {}
    while states >= 0:
        n = space.diagrams.top(states)
        variable, branches = space.variables[n], space.diagrams.branches(states, n)
        usual = variable.number(DEFAULTS[variable.name].item())
        value = usual if branches[usual] != EMPTY else next(v for v, b in enumerate(branches) if b != EMPTY)
        state[variable.name] = int(variable.values[value])
        states = branches[value]
    return state
