"""``replay run`` on many traces, and on one in shards."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.trace.build import lookup, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three traces, the second one damaged, and the outcomes of one."""
    for number in range(3):
        write(tmp_path / f"{number}.arrow", *(lookup(pfn, recorded_ret=1) for pfn in (0x100, 0x100000, 0x138000)))
    content = (tmp_path / "1.arrow").read_bytes()
    (tmp_path / "1.arrow").write_bytes(content[: len(content) // 2])
    return tmp_path


def test_a_folder_on_two_workers(replay, folder: Path) -> None:
    """Same answer, diagnostics and exit code as one after the other."""
    replay("run", folder / "0.arrow", "-o", folder / "x.arrow")
    answers = [replay("run", folder, "--json", "--workers", number) for number in (1, 2)]
    documents = []
    for answer in answers:
        assert answer.code == 3
        document = answer.json
        assert document["status"] == "error"
        for run in document["data"]["runs"]:
            del run["seconds"]
        documents.append(document)
    assert documents[0] == documents[1]
    assert [Path(run["trace"]).name for run in documents[0]["data"]["runs"]] == ["0.arrow", "2.arrow"]
    bad, passed_over = documents[0]["diagnostics"]
    assert (bad["level"], bad["where"]) == ("error", str(folder / "1.arrow"))
    assert passed_over == {
        "level": "warning",
        "message": "passed over: outcomes of a replay, not a trace",
        "where": str(folder / "x.arrow"),
    }


def test_a_pattern(replay, folder: Path) -> None:
    plain = replay("run", folder / "[02].arrow")
    assert (plain.code, plain.err) == (0, "")
    assert "6 of 6 compared calls agree (100 %)" in plain.out


def test_shards(replay, folder: Path) -> None:
    """The same answer, and a refusal that names what is in the way."""
    whole, parts = (
        replay("run", folder / "0.arrow", "-p", "v6.1", "-p", "v5.11", "--json", "--shards", number).json
        for number in (1, 3)
    )
    for document in (whole, parts):
        for run in document["data"]["runs"]:
            del run["seconds"]
    assert parts == whole
    write(folder / "run.arrow", lookup(0x100, nr_pages=0x40000), lookup(0x38000))
    answer = replay("run", folder / "run.arrow", "--shards", 2)
    assert answer.code == 2
    assert "the run of row 0 crosses it, from pfn 0x100 to 0x400ff" in answer.error


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--workers", "some"), "needed a number, or auto"),
        (("--workers", "-1"), "needed a number, or auto"),
        (("--workers", "2", "--scheduler", "tcp://127.0.0.1:1"), "give one of them"),
        (("--workers", "2", "--as-dmesg"), "leave out --workers"),
        (("--shards", "2", "--engine", "scalar"), "cuts a single trace"),
        (("--shards", "2", "-o", "out.arrow"), "cuts a single trace"),
        (("--shards", "2", "--as-trace"), "cuts a single trace"),
        (("-o", "out.arrow", "--scheduler", "tcp://127.0.0.1:1"), "its own machine"),
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense(replay, folder: Path, options: tuple[str, ...], part: str) -> None:
    answer = replay("run", folder / "0.arrow", *options)
    assert (answer.code, answer.out) == (2, "")
    assert part in answer.error


def test_shards_of_several_traces(replay, folder: Path) -> None:
    shutil.copy(folder / "0.arrow", folder / "3.arrow")
    assert "cuts a single trace" in replay("run", folder / "0.arrow", folder / "3.arrow", "--shards", 2).error
