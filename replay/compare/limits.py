"""What holds of every state that a trace can lead to, and why: limits of machines, and of what a trace can say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from replay.compare.areas import AROUND, Around
from replay.compare.diagrams import EMPTY, EVERY, Function
from replay.compare.diff_spaces import Space
from replay.kernel.memremap import MapFacts
from replay.kernel.online import BlockFacts
from replay.kernel.resource_queries import MetadataFacts, RegionFacts
from replay.kernel.walk import WalkState
from replay.trace.poison import PageKind
from replay.trace.schema import EventKind

__all__ = ("Limit", "fact_limits", "poison_limits", "reasons", "within")


@dataclass(frozen=True)
class Limit:
    """What holds of every call that a trace can describe.

    Attributes:
        states: in which it holds.
        reason: why, in words.
    """

    states: Function
    reason: str


# State class to the values that never come together, and why not. A class without limits is not in it.
_NEVER: dict[type[Any], tuple[tuple[dict[str, tuple[bool, ...]], str], ...]] = {
    WalkState: (
        ({"PRESENT": (True,), "VALID": (False,)}, "a section gets its mem_map in the same step as it becomes present"),
        ({"HIGH": (True,), "MEMBLOCK": (True,)}, "a number that is no pfn is not memory, whatever its lower bits say"),
    ),
    MetadataFacts: (({"inside": (False,), "data": (True,)}, "what is outside of a pagemap is none of its data"),),
    RegionFacts: (({"of_type": (False,), "other": (True,)}, "where nothing is of the type, nothing is mixed"),),
    MapFacts: (({"ram": (False,), "mixed": (True,)}, "what touches no System RAM is not mixed"),),
    BlockFacts: (
        ({"no_ram": (True,), "holes": (False,)}, "a range without System RAM is a hole all over"),
        ({"unaligned_section": (False,), "unaligned_pageblock": (True,)}, "whole sections are whole pageblocks"),
        ({"unaligned_section": (False,), "odd_pageblock": (True,)}, "whole sections are whole pageblocks"),
    ),
}


def fact_limits(space: Space, state: type[Any]) -> list[Limit]:
    """Return the limits of what lookups, queries and transitions are asked about.

    Args:
        space: of the states.
        state: their class.
    """
    return [Limit(_without(space, never), reason) for never, reason in _NEVER.get(state, ())]


def poison_limits(space: Space, kind: EventKind, around: Sequence[Around], features: frozenset[str]) -> list[Limit]:
    """Return the limits of what calls of a kind can meet in one kernel.

    Args:
        space: of poison calls.
        kind: of the call.
        around: what that kernel finds around some pfn, see ``Areas``.
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
        if within(space, states, rest) == EMPTY:
            needed = rest
    return "; ".join(limit.reason for limit in needed)


def within(space: Space, states: Function, bounds: Sequence[Limit]) -> Function:
    """Return the states that lie within all limits."""
    for limit in bounds:
        states = space.diagrams.both(limit.states, states)
    return states


def _without(space: Space, never: dict[str, tuple[bool, ...]]) -> Function:
    bad = EVERY
    for name, values in never.items():
        bad = space.diagrams.both(bad, space.literal(name, [int(value) for value in values]))
    return space.diagrams.without(EVERY, bad)
