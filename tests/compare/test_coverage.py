"""Coverage: what decided is what was counted, and the states met decide the same calls again."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.compare.coverage import Reached, coverage_of
from replay.compare.met import Met, meet
from replay.engine.replay import Replayer
from replay.kernel.profiles import profile
from replay.session import named
from replay.trace.header import BootRange
from replay.trace.schema import EventKind
from tests.property.engines import as_batch, dense
from tests.property.strategies import LOOKUPS, STRINGS, cases
from tests.trace.build import lookup, machine, write

RECORDED = Path("traces/recorded")
KERNELS = st.sampled_from(("v4.19", "v5.1", "v5.12", "v7.2")).map(profile)


class Seen:
    def __init__(self):
        self.codes = {}

    def lookups(self, function, codes):
        self.codes.setdefault(function, set()).update(codes.tolist())

    def metadata(self, facts):
        pass

    def poison(self, calls, rows, like):
        pass


@given(case=cases(toggling=True, windows=False), kernel=KERNELS)
def test_the_states_that_lookups_meet_are_those_of_their_pfns(case, kernel):
    """Runs, strides and dense stretches tell the same states as single pfns one by one."""
    if case.machine.arch not in {"x86_64", "riscv64", "ppc64"}:
        return
    rows, single = [], []
    for row in case.rows:
        few = row
        if row["kind"] in LOOKUPS:
            few = row | {"nr_pages": min(row["nr_pages"], 30)}
            single += [row | {"pfn": row["pfn"] + n * row["stride"], "nr_pages": 1} for n in range(few["nr_pages"])]
        else:
            single.append(row)
        rows.append(few)
    found = []
    for events, fewest in ((rows, 1), (single, 1000)):
        seen = Seen()
        replayer = Replayer(case.machine, kernel, STRINGS, observer=seen)
        with dense(fewest):
            replayer.feed(as_batch(events))
        found.append(seen.codes)
    assert found[0] == found[1]


@pytest.mark.parametrize("trace", ["6.1.192-s5-poison-ram", "7.2.13-s3-hotplug", "6.1.192-s2a-pmem-collision"])
def test_the_states_met_are_decided_by_the_checks_that_were_counted(trace):
    """Each counted check decides some state that was met, and no state that was met is decided by another one."""
    kernel = named("v6.12")
    met = meet(RECORDED / f"{trace}.arrow", kernel)
    for name, states in met.states.items():
        if name in {"kill_procs", "kill_accessing_process", "dax_bus_match"}:  # asked within other decisions
            continue
        function = met.function(name)
        decided = set()
        for group, count in states.groups(kernel):
            numbers = np.unique(function.tabulate(group, count, kernel.features).check).tolist()
            decided |= {function.checks[n].id for n in numbers}
        assert decided == set(met.decided[name]) - {"undecided"}, name


def test_checks_are_decided_passed_never_reached_or_ruled_out(tmp_path):
    one = machine(memory=(BootRange(0, 0x8000),), resources=())
    path = write(tmp_path / "a.arrow", lookup(0, nr_pages=5), lookup(0x9000), machine=one)
    coverage = coverage_of(meet(path, named("v5.12")), 1)
    (online,) = (f for f in coverage.functions if f.name == "pfn_to_online_page")
    assert {c.check.id: (c.calls, c.reached) for c in online.checks} == {
        "no-hotplug-valid": (0, Reached.ELSEWHERE),
        "no-hotplug-invalid": (0, Reached.ELSEWHERE),
        "section-number": (0, Reached.PASSED),
        "section-present": (1, Reached.DECIDED),
        "section-online": (0, Reached.PASSED),
        "arch-pfn-valid": (0, Reached.ELSEWHERE),
        "subsection": (0, Reached.PASSED),
        "untainted": (5, Reached.DECIDED),
        "pagemap": (0, Reached.NEVER),
        "tainted-page": (0, Reached.NEVER),
        "page": (0, Reached.ELSEWHERE),
    }
    assert (online.calls, online.states) == (6, 2)
    assert ("pfn_to_online_page", "pagemap") in [(name, c.check.id) for name, c in coverage.missing]


def test_what_several_traces_meet_adds_up(tmp_path):
    a = write(tmp_path / "a.arrow", lookup(0x100), {"kind": EventKind.MEMORY_FAILURE, "pfn": 0x900000})
    b = write(tmp_path / "b.arrow", lookup(0x80000), {"kind": EventKind.MEMORY_FAILURE, "pfn": 0x900000})
    kernel = named("v6.1")
    together = Met(kernel)
    for path in (a, b):
        together.merge(meet(path, kernel))
    assert together.decided["pfn_to_online_page"] == Counter({"untainted": 1, "section-present": 1})
    assert len(together.states["pfn_to_online_page"].rows) == 2
    assert together.decided["memory_failure"] == Counter({"not-online": 2})
    assert together.pages == Counter({"not described": 2})
