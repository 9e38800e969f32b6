"""Writing a trace file: checked on the way in, the same bytes for the same input, all of it or nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import TracebackType
from typing import IO, Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from replay.errors import InvariantError, TraceError, UnknownNameError, UsageError
from replay.trace.atomic import AtomicArrowFile
from replay.trace.batch import Batch, Given, Slot, simplified
from replay.trace.digest import digest_length, identity
from replay.trace.header import MachineDescription, Provenance, from_json, load_json, to_json
from replay.trace.inspection import Inspection
from replay.trace.layout import MAX_BATCH_ROWS, MAX_BATCHES, MAX_METADATA_BYTES, read_layout
from replay.trace.metadata import FORMAT, arrow_schema, digest_json, in_schema_order
from replay.trace.schema import COLUMNS, REQUIRED_COLUMNS, Column
from replay.trace.validate import check_machine

__all__ = ("BATCH_ROWS", "TraceWriter", "Values", "write_trace")

BATCH_ROWS = 1 << 20
_ZSTD_LEVEL = 3
_NO_TRACE = "sha256:" + "0" * 64

Values: TypeAlias = ArrayLike | tuple[ArrayLike, ArrayLike]


class TraceWriter:
    """Writes a trace file; a context manager. The file appears under its name when the block ends without an error.

    Args:
        path: the file; an existing one is replaced at the end.
        machine: the machine at boot.
        provenance: where the trace comes from.
        strings: what the ``label`` column points into.
        columns: the columns to store; ``time`` and ``kind`` are always among them.
        compression: None (for replay: mapped into memory), "lz4" or "zstd" (for archives).
        batch_rows: rows per record batch; how the rows were fed does not show in the file.

    Attributes:
        rows: rows taken so far.
        digest: identity of the trace, once the file is complete.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        machine: MachineDescription,
        provenance: Provenance,
        strings: Sequence[str] = (),
        columns: Sequence[str],
        compression: str | None = None,
        batch_rows: int = BATCH_ROWS,
    ) -> None:
        self.path = os.fspath(path)
        self.rows = 0
        self.digest = ""
        self._names = _checked_names(columns)
        self._options = _options(compression)
        if not 0 < batch_rows <= MAX_BATCH_ROWS:
            raise UsageError(f"batch_rows is {batch_rows}; needed 1 to {MAX_BATCH_ROWS}")
        self._batch_rows = batch_rows
        self._header = _checked_header(self.path, machine, provenance, strings)
        # Of the length of the real one, which is known only at the end; patched into the file then.
        self._placeholder = digest_json(0, {name: "0" * digest_length(name) for name in self._names}, _NO_TRACE)
        self._schema = arrow_schema(self._names, self._header, self._placeholder)
        size = self._schema.serialize().size
        if size > MAX_METADATA_BYTES:
            raise TraceError(self.path, f"a header of {size} bytes", f"at most {MAX_METADATA_BYTES}")
        self._inspection = Inspection(machine, len(strings), self._names, self.path)
        self._pending: list[dict[str, Slot]] = []
        self._pending_rows = 0
        self._batches = 0
        self._file = AtomicArrowFile(self.path)

    def __enter__(self) -> TraceWriter:
        self._file.open(self._schema, self._options)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._file.discard()

    def write(self, columns: Mapping[str, Values]) -> None:
        """Append rows.

        Args:
            columns: arrays of equal length by column name: integers that fit the column's type, or a pair of such an
                array and a mask that is True where the row gives the value. A column that is left out is null.

        Raises:
            TraceError: a value that the format does not allow.
        """
        if not self._file.is_open:
            raise InvariantError("TraceWriter.write outside of its with block")
        slots, rows = self._slots(columns)
        start = 0
        while start < rows:
            end = min(rows, start + self._batch_rows - self._pending_rows)
            piece = {name: slot.part(start, end) for name, slot in slots.items()}
            if end - start == self._batch_rows:
                self._emit(piece, end - start)
            else:
                # The caller may reuse its arrays before the batch is complete.
                self._pending.append({name: _copy(slot) for name, slot in piece.items()})
                self._pending_rows += end - start
                if self._pending_rows == self._batch_rows:
                    self._flush()
            start = end
        self.rows += rows

    def _slots(self, columns: Mapping[str, Values]) -> tuple[dict[str, Slot], int]:
        slots = {}
        for name, values in columns.items():
            if name not in self._names:
                raise UnknownNameError(
                    "column", name, self._names, "only the columns given at the start can be written"
                )
            slots[name] = _slot(COLUMNS[name], values, self.path, self.rows)
        lengths = {name: len(slot.values) for name, slot in slots.items()}
        for (a, rows), (b, others) in pairwise(lengths.items()):
            if rows != others:
                raise TraceError(f"{self.path}: column {b}", f"{others} rows", f"{rows}, as in {a}")
        for name in REQUIRED_COLUMNS:
            if name not in slots or slots[name].given is not True:
                raise TraceError(f"{self.path}: row {self.rows}, column {name}", "rows without it", "it in every row")
        return slots, lengths["time"]

    def _flush(self) -> None:
        if not self._pending_rows:
            return
        pieces, rows = self._pending, self._pending_rows
        self._pending, self._pending_rows = [], 0
        self._emit({name: _join(name, pieces) for name in self._names}, rows)

    def _emit(self, slots: dict[str, Slot], rows: int) -> None:
        row = self._batches * self._batch_rows
        if self._batches == MAX_BATCHES:
            raise TraceError(
                f"{self.path}: row {row}", f"more than {MAX_BATCHES} batches", "larger batches (batch_rows)"
            )
        full = {name: slots.get(name) or Slot(np.zeros(rows, COLUMNS[name].numpy), False) for name in self._names}
        with self._file.guarded():
            self._inspection.take(Batch(row, rows, full), 0, rows)
            arrays = [_arrow_array(slot, field.type) for slot, field in zip(full.values(), self._schema, strict=True)]
            self._file.write(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._batches += 1

    def _finish(self) -> None:
        if not self._file.is_open:
            raise InvariantError(f"{self.path}: an error of write was ignored; nothing is written")
        self._flush()
        self._file.finish(self._patch)

    def _patch(self, file: IO[bytes], name: str) -> None:
        """Put digest and version where their placeholders are: once in the schema message, once in the footer."""
        columns = self._inspection.hexdigests()
        before, version = to_json(FORMAT), FORMAT | {"minor": self._inspection.minor}
        self._header["format"] = version
        self.digest = identity(self._header, self.rows, columns)
        final = digest_json(self.rows, columns, self.digest)
        assert len(final) == len(self._placeholder)
        content = pa.memory_map(name).read_buffer()
        layout = read_layout(memoryview(content), name)
        for start, end in (layout.schema, layout.footer):
            region = content[start:end].to_pybytes()
            if region.count(self._placeholder) != 1:
                raise InvariantError(f"{name}: found {region.count(self._placeholder)} digests; needed 1")
            file.seek(start + region.index(self._placeholder))
            file.write(final)
            if version != FORMAT:
                # Text of the header cannot look like this: quotes in it are escaped.
                assert region.count(before) == 1
                assert len(to_json(version)) == len(before)
                file.seek(start + region.index(before))
                file.write(to_json(version))


def write_trace(
    path: str | os.PathLike[str],
    columns: Mapping[str, Values],
    *,
    machine: MachineDescription,
    provenance: Provenance,
    strings: Sequence[str] = (),
    compression: str | None = None,
) -> str:
    """Write a trace of arrays that are all there.

    Args:
        path: the file; an existing one is replaced.
        columns: as ``TraceWriter.write`` takes them; these columns are stored.
        machine: the machine at boot.
        provenance: where the trace comes from.
        strings: what the ``label`` column points into.
        compression: None, "lz4" or "zstd".

    Returns:
        The identity of the trace.

    Raises:
        TraceError: a value that the format does not allow.
    """
    writer = TraceWriter(
        path, machine=machine, provenance=provenance, strings=strings, columns=tuple(columns), compression=compression
    )
    with writer:
        writer.write(columns)
    return writer.digest


def _checked_names(columns: Sequence[str]) -> tuple[str, ...]:
    for name in columns:
        if name not in COLUMNS:
            raise UnknownNameError("column", name, COLUMNS)
    for name in REQUIRED_COLUMNS:
        if name not in columns:
            raise UsageError(f"a trace without column {name!r}; every trace has {' and '.join(REQUIRED_COLUMNS)}")
    return in_schema_order(columns)


def _checked_header(
    where: str, machine: MachineDescription, provenance: Provenance, strings: Sequence[str]
) -> dict[str, Any]:
    """Return the header as the reader will see it, after the reader's own checks."""
    header = {"format": FORMAT, "machine": machine, "provenance": provenance, "strings": list(strings)}
    raw = {key: to_json(value) for key, value in header.items()}
    check_machine(from_json(MachineDescription, raw["machine"], f"{where}: replay.machine"), where)
    from_json(Provenance, raw["provenance"], f"{where}: replay.provenance")
    for text in strings:
        if not isinstance(text, str):
            raise TraceError(f"{where}: replay.strings", f"{text!r:.80}", "a list of strings")
    return {key: load_json(data, f"{where}: replay.{key}") for key, data in raw.items()}


def _options(compression: str | None) -> pa.ipc.IpcWriteOptions:
    if compression not in {None, "lz4", "zstd"}:
        raise UnknownNameError("compression", str(compression), ("lz4", "zstd"))
    codec = pa.Codec("zstd", compression_level=_ZSTD_LEVEL) if compression == "zstd" else compression
    return pa.ipc.IpcWriteOptions(
        metadata_version=pa.ipc.MetadataVersion.V5, use_legacy_format=False, compression=codec, use_threads=True
    )


def _slot(column: Column, given: Values, where: str, row: int) -> Slot:
    """Return values of the column's dtype with 0 where the mask is False."""
    values, mask = given if isinstance(given, tuple) else (given, None)
    array = np.asarray(values)
    at = f"{where}: row {row}, column {column.name}"
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iub"):
        raise TraceError(at, f"an array of {array.ndim} dimensions and type {array.dtype}", "one dimension of integers")
    flags: Given = True
    if mask is not None:
        selected = np.asarray(mask, np.bool_)
        if selected.shape != array.shape:
            raise TraceError(at, f"a mask of shape {selected.shape}", f"{array.shape}, as its values")
        if not selected.all():
            array, flags = np.where(selected, array, array.dtype.type(0)), selected if selected.any() else False
    if array.dtype != column.numpy:
        limits = np.iinfo(column.dtype)
        bad = (array < limits.min) | (array > limits.max) if array.dtype != np.bool_ else np.zeros(len(array), np.bool_)
        if bad.any():
            first = int(np.argmax(bad))
            at = f"{where}: row {row + first}, column {column.name}"
            raise TraceError(at, f"{array[first]}", f"a number that fits {column.dtype}")
        array = array.astype(column.numpy)
    return Slot(np.ascontiguousarray(array), flags)


def _copy(slot: Slot) -> Slot:
    return Slot(slot.values.copy(), slot.given if isinstance(slot.given, bool) else slot.given.copy())


def _join(name: str, pieces: Sequence[Mapping[str, Slot]]) -> Slot:
    """Concatenate the pieces of one column; a piece without it is null."""
    dtype = COLUMNS[name].numpy
    slots = [piece.get(name) or Slot(np.zeros(len(piece["time"].values), dtype), False) for piece in pieces]
    values = np.concatenate([slot.values for slot in slots])
    if all(slot.given is True for slot in slots):
        return Slot(values)
    masks = [np.full(len(s.values), s.given) if isinstance(s.given, bool) else s.given for s in slots]
    return Slot(values, simplified(np.concatenate(masks)))


def _arrow_array(slot: Slot, kind: pa.DataType) -> pa.Array:
    rows = len(slot.values)
    bitmap = None
    if slot.given is not True:
        mask = np.zeros(rows, np.bool_) if slot.given is False else slot.given
        bitmap = pa.py_buffer(np.packbits(mask, bitorder="little"))
    return pa.Array.from_buffers(kind, rows, [bitmap, pa.py_buffer(slot.values)])
