"""Limits of what traces can lead to: no recorded or generated state lies beyond them, and the score counts by them."""

from pathlib import Path

import numpy as np
import pytest

from replay.compare.coverage import functions_of
from replay.compare.diagrams import EMPTY, EVERY
from replay.compare.diff_lookups import LookupSpace
from replay.compare.met import Met, meet, misfits
from replay.compare.mutation import FunctionScore, score_functions
from replay.compare.reach import Reach, Unreachable
from replay.kernel.poison_state import DEFAULTS, PoisonState
from replay.kernel.profiles import profile

RECORDED = [
    f"traces/recorded/{name}.arrow"
    for name in ("6.1.192-s8-poison-rules", "6.12.107-s4-kmem", "5.10.223-s2a-pmem-collision")
]
COVERING = [str(path) for path in sorted(Path("traces/synthetic").glob("covering-*.arrow"))]
KERNELS = ("v7.2.13", "v5.12", "v4.19")


@pytest.fixture(scope="module", params=KERNELS)
def met(request):
    kernel = profile(request.param)
    found, without = Met(kernel), misfits([*RECORDED, *COVERING], [kernel.name])
    for path in (*RECORDED, *COVERING):
        if (kernel.name, path) not in without:
            found.merge(meet(path, kernel))
    return found


def number_of(variable, value):
    """Return the number of a value; no check tells the sizes of large mappings apart."""
    return variable.number(min(value, 21) if variable.name == "task.shift" else value)


def columns_of(reach, name, states):
    """Return states that were met as numbers of the values of their space's variables, one column each."""
    space = reach.of(name).space
    if isinstance(space, LookupSpace):
        parts = []
        for config in {config for config, _ in states.rows}:
            every, _ = space.states_of(reach.regions.side, config, "")
            codes = np.array([code for c, code in states.rows if c == config])
            parts.append([column[codes] for column in every])
        return [np.concatenate(column) for column in zip(*parts, strict=True)]
    names = list(DEFAULTS) if states.kind is PoisonState else [v.name for v in space.variables]
    rows = [[number_of(v, row[names.index(v.name)]) for v in space.variables] for row in states.rows]
    return [np.array(column) for column in zip(*rows, strict=True)]


def test_no_state_that_was_met_lies_beyond_the_limits(met):
    """Else something would be called out of reach that is not. Pages of which nothing is known are in no state at all."""
    reach, functions = Reach(met.kernel), 0
    for name in functions_of(met):
        states, space = met.states.get(name), reach.of(name).space
        if states is None or not states.rows:
            continue
        functions += 1
        columns = columns_of(reach, name, states)
        known = np.ones(columns[0].size, bool)
        if states.kind is PoisonState:
            known = columns[space.number["kind"]] != space.variables[space.number["kind"]].number(0)
        for limit in reach.limits(name):
            inside = space.diagrams.evaluate(limit.states, columns).astype(bool)
            assert inside[known].all(), (name, limit.reason)
            assert limit.states != EMPTY
    assert functions >= 20


def test_limits_rule_something_out():
    """A limit that holds everywhere would be no reason."""
    reach = Reach(profile("v6.1.192"))
    for name in ("pfn_valid", "pgmap_pfn_valid", "region_intersects", "memory_failure", "kill_procs"):
        assert reach.limits(name)
        assert all(limit.states != EVERY for limit in reach.limits(name)), name


def test_what_is_out_of_reach_is_neither_noticed_nor_survives(met):
    names = ["pfn_valid", "pgmap_pfn_valid", "region_intersects", "memory_failure"]
    scores = {score.name: score for score in score_functions(met, names)}
    beyond = {score.name: [one.what for one in score.unreachable] for score in scores.values()}
    assert beyond["region_intersects"] == ["swap disjoint and mixed"]
    assert beyond["memory_failure"] == []
    assert beyond["pgmap_pfn_valid"] == ([] if met.kernel.name == "v4.19" else ["drop outside"])
    for score in scores.values():
        others = {m.words for m in (*score.noticed, *score.equivalent, *score.survived)}
        assert others.isdisjoint(beyond[score.name])
        assert score.score == 1.0, score.survived
        assert (score.score_of_all < 1.0) == bool(beyond[score.name])
        assert all(one.reason for one in score.unreachable)


def test_without_traces_nothing_is_noticed_and_the_same_is_out_of_reach(met):
    (bare,) = score_functions(Met(met.kernel), ["region_intersects"])
    assert bare.noticed == []
    assert [one.what for one in bare.unreachable] == ["swap disjoint and mixed"]
    assert bare.score == 0.0
    assert len(bare.survived) == 7


def test_scores():
    beyond = [Unreachable("v6.1", "f", "drop a", "why")]
    score = FunctionScore("f", ["m"] * 6, ["m"] * 9, beyond, ["m"] * 2, 5)
    assert score.score == 6 / 8
    assert score.score_of_all == 6 / 9
    assert FunctionScore("f", [], ["m"], [], [], 0).score == 1.0
