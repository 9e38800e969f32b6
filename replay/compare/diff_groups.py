"""Changes put together to what one can read: by cause, and within it by the check that came, went, or counts otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from replay.compare.diagrams import EMPTY, EVERY, Function
from replay.compare.diff_causes import Cause
from replay.compare.diff_cover import Cover, cover
from replay.compare.diff_functions import Change, Compared
from replay.compare.diff_spaces import Space
from replay.compare.diff_words import aspect_words, label, parts, say
from replay.kernel.features import FEATURES
from replay.kernel.poison_calls import PoisonAnswer

_ORDER = {name: i for i, name in enumerate(FEATURES)}

__all__ = ("Group", "Step", "conditions", "groups")


@dataclass(frozen=True)
class Step:
    """One old answer and one new one.

    Attributes:
        old: in words.
        new: in words.
        before: ids of the checks that decided.
        after: ids of the checks that decide now.
        states: where.
        also: aspects that differ and are not in the words: what it is, old values and new values.
    """

    old: str
    new: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    states: Function
    also: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Group:
    """What one cause changes about one function around one check.

    Attributes:
        function: the kernel's name.
        space: of the states.
        cause: what makes the difference.
        states: all states in which something changes for this reason.
        scope: states that were compared.
        steps: old and new answers.
        why: what the check is about; empty if no single one is.
    """

    function: str
    space: Space
    cause: Cause
    states: Function
    scope: Function
    steps: tuple[Step, ...]
    why: str

    def cover(self, states: Function | None = None, most: int = 16) -> Cover:
        """Return conditions for the states of the group, or some of them; states that cannot be do not matter."""
        diagrams, states = self.space.diagrams, self.states if states is None else states
        allowed = diagrams.either(states, diagrams.without(EVERY, self.scope))
        return cover(diagrams, states, allowed, self.space.order, most, care=self.scope)


def groups(compared: Sequence[Compared]) -> list[Group]:
    """Put changes together; groups of one cause follow each other, in the order of the functions."""
    found: dict[tuple[Any, ...], tuple[Compared, list[Change]]] = {}
    for c in compared:
        for change in c.changes:
            # Without a pivot the same check decides, and what it stands for is filled in otherwise.
            pivot: object = tuple(sorted(change.old))
            if change.pivot is not None:
                pivot = (change.before, change.after)[change.pivot].id, change.pivot
            found.setdefault((change.cause, c.function, pivot), (c, []))[1].append(change)
    causes = sorted(dict.fromkeys(key[0] for key in found), key=_place)
    return [_group(*found[key]) for cause in causes for key in found if key[0] == cause]


def _place(cause: Cause) -> tuple[int, list[str]]:
    """Order causes as features are ordered in their registry; those of candidates come last."""
    known = [_ORDER[name] for name in cause.features]
    return min(known, default=len(_ORDER)), sorted(cause.features | cause.checks)


def _group(compared: Compared, changes: Sequence[Change]) -> Group:
    first = changes[0]
    steps: dict[tuple[object, ...], list[Change]] = {}
    for change in changes:
        steps.setdefault((*_words(change), *sorted(change.old)), []).append(change)
    why = ""
    if first.pivot is not None:
        why = (first.before, first.after)[first.pivot].why
    return Group(
        function=compared.function,
        space=compared.space,
        cause=first.cause,
        states=_union(compared.space, changes),
        scope=compared.scope,
        steps=tuple(_step(compared.space, which) for which in steps.values()),
        why=why,
    )


def _words(change: Change) -> tuple[str, str]:
    if change.pivot is None:
        return "", ""  # the same checks decide, or which ones does not matter
    if "answer" in change.old:
        return str(change.old["answer"]), str(change.new["answer"])
    return label(cast(PoisonAnswer, change.before.answer)), label(cast(PoisonAnswer, change.after.answer))


def _unsaid(change: Change) -> list[str]:
    """Return the aspects that differ, but not in the words of the answers."""
    if "answer" in change.old:
        return []
    if change.pivot is None:
        return list(change.old)
    before, after = (parts(cast(PoisonAnswer, check.answer)) for check in (change.before, change.after))
    return [name for name in change.old if before.get(name) == after.get(name)]


def _step(space: Space, changes: Sequence[Change]) -> Step:
    old, new = _words(changes[0])
    also: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for change in changes:
        for name in _unsaid(change):
            values = also.setdefault(name, ({}, {}))
            values[0][say(name, change.old[name])] = None
            values[1][say(name, change.new[name])] = None
    return Step(
        old,
        new,
        before=tuple(dict.fromkeys(c.before.id for c in changes)),
        after=tuple(dict.fromkeys(c.after.id for c in changes)),
        states=_union(space, changes),
        also=tuple((aspect_words(n), " or ".join(a), " or ".join(b)) for n, (a, b) in also.items()),
    )


def _union(space: Space, changes: Sequence[Change]) -> Function:
    states = EMPTY
    for change in changes:
        states = space.diagrams.either(states, change.states)
    return states


def conditions(space: Space, found: Cover) -> list[str]:
    """Return the conditions of a cover in words, one for each cube."""
    said = [[space.variables[n].say(cube[n]) for n in sorted(cube, key=space.said.__getitem__)] for cube in found.cubes]
    return [", ".join(words) or "always" for words in said]
