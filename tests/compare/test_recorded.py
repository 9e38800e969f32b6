"""Which side the recording agrees with: everything that was recorded about a call counts, at any moment it may have been."""

from pathlib import Path

import pytest

from replay.candidate import ActionResult, ActionType, Candidate, poison_answer
from replay.compare.causes import Cause, Verdict
from replay.compare.kernels import compare_trace
from replay.kernel.profiles import profile
from replay.trace.header import BootRange
from replay.trace.reader import TraceFile
from replay.trace.schema import EventKind
from tests.trace.build import lookup, machine, write

RECORDED = Path("traces/recorded")


def causes(path, baseline, candidate):
    with TraceFile.open(path) as trace:
        return list(compare_trace(trace, baseline, candidate).causes)


@pytest.mark.parametrize("trace", ["6.1.192-s5-poison-ram", "5.10.223-s2a-pmem-collision", "7.2.13-s2a-pmem-collision"])
def test_the_kernel_that_recorded_agrees_with_all_of_it(trace):
    kernel = profile("v" + trace.partition("-")[0])
    found = [
        c for c in causes(RECORDED / f"{trace}.arrow", kernel, profile("v4.18")) if c.baseline.check != "undecided"
    ]
    assert sum(c.recorded for c in found) > 1000
    assert [c for c in found if c.baseline_agrees != c.recorded] == []


@pytest.mark.parametrize(
    ("action", "result", "poisons"),
    [
        (ActionType.KERNEL, ActionResult.RECOVERED, True),
        (ActionType.BUDDY, ActionResult.DELAYED, True),
        (ActionType.BUDDY, ActionResult.RECOVERED, False),
    ],
)
def test_another_report_or_flag_is_against_the_recording_although_the_return_code_is_the_same(action, result, poisons):
    changed = Candidate("v6.1.192")
    answer = next(check.answer for check in changed.checks_of("memory_failure") if check.id == "buddy")
    changed.answer(
        "memory_failure", "buddy", poison_answer(answer.ret, action, result, sets_poison=poisons, effect=answer.effect)
    )
    path = RECORDED / "6.1.192-s2a-pmem-collision.arrow"
    found = [
        c for c in causes(path, profile("v6.1.192"), changed.profile("changed", "")) if c.baseline.check == "buddy"
    ]
    differing = [c for c in found if c.differs]
    assert differing
    for cause in differing:
        assert (cause.baseline_agrees, cause.candidate_agrees) == (cause.recorded, 0)
        assert cause.recorded == cause.calls
        assert cause.regression


def test_an_answer_that_is_right_within_the_window_is_no_disagreement(tmp_path):
    """The lookup saw the block offline, which it is only from the next row on."""
    path = write(
        tmp_path / "race.arrow",
        lookup(0x11000, recorded_ret=0, window=1),
        {"kind": EventKind.OFFLINE_PAGES, "pfn": 0x10000, "nr_pages": 0x8000},
        {"kind": EventKind.ONLINE_PAGES, "pfn": 0x10000, "nr_pages": 0x8000},
        lookup(0x100, recorded_ret=1),
        machine=machine(memory=(BootRange(0x0, 0x18000),), resources=()),
    )
    found = [c for c in causes(path, profile("v5.11"), profile("v5.12")) if c.function == "pfn_to_online_page"]
    assert sum(c.recorded for c in found) == 2
    assert sum(c.baseline_agrees for c in found) == sum(c.candidate_agrees for c in found) == 2


def test_an_imposed_answer_is_no_agreement_and_being_off_it_is_a_regression():
    """Offlining failed in the recording for a reason outside the trace; rows say so in ``env``."""
    found = [
        c
        for name in ("6.1.192-s3-hotplug", "6.12.107-s4-kmem")
        for c in causes(RECORDED / f"{name}.arrow", profile("v6.1.192"), profile("v6.12"))
        if c.baseline.check == "environment" or c.baseline_unproven
    ]
    assert found
    for cause in found:
        assert (cause.baseline_agrees, cause.candidate_agrees) == (0, 0)
        assert cause.baseline_unproven == cause.candidate_unproven == cause.recorded
        assert not cause.regression
    one = Cause("offline_pages", Verdict("environment", "-16", "-16"), Verdict("offlined", "0", "0"), recorded=3)
    one.baseline_unproven = 3
    assert one.regression
