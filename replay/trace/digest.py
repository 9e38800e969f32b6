"""Digests of the logical content of columns, and the identity of a trace.

Arrow files have no checksums. A column's digest covers what its rows say, not how they are stored: batch size and
compression do not change it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xxhash

from replay.trace.batch import Array, Batch, Given
from replay.trace.header import to_json
from replay.trace.schema import COLUMNS, Column

__all__ = ("ColumnDigest", "Digester", "digest_length", "identity")

_HEX = 32  # hexadecimal digits of xxh3_128
_BLOCK = 1 << 16
# What to hash for rows that all give a value, or none of which does.
_CONSTANT = {True: np.ones(_BLOCK, np.uint8), False: np.zeros(_BLOCK, np.uint8)}


class ColumnDigest:
    """xxh3_128 over the values, little endian, 0 in null slots; for a nullable column also over one byte per row."""

    def __init__(self, column: Column) -> None:
        self._little = column.numpy.newbyteorder("<")
        self._values = xxhash.xxh3_128()
        self._given = xxhash.xxh3_128() if column.nullable else None

    def update(self, values: Array, given: Given) -> None:
        """Add rows.

        Args:
            values: values of the column's dtype with 0 where not given.
            given: which rows give a value; True or False when that is so for every row.
        """
        self._values.update(np.ascontiguousarray(values, dtype=self._little).data)
        if self._given is None:
            assert given is True
        elif isinstance(given, bool):
            block = _CONSTANT[given]
            for start in range(0, len(values), _BLOCK):
                self._given.update(block[: len(values) - start].data)
        else:
            self._given.update(np.ascontiguousarray(given).view(np.uint8).data)

    def hexdigest(self) -> str:
        """Return the digest of the values, followed by that of the validity for a nullable column."""
        return self._values.hexdigest() + ("" if self._given is None else self._given.hexdigest())


class Digester:
    """The digests of the columns of a trace, fed batch by batch."""

    def __init__(self, names: Iterable[str]) -> None:
        self._columns = {name: ColumnDigest(COLUMNS[name]) for name in names}

    def update(self, batch: Batch) -> None:
        """Add the rows of a batch whose null slots are known to hold 0."""
        for name, digest in self._columns.items():
            digest.update(batch.stored(name), batch.given(name))

    def hexdigests(self) -> dict[str, str]:
        """Return the digest of every column by name."""
        return {name: digest.hexdigest() for name, digest in self._columns.items()}


def digest_length(name: str) -> int:
    """Return the number of hexadecimal digits of a column's digest."""
    return 2 * _HEX if COLUMNS[name].nullable else _HEX


def identity(header: Mapping[str, Any], rows: int, columns: Mapping[str, str]) -> str:
    """Return what a trace is known by: ``sha256:`` over its header, row count and column digests.

    Args:
        header: ``format``, ``machine``, ``provenance`` and ``strings`` as plain JSON values, as the file has them (so
            that a later format with further fields does not change the identity of files that exist).
        rows: number of rows.
        columns: digest by column name; their order in the file does not matter.
    """
    described = {name: {"digest": columns[name], "type": COLUMNS[name].dtype} for name in columns}
    return "sha256:" + hashlib.sha256(to_json({**header, "rows": rows, "columns": described})).hexdigest()
