"""replay import ftrace, perf, trace-cmd, dmesg: answers, rejects files, exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from replay.trace.reader import TraceFile

DATA = Path(__file__).parents[1] / "sources" / "importers" / "events" / "data"
REPORT = DATA / "6.1.192" / "tc-report.txt.gz"


@pytest.mark.parametrize(
    ("command", "name", "more"),
    [
        ("ftrace", "6.1.192/tc-report.txt.gz", ["--kernel", "6.1.192"]),
        ("perf", "6.1.192/perf-script-header.txt.gz", []),
        ("dmesg", "7.2.13/dmesg-default.txt", []),
        ("dmesg", "7.2.13/journal-export.gz", []),
    ],
)
def test_an_import_can_be_replayed(replay, tmp_path, command: str, name: str, more: list[str]) -> None:
    out = str(tmp_path / "t.arrow")
    answer = replay("import", command, str(DATA / name), "-o", out, *more)
    assert answer.code == 0
    assert "memory_failure" in answer.out
    assert "put together from the events" in answer.err
    profile = [] if command != "perf" else ["--profile", "v6.1.192"]
    assert replay("run", out, *profile).code == 0
    shown = replay("info", out)
    assert "note: the machine is put together from the events" in shown.out


def test_json(replay, tmp_path) -> None:
    out = str(tmp_path / "t.arrow")
    answer = replay("import", "ftrace", str(REPORT), "-o", out, "--kernel", "6.1.192", "--json")
    facts = answer.json["data"]
    with TraceFile.open(out) as trace:
        assert facts["rows"] == trace.rows
        assert trace.provenance.source == "ftrace"
    assert facts["events"]["memory_failure"] == 10
    assert {d["level"] for d in answer.json["diagnostics"]} == {"warning"}


def test_rejects_are_written_even_when_the_import_fails(replay, tmp_path) -> None:
    (tmp_path / "t.txt").write_text("nonsense\nmore of it\n")
    answer = replay("import", "ftrace", str(tmp_path / "t.txt"), "-o", str(tmp_path / "t.arrow"), "--kernel", "6.1",
                    "--rejects", str(tmp_path / "rejects.arrow"))  # fmt: skip
    assert answer.code == 3
    assert "no event" in answer.err
    assert pa.ipc.open_file(tmp_path / "rejects.arrow").read_all().column("line").to_pylist() == [1, 2]


def test_rejects_are_counted(replay, tmp_path) -> None:
    line = "  a-5  [000] .....  1.0001: memory_failure_event: pfn 0x77: recovery action for huge page: Failed\n"
    (tmp_path / "t.txt").write_text(line + "nonsense\n" + line)
    given = ["import", "ftrace", str(tmp_path / "t.txt"), "-o", str(tmp_path / "t.arrow"), "--kernel", "6.1.192"]
    answer = replay(*given, "--rejects", str(tmp_path / "rejects.csv"))
    assert answer.code == 0
    assert "1 rejected (no line of ftrace), the first at line 2: 'nonsense'" in answer.err
    assert (tmp_path / "rejects.csv").read_text().splitlines()[1] == '2,,"no line of ftrace","nonsense"'
    answer = replay(*given, "--strict")
    assert answer.code == 3
    assert "t.txt:2: found 'nonsense'" in answer.err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "--kernel VERSION"),
        (["--kernel", "yes"], "is not a version"),
        (["--kernel", "6.1", "--layout", "pud-hugh"], "did you mean pud-huge"),
        (["--kernel", "6.1", "--arch", "vax"], "unknown architecture"),
        (["--kernel", "6.1", "--compress", "zip"], "unknown compression"),
    ],
)
def test_usage(replay, tmp_path, more: list[str], said: str) -> None:
    answer = replay("import", "ftrace", str(REPORT), "-o", str(tmp_path / "t.arrow"), *more)
    assert answer.code == 2
    assert said in answer.err


def test_bad_machine_and_missing_file(replay, tmp_path) -> None:
    out = str(tmp_path / "t.arrow")
    assert replay("import", "ftrace", str(REPORT), "-o", out, "--machine", str(REPORT)).code == 3
    assert replay("import", "ftrace", "missing", "-o", out, "--kernel", "6.1").code == 3
    assert replay("import", "dmesg", "missing", "-o", out, "--kernel", "6.1").code == 3
    assert replay("import", "trace-cmd", "missing", "-o", out, "--kernel", "6.1").code == 3


def _tool(folder: Path, script: str) -> None:
    """Put a trace-cmd that answers with recorded output in front of the path; it needs a file with trace.dat's magic."""
    path = folder / "trace-cmd"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    (folder / "trace.dat").write_bytes(b"\x17\x08\x44tracing6\x00")


def test_trace_cmd(replay, tmp_path, monkeypatch) -> None:
    """The tool is replaced by one that prints what the real one printed of a recording."""
    uname = DATA / "6.1.192" / "tc-report-uname.txt"
    _tool(
        tmp_path, f'case "$*" in *--uname*) cat {uname};; *) gzip -dc {DATA / "6.1.192" / "tc-report-ns.txt.gz"};; esac'
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    out = str(tmp_path / "t.arrow")
    answer = replay("import", "trace-cmd", str(tmp_path / "trace.dat"), "-o", out)
    assert answer.code == 0
    with TraceFile.open(out) as trace:
        assert (trace.machine.release, trace.provenance.source) == ("6.1.0-56-amd64", "trace-cmd")
        assert trace.rows == 31


def test_trace_cmd_that_fails(replay, tmp_path, monkeypatch) -> None:
    _tool(tmp_path, f'gzip -dc {DATA / "6.1.192" / "tc-report-ns.txt.gz"}; echo "no way" >&2; exit 1')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    out = tmp_path / "t.arrow"
    answer = replay("import", "trace-cmd", str(tmp_path / "trace.dat"), "-o", str(out), "--kernel", "6.1.192")
    assert answer.code == 3
    assert "exit code 1: no way" in answer.err
    assert not out.exists()


def test_without_trace_cmd(replay, tmp_path, monkeypatch) -> None:
    _tool(tmp_path, "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    out = str(tmp_path / "t.arrow")
    answer = replay("import", "trace-cmd", str(tmp_path / "trace.dat"), "-o", out, "--kernel", "6.1.192")
    assert answer.code == 2
    assert "trace-cmd is not installed" in answer.err
    answer = replay("import", "trace-cmd", str(REPORT), "-o", out, "--kernel", "6.1.192")
    assert answer.code == 3
    assert "needed a trace.dat of trace-cmd" in answer.err


def test_errors_as_json(replay, tmp_path) -> None:
    answer = replay("import", "ftrace", "missing", "-o", str(tmp_path / "t.arrow"), "--kernel", "6.1", "--json")
    assert json.loads(answer.out)["status"] == "error"
