"""The symbolic comparison says what deciding each state directly says: what differs is reported, and nothing else."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.compare.diff_answers import PlainAnswers
from replay.compare.diff_functions import Compared
from replay.compare.diff_lookups import ARCHITECTURES, LookupSpace
from replay.compare.diff_sides import SUBJECTS, Side, Subject
from replay.kernel.config import config_for
from replay.kernel.kill import MappingFacts
from replay.kernel.poison_calls import Verdicts, verdicts
from replay.kernel.poison_state import DEFAULTS, PoisonState
from replay.kernel.walk import STATE_BITS, WalkState
from replay.trace.header import MachineDescription
from replay.trace.poison import MappingClass, PageKind
from replay.trace.schema import PgmapType
from tests.compare.pairs import PAIRS, compared

_BY_NAME = {subject.name: subject for subject in SUBJECTS}
_POISON = [s.name for s in SUBJECTS if s.area == "errors"]
_LOOKUPS = [s.name for s in SUBJECTS if s.state is WalkState]
_FACTS = [s.name for s in SUBJECTS if s.state not in (WalkState, PoisonState)]
# More than one value for each class of numbers, so that the classes themselves are tested.
_NUMBERS = {
    "own_rc": (-95, 0, -5, -117, -6),
    "mig": (0, 1, 3, -5, -12, -16),
    "minord": (0, 1, 2, 9),
    "pins": (0, 1, 2, 3, 7),
    "rawcnt": (0, 1, 2),  # the counter changes by this number, so it is no class beyond
    "refs": (0, 1, 2, 3, 9),
    "ht": (0, 1, 2),
    "pgmap": tuple(PgmapType),
    "kind": tuple(PageKind),
    "map": tuple(MappingClass),
}


def _function(pair: tuple[str, str], name: str) -> Compared | None:
    found = {c.function: c for c in compared(*pair).compared}
    return found.get(name)


def _random_states(seed: int, count: int) -> dict[str, np.ndarray]:
    """Attributes mostly at their defaults, so that late checks are met too."""
    random = np.random.default_rng(seed)
    columns = {}
    for name, default in DEFAULTS.items():
        choices = np.asarray(_NUMBERS.get(name, (False, True)))
        drawn = random.choice(choices, count)
        columns[name] = np.where(random.random(count) < random.choice([0.05, 0.5]), drawn, default)
    # A page of a device is reserved, and its flags are those of a device: otherwise hardly any such state is possible.
    columns["kind"] = np.where(columns["pgmap"] != 0, PageKind.RESERVED, columns["kind"])
    return columns


def _numbers_of(c: Compared, columns: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Value numbers of states, as the diagrams have them."""
    found = []
    for variable in c.space.variables:
        values, where = np.unique(columns[variable.name], return_inverse=True)
        found.append(np.array([variable.number(v) for v in values.tolist()])[where])
    return found


_SEEN = {"ret": "ret", "action": "action", "result": "result", "counter": "counted", "event": "event"}
_SEEN |= {"flag": "poison", "page": "effect", "signals": "kills", "unmapped": "unmapped", "entries": "entries"}


def _direct(side: Side, subject: Subject, columns: dict[str, np.ndarray], count: int) -> Verdicts:
    return verdicts(subject.form(side), PoisonState.of(count, side.features, **columns), count)


@pytest.mark.parametrize("name", _POISON)
@settings(max_examples=20, deadline=None)
@given(pair=st.sampled_from(PAIRS), seed=st.integers(0, 2**32))
def test_poison_calls_differ_in_the_reported_states_and_in_no_others(name, pair, seed):
    c = _function(pair, name)
    if c is None:
        return
    count, found = 3000, compared(*pair)
    columns = _random_states(seed, count)
    old, new = (_direct(side, _BY_NAME[name], columns, count) for side in (found.p, found.q))
    differ = np.zeros(count, np.bool_)
    for field in _SEEN.values():
        differ |= getattr(old, field) != getattr(new, field)
    states = _numbers_of(c, columns)
    possible = c.space.diagrams.evaluate(c.space.possible, states) == 1
    assert possible.mean() > 0.1
    reported = c.space.diagrams.evaluate(c.differing, states) == 1
    assert np.array_equal(reported, differ & possible)


@settings(max_examples=20, deadline=None)
@given(pair=st.sampled_from(PAIRS), seed=st.integers(0, 2**32))
def test_old_and_new_answers_of_poison_calls_are_what_the_kernels_decide(pair, seed):
    found, count = compared(*pair), 3000
    columns = _random_states(seed, count)
    for name in _POISON:
        c = _function(pair, name)
        if c is None:
            continue
        states = _numbers_of(c, columns)
        sides = [_direct(side, _BY_NAME[name], columns, count) for side in (found.p, found.q)]
        forms = [_BY_NAME[name].form(side) for side in (found.p, found.q)]
        for change in c.changes:
            here = np.flatnonzero(c.space.diagrams.evaluate(change.states, states))
            for verdict, form, values, check in zip(
                sides, forms, (change.old, change.new), (change.before, change.after), strict=True
            ):
                assert {form.checks[n].id for n in verdict.check[here]} <= {check.id}
                for aspect, value in values.items():
                    if aspect in {"ret", "counter", "event", "unmapped", "entries"} and aspect != "ret":
                        assert set(getattr(verdict, _SEEN[aspect])[here].tolist()) <= {value}


@pytest.mark.parametrize("pair", PAIRS, ids=" ".join)
def test_lookups_differ_in_the_reported_states_and_in_no_others(pair):
    """All states in all configurations, one by one."""
    found = compared(*pair)
    for name in _LOOKUPS:
        c = _function(pair, name)
        if c is None:
            continue
        space = c.space
        assert isinstance(space, LookupSpace)
        codes = np.arange(1 << STATE_BITS, dtype=np.uint16)
        answers = PlainAnswers(space, name, "lookups")
        for arch, vmemmap, hotplug in product(ARCHITECTURES, (False, True), (False, True)):
            seen = []
            options = {"SPARSEMEM_VMEMMAP": vmemmap, "MEMORY_HOTPLUG": hotplug}
            options |= {"HOLES_IN_ZONE": True} if arch == "other" else {}
            machine = MachineDescription(arch, 12, 27, 46, 1 << 27, "", config=options)
            for side in (found.p, found.q):
                function = _BY_NAME[name].form(side)
                config = config_for(machine, side.features)
                check = function.tabulate(WalkState(codes, config, side.features), codes.size, side.features).check
                values = [answers.aspects(ch, side)["answer"].value for ch in function.checks]
                seen.append(np.array(values)[check])
            columns, _ = space.states_of(found.p, config_for(machine, found.p.features), arch)
            columns[0][:] = ARCHITECTURES.index(arch)
            real = codes >> 8 & 3 < 3  # three pagemap states
            possible = space.diagrams.evaluate(space.possible, columns) == 1
            reported = space.diagrams.evaluate(c.differing, columns) == 1
            assert np.array_equal((reported)[real], ((seen[0] != seen[1]) & possible)[real]), (name, arch)


@pytest.mark.parametrize("name", _FACTS)
@settings(max_examples=25, deadline=None)
@given(pair=st.sampled_from(PAIRS), seed=st.integers(0, 2**32))
def test_calls_differ_in_the_reported_facts_and_in_no_others(name, pair, seed):
    c = _function(pair, name)
    if c is None:
        return
    found, subject, count = compared(*pair), _BY_NAME[name], 2000
    random = np.random.default_rng(seed)
    states = [random.integers(0, len(v.values), count) for v in c.space.variables]
    columns = {v.name: np.asarray(v.values)[n] for v, n in zip(c.space.variables, states, strict=True)}
    task = {n.removeprefix("task."): columns.pop(n) for n in list(columns) if n.startswith("task.")}
    if task:
        columns["task"] = MappingFacts(**task)
    seen = []
    answers = PlainAnswers(c.space, name, subject.area)
    for side in (found.p, found.q):
        function = subject.form(side)
        check = function.tabulate(subject.state(**columns), count, side.features).check
        values = [answers.aspects(ch, side)["answer"].value for ch in function.checks]
        seen.append(np.array(values)[check])
    reported = c.space.diagrams.evaluate(c.differing, states) == 1
    assert np.array_equal(reported, seen[0] != seen[1])
