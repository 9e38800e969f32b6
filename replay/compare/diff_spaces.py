"""What kernel functions decide on, as variables of few values: state spaces of decision diagrams.

A condition or an outcome is evaluated over the values of the variables that it really reads, which are found by watching it,
and turned into a function of states. Numbers stand for classes that no check tells apart further.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.compare.diagrams import EVERY, Diagrams, Function, terminal
from replay.compare.diff_sides import Side
from replay.compare.diff_words import POISON_CLASSES
from replay.errors import InvariantError, UsageError
from replay.kernel.calls import always
from replay.kernel.decision import Answer, Check, KernelFunction

__all__ = ("Build", "Columns", "Features", "Invariant", "Names", "Space", "Variable")

_UNDECIDED: Check[Any] = Check("undecided", always, Answer("undecided", 0))
_MOST = 1 << 20  # states in the table of one condition


@dataclass(frozen=True)
class Variable:
    """One thing that is looked at.

    Attributes:
        name: of the field.
        values: what it can be; several numbers that no check tells apart are one value.
        words: of each value, as a condition would say it.
        never: values that no state has.
        together: sets of values that have words of their own.
        others: the last value stands for all numbers that are not named.
        dtype: of the field.
    """

    name: str
    values: tuple[int | bool, ...]
    words: tuple[str, ...]
    never: frozenset[int] = frozenset()
    together: Mapping[frozenset[int], str] = field(default_factory=dict)
    others: bool = False
    dtype: np.dtype[Any] | None = None

    def number(self, value: Any) -> int:  # noqa: ANN401 - of a trace
        """Return the number of the value that something is."""
        stands_for = POISON_CLASSES.get(self.name)
        value = value if stands_for is None else stands_for(value)
        return len(self.values) - 1 if self.others and value not in self.values else self.values.index(value)

    def say(self, which: AbstractSet[int]) -> str:
        """Return the words for having one of these values, or for not having one of the others if these are fewer."""
        if (words := self.together.get(frozenset(which))) is not None:
            return words
        some = [w for v, w in enumerate(self.words) if v in which - self.never]
        others = [w for v, w in enumerate(self.words) if v not in which | self.never]
        if len(some) <= len(others) or len(some) < 2:
            return " or ".join(some)
        if len(others) > 1:
            return f"neither {' nor '.join(others)}"
        return others[0][len("no ") :] if others[0].startswith("no ") else f"not {others[0]}"


@dataclass(frozen=True)
class Invariant:
    """A state that no machine is ever in.

    Attributes:
        never: variable to the values that never come together.
        reason: why not.
    """

    never: Mapping[str, tuple[int | bool, ...]]
    reason: str


class Names:
    """Numbers for anything that can be the value of a function of states; 0 is taken by None."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {(type(None), None): 0}  # by type too: 0, False and IntEnums are equal
        self._values: list[Any] = [None]

    def number(self, value: Hashable) -> int:
        """Return the number of a value."""
        key = (type(value), value)
        if key not in self._numbers:
            self._numbers[key] = len(self._values)
            self._values.append(value)
        return self._numbers[key]

    def __getitem__(self, number: int) -> Any:  # noqa: ANN401 - whatever was numbered
        return self._values[number]


class Features(frozenset[str]):
    """Features of a kernel that remember which of them were asked for.

    Attributes:
        read: ids, whether the kernel has them or not.
    """

    read: set[str]

    @classmethod
    def watched(cls, features: frozenset[str]) -> Features:
        """Return the features, none of which was asked for yet."""
        result = cls(features)
        result.read = set()
        return result

    def __contains__(self, feature: object) -> bool:
        self.read.add(str(feature))
        return super().__contains__(feature)

    def issuperset(self, other: Any) -> bool:  # noqa: ANN401 - as frozenset has it
        """Return whether the kernel has all of these features."""
        self.read.update(other)
        return super().issuperset(other)

    def isdisjoint(self, other: Any) -> bool:  # noqa: ANN401
        """Return whether the kernel has none of these features."""
        self.read.update(other)
        return super().isdisjoint(other)


Columns = Mapping[str, NDArray[Any]]
Build = Callable[[Columns, frozenset[str], set[str]], Any]


class Space:
    """The states that some kernel functions decide on.

    Args:
        variables: in the order in which diagrams ask for them.
        build: makes the object that conditions read: from columns by variable name, the kernel's features, and a set that
            takes the names of the variables that are read.
        invariants: states that do not occur.
        telling: names of the variables that conditions should rather be said in, the most telling ones first.
        said: names of the variables in the order in which conditions name them; by default that of ``variables``.
    """

    def __init__(
        self,
        variables: Sequence[Variable],
        build: Build | None,
        invariants: Sequence[Invariant] = (),
        telling: Sequence[str] = (),
        said: Sequence[str] = (),
    ) -> None:
        self.variables = tuple(variables)
        self.invariants = tuple(invariants)
        self.number = {v.name: i for i, v in enumerate(self.variables)}
        self.diagrams = Diagrams([len(v.values) for v in self.variables])
        self.names = Names()
        self.checks: list[Check[Any]] = [_UNDECIDED]
        self._check_numbers: dict[int, int] = {}
        self._arrays = [np.asarray(v.values, v.dtype) for v in self.variables]
        self._first = {v.name: array[0] for v, array in zip(self.variables, self._arrays, strict=True)}
        self._known: dict[Hashable, list[tuple[Function, frozenset[str], frozenset[str]]]] = {}
        self._decisions: dict[tuple[int, str], Function] = {}
        self._reads: dict[tuple[int, frozenset[str]], frozenset[str]] = {}
        self._build = build
        rank = {name: i for i, name in enumerate(telling)}
        self.order = sorted(range(len(self.variables)), key=lambda n: -rank.get(self.variables[n].name, len(rank)))
        self.said = {self.number[name]: i for i, name in enumerate(said or self.number)}
        self.possible = self._possible()

    def _possible(self) -> Function:
        result = EVERY
        for invariant in self.invariants:
            bad = EVERY
            for name, values in invariant.never.items():
                variable = self.variables[self.number[name]]
                bad = self.diagrams.both(bad, self.literal(name, [variable.values.index(v) for v in values]))
            result = self.diagrams.without(result, bad)
        return result

    def literal(self, name: str, which: Sequence[int]) -> Function:
        """Return the states in which a variable has one of its values, given by their numbers."""
        return self.diagrams.literal(self.number[name], which)

    def evaluate(
        self, evaluate: Callable[[Any], object], features: frozenset[str]
    ) -> tuple[list[int], NDArray[Any], frozenset[str]]:
        """Evaluate something over the variables that it reads.

        Args:
            evaluate: from the object of ``build`` to one value for each state.
            features: of the kernel.

        Returns:
            (variables that were read, ascending; values with one axis for each; features that were asked for).

        Raises:
            UsageError: it reads too much for a table.
        """
        assert self._build is not None
        watched, support = Features.watched(features), list[int]()
        while True:
            sizes = [self.diagrams.sizes[n] for n in support]
            if math.prod(sizes) > _MOST:
                names = ", ".join(self.variables[n].name for n in support)
                raise UsageError(
                    f"a condition reads too much at once to be compared ({names}); make several checks of it"
                )
            count = math.prod(sizes)
            grid = np.indices(sizes, np.int32).reshape(len(sizes), count)
            columns = dict(self._first)
            for n, numbers in zip(support, grid, strict=True):
                columns[self.variables[n].name] = self._arrays[n][numbers]
            read: set[str] = set()
            result = np.broadcast_to(np.asarray(evaluate(self._build(columns, watched, read))), (count,))
            new = {self.number[name] for name in read} - set(support)
            if not new:
                return support, result.reshape(sizes), frozenset(watched.read)
            support = sorted({*support, *new})

    def function(
        self, key: Hashable, evaluate: Callable[[Any], object], features: frozenset[str]
    ) -> tuple[Function, frozenset[str]]:
        """Return what ``evaluate`` gives as a function of states with values of ``names``, and the features it asked for.

        Args:
            key: names what is evaluated.
            evaluate: from the object of ``build`` to one value for each state.
            features: of the kernel.
        """

        def numbered() -> tuple[Function, frozenset[str]]:
            support, values, asked = self.evaluate(evaluate, features)
            found, where = np.unique(values, return_inverse=True)
            numbers = np.array([self.names.number(v) for v in found.tolist()], np.int64)
            return self.diagrams.table(support, numbers[where.reshape(values.shape)]), asked

        return self._remembered(key, features, numbered)

    def _remembered(
        self, key: Hashable, features: frozenset[str], compute: Callable[[], tuple[Function, frozenset[str]]]
    ) -> tuple[Function, frozenset[str]]:
        """Return what is computed, once for all kernels that do not differ in the features it asks for."""
        known = self._known.setdefault(key, [])
        for function, asked, had in known:
            if features & asked == had:
                return function, asked
        function, asked = compute()
        known.append((function, asked, features & asked))
        return function, asked

    def decisions(self, function: KernelFunction[Any], side: Side) -> Function:
        """Return which check of a function decides, as numbers of ``checks``.

        Raises:
            InvariantError: some state is decided by no check.
        """
        key = (id(function), side.name)
        if key not in self._decisions:
            self._decisions[key] = self.decide(function, side)
        return self._decisions[key]

    def decide(self, function: KernelFunction[Any], side: Side) -> Function:
        """Find out what ``decisions`` remembers."""
        result = terminal(0)
        for _, check in reversed(list(function.active(side.features))):
            when, self._reads[id(check), side.features] = self.condition(check.when, side.features)
            result = self.diagrams.first(when, self.check_number(check), result)
        if 0 in self.diagrams.values(result):
            raise InvariantError(f"{function.name}: some states are decided by no check")
        return result

    def check_number(self, check: Check[Any]) -> int:
        """Return the number that stands for a check."""
        if id(check) not in self._check_numbers:
            self._check_numbers[id(check)] = len(self.checks)
            self.checks.append(check)
        return self._check_numbers[id(check)]

    def asked(self, check: Check[Any], side: Side) -> frozenset[str]:
        """Return the features that the condition of a check asked for itself."""
        return self._reads[id(check), side.features]

    def holds(self, check: Check[Any], side: Side) -> Function:
        """Return the set of the states in which the condition of a check is true, whatever stands before it."""
        return self.condition(check.when, side.features)[0]

    def condition(self, when: Callable[[Any], object], features: frozenset[str]) -> tuple[Function, frozenset[str]]:
        """Return the set of the states in which a condition holds, and the features it asked for."""

        def tabled() -> tuple[Function, frozenset[str]]:
            support, values, asked = self.evaluate(when, features)
            return self.diagrams.table(support, values.astype(np.uint8)), asked

        return self._remembered(when, features, tabled)
