"""Tables of rasdaemon -> rows of a trace: poison calls, signals, and marks for the errors that no call is recorded for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from replay.sources.importers.recording.table import Column
from replay.sources.importers.rejects import Rejects
from replay.trace.schema import COLUMNS, EventKind

from .database import Chunk
from .fields import SENTINEL, addresses, integers, pfns, text_of, times

__all__ = ("EVENT_COLUMNS", "MARKS", "MARK_TABLES", "SIGNALS", "Labels", "MarkTable", "Piece", "Reader")

Bools = NDArray[np.bool_]

MEMORY_FAILURES, SIGNALS = "memory_failure_event", "signal_event"
EVENT_COLUMNS = {
    MEMORY_FAILURES: ("timestamp", "pfn", "page_type", "action_result"),
    SIGNALS: ("timestamp", "sig", "errorno", "code", "comm", "pid", "grp", "res"),
}
_MAX_LABELS = 1 << 16
_MAX_LABEL = 200
_DELIVERED = 0
_LAST_SIGNAL = 64
_ADDRESS_VALID = 1 << 58  # of the status of a machine check bank


@dataclass(frozen=True)
class MarkTable:
    """A table whose rows become marks.

    Attributes:
        name: of the table.
        address: the column with the physical address.
        label: columns that make the mark's text, each with the words in front of it.
        count: the column that says how often, or "".
        status: the column whose bit 58 says whether the address holds, or "".
    """

    name: str
    address: str
    label: tuple[tuple[str, str], ...]
    count: str = ""
    status: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns to read."""
        names = ("timestamp", self.address, *(name for name, _ in self.label), self.count, self.status)
        return tuple(name for name in names if name)


# extlog_event has a column error_count in which rasdaemon stores the number of the event in its sequence: no count.
MARK_TABLES = (
    MarkTable("mc_event", "address", (("err_type", ""), ("err_msg", ""), ("label", "on ")), "err_count"),
    MarkTable(
        "mce_record", "addr", (("error_msg", ""), ("mcistatus_msg", ""), ("mc_location", "at ")), status="status"
    ),
    MarkTable("extlog_event", "address", (("etype", "type "), ("severity", "severity "), ("fru_text", "on "))),
    MarkTable("cxl_poison_event", "hpa", (("trace_type", ""), ("memdev", "of "), ("source", "source "))),
    MarkTable("cxl_general_media_event", "hpa", (("log_type", ""), ("memdev", "of "))),
    MarkTable("cxl_dram_event", "hpa", (("log_type", ""), ("memdev", "of "))),
)
MARKS = {table.name: table for table in MARK_TABLES}


class Labels:
    """The texts that ``label`` points to, in the order of their first use; a stranger's file cannot make them many."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self.dropped = 0

    def label(self, text: str, instead: str) -> int:
        """Return the index of a text, or of the other one when there are too many texts."""
        text = text[:_MAX_LABEL]
        if text not in self._index and len(self._index) >= _MAX_LABELS:
            self.dropped, text = self.dropped + 1, instead
        return self._index.setdefault(text, len(self._index))

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts by index."""
        return tuple(self._index)


@dataclass
class Piece:
    """Rows of one table, in the order of their ids.

    Attributes:
        kind: what each row is.
        columns: by name, values and where they are given.
    """

    kind: NDArray[np.uint8]
    columns: dict[str, Column] = field(default_factory=dict)

    def put(self, name: str, values: NDArray[np.generic], given: Bools | None = None) -> None:
        """Set a column; 0 stands where nothing is given."""
        mask = np.ones(len(values), np.bool_) if given is None else given
        self.columns[name] = np.where(mask, values, 0).astype(COLUMNS[name].numpy), mask


class Reader:
    """Turns chunks into pieces; what cannot be used goes to the rejects.

    Args:
        page_shift: log2 of the page size.
        end: pfns from here on are beyond the machine's addresses.
        labels: takes the texts of marks.
        rejects: takes rows that cannot be used.

    Attributes:
        clock: per table the latest time so far; rows are in the order in which rasdaemon stored them, and the wall clock
            may have been set back.
        counts: what had to be assumed, by kind.
    """

    def __init__(self, page_shift: int, end: int, labels: Labels, rejects: Rejects) -> None:
        self._shift, self._end, self._labels, self._rejects = page_shift, np.uint64(end), labels, rejects
        self.clock: dict[str, int] = {}
        self.counts: Counter[str] = Counter()

    def failures(self, chunk: Chunk) -> tuple[Piece, NDArray[np.int64]]:
        """Read rows of memory_failure_event, without the page type; and which rows of the chunk they are."""
        time, fine = self._times(chunk)
        number, given = pfns(chunk.columns["pfn"])
        self._reject(chunk, fine & ~given, "no pfn in hexadecimal")
        beyond = given & (number >= np.uint64(1 << (64 - self._shift)))
        self._reject(chunk, fine & beyond, "a pfn beyond 64 bits of address")
        rows = np.flatnonzero(fine & given & ~beyond)
        piece = Piece(np.full(len(rows), EventKind.MEMORY_FAILURE, np.uint8))
        piece.put("time", self._ordered(chunk.table, time[rows]))
        piece.put("pfn", number[rows])
        return piece, rows

    def signals(self, chunk: Chunk) -> Piece:
        """Read rows of signal_event: those that were delivered are signals, the others marks."""
        time, fine = self._times(chunk)
        (number, known), (task, there) = integers(chunk.columns["sig"]), integers(chunk.columns["pid"])
        usable = known & there & (number > 0) & (number <= _LAST_SIGNAL) & (task >= 0) & (task < 1 << 32)
        self._reject(chunk, fine & ~usable, "no signal number or process id")
        rows = np.flatnonzero(fine & usable)
        code, coded = integers(chunk.columns["code"])
        coded &= (code >= -(1 << 31)) & (code < 1 << 31)
        result, told = integers(chunk.columns["res"])
        delivered = (~told | (result == _DELIVERED))[rows]
        piece = Piece(np.where(delivered, EventKind.SIGNAL, EventKind.MARK).astype(np.uint8))
        piece.put("time", self._ordered(chunk.table, time[rows]))
        piece.put("task", task[rows])
        piece.put("signal", number[rows])
        piece.put("recorded_code", code[rows], coded[rows])
        label = np.zeros(len(rows), np.int64)
        for index in np.flatnonzero(~delivered).tolist():
            label[index] = self._labels.label("signal_event: not delivered", "")
        piece.put("label", label, ~delivered)
        return piece

    def marks(self, chunk: Chunk) -> Piece:
        """Read rows of a table of errors that no poison call is recorded for."""
        table = MARKS[chunk.table]
        time, fine = self._times(chunk)
        pfn, given = addresses(chunk.columns[table.address], self._shift)
        if table.status:
            status, told = integers(chunk.columns[table.status])
            given &= ~told | ((status & _ADDRESS_VALID) != 0)
        beyond = fine & given & (pfn >= self._end)
        self._reject(chunk, beyond, "an address beyond the machine's physical addresses")
        rows = np.flatnonzero(fine & ~beyond)
        self.counts[f"rows of {table.name} without an address"] += int((~given[rows]).sum())
        piece = Piece(np.full(len(rows), EventKind.MARK, np.uint8))
        piece.put("time", self._ordered(table.name, time[rows]))
        piece.put("pfn", pfn[rows], given[rows])
        if table.count:
            count, counted = integers(chunk.columns[table.count])
            piece.put("value", count[rows], counted[rows])
        piece.put("label", self._mark_labels(chunk, table)[rows])
        return piece

    def _mark_labels(self, chunk: Chunk, table: MarkTable) -> NDArray[np.int64]:
        known: dict[tuple[object, ...], int] = {}
        columns = [chunk.columns[name] for name, _ in table.label]
        label = np.empty(len(chunk), np.int64)
        for row, values in enumerate(zip(*columns, strict=True)):
            index = known.get(values)
            if index is None:
                words = [
                    before + text for (_, before), value in zip(table.label, values, strict=True) if (text := text_of(value))
                ]  # fmt: skip
                index = known[values] = self._labels.label(f"{table.name}: {' '.join(words)}", table.name)
            label[row] = index
        return label

    def _times(self, chunk: Chunk) -> tuple[NDArray[np.int64], Bools]:
        time, fine = times(chunk.columns["timestamp"])
        self._reject(chunk, ~fine, "no time of the form YYYY-MM-DD HH:MM:SS +HHMM")
        self.counts["rows without a time"] += int((fine & (time == SENTINEL)).sum())
        return time, fine

    def _ordered(self, table: str, time: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return times that never decrease; the order of the ids is the order of the events."""
        if not len(time):
            return time
        latest = np.maximum.accumulate(np.concatenate(([self.clock.get(table, 0)], time)))[1:]
        self.counts["times set back"] += int(((latest != time) & (time != SENTINEL)).sum())
        self.clock[table] = int(latest[-1])
        return latest

    def _reject(self, chunk: Chunk, bad: Bools, reason: str) -> None:
        for row in np.flatnonzero(bad).tolist():
            self._rejects.add(chunk.place(row), reason, chunk.text(row))
