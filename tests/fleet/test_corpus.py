"""Many traces: what paths stand for, and results that do not depend on who makes them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import replay
from replay.errors import InputError, UsageError
from replay.fleet.corpus import find_traces
from tests.fleet.conftest import alive, plain
from tests.trace.build import lookup, write


def test_two_workers_give_what_one_gives(fleet: list[Path], sequential: list[Any]) -> None:
    """To the byte, with a damaged trace in the middle."""
    together = plain(replay.run_many(fleet, ["v5.11", "v6.1"], workers=2))
    assert json.dumps(together) == json.dumps(sequential)


def test_a_bad_trace_is_told_once_and_does_not_sink_the_rest(fleet: list[Path], sequential: list[Any]) -> None:
    (bad,) = (number for number, result in enumerate(sequential) if isinstance(result, str))
    assert sequential[bad].startswith(f"TraceError: {fleet[2]}")
    others = [(Path(r["trace"]).name, r["profile"]) for r in sequential if not isinstance(r, str)]
    assert others == [(f"{n}.arrow", kernel) for n in (0, 1, 3, 4) for kernel in ("v5.11", "v6.1")]


def test_a_worker_killed_in_the_middle_changes_nothing(fleet: list[Path], sequential: list[Any]) -> None:
    killed = []

    def kill_one(done: int, _total: int) -> None:
        if done >= 2000 and not killed:
            child = alive()[0]
            child.kill()
            killed.append(child)

    together = plain(replay.run_many(fleet, ["v5.11", "v6.1"], workers=2, progress=kill_one))
    assert killed
    assert json.dumps(together) == json.dumps(sequential)


def test_unknown_kernels_end_the_whole(fleet: list[Path]) -> None:
    for workers in (1, 2):
        with pytest.raises(UsageError, match="unknown profile"):
            list(replay.run_many(fleet, ["v6.x"], workers=workers))


def test_a_single_path_is_no_list_of_letters(fleet: list[Path]) -> None:
    (run,) = replay.run_many(str(fleet[0]), [replay.profile("v6.1")])
    assert isinstance(run, replay.Run)


def test_requests_that_exclude_each_other(fleet: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one trace and one profile"):
        replay.run_many(fleet, outcomes=tmp_path / "o.arrow")
    with pytest.raises(UsageError, match="own machine"):
        replay.run_many(fleet[:1], outcomes=tmp_path / "o.arrow", scheduler="tcp://127.0.0.1:1")
    with pytest.raises(UsageError, match="log lines"):
        replay.run_many(fleet, workers=2, log=lambda kernel, names, call: None)


@pytest.fixture
def folder(fleet: list[Path], tmp_path: Path) -> Path:
    """b/2.arrow is damaged; b/outcomes.arrow and other.arrow are no traces."""
    (tmp_path / "b" / "c").mkdir(parents=True)
    shutil.copy(fleet[0], tmp_path / "b" / "10.arrow")
    shutil.copy(fleet[2], tmp_path / "b" / "2.arrow")
    shutil.copy(fleet[1], tmp_path / "b" / "c" / "1.arrow")
    shutil.copy(fleet[3], tmp_path / "a.arrow")
    (tmp_path / "notes.txt").write_text("no trace")
    replay.run(fleet[0], "v6.1", outcomes=tmp_path / "b" / "outcomes.arrow")
    with pa.ipc.new_file(str(tmp_path / "other.arrow"), pa.schema([("x", pa.int8())])):
        pass
    return tmp_path


def test_a_folder_stands_for_the_traces_below_it(folder: Path) -> None:
    corpus = replay.find_traces([folder])
    assert corpus.traces == [str(folder / name) for name in ("a.arrow", "b/10.arrow", "b/2.arrow", "b/c/1.arrow")]
    assert corpus.passed_over == {
        str(folder / "b" / "outcomes.arrow"): "outcomes of a replay, not a trace",
        str(folder / "other.arrow"): "an Arrow file of some other program, not a trace",
    }


def test_patterns(folder: Path) -> None:
    def names(pattern: str) -> list[str]:
        return [str(Path(t).relative_to(folder)) for t in replay.find_traces([folder / pattern]).traces]

    assert names("b/?.arrow") == ["b/2.arrow"]
    assert names("b/[0-9]*.arrow") == ["b/10.arrow", "b/2.arrow"]
    assert names("b/**/*.arrow") == ["b/10.arrow", "b/2.arrow", "b/c/1.arrow"]
    assert names("b*") == ["b/10.arrow", "b/2.arrow", "b/c/1.arrow"]
    assert sorted(names("b/**")) == sorted(names("b"))  # a file found twice is one
    with pytest.raises(InputError, match="no file fits"):
        names("d/*.arrow")


def test_a_name_with_magic_letters_is_a_name(fleet: list[Path], tmp_path: Path) -> None:
    shutil.copy(fleet[0], tmp_path / "[1].arrow")
    assert replay.find_traces([tmp_path / "[1].arrow"]).traces == [str(tmp_path / "[1].arrow")]


def test_paths_are_taken_as_they_are(folder: Path) -> None:
    """What is named is replayed, as often as it is named; an error, if it is no trace, is for the replay to find."""
    named = [folder / "other.arrow", folder / "none.arrow", folder / "a.arrow", folder / "a.arrow"]
    assert replay.find_traces(named).traces == [str(path) for path in named]


def test_folders_without_a_trace(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="a folder without"):
        replay.find_traces([empty])
    shutil.copy(folder / "other.arrow", empty)
    with pytest.raises(InputError, match="some other program"):
        replay.find_traces([empty])


def test_a_fifo_in_a_folder_is_passed_over(tmp_path: Path) -> None:
    """Opening it would wait for ever."""
    trace = write(tmp_path / "a.arrow", lookup(0x100))
    os.mkfifo(tmp_path / "b.arrow")
    found = find_traces([tmp_path])
    assert found.traces == [str(trace)]
    assert found.passed_over == {str(tmp_path / "b.arrow"): "no regular file"}
