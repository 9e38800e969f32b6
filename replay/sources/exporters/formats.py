"""The formats that traces can be converted to, and what each of them loses."""

from __future__ import annotations

import os
from dataclasses import dataclass

from replay.errors import InputError, UnknownNameError, UsageError, did_you_mean_file

__all__ = ("FORMATS", "PACKED", "Format", "format_named", "format_of_input", "format_of_output")


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        name: for ``--to``.
        suffixes: ends of file names that stand for it.
        what: in words.
        loses: what does not come back; empty for formats that hold everything and can be read again.
    """

    name: str
    suffixes: tuple[str, ...]
    what: str
    loses: tuple[str, ...] = ()


FORMATS = (
    Format("arrow", (".arrow",), "the trace format itself"),
    Format("parquet", (".parquet",), "Parquet, the header in its key-value metadata"),
    Format("csv", (".csv",), "CSV, the header in a file NAME.csv.header.json beside it"),
    Format("jsonl", (".jsonl", ".ndjson"), "JSON lines, the header in the first one"),
    Format(
        "perfetto",
        (".perfetto.json", ".json"),
        "the JSON trace format of Chrome, which Perfetto loads",
        (
            "the machine description",
            "the time before the first event: times begin at 0",
            "the exact columns: values are shown as text, labels by their texts",
        ),
    ),
    Format(
        "oracle-general",
        (".oracleGeneral", ".oracleGeneral.bin"),
        "oracleGeneral of libCacheSim: the pfn of every single lookup, and when it is next looked up",
        (
            "everything but lookups of pfns: transitions, poison, states, marks, queries of resources",
            "what was looked up, and what it answered",
            "the exact times: they are whole seconds since the first event",
        ),
    ),
)
# Ends of names of texts that are packed, with Arrow's name of the codec.
PACKED = {".gz": "gzip", ".zst": "zstd", ".lz4": "lz4"}
_MAGIC = {b"ARROW1": "arrow", b"PAR1": "parquet"}


def format_named(name: str) -> Format:
    """Return the format of that name.

    Raises:
        UnknownNameError: there is none.
    """
    found = next((one for one in FORMATS if one.name == name), None)
    if found is None:
        names = [one.name for one in FORMATS]
        raise UnknownNameError("format", name, names, f"there are {', '.join(names)}")
    return found


def format_of_output(path: str, to: str | None) -> Format:
    """Return the format to write.

    Args:
        path: the file to write.
        to: name of the format, or None to tell by the end of the file name.

    Raises:
        UsageError: neither says.
    """
    if to is not None:
        return format_named(to)
    found = _by_suffix(path)
    if found is None:
        ends = ", ".join(suffix for one in FORMATS for suffix in one.suffixes)
        raise UsageError(f"{path}: its name does not say which format; give --to, or a name that ends in {ends}")
    return found


def format_of_input(path: str) -> Format:
    """Return the format of a file, by its first bytes or else its name.

    Raises:
        InputError: it cannot be read, or is of none that can be read again.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(path, "no regular file", "a trace")  # opening a FIFO would wait for somebody to write to it
    try:
        with open(path, "rb") as file:
            start = file.read(8)
    except OSError as error:
        hint = did_you_mean_file(path) if isinstance(error, FileNotFoundError) else ""
        raise InputError(path, f"no file that can be read ({error.strerror})", "a trace", hint) from None
    for magic, name in _MAGIC.items():
        if start.startswith(magic):
            return format_named(name)
    found = _by_suffix(path)
    if found is None or found.name in _MAGIC.values() or found.loses:
        needed = "an Arrow or Parquet file, or a name that ends in .csv, .jsonl or .ndjson"
        raise InputError(path, "a file of another format", needed)
    return found


def _by_suffix(path: str) -> Format | None:
    name = os.path.basename(path)
    bare = next((name.removesuffix(end) for end in PACKED if name.endswith(end)), name)
    matches = [(len(suffix), one) for one in FORMATS for suffix in one.suffixes if bare.endswith(suffix)]
    return max(matches, key=lambda match: match[0])[1] if matches else None
