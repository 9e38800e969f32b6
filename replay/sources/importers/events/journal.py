"""journald exports -> messages of the kernel: the export format (``journalctl -o export``) and JSON (``-o json``)."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import IO

from replay.sources.importers.rejects import Rejects
from replay.sources.importers.streaming import Block

from .log_lines import BOOT, CALENDAR, Entry

__all__ = ("export_entries", "json_entries")

_MAX_FIELD = 1 << 16  # bytes of a field that are kept; a kernel message has at most 1024
_STEP = 1 << 20
_WANTED = (
    "MESSAGE", "_TRANSPORT", "_BOOT_ID", "_SOURCE_MONOTONIC_TIMESTAMP", "__MONOTONIC_TIMESTAMP",
    "_SOURCE_BOOTTIME_TIMESTAMP", "__REALTIME_TIMESTAMP",
)  # fmt: skip
_WANTED_BYTES = frozenset(name.encode() for name in _WANTED)


def export_entries(file: IO[bytes], rejects: Rejects) -> Iterator[Entry | None]:
    """Yield the kernel's messages of an export, and None for every other entry.

    Args:
        file: the export.
        rejects: takes what is not in the format; the rest of such an entry is not used.
    """
    fields: dict[str, str] = {}
    line, start, damaged = 0, 1, False
    while text := file.readline(_MAX_FIELD):
        line += 1
        if not text.endswith(b"\n"):
            rejects.add(line, "a field that has no end", text)
            damaged = True
            if not _skip_line(file):
                break
            continue
        if text == b"\n":
            if fields and not damaged:
                yield _entry(start, fields)
            fields, start, damaged = {}, line + 1, False
            continue
        name, equals, value = text[:-1].partition(b"=")
        if not equals:
            data = _binary(file)
            if data is None:
                rejects.add(line, "a binary field that is cut", text)
                damaged = True
                break
            value = data
        if name in _WANTED_BYTES:
            fields[name.decode()] = value.decode("utf-8", "replace")
    if fields and not damaged:
        # The last entry ends with an empty line as well; a missing one means that it is cut.
        rejects.add(start, "the last entry has no end", fields.get("MESSAGE", ""))


def _binary(file: IO[bytes]) -> bytes | None:
    """Return the value of a binary field (size in 8 bytes, data, newline), cut where it is long; None if it is not whole."""
    head = file.read(8)
    if len(head) < 8:
        return None
    left: int = struct.unpack("<Q", head)[0]
    kept = b""
    while left:
        piece = file.read(min(left, _STEP))
        if not piece:
            return None
        left -= len(piece)
        kept = (kept + piece)[:_MAX_FIELD]
    return kept if file.read(1) == b"\n" else None


def _skip_line(file: IO[bytes]) -> bool:
    while piece := file.readline(_STEP):
        if piece.endswith(b"\n"):
            return True
    return False


def json_entries(pieces: Iterator[Block], rejects: Rejects) -> Iterator[Entry | None]:
    """Yield the kernel's messages of JSON lines, and None for every other entry.

    Args:
        pieces: the text; one object per line, which may begin with the record separator of JSON sequences.
        rejects: takes lines that are no JSON objects.
    """
    for block in pieces:
        for number, whole in enumerate(block.data.split(b"\n")[:-1], block.line):
            text = whole.strip(b"\x1e\r ")
            if not text:
                continue
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                value = None
            if not isinstance(value, dict):
                rejects.add(number, "no JSON object", text)
                continue
            yield _entry(number, {name: _text(value[name]) for name in _WANTED if name in value})


def _text(value: object) -> str:
    """Return a field: a string, bytes as numbers where it is no UTF-8, the first of several values."""
    if isinstance(value, list) and value and all(isinstance(v, int) and 0 <= v < 256 for v in value):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, list):
        return _text(value[0]) if value and not isinstance(value[0], list) else ""
    return value if isinstance(value, str) else ""


def _entry(line: int, fields: dict[str, str]) -> Entry | None:
    if fields.get("_TRANSPORT", "kernel") != "kernel" or "MESSAGE" not in fields:
        return None
    time, clock = None, ""
    # The kernel's own stamp, then what journald saw.
    for name, counts in (
        ("_SOURCE_MONOTONIC_TIMESTAMP", BOOT), ("__MONOTONIC_TIMESTAMP", BOOT), ("__REALTIME_TIMESTAMP", CALENDAR),
    ):  # fmt: skip
        text = fields.get(name, "")
        if text.isascii() and text.isdigit() and len(text) <= 16:
            time, clock = int(text) * 1000, counts
            break
    return Entry(line, time, clock, fields["MESSAGE"], fields.get("_BOOT_ID", "")[:64])
