"""Input in blocks of whole lines, whatever its size, compression or end."""

from __future__ import annotations

import gzip
import io
import lzma

import pytest

from replay.errors import InputError
from replay.sources.importers import streaming
from replay.sources.importers.rejects import Rejects
from replay.sources.importers.streaming import blocks, blocks_of, look_ahead, open_input, source_name

TEXT = b"".join(b"line %d\n" % i for i in range(1000))


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_blocks_are_whole_lines_and_know_their_number(size: int) -> None:
    got = list(blocks_of(io.BytesIO(TEXT), Rejects("x"), size))
    assert b"".join(block.data for block in got) == TEXT
    for block in got:
        assert block.data.endswith(b"\n")
        assert block.data.split(b"\n")[0] == b"line %d" % (block.line - 1)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress], ids=["plain", "gzip", "xz"])
def test_compression_is_seen_by_content(tmp_path, pack) -> None:
    (tmp_path / "t").write_bytes(pack(TEXT))
    assert b"".join(block.data for block in blocks(tmp_path / "t", Rejects("x"), 64)) == TEXT


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_damaged_compression(tmp_path, pack) -> None:
    whole = pack(TEXT * 50)
    for damaged in (whole[: len(whole) // 2], whole[:40] + b"\x00\xff" * 10 + whole[60:]):
        (tmp_path / "t").write_bytes(damaged)
        with pytest.raises(InputError, match="damaged compression"):
            list(blocks(tmp_path / "t", Rejects("x")))


def test_a_last_line_without_end_is_rejected() -> None:
    table = Rejects("x")
    got = list(blocks_of(io.BytesIO(b"one\ntwo pfn=0x1"), table))
    assert [block.data for block in got] == [b"one\n"]
    assert table.summary() == ["1 rejected (the last line has no end), the first at line 2: 'two pfn=0x1'"]


@pytest.mark.parametrize("size", [10, 1 << 20])
def test_a_line_that_never_ends_takes_no_memory(monkeypatch, size: int) -> None:
    monkeypatch.setattr(streaming, "MAX_LINE", 100)
    table = Rejects("x")
    got = list(blocks_of(io.BytesIO(b"one\n" + b"x" * 5000 + b"\nthree\n" + b"y" * 5000), table, size))
    if size == 10:  # with larger blocks the first is whole
        assert b"".join(block.data for block in got) == b"one\nthree\n"
        assert [block.line for block in got] == [1, 3]
    assert table.count == (2 if size == 10 else 1)


def test_standard_input(monkeypatch) -> None:
    class Stdin:
        buffer = io.BufferedReader(io.BytesIO(gzip.compress(TEXT)))

    monkeypatch.setattr("sys.stdin", Stdin)
    assert b"".join(block.data for block in blocks("-", Rejects("x"))) == TEXT
    assert source_name("-") == "standard input"


@pytest.mark.parametrize("size", [0, 3, 500, 1 << 20])
def test_looking_ahead_takes_nothing_away(size: int) -> None:
    begin, file = look_ahead(io.BytesIO(TEXT), size)
    assert begin == TEXT[:size]
    assert file.readline() == b"line 0\n"
    assert file.read(5) == b"line "
    assert b"line 0\nline " + file.read() == TEXT


def test_files_that_are_not_there(tmp_path) -> None:
    with pytest.raises(InputError, match="no way to read it"), open_input(tmp_path / "missing"):
        pass
    with pytest.raises(InputError, match="no way to read it"), open_input(tmp_path):
        pass
