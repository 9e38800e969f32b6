"""The bytes of an Arrow IPC file, looked at before Arrow does.

Arrow believes what a file says about its own sizes: a file of a few bytes can ask it for any amount of memory, and
a batch can be listed a million times. Everything that decides over an allocation or a read is therefore compared with
the size of the file and with the limits here first. The numbers of fields are those of Arrow's File.fbs, Message.fbs and
Schema.fbs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from replay.errors import TraceError
from replay.trace.batch import Array

__all__ = (
    "MAX_BATCHES",
    "MAX_BATCH_ROWS",
    "MAX_METADATA_BYTES",
    "MAX_ROWS",
    "BatchLayout",
    "Layout",
    "batch_layouts",
    "read_layout",
)

MAX_ROWS = 1 << 36
MAX_BATCHES = 1 << 16
MAX_BATCH_ROWS = 1 << 24
MAX_METADATA_BYTES = 1 << 26  # schema message, and footer

_MAGIC = b"ARROW1"
_HEAD = _MAGIC + b"\0\0"
_TAIL_BYTES = 4 + len(_MAGIC)  # footer length, magic
_CONTINUATION = 0xFFFFFFFF
_PREFIX_BYTES = 8  # continuation marker, metadata length
_V5 = 4
_SCHEMA, _RECORD_BATCH = 1, 3  # MessageHeader
_MAX_BATCH_METADATA_BYTES = 1 << 16
_CODECS = {0: "lz4", 1: "zstd"}
_STORED_RAW = -1  # in place of the decompressed length: this buffer is not compressed

_BLOCK = np.dtype(
    {"names": ["offset", "metadata", "body"], "formats": ["<i8", "<i4", "<i8"], "offsets": [0, 8, 16], "itemsize": 24}
)
_PAIR = np.dtype([("first", "<i8"), ("second", "<i8")])  # FieldNode (length, null_count), Buffer (offset, length)


@dataclass(frozen=True)
class Layout:
    """Where the parts of a file are.

    Attributes:
        schema: offset and end of the schema message.
        footer: offset and end of the footer.
        blocks: offset, metadata bytes and body bytes of every record batch.
    """

    schema: tuple[int, int]
    footer: tuple[int, int]
    blocks: Array


@dataclass(frozen=True)
class BatchLayout:
    """What a record batch says about itself.

    Attributes:
        rows: number of rows.
        codec: compression, or None.
    """

    rows: int
    codec: str | None


class _DamageError(Exception):
    """What was found and what was needed, on the way to the TraceError that knows the file."""

    def __init__(self, found: str, needed: str) -> None:
        super().__init__(found)
        self.found, self.needed = found, needed


class _Flat:
    """A flatbuffer. ``struct`` checks the end of every read; the start is checked here (it would count from the end)."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    def read(self, form: str, position: int) -> int:
        if position < 0:
            raise struct.error("a negative offset")
        value: int = struct.unpack_from(form, self._data, position)[0]
        return value

    def root(self) -> int:
        return self.read("<I", 0)

    def field(self, table: int, number: int) -> int:
        """Return the position of a table's field, or 0 when it is left out."""
        vtable = table - self.read("<i", table)
        if 4 + 2 * number + 2 > self.read("<H", vtable):
            return 0
        offset = self.read("<H", vtable + 4 + 2 * number)
        return table + offset if offset else 0

    def scalar(self, table: int, number: int, form: str, default: int = 0) -> int:
        position = self.field(table, number)
        return self.read(form, position) if position else default

    def table(self, table: int, number: int) -> int:
        """Return the position of a table or vector that a field points to, or 0."""
        position = self.field(table, number)
        return position + self.read("<I", position) if position else 0

    def structs(self, table: int, number: int, dtype: np.dtype[np.void]) -> Array:
        position = self.table(table, number)
        if not position:
            return np.empty(0, dtype)
        count = self.read("<I", position)
        if count * dtype.itemsize > len(self._data) - position - 4:
            raise struct.error("a list that is longer than what holds it")
        return np.frombuffer(self._data, dtype, count, position + 4)


def read_layout(data: memoryview, where: str) -> Layout:
    """Find the schema message, the footer and the record batches of a file.

    Args:
        data: the whole file.
        where: the file, for errors.

    Raises:
        TraceError: this is not an Arrow IPC file, it is truncated, or its parts do not fit into it.
    """
    with _damage(where):
        size = len(data)
        _need(size >= len(_HEAD) + _TAIL_BYTES, f"a file of {size} bytes", "an Arrow IPC file")
        head, tail = bytes(data[: len(_HEAD)]), bytes(data[-len(_MAGIC) :])
        _need(head == _HEAD, f"the first bytes {head!r}", f"an Arrow IPC file, which begins with {_HEAD!r}")
        _need(tail == _MAGIC, f"the last bytes {tail!r}", f"{_MAGIC!r}: the file is cut off or not an Arrow IPC file")
        end = size - _TAIL_BYTES
        length = _Flat(data).read("<i", end)
        room = min(MAX_METADATA_BYTES, end - len(_HEAD))
        _need(0 < length <= room, f"a footer of {length} bytes", f"1 to {room} bytes")
        footer = (end - length, end)
        schema = (len(_HEAD), len(_HEAD) + _PREFIX_BYTES + _schema_length(data, footer[0]))
        return Layout(schema, footer, _blocks(_Flat(data[slice(*footer)]), schema[1], footer[0]))


def batch_layouts(data: memoryview, layout: Layout, widths: Sequence[int], nullable: Sequence[bool], where: str) \
        -> list[BatchLayout]:  # fmt: skip
    """Check what every record batch says about its buffers.

    Args:
        data: the whole file.
        layout: of that file.
        widths: bytes per value of every column in the file's order.
        nullable: whether the column may have nulls.
        where: the file, for errors.

    Raises:
        TraceError: a batch whose sizes contradict each other, the file or the limits.
    """
    needed = np.array(widths, np.int64)
    required = ~np.array(nullable, np.bool_)
    result = []
    for number, (offset, metadata, body) in enumerate(layout.blocks.tolist()):
        with _damage(f"{where}: record batch {number}"):
            end = offset + metadata + body
            result.append(_batch(data[offset:end], metadata, needed, required))
    return result


def _schema_length(data: memoryview, limit: int) -> int:
    flat = _Flat(data[:limit])
    start = len(_HEAD)
    _need(flat.read("<I", start) == _CONTINUATION, "no schema message", "one behind the first 8 bytes")
    length = flat.read("<i", start + 4)
    room = min(MAX_METADATA_BYTES, limit - start - _PREFIX_BYTES)
    _need(0 < length <= room, f"a schema message of {length} bytes", f"1 to {room} bytes")
    message = _Flat(data[start + _PREFIX_BYTES : start + _PREFIX_BYTES + length])
    table = message.root()
    kind = message.scalar(table, 1, "<B")
    _need(kind == _SCHEMA, f"a message of type {kind}", f"a schema message ({_SCHEMA})")
    _need_version(message.scalar(table, 0, "<h"))
    _need_little(message, message.table(table, 2))
    return length


def _blocks(footer: _Flat, start: int, limit: int) -> Array:
    table = footer.root()
    _need_version(footer.scalar(table, 0, "<h"))
    _need_little(footer, footer.table(table, 1))
    dictionaries = footer.structs(table, 2, _BLOCK)
    _need(not len(dictionaries), f"{len(dictionaries)} dictionaries", "none: every column is a plain number")
    blocks = footer.structs(table, 3, _BLOCK)
    _need(len(blocks) <= MAX_BATCHES, f"{len(blocks)} record batches", f"at most {MAX_BATCHES}")
    for number, (offset, metadata, body) in enumerate(blocks.tolist()):
        # Ascending and disjoint: a batch listed twice would make a small file a large trace.
        fits = start <= offset <= limit and 0 <= body <= limit - offset and not (offset | body) % 8
        fits = fits and _PREFIX_BYTES < metadata <= min(_MAX_BATCH_METADATA_BYTES, limit - offset - body)
        found = f"record batch {number} at {offset} with {metadata}+{body} bytes"
        _need(fits and not metadata % 8, found, f"batches one after the other between {start} and {limit}")
        start = offset + metadata + body
    return blocks


def _batch(data: memoryview, metadata: int, widths: Array, required: Array) -> BatchLayout:
    head = _Flat(data)
    _need(head.read("<I", 0) == _CONTINUATION, "no message", "a message where the footer says there is one")
    length = head.read("<i", 4)
    _need(
        length == metadata - _PREFIX_BYTES,
        f"metadata of {length} bytes",
        f"{metadata - _PREFIX_BYTES}, as in the footer",
    )
    message = _Flat(data[_PREFIX_BYTES:metadata])
    table = message.root()
    kind = message.scalar(table, 1, "<B")
    _need(kind == _RECORD_BATCH, f"a message of type {kind}", f"a record batch ({_RECORD_BATCH})")
    _need_version(message.scalar(table, 0, "<h"))
    body = message.scalar(table, 3, "<q")
    _need(body == len(data) - metadata, f"a body of {body} bytes", f"{len(data) - metadata}, as in the footer")

    batch = message.table(table, 2)
    rows = message.scalar(batch, 0, "<q")
    _need(0 <= rows <= MAX_BATCH_ROWS, f"{rows} rows", f"at most {MAX_BATCH_ROWS}")
    nodes, buffers = message.structs(batch, 1, _PAIR), message.structs(batch, 2, _PAIR)
    _need(len(nodes) == len(widths), f"{len(nodes)} columns", f"{len(widths)}")
    _need(len(buffers) == 2 * len(widths), f"{len(buffers)} buffers", f"{2 * len(widths)}")
    nulls = nodes["second"]
    _need(bool((nodes["first"] == rows).all()), "columns of different lengths", f"{rows} rows in each")
    _need(bool(((nulls >= 0) & (nulls <= rows)).all()), "an impossible number of nulls", f"0 to {rows}")
    _need(not (nulls * required).any(), "nulls in time or kind", "a value in every row")

    offsets, lengths = buffers["first"], buffers["second"]
    inside = (offsets >= 0) & (offsets <= body) & (offsets % 8 == 0) & (lengths >= 0)
    _need(
        bool((inside & (lengths <= body - offsets)).all()), "a buffer outside the batch", f"one within its {body} bytes"
    )
    codec = _codec(message, message.table(batch, 3))
    held = lengths if codec is None else _decompressed(data[metadata:], offsets, lengths)
    # A validity buffer may be left out when nothing is null.
    least = np.stack([np.where((nulls > 0) | (held[::2] > 0), -(-rows // 8), 0), rows * widths], axis=1).ravel()
    _need(bool((held >= least).all()), "a buffer that is too short for its column", f"one that holds {rows} rows")
    if codec is not None:
        _need(bool((held <= least + 64).all()), "a buffer that claims to grow beyond its column", f"one of {rows} rows")
    return BatchLayout(rows, codec)


def _codec(message: _Flat, compression: int) -> str | None:
    if not compression:
        return None
    codec, method = message.scalar(compression, 0, "<b"), message.scalar(compression, 1, "<b")
    _need(codec in _CODECS and not method, f"compression {codec}, method {method}", "lz4 or zstd of whole buffers")
    return _CODECS[codec]


def _decompressed(body: memoryview, offsets: Array, lengths: Array) -> Array:
    """Return how many bytes every compressed buffer says it holds."""
    held = np.zeros(len(lengths), np.int64)
    for number, (offset, length) in enumerate(zip(offsets.tolist(), lengths.tolist(), strict=True)):
        if length:
            _need(length >= 8, f"a compressed buffer of {length} bytes", "8 or more")
            claim = _Flat(body).read("<q", offset)
            held[number] = length - 8 if claim == _STORED_RAW else claim
    return held


def _need_version(version: int) -> None:
    _need(version == _V5, f"Arrow metadata version {version + 1}", f"{_V5 + 1}")


def _need_little(message: _Flat, schema: int) -> None:
    _need(schema != 0 and message.scalar(schema, 0, "<h") == 0, "a big endian file", "little endian")


def _need(condition: bool, found: str, needed: str) -> None:
    if not condition:
        raise _DamageError(found, needed)


@contextmanager
def _damage(where: str) -> Iterator[None]:
    try:
        yield
    except _DamageError as damage:
        raise TraceError(where, damage.found, damage.needed) from None
    except (struct.error, ValueError) as error:
        raise TraceError(where, f"metadata that leads nowhere ({error})", "an undamaged Arrow IPC file") from None
