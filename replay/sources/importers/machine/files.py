"""The files that describe a machine: plain, .gz or .xz, of bounded size."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from replay.errors import InputError

__all__ = ("MAX_TEXT", "read_lines", "read_pieces", "read_text")

MAX_TEXT = 1 << 26  # bytes of a text; /sys of 10^5 memory blocks is a quarter of that
_PIECE = 1 << 23
_MAX_LINE = 1 << 16


def read_text(path: Path, what: str) -> str:
    """Return the text of a file.

    Args:
        path: plain, .gz or .xz.
        what: what it should be, for the error.

    Raises:
        InputError: it cannot be read, is damaged, or is larger than any such text.
    """
    data = b""
    for piece in read_pieces(path, what):
        data += piece
        if len(data) > MAX_TEXT:
            raise InputError(path, f"more than {MAX_TEXT >> 20} MiB", what)
    return data.decode("utf-8", "replace")


def read_lines(path: Path, what: str) -> Iterator[str]:
    """Yield the lines of a text of any length, without their ends.

    Raises:
        InputError: it cannot be read, is damaged, or has a line longer than any such text has.
    """
    rest = b""
    for piece in read_pieces(path, what):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")
        if len(rest) > _MAX_LINE:
            raise InputError(path, f"a line of more than {_MAX_LINE} bytes", what)
    if rest:
        yield rest.decode("utf-8", "replace")


def read_pieces(path: Path, what: str) -> Iterator[bytes]:
    """Yield the content of a file in pieces of 8 MiB, the last one shorter.

    Raises:
        InputError: it cannot be read, or its compression is damaged.
    """
    if not path.is_file():
        raise InputError(path, "no such file", what)
    try:
        with _opened(path) as file:
            while piece := file.read(_PIECE):
                yield piece
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(path, f"content that cannot be read ({error})", what) from None


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb")
