"""Record batches that wait on disk until they are needed again, so that an import of any length takes bounded memory."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterator
from typing import IO

import pyarrow as pa

from replay.errors import UsageError

__all__ = ("Spool",)


class Spool:
    """Record batches in a temporary file without a name: gone when this is, however that comes about.

    Attributes:
        rows: rows of all batches.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._file: IO[bytes] | None = None
        self._batches: list[tuple[int, pa.Schema]] = []  # size in bytes, schema

    def append(self, batch: pa.RecordBatch) -> None:
        """Add a batch, of any schema.

        Raises:
            UsageError: the folder for temporary files cannot take it.
        """
        if not batch.num_rows:
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="replay-")  # noqa: SIM115 - lives as long as this
                weakref.finalize(self, self._file.close)
            self._file.seek(0, os.SEEK_END)
            self._batches.append((self._file.write(batch.serialize()), batch.schema))
            self._file.flush()
        except OSError as error:
            folder = tempfile.gettempdir()
            raise UsageError(f"{folder}: {error.strerror or error}; TMPDIR can name a folder with more room") from error
        self.rows += batch.num_rows

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches in the order they came."""
        if self._file is None:
            return
        offset = 0
        for size, schema in self._batches:
            self._file.seek(offset)
            yield pa.ipc.read_record_batch(pa.py_buffer(self._file.read(size)), schema)
            offset += size
