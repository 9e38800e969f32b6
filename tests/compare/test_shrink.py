"""Shrinking keeps the difference, finds small traces, and finds the same ones each time."""

from pathlib import Path

import pytest

from replay.compare.kernels import compare_trace
from replay.compare.shrink import Target, shrink, target_of
from replay.compare.shrunk_file import write_shrunk
from replay.errors import UsageError
from replay.session import named
from replay.trace.reader import TraceFile
from replay.trace.schema import EventKind
from tests.trace.build import lookup, write

COLLISION = Path("traces/recorded/6.1.192-s2a-pmem-collision.arrow")
HOTPLUG = Path("traces/recorded/6.1.192-s3-hotplug.arrow")
BROKEN = "examples/candidates/forgets_altmap.py"


def shrunk(path, baseline, candidate, function=""):
    kernels = named(baseline), named(candidate)
    with TraceFile.open(path) as trace:
        target, row = target_of(trace, *kernels, function)
        return target, shrink(trace, *kernels, target, row)


@pytest.mark.parametrize(
    ("path", "baseline", "candidate", "function", "most"),
    [
        (COLLISION, "v5.11", "v5.12", "", 1),
        (COLLISION, "v5.12", BROKEN, "", 2),
        (COLLISION, "v5.12", BROKEN, "memory_failure", 2),
        (COLLISION, "v5.12", "examples/candidates/coarse_taint.py", "", 2),
        (HOTPLUG, "v5.10.223", "v6.1", "memory_failure", 5),
    ],
)
def test_a_recording_shrinks_to_a_few_events_with_the_same_difference(
    tmp_path, path, baseline, candidate, function, most
):
    target, found = shrunk(path, baseline, candidate, function)
    assert len(found.rows) <= most
    out = tmp_path / "small.arrow"
    write_shrunk(out, found, target, "a line")
    with TraceFile.open(out) as trace:
        causes = compare_trace(trace, named(baseline), named(candidate)).causes.differing
        assert target in [Target.of(cause) for cause in causes]
        assert trace.provenance.command == "a line"
    assert len(found.machine.memory) <= 2


def test_the_same_trace_shrinks_to_the_same_trace():
    a, b = (shrunk(COLLISION, "v5.12", BROKEN)[1] for _ in range(2))
    assert (a.rows, a.machine, a.strings) == (b.rows, b.machine, b.strings)


def test_calls_told_in_phases_go_together_and_become_one_row(tmp_path):
    """An event falls into the call, so that it is told in phases; the difference does not need that."""
    path = write(
        tmp_path / "a.arrow",
        {"kind": EventKind.ADD_MEMORY, "pfn": 0x140000, "nr_pages": 0x8000, "phase": 1, "call": 7},
        lookup(0x100),
        {"kind": EventKind.ADD_MEMORY, "pfn": 0x140000, "nr_pages": 0x8000, "phase": 4, "call": 7},
        {"kind": EventKind.ONLINE_PAGES, "pfn": 0x140000, "nr_pages": 0x8000},
        {"kind": EventKind.MEMREMAP_PAGES, "pfn": 0x14A000, "nr_pages": 0x1000, "pgmap": 1},
        {"kind": EventKind.UNPOISON_MEMORY, "pfn": 0x148000},
        lookup(0x140000, EventKind.KPAGEFLAGS, nr_pages=0x10000),
    )
    _, found = shrunk(path, "v5.1", "v7.2", "kpageflags")
    assert all("phase" not in row for row in found.rows)
    assert found.rows[-1]["kind"] == EventKind.KPAGEFLAGS
    assert found.rows[-1]["nr_pages"] == 1


def test_kernels_that_do_not_differ_leave_nothing_to_shrink_to():
    with pytest.raises(UsageError, match="do not differ: there is nothing to shrink to"):
        shrunk(COLLISION, "v7.2", "v7.2.13")
    with pytest.raises(UsageError, match="do not differ in pfn_valid"):
        shrunk(COLLISION, "v5.11", "v5.12", "pfn_valid")
