"""States that poison calls have to meet, within what a trace can say, and why others cannot be met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from replay.compare.diagrams import EMPTY, EVERY, Function
from replay.compare.diff_spaces import Space
from replay.kernel.poison_state import DEFAULTS
from replay.sources.synthetic.covering_areas import AROUND, Around
from replay.trace.poison import PageKind
from replay.trace.schema import EventKind

__all__ = ("Limit", "Unreachable", "choose", "limits", "reasons", "together")

State = dict[str, int]


@dataclass(frozen=True)
class Unreachable:
    """What no trace can show of a kernel.

    Attributes:
        profile: name of the kernel.
        function: name of the kernel function.
        what: words of a mutant, or ``decided`` with the id of a check.
        reason: why not.
    """

    profile: str
    function: str
    what: str
    reason: str


@dataclass(frozen=True)
class Limit:
    """What holds of every call that a trace can describe.

    Attributes:
        states: in which it holds.
        reason: why, in words.
    """

    states: Function
    reason: str


def limits(space: Space, kind: EventKind, around: Sequence[Around], features: frozenset[str]) -> list[Limit]:
    """Return the limits of what calls of a kind can meet in one kernel.

    Args:
        space: of poison calls.
        kind: of the call.
        around: what that kernel finds around some pfn.
        features: of the kernel.
    """
    d = space.diagrams

    def has(name: str, *values: Any) -> Function:  # noqa: ANN401 - of a variable
        variable = space.variables[space.number[name]]
        return space.literal(name, [variable.number(value) for value in values])

    def either(*sets: Function) -> Function:
        result = EMPTY
        for one in sets:
            result = d.either(result, one)
        return result

    def no(states: Function) -> Function:
        return d.without(EVERY, states)

    places = EMPTY
    for combination in around:
        here = EVERY
        for name, value in zip(AROUND, combination, strict=True):
            here = d.both(has(name, value), here)
        places = d.either(places, here)
    huge = has("kind", PageKind.HUGE)
    lists = d.both(has("rawhit", False), d.both(has("rawcnt", 0), has("unrel", False)))
    found = [
        Limit(
            places,
            "no machine has such a pfn: what pfn_valid, pfn_to_online_page and the pagemap index say goes together",
        ),
        Limit(either(huge, lists), "only hugetlb pages have a list of raw poisoned pages"),
        Limit(no(d.both(huge, has("taken", True))), "hugetlb pages are not taken off the buddy lists as such"),
        Limit(either(has("rawhit", False), no(has("rawcnt", 0))), "a list that has the page is not empty"),
    ]
    if kind is not EventKind.MEMORY_FAILURE:
        bad = d.both(huge, d.both(has("tail", True), has("hwp", True)))
        found.append(
            Limit(no(bad), "of a hugetlb page only the head carries the flag, and this call looks at the page's own")
        )
    if kind is not EventKind.SOFT_OFFLINE_PAGE:
        found.append(Limit(has("mig", 0), "only soft offline migrates"))
    if kind is EventKind.UNPOISON_MEMORY and "hugetlb-raw-list" not in features:
        found.append(Limit(has("hwmf", False), "this kernel does not remember that it saw a hardware error"))
    return found


def reasons(space: Space, states: Function, bounds: Sequence[Limit]) -> str:
    """Return why none of these states can be met: the limits that together rule them out, as few as possible."""
    needed = list(bounds)
    for one in bounds:
        rest = [limit for limit in needed if limit is not one]
        if _within(space, states, rest) == EMPTY:
            needed = rest
    return "; ".join(limit.reason for limit in needed)


def _within(space: Space, states: Function, bounds: Sequence[Limit]) -> Function:
    for limit in bounds:
        states = space.diagrams.both(limit.states, states)
    return states


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
