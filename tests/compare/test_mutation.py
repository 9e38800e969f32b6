"""Mutation: a mistake counted as noticed changes what a replay answers, survivors do not; equivalents are proven."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from replay.compare.diagrams import EMPTY
from replay.compare.diff import Scope, diff
from replay.compare.met import Met, meet
from replay.compare.mutants import NOTHING, mutants
from replay.compare.mutation import score_functions
from replay.compare.noticing import Noticing
from replay.compare.regions import Regions
from replay.engine.replay import Replayer
from replay.kernel.poison_state import DEFAULTS, PoisonState
from replay.kernel.profiles import profile
from replay.kernel.rules import Rules
from replay.kernel.walk import PFN_TO_ONLINE_PAGE
from replay.session import named
from replay.trace.reader import TraceFile

TRACES = [Path("traces/synthetic/covering-x86_64-no-hotplug.arrow")]
NO_ANSWERS = {
    "check",
    "slow",
    "slow_pages",
    "slow_match",
}  # numbers of checks differ by themselves; a slow path is a cost
LOOKUPS = ("pfn_valid", "pfn_to_online_page", "get_dev_pagemap")


def outcomes(path, kernel):
    """Return everything that a replay answers, row by row, numbers and costs left out."""
    with TraceFile.open(path) as trace:
        replayer = Replayer(trace.machine, kernel, trace.strings, keep=True)
        for batch in trace.batches():
            replayer.feed(batch)
        replayer.finish()
        return [{n: v.tolist() for n, v in kept.items() if n not in NO_ANSWERS} for kept in replayer.finished()]


def mistaken(kernel, mutant):
    rules = Rules({**kernel.rules.functions, mutant.function.name: mutant.function})
    return replace(kernel, name=mutant.words, rules=rules)


@pytest.fixture(scope="module")
def scored():
    kernel = named("v6.12")
    found = []
    for path in TRACES:
        met = meet(path, kernel)
        found.append((path, met, score_functions(met, LOOKUPS)))
    return kernel, found


def test_a_noticed_mistake_in_a_lookup_changes_the_replay_and_a_survivor_does_not(scored):
    kernel, found = scored
    for path, _, scores in found:
        right = outcomes(path, kernel)
        for score in scores:
            for mutant in score.noticed:
                assert outcomes(path, mistaken(kernel, mutant)) != right, (path, mutant.words)
            for mutant in (*score.survived, *score.equivalent):
                found_now = outcomes(path, mistaken(kernel, mutant))
                differ = [n for a, b in zip(found_now, right, strict=True) for n in a if a[n] != b[n]]
                assert not differ, (path, mutant.words)


def test_the_scores_name_each_mutant_once(scored):
    kernel, found = scored
    for _, met, scores in found:
        for score in scores:
            names = [m.words for m in (*score.noticed, *score.equivalent, *score.survived)]
            names += [one.what for one in score.unreachable]
            assert sorted(names) == sorted(m.words for m in mutants(met.function(score.name), kernel.features))


@pytest.mark.parametrize("name", ["memory_failure", "soft_offline_page", "unpoison_memory", "kill_accessing_process"])
def test_the_states_in_which_a_mistake_shows_are_those_in_which_the_answers_differ(name):
    """Over random states of calls: inside of the region of a mutant something that is seen differs, outside nothing does."""
    kernel, random = profile("v6.12"), np.random.default_rng(7)
    noticing, regions = Noticing(kernel, name), Regions(kernel)
    space = regions.of(noticing.function).space
    columns = [random.integers(0, len(v.values), 4000) for v in space.variables]
    # Few of all states are ordinary: start half of them from one that is.
    for column, variable in zip(columns, space.variables, strict=True):
        usual = random.random(4000) < random.choice((0.5, 0.9), 4000)
        column[usual] = variable.number(DEFAULTS[variable.name].item())
    possible = space.diagrams.evaluate(space.possible, columns).astype(bool)
    values = {v.name: np.asarray(v.values, v.dtype)[c] for v, c in zip(space.variables, columns, strict=True)}
    states = PoisonState.of(4000, kernel.features, **values)
    before = noticing._seen(noticing.function, states, 4000)
    shown = 0
    for mutant in noticing.mutants:
        differ = noticing._differ(before, noticing._seen(mutant.function, states, 4000))
        region = space.diagrams.evaluate(regions.of(noticing.function).notices(mutant), columns).astype(bool)
        assert (differ[possible] == region[possible]).all(), mutant.words
        shown += int(region.any())
    assert shown > len(noticing.mutants) // 4


def test_what_is_called_equivalent_is_what_comparing_kernels_calls_so():
    """By the way that ``diff`` takes, which knows nothing of mutants."""
    kernel = profile("v5.12")
    for name in ("get_dev_pagemap", "remove_memory"):
        function = Met(kernel).function(name)
        regions = Regions(kernel).of(function)
        for mutant in mutants(function, kernel.features):
            same = diff(kernel, mistaken(kernel, mutant), Scope(functions=(name,), arch="")).equivalent
            assert same == (regions.notices(mutant) == EMPTY), mutant.words


def test_mutants_drop_negate_and_swap_the_checks_a_kernel_makes():
    kernel = profile("v5.11")
    made = [check.id for _, check in PFN_TO_ONLINE_PAGE.active(kernel.features)]
    found = list(mutants(PFN_TO_ONLINE_PAGE, kernel.features))
    assert [m.checks for m in found if m.how == "drop"] == [(c,) for c in made]
    assert [m.checks for m in found if m.how == "negate"] == [(c,) for c in made]
    assert [m.checks for m in found if m.how == "swap"] == list(pairwise(made))
    assert all(m.function.checks[-1].id == NOTHING for m in found)
