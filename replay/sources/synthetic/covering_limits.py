"""What never holds of the states that lookups and transitions are asked about, and why: limits of the simulated machine."""

from __future__ import annotations

from typing import Any

from replay.compare.diagrams import EMPTY, EVERY, Function
from replay.compare.diff_spaces import Space
from replay.compare.regions import Regions
from replay.kernel.hotplug import AddFacts
from replay.kernel.memremap import MapFacts
from replay.kernel.online import BlockFacts
from replay.kernel.resource_queries import MetadataFacts, RegionFacts
from replay.kernel.walk import WalkState
from replay.sources.synthetic.covering_script import Shown, Shows
from replay.sources.synthetic.covering_states import Limit, Unreachable, reasons

__all__ = ("out_of_reach",)

# State class to the values that never come together, and why not.
_NEVER: dict[type[Any], tuple[tuple[dict[str, tuple[bool, ...]], str], ...]] = {
    WalkState: (
        ({"PRESENT": (True,), "VALID": (False,)}, "a section gets its mem_map in the same step as it becomes present"),
        ({"HIGH": (True,)}, "a trace holds only pfns whose address fits 64 bits"),
    ),
    MetadataFacts: (({"inside": (False,), "data": (True,)}, "what is outside of a pagemap is none of its data"),),
    RegionFacts: (({"of_type": (False,), "other": (True,)}, "where nothing is of the type, nothing is mixed"),),
    MapFacts: (({"ram": (False,), "mixed": (True,)}, "what touches no System RAM is not mixed"),),
    AddFacts: (),
    BlockFacts: (
        ({"no_ram": (True,), "holes": (False,)}, "a range without System RAM is a hole all over"),
        ({"unaligned_section": (False,), "unaligned_pageblock": (True,)}, "whole sections are whole pageblocks"),
        ({"unaligned_section": (False,), "odd_pageblock": (True,)}, "whole sections are whole pageblocks"),
    ),
}


def out_of_reach(shows: Shows, names: list[str], shown: set[Shown]) -> list[Unreachable]:
    """Return what no trace can show of a kernel's lookups, queries and transitions.

    Args:
        shows: of the kernel.
        names: of the functions.
        shown: by the traces; of these nothing is said.
    """
    regions, found = Regions(shows.kernel), list[Unreachable]()
    for name in names:
        noticing = shows.noticing(name)
        mine = regions.of(noticing.function)
        bounds = _bounds(mine.space, regions)
        wanted = {mutant.words: mine.notices(mutant) for mutant in noticing.mutants}
        wanted |= {f"decided {check.id}": mine.decided(check.id) for check in mine.checks}
        for words, states in wanted.items():
            if (shows.kernel.digest, name, words) in shown:
                continue
            if states == EMPTY:
                if words.startswith("decided "):
                    found.append(Unreachable(shows.kernel.name, name, words, "earlier checks decide all its states"))
                continue
            within = states
            for limit in bounds:
                within = mine.space.diagrams.both(limit.states, within)
            if within == EMPTY:
                found.append(Unreachable(shows.kernel.name, name, words, reasons(mine.space, states, bounds)))
    return found


def _bounds(space: Space, regions: Regions) -> list[Limit]:
    for state, rules in _NEVER.items():
        if regions.spaces[state] is space:
            return [Limit(_without(space, never), reason) for never, reason in rules]
    return []


def _without(space: Space, never: dict[str, tuple[bool, ...]]) -> Function:
    bad = EVERY
    for name, values in never.items():
        bad = space.diagrams.both(bad, space.literal(name, [int(value) for value in values]))
    return space.diagrams.without(EVERY, bad)
