"""Input in blocks of whole lines, whatever its size, compression or end."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
from functools import partial

import pyarrow as pa
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


def arrow(codec: str, data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as file:
        file.write(data)
    return sink.getvalue().to_pybytes()


zstd, lz4 = partial(arrow, "zstd"), partial(arrow, "lz4")
PACKED = [
    pytest.param(pack, id=name)
    for name, pack in {
        "gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress, "zstd": zstd, "lz4": lz4,
    }.items()
]  # fmt: skip


@pytest.mark.parametrize("pack", [bytes, *PACKED])
def test_compression_is_seen_by_content(tmp_path, pack) -> None:
    (tmp_path / "t").write_bytes(pack(TEXT))
    assert b"".join(block.data for block in blocks(tmp_path / "t", Rejects("x"), 64)) == TEXT


@pytest.mark.parametrize("pack", PACKED)
def test_damaged_compression(tmp_path, pack) -> None:
    chance = random.Random(1)
    whole = pack(b"".join(b"%d\n" % chance.getrandbits(64) for _ in range(20000)))
    half = len(whole) // 2
    # Not in the middle: zstd has no checksum unless its program wrote it, and there any bits are some text.
    for damaged in (whole[:half], whole[:20] + b"\x00\xff" * 200 + whole[420:]):
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


@pytest.mark.parametrize(
    ("begin", "hint"),
    [(b"LPKSHHRH\x00\x01", "journalctl --file"), (b"PERFILE2\x68", "perf script"), (b"\x17\x08\x44tracing6", "trace-cmd"),
     (b"SQLite format 3\x00", "rasdaemon"), (b"ARROW1\x00\x00", "replay info"), (b"PK\x03\x04\x14", "unpack")],
)  # fmt: skip
def test_files_of_the_same_tools_that_are_no_text(tmp_path, begin: bytes, hint: str) -> None:
    """They would be a log without a line that is used."""
    (tmp_path / "t").write_bytes(begin + bytes(100))
    with pytest.raises(InputError, match=hint), open_input(tmp_path / "t"):
        pass


def test_xz_in_streams_with_padding_and_in_bounded_memory(tmp_path, monkeypatch) -> None:
    """A header that asks for gigabytes gets none."""
    (tmp_path / "t").write_bytes(lzma.compress(TEXT) + bytes(8) + lzma.compress(TEXT[:70]) + bytes(4))
    assert b"".join(block.data for block in blocks(tmp_path / "t", Rejects("x"), 64)) == TEXT + TEXT[:70]
    large = [{"id": lzma.FILTER_LZMA2, "dict_size": 3 << 28}]
    (tmp_path / "t").write_bytes(lzma.compress(TEXT, filters=large))
    with pytest.raises(InputError, match=r"damaged compression.*[mM]emory"):
        list(blocks(tmp_path / "t", Rejects("x")))
