"""A trace file is there completely or not at all."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pytest

from replay.errors import InvariantError, TraceError, UsageError
from replay.trace import TraceFile, TraceWriter
from replay.trace.outcome_file import OutcomeWriter
from replay.trace.outcomes import OUTCOME_COLUMNS, POISON_COLUMNS, outcome_dtype
from tests.trace.build import MACHINE, PROVENANCE, columns, lookup, write

OPTIONS = {"machine": MACHINE, "provenance": PROVENANCE, "columns": ("time", "kind", "pfn")}


def test_an_exception_leaves_nothing_behind(tmp_path):
    with suppress(KeyboardInterrupt), TraceWriter(tmp_path / "a.arrow", **OPTIONS) as writer:
        writer.write(columns(lookup(1)))
        assert list(tmp_path.iterdir())
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_bad_row_leaves_the_existing_file_alone(tmp_path):
    path = write(tmp_path / "a.arrow", lookup(1))
    before = path.read_bytes()
    with pytest.raises(TraceError, match="row 1, column kind"):
        write(path, lookup(1), {"kind": 200, "pfn": 1})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.arrow"]


def test_success_replaces_the_existing_file(tmp_path):
    path = write(tmp_path / "a.arrow", lookup(1))
    with TraceFile.open(path) as old:
        write(path, lookup(2), lookup(3))
        assert TraceFile.open(path).rows == 2
        assert [len(batch) for batch in old.batches()] == [1]  # whoever has the old one open keeps it
    assert os.listdir(tmp_path) == ["a.arrow"]


def test_the_name_appears_only_at_the_end(tmp_path):
    path = tmp_path / "a.arrow"
    with TraceWriter(path, **OPTIONS, batch_rows=1) as writer:
        writer.write(columns(lookup(1), lookup(2)))
        assert not path.exists()
    assert path.exists()


def test_a_write_that_failed_cannot_be_continued(tmp_path):
    writer = TraceWriter(tmp_path / "a", **OPTIONS, batch_rows=1)
    writer.__enter__()
    with pytest.raises(TraceError):
        writer.write({"time": [1], "kind": [200], "pfn": [1]})
    with pytest.raises(InvariantError, match="with block"):
        writer.write(columns(lookup(1)))
    with pytest.raises(InvariantError, match="ignored"):
        writer.__exit__(None, None, None)
    assert not list(tmp_path.iterdir())


def test_write_needs_the_with_block(tmp_path):
    with pytest.raises(InvariantError, match="with block"):
        TraceWriter(tmp_path / "a", **OPTIONS).write(columns(lookup(1)))


@pytest.mark.parametrize("step", ["fsync", "replace", "open"])
def test_a_failing_disk_is_reported_and_leaves_nothing(tmp_path, monkeypatch, step):
    def fail(*_args, **_options):
        raise OSError(28, "No space left on device")

    if step == "open":
        monkeypatch.setattr("builtins.open", fail)
    else:
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(UsageError, match=r"cannot be written \(No space left"):
        write(tmp_path / "a.arrow", lookup(1))
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_does_not_exist_is_a_clear_error(tmp_path):
    with pytest.raises(UsageError, match="No such file or directory"):
        write(tmp_path / "no" / "a.arrow", lookup(1))


def test_files_have_the_permissions_of_any_new_file(tmp_path):
    mask = os.umask(0o022)
    try:
        path = write(tmp_path / "a.arrow", lookup(1))
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o644


# Outcomes files go the same way ---------------------------------------------------------------------------------------


def outcomes(path, rows=3):
    with OutcomeWriter(path, trace="sha256:0", profile="v6.1", checks=["a"], poison_checks={}, tool="tests") as writer:
        writer.write({name: np.zeros(rows, outcome_dtype(name)) for name in (*OUTCOME_COLUMNS, *POISON_COLUMNS)})


WRITERS = {"trace": lambda path: write(path, lookup(1)), "outcomes": outcomes}


@pytest.mark.parametrize("kind", WRITERS)
def test_the_folder_is_synced_after_the_rename(tmp_path, monkeypatch, kind):
    """Or a power cut could leave a name that leads nowhere."""
    steps, fsync, replace = [], os.fsync, os.replace
    names = {True: "sync folder", False: "sync file"}
    monkeypatch.setattr(os, "fsync", lambda f: (steps.append(names[stat.S_ISDIR(os.fstat(f).st_mode)]), fsync(f)))
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append("rename"), replace(a, b)))
    WRITERS[kind](tmp_path / "a.arrow")
    assert steps == ["sync file", "rename", "sync folder"]


@pytest.mark.parametrize("step", ["fsync", "replace", "open"])
def test_outcomes_on_a_failing_disk(tmp_path, monkeypatch, step):
    def fail(*_args, **_options):
        raise OSError(28, "No space left on device")

    outcomes(tmp_path / "a.arrow")
    monkeypatch.setattr(*(("builtins.open", fail) if step == "open" else (os, step, fail)))
    with pytest.raises(UsageError, match=r"cannot be written \(No space left"):
        outcomes(tmp_path / "a.arrow", rows=4)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["a.arrow"]
    assert pa.ipc.open_file(tmp_path / "a.arrow").read_all().num_rows == 3


def test_outcomes_of_an_interrupted_replay_leave_nothing(tmp_path):
    options = {"trace": "sha256:0", "profile": "v6.1", "checks": ["a"], "poison_checks": {}, "tool": "tests"}
    with suppress(KeyboardInterrupt), OutcomeWriter(tmp_path / "a.arrow", **options):
        assert list(tmp_path.iterdir())
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", WRITERS)
def test_nothing_special_is_replaced(tmp_path, kind):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(UsageError, match="is no regular file"):
            WRITERS[kind](path)
    assert os.listdir(tmp_path) == ["pipe"]


def test_another_process_temporary_file_of_the_same_name_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda _n: "same")
    theirs = tmp_path / ".a.arrow.same.tmp"
    theirs.write_bytes(b"theirs")
    with pytest.raises(UsageError, match="File exists"):
        write(tmp_path / "a.arrow", lookup(1))
    assert theirs.read_bytes() == b"theirs"
