"""Where a mistake shows: the states in which a mutant of a kernel function answers otherwise, as decision diagrams.

With the states that reach each check, and what the checks behind it decide there (the rest), the states of every mutant
follow. A check is dropped: where it decides, and the rest answers otherwise; negated: wherever it is reached, and the rest
answers otherwise; two are swapped: where both hold, and answer differently. No state at all is a proof.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from replay.compare.diagrams import EMPTY, Function, terminal
from replay.compare.diff import Spaces
from replay.compare.diff_answers import Answers, PlainAnswers, PoisonAnswers
from replay.compare.diff_sides import SUBJECTS, Side, Subject
from replay.compare.diff_spaces import Space
from replay.compare.mutants import Mutant, nothing_decides
from replay.kernel.decision import Check, KernelFunction
from replay.kernel.profiles import Profile

__all__ = ("FunctionRegions", "Regions", "subject_of")


class Regions:
    """The state spaces of one kernel's functions, shared by all mutants.

    Args:
        kernel: the kernel.
    """

    def __init__(self, kernel: Profile) -> None:
        self.side = Side.of(kernel)
        self.spaces = Spaces([self.side])
        self._found: dict[str, FunctionRegions] = {}

    def of(self, function: KernelFunction[Any]) -> FunctionRegions:
        """Return the regions of the kernel's form of a function."""
        if function.name not in self._found:
            subject = subject_of(function, self.side)
            space = self.spaces[subject.state]
            answers: Answers = PlainAnswers(space, subject.name, subject.area)
            if subject.area == "errors":
                answers = PoisonAnswers(space)
            self._found[function.name] = FunctionRegions(function, self.side, space, answers)
        return self._found[function.name]


class FunctionRegions:
    """The states of one function's checks and mutants; all within those that are possible.

    Args:
        function: the kernel's form.
        side: the kernel.
        space: of the states.
        answers: what is seen of an answer.
    """

    def __init__(self, function: KernelFunction[Any], side: Side, space: Space, answers: Answers) -> None:
        self.function, self.space = function, space
        self._side, self._answers = side, answers
        self.checks = [check for _, check in function.active(side.features)]
        self._nothing = nothing_decides(function)
        self._when = [space.holds(check, side) for check in self.checks]
        self._differ: dict[tuple[int, int], Function] = {}

    @cached_property
    def reached(self) -> list[Function]:
        """For each check, the possible states in which none before it holds."""
        found, left = [], self.space.possible
        for when in self._when:
            found.append(left)
            left = self.space.diagrams.without(left, when)
        return found

    @cached_property
    def _rest(self) -> list[Function]:
        """For each check, which check decides if those from it on are asked; one more than there are checks."""
        result = terminal(self.space.check_number(self._nothing))
        found = [result]
        for check, when in zip(reversed(self.checks), reversed(self._when), strict=True):
            result = self.space.diagrams.first(when, self.space.check_number(check), result)
            found.append(result)
        return found[::-1]

    def decided(self, check_id: str) -> Function:
        """Return the states that a check decides."""
        i = self._index(check_id)
        return self.space.diagrams.both(self.reached[i], self._when[i])

    def notices(self, mutant: Mutant) -> Function:
        """Return the states that a mutant of this function answers otherwise."""
        i, diagrams = self._index(mutant.checks[0]), self.space.diagrams
        if mutant.how == "swap":
            following = self.checks[self._index(mutant.checks[1])]
            both = diagrams.both(self.decided(mutant.checks[0]), self._when[self._index(mutant.checks[1])])
            return diagrams.both(both, self._apart(self.checks[i], following))
        within = self.decided(mutant.checks[0]) if mutant.how == "drop" else self.reached[i]
        return self._otherwise(self.checks[i], self._rest[i + 1], within)

    def _otherwise(self, check: Check[Any], rest: Function, within: Function) -> Function:
        """Return the states in which a check answers otherwise than the checks behind it."""
        diagrams, found = self.space.diagrams, EMPTY
        rest = diagrams.both(within, rest)
        for number in sorted(diagrams.values(rest) - {0}):
            part = diagrams.where(rest, frozenset((number,)))
            found = diagrams.either(found, diagrams.both(part, self._apart(check, self.space.checks[number])))
        return found

    def _apart(self, one: Check[Any], other: Check[Any]) -> Function:
        """Return the states in which something that is seen of two checks' answers differs."""
        key = self.space.check_number(one), self.space.check_number(other)
        if key not in self._differ:
            diagrams, found = self.space.diagrams, EMPTY
            ours, theirs = (self._answers.aspects(check, self._side) for check in (one, other))
            for name, aspect in ours.items():
                if aspect.value != theirs[name].value:
                    differ = diagrams.apply("unequal", lambda x, y: int(x != y), aspect.value, theirs[name].value)
                    found = diagrams.either(found, differ)
            self._differ[key] = found if one is not other else EMPTY
        return self._differ[key]

    def _index(self, check_id: str) -> int:
        return next(i for i, check in enumerate(self.checks) if check.id == check_id)


def subject_of(function: KernelFunction[Any], side: Side) -> Subject:
    """Return what is compared when this function is."""
    for subject in SUBJECTS:
        form = subject.form(side)
        if form is not None and form.name == function.name:
            return subject
    raise KeyError(function.name)
