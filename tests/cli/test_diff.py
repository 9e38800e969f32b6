"""``replay diff``: exit codes, what is asked for, counts in traces, mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay.session import run
from tests.trace.build import lookup, machine, write

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "traces" / "recorded"
COLLISION = RECORDED / "6.1.192-s2a-pmem-collision.arrow"
DAX = RECORDED / "5.10.223-s6-poison-dax.arrow"
SERIES = ROOT / "examples" / "candidates" / "zone_device_series.py"


def test_exit_codes(replay):
    assert replay("diff", "v5.11", "v5.12").code == 1
    same = replay("diff", "v7.2", "v7.2.13")
    assert (same.code, same.err) == (0, "")
    assert "equivalent" in same.out
    assert "proven" in same.out
    assert replay("diff", f"{SERIES}:series", "v5.12").code == 0


def test_json(replay):
    answer = replay("diff", "v5.11", "v5.12", "--json")
    assert answer.json["status"] == "differs"
    data = answer.json["data"]
    assert not data["equivalent"]
    assert [[f["id"] for f in change["features"]] for change in data["changes"]] == [
        ["online-page-subsection-validity"],
        ["taint-zone-device"],
        ["pgmap-pfn-valid"],
    ]
    (page, flags) = data["changes"][0]["functions"]
    assert page["cubes"] == [{"ONLINE": [True], "SUBSECTION": [False]}]
    assert page["answers"][0]["checks_from"] == ["page"]
    assert page["answers"][0]["checks_to"] == ["subsection"]
    assert flags["function"] == "kpageflags"
    assert replay("diff", "v7.2", "v7.2.13", "--json").json["status"] == "ok"


def test_scope(replay):
    """What was not asked for is named all the same, and does not make the kernels differ."""
    only = replay("diff", "v5.11", "v5.12", "--function", "pfn_valid")
    assert only.code == 0
    assert "memory_failure, kill_procs" not in only.out
    assert "taint-zone-device" in only.out
    assert replay("diff", "v5.11", "v5.12", "-f", "pfn_valid", "--arch", "arm64").code == 1
    assert replay("diff", "v5.11", "v5.12", "-f", "pfn_valid", "--all-configs").code == 1
    signals = replay("diff", "v5.11", "v5.12", "--area", "signals")
    assert signals.code == 1
    assert "kill_procs: " in signals.out
    everything = replay("diff", "v5.11", "v5.12", "--all", "--all-configs", "--verbose")
    assert "add_memory" in everything.out
    assert "Not asked for" not in everything.out
    assert "Taken for impossible" in everything.out


def test_occurrences_are_the_lookups_that_two_replays_answer_differently(replay):
    data = replay("diff", "v5.11", "v5.12", "-t", COLLISION, "-t", DAX, "--json").json["data"]
    counts = {
        (g["function"], change["features"][0]["id"]): g["occurrences"]
        for change in data["changes"]
        for g in change["functions"]
    }
    here = {key: occurrences[str(COLLISION)] for key, occurrences in counts.items()}
    old, new = (run(COLLISION, kernel).tally.outcomes for kernel in ("v5.11", "v5.12"))
    gone = sum(n for (function, _), n in here.items() if function == "pfn_to_online_page")
    assert gone == old["pfn_to_online_page"]["page"] - new["pfn_to_online_page"]["page"] > 0
    assert here["pgmap_pfn_valid", "pgmap-pfn-valid"] == sum(new["pgmap_pfn_valid"].values()) > 0
    metadata = run(DAX, "v5.12").tally.checks["memory_failure"]["pagemap-metadata"]
    assert counts["memory_failure", "pgmap-pfn-valid"][str(DAX)] == metadata > 0


def test_occurrences_of_a_candidate(replay):
    """The candidate keeps the taint itself; the same calls are counted."""
    built_in = replay("diff", "v5.11", "v5.12", "-t", COLLISION).out
    candidate = replay("diff", f"{SERIES}:out_of_line", f"{SERIES}:series", "-t", COLLISION).out
    for count in ("16,497 calls", "69,231 calls"):
        assert count in built_in
        assert count in candidate


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("v5.11", "v5.99"), "unknown profile"),
        (("v5.11", "v5.12", "--function", "pfn_valit"), "did you mean pfn_valid"),
        (("v5.11", "v5.12", "--area", "lookup"), "did you mean lookups"),
        (("v5.11", "v5.12", "--arch", "arm32"), "did you mean arm64"),
        (("v5.11", "v5.12", "--arch", "arm64", "--all-configs"), "exclude each other"),
        (("v5.11", "v5.12", "--all", "--function", "pfn_valid"), "give one of them"),
        (("v2.6.32", "v4.18", "--area", "hotplug"), "nothing is known"),
    ],
)
def test_mistakes(replay, arguments, text):
    answer = replay("diff", *arguments)
    assert answer.code == 2
    assert text in answer.error


def test_a_trace_of_another_machine_is_refused(replay, tmp_path):
    arm = machine(arch="aarch64", section_size_bits=27, max_physmem_bits=48)
    path = write(tmp_path / "arm.arrow", lookup(0x100), machine=arm)
    answer = replay("diff", "v5.11", "v5.12", "-t", path)
    assert answer.code == 2
    assert "--all-configs" in answer.error
    assert replay("diff", "v5.11", "v5.12", "-t", path, "--all-configs").code == 1


def test_a_trace_that_is_not_there(replay, tmp_path):
    assert replay("diff", "v5.11", "v5.12", "-t", tmp_path / "none.arrow").code == 3
