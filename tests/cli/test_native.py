"""``replay native``: what it prints, its JSON, its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compare.c_files import BOOT, COLLISION, NO_SUBSECTION, needs_compiler, online


@pytest.fixture
def missing_check(tmp_path: Path) -> Path:
    path = tmp_path / "my.c"
    path.write_text(NO_SUBSECTION)
    return path


@needs_compiler
def test_agreement(replay) -> None:
    answer = replay("native", "v5.12", BOOT, "--processes", 0)
    assert answer.code == 0
    assert "185,761 of 185,761 lookups as the tables say; 0 differ" in answer.out


@needs_compiler
def test_differences_are_shown_with_their_cause_and_exit_code(replay, missing_check: Path) -> None:
    answer = replay("native", missing_check, COLLISION, "--baseline", "v5.12", "--processes", 6, "--rounds", 1)
    assert answer.code == 1
    assert "row 72, pfns 0x11c000-0x11c44b: table NULL (subsection: the subsection is not populated)" in answer.out
    assert "16,497 differ" in answer.out
    assert "baseline v5.12" in answer.out
    assert "ns per call" in answer.out


@needs_compiler
def test_json(replay, missing_check: Path) -> None:
    answer = replay("native", missing_check, COLLISION, "--processes", 0, "--json")
    document = answer.json
    assert (answer.code, document["status"]) == (1, "differs")
    (report,) = document["data"]["reports"]
    assert report["profile"] == "v6.1.192"
    assert report["functions"]["pfn_to_online_page"]["differing"] == 16497
    assert report["functions"]["pfn_to_online_page"]["timing"] is None


@needs_compiler
def test_states(replay) -> None:
    report = replay("native", "v5.11", "--states", 5000, "--profile", "v5.10", "--json").json["data"]["reports"][0]
    assert report["agrees"]
    assert report["profile"] == "v5.10"
    assert report["states"] > 50
    assert report["functions"]["pfn_to_online_page"]["lookups"] == 5000


@needs_compiler
def test_compile_errors_are_shown_as_the_compiler_says_them(replay, tmp_path: Path) -> None:
    path = tmp_path / "my.c"
    path.write_text(online("\treturn nothing;"))
    answer = replay("native", path, BOOT)
    assert answer.code == 3
    assert answer.out == ""
    *said, last = answer.err.splitlines()
    assert any("return nothing;" in line for line in said)
    assert last.startswith("replay: error: ")
    assert "my.c:5:" in last
    document = replay("native", path, BOOT, "--json").json
    assert document["status"] == "error"


@needs_compiler
def test_death_is_an_error_of_the_file(replay, tmp_path: Path) -> None:
    path = tmp_path / "my.c"
    path.write_text(online("\tabort();"))
    answer = replay("native", path, BOOT)
    assert answer.code == 3
    assert "SIGABRT" in answer.error


@needs_compiler
def test_a_trace_without_such_lookups_is_warned_of(replay, tmp_path: Path) -> None:
    path = tmp_path / "my.c"
    path.write_text(
        '#include "replay_pfn.h"\nbool pgmap_pfn_valid(struct dev_pagemap *p, unsigned long n) { return 0; }\n'
    )
    answer = replay("native", path, BOOT)
    assert answer.code == 0
    assert "nothing was checked" in answer.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["v5.12"], "name a trace, or give --states"),
        (["nowhere.c", BOOT], "no such file"),
        (["v5.12", BOOT, "--baseline", "v5.13"], "unknown profile 'v5.13'"),
        (["v5.12", BOOT, "--baseline", "v5.11+taint-zone-device"], "there is no C form of v5.11"),
        (["v5.12", BOOT, "--profile", "nope"], "unknown profile 'nope'"),
    ],
)
def test_usage(replay, monkeypatch: pytest.MonkeyPatch, arguments: list[object], says: str) -> None:
    monkeypatch.chdir("/")
    answer = replay("native", *arguments)
    assert answer.code == 2
    assert says in answer.error


def test_without_a_compiler(replay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("CC", raising=False)
    answer = replay("native", "v5.12", BOOT)
    assert answer.code == 2
    assert "needs a C compiler" in answer.error


@needs_compiler
def test_what_is_left_out_is_said(replay) -> None:
    answer = replay("native", "v5.12", COLLISION, "--processes", 0, "--most", 1000, "--json")
    (report,) = answer.json["data"]["reports"]
    assert not report["complete"]
    assert 1000 <= report["functions"]["pfn_to_online_page"]["lookups"] < 209_062
    assert any("--most" in d["message"] for d in answer.json["diagnostics"])
