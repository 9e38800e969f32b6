"""Outcomes as an Arrow file, row-aligned with the trace: all of it or nothing, like the trace itself."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from types import TracebackType

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from replay.trace.atomic import AtomicArrowFile
from replay.trace.outcomes import OUTCOME_COLUMNS, POISON_COLUMNS

__all__ = ("OutcomeWriter",)

_COLUMNS = {**OUTCOME_COLUMNS, **POISON_COLUMNS}


class OutcomeWriter:
    """Writes an outcomes file; a context manager. The file appears when the block ends without an error.

    Schema metadata, JSON values: ``replay.outcomes`` (format version), ``replay.trace`` (digest of the trace),
    ``replay.profile``, ``replay.checks`` (names that the ``check`` column numbers), ``replay.poison_checks`` (by kind of
    call, names that the ``poison_check`` column numbers).

    Args:
        path: the file; an existing one is replaced at the end.
        trace: digest of the trace.
        profile: name of the kernel.
        checks: names of the checks, by number.
        poison_checks: names of the checks of poison calls by number, by kind of call.
        tool: name and version of the program.

    Raises:
        UsageError: the file cannot be written there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        trace: str,
        profile: str,
        checks: Sequence[str],
        poison_checks: Mapping[str, Sequence[str]],
        tool: str,
    ) -> None:
        self.path = os.fspath(path)
        metadata = {
            "replay.outcomes": {"major": 1, "minor": 0},
            "replay.trace": trace,
            "replay.profile": profile,
            "replay.checks": list(checks),
            "replay.poison_checks": {kind: list(names) for kind, names in poison_checks.items()},
            "replay.tool": tool,
        }
        fields = [pa.field(name, getattr(pa, dtype)(), nullable=False) for name, dtype in _COLUMNS.items()]
        encoded = {key: json.dumps(value, sort_keys=True) for key, value in metadata.items()}
        self._schema = pa.schema(fields, metadata=encoded)
        self._file = AtomicArrowFile(self.path)

    def __enter__(self) -> OutcomeWriter:
        self._file.open(self._schema)
        return self

    def write(self, outcomes: Mapping[str, NDArray[np.generic]]) -> None:
        """Append the outcomes of a batch of rows: one array per outcome column."""
        arrays = [pa.array(outcomes[name]) for name in _COLUMNS]
        self._file.write(pa.RecordBatch.from_arrays(arrays, schema=self._schema))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._file.finish()
        else:
            self._file.discard()
