"""What users do by mistake or on purpose: no traceback, nothing lost, and a line that says what to do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.trace.build import lookup, write

WALK = Path("traces/recorded/6.1.192-s1-walk-boot.arrow")
DATA = Path("tests/sources/importers/events/data/6.1.192")
START = [sys.executable, "-c", "from replay.cli.main import main; main()"]


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A folder with a trace, a candidate, and what an importer reads."""
    shutil.copy(WALK, tmp_path / "walk.arrow")
    shutil.copy("examples/candidates/forgets_altmap.py", tmp_path / "patch.py")
    shutil.copy(DATA / "dmesg-raw.txt", tmp_path / "log.txt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMPARE = ("compare", "walk.arrow", "-b", "v5.12", "--repeats", "0", "-c")
LOG = ("import", "dmesg", "log.txt", "--kernel", "6.1.192")


@pytest.mark.parametrize(
    "words",
    [
        ("run", "walk.arrow", "-o", "walk.arrow"),
        ("run", "walk.arrow", "-p", "patch.py", "-o", "patch.py"),
        (*COMPARE, "v5.11", "-o", "./walk.arrow"),
        (*COMPARE, "patch.py:broken", "-o", "patch.py"),
        (*COMPARE, "v5.11", "--write-expect", "walk.arrow"),
        (*COMPARE, "patch.py:broken", "--write-expect", "patch.py"),
        (*COMPARE, "v5.11", "--write-expect", "new", "-o", "./new"),
        ("shrink", "walk.arrow", "-b", "v5.12", "-c", "patch.py", "-o", "patch.py"),
        ("convert", "walk.arrow", "walk.arrow"),
        ("generate", "amplify", "walk.arrow", "-o", "walk.arrow", "--times", "2"),
        (*LOG, "-o", "log.txt"),
        (*LOG, "-o", "new", "--rejects", "log.txt"),
        (*LOG, "-o", "new", "--rejects", "new"),
        ("import", "dmesg", "log.txt", "--machine", "walk.arrow", "-o", "walk.arrow"),
        ("import", "machine", "--kernel", "6.1", "--iomem", "log.txt", "-o", "log.txt"),
        ("import", "rasdaemon", "log.txt", "--kernel", "6.1", "-o", "new", "--decoded", "log.txt"),
    ],
    ids=" ".join,
)
def test_nothing_is_written_over_what_is_read(replay, room, words):
    before = {path.name: path.read_bytes() for path in room.iterdir()}
    answer = replay(*words)
    assert answer.code == 2
    assert answer.error.endswith(("of its own", "needed another file"))
    assert {path.name: path.read_bytes() for path in room.iterdir()} == before


def test_a_file_that_nearly_is_there_is_named(replay, room):
    for words in (("run", "wakl.arrow"), ("convert", "wakl.arrow", "a.csv"), ("info", "wakl.arrow")):
        answer = replay(*words)
        assert answer.code == 3
        assert answer.error.endswith("did you mean walk.arrow?")
    answer = replay("import", "dmesg", "logg.txt", "--kernel", "6.1", "-o", "a.arrow")
    assert answer.error.endswith("did you mean log.txt?")
    assert "did you mean" not in replay("run", "nowhere/x.arrow").error


def test_where_differences_go_is_checked_before_they_are_looked_for(replay, room):
    answer = replay(*COMPARE, "v5.11", "--write-expect", "nowhere/a.json")
    assert (answer.code, answer.out) == (2, "")
    assert "needed a file in a folder that is there" in answer.error


def started(words, **streams):
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    return subprocess.Popen([*START, *map(str, words)], env=environment, **streams)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize("words", [("profiles",), ("profiles", "--json"), ("diff", "v7.2", "v7.2.13")])
def test_no_room_for_the_answer_is_said_in_one_line(words):
    with open("/dev/full", "wb") as full, started(words, stdout=full, stderr=subprocess.PIPE, text=True) as child:
        _, err = child.communicate()
    assert child.returncode == 3
    assert len(err.splitlines()) == 1
    assert "No space left on device" in err


@pytest.mark.parametrize("words", [("profiles",), ("--help",), ("validate", WALK)])
def test_closed_streams_are_nobody_to_tell(words):
    command = [sys.executable, "-c", CLOSED, *map(str, words)]
    child = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.getcwd()}, check=False)
    assert child.returncode == 0


CLOSED = (
    "import os, sys; os.close(1); os.close(2); sys.stdout = sys.stderr = None; from replay.cli.main import main; main()"
)


def test_a_reader_that_goes_is_no_error():
    with started(("features", "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.read(10)
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 0


@pytest.mark.slow
def test_an_interrupt_ends_it_without_a_traceback_and_leaves_no_file(tmp_path):
    out = tmp_path / "out.arrow"
    trace = write(tmp_path / "a.arrow", *(lookup(0x100 + n % 512) for n in range(1000)))
    words = ("generate", "amplify", trace, "-o", out, "--times", "1000000", "--in-place")
    with started(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)  # until it writes
        child.send_signal(signal.SIGINT)
        _, err = child.communicate()
    assert child.returncode not in {0, 4}
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["a.arrow"]


def test_shrink_names_the_function_that_was_meant(replay, room):
    answer = replay("shrink", "walk.arrow", "-b", "v5.11", "-c", "v5.12", "-f", "pfn_to_online_pag", "-o", "a.arrow")
    assert answer.code == 2
    assert "unknown function 'pfn_to_online_pag' (did you mean pfn_to_online_page" in answer.error
