"""The nightly run: which commits are measured, and when the accepted one moves on. asv itself is not run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks.gate import __main__ as gate
from benchmarks.gate import asv
from tests.gate.test_gate import BASE, HEAD, HELP, HELP_SAMPLES, write

OLDER = "c" * 40


class Asv:
    """Measures what it is told to, as asv would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: list[list[str]] = []
        self.published = 0
        self.wrong = 0
        self.bench: list[str] = []

    def run_commits(self, commits: list[str], bench: list[str]) -> None:
        assert bench == self.bench
        assert not list(self.folder.glob(f"box/{commits[-1][:8]}-*")), "results of an earlier run are in the way"
        self.runs.append(commits)
        for commit in commits:
            write(self.folder, commit, track_disagreements=([self.wrong if commit == commits[-1] else 0], None))

    def publish(self) -> None:
        self.published += 1


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asv:
    fake = Asv(tmp_path / "results")
    monkeypatch.setattr(asv, "FOLDER", tmp_path)
    monkeypatch.setattr(asv, "RESULTS", fake.folder)
    monkeypatch.setattr(asv, "commit_of", {"HEAD": HEAD, "HEAD~1": BASE, f"{HEAD}~1": BASE, HEAD: HEAD}.get)
    monkeypatch.setattr(asv, "run_commits", fake.run_commits)
    monkeypatch.setattr(asv, "publish", fake.publish)
    monkeypatch.setattr(gate, "_ACCEPTED", tmp_path / "accepted")
    monkeypatch.setenv("REPLAY_BENCH_MACHINE", "box")
    return fake


def accepted(tmp_path: Path) -> str:
    path = tmp_path / "accepted"
    return path.read_text().strip() if path.exists() else ""


def test_the_first_night(fake: Asv, tmp_path: Path) -> None:
    """The parent and HEAD; HEAD is accepted, and the next night has nothing to do."""
    assert gate.main(["nightly"]) == 0
    assert fake.runs == [[BASE, HEAD]]
    assert fake.published == 1
    assert accepted(tmp_path) == HEAD
    assert gate.main(["nightly"]) == 0
    assert len(fake.runs) == 1


def test_a_part_of_the_suite_accepts_nothing(fake: Asv, tmp_path: Path) -> None:
    """A night bounded by a pattern is judged and published, and the next one compares with the same commit."""
    fake.bench = ["recordings"]
    assert gate.main(["nightly", "--bench", "recordings"]) == 0
    assert fake.runs == [[BASE, HEAD]]
    assert fake.published == 1
    assert not accepted(tmp_path)


def test_a_bad_night_does_not_move_the_accepted_commit(
    fake: Asv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It stays red, against the same commit, until it is mended or accepted."""
    monkeypatch.setattr(asv, "commit_of", {"HEAD": HEAD, OLDER: OLDER}.get)
    (tmp_path / "accepted").write_text(f"{OLDER}\n")
    fake.wrong = 2
    for _ in range(2):
        assert gate.main(["nightly"]) == 1
        assert capsys.readouterr().out == "wrong: recordings.Agreement.track_disagreements('a'): 0 -> 2 disagreements\n"
    assert fake.runs == [[OLDER, HEAD]] * 2
    assert fake.published == 2
    assert accepted(tmp_path) == OLDER
    assert gate.main(["nightly", "--base", "HEAD"]) == 0
    assert len(fake.runs) == 2
    assert accepted(tmp_path) == HEAD


@pytest.mark.parametrize(("slow", "runs"), [((), 1), ((1,), 2), ((1, 2), 3), ((1, 2, 3), 3)])
def test_a_slow_down_is_measured_again(
    fake: Asv, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], slow: tuple[int, ...], runs: int
) -> None:
    """A busy machine slows a commit once or twice; only what is slow in the measurements of its own is named."""
    asked: list[list[str]] = []

    def run_commits(commits: list[str], bench: list[str]) -> None:
        asked.append(bench)
        slower = [s * 1.5 for s in HELP_SAMPLES] if len(asked) in slow else HELP_SAMPLES
        write(fake.folder, commits[0])
        write(fake.folder, commits[1], time_help=([0.15], [slower]), track_rows=([1], None))

    monkeypatch.setattr(asv, "run_commits", run_commits)
    assert gate.main(["commits", "--base", "HEAD~1", "--head", "HEAD"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["changed", "slower"][: 1 + (len(slow) == 3)]
    assert asked == [[]] + [[f"^{re.escape(HELP)}$"]] * (runs - 1)


def test_asv_writes_nothing_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file about the machine goes to a home of its own; pip and git still find the user's settings."""
    monkeypatch.setattr(asv, "FOLDER", tmp_path)
    monkeypatch.setenv("REPLAY_BENCH_MACHINE", "box")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    environment = asv._environment()
    assert environment["HOME"] == str(tmp_path / "home")
    assert environment["XDG_CONFIG_HOME"] == str(Path.home() / ".config")
    machine = json.loads((tmp_path / "home" / ".asv-machine.json").read_text())
    assert machine["version"] == 1
    assert machine["box"].keys() == {"machine", "os", "arch", "cpu", "num_cpu", "ram"}
    assert all(isinstance(value, str) and value for value in machine["box"].values())


def test_unknown_commits(capsys: pytest.CaptureFixture[str]) -> None:
    """No judgement, and said so."""
    assert gate.main(["results", "--base", "no-such-branch"]) == 2
    assert "no-such-branch: no such commit here" in capsys.readouterr().err
