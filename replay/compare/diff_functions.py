"""Two kernels' forms of one function: every state in which they answer differently, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from replay.compare.diagrams import EMPTY, EVERY, Function, terminal
from replay.compare.diff_answers import Answers, Aspect
from replay.compare.diff_causes import Blame, Cause, Causes
from replay.compare.diff_sides import Side
from replay.compare.diff_spaces import Space
from replay.kernel.decision import Check, KernelFunction

__all__ = ("Change", "Compared", "compare_function")


@dataclass(frozen=True)
class Change:
    """States in which two kernels answer differently for one cause.

    Attributes:
        function: the kernel's name.
        cause: what makes the difference.
        before: check that decides in the one kernel.
        after: check that decides in the other.
        states: where.
        old: aspects that differ, and their values in the one kernel.
        new: the same in the other.
        pivot: 0 if it is a matter of the check that decided before, 1 of the one that decides after, None of neither.
    """

    function: str
    cause: Cause
    before: Check[Any]
    after: Check[Any]
    states: Function
    old: Mapping[str, Any]
    new: Mapping[str, Any]
    pivot: int | None = None


@dataclass(frozen=True)
class Compared:
    """One function, compared.

    Attributes:
        function: the kernel's name.
        space: of its states.
        scope: states that were compared.
        changes: all differences; their states overlap only where several causes change different aspects.
        differing: the states in which something differs.
        only_possible: that nothing differs beyond ``differing`` holds in possible states only; in others something may.
        asked: features that the conditions ask for in one kernel or the other.
        renamed_pairs: ids of checks that decide in the one kernel and in the other on the same answer.
    """

    function: str
    space: Space
    scope: Function
    changes: tuple[Change, ...]
    differing: Function
    only_possible: bool
    asked: frozenset[str]
    renamed_pairs: tuple[tuple[str, str], ...]


class _Comparison:
    def __init__(
        self,
        space: Space,
        answers: Answers,
        p: tuple[Side, KernelFunction[Any]],
        q: tuple[Side, KernelFunction[Any]],
        follows: Sequence[Compared],
        swapped: frozenset[str],
        function: str,
    ) -> None:
        self.space, self.diagrams, self.answers = space, space.diagrams, answers
        self.p, self.q = p[0], q[0]
        self.function = function
        self.decided = tuple(space.decisions(function, side) for side, function in (p, q))
        self.causes = Causes(space, p, q, swapped)
        self.follows = follows

    def changes(self, scope: Function) -> Iterator[Change]:
        pairs = self._pairs(scope)
        for number in sorted(self.diagrams.values(pairs) - {0}):
            before, after = (self.space.checks[n] for n in self.space.names[number])
            region = self.diagrams.where(pairs, frozenset((number,)))
            yield from self._of_pair(before, after, region)

    def differs_in(self, states: Function) -> bool:
        """Return whether something may differ in some of these states."""
        return self._pairs(states) != terminal(0)

    def _pairs(self, scope: Function) -> Function:
        """Return which two checks decide, where that can make a difference."""
        alike: dict[tuple[int, int], bool] = {}
        names, checks = self.space.names, self.space.checks

        def pair(p: int, q: int) -> int:
            if (p, q) not in alike:
                old, new = self._aspects(checks[p], 0), self._aspects(checks[q], 1)
                alike[p, q] = all(a.value == new[name].value for name, a in old.items())
            return 0 if alike[p, q] else names.number((p, q))

        key = ("pair", self.function, self.p.name, self.q.name)
        return self.diagrams.both(scope, self.diagrams.apply(key, pair, *self.decided))

    def renamed(self, scope: Function, differing: Function) -> Iterator[tuple[str, str]]:
        """Yield the checks of which now another one decides, but answers alike."""
        names, checks = self.space.names, self.space.checks
        other = self.diagrams.apply("other check", lambda p, q: 0 if p == q else names.number((p, q)), *self.decided)
        alike = self.diagrams.both(self.diagrams.without(scope, differing), other)
        for p, q in sorted(names[number] for number in self.diagrams.values(alike) - {0}):
            yield checks[p].id, checks[q].id

    def _aspects(self, check: Check[Any], side: int) -> Mapping[str, Aspect]:
        return self.answers.aspects(check, (self.p, self.q)[side])

    def _of_pair(self, before: Check[Any], after: Check[Any], region: Function) -> Iterator[Change]:
        """Split the differences of two checks by cause and by what is seen.

        On the way from the old answer to the new one stands the old answer as the other kernel would fill it in: what
        differs up to there is not a matter of which check decides.
        """
        old, middle, new = self._aspects(before, 0), self._aspects(before, 1), self._aspects(after, 1)
        by_check: dict[str, Function] = {}
        by_features: dict[Cause, dict[str, Function]] = {}
        for name in old:
            if old[name].value == new[name].value:
                continue
            differ = self._differences(old[name].value, new[name].value)
            kept = self._same(middle[name].value, new[name].value)
            filled_in = self.diagrams.both(kept, differ)
            if filled_in != terminal(0):
                cause = self.causes.of_features(old[name].asked)
                by_features.setdefault(cause, {})[name] = filled_in
            by_check[name] = self.diagrams.both(self.diagrams.without(EVERY, kept), differ)
        for cause, aspects in by_features.items():
            yield from self._split(before, after, cause, aspects, region)
        if before is not after and by_check:
            blame = self.causes.of_checks(before, after)
            for cause, states in self._caused(blame, region):
                yield from self._split(before, after, cause, by_check, states, int(blame.came))

    def _differences(self, old: Function, new: Function) -> Function:
        """Return pairs (old, new) where two functions differ, 0 elsewhere."""
        names = self.space.names
        return self.diagrams.apply("differences", lambda x, y: 0 if x == y else names.number((x, y)), old, new)

    def _same(self, a: Function, b: Function) -> Function:
        return self.diagrams.apply("same", lambda x, y: int(x == y), a, b)

    def _split(
        self,
        before: Check[Any],
        after: Check[Any],
        cause: Cause,
        aspects: Mapping[str, Function],
        region: Function,
        pivot: int | None = None,
    ) -> Iterator[Change]:
        """Yield one change for each combination of old and new values."""
        names = self.space.names
        together = terminal(names.number(()))
        for name, differences in aspects.items():

            def add(x: int, y: int, name: str = name) -> int:
                return x if y == 0 else names.number((*names[x], (name, y)))

            together = self.diagrams.apply(("add", name), add, together, differences)
        nothing = names.number(())
        here = self.diagrams.both(region, together)
        for number in sorted(self.diagrams.values(here) - {0, nothing}):
            states = self.diagrams.where(here, frozenset((number,)))
            pairs = {name: names[pair] for name, pair in names[number]}
            old = {name: names[x] for name, (x, _) in pairs.items()}
            new = {name: names[y] for name, (_, y) in pairs.items()}
            yield Change(self.function, cause, before, after, states, old, new, pivot)

    def _caused(self, blame: Blame, region: Function) -> Iterator[tuple[Cause, Function]]:
        """Yield the causes of another check deciding, each with its states."""
        if blame.sure:
            yield blame.cause, region
            return
        # The condition asks other functions: where those differ, for whatever cause, this one follows.
        for followed in self.follows:
            for change in followed.changes:
                part = self.diagrams.both(region, change.states)
                if part != EMPTY:
                    yield change.cause, part
                    region = self.diagrams.without(region, part)
        if region != EMPTY:
            yield blame.cause, region


def compare_function(
    function: str,
    space: Space,
    answers: Answers,
    p: tuple[Side, KernelFunction[Any]],
    q: tuple[Side, KernelFunction[Any]],
    scope: Function,
    follows: Sequence[Compared] = (),
    swapped: frozenset[str] = frozenset(),
) -> Compared:
    """Compare two forms of a function in all states of a set.

    Args:
        function: the kernel's name.
        space: of the states.
        answers: what is seen of a check's answer.
        p: one kernel and its form.
        q: the other kernel and its form.
        scope: states to compare in.
        follows: functions that this one asks, compared in the same states.
        swapped: features for which the two forms are different functions altogether.
    """
    comparison = _Comparison(space, answers, p, q, follows, swapped, function)
    changes = tuple(comparison.changes(scope))
    differing = EMPTY
    for change in changes:
        differing = space.diagrams.either(differing, change.states)
    impossible = space.diagrams.without(EVERY, space.possible)
    return Compared(
        function=function,
        space=space,
        scope=scope,
        changes=changes,
        differing=differing,
        only_possible=comparison.differs_in(impossible),
        asked=frozenset(
            f for side, form in (p, q) for _, c in form.active(side.features) for f in space.asked(c, side)
        ),
        renamed_pairs=tuple(comparison.renamed(scope, differing)),
    )
