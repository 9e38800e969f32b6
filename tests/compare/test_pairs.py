"""Two kernels side by side: every call is counted once, under the checks that decided it in each."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from replay.compare.kernels import Pair
from replay.engine.replay import Replayer
from replay.engine.tally import Agreement
from replay.kernel.profiles import profile
from tests.property.engines import as_batch
from tests.property.strategies import LOOKUPS, STRINGS, cases

KERNELS = st.sampled_from(("v4.19", "v5.1", "v5.11", "v5.12", "v6.1.192", "v7.2")).map(profile)
X86 = ("x86_64", "riscv64", "ppc64")  # every kernel has the same section size there


def compared(case, baseline, candidate, rows=None):
    pair = Pair(case.machine, STRINGS, baseline, candidate)
    if rows is None or rows:
        pair.feed(as_batch(rows or case.rows))
    return pair.causes, pair.finish()


def calls(causes):
    return {cause.key: cause.calls for cause in causes}


def cut(row, at):
    if row["kind"] not in LOOKUPS or row["nr_pages"] < 2:
        return [row]
    at = 1 + at % (row["nr_pages"] - 1)
    return [row | {"nr_pages": at}, row | {"pfn": row["pfn"] + at * row["stride"], "nr_pages": row["nr_pages"] - at}]


@given(case=cases(windows=False, long_runs=True, max_events=20), baseline=KERNELS, candidate=KERNELS, at=st.integers(0))
def test_calls_by_cause_add_up_to_what_each_kernel_counts_alone(case, baseline, candidate, at):
    """Per function and check, summed over the other kernel's checks; and answers, agreement and untruths with them."""
    if case.machine.arch not in X86:
        return
    causes, sides = compared(case, baseline, candidate)
    for number, kernel in enumerate((baseline, candidate)):
        alone = Replayer(case.machine, kernel, STRINGS)
        alone.feed(as_batch(case.rows))
        tally = alone.finish()
        found, wrong = {}, 0
        for cause in causes:
            verdict = (cause.baseline, cause.candidate)[number]
            found.setdefault(cause.function, Counter())[verdict.check] += cause.calls
            wrong += (cause.baseline_wrong, cause.candidate_wrong)[number]
        assert found == {name: Counter(counts) for name, counts in tally.checks.items()}
        assert wrong == tally.false_online.total + tally.false_offline.total
        assert sides[number].tally == tally
        agreed = sum(
            (c.baseline_agrees, c.candidate_agrees)[number] for c in causes if c.function == "pfn_to_online_page"
        )
        expected = tally.agreement.get("pfn_to_online_page")
        assert agreed == (0 if expected is None else expected.agreed)


@given(case=cases(windows=False, long_runs=True, max_events=10), baseline=KERNELS, candidate=KERNELS, at=st.integers(0))
def test_a_run_counts_as_its_two_parts(case, baseline, candidate, at):
    if case.machine.arch not in X86:
        return
    parts = [part for row in case.rows for part in cut(row, at)]
    assert calls(compared(case, baseline, candidate)[0]) == calls(compared(case, baseline, candidate, parts)[0])


@given(case=cases(windows=False), baseline=KERNELS, candidate=KERNELS)
def test_pairs_are_those_of_single_pfns(case, baseline, candidate):
    """Runs of a few pages, expanded to single pfns, are decided by the same pairs of checks."""
    if case.machine.arch not in X86:
        return
    rows, single = [], []
    for row in case.rows:
        if row["kind"] in LOOKUPS and row["nr_pages"] > 1:
            few = row | {"nr_pages": min(row["nr_pages"], 40)}
            rows.append(few)
            single += [row | {"pfn": row["pfn"] + n * row["stride"], "nr_pages": 1} for n in range(few["nr_pages"])]
        else:
            rows.append(row)
            single.append(row)
    assert calls(compared(case, baseline, candidate, rows)[0]) == calls(compared(case, baseline, candidate, single)[0])


@given(case=cases(), kernel=KERNELS)
def test_a_kernel_does_not_differ_from_itself(case, kernel):
    if case.machine.arch not in X86:
        return
    causes, (a, b) = compared(case, kernel, kernel)
    assert causes.differing == causes.other_reason == []
    assert a.tally == b.tally


@given(case=cases(windows=False, max_events=20), baseline=KERNELS, candidate=KERNELS)
def test_what_agrees_and_what_is_not_compared_is_what_a_run_counts(case, baseline, candidate):
    """Calls that the row itself imposed an answer on are no agreement."""
    if case.machine.arch not in X86:
        return
    causes, sides = compared(case, baseline, candidate)
    for number, side in enumerate(sides):
        found = {}
        for c in causes:
            mine = (c.baseline_agrees, c.baseline_unproven), (c.candidate_agrees, c.candidate_unproven)
            counts = found.setdefault(c.function, np.zeros(3, int))
            counts += (c.recorded, *mine[number])
        for name in found.keys() - {"get_dev_pagemap"}:  # runs count those that pfn_to_online_page asks, too
            run = side.tally.agreement.get(name, Agreement())
            assert found[name].tolist() == [run.recorded, run.agreed, run.not_compared.total()], name
