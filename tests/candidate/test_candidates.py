"""Candidates replay as the kernel that they describe, at every phase of every call."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from replay.candidate.load import load
from replay.engine.replay import replay_trace
from replay.kernel.profiles import profile
from replay.session import named, run
from replay.trace.reader import TraceFile

EXAMPLES = Path("examples/candidates")
RECORDED = Path("traces/recorded")
SERIES = f"{EXAMPLES}/zone_device_series.py"


def outcomes_of(path, kernel):
    columns = []
    with TraceFile.open(path) as trace:
        tally = replay_trace(trace, named(kernel), sink=columns.append).tally
    return {name: np.concatenate([c[name] for c in columns]) for name in columns[0]}, tally


@pytest.mark.parametrize("trace", ["6.1.192-s2a-pmem-collision", "7.2.13-s3-hotplug", "5.10.223-s6-poison-dax"])
def test_the_series_written_as_candidates_on_v5_11_is_v5_12_row_by_row(trace):
    """All outcome columns but the numbers of checks are the same, and so is everything that is counted.

    A candidate numbers the checks of what it changes by itself; poison calls are decided by checks of the same names.
    """
    path = RECORDED / f"{trace}.arrow"
    series, counted = outcomes_of(path, f"{SERIES}:series")
    released, expected = outcomes_of(path, "v5.12")
    for name in released:
        if name not in {"check", "poison_check"}:
            np.testing.assert_array_equal(series[name], released[name], name)
    assert counted.outcomes == expected.outcomes
    for kind in ("memory_failure", "soft_offline_page", "unpoison_memory"):
        assert counted.checks.get(kind) == expected.checks.get(kind)
    assert counted.agreement == expected.agreement
    assert (counted.slow, counted.false_online, counted.false_offline) == (
        expected.slow,
        expected.false_online,
        expected.false_offline,
    )


def test_each_patch_of_the_series_changes_what_it_says():
    path = RECORDED / "6.1.192-s2a-pmem-collision.arrow"
    answers = {
        name: run(path, f"{SERIES}:{name}").tally.outcomes
        for name in ("out_of_line", "subsections", "collisions", "series")
    }
    lookups = {name: found["pfn_to_online_page"] for name, found in answers.items()}
    assert set(lookups["out_of_line"]) == {"no-section", "page"}
    assert set(lookups["subsections"]) == {"no-section", "page", "empty-subsection"}
    assert set(lookups["collisions"]) == {"no-section", "page", "empty-subsection", "device-page"}
    assert lookups["series"] == lookups["collisions"]
    assert answers["collisions"]["pgmap_pfn_valid"] != answers["series"]["pgmap_pfn_valid"]


def test_a_coarser_taint_hides_system_ram_and_takes_no_slow_path():
    tally = run(RECORDED / "6.1.192-s2a-pmem-collision.arrow", f"{EXAMPLES}/coarse_taint.py").tally
    assert (
        tally.false_offline.total
        > run(RECORDED / "6.1.192-s2a-pmem-collision.arrow", "v5.12").tally.false_offline.total
    )
    assert tally.slow == 0


def test_forgetting_the_altmap_lets_memory_failure_touch_metadata():
    """memory_failure asks the candidate's own pgmap_pfn_valid."""
    path = RECORDED / "6.1.192-s2a-pmem-collision.arrow"
    tally = run(path, f"{EXAMPLES}/forgets_altmap.py").tally
    assert "metadata" not in tally.outcomes["pgmap_pfn_valid"]
    assert "pagemap-metadata" not in tally.checks["memory_failure"]
    assert "pagemap-metadata" in run(path, "v5.12").tally.checks["memory_failure"]


def test_panics_are_those_of_reserved_and_unknown_pages():
    path = RECORDED / "7.2.13-s5-poison-ram.arrow"
    checks = run(path, f"{EXAMPLES}/panic_on_unrecoverable.py:proposal").tally.checks["memory_failure"]
    before = run(path, "v7.2").tally.checks["memory_failure"]
    # A panic flags no page: where errors come again on a page, each of them would have been the one.
    assert checks["reserved-page"] >= before["not-handlable"] - checks["not-handlable"] > 0
    wide = run(path, f"{EXAMPLES}/panic_on_unrecoverable.py:wide").tally.outcomes["memory_failure"]
    assert wide["panic"] > checks["reserved-page"]


def test_a_candidate_goes_between_processes_by_its_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text('from replay.candidate import Candidate\nmine = Candidate("v6.1")\n')
    kernel = load(str(file))
    sent = pickle.dumps(kernel)
    assert pickle.loads(sent) == kernel
    file.write_text('from replay.candidate import Candidate\nmine = Candidate("v6.12")\n')
    with pytest.raises(Exception, match=r"mine\.py: is not the file that was loaded at first"):
        pickle.loads(sent)


def test_the_source_is_part_of_what_identifies_a_candidate(tmp_path):
    a, b = tmp_path / "a.py", tmp_path / "b.py"
    a.write_text('from replay.candidate import Candidate\nx = Candidate("v6.1")\n')
    b.write_text('from replay.candidate import Candidate\nx = Candidate("v6.1")\n\n')
    assert len({load(str(a)).digest, load(str(b)).digest, profile("v6.1").digest}) == 3


def test_the_scalar_reference_refuses_a_candidate():
    with pytest.raises(Exception, match="the scalar reference knows released kernels only"):
        run(RECORDED / "7.2.13-s3-hotplug.arrow", f"{SERIES}:series", engine="scalar")
