"""Text files and streams, block by block: whole lines, any length of input, bounded memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, cast

import pyarrow as pa

from replay.errors import InputError, did_you_mean_file

from .rejects import Rejects

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ("BLOCK_BYTES", "MAX_LINE", "Block", "blocks", "blocks_of", "look_ahead", "open_input", "source_name")

BLOCK_BYTES = 8 << 20
_PIECE = 1 << 16
_XZ_MEMORY = 1 << 28  # what `xz -9` needs is a quarter of that
MAX_LINE = 1 << 16  # bytes; no tool that is imported from writes a line this long

_MAGIC: tuple[tuple[bytes, Callable[[IO[bytes]], object]], ...] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    (b"\xfd7zXZ\x00", lambda file: io.BufferedReader(_Xz(file))),
    (b"BZh", bz2.open),
    (b"\x28\xb5\x2f\xfd", lambda file: pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")),
    (b"\x04\x22\x4d\x18", lambda file: pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "lz4")),
)
# What is no text, although it comes from the same tools: how it begins, what it is, what to do with it.
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"LPKSHHRH", "a journal", "`journalctl --file FILE -k -o export` prints it"),
    (b"PERFILE2", "a perf.data", "`perf script --header --show-lost-events -i FILE` prints it"),
    (b"\x17\x08\x44tracing", "a trace.dat", "`replay import trace-cmd` takes it"),
    (b"SQLite format 3", "an SQLite database", "`replay import rasdaemon` takes that of rasdaemon"),
    (b"ARROW1", "an Arrow file", "`replay info` tells whether it is a trace already"),
    (b"\x7fELF", "an ELF file", "of a vmcore, `crash` and `drgn` can print the log"),
    (b"PK\x03\x04", "a zip archive", "unpack it"),
)


class Block(NamedTuple):
    """Lines of an input.

    Attributes:
        data: the lines, each with its newline.
        line: number of the first, from 1.
    """

    data: bytes
    line: int


def source_name(path: Path | str) -> str:
    """Return how an input is called in messages."""
    return "standard input" if str(path) == "-" else str(path)


@contextmanager
def open_input(path: Path | str) -> Iterator[IO[bytes]]:
    """Open a file of text for reading, or standard input for ``-``; gzip, xz, bzip2, zstd and lz4 are decompressed.

    Raises:
        InputError: the file cannot be opened, is known to be no text, or its compression turns out to be damaged while
            it is read.
    """
    where = source_name(path)
    try:
        raw = cast("IO[bytes]", sys.stdin.buffer) if str(path) == "-" else open(path, "rb")  # noqa: SIM115
    except OSError as error:
        hint = did_you_mean_file(path) if isinstance(error, FileNotFoundError) else ""
        raise InputError(where, f"no way to read it ({error.strerror})", "a readable file", hint) from None
    with closing(raw) if str(path) != "-" else _left_open():
        reader = None
        buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", raw))
        try:
            begin = buffered.peek(16)
            for magic, what, hint in _OTHERS:
                if begin.startswith(magic):
                    raise InputError(where, what, "text", hint)
            reader = next((reader for magic, reader in _MAGIC if begin.startswith(magic)), None)
            yield cast("IO[bytes]", reader(buffered) if reader else buffered)
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise InputError(where, f"damaged compression ({error})", "a whole file", "copy it again") from None
        except OSError as error:
            if reader and not error.errno:  # what pyarrow and bz2 say of their input
                raise InputError(where, f"damaged compression ({error})", "a whole file", "copy it again") from None
            raise InputError(where, f"no way to read it ({error.strerror or error})", "a readable file") from None
        except MemoryError:
            raise InputError(
                where, "compression that takes more memory than there is", "a file packed by default"
            ) from None


@contextmanager
def _left_open() -> Iterator[None]:
    yield


def blocks(path: Path | str, rejects: Rejects, size: int = BLOCK_BYTES) -> Iterator[Block]:
    """Yield the lines of a file (``-``: standard input), in blocks of about ``size`` bytes.

    A line that is longer than any tool writes is rejected, and so is a last line without an end: half a number looks
    like a number.

    Raises:
        InputError: the file cannot be read.
        TraceError: a line is rejected and the import is strict.
    """
    with open_input(path) as file:
        yield from blocks_of(file, rejects, size)


def blocks_of(file: IO[bytes], rejects: Rejects, size: int = BLOCK_BYTES) -> Iterator[Block]:
    """Yield the lines of an open file; see ``blocks``."""
    line, rest, skipping = 1, b"", False
    while piece := file.read(size):
        data = rest + piece
        if skipping:
            end = data.find(b"\n")
            if end < 0:
                continue  # `rest` is empty while a line is skipped
            data, line, skipping = data[end + 1 :], line + 1, False
        end = data.rfind(b"\n") + 1
        rest = data[end:]
        if end:
            yield Block(data[:end], line)
            line += data.count(b"\n", 0, end)
        if len(rest) > MAX_LINE:
            rejects.add(line, f"a line of more than {MAX_LINE} bytes", rest)
            rest, skipping = b"", True
    if rest:
        rejects.add(line, "the last line has no end", rest)


def look_ahead(file: IO[bytes], size: int) -> tuple[bytes, IO[bytes]]:
    """Return the first bytes of a stream, and a stream that begins with them."""
    begin = b""
    while len(begin) < size and (piece := file.read(size - len(begin))):
        begin += piece
    return begin, cast("IO[bytes]", io.BufferedReader(cast("io.RawIOBase", _Joined(begin, file)), 1 << 16))


class _Xz(io.RawIOBase):
    """An xz file, decompressed in bounded memory: its header says how much it takes, and ``lzma.open`` would take that."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._rest = file, b""
        self._decompressor: lzma.LZMADecompressor | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill a buffer as far as one piece goes.

        Raises:
            EOFError: the file ends within a stream.
        """
        view = memoryview(buffer)
        while True:
            if self._decompressor is None:
                self._rest = (self._rest or self._file.read(_PIECE)).lstrip(b"\x00")  # streams may be padded
                if not self._rest:
                    return 0
                self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
            given = self._rest if self._rest or not self._decompressor.needs_input else self._file.read(_PIECE)
            if not given and self._decompressor.needs_input:
                raise EOFError("it ends within a stream")
            piece = self._decompressor.decompress(given, len(view))
            self._rest = b""
            if self._decompressor.eof:
                self._rest, self._decompressor = self._decompressor.unused_data, None
            if piece:
                view[: len(piece)] = piece
                return len(piece)


class _Joined(io.RawIOBase):
    """Bytes, and the stream that they were read from behind them."""

    def __init__(self, begin: bytes, rest: IO[bytes]) -> None:
        self._begin, self._rest = begin, rest

    def readable(self) -> bool:
        """It is, which is all that a reader needs to know."""
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill a buffer as far as one piece goes."""
        view = memoryview(buffer)
        piece = self._begin[: len(view)] if self._begin else self._rest.read(len(view))
        self._begin = self._begin[len(piece) :]
        view[: len(piece)] = piece
        return len(piece)
