"""Rows as Parquet, CSV and JSON lines: written batch by batch, and read again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from replay.errors import TraceError
from replay.trace.layout import MAX_BATCH_ROWS, MAX_METADATA_BYTES, MAX_ROWS

from .formats import PACKED
from .header import KEYS, Header, arrow_type, row_schema
from .output import complete_file

__all__ = ("READERS", "WRITERS", "Opened", "header_file")

_T = TypeVar("_T")
_PREFIX = "replay."
_BLOCK = 1 << 24  # bytes of text that are parsed at once
_PARQUET_SLACK = 1 << 20
_BYTES_PER_VALUE = 16  # of a column of integers, encoded as badly as can be


@dataclass(frozen=True)
class Opened:
    """A file that was opened for reading.

    Attributes:
        header: of the trace.
        batches: its rows.
    """

    header: Header
    batches: Iterator[pa.RecordBatch]


def header_file(path: str) -> str:
    """Return the name of the file beside a CSV file that holds the header."""
    return f"{path}.header.json"


def write_parquet(
    path: str, header: Header, batches: Callable[[pa.Schema], Iterator[pa.RecordBatch]], codec: str
) -> None:
    """Write Parquet; ``codec`` is none, lz4 or zstd."""
    schema = row_schema(header.columns, {_PREFIX + key: value for key, value in header.encoded().items()})
    with complete_file(path) as temporary, pq.ParquetWriter(temporary, schema, compression=codec) as writer:
        for batch in batches(schema):
            writer.write_batch(batch)


def write_csv(path: str, header: Header, batches: Callable[[pa.Schema], Iterator[pa.RecordBatch]], codec: str) -> None:
    """Write CSV: a line of names, then numbers; an empty field is a value that is not given."""
    del codec  # the name says whether the text is packed
    schema = row_schema(header.columns)
    with complete_file(path) as temporary:
        with _text_output(temporary, path) as file, pyarrow.csv.CSVWriter(file, schema) as writer:
            for batch in batches(schema):
                writer.write_batch(batch)
        with complete_file(header_file(path)) as beside, open(beside, "wb") as file:
            file.write(_joined(header) + b"\n")


def write_jsonl(
    path: str, header: Header, batches: Callable[[pa.Schema], Iterator[pa.RecordBatch]], codec: str
) -> None:
    """Write JSON lines: the header, then one object per row, in which null is a value that is not given."""
    import polars as pl  # noqa: PLC0415 - takes as long to load as all the rest, and only this needs it

    del codec  # the name says whether the text is packed
    with complete_file(path) as temporary, _text_output(temporary, path) as file:
        file.write(b'{"replay":' + _joined(header) + b"}\n")
        for batch in batches(row_schema(header.columns)):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            file.write(frame.write_ndjson().encode())


def read_parquet(path: str) -> Opened:
    """Open Parquet that ``write_parquet`` wrote.

    Raises:
        TraceError: it is damaged, or has no header of a trace.
    """
    file = _arrow(lambda: pq.ParquetFile(path, thrift_string_size_limit=MAX_METADATA_BYTES), path)
    raw = {key.decode("utf-8", "replace"): value for key, value in (file.schema_arrow.metadata or {}).items()}
    header = Header.decoded({k.removeprefix(_PREFIX): v for k, v in raw.items() if k.startswith(_PREFIX)}, path)
    needed = row_schema(header.columns)
    if not file.schema_arrow.equals(needed, check_metadata=False):
        found = " ".join(str(file.schema_arrow.remove_metadata()).split())[:160]
        raise TraceError(path, f"the columns {found}", "those of its header, each with its type")
    _check_sizes(file.metadata, path)
    return Opened(header, _guarded(file.iter_batches(batch_size=1 << 20), path))


def _check_sizes(metadata: pq.FileMetaData, path: str) -> None:
    """Refuse claims of sizes that the rows cannot have, before anything of that size is asked for."""
    if metadata.num_rows > MAX_ROWS:
        raise TraceError(path, f"{metadata.num_rows} rows", f"at most {MAX_ROWS}")
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        most = group.num_rows * group.num_columns * _BYTES_PER_VALUE + _PARQUET_SLACK
        if group.num_rows > MAX_BATCH_ROWS or group.total_byte_size > most:
            found = f"row group {number} of {group.num_rows} rows and {group.total_byte_size} bytes"
            raise TraceError(path, found, f"at most {MAX_BATCH_ROWS} rows of {group.num_columns} integers")


def read_csv(path: str) -> Opened:
    """Open CSV that ``write_csv`` wrote, with its header beside it.

    Raises:
        TraceError: it is damaged, or the header is not there.
    """
    beside = header_file(path)
    if not os.path.isfile(beside):
        raise TraceError(
            beside, "no such file", "the header that replay convert writes beside CSV", "keep both files together"
        )
    with open(beside, "rb") as file:
        header = _parsed(file.read(MAX_METADATA_BYTES), beside)
    options = pyarrow.csv.ConvertOptions(
        column_types={name: arrow_type(name) for name in header.columns}, null_values=[""], true_values=[],
        false_values=[], auto_dict_encode=False,
    )  # fmt: skip
    reading = pyarrow.csv.ReadOptions(block_size=_BLOCK, use_threads=False)
    stream = _text_input(path)
    reader = _arrow(lambda: pyarrow.csv.open_csv(stream, reading, convert_options=options), path)
    names = _arrow(lambda: tuple(reader.schema.names), path)  # decoded here: they may be no text
    if names != header.columns:
        raise TraceError(path, f"the columns {', '.join(names)[:160]}", f"{', '.join(header.columns)} as in {beside}")
    return Opened(header, _guarded(reader, path))


def read_jsonl(path: str) -> Opened:
    """Open JSON lines that ``write_jsonl`` wrote.

    Raises:
        TraceError: it is damaged, or its first line is no header.
    """
    stream = _text_input(path)
    lines = _arrow(lambda: _first_line(stream), path)
    try:
        value = json.loads(lines[0])
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("replay"), dict):
        raise TraceError(f"{path}:1", repr(lines[0][:80]), "the header that replay convert writes, an object 'replay'")
    header = _parsed(json.dumps(value["replay"]).encode(), f"{path}:1")
    parse = pyarrow.json.ParseOptions(
        explicit_schema=row_schema(header.columns), unexpected_field_behavior="error"
    )  # fmt: skip
    if not lines[1]:
        return Opened(header, iter(()))
    reading = pyarrow.json.ReadOptions(block_size=_BLOCK, use_threads=False)
    rest = pa.PythonFile(_Rest(lines[1], stream), mode="r")
    reader = _arrow(lambda: pyarrow.json.open_json(rest, reading, parse), path)
    return Opened(header, _guarded(reader, path))


class _Rest:
    """A stream with bytes that were read from it already put back in front."""

    closed = False

    def __init__(self, start: bytes, stream: Any) -> None:  # noqa: ANN401 - an Arrow stream
        self._start, self._stream = start, stream

    def read(self, size: int = -1) -> bytes:
        """Return at most so many bytes."""
        if self._start:
            part = self._start if size < 0 else self._start[:size]
            self._start = self._start[len(part) :]
            return part
        return bytes(self._stream.read(size if size >= 0 else None))

    def close(self) -> None:
        """Close the stream."""
        self.closed = True
        self._stream.close()


def _first_line(stream: Any) -> tuple[bytes, bytes]:  # noqa: ANN401 - an Arrow stream
    """Return the first line of a stream, and what was read after it."""
    start = b""
    while b"\n" not in start and len(start) <= MAX_METADATA_BYTES:
        piece = stream.read(1 << 20)
        if not piece:
            break
        start += piece
    line, _, rest = start.partition(b"\n")
    return line, rest or bytes(stream.read(1 << 16))


def _joined(header: Header) -> bytes:
    return b"{" + b",".join(json.dumps(key).encode() + b":" + value for key, value in header.encoded().items()) + b"}"


def _parsed(data: bytes, where: str) -> Header:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TraceError(where, f"text that is not JSON ({str(error)[:80]})", "the header of a trace") from None
    if not isinstance(value, dict):
        raise TraceError(where, f"JSON {value!r:.80}", f"an object with {', '.join(KEYS)}")
    return Header.decoded({key: json.dumps(item).encode() for key, item in value.items() if key in KEYS}, where)


def _codec(path: str) -> str | None:
    return next((codec for end, codec in PACKED.items() if path.endswith(end)), None)


@contextmanager
def _text_output(temporary: str, path: str) -> Iterator[Any]:
    with pa.OSFile(temporary, "wb") as file:
        codec = _codec(path)
        if codec is None:
            yield file
        else:
            with pa.CompressedOutputStream(file, codec) as packed:
                yield packed


def _text_input(path: str) -> Any:  # noqa: ANN401 - an Arrow stream
    return _arrow(lambda: pa.input_stream(path, compression=_codec(path)), path)


def _guarded(batches: Any, path: str) -> Iterator[pa.RecordBatch]:  # noqa: ANN401 - a reader of Arrow
    iterator = iter(batches)
    while (batch := _arrow(lambda: next(iterator, None), path)) is not None:
        yield batch


def _arrow(call: Callable[[], _T], where: str) -> _T:
    """Call into Arrow, which raises many things for a damaged file."""
    try:
        return call()
    except (pa.lib.ArrowException, ValueError, TypeError, LookupError, ArithmeticError, OSError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise TraceError(where, f"content that cannot be read ({reason})", "what replay convert wrote") from None


WRITERS = {"parquet": write_parquet, "csv": write_csv, "jsonl": write_jsonl}
READERS = {"parquet": read_parquet, "csv": read_csv, "jsonl": read_jsonl}
