"""Poison calls that follow: their states differ, and both kernels' rules say the same of either state."""

from pathlib import Path

import numpy as np
import pytest

from replay.compare import following
from replay.compare.causes import Cause, Causes, Verdict
from replay.compare.following import Following
from replay.compare.kernels import compare_trace
from replay.engine.poison_verdicts import poison_function
from replay.engine.replay import replay_trace
from replay.kernel.calls import Kernel
from replay.kernel.config import KernelConfig
from replay.kernel.kill import KILL_ACCESSING_PROCESS
from replay.kernel.poison_calls import verdicts
from replay.kernel.poison_state import PoisonState
from replay.kernel.profiles import profile
from replay.trace.reader import TraceFile
from replay.trace.schema import POISON_CALLS

COLLISION = "traces/recorded/6.1.192-s2a-pmem-collision.arrow"
COVERING = "traces/synthetic/covering-poison.arrow"
RULES = "traces/recorded/7.2.13-s8-poison-rules.arrow"
CALLS = {kind.name.lower() for kind in POISON_CALLS}


def differing(path, baseline, candidate):
    with TraceFile.open(path) as trace:
        return compare_trace(trace, profile(baseline), profile(candidate)).causes.differing


def test_between_released_kernels_poison_calls_follow_from_lookups():
    """v5.12 refuses pfns of sections that are not online; what memory_failure does with them is as old."""
    found = {
        (c.function, c.baseline.check, c.candidate.check): c.follows
        for c in differing(COLLISION, "v5.11", "v5.12")
        if c.function in CALLS
    }
    assert found == {
        ("memory_failure", "reserved-failed", "dax-entry-lock"): True,
        ("memory_failure", "already", "dax-entry-lock"): True,
        ("memory_failure", "undecided", "not-online"): True,
        ("soft_offline_page", "poisoned", "not-online"): True,
        ("soft_offline_page", "undecided", "not-online"): True,
        ("unpoison_memory", "unpoisoned", "not-poisoned-success"): True,
        ("memory_failure", "undecided", "pagemap-metadata"): False,  # a check that v5.11 does not make
    }


@pytest.mark.parametrize("path", [COVERING, COLLISION], ids=lambda p: Path(p).stem)
@pytest.mark.parametrize("feature", ["online-page-subsection-validity", "taint-zone-device"])
def test_where_only_lookups_changed_every_poison_call_that_differs_follows(path, feature):
    causes = differing(path, "v5.12", f"v5.12-{feature}")
    assert all(c.follows for c in causes if c.function in CALLS)
    assert not any(c.follows for c in causes if c.function not in CALLS)


@pytest.mark.parametrize("path", [COVERING, RULES], ids=lambda p: Path(p).stem)
@pytest.mark.parametrize("pair", [("v6.1.192", "v7.2.13"), ("v5.10.223", "v6.1.192"), ("v4.19", "v5.12")])
def test_a_call_follows_if_either_state_is_answered_alike_by_both_kernels(path, pair):
    """By another way: call by call, without batches, with single states."""
    baseline, candidate = map(profile, pair)
    kernels = [Kernel(p.features, KernelConfig(), p.rules) for p in (baseline, candidate)]
    calls = []
    for p in (baseline, candidate):
        mine = {}
        with TraceFile.open(path) as trace:
            replay_trace(trace, p, log=lambda call, mine=mine: mine.__setitem__(call.row, call))
        calls.append(mine)

    def says(kernel, call):
        state = PoisonState.of(None, kernel.features, **call.attributes)
        found = verdicts(poison_function(call.kind, kernel), state, 1, kernel.function(KILL_ACCESSING_PROCESS))
        if np.asarray(found.undecided).any():
            return "undecided"
        names = ["ret", "action", "result", "counted", "poison", "effect", "kills", "unmapped", "entries", "event"]
        return [int(np.asarray(getattr(found, name)).reshape(-1)[0]) for name in names]

    rows = {}
    for row, a in calls[0].items():
        b = calls[1][row]
        alike = all(says(kernels[0], call) == says(kernels[1], call) for call in (a, b))
        rows[row] = alike and says(kernels[0], a) != says(kernels[1], b)
    with TraceFile.open(path) as trace:
        where = {}

        def sink(found):
            for row in found.row.tolist():
                where.setdefault((found.function, found.baseline, found.candidate), []).append(row)

        causes = compare_trace(trace, baseline, candidate, sink=sink).causes.differing
    for cause in causes:
        if cause.function in CALLS:
            mine = [rows[row] for row in where[cause.key]]
            assert not cause.follows or all(mine), cause
            if all(mine) and "signalled" not in cause.baseline.yes + cause.candidate.yes:
                assert cause.follows, cause


@pytest.mark.parametrize("change", ["-already-poisoned-error", "-take-off-buddy", "-filter-eopnotsupp", "+ksm-poison"])
def test_the_first_call_that_differs_by_a_rule_of_poison_does_not_follow(change):
    """Up to it both machines are the same, so nothing could be left by earlier calls."""
    causes = differing(COVERING, "v6.1.192", f"v6.1.192{change}")
    assert causes
    assert not min(causes, key=lambda c: c.first).follows


def test_calls_in_more_states_than_are_kept_are_not_said_to_follow(monkeypatch):
    monkeypatch.setattr(following, "_MAX", 3)
    found = [c for c in differing(COLLISION, "v5.11", "v5.12") if c.function in CALLS]
    assert found
    assert not all(c.follows for c in found if c.candidate.check == "not-online")


def test_without_poison_calls_nothing_is_asked():
    states = Following()
    states.begin(5)
    assert all(side.of_row is None for side in states.sides)


def test_a_cause_follows_only_if_all_of_its_calls_do():
    verdicts_ = Verdict("a", "0", "0"), Verdict("b", "1", "1")
    causes = Causes()
    for follows in (True, False, True):
        causes.add(Cause("memory_failure", *verdicts_, calls=1, follows=follows))
    (cause,) = causes
    assert not cause.follows
    assert cause.calls == 3
