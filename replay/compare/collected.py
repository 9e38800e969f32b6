"""The pages on which memory_failure collects the tasks that map them: what kill_procs can be asked about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from replay.compare.diagrams import EMPTY, EVERY, Function
from replay.compare.diff_spaces import Space
from replay.compare.limits import Limit, within
from replay.compare.regions import FunctionRegions
from replay.kernel.poison_calls import Kills
from replay.kernel.poison_state import PoisonState

__all__ = ("DAX_KILLS", "PAGE_FACTS", "Collected", "collected", "signal_limits")

DAX_KILLS = frozenset({Kills.DAX, Kills.PFN_SPACE})
"""Rules that find tasks by the address space of a DAX file, or by pfn."""
_FIXED: dict[Kills, dict[str, bool]] = {
    Kills.MAPPERS: {},
    Kills.UNSPLIT: {"forced": True, "ufail": False},
    Kills.DAX: {"AR": True, "mp": True, "anon": False, "ksm": False, "drop": False, "forced": True, "ufail": False},
}
_FIXED[Kills.PFN_SPACE] = _FIXED[Kills.DAX]
_CONDITIONS: dict[str, Callable[[PoisonState], object]] = {
    "AR": lambda s: s.AR,
    "es": lambda s: s.es,
    "mp": lambda s: s.mp,
    "anon": lambda s: s.anon,
    "ksm": lambda s: s.ksm,
    "drop": lambda s: s.drop,
    "forced": lambda s: s.dirty2 | s.MUST,
    "ufail": lambda s: s.ufail,
}
PAGE_FACTS = tuple(_CONDITIONS)
"""Fields of ``KillState`` that the call and its page decide."""


@dataclass(frozen=True)
class Collected:
    """Pages on which tasks are collected.

    Attributes:
        kills: by which rule.
        facts: what collecting looks at, by ``PAGE_FACTS``.
        states: of the calls.
    """

    kills: Kills
    facts: dict[str, bool]
    states: Function


def collected(calls: FunctionRegions, bounds: Sequence[Limit], features: frozenset[str]) -> Iterator[Collected]:
    """Yield what pages on which tasks are collected can be like.

    Args:
        calls: the kernel's memory_failure.
        bounds: its limits.
        features: of the kernel.
    """
    for kills, fixed in _FIXED.items():
        states = EMPTY
        for check in calls.checks:
            if getattr(check.answer, "kills", Kills.NOBODY) is kills:
                states = calls.space.diagrams.either(states, calls.decided(check.id))
        yield from _split(calls.space, Collected(kills, dict(fixed), within(calls.space, states, bounds)), features)


def _split(space: Space, pages: Collected, features: frozenset[str]) -> Iterator[Collected]:
    if pages.states == EMPTY:
        return
    name = next((n for n in PAGE_FACTS if n not in pages.facts), None)
    if name is None:
        yield pages
        return
    holds, _ = space.condition(_CONDITIONS[name], features)
    for value, states in ((True, holds), (False, space.diagrams.without(EVERY, holds))):
        here = Collected(pages.kills, {**pages.facts, name: value}, space.diagrams.both(states, pages.states))
        yield from _split(space, here, features)


def signal_limits(space: Space, pages: Sequence[Collected]) -> list[Limit]:
    """Return the limits of what kill_procs can be asked about.

    Args:
        space: of its states.
        pages: on which the kernel collects tasks.
    """
    d, sets = space.diagrams, EMPTY
    for page in pages:
        here = EVERY
        for name, value in page.facts.items():
            here = d.both(space.literal(name, [int(value)]), here)
        if page.kills not in DAX_KILLS:
            here = d.both(space.literal("unmapped_dax", [0]), here)
        sets = d.either(sets, here)
    return [
        Limit(
            space.literal("task.covers", [1]), "who maps a page has a VMA over it: a trace knows tasks by what they map"
        ),
        Limit(sets, "no call of memory_failure collects tasks for such a page"),
    ]
