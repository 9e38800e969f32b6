"""Reading a trace file: checked against its own sizes at open, and row by row as its batches stream by."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from types import TracebackType
from typing import TypeVar

import numpy as np
import pyarrow as pa

from replay.errors import InvariantError, TraceError, UnknownNameError, UsageError
from replay.trace.batch import Batch, Slot
from replay.trace.inspection import Inspection
from replay.trace.layout import MAX_ROWS, BatchLayout, batch_layouts, read_layout
from replay.trace.mapping import MappedFile
from replay.trace.metadata import check_fields, in_schema_order, read_metadata
from replay.trace.prefetch import one_ahead
from replay.trace.schema import COLUMNS
from replay.trace.validate import check_machine

__all__ = ("PIECE_ROWS", "TraceFile")

PIECE_ROWS = 1 << 20
_BITMAP_ROWS = 8  # pieces begin at whole bytes of validity bits

_T = TypeVar("_T")
_DAMAGED = "the file is damaged; get it again from where it came"


class TraceFile:
    """A trace file, opened with ``TraceFile.open``; a context manager.

    An uncompressed file is mapped into memory and its columns are views of it: replace such a file (as the writer
    does), but do not overwrite or truncate it while it is open.

    Attributes:
        path: as given.
        machine: the machine at boot.
        provenance: where the trace comes from.
        strings: what the ``label`` column points into.
        rows: number of rows.
        digest: identity of the trace, ``sha256:...``; the same for every way to store the same content.
        columns: names of the columns that are present, in the order of the format's table.
        format: major and minor version of the format.
        compressed: "lz4", "zstd" or None.
    """

    def __init__(self, path: str, mapped: MappedFile, *, verify: bool) -> None:
        self.path = path
        data = mapped.data
        self._verify = verify
        self._verified = False
        view = memoryview(data)
        layout = read_layout(view, path)
        schema, self._names = self._read_schema(data, layout.schema)
        check_fields(schema, path)
        self._metadata = read_metadata(schema, path)
        check_machine(self._metadata.machine, path)
        columns = [COLUMNS[name] for name in self._names]
        widths, nullable = [c.numpy.itemsize for c in columns], [c.nullable for c in columns]
        self._layouts = batch_layouts(view, layout, widths, nullable, path)
        self._check_rows()
        self._mapped: MappedFile | None = mapped
        self._blocks = [(offset, offset + metadata + body) for offset, metadata, body in layout.blocks.tolist()]
        self._reader = self._arrow(lambda: pa.ipc.open_file(pa.BufferReader(data)), path)
        if not self._arrow(lambda: self._reader.schema.equals(schema, check_metadata=True), path):
            raise TraceError(path, "a footer with another schema than the file begins with", "the same", _DAMAGED)

        self.format = self._metadata.format
        self.machine = self._metadata.machine
        self.provenance = self._metadata.provenance
        self.strings = self._metadata.strings
        self.rows = self._metadata.rows
        self.digest = self._metadata.digest
        self.columns = in_schema_order(self._names)
        self.compressed = self._layouts[0].codec if self._layouts else None

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, verify: bool = True) -> TraceFile:
        """Open a trace file.

        Args:
            path: an Arrow IPC file in the trace format.
            verify: check rows and digests as batches stream by. Without it only the structure is checked.

        Raises:
            TraceError: the file cannot be read, is damaged, or is no trace.
        """
        return cls(os.fspath(path), MappedFile(os.fspath(path)), verify=verify)

    def __enter__(self) -> TraceFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"TraceFile({self.path!r}, {self.rows} rows, {self.digest[:15]})"

    def close(self) -> None:
        """Let go of the file; arrays that were handed out stay valid."""
        self._mapped = self._reader = None

    def batches(
        self, columns: Iterable[str] | None = None, *, max_rows: int = PIECE_ROWS, prefetch: bool = False
    ) -> Iterator[Batch]:
        """Yield the rows in order, one batch at a time.

        The first complete pass over a file that was opened with ``verify`` checks every row of every column before the
        batch is handed out, and the digests after the last batch; an answer computed from the batches holds only
        if the iteration came to its end. The memory of a batch is given back when the next one is asked for; arrays
        that are still in use then are read from the file again.

        Args:
            columns: the only columns that will be asked for; all when None.
            max_rows: rows of a batch at most, a multiple of 8. What is read and refused does not depend on it.
            prefetch: read and check the next batch in another thread while one is in use. Same batches, same errors
                at the same places.

        Raises:
            TraceError: the content contradicts the format or the digests.
        """
        names = tuple(COLUMNS if columns is None else columns)
        for name in names:
            if name not in COLUMNS:
                raise UnknownNameError("column", name, COLUMNS)
        if max_rows < _BITMAP_ROWS or max_rows % _BITMAP_ROWS:
            raise UsageError(f"max_rows is {max_rows}; needed a multiple of {_BITMAP_ROWS}")
        return self._stream(names, max_rows, check=self._verify and not self._verified, prefetch=prefetch)

    def verify(self) -> None:
        """Check every row and the digests, whatever the file was opened with.

        Raises:
            TraceError: the content contradicts the format or the digests.
        """
        for _ in self._stream((), PIECE_ROWS, check=True, prefetch=False):
            pass

    def _stream(self, names: tuple[str, ...], max_rows: int, *, check: bool, prefetch: bool) -> Iterator[Batch]:
        mapped = self._mapped
        pieces = self._pieces(max_rows, check=check)
        with closing(one_ahead(pieces) if prefetch else pieces) as source:  # no thread is left when this one is closed
            for batch, used in source:
                yield batch.selected(names)
                assert mapped is not None  # or there was no batch
                for start, end in used:
                    mapped.give_back(start, end)

    def _pieces(self, max_rows: int, *, check: bool) -> Generator[tuple[Batch, list[tuple[int, int]]], None, None]:
        """Yield batches, and the parts of the file that are of no use after each."""
        inspection = Inspection(self.machine, len(self.strings), self._names, self.path)
        row = 0
        for number, layout in enumerate(self._layouts):
            stored = self._load(number, row, layout, full=check)
            checked = 0
            for start in range(0, layout.rows, max_rows):
                end = min(start + max_rows, layout.rows)
                piece = stored.part(start, end)
                if check:
                    checked = inspection.take(stored, checked, end)
                    piece = piece.cleaned()
                yield piece, [self._blocks[number]] if end == layout.rows else self._spans(piece)
            row += layout.rows
        if check:
            self._compare(inspection.hexdigests())
            self._verified = True

    def _spans(self, piece: Batch) -> list[tuple[int, int]]:
        """Return where in the file the values of a piece are; nowhere when the file is compressed."""
        mapped = self._mapped
        if mapped is None or self.compressed:
            return []
        return [span for name in piece.stored_names if (span := mapped.span(piece.stored(name)))]

    def _compare(self, digests: Mapping[str, str]) -> None:
        for name, actual in digests.items():
            expected = self._metadata.columns[name]
            if actual != expected:
                raise TraceError(f"{self.path}: column {name}", f"content with digest {actual}", expected, _DAMAGED)

    def _load(self, number: int, row: int, layout: BatchLayout, *, full: bool) -> Batch:
        reader = self._reader  # looked at once: another thread may close the file
        if reader is None:
            raise InvariantError(f"{self.path} was closed before its batches were read")
        where = f"{self.path}: record batch {number} (from row {row})"
        record = self._arrow(lambda: reader.get_batch(number), where)
        self._arrow(lambda: record.validate(full=full), where)
        if record.num_rows != layout.rows:
            raise TraceError(where, f"{record.num_rows} rows", f"{layout.rows}, as its message says", _DAMAGED)
        slots = {name: _slot(column, name) for name, column in zip(self._names, record.columns, strict=True)}
        return Batch(row, layout.rows, slots, clean=self._verified)

    def _read_schema(self, data: pa.Buffer, place: tuple[int, int]) -> tuple[pa.Schema, list[str]]:
        def read() -> tuple[pa.Schema, list[str]]:
            schema = pa.ipc.read_schema(data.slice(place[0], place[1] - place[0]))
            return schema, list(schema.names)  # names are decoded here: they may be no text

        return self._arrow(read, self.path)

    def _check_rows(self) -> None:
        rows = sum(layout.rows for layout in self._layouts)
        if rows > MAX_ROWS:
            raise TraceError(self.path, f"{rows} rows", f"at most {MAX_ROWS}")
        if rows != self._metadata.rows:
            raise TraceError(
                f"{self.path}: replay.digest", f"{rows} rows in the file", f"{self._metadata.rows}", _DAMAGED
            )
        if len({layout.codec for layout in self._layouts}) > 1:
            raise TraceError(self.path, "batches of different compression", "one compression", _DAMAGED)

    @staticmethod
    def _arrow(call: Callable[[], _T], where: str) -> _T:
        """Call into Arrow, which raises many things for a damaged file."""
        try:
            return call()
        except (
            pa.lib.ArrowException,
            ValueError,
            TypeError,
            LookupError,
            ArithmeticError,
            OSError,
            MemoryError,
        ) as error:
            reason = " ".join(str(error).split())[:200]
            raise TraceError(where, f"data that Arrow refuses ({reason})", "an Arrow IPC file", _DAMAGED) from None


def _slot(column: pa.Array, name: str) -> Slot:
    """Return the values and validity of a column as views of Arrow's buffers."""
    assert column.offset == 0
    bitmap, data = column.buffers()
    rows = len(column)
    if not rows:
        return Slot(np.empty(0, COLUMNS[name].numpy))
    values = np.frombuffer(data, COLUMNS[name].numpy, rows)
    return Slot(values, bitmap=None if bitmap is None else np.frombuffer(bitmap, np.uint8, -(-rows // 8)))
