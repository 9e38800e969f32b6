"""What an importer could not use: every such piece of input with its place, the reason and its text, none in silence."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import chain

import pyarrow as pa
import pyarrow.csv

from replay.errors import TraceError, UsageError
from replay.trace.atomic import AtomicArrowFile

from .spool import Spool

__all__ = ("TEXT_LENGTH", "Rejects")

TEXT_LENGTH = 200  # characters of a rejected text that are kept
_IN_MEMORY = 1 << 14  # rejects that are held before they go to disk
_SCHEMA = pa.schema(
    [
        pa.field("line", pa.int64()),  # null where the place is not a line
        pa.field("where", pa.string()),  # null where it is
        pa.field("reason", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)


class Rejects:
    """The table of rejected input; any number of entries takes bounded memory.

    Args:
        source: name of the input, for errors.
        strict: refuse the first entry instead of taking it.

    Attributes:
        count: entries so far.
        by_reason: entries so far, by reason.
    """

    def __init__(self, source: object, *, strict: bool = False) -> None:
        self.source, self.strict = str(source), strict
        self.count = 0
        self.by_reason: Counter[str] = Counter()
        self._first: dict[str, tuple[int | str, str]] = {}
        self._held: list[tuple[int | None, str | None, str, str]] = []
        self._spool = Spool()

    def add(self, where: int | str, reason: str, text: str | bytes) -> None:
        r"""Take one entry.

        Args:
            where: line number from 1, or another place (table and row id, path in a document).
            reason: why it was not used; entries are counted by it, so it says nothing about this entry alone.
            text: what stands there. Only the first 200 characters are kept; bytes that are no UTF-8 become ``\xNN``.

        Raises:
            TraceError: the import is strict.
        """
        shown = _shown(text)
        if self.strict:
            at = f"{self.source}:{where}" if isinstance(where, int) else f"{self.source}: {where}"
            raise TraceError(at, f"{shown!r} ({reason})", "input that can all be used, because of --strict")
        self.count += 1
        self.by_reason[reason] += 1
        self._first.setdefault(reason, (where, shown))
        line, place = (where, None) if isinstance(where, int) else (None, _shown(where))
        self._held.append((line, place, reason, shown))
        if len(self._held) >= _IN_MEMORY:
            self._spool.append(self._batch())
            self._held.clear()

    def summary(self) -> list[str]:
        """Return one line per reason, the most frequent first: how many, and where the first one stands."""
        lines = []
        for reason, count in self.by_reason.most_common():
            where, text = self._first[reason]
            at = f"line {where}" if isinstance(where, int) else where
            lines.append(f"{count:,} rejected ({reason}), the first at {at}: {text[:80]!r}")
        return lines

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write all entries to a file: CSV if its name ends in .csv, otherwise Arrow IPC.

        Columns: line (int64; null where the place is not a line), where (string; null where it is), reason, text.

        Raises:
            UsageError: the file cannot be written there.
        """
        name = os.fspath(path)
        batches: Iterator[pa.RecordBatch] = chain(self._spool, (self._batch(),))
        if not name.endswith(".csv"):
            arrow = AtomicArrowFile(name)
            arrow.open(_SCHEMA)
            for batch in batches:
                arrow.write(batch)
            arrow.finish()
            return
        try:
            with open(name, "wb") as file, pyarrow.csv.CSVWriter(file, _SCHEMA) as writer:
                for batch in batches:
                    writer.write_batch(batch)
        except OSError as error:
            raise UsageError(f"{name}: cannot be written ({error.strerror or error})") from error

    def _batch(self) -> pa.RecordBatch:
        columns = list(zip(*self._held, strict=True)) or [()] * len(_SCHEMA)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def _shown(text: str | bytes) -> str:
    part = text[:TEXT_LENGTH]
    if isinstance(part, str):
        return part.encode("utf-8", "backslashreplace").decode("utf-8")  # lone surrogates
    return part.decode("utf-8", "backslashreplace")[:TEXT_LENGTH]
