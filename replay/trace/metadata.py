"""The Arrow schema of a trace file: its fields, and the ``replay.*`` keys of its metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa

from replay.errors import TraceError, did_you_mean
from replay.trace.digest import digest_length, identity
from replay.trace.header import MachineDescription, Provenance, from_json, load_json, to_json
from replay.trace.schema import COLUMNS, FORMAT_MAJOR, FORMAT_MINOR, REQUIRED_COLUMNS

__all__ = ("FORMAT", "Metadata", "arrow_schema", "check_fields", "digest_json", "in_schema_order", "read_metadata")

_T = TypeVar("_T")
_PREFIX = "replay."
_KEYS = ("format", "machine", "provenance", "strings", "digest")
_ROW_DIGITS = 20

FORMAT = {"major": FORMAT_MAJOR, "minor": 0}  # of a file that uses nothing newer


@dataclass(frozen=True)
class Metadata:
    """What the schema metadata of a trace file says.

    Attributes:
        format: major and minor version.
        machine: the machine at boot.
        provenance: where the trace comes from.
        strings: what the ``label`` column points into.
        rows: number of rows.
        columns: digest by column name.
        digest: identity of the trace.
    """

    format: tuple[int, int]
    machine: MachineDescription
    provenance: Provenance
    strings: tuple[str, ...]
    rows: int
    columns: Mapping[str, str]
    digest: str


def in_schema_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return column names in the order of the format's table, which is the order files are written in."""
    wanted = set(names)
    return tuple(name for name in COLUMNS if name in wanted)


def arrow_schema(names: Sequence[str], header: Mapping[str, Any], digest: bytes) -> pa.Schema:
    """Return the Arrow schema of a trace.

    Args:
        names: columns.
        header: ``format``, ``machine``, ``provenance`` and ``strings``, plain values.
        digest: JSON of the digest key.
    """
    fields = [pa.field(name, _arrow_type(name), nullable=COLUMNS[name].nullable) for name in names]
    values = {key: to_json(header[key]) for key in _KEYS if key != "digest"} | {"digest": digest}
    return pa.schema(fields, metadata={_PREFIX + key: values[key] for key in _KEYS})


def digest_json(rows: int, columns: Mapping[str, str], trace: str) -> bytes:
    """Return the JSON of the digest key; its length depends on the column names only."""
    return to_json({"rows": f"{rows:0{_ROW_DIGITS}d}", "columns": dict(columns), "trace": trace})


def read_metadata(schema: pa.Schema, where: str) -> Metadata:
    """Return what the metadata says, after checking it against itself.

    Raises:
        TraceError: a key or field is missing, unknown or wrong, the version is another one, or the identity differs.
    """
    raw = _raw(schema, where)
    version = _version(_take(raw, "format", where), where)  # first: everything else depends on it
    for key in raw:
        if key not in _KEYS:
            raise TraceError(where, f"metadata key {_PREFIX + key!r:.80}", f"one of {_listed()}", _newer(version))
    machine = _header(MachineDescription, raw, "machine", where)
    provenance = _header(Provenance, raw, "provenance", where)
    strings = _strings(_take(raw, "strings", where), where)
    rows, columns, trace = _digests(_take(raw, "digest", where), schema.names, where)
    header = {key: load_json(raw[key], where) for key in _KEYS if key != "digest"}
    actual = identity(header, rows, columns)
    if actual != trace:
        found = f"content with the identity {actual}"
        raise TraceError(f"{where}: {_PREFIX}digest", found, f"{trace}: the metadata was changed or damaged")
    return Metadata(version, machine, provenance, strings, rows, columns, trace)


def check_fields(schema: pa.Schema, where: str) -> None:
    """Refuse every field that is not a column of the format with exactly its type.

    Raises:
        TraceError: an unknown, repeated, mistyped or missing column.
    """
    names = schema.names
    for field in schema:
        at = f"{where}: column {field.name!r:.80}"
        if field.name not in COLUMNS:
            needed = "a column of the trace format" + did_you_mean(field.name[:80], COLUMNS)
            raise TraceError(at, "an unknown column", needed, "it may come from a newer version of this program")
        if names.count(field.name) > 1:
            raise TraceError(at, "a column that occurs more than once", "each column once")
        needed_type = _arrow_type(field.name)
        if field.type != needed_type:
            raise TraceError(at, _one_line(f"type {field.type}"), f"type {needed_type}")
        if field.nullable != COLUMNS[field.name].nullable:
            kinds = {True: "a nullable column", False: "a column that is not nullable"}
            raise TraceError(at, kinds[field.nullable], kinds[not field.nullable])
        if field.metadata:
            raise TraceError(at, "a column with metadata of its own", "a plain column")
    for name in REQUIRED_COLUMNS:
        if name not in names:
            raise TraceError(f"{where}: column {name!r}", "a file without it", "it in every trace")


def _raw(schema: pa.Schema, where: str) -> dict[str, bytes]:
    # Keys of others (not replay.*) are theirs: neither read nor covered by the digest.
    raw: dict[str, bytes] = {}
    metadata = schema.metadata or {}
    for key, value in metadata.items():
        if key.startswith(_PREFIX.encode()):
            raw[key.decode("utf-8", "backslashreplace").removeprefix(_PREFIX)] = value
    if not raw:
        raise TraceError(where, "no replay.* metadata", "a trace file; an outcomes file or another Arrow file is none")
    return raw


def _take(raw: Mapping[str, bytes], key: str, where: str) -> bytes:
    if key not in raw:
        raise TraceError(where, f"no metadata key {_PREFIX + key!r}", f"all of {_listed()}")
    return raw[key]


def _header(cls: type[_T], raw: Mapping[str, bytes], key: str, where: str) -> _T:
    return from_json(cls, _take(raw, key, where), f"{where}: {_PREFIX}{key}")


def _version(data: bytes, where: str) -> tuple[int, int]:
    at = f"{where}: {_PREFIX}format"
    value = load_json(data, at)
    if (
        not isinstance(value, dict)
        or set(value) != {"major", "minor"}
        or any(type(v) is not int for v in value.values())
    ):
        raise TraceError(at, f"{value!r:.80}", 'an object like {"major":1,"minor":0}')
    major, minor = value["major"], value["minor"]
    if major != FORMAT_MAJOR or minor < 0:
        hint = "use a newer version of this program" if major > FORMAT_MAJOR else ""
        raise TraceError(at, f"format {major}.{minor}", f"format {FORMAT_MAJOR}.x", hint)
    return major, minor


def _newer(version: tuple[int, int]) -> str:
    known = f"{FORMAT_MAJOR}.{FORMAT_MINOR}"
    return (
        f"the file has format {version[0]}.{version[1]}, this program knows {known}"
        if version[1] > FORMAT_MINOR
        else ""
    )


def _strings(data: bytes, where: str) -> tuple[str, ...]:
    at = f"{where}: {_PREFIX}strings"
    value = load_json(data, at)
    if not isinstance(value, list) or any(not isinstance(item, str) for item in value):
        raise TraceError(at, f"{value!r:.80}", "a list of strings")
    return tuple(value)


def _digests(data: bytes, names: Sequence[str], where: str) -> tuple[int, dict[str, str], str]:
    at = f"{where}: {_PREFIX}digest"
    value = load_json(data, at)
    if (
        not isinstance(value, dict)
        or set(value) != {"rows", "columns", "trace"}
        or not isinstance(value["columns"], dict)
    ):
        raise TraceError(at, f"{value!r:.80}", "an object with rows, columns and trace")
    rows, columns, trace = value["rows"], value["columns"], value["trace"]
    if not isinstance(rows, str) or len(rows) != _ROW_DIGITS or not (rows.isascii() and rows.isdigit()):
        raise TraceError(at, f"rows {rows!r:.80}", f"{_ROW_DIGITS} digits")
    if set(columns) != set(names):
        raise TraceError(at, f"digests of {', '.join(sorted(columns))!r:.120}", "one for every column of the file")
    for name, text in columns.items():
        if not isinstance(text, str) or len(text) != digest_length(name):
            raise TraceError(at, f"digest {text!r:.80} of {name}", f"{digest_length(name)} hexadecimal digits")
    if not isinstance(trace, str):
        raise TraceError(at, f"trace {trace!r:.80}", "text that begins with 'sha256:'")
    return int(rows), columns, trace


def _arrow_type(name: str) -> pa.DataType:
    return getattr(pa, COLUMNS[name].dtype)()


def _listed() -> str:
    return ", ".join(_PREFIX + key for key in _KEYS)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:160]
