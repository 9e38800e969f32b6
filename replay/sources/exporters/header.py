"""The header of a trace beside its rows: what Parquet, CSV and JSON lines carry so that the trace comes back the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from replay.errors import TraceError
from replay.trace.header import MachineDescription, Provenance, from_json, load_json, to_json
from replay.trace.metadata import in_schema_order
from replay.trace.reader import TraceFile
from replay.trace.schema import COLUMNS, FORMAT_MAJOR, FORMAT_MINOR, REQUIRED_COLUMNS

__all__ = ("KEYS", "Header", "arrow_type", "record_batches", "row_schema")

KEYS = ("format", "machine", "provenance", "strings", "identity", "columns")


@dataclass(frozen=True)
class Header:
    """Everything about a trace but its rows.

    Attributes:
        machine: the machine at boot.
        provenance: where the trace comes from.
        strings: what ``label`` points into.
        identity: digest of the trace; the rows and the header that come back must have it.
        columns: names of the columns that are present, in the order of the format.
        minor: minor version of the format.
    """

    machine: MachineDescription
    provenance: Provenance
    strings: tuple[str, ...]
    identity: str
    columns: tuple[str, ...]
    minor: int = 0

    @classmethod
    def of(cls, trace: TraceFile) -> Header:
        """Return the header of an open trace."""
        return cls(trace.machine, trace.provenance, trace.strings, trace.digest, trace.columns, trace.format[1])

    def encoded(self) -> dict[str, bytes]:
        """Return the JSON of every key of KEYS."""
        version = {"major": FORMAT_MAJOR, "minor": self.minor}
        values = (version, self.machine, self.provenance, list(self.strings), self.identity, list(self.columns))
        return {key: to_json(value) for key, value in zip(KEYS, values, strict=True)}

    @classmethod
    def decoded(cls, raw: Mapping[str, bytes], where: str) -> Header:
        """Return the header of the JSON of its keys.

        Raises:
            TraceError: a key is missing, damaged, or of another version of the format.
        """
        for key in KEYS:
            if key not in raw:
                raise TraceError(
                    where, f"no {key!r}", f"a header with {', '.join(KEYS)}", "was it written by replay convert?"
                )
        version = load_json(raw["format"], f"{where}: format")
        if (
            not isinstance(version, dict)
            or version.get("major") != FORMAT_MAJOR
            or version.get("minor") not in range(FORMAT_MINOR + 1)
        ):
            needed = f"format {FORMAT_MAJOR}.0 to {FORMAT_MAJOR}.{FORMAT_MINOR}"
            raise TraceError(f"{where}: format", f"{version!r:.80}", needed)
        columns = _texts(raw["columns"], f"{where}: columns")
        if in_schema_order(columns) != columns or not set(REQUIRED_COLUMNS) <= set(columns):
            raise TraceError(
                f"{where}: columns", f"{columns!r:.120}", "columns of the format in its order, with time and kind"
            )
        identity = load_json(raw["identity"], f"{where}: identity")
        if not isinstance(identity, str):
            raise TraceError(f"{where}: identity", f"{identity!r:.80}", "text")
        return cls(
            from_json(MachineDescription, raw["machine"], f"{where}: machine"),
            from_json(Provenance, raw["provenance"], f"{where}: provenance"),
            _texts(raw["strings"], f"{where}: strings"), identity, columns, version["minor"],
        )  # fmt: skip


def _texts(data: bytes, where: str) -> tuple[str, ...]:
    value: Any = load_json(data, where)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TraceError(where, f"{value!r:.80}", "a list of texts")
    return tuple(value)


def arrow_type(name: str) -> pa.DataType:
    """Return the Arrow type of a column."""
    return getattr(pa, COLUMNS[name].dtype)()


def row_schema(columns: tuple[str, ...], metadata: Mapping[str, bytes] | None = None) -> pa.Schema:
    """Return the Arrow schema of rows with these columns."""
    fields = [pa.field(name, arrow_type(name), nullable=COLUMNS[name].nullable) for name in columns]
    return pa.schema(fields, metadata=dict(metadata) if metadata else None)


def record_batches(trace: TraceFile, schema: pa.Schema, max_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a trace; what is read is checked, and after the last batch so are the digests."""
    for batch in trace.batches(max_rows=max_rows):
        arrays = []
        for field in schema:
            given = batch.given(field.name)
            mask = None if given is True else ~np.broadcast_to(np.asarray(given), len(batch))
            arrays.append(pa.array(batch.stored(field.name), field.type, mask=mask))
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
