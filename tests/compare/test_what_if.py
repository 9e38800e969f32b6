"""What-if: the numbers are those of the replay, and bulk and single calls count alike."""

from pathlib import Path

import pytest

from replay.compare.what_if import History, history_of
from replay.session import named, run
from replay.trace.poison import PageKind
from replay.trace.schema import EventKind
from tests.trace.build import write

RECORDED = Path("traces/recorded")
PANIC = "examples/candidates/panic_on_unrecoverable.py:proposal"


@pytest.mark.parametrize("kernel", ["v4.18", "v6.1.192", "v7.2"])
def test_results_are_those_that_the_replay_counts(kernel):
    path = RECORDED / "6.1.192-s5-poison-ram.arrow"
    found, tally = history_of(path, named(kernel)), run(path, kernel).tally
    outcomes = tally.outcomes["memory_failure"]
    for result in ("recovered", "failed", "delayed", "ignored"):
        assert found.results[result] == sum(
            n for name, n in outcomes.items() if name.endswith(f": {result.capitalize()}")
        )
    assert found.events == outcomes.total()
    assert found.results.total() + found.silent.total() + found.panics + outcomes["undecided"] == found.events
    assert found.late == tally.outcomes["access"]["SIGBUS"]
    assert found.lost_bytes == tally.counters["poisoned pages"] * 4096
    assert sum(found.types.values()) == found.results.total()


def test_panics_are_told_apart():
    found = history_of(RECORDED / "7.2.13-s5-poison-ram.arrow", named(PANIC))
    before = history_of(RECORDED / "7.2.13-s5-poison-ram.arrow", named("v7.2"))
    assert found.panics == 20
    assert before.panics == 0
    assert found.events == before.events


def test_calls_in_bulk_count_as_calls_one_by_one(tmp_path):
    """Fifty calls in a row are carried out together, four of them alone."""
    state = {"kind": EventKind.PAGE_STATE, "pfn": 0x100, "nr_pages": 50, "page_kind": int(PageKind.BUDDY)}
    calls = [{"kind": EventKind.MEMORY_FAILURE, "pfn": 0x100 + n} for n in range(50)]
    together = history_of(write(tmp_path / "a.arrow", state, *calls), named("v6.12"))
    alone = History()
    for n, call in enumerate(calls):
        alone.merge(history_of(write(tmp_path / f"{n}.arrow", state, call), named("v6.12")))
    assert together == alone
    assert together.results["recovered"] == 50
    assert together.lost_bytes == 50 * 4096
