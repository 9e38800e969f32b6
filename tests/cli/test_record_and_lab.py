"""replay record and replay lab, as far as they go without a machine that can be recorded."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from replay.sources import lab as lab_package
from replay.sources import record as record_package
from replay.sources.lab import SCENARIOS, LabReport
from replay.sources.record import CAPTURE, Check
from tests.sources.importers.recording.build import Lab


def test_what_can_be_recorded_here(replay) -> None:
    answer = replay("record", "--check", "--json")
    assert answer.code == 0
    data = json.loads(answer.out)["data"]
    assert data["recorder"] == str(CAPTURE)
    assert {check["what"] for check in data["checks"]} >= {"root", "tracefs", "kcore"}
    assert str(CAPTURE) in replay("record", "--check").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give it with --output"),
        (("-o", "x.arrow", "--duration", "5 minutes"), "needed a time such as 60s, 10m or 2h"),
        (("-o", "x.arrow", "--duration", "0"), "needed a time"),
        (("-o", "x.arrow", "--kpageflags"), "--keep FOLDER"),
    ],
)
def test_wrong_requests_to_record(replay, words, said) -> None:
    answer = replay("record", *words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_a_machine_without_tracefs(replay, monkeypatch, tmp_path) -> None:
    missing = [Check("root", "ok", ""), Check("tracefs", "missing", "it is not mounted"), Check("kpageflags", "ok", "")]
    monkeypatch.setattr(sys.modules["replay.sources.record.record"], "check_machine", lambda: missing)
    answer = replay("record", "-o", str(tmp_path / "x.arrow"))
    assert answer.code == 3
    assert "no tracefs: it is not mounted" in answer.err
    assert "still to be had without events: kpageflags" in answer.err
    assert not (tmp_path / "x.arrow").exists()


@dataclass
class Asked:
    """What the recorder was asked for."""

    folder: Path | None = None
    options: dict[str, object] | None = None


@pytest.fixture
def recorder(monkeypatch, tmp_path) -> Asked:
    """A recorder that writes a made-up recording."""
    asked = Asked()

    def record(folder: Path, **options: object) -> None:
        asked.folder, asked.options = folder, options
        lab = Lab(folder)
        lab.online(0x100)
        lab.save()

    monkeypatch.setattr(record_package, "record", record)
    return asked


def test_a_recording_becomes_a_trace(replay, recorder, tmp_path) -> None:
    output = tmp_path / "host.arrow"
    answer = replay("record", "-o", str(output), "--duration", "2m", "--walks", "--command", "true", "--json")
    assert answer.code == 0, answer.err
    data = json.loads(answer.out)["data"]
    assert (data["trace"], data["lookups"]) == (str(output), 1)
    assert recorder.options["seconds"] == 120
    assert recorder.options["walks"] is True
    assert recorder.options["command"] == ["sh", "-c", "true"]
    assert not recorder.folder.exists(), "the folder is kept with --keep only"
    assert replay("run", str(output)).code == 0


def test_the_folder_is_kept_where_asked(replay, recorder, tmp_path) -> None:
    keep = tmp_path / "kept"
    assert replay("record", "-o", str(tmp_path / "x.arrow"), "--keep", str(keep), "--kpageflags").code == 0
    assert (keep / "meta.json").exists()
    assert recorder.options["images"] is True


def test_a_recording_that_cannot_be_imported_is_not_thrown_away(replay, recorder, tmp_path, monkeypatch) -> None:
    """Events were lost: the import refuses that, but nobody can record the same hour again."""
    honest = record_package.record

    def lossy(folder: Path, **options: object) -> None:
        honest(folder, **options)
        (folder / "trace_stats.txt").write_text("[cpu0]\noverrun: 5\n")

    monkeypatch.setattr(record_package, "record", lossy)
    output = tmp_path / "host.arrow"
    answer = replay("record", "-o", str(output))
    assert answer.code == 3
    assert "--allow-loss" in answer.err
    kept = tmp_path / "host.arrow.recording"
    assert str(kept) in answer.err
    assert replay("import", "recording", str(kept), "-o", str(output), "--allow-loss").code == 0


def test_scenarios_are_listed(replay) -> None:
    assert set(json.loads(replay("lab", "--list", "--json").out)["data"]["scenarios"]) == set(SCENARIOS)
    assert "s2a-pmem-collision" in replay("lab", "--list").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--list prints the scenarios"),
        (("--kernel", "k", "--scenario", "s", "-o", "o", "--compress", "gz"), "unknown compression"),
        (("--kernel", "k", "--scenario", "s1-walk-bot", "-o", "o"), "did you mean s1-walk-boot"),
    ],
)
def test_wrong_requests_to_the_lab(replay, words, said) -> None:
    answer = replay("lab", *words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


@pytest.mark.parametrize("complete", [True, False])
def test_a_boot_becomes_a_trace_beside_its_folder(replay, monkeypatch, tmp_path, complete) -> None:
    def run_lab(image: Path, name: str, output: Path, **options: object) -> LabReport:
        options["show"]("@@BOOTED")
        lab = Lab(output)
        lab.online(0x100)
        lab.save()
        return LabReport(str(output), "6.1.0-test", 12.0, complete, 0)

    monkeypatch.setattr(lab_package, "run_lab", run_lab)
    answer = replay("lab", "--kernel", "k", "--scenario", "s0-smoke", "-o", str(tmp_path / "rec"), "-v")
    assert answer.code == 0, answer.err
    assert (tmp_path / "rec.arrow").exists()
    assert "@@BOOTED" in answer.err
    assert ("cut short" in answer.err) is not complete
    assert "6.1.0-test, s0-smoke, 12 s" in answer.out
