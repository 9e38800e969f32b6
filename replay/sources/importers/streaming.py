"""Text files and streams, block by block: whole lines, any length of input, bounded memory."""

from __future__ import annotations

import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from replay.errors import InputError, did_you_mean_file

from .rejects import Rejects

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ("BLOCK_BYTES", "MAX_LINE", "Block", "blocks", "blocks_of", "look_ahead", "open_input", "source_name")

BLOCK_BYTES = 8 << 20
MAX_LINE = 1 << 16  # bytes; no tool that is imported from writes a line this long

_MAGIC: tuple[tuple[bytes, Callable[[IO[bytes]], object]], ...] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    (b"\xfd7zXZ\x00", lzma.open),
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
    """Open a file for reading, or standard input for ``-``; what is compressed with gzip or xz is decompressed.

    Raises:
        InputError: the file cannot be opened, or its compression turns out to be damaged while it is read.
    """
    where = source_name(path)
    try:
        raw = cast("IO[bytes]", sys.stdin.buffer) if str(path) == "-" else open(path, "rb")  # noqa: SIM115
    except OSError as error:
        hint = did_you_mean_file(path) if isinstance(error, FileNotFoundError) else ""
        raise InputError(where, f"no way to read it ({error.strerror})", "a readable file", hint) from None
    with closing(raw) if str(path) != "-" else _left_open():
        buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", raw))
        try:
            begin = buffered.peek(8)
            reader = next((reader for magic, reader in _MAGIC if begin.startswith(magic)), None)
            yield cast("IO[bytes]", reader(buffered) if reader else buffered)
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise InputError(where, f"damaged compression ({error})", "a whole file", "copy it again") from None
        except OSError as error:
            raise InputError(where, f"no way to read it ({error.strerror or error})", "a readable file") from None


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
