"""Decision diagrams over variables of few values: functions of states, compared and combined without listing the states.

A function of states is a number: a terminal (``~value``, negative) or a node, which branches on the value of one variable
and is kept only once. So two functions are the same if, and only if, their numbers are: that is what proofs of equivalence
rest on. Values of terminals are small numbers; sets of states are functions with values 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ("EMPTY", "EVERY", "Diagrams", "Function", "terminal", "value_of")

Function = int
EMPTY, EVERY = ~0, ~1  # sets of states
_SMALL = 512  # entries of a table that is put together faster row by row


def terminal(value: int) -> Function:
    """Return the function that is ``value`` everywhere."""
    return ~value


def value_of(function: Function) -> int:
    """Return the value of a function that is the same everywhere."""
    assert function < 0, "the function has several values"
    return ~function


class Diagrams:
    """All functions over the same variables.

    Args:
        sizes: how many values each variable has; variables are numbered from 0, and asked in that order.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        self._variable: list[int] = []
        self._branches: list[tuple[Function, ...]] = []
        self._numbers: dict[tuple[int, tuple[Function, ...]], Function] = {}
        self._memo: dict[Any, dict[tuple[Function, Function], Function]] = {}

    def node(self, variable: int, branches: tuple[Function, ...]) -> Function:
        """Return the function that is the n-th branch where the variable has its n-th value."""
        if branches.count(branches[0]) == len(branches):
            return branches[0]
        key = (variable, branches)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._variable)
            self._variable.append(variable)
            self._branches.append(branches)
        return number

    def top(self, function: Function) -> int:
        """Return the variable a function branches on first; the number of variables for a terminal."""
        return len(self.sizes) if function < 0 else self._variable[function]

    def branches(self, function: Function, variable: int) -> tuple[Function, ...]:
        """Return what is left of a function for each value of a variable, which is not after its first one."""
        if function < 0 or self._variable[function] != variable:
            return (function,) * self.sizes[variable]
        return self._branches[function]

    def table(self, variables: Sequence[int], values: NDArray[np.integer[Any]]) -> Function:
        """Return the function that a table gives.

        Args:
            variables: that it depends on, ascending.
            values: one axis for each of them, of its size.
        """
        if values.size <= _SMALL:
            return self._small_table(variables, (~values.astype(np.int64)).reshape(-1).tolist())
        found, where = np.unique(values.reshape(-1), return_inverse=True)
        numbers = ~found.astype(np.int64)
        where = where.reshape(-1)
        for variable in reversed(variables):
            size = self.sizes[variable]
            columns = where.reshape(-1, size).astype(np.int64)
            key, room = columns[:, 0], len(numbers)
            for other in range(1, size):
                _, key = np.unique(key * room + columns[:, other], return_inverse=True)
            _, first, where = np.unique(key, return_index=True, return_inverse=True)
            rows = numbers[columns[first]].tolist()
            numbers = np.array([self.node(variable, tuple(row)) for row in rows], np.int64)
        return int(numbers[where.reshape(-1)[0]])

    def _small_table(self, variables: Sequence[int], functions: list[Function]) -> Function:
        for variable in reversed(variables):
            size = self.sizes[variable]
            rows = zip(*(functions[n::size] for n in range(size)), strict=True)
            functions = [self.node(variable, row) for row in rows]
        return functions[0]

    def literal(self, variable: int, values: Iterator[int] | Sequence[int]) -> Function:
        """Return the set of the states in which a variable has one of these values."""
        wanted = set(values)
        return self.node(variable, tuple(EVERY if v in wanted else EMPTY for v in range(self.sizes[variable])))

    def apply(self, key: object, combine: Callable[[int, int], int], a: Function, b: Function) -> Function:
        """Combine two functions value by value.

        Args:
            key: names the operation, under which results are remembered: the same key means the same operation.
            combine: value of the result, from the values of both.
            a: one function.
            b: the other.
        """
        memo = self._memo.setdefault(key, {})
        variables, branches, last = self._variable, self._branches, len(self.sizes)

        def go(a: Function, b: Function) -> Function:
            if a < 0 and b < 0:
                return ~combine(~a, ~b)
            found = memo.get((a, b))
            if found is not None:
                return found
            at_a, at_b = variables[a] if a >= 0 else last, variables[b] if b >= 0 else last
            if at_a == at_b:
                result = self.node(at_a, tuple([go(x, y) for x, y in zip(branches[a], branches[b], strict=True)]))
            elif at_a < at_b:
                result = self.node(at_a, tuple([go(x, b) for x in branches[a]]))
            else:
                result = self.node(at_b, tuple([go(a, y) for y in branches[b]]))
            memo[a, b] = result
            return result

        return go(a, b)

    def both(self, a: Function, b: Function) -> Function:
        """Return ``b`` within the set ``a``, 0 elsewhere; of two sets, what they have in common."""
        memo = self._memo.setdefault("both", {})
        variables, branches, last = self._variable, self._branches, len(self.sizes)

        def go(a: Function, b: Function) -> Function:
            if EMPTY in (a, b):
                return EMPTY
            if a == EVERY:
                return b
            found = memo.get((a, b))
            if found is not None:
                return found
            at_a, at_b = variables[a], variables[b] if b >= 0 else last
            if at_a == at_b:
                result = self.node(at_a, tuple([go(x, y) for x, y in zip(branches[a], branches[b], strict=True)]))
            elif at_a < at_b:
                result = self.node(at_a, tuple([go(x, b) for x in branches[a]]))
            else:
                result = self.node(at_b, tuple([go(a, y) for y in branches[b]]))
            memo[a, b] = result
            return result

        return go(a, b)

    def either(self, a: Function, b: Function) -> Function:
        """Return the states that are in one set or the other."""
        return self.apply("either", lambda x, y: x | y, a, b)

    def without(self, a: Function, b: Function) -> Function:
        """Return the states of set ``a`` that are not in set ``b``."""
        return self.apply("without", lambda x, y: x & ~y, a, b)

    def first(self, when: Function, value: int, other: Function) -> Function:
        """Return the function that is ``value`` in the set ``when``, and ``other`` elsewhere."""
        return self.apply(("first", value), lambda x, y: value if x else y, when, other)

    def values(self, function: Function) -> set[int]:
        """Return the values that a function has somewhere."""
        return {~f for f in self._reach(function) if f < 0}

    def size(self, function: Function) -> int:
        """Return how many nodes a function has."""
        return sum(f >= 0 for f in self._reach(function))

    def _reach(self, function: Function) -> set[Function]:
        seen, left = {function}, [function]
        while left:
            f = left.pop()
            if f >= 0:
                new = set(self._branches[f]) - seen
                seen |= new
                left += new
        return seen

    def where(self, function: Function, values: frozenset[int]) -> Function:
        """Return the set of the states in which a function has one of these values."""
        return self.apply(("where", values), lambda x, _: int(x in values), function, EMPTY)

    def at(self, function: Function, state: Sequence[int]) -> int:
        """Return the value in one state, given as the value number of each variable."""
        while function >= 0:
            function = self._branches[function][state[self._variable[function]]]
        return ~function

    def evaluate(self, function: Function, columns: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
        """Return the values in many states.

        Args:
            function: of the states.
            columns: for each variable its value numbers, one for each state.
        """
        values = np.zeros(columns[0].size, np.int64)
        left: dict[Function, list[NDArray[np.intp]]] = {function: [np.arange(columns[0].size)]}
        while left:
            first = min(left, key=self.top)  # nodes before their branches
            states = np.concatenate(left.pop(first))
            if first < 0:
                values[states] = ~first
                continue
            column = columns[self._variable[first]][states]
            for value, branch in enumerate(self._branches[first]):
                left.setdefault(branch, []).append(states[column == value])
        return values

    def one(self, states: Function) -> dict[int, int]:
        """Return variables and their values that put a state into a set, whatever the other variables are; prefers 0.

        Raises:
            ValueError: the set is empty.
        """
        if states == EMPTY:
            raise ValueError("the set is empty")
        path: dict[int, int] = {}
        while states >= 0:
            value = next(v for v, b in enumerate(self._branches[states]) if b != EMPTY)
            path[self._variable[states]] = value
            states = self._branches[states][value]
        return path

    def count(self, states: Function) -> int:
        """Return how many states a set has."""
        memo: dict[Function, int] = {EMPTY: 0, EVERY: 1}
        room = [1] * (len(self.sizes) + 1)
        for variable in reversed(range(len(self.sizes))):
            room[variable] = room[variable + 1] * self.sizes[variable]

        def go(f: Function) -> int:
            """Count over the variables from the one that ``f`` branches on."""
            if f not in memo:
                below = self._variable[f] + 1
                memo[f] = sum(go(b) * (room[below] // room[self.top(b)]) for b in self._branches[f])
            return memo[f]

        return go(states) * (room[0] // room[self.top(states)])
