"""What cannot be done is said in one line, with the exit code that its cause has; nothing is left behind."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from replay.trace import BootRange, EventKind
from replay.trace.outcomes import OUTCOME_COLUMNS
from tests.sources.importers.recording.build import Lab
from tests.trace.build import MACHINE, columns, forge, lookup, machine, write
from tests.trace.test_damage import BAD_COLUMNS, BAD_MACHINES, KEYS, good
from tests.trace.test_rows import BAD, arrow

WALK = Path(__file__).parents[2] / "traces" / "recorded" / "6.1.192-s1-walk-boot.arrow"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return write(tmp_path / "good.arrow", lookup(0x100, recorded_ret=1), lookup(0x80000, recorded_ret=0))


# Usage: exit code 2 ---------------------------------------------------------------------------------------------------

USAGE = {
    "unknown profile": (["-p", "v6.13"], "unknown profile 'v6.13' (did you mean v6.1"),
    "no version at all": (["-p", "linux"], "unknown profile 'linux'; `replay profiles` lists them"),
    "empty profile": (["-p", "+taint-zone-device"], "unknown profile '+taint-zone-device'"),
    "unknown feature": (["-p", "v6.1+taint-zone-devices"], "unknown feature 'taint-zone-devices' (did you mean taint-zone"),
    "feature twice": (["-p", "v6.1+taint-zone-device"], "v6.1 has feature 'taint-zone-device' already"),
    "feature not there": (["-p", "v5.11-taint-zone-device"], "v5.11 has no feature 'taint-zone-device' to take away"),
    "unknown engine": (["--engine", "Vector"], "unknown engine 'Vector'; there are vector and scalar"),
    "kernel without a walk": (["-p", "v2.6.32"], "profile v2.6.32: no lookups or hotplug are known of this kernel"),
}  # fmt: skip


@pytest.mark.parametrize("case", USAGE)
def test_usage_errors_of_run(replay, trace: Path, tmp_path: Path, case: str) -> None:
    """One line on stderr, exit code 2, no outcomes file; with --json the envelope says the same."""
    options, part = USAGE[case]
    answer = replay("run", trace, *options, "-o", tmp_path / "out.arrow")
    assert (answer.code, answer.out) == (2, "")
    assert part in answer.error
    answer = replay("run", trace, *options, "-o", tmp_path / "out.arrow", "--json")
    assert (answer.code, answer.json["status"], answer.json["data"]) == (2, "error", None)
    assert part in answer.json["diagnostics"][0]["message"]
    assert os.listdir(tmp_path) == [trace.name]


def test_unknown_names_elsewhere(replay) -> None:
    for arguments, part in (
        (("profiles", "v5.21"), "(did you mean v5.1"),
        (("features", "taint-zone"), "unknown feature 'taint-zone' (did you mean taint-zone-device?)"),
        (("import", "recording", "x", "-o", "y", "--compress", "gzip"), "unknown compression 'gzip'; there are none"),
    ):
        answer = replay(*arguments)
        assert (answer.code, answer.out) == (2, "")
        assert part in answer.error
        assert replay(*arguments, "--json").json["status"] == "error"


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "a.arrow", "--profle", "v6.1"),
        ("info",),
        ("info", "a", "b"),
        ("validate",),
        ("validate", "--strict", "a"),
        ("profiles", "--long"),
        ("import", "recording", "folder"),
        ("import", "perf"),
        ("replay",),
    ],
    ids=" ".join,
)
def test_unknown_and_missing_arguments(replay, arguments: tuple[str, ...]) -> None:
    """Exit code 2; what was wrong is on stderr, stdout is empty."""
    answer = replay(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert "Usage: replay" in answer.err


@pytest.mark.parametrize(
    "arguments", [("a.arrow", "b.arrow"), ("a.arrow", "-p", "v6.1", "-p", "v5.11")], ids=["traces", "profiles"]
)
def test_outcomes_of_several_runs(replay, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    answer = replay("run", *arguments, "-o", tmp_path / "out.arrow")
    assert (answer.code, answer.out) == (2, "")
    assert "--output takes the outcomes of one trace and one profile" in answer.error
    assert not list(tmp_path.iterdir())


def test_outcomes_never_replace_the_trace(replay, trace: Path, tmp_path: Path) -> None:
    """Neither by its own name nor by another one."""
    before = trace.read_bytes()
    (tmp_path / "link.arrow").hardlink_to(trace)
    for output in (trace, tmp_path / "link.arrow"):
        answer = replay("run", trace, "-o", output)
        assert (answer.code, answer.out) == (2, "")
        assert "is a file that is read" in answer.error
        assert trace.read_bytes() == before


@pytest.mark.parametrize("command", ["run", "import"])
def test_places_that_cannot_be_written(replay, trace: Path, tmp_path: Path, command: str) -> None:
    """No folder, a folder, and what is no regular file (a device would be gone): exit code 2, and nothing is touched."""
    lab = Lab(tmp_path / "lab")
    lab.online(0x108000)
    source = ("run", trace) if command == "run" else ("import", "recording", lab.save())
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.rglob("*"))
    for name in ("none/out.arrow", "folder", "pipe"):
        answer = replay(*source, "-o", tmp_path / name)
        assert (answer.code, answer.out) == (2, "")
        assert f"{tmp_path / name}: cannot be written (" in answer.error
        assert sorted(tmp_path.rglob("*")) == before
        assert (tmp_path / "pipe").is_fifo()


def test_a_full_disk(replay, trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Running out of space is no defect of the tool: one line, exit code 2, nothing left."""

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    answer = replay("run", trace, "-o", tmp_path / "out.arrow")
    assert (answer.code, answer.out) == (2, "")
    assert "cannot be written (No space left on device)" in answer.error
    assert os.listdir(tmp_path) == [trace.name]


def test_a_kernel_with_other_sections(replay, tmp_path: Path) -> None:
    """arm64 sections shrank in v5.12: a trace of one size is refused by kernels of the other, not answered wrongly."""
    arm = replace(
        MACHINE,
        arch="aarch64",
        section_size_bits=30,
        max_physmem_bits=48,
        memory_block_bytes=1 << 30,
        kernel="5.11",
        memory=(BootRange(0x40000, 0x60000),),
        resources=(),
    )
    path = write(tmp_path / "arm.arrow", lookup(0x40000, recorded_ret=1), machine=arm)
    assert replay("run", path).code == 0
    for engine in ("vector", "scalar"):
        answer = replay("run", path, "-p", "v6.1", "--engine", engine, "-o", tmp_path / "out.arrow")
        assert (answer.code, answer.out) == (2, "")
        assert "sections of 2^30 bytes, but v6.1 uses 2^27 on aarch64" in answer.error
        assert os.listdir(tmp_path) == ["arm.arrow"]


# Bad input: exit code 3 -----------------------------------------------------------------------------------------------


def refused(replay, path: Path) -> str:
    """Assert that run, info and validate refuse a file alike; return the line."""
    folder = path.parent
    before = sorted(p.name for p in folder.iterdir())
    lines = set()
    for arguments in (("run", path, "-o", folder / "out.arrow"), ("run", path), ("info", path)):
        answer = replay(*arguments)
        assert (answer.code, answer.out) == (3, ""), arguments
        lines.add(answer.error)
        assert sorted(p.name for p in folder.iterdir()) == before
    answer = replay("validate", path)
    assert (answer.code, answer.err) == (3, "")
    (line,) = answer.out.splitlines()
    assert line.startswith("not sound: ")
    lines.add("replay: error: " + line.removeprefix("not sound: "))
    assert len(lines) == 1, lines
    (line,) = lines
    assert line.startswith(f"replay: error: {path}")
    assert ": found " in line
    assert "; needed " in line
    for command in ("run", "info", "validate"):
        answer = replay(command, path, "--json")
        assert (answer.code, answer.json["command"], answer.json["status"]) == (3, command, "error")
        (diagnostic,) = answer.json["diagnostics"]
        assert diagnostic["message"] == line.removeprefix("replay: error: ")
        assert diagnostic["where"].startswith(str(path))
    return line


@pytest.mark.parametrize("case", BAD_COLUMNS)
def test_foreign_columns(replay, tmp_path: Path, case: str) -> None:
    arrays, _ = BAD_COLUMNS[case]
    refused(replay, forge(tmp_path / "a", arrays))


@pytest.mark.parametrize("case", BAD_MACHINES)
def test_machines_that_contradict_themselves(replay, tmp_path: Path, case: str) -> None:
    changes, part = BAD_MACHINES[case]
    assert part in refused(replay, forge(tmp_path / "a", good(), header={"machine": machine(**changes)}))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", [None, b"", b"{", b"\xff\xfe", b"7", b'{"a\\nb":1}', b"NaN"])
def test_metadata_that_is_not(replay, tmp_path: Path, key: str, value: bytes | None) -> None:
    assert key in refused(replay, forge(tmp_path / "a", good(), metadata={key: value}))


@pytest.mark.parametrize("case", BAD)
def test_rows_that_contradict_the_format(replay, tmp_path: Path, case: str) -> None:
    events, part = BAD[case]
    path = forge(tmp_path / "b", arrow(columns(*events)), header={"strings": ["x", "y"]}, batch_rows=1)
    assert part in refused(replay, path)


@pytest.mark.parametrize(
    "data",
    [b"", b"A", b"time,kind\n1,2\n" * 40, b"ARROW1\0\0", b"ARROW1\0\0" + bytes(100) + b"ARROW1", bytes(5000)],
    ids=["empty", "one-byte", "text", "magic-only", "two-magics", "zeros"],
)
def test_files_that_are_no_traces(replay, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.arrow").write_bytes(data)
    refused(replay, tmp_path / "a.arrow")


def test_damaged_traces(replay, trace: Path, tmp_path: Path) -> None:
    """Cut anywhere, or with a byte changed in a column."""
    whole = trace.read_bytes()
    trace.unlink()
    path = tmp_path / "damaged.arrow"
    for size in range(0, len(whole), max(1, len(whole) // 12)):
        path.write_bytes(whole[:size])
        refused(replay, path)
    at = whole.index(pa.array([0x100, 0x80000], pa.uint64()).buffers()[1].to_pybytes())
    path.write_bytes(whole[:at] + b"\x01" + whole[at + 1 :])
    assert "column pfn" in refused(replay, path)


GEOMETRY = {
    "sections of another size": ({"section_size_bits": 28, "memory_block_bytes": 1 << 28}, "machine.section_size_bits"),
    "addresses of another size": ({"max_physmem_bits": 48}, "machine.max_physmem_bits"),
    "unknown architecture": ({"arch": "vax"}, "machine.arch"),
    "pages of another size": ({"page_shift": 14, "memory": (), "resources": ()}, "machine.page_shift"),
    "a block of 2 TiB": ({"memory_block_bytes": 1 << 41}, "machine.memory_block_bytes"),
}


@pytest.mark.parametrize("case", GEOMETRY)
def test_geometry_that_the_architecture_never_had(replay, tmp_path: Path, case: str) -> None:
    """Sound in itself, but not x86_64: refused by run, info and validate, the field named."""
    changes, part = GEOMETRY[case]
    assert part in refused(replay, write(tmp_path / "a.arrow", lookup(1), machine=machine(**changes)))


def test_files_that_are_not_there(replay, tmp_path: Path) -> None:
    none, file, folder = tmp_path / "none.arrow", "No such file or directory", "a folder without *.arrow files"
    for command, path, part in (
        ("run", none, file),
        ("info", none, file),
        ("info", tmp_path, "no regular file"),
        ("run", tmp_path, folder),
        ("run", tmp_path / "*.arrow", "a pattern that no file fits"),
    ):
        answer = replay(command, path)
        assert (answer.code, answer.out) == (3, "")
        assert part in answer.error
    for path, part in ((none, file), (tmp_path, "no regular file")):
        answer = replay("info", path)
        assert "; needed a trace file" in answer.error
        assert part in replay("validate", path).out
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in replay("run", tmp_path / "pipe").error


def test_a_good_and_a_bad_trace(replay, trace: Path, tmp_path: Path) -> None:
    """The good one is still reported, in whichever order; the bad one makes the exit code 3, also when verdicts differ."""
    bad = tmp_path / "bad.arrow"
    bad.write_bytes(b"no trace")
    for order in ((trace, bad), (bad, trace)):
        plain = replay("run", *order)
        assert plain.code == 3
        assert "compared calls agree" in plain.out
        (line,) = plain.err.splitlines()
        assert str(bad) in line
        assert ": found " in line
        answer = replay("run", *order, "--json")
        assert (answer.code, answer.json["status"]) == (3, "error")
        assert [r["trace"] for r in answer.json["data"]["runs"]] == [str(trace)]
        (diagnostic,) = answer.json["diagnostics"]
        assert (diagnostic["level"], diagnostic["where"]) == ("error", str(bad))
        validated = replay("validate", *order, "--json").json
        assert {t["trace"]: t["sound"] for t in validated["data"]["traces"]} == {str(trace): True, str(bad): False}
        lines = replay("validate", *order).out.splitlines()
        assert sum("not sound: " in text for text in lines) == 1
        assert sum(text.startswith(f"{trace}: sound: ") for text in lines) == 1
    assert replay("run", WALK, bad, "-p", "v5.11").code == 3
    several = replay("run", bad, bad)
    assert (several.code, several.out) == (3, "")


@pytest.mark.parametrize("case", ["missing", "empty", "file", "no meta", "no trace"])
def test_folders_that_are_no_recordings(replay, tmp_path: Path, case: str) -> None:
    """Exit code 3, one line with what was found and needed, no output file."""
    folder = tmp_path / "lab"
    if case == "empty":
        folder.mkdir()
    elif case == "file":
        folder.write_text("no folder")
    elif case != "missing":
        Lab(folder).save()
        (folder / {"no meta": "meta.json", "no trace": "trace.txt"}[case]).unlink()
    before = sorted(tmp_path.rglob("*"))
    answer = replay("import", "recording", folder, "-o", tmp_path / "out.arrow")
    assert (answer.code, answer.out) == (3, "")
    assert ": found " in answer.error
    assert "; needed " in answer.error
    answer = replay("import", "recording", folder, "-o", tmp_path / "out.arrow", "--json")
    assert (answer.code, answer.json["command"], answer.json["status"]) == (3, "import", "error")
    assert sorted(tmp_path.rglob("*")) == before


# Outcomes -------------------------------------------------------------------------------------------------------------


def test_outcomes_file(replay, tmp_path: Path) -> None:
    """Row-aligned with the trace, its metadata names trace, kernel and checks, its content is that of the replay."""
    import json

    import numpy as np

    from replay.engine.replay import replay_trace
    from replay.kernel.profiles import profile
    from replay.kernel.registry import CHECK_NAMES
    from replay.trace.reader import TraceFile

    output = tmp_path / "out.arrow"
    answer = replay("run", WALK, "-p", "v5.11", "-o", output, "--json")
    assert (answer.code, os.listdir(tmp_path)) == (1, ["out.arrow"])
    table = pa.ipc.open_file(pa.memory_map(str(output))).read_all()
    assert table.num_rows == answer.json["data"]["runs"][0]["events"]
    types = {field.name: str(field.type) for field in table.schema}
    assert {name: types[name] for name in OUTCOME_COLUMNS} == OUTCOME_COLUMNS
    assert sum(column.null_count for column in table.columns) == 0
    metadata = {key.decode(): json.loads(value) for key, value in table.schema.metadata.items()}
    assert metadata["replay.checks"] == list(CHECK_NAMES)
    assert metadata["replay.trace"] == answer.json["data"]["runs"][0]["digest"]
    assert metadata["replay.profile"] == "v5.11"
    assert metadata["replay.outcomes"] == {"major": 1, "minor": 0}
    batches = []
    with TraceFile.open(WALK) as opened:
        replay_trace(opened, profile("v5.11"), sink=batches.append)
    assert set(batches[0]) == set(types)
    for name in types:
        expected = np.concatenate([batch[name] for batch in batches])
        np.testing.assert_array_equal(table.column(name).to_numpy(), expected, name)


def test_outcomes_do_not_depend_on_the_engine(replay, tmp_path: Path) -> None:
    """Transitions, phases, runs: both engines write the same file content, checks by the same names."""
    path = write(
        tmp_path / "a.arrow",
        lookup(0x13FF00, nr_pages=0x200),
        {"kind": EventKind.ADD_MEMORY, "pfn": 0x140000, "nr_pages": 0x8000, "label": 0},
        {"kind": EventKind.ONLINE_PAGES, "pfn": 0x140100, "nr_pages": 0x7F00},
        {"kind": EventKind.ONLINE_PAGES, "pfn": 0x140000, "nr_pages": 0x8000, "env": -4, "recorded_ret": -4},
        {"kind": EventKind.ONLINE_PAGES, "pfn": 0x140000, "nr_pages": 0x8000},
        {"kind": EventKind.REMOVE_MEMORY, "pfn": 0x140000, "nr_pages": 0x8000, "recorded_ret": -16},
        {"kind": EventKind.WALK_SYSTEM_RAM_RANGE, "pfn": 0x900000, "nr_pages": 1},
        {"kind": EventKind.ADD_MEMORY, "pfn": 0x400000000, "nr_pages": 0x8000, "label": 0},
        {"kind": EventKind.MEMREMAP_PAGES, "pgmap": 1, "pfn": 0x3FFFF8000, "nr_pages": 0x10000},
        lookup(0x13FF00, nr_pages=0x200),
        strings=["System RAM"],
    )
    for kernel in ("v4.19", "v5.4", "v5.10", "v5.12", "v6.1", "v7.2"):
        tables, runs = [], []
        for engine in ("vector", "scalar"):
            answer = replay("run", path, "-p", kernel, "--engine", engine, "-o", tmp_path / engine, "--json")
            tables.append(pa.ipc.open_file(pa.memory_map(str(tmp_path / engine))).read_all())
            runs.append(answer.json["data"]["runs"][0])
        assert tables[0].equals(tables[1]), kernel
        for part in ("outcomes", "checks", "agreement"):
            assert runs[0][part] == runs[1][part], (kernel, part)


def test_an_existing_outcomes_file_is_replaced_only_by_a_complete_one(replay, trace: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.arrow"
    assert replay("run", trace, "-o", output).code == 0
    before = output.read_bytes()
    bad = write(tmp_path / "bad.arrow", lookup(1), lookup(2))
    data = bad.read_bytes()
    at = data.index(pa.array([1, 2], pa.uint64()).buffers()[1].to_pybytes())
    bad.write_bytes(data[:at] + b"\x03" + data[at + 1 :])
    assert replay("run", bad, "-o", output).code == 3
    assert output.read_bytes() == before
    assert replay("run", trace, "-p", "v5.1", "-o", output).code == 0
    assert output.read_bytes() != before
    assert sorted(os.listdir(tmp_path)) == ["bad.arrow", "good.arrow", "out.arrow"]
