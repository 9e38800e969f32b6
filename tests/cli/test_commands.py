"""Every command: help, plain answer, JSON answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from replay import __version__
from replay.kernel.features import FEATURES
from replay.kernel.other_functions import OTHER_FUNCTIONS
from replay.kernel.profiles import PRESETS, profile
from replay.kernel.registry import DEVICE_FUNCTIONS, FUNCTIONS
from replay.trace.schema import EventKind
from tests.sources.importers.recording.build import Lab
from tests.trace.build import PROVENANCE, lookup, write

RECORDED = Path(__file__).parents[2] / "traces" / "recorded"
WALK = RECORDED / "6.1.192-s1-walk-boot.arrow"
LEAVES = (
    ("run",),
    ("compare",),
    ("diff",),
    ("explain",),
    ("coverage",),
    ("mutate",),
    ("shrink",),
    ("what-if",),
    ("native",),
    ("info",),
    ("validate",),
    ("profiles",),
    ("features",),
    ("import", "recording"),
    ("machine", "show"),
    ("import", "rasdaemon"),
    ("import", "machine"),
    ("convert",),
    ("record",),
    ("lab",),
)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Three lookups and a call: RAM, no RAM, a hole beside RAM; one of them recorded."""
    return write(
        tmp_path / "small.arrow",
        lookup(0x100, nr_pages=8, recorded_ret=1, recorded_slow=0),
        lookup(0x80000),
        lookup(0x9F),
        {"kind": EventKind.ADD_MEMORY, "pfn": 0x140000, "nr_pages": 0x8000, "label": 0, "recorded_ret": 0},
        strings=["System RAM"],
    )


@pytest.mark.parametrize("command", LEAVES, ids=" ".join)
def test_help_has_examples(replay, command) -> None:
    for option in ("--help", "-h"):
        answer = replay(*command, option)
        assert answer.code == 0
        assert answer.err == ""
        assert "Example" in answer.out
        assert f"replay {' '.join(command)}" in answer.out.split("Example")[1]


def test_help_of_the_whole(replay) -> None:
    """All commands and all exit codes are listed; nothing asked is the same with exit code 2."""
    answer = replay("--help")
    assert (answer.code, answer.err) == (0, "")
    for command in LEAVES:
        assert command[0] in answer.out
    assert "Exit codes: 0 fine, 1 verdicts differ, 2 usage, 3 bad input file" in answer.out
    assert replay("import", "--help").code == 0
    assert replay().code == 2
    assert replay("import").code == 2


def test_version(replay) -> None:
    assert replay("--version").out == f"replay {__version__}\n"


# run ------------------------------------------------------------------------------------------------------------------


def test_run_plain(replay, small: Path) -> None:
    answer = replay("run", small)
    assert (answer.code, answer.err) == (0, "")
    assert "17 of 17 compared calls agree (100 %)" in answer.out
    assert "1 lookups got a page that is not online System RAM" in answer.out
    assert "0x9f-0x9f" in answer.out
    assert f"again: replay run {small} --profile v6.1.192" in answer.out


def test_run_json(replay, small: Path) -> None:
    """The keys that other programs rely on, and their sums."""
    answer = replay("run", small, "--json")
    assert (answer.code, answer.err) == (0, "")
    envelope = answer.json
    assert (envelope["command"], envelope["status"], envelope["diagnostics"]) == ("run", "ok", [])
    (run,) = envelope["data"]["runs"]
    assert run["trace"] == str(small)
    assert run["digest"].startswith("sha256:")
    assert (run["profile"], run["features"]) == ("v6.1.192", profile("v6.1.192").digest)
    assert (run["engine"], run["tool"], run["lost_events"]) == ("vector", __version__, 0)
    assert (run["events"], run["pages"]) == (4, 10)
    assert set(run["seconds"]) == {"open", "replay", "total"}
    assert 0 <= run["seconds"]["open"] + run["seconds"]["replay"] <= run["seconds"]["total"] + 1e-5
    assert run["outcomes"] == {"add_memory": {"0": 1}, "pfn_to_online_page": {"no-section": 1, "page": 9}}
    assert run["checks"] == {"add_memory": {"added": 1}, "pfn_to_online_page": {"section-present": 1, "untainted": 9}}
    assert set(run["agreement"]) == {"add_memory", "pfn_to_online_page", "pfn_to_online_page slow path"}
    for counts in run["agreement"].values():
        assert list(counts) == ["recorded", "compared", "agreed", "differed", "not_compared"]
        assert counts["recorded"] == counts["compared"] + sum(counts["not_compared"].values())
        assert counts["compared"] == counts["agreed"] + counts["differed"]
    assert (run["truth"]["false_online"], run["truth"]["false_offline"]) == (1, 0)
    assert run["truth"]["false_online_ranges"] == [{"first": 0x9F, "last": 0x9F, "lookups": 1}]
    assert run["slow_path"] == 0
    assert run["reproduce"] == f"replay run {small} --profile v6.1.192"


def test_run_that_differs(replay) -> None:
    """A wrong kernel: exit code 1, the rows that differ are named, and the JSON says so."""
    plain = replay("run", WALK, "--profile", "v5.11")
    assert (plain.code, plain.err) == (1, "")
    (first, *_) = replay("run", WALK, "-p", "v5.11", "--json").json["data"]["runs"][0]["differences"][
        "pfn_to_online_page"
    ]
    assert f"row {first['row']}" in plain.out
    assert f"{first['pfn']:#x}" in plain.out
    answer = replay("run", WALK, "-p", "v5.11", "--json")
    assert (answer.code, answer.json["status"]) == (1, "differs")
    (run,) = answer.json["data"]["runs"]
    agreement = run["agreement"]["pfn_to_online_page"]
    assert agreement["differed"] > 0
    first = run["differences"]["pfn_to_online_page"][0]
    assert set(first) == {"aspect", "row", "pfn", "recorded", "replayed", "count"}


def test_several_traces_and_kernels(replay, small: Path) -> None:
    """Each pair is a run, in the order given; one that differs makes the exit code 1."""
    answer = replay("run", small, WALK, "-p", "v6.1", "-p", "v5.11", "--json")
    assert (answer.code, answer.json["status"]) == (1, "differs")
    pairs = [(Path(r["trace"]).name, r["profile"]) for r in answer.json["data"]["runs"]]
    assert pairs == [(name, kernel) for name in (small.name, WALK.name) for kernel in ("v6.1", "v5.11")]
    plain = replay("run", small, WALK, "-p", "v6.1", "-p", "v5.11")
    assert plain.code == 1
    assert "all traces together" in plain.out
    many = replay("run", small, small, WALK, small, small)
    assert many.code == 0
    assert "compared calls agree (100 %)" in many.out


def test_a_trace_without_recorded_answers(replay, tmp_path: Path) -> None:
    path = write(tmp_path / "a.arrow", lookup(1))
    answer = replay("run", path)
    assert answer.code == 0
    assert "nothing was recorded that could be compared" in answer.out


def test_both_engines_answer_alike(replay, small: Path) -> None:
    by = {
        engine: replay("run", small, "--engine", engine, "--json").json["data"]["runs"][0]
        for engine in ("vector", "scalar")
    }
    assert by["scalar"]["engine"] == "scalar"
    assert by["scalar"]["reproduce"] == by["vector"]["reproduce"] + " --engine scalar"
    for key in ("digest", "profile", "features", "events", "pages", "outcomes", "checks", "agreement", "slow_path"):
        assert by["scalar"][key] == by["vector"][key]


def test_lost_events_are_said(replay, tmp_path: Path) -> None:
    """A trace that lost events is replayed, with a warning on stderr and in the diagnostics."""
    from dataclasses import replace

    path = write(tmp_path / "a.arrow", lookup(0x100, recorded_ret=1), provenance=replace(PROVENANCE, lost_events=7))
    answer = replay("run", path)
    assert answer.code == 0
    assert answer.err == (f"replay: warning: {path}: the recorder lost 7 events; what depends on them may be wrong\n")
    answer = replay("run", path, "--json")
    (warning,) = answer.json["diagnostics"]
    assert (warning["level"], warning["where"]) == ("warning", str(path))
    assert answer.json["data"]["runs"][0]["lost_events"] == 7
    assert "lost 7 events" in replay("info", path).out


# info, validate -------------------------------------------------------------------------------------------------------


def test_info(replay, small: Path) -> None:
    answer = replay("info", small)
    assert (answer.code, answer.err) == (0, "")
    for part in (str(small), "4 events", "machine: x86_64, kernel 6.1.192", "pfn_to_online_page", "recorded_slow"):
        assert part in answer.out
    answer = replay("info", small, "--json")
    assert (answer.code, answer.json["command"], answer.json["status"]) == (0, "info", "ok")
    data = answer.json["data"]
    assert data["events"] == {
        "pfn_to_online_page": {"rows": 3, "pfns": 10},
        "add_memory": {"rows": 1, "pfns": None},
    }
    assert data["machine"]["kernel"] == "6.1.192"
    assert data["geometry"]["nr_sections"] == 524288
    assert data["rows"] == 4


def test_validate(replay, small: Path) -> None:
    answer = replay("validate", small, WALK)
    assert (answer.code, answer.err) == (0, "")
    assert [line.split(": ")[1] for line in answer.out.splitlines()] == ["sound", "sound"]
    answer = replay("validate", small, WALK, "--json")
    assert (answer.code, answer.json["command"], answer.json["status"]) == (0, "validate", "ok")
    assert [(t["trace"], t["sound"]) for t in answer.json["data"]["traces"]] == [(str(small), True), (str(WALK), True)]


# profiles, features ---------------------------------------------------------------------------------------------------


def test_profiles(replay) -> None:
    answer = replay("profiles")
    assert (answer.code, answer.err) == (0, "")
    assert all(name in answer.out for name in PRESETS)
    answer = replay("profiles", "--json")
    rows = answer.json["data"]["profiles"]
    assert [row["name"] for row in rows] == list(PRESETS)
    for row in rows:
        assert (row["features"], row["digest"]) == (sorted(profile(row["name"]).features), profile(row["name"]).digest)


@pytest.mark.parametrize("name", ["v5.12", "6.1", "v5.11+taint-zone-device", "v5.12-online-page-subsection-validity"])
def test_one_profile(replay, name: str) -> None:
    chosen = profile(name)
    answer = replay("profiles", name)
    assert (answer.code, answer.err) == (0, "")
    assert chosen.digest in answer.out
    assert all(feature in answer.out for feature in chosen.features)
    data = replay("profiles", name, "--json").json["data"]
    assert data == {"profile": chosen.name, "digest": chosen.digest, "features": sorted(chosen.features)}


def test_features(replay) -> None:
    answer = replay("features")
    assert (answer.code, answer.err) == (0, "")
    assert all(name in answer.out for name in FEATURES)
    rows = replay("features", "--json").json["data"]["features"]
    assert [row["id"] for row in rows] == list(FEATURES)
    for row in rows:
        assert {
            "id",
            "summary",
            "first",
            "commit",
            "title",
            "backports",
            "evidence",
            "series",
            "without",
            "profiles",
            "checks",
        } == set(row)


def test_one_feature(replay) -> None:
    answer = replay("features", "taint-zone-device")
    assert (answer.code, answer.err) == (0, "")
    for part in ("1f90a3477df3", "first in v5.12", "v5.12, v5.12.9, v6.1", "pfn_to_online_page/pagemap"):
        assert part in answer.out
    data = replay("features", "memremap-refuses-ram", "--json").json["data"]
    assert data["checks"] == ["memremap_pages/ram-only (goes away)"]
    names = {f"{f.name}/{c.id}" for f in (*FUNCTIONS.values(), *DEVICE_FUNCTIONS, *OTHER_FUNCTIONS) for c in f.checks}
    for row in replay("features", "--json").json["data"]["features"]:
        assert {check.removesuffix(" (goes away)") for check in row["checks"]} <= names


# import ---------------------------------------------------------------------------------------------------------------


def test_import(replay, tmp_path: Path) -> None:
    """A recording becomes a trace that validates and agrees with the kernel it was made on."""
    lab = Lab(tmp_path / "lab")
    lab.online(0x108000)
    lab.online(0x110000, page=False)
    folder, output = lab.save(), tmp_path / "out.arrow"
    answer = replay("import", "recording", folder, "-o", output, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert (answer.json["command"], answer.json["status"]) == ("import", "ok")
    data = answer.json["data"]
    assert data["trace"] == str(output)
    assert data["lookups"] >= 2
    plain = replay("import", "recording", folder, "--output", tmp_path / "again.arrow", "--compress", "zstd")
    assert plain.code == 0
    assert plain.out.startswith(f"{tmp_path}/again.arrow: {data['rows']} rows")
    assert replay("validate", output, tmp_path / "again.arrow").code == 0
    assert replay("info", output, "--json").json["data"]["provenance"]["lost_events"] == 0
    run = replay("run", output, "--json").json["data"]["runs"][0]
    assert run["agreement"]["pfn_to_online_page"]["recorded"] == 2
    assert run["agreement"]["pfn_to_online_page"]["agreed"] == 2


def test_import_of_a_recording_with_lost_events(replay, tmp_path: Path) -> None:
    """Refused with exit code 3 and nothing written; taken with --allow-loss, and then every replay says so."""
    lab = Lab(tmp_path / "lab")
    lab.online(0x108000)
    folder, output = lab.save(written=len(lab.lines) + 5), tmp_path / "out.arrow"
    refused = replay("import", "recording", folder, "-o", output)
    assert (refused.code, refused.out) == (3, "")
    assert "lost events: 5" in refused.error
    assert "--allow-loss" in refused.error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lab"]
    taken = replay("import", "recording", folder, "-o", output, "--allow-loss", "--json")
    assert taken.code == 0
    assert taken.json["data"]["lost_events"] == 5
    assert replay("run", output).err.startswith(f"replay: warning: {output}: the recorder lost 5 events")


def test_numbers_in_json_are_json(replay, small: Path) -> None:
    """No NaN, no infinity, and the same document as a strict parser reads."""
    for arguments in (("run", small), ("info", small), ("validate", small), ("features",), ("profiles",)):
        text = replay(*arguments, "--json").out
        assert text.endswith("}\n")
        json.loads(text, parse_constant=pytest.fail)


def test_examples_in_help_can_be_copied(replay) -> None:
    """A long example is one line, whatever the width; marks for a richer terminal do not show."""
    out = replay("run", "--help").out
    line = "replay run traces/recorded/6.1.192-s2a-pmem-collision.arrow --profile v5.11 --profile v5.12"
    assert f"    {line}" in out.splitlines()
    assert "[bold]" not in out


def test_the_list_of_commands_says_all_of_their_first_sentence(replay) -> None:
    words = " ".join(replay("--help").out.split())
    assert "Read traces completely and check everything: structure, digests, order, ranges, geometry." in words
    assert "..." not in words.replace("[ARGS]...", "")


def test_a_kernel_that_is_named_twice_counts_once(replay):
    trace = RECORDED / "6.1.192-s3-hotplug.arrow"
    for command in ("what-if", "coverage"):
        once = replay(command, trace, "-p", "v6.1", "--json").json["data"]
        assert replay(command, trace, "-p", "v6.1", "-p", "v6.1", "-p", "6.1", "--json").json["data"] == once
