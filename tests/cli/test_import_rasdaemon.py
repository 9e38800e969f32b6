"""``replay import rasdaemon``: what it says, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sources.importers.rasdaemon.build import database, failures

AT = "2025-03-30 01:59:00 +0100"


@pytest.fixture
def errors(tmp_path: Path) -> Path:
    return failures(
        tmp_path / "ras.db",
        (AT, "0x8001", "unknown page", "Failed"),
        (AT, "0x8002", "already truncated LRU page", "Recovered"),
        (AT, "8003", "huge page", "Recovered"),
    )


def test_answer(replay, errors: Path, tmp_path: Path) -> None:
    """The table says what each text became; warnings say what is not certain; the rejects are written."""
    answer = replay(
        "import", "rasdaemon", errors, "--kernel", "5.10.0-32-amd64", "--rasdaemon-table", "2024",
        "-o", tmp_path / "t.arrow", "--rejects", tmp_path / "r.csv", "--decoded", tmp_path / "d.csv",
    )  # fmt: skip
    assert answer.code == 0
    assert "2 rows: 2 of memory_failure_event" in answer.out
    assert "layout unsplit-thp (kernel 5.10), rasdaemon's table of 2024" in answer.out
    assert "dirty LRU page" in answer.out
    assert "not decided: " in answer.out
    assert "page type of 1 rows is not decided" in answer.err
    assert "it is put together" in answer.err
    assert "1 rejected (no pfn in hexadecimal)" in answer.err
    assert "memory_failure_event id 3" in (tmp_path / "r.csv").read_text()
    assert '"dirty LRU page"' in (tmp_path / "d.csv").read_text()
    info = replay("info", tmp_path / "t.arrow")
    assert info.code == 0
    assert "memory_failure" in info.out


def test_json(replay, errors: Path, tmp_path: Path) -> None:
    answer = replay("import", "rasdaemon", errors, "--layout", "unsplit-thp", "-o", tmp_path / "t.arrow", "--json")
    data = answer.json["data"]
    assert (data["rows"], data["layout"], data["kernel"], data["undecided"]) == (2, "unsplit-thp", "5.10", 1)
    (unknown,) = [entry for entry in data["page_types"] if entry["text"] == "unknown page"]
    assert unknown["page_type"] is None
    assert {"number": 20, "page_type": "dax page"} in unknown["candidates"]
    assert data["rejected"] == {"no pfn in hexadecimal": 1}
    assert answer.err == ""


def test_the_trace_replays(replay, tmp_path: Path) -> None:
    """What was not stored is not decided; it is neither an error nor agreement."""
    path = database(tmp_path / "ras.db")
    assert replay("import", "rasdaemon", path, "--kernel", "6.1.192", "-o", tmp_path / "t.arrow").code == 0
    answer = replay("run", tmp_path / "t.arrow", "--json")
    assert answer.code == 0, answer.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--kernel", "5.10", "--strict"), 3, "memory_failure_event id 3"),
        ((), 2, "rasdaemon does not store the kernel"),
        (("--kernel", "5.10", "--rasdaemon-table", "2019"), 2, "unknown rasdaemon table '2019'"),
        (("--kernel", "5.10", "--compress", "gzip"), 2, "unknown compression 'gzip'"),
        (("--kernel", "5.10", "--machine", "none.arrow"), 3, "none.arrow"),
    ],
)
def test_refused(replay, errors: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    answer = replay("import", "rasdaemon", errors, "-o", tmp_path / "t.arrow", *arguments)
    assert answer.code == code
    assert message in answer.error
    assert not (tmp_path / "t.arrow").exists()
