"""The page types of all memory_failure_event rows: read once for every text and place, kept for every row."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from replay.errors import UsageError
from replay.kernel.poison_types import ActionType, layout_of
from replay.trace.atomic import AtomicArrowFile
from replay.trace.poison import ActionResult

from .database import Chunk, Database, Value
from .decoder import TABLES, Place, Reading, Table, only_old_texts, read_at
from .fields import integers, text_of
from .host import Host
from .pieces import MEMORY_FAILURES, Labels, Piece
from .place import Places

__all__ = ("Failures",)

_RESULTS: dict[Value, int] = {result.name.capitalize().encode(): int(result) for result in ActionResult}
_NOT_GIVEN = 255
_MAX_TEXTS = 1 << 8  # rasdaemon has 23
_MACHINE_CHECKS, _NEWER_COLUMNS = "mce_record", {"ppin", "microcode"}
_OTHER = "(other texts)"
_PLACES = len(Place)


class Failures:
    """Reads page types and results of memory_failure_event.

    Args:
        host: its layout, rasdaemon's table and the machine.
        database: tells which table rasdaemon had, as far as it can be told.
        labels: takes a text for every reading.

    Attributes:
        latest: rasdaemon's table that the last rows are read with.
        why: how that is known.
        results_unknown: rows whose result rasdaemon could not tell.
    """

    def __init__(self, host: Host, database: Database, labels: Labels) -> None:
        self._layout, self._labels = host.layout, labels
        self._places = Places(host.machine)
        self._certain = host.table is not None
        self._last_old = -1
        if host.table is not None:
            self.latest, self.why = host.table, "as given"
        else:
            self.latest, self.why = _assumed(database)
            # Up to a text that only the older table has, that table was in use; rasdaemon is not downgraded.
            if "page_type" in database.tables.get(MEMORY_FAILURES, ()):
                last = database.last_id(MEMORY_FAILURES, "page_type", only_old_texts())
                self._last_old = -1 if last is None else last
        self._numbers = _numbers_of(host.kernel)
        self._texts: dict[Value, int] = {}
        self._readings: list[Reading] = []
        self._index: dict[tuple[int, bool, int], int] = {}
        self._rows: list[tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int32]]] = []
        self.results_unknown = 0

    def take(self, chunk: Chunk, piece: Piece, rows: NDArray[np.int64]) -> None:
        """Add type, result and label to rows of the trace.

        Args:
            chunk: of memory_failure_event.
            piece: the rows, with their pfns.
            rows: which rows of the chunk they are.
        """
        pfn = piece.columns["pfn"][0].astype(np.uint64)
        ids, numbered = integers(chunk.columns["id"])
        certain = self._certain | (numbered & (ids <= self._last_old))[rows]
        text = self._text_codes(chunk.columns["page_type"])[rows]
        keys = (text * 2 + certain) * _PLACES + self._places.of(pfn)
        readings = np.zeros((_MAX_TEXTS + 1) * 2 * _PLACES, np.int32)
        for key in np.flatnonzero(np.bincount(keys, minlength=len(readings))).tolist():
            readings[key] = self._reading(key)
        reading = readings[keys]
        number = self._of_readings(
            lambda r: self._numbers.get(r.type, _NOT_GIVEN) if r.type is not None else _NOT_GIVEN
        )
        piece.put("recorded_type", number[reading], number[reading] != _NOT_GIVEN)
        result = np.array([_RESULTS.get(v, _NOT_GIVEN) for v in chunk.columns["action_result"]], np.uint8)[rows]
        self.results_unknown += int((result == _NOT_GIVEN).sum())
        piece.put("recorded_result", result, result != _NOT_GIVEN)
        piece.put("label", self._of_readings(lambda r: self._labels.label(_label(r), MEMORY_FAILURES))[reading])
        self._rows.append((ids[rows], pfn, reading))

    def pages_of_ram(self) -> Iterator[NDArray[np.uint64]]:
        """Yield the pages that the kernel treated as its own, whichever of their types it was."""
        devices = {ActionType.DAX, ActionType.PFN_MAP}
        own = np.array([bool(r.types) and not devices & set(r.types) for r in self._readings], np.bool_)
        for _, pfn, reading in self._rows:
            yield pfn[own[reading]]

    def readings(self) -> list[tuple[Reading, int]]:
        """Return every reading that occurs and how often, the most frequent first."""
        counts = np.zeros(len(self._readings), np.int64)
        for _, _, reading in self._rows:
            counts += np.bincount(reading, minlength=len(counts))
        pairs = zip(self._readings, counts.tolist(), strict=True)
        return sorted(pairs, key=lambda pair: (-pair[1], pair[0].text, pair[0].meaning))

    def write(self, path: Path) -> None:
        """Write the page type of every row: CSV if the name ends in .csv, otherwise Arrow IPC.

        Columns: id (of memory_failure_event), pfn, text, number and page_type (null where not decided), candidates,
        confidence, reason.

        Raises:
            UsageError: the file cannot be written there.
        """
        schema = pa.schema({"id": pa.int64(), "pfn": pa.uint64()} | dict.fromkeys(_TEXTS, pa.string()))
        table = pa.Table.from_batches([self._batch(*rows) for rows in self._rows], schema)
        if path.suffix != ".csv":
            arrow = AtomicArrowFile(os.fspath(path))
            arrow.open(schema)
            for batch in table.to_batches():
                arrow.write(batch)
            arrow.finish()
            return
        try:
            pyarrow.csv.write_csv(table, os.fspath(path))
        except OSError as error:
            raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from error

    def _batch(
        self, ids: NDArray[np.int64], pfn: NDArray[np.uint64], reading: NDArray[np.int32]
    ) -> pa.RecordBatch:  # fmt: skip
        columns = [
            pa.array([tell(r) for r in self._readings], pa.string()).take(pa.array(reading)) for tell in _TEXTS.values()
        ]
        return pa.RecordBatch.from_arrays([pa.array(ids), pa.array(pfn), *columns], names=["id", "pfn", *_TEXTS])

    def _text_codes(self, values: Sequence[Value]) -> NDArray[np.int64]:
        known = self._texts
        for value in set(values) - known.keys():
            if len(known) < _MAX_TEXTS:
                known[value] = len(known)
        return np.array([known.get(value, _MAX_TEXTS) for value in values], np.int64)

    def _reading(self, key: int) -> int:
        """Return the index of the reading of a text, a certainty of rasdaemon's table and a place."""
        rest, place = divmod(key, _PLACES)
        code, certain = rest >> 1, bool(rest & 1)
        triple = (code, certain, place)
        if triple not in self._index:
            text = next((text_of(value)[:100] for value, number in self._texts.items() if number == code), _OTHER)
            table = TABLES[0] if certain and not self._certain else self.latest
            reading = read_at(text, self._layout, table, Place(place), certain=certain)
            self._index[triple] = len(self._readings)
            self._readings.append(reading)
        return self._index[triple]

    def _of_readings(self, value: Callable[[Reading], int]) -> NDArray[np.int64]:
        return np.array([value(reading) for reading in self._readings], np.int64)


def _listed(reading: Reading) -> str:
    return "; ".join(f"{n} {a.display}" for n, a in zip(reading.numbers, reading.types, strict=True))


_TEXTS: dict[str, Callable[[Reading], str | None]] = {
    "text": lambda r: r.text,
    "number": lambda r: str(r.numbers[0]) if r.type is not None else None,
    "page_type": lambda r: None if r.type is None else r.type.display,
    "candidates": _listed,
    "confidence": lambda r: r.confidence.name.lower(),
    "reason": lambda r: r.reason,
}


def _label(reading: Reading) -> str:
    return f'rasdaemon "{reading.text}": {reading.meaning} ({reading.confidence.name.lower()})'


def _assumed(database: Database) -> tuple[Table, str]:
    """Return the table that rasdaemon most likely had, and why.

    rasdaemon adds tables and columns that its version has when it opens a database. CXL events, and the columns of
    mce_record named here, came in the release that also brought the newer table.
    """
    old, new = TABLES
    if any(name.startswith("cxl_") for name in database.tables):
        return new, "assumed: the database has tables of CXL errors, which came with it"
    if _MACHINE_CHECKS in database.tables:
        if database.tables[_MACHINE_CHECKS] >= _NEWER_COLUMNS:
            return new, f"assumed: {_MACHINE_CHECKS} has columns that came with it"
        return old, f"assumed: {_MACHINE_CHECKS} lacks columns that came with the newer one"
    return new, "assumed: the database does not tell"


def _numbers_of(kernel: str) -> dict[ActionType, int]:
    """Return the numbers by which a replay of the trace will know the types: those of the kernel of its header."""
    try:
        return {action: number for number, action in enumerate(layout_of(kernel).types)}
    except UsageError:
        return {}
