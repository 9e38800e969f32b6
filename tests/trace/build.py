"""Small traces for tests: events as literals, files on disk, and files that no writer of ours would make.

path = write(tmp_path / "a.arrow", lookup(0x100, nr_pages=8), dict(kind=EventKind.PFN_VALID, pfn=1))
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from replay.trace import COLUMNS, BootRange, EventKind, MachineDescription, Provenance, Resource, TraceWriter
from replay.trace.digest import ColumnDigest, identity
from replay.trace.header import load_json, to_json
from replay.trace.metadata import digest_json

MACHINE = MachineDescription(
    arch="x86_64",
    page_shift=12,
    section_size_bits=27,
    max_physmem_bits=46,
    memory_block_bytes=128 << 20,
    kernel="6.1.192",
    memory=(BootRange(1, 0x9F), BootRange(0x100, 0x20000), BootRange(0x100000, 0x140000)),
    resources=(
        Resource(0x1000, 0x9EFFF, "System RAM", busy=True, ram=True),
        Resource(0x100000, 0x1FFFFFFF, "System RAM", busy=True, ram=True),
        Resource(0x1000000, 0x1FFFFFF, "Kernel code", busy=True),
        Resource(0x100000000, 0x13FFFFFFF, "System RAM", busy=True, ram=True),
    ),
)
PROVENANCE = Provenance("test", name="a small trace", tool="tests")
HEADER = {"format": {"major": 1, "minor": 0}, "machine": MACHINE, "provenance": PROVENANCE, "strings": []}


def machine(**changes: Any) -> MachineDescription:
    """The test machine with other fields."""
    return dataclasses.replace(MACHINE, **changes)


def lookup(pfn: int, kind: EventKind = EventKind.PFN_TO_ONLINE_PAGE, **fields: int) -> dict[str, int]:
    """A lookup event."""
    return {"kind": kind, "pfn": pfn, **fields}


def columns(*events: dict[str, int]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Columns with masks from events; time is the row number where it is not given."""
    rows = [{"time": number, **event} for number, event in enumerate(events)]
    names = [name for name in COLUMNS if name in {"time", "kind"} or any(name in row for row in rows)]
    return {
        name: (
            np.array([row.get(name, 0) for row in rows], COLUMNS[name].numpy),
            np.array([name in row for row in rows], np.bool_),
        )
        for name in names
    }


def write(path: Path, *events: dict[str, int], **options: Any) -> Path:
    """Write events with the test machine unless options say otherwise; returns the path."""
    data = columns(*events)
    options = {"machine": MACHINE, "provenance": PROVENANCE, "columns": tuple(data), **options}
    with TraceWriter(path, **options) as writer:
        writer.write(data)
    return path


def content(trace: Any) -> dict[str, tuple[list[int], list[bool]]]:
    """Everything the rows of an open trace say."""
    result: dict[str, tuple[list[int], list[bool]]] = {name: ([], []) for name in trace.columns}
    for batch in trace.batches():
        for name, (values, given) in result.items():
            values.extend(batch.column(name).tolist())
            given.extend(np.broadcast_to(batch.given(name), len(batch)).tolist())
    return result


def forge(
    path: Path,
    arrays: dict[str, pa.Array],
    *,
    header: dict[str, Any] | None = None,
    metadata: dict[str, bytes | None] | None = None,
    fields: list[pa.Field] | None = None,
    batch_rows: int = 1 << 20,
    compression: str | None = None,
) -> Path:
    """Write an Arrow file by hand, with digests that fit, so that only the intended defect can be found.

    Args:
        path: the file.
        arrays: columns, of any type.
        header: parts of the header to replace.
        metadata: raw values of metadata keys to replace; None leaves a key out.
        fields: fields to use instead of the right ones.
        batch_rows: rows per batch.
        compression: of the buffers.
    """
    plain = {key: load_json(to_json(value), "") for key, value in {**HEADER, **(header or {})}.items()}
    digests = {name: _digest(name, array) for name, array in arrays.items()}
    rows = len(next(iter(arrays.values()), ()))
    known = {name: digest for name, digest in digests.items() if name in COLUMNS}
    keys: dict[str, bytes | None] = {f"replay.{key}": to_json(value) for key, value in plain.items()}
    keys["replay.digest"] = digest_json(rows, digests, identity(plain, rows, known))
    keys.update(metadata or {})
    fields = fields or [
        pa.field(name, array.type, nullable=name not in {"time", "kind"}) for name, array in arrays.items()
    ]
    schema = pa.schema(fields, metadata={key: value for key, value in keys.items() if value is not None})
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema, options=options) as writer:
        table = pa.Table.from_arrays(list(arrays.values()), schema=schema)
        writer.write_table(table, max_chunksize=batch_rows)
    return path


def _digest(name: str, array: pa.Array) -> str:
    if name not in COLUMNS or not pa.types.is_integer(array.type):
        return "0" * 64
    digest = ColumnDigest(COLUMNS[name])
    given = np.array(array.is_valid())
    raw = np.frombuffer(array.buffers()[1], array.type.to_pandas_dtype(), len(array))  # null slots as they are
    digest.update(raw.astype(COLUMNS[name].numpy), given if COLUMNS[name].nullable else True)
    return digest.hexdigest()
