"""``replay convert``: there and back, and what is said about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trace.build import lookup, write


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return write(tmp_path / "a.arrow", lookup(0x100, nr_pages=8, recorded_ret=1), lookup(0x80000))


def test_there_and_back(replay, trace: Path, tmp_path: Path) -> None:
    out = replay("convert", trace, tmp_path / "a.parquet", "--compress", "zstd")
    back = replay("convert", tmp_path / "a.parquet", tmp_path / "b.arrow")
    assert (out.code, back.code) == (0, 0)
    digest = out.out.splitlines()[1]
    assert digest.startswith("sha256:")
    assert back.out.splitlines()[1] == digest
    assert "2 records of 2 rows" in out.out
    assert "lost" not in out.out


def test_views_say_what_they_lose(replay, trace: Path, tmp_path: Path) -> None:
    answer = replay("convert", trace, tmp_path / "a.oracleGeneral")
    assert "9 records of 2 rows" in answer.out
    assert "lost: everything but lookups" in answer.out
    data = replay("convert", trace, tmp_path / "a.json", "-p", "v6.1", "--json").json["data"]
    assert (data["from"], data["to"], data["rows"]) == ("arrow", "perfetto", 2)
    assert data["loses"]


def test_edited_tables(replay, trace: Path, tmp_path: Path) -> None:
    replay("convert", trace, tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_text()
    (tmp_path / "a.csv").write_text(text.replace(",8,", ",7,"))
    refused = replay("convert", tmp_path / "a.csv", tmp_path / "b.arrow")
    assert refused.code == 3
    assert "--take-changes" in refused.error
    taken = replay("convert", tmp_path / "a.csv", tmp_path / "b.arrow", "--take-changes")
    assert taken.code == 0
    assert "was changed since it was written" in taken.err
    assert replay("validate", tmp_path / "b.arrow").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("a.txt",), 2, "does not say which format"),
        (("a.txt", "--to", "parquit"), 2, "did you mean parquet"),
        (("a.csv", "--compress", "lz4"), 2, "--compress is for Arrow and Parquet"),
        (("a.json", "--profile", "v1"), 2, "unknown profile"),
    ],
)
def test_refused(replay, trace: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    name, *options = arguments
    answer = replay("convert", trace, tmp_path / name, *options)
    assert answer.code == code
    assert message in answer.error


def test_no_trace(replay, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n")
    assert replay("convert", tmp_path / "x.csv", tmp_path / "b.arrow").code == 3
    assert replay("convert", tmp_path / "none.arrow", tmp_path / "b.arrow").code == 3
