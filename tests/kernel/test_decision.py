"""Kernel functions as data: the first active check decides, and every state is decided."""

from __future__ import annotations

import dataclasses
from itertools import product
from typing import Any

import numpy as np
import pytest

from replay.errors import InvariantError
from replay.kernel.calls import Kernel, Pieces, error
from replay.kernel.decision import Answer, Check, KernelFunction
from replay.kernel.hotplug import ADD_MEMORY, REMOVE_MEMORY, AddFacts, RemoveFacts
from replay.kernel.memremap import MEMREMAP_PAGES, MEMUNMAP_PAGES, MapFacts, UnmapFacts
from replay.kernel.online import (
    MEMORY_BLOCK_OFFLINE,
    MEMORY_BLOCK_ONLINE,
    OFFLINE_PAGES,
    ONLINE_PAGES,
    BlockFacts,
)
from replay.kernel.profiles import PRESETS, profile
from replay.kernel.registry import FUNCTIONS
from replay.kernel.reserve import RESOURCE_INSERT, RESOURCE_REMOVE, ReserveFacts
from replay.kernel.resource_queries import (
    PGMAP_PFN_VALID,
    REGION_INTERSECTS,
    WALK_SYSTEM_RAM_RANGE,
    MetadataFacts,
    RegionFacts,
    WalkFacts,
)
from replay.kernel.walk import LOOKUP_FUNCTIONS

FACTS: dict[str, tuple[KernelFunction[Any], type]] = {
    f.name: (f, facts)
    for f, facts in (
        (ADD_MEMORY, AddFacts),
        (REMOVE_MEMORY, RemoveFacts),
        (ONLINE_PAGES, BlockFacts),
        (OFFLINE_PAGES, BlockFacts),
        (MEMORY_BLOCK_ONLINE, BlockFacts),
        (MEMORY_BLOCK_OFFLINE, BlockFacts),
        (MEMREMAP_PAGES, MapFacts),
        (MEMUNMAP_PAGES, UnmapFacts),
        (RESOURCE_INSERT, ReserveFacts),
        (RESOURCE_REMOVE, ReserveFacts),
        (REGION_INTERSECTS, RegionFacts),
        (WALK_SYSTEM_RAM_RANGE, WalkFacts),
        (PGMAP_PFN_VALID, MetadataFacts),
    )
}
KERNELS = [name for name, preset in PRESETS.items() if not preset.poison_only]


def every(facts: type) -> tuple[Any, int]:
    """All combinations of a function's facts."""
    names = [field.name for field in dataclasses.fields(facts)]
    rows = np.array(list(product((False, True), repeat=len(names))), np.bool_)
    return facts(**{name: rows[:, i] for i, name in enumerate(names)}), len(rows)


def test_every_function_of_the_walk_is_here() -> None:
    walk = {f.name for kind, f in FUNCTIONS.items() if kind < 40}  # lookups and transitions
    assert walk == set(FACTS) | {f.name for f in LOOKUP_FUNCTIONS}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", FACTS)
def test_every_combination_of_facts_is_decided(name: str, kernel: str) -> None:
    """By an active check, with that check's answer; one by one as all at once."""
    function, facts = FACTS[name]
    states, count = every(facts)
    features = profile(kernel).features
    decided = function.tabulate(states, count, features)
    active = dict(function.active(features))
    assert set(decided.check.tolist()) <= set(active)
    assert decided.value.tolist() == [active[i].answer.value for i in decided.check.tolist()]
    fields = [field.name for field in dataclasses.fields(facts)]
    for at in range(0, count, max(1, count // 32)):
        one = facts(**{f: np.asarray(getattr(states, f)[at]) for f in fields})
        assert function.decide(one, features) == decided.check[at]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", FACTS)
def test_a_check_is_reached_or_not_there(name: str, kernel: str) -> None:
    """Every active check decides some combination, unless an earlier one with the same question always comes first."""
    function, facts = FACTS[name]
    states, count = every(facts)
    features = profile(kernel).features
    deciding = set(function.tabulate(states, count, features).check.tolist())
    masked: list[np.ndarray] = []
    for index, check in function.active(features):
        holds = np.broadcast_to(check.when(states), count)
        if index not in deciding:
            before = np.zeros(count, np.bool_)
            for earlier in masked:
                before |= earlier
            assert (before | ~holds).all(), f"{function.name}/{check.id}"
        masked.append(holds)


@pytest.mark.parametrize("function", [f for f, _ in FACTS.values()], ids=lambda f: f.name)
def test_answers(function: KernelFunction[Any]) -> None:
    """Check ids are unique; only what the environment imposes is marked so; the last check needs nothing."""
    ids = [check.id for check in function.checks]
    assert len(set(ids)) == len(ids)
    assert all(check.imposed == (check.id == "environment") for check in function.checks)
    last = function.checks[-1]
    assert (last.needs, last.unless) == ((), ())


# The machinery --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class State:
    n: np.ndarray


YES, NO = Answer("yes", 1), Answer("no", 0)
SMALL = Check[State]("small", lambda s: s.n < 3, NO)
NEW = Check[State]("new", lambda s: s.n < 6, YES, needs=("new", "newer"))
OLD = Check[State]("old", lambda s: s.n < 8, NO, unless=("new", "newest"))
LAST = Check[State]("last", lambda s: s.n >= 0, YES)
STATES = State(np.arange(10))


def decided(features: set[str], *checks: Check[State]) -> list[str]:
    function = KernelFunction("f", checks)
    decisions = function.tabulate(STATES, 10, frozenset(features))
    assert decisions.value.tolist() == [checks[i].answer.value for i in decisions.check]
    alone = [function.decide(State(n), frozenset(features)) for n in STATES.n]
    assert alone == decisions.check.tolist()
    return [checks[i].id for i in decisions.check]


def test_the_first_check_that_holds_decides() -> None:
    assert decided(set(), SMALL, LAST) == ["small"] * 3 + ["last"] * 7
    assert decided(set(), LAST, SMALL) == ["last"] * 10


def test_needs_all_unless_any() -> None:
    """A check is there with all that it needs, and gone with any that it is against."""
    order = (SMALL, NEW, OLD, LAST)
    assert decided(set(), *order) == ["small"] * 3 + ["old"] * 5 + ["last"] * 2
    assert decided({"newer"}, *order) == decided(set(), *order)
    assert decided({"new", "newer"}, *order) == ["small"] * 3 + ["new"] * 3 + ["last"] * 4
    assert decided({"newest"}, *order) == ["small"] * 3 + ["last"] * 7
    assert [check.active(frozenset({"new"})) for check in order] == [True, False, False, True]


def test_a_state_that_nothing_decides() -> None:
    """Is a defect, and said so."""
    function = KernelFunction("f", (SMALL, NEW))
    with pytest.raises(InvariantError, match="f: 7 states are decided by no check"):
        function.tabulate(STATES, 10, frozenset())
    with pytest.raises(InvariantError, match="f: a state is decided by no check"):
        function.decide(State(np.asarray(9)), frozenset())


def test_a_condition_that_is_the_same_for_all_states() -> None:
    """May be given as a single truth value."""
    always = Check[State]("always", lambda _: np.asarray(True), YES)
    assert decided(set(), SMALL, always) == ["small"] * 3 + ["always"] * 7


def test_errors_are_named_as_in_c() -> None:
    assert (error(22).name, error(22).value) == ("-EINVAL", -22)
    assert Kernel(frozenset({"a"}), None).has("a")  # type: ignore[arg-type]


def test_pieces() -> None:
    """Phases take parts out of what is still to come, rounded out to the grain; nothing comes twice."""
    pieces = Pieces([(10, 50), (60, 70)], grain=8)
    assert pieces.take(20, 21) == [(16, 24)]
    assert pieces.take(20, 21) == []
    assert pieces.take(0, 18) == [(10, 16)]
    assert pieces.take(45, 62) == [(40, 50), (60, 64)]
    assert pieces.rest() == [(24, 40), (64, 70)]
    assert pieces.rest() == []
    assert pieces.take(0, 100) == []
