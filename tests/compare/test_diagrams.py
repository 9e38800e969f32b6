"""Decision diagrams: the same function is the same number, and operations are what they are value by value."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.compare.diagrams import EMPTY, EVERY, Diagrams, terminal, value_of
from replay.compare.diff_cover import cover, states_of

SIZES = (2, 3, 2, 4)
STATES = list(product(*map(range, SIZES)))
tables = st.lists(st.integers(0, 3), min_size=len(STATES), max_size=len(STATES))
sets = st.lists(st.booleans(), min_size=len(STATES), max_size=len(STATES))


def _of(diagrams: Diagrams, values: list[int]) -> int:
    return diagrams.table(range(len(SIZES)), np.array(values).reshape(SIZES))


def _listed(diagrams: Diagrams, function: int) -> list[int]:
    return [diagrams.at(function, state) for state in STATES]


@given(tables, tables)
def test_a_function_is_its_values(a, b):
    diagrams = Diagrams(SIZES)
    first, second = _of(diagrams, a), _of(diagrams, b)
    assert _listed(diagrams, first) == a
    assert (first == second) == (a == b)
    assert diagrams.values(first) == set(a)
    columns = list(np.array(STATES).T)
    assert diagrams.evaluate(first, columns).tolist() == a


@given(tables)
def test_large_and_small_tables_give_the_same_function(a):
    diagrams = Diagrams((16, *SIZES))
    large = diagrams.table(range(5), np.broadcast_to(np.array(a).reshape(SIZES), (16, *SIZES)))
    assert large == diagrams.table(range(1, 5), np.array(a).reshape(SIZES))


@given(tables, sets)
def test_operations_are_what_they_are_value_by_value(a, inside):
    diagrams = Diagrams(SIZES)
    function, states = _of(diagrams, a), _of(diagrams, [int(x) for x in inside])
    both = diagrams.both(states, function)
    assert _listed(diagrams, both) == [x if y else 0 for x, y in zip(a, inside, strict=True)]
    first = diagrams.first(states, 7, function)
    assert _listed(diagrams, first) == [7 if y else x for x, y in zip(a, inside, strict=True)]
    ones = diagrams.where(function, frozenset({1, 2}))
    assert _listed(diagrams, ones) == [int(x in {1, 2}) for x in a]
    assert _listed(diagrams, diagrams.either(states, ones)) == [
        int(y or x in {1, 2}) for x, y in zip(a, inside, strict=True)
    ]
    assert _listed(diagrams, diagrams.without(states, ones)) == [
        int(y and x not in {1, 2}) for x, y in zip(a, inside, strict=True)
    ]
    assert diagrams.count(states) == sum(inside)
    if any(inside):
        found = diagrams.one(states)
        assert inside[STATES.index(tuple(found.get(v, 0) for v in range(len(SIZES))))]


@given(sets, sets)
def test_a_cover_holds_in_the_states_and_nowhere_beyond_what_is_allowed(inside, besides):
    diagrams = Diagrams(SIZES)
    states = _of(diagrams, [int(x) for x in inside])
    allowed = _of(diagrams, [int(x or y) for x, y in zip(inside, besides, strict=True)])
    found = cover(diagrams, states, allowed, range(len(SIZES)), most=64)
    assert found.complete
    union = EMPTY
    for cube in found.cubes:
        union = diagrams.either(union, states_of(diagrams, cube))
    assert diagrams.without(states, union) == EMPTY
    assert diagrams.without(union, allowed) == EMPTY


def test_a_cover_of_too_many_conditions_says_so():
    diagrams = Diagrams((2,) * 6)
    parity = diagrams.table(range(6), np.indices((2,) * 6).sum(0) % 2)
    found = cover(diagrams, parity, parity, range(6), most=8)
    assert not found.complete
    assert len(found.cubes) == 8
    assert cover(diagrams, parity, parity, range(6), most=32).complete


def test_a_cover_of_everything_names_nothing():
    diagrams = Diagrams(SIZES)
    assert cover(diagrams, EVERY, EVERY, range(4)).cubes == ({},)
    assert cover(diagrams, EMPTY, EMPTY, range(4)).cubes == ()


def test_terminals():
    diagrams = Diagrams(SIZES)
    assert diagrams.node(0, (terminal(3), terminal(3))) == terminal(3)
    assert value_of(terminal(3)) == 3
    with pytest.raises(ValueError, match="empty"):
        diagrams.one(EMPTY)
