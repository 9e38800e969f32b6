"""Outcomes as an Arrow file, row-aligned with the trace: all of it or nothing, like the trace itself."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from replay.errors import UsageError
from replay.trace.outcomes import OUTCOME_COLUMNS, POISON_COLUMNS
from replay.trace.writer import refuse_special

__all__ = ("OutcomeWriter",)

_COLUMNS = {**OUTCOME_COLUMNS, **POISON_COLUMNS}


class OutcomeWriter:
    """Writes an outcomes file; a context manager. The file appears when the block ends without an error.

    Schema metadata, JSON values: ``replay.outcomes`` (format version), ``replay.trace`` (digest of the trace),
    ``replay.profile``, ``replay.checks`` (names that the ``check`` column numbers).

    Args:
        path: the file; an existing one is replaced at the end.
        trace: digest of the trace.
        profile: name of the kernel.
        checks: names of the checks, by number.
        tool: name and version of the program.

    Raises:
        UsageError: the file cannot be written there.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, trace: str, profile: str, checks: Sequence[str], tool: str
    ) -> None:
        self.path = os.fspath(path)
        metadata = {
            "replay.outcomes": {"major": 1, "minor": 0},
            "replay.trace": trace,
            "replay.profile": profile,
            "replay.checks": list(checks),
            "replay.tool": tool,
        }
        fields = [pa.field(name, getattr(pa, dtype)(), nullable=False) for name, dtype in _COLUMNS.items()]
        encoded = {key: json.dumps(value, sort_keys=True) for key, value in metadata.items()}
        self._schema = pa.schema(fields, metadata=encoded)
        self._temporary = ""
        self._file: Any = None
        self._arrow: Any = None

    def __enter__(self) -> OutcomeWriter:
        refuse_special(self.path)
        folder, name = os.path.split(self.path)
        temporary = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.tmp")
        with self._writing():
            self._file = open(temporary, "xb")
            self._temporary = temporary
            self._arrow = pa.ipc.new_file(self._file, self._schema)
        return self

    def write(self, outcomes: Mapping[str, NDArray[np.generic]]) -> None:
        """Append the outcomes of a batch of rows: one array per outcome column."""
        arrays = [pa.array(outcomes[name]) for name in _COLUMNS]
        with self._writing():
            self._arrow.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        with self._writing():
            self._arrow.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._temporary, self.path)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """After an error in here the file is gone."""
        try:
            yield
        except OSError as error:
            self._discard()
            raise UsageError(f"{self.path}: cannot be written ({error.strerror or error})") from None
        except BaseException:
            self._discard()
            raise

    def _discard(self) -> None:
        for open_ in (self._arrow, self._file):
            with suppress(OSError, ValueError):  # closed already, or the disk is full
                if open_ is not None:
                    open_.close()
        if self._temporary:
            with suppress(OSError):
                os.unlink(self._temporary)
