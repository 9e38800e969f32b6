"""rasdaemon's database -> a trace file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from replay import __version__
from replay.errors import InputError
from replay.sources.importers.events.evidence import PagemapWitness, insert_rows
from replay.sources.importers.events.machine import Seen, kernel_note
from replay.sources.importers.recording.table import Column
from replay.sources.importers.rejects import Rejects
from replay.trace.header import MachineDescription, Provenance
from replay.trace.schema import COLUMNS
from replay.trace.writer import write_trace

from .database import Database
from .decoder import Confidence, Reading
from .failures import Failures
from .host import Host
from .pieces import EVENT_COLUMNS, MARKS, MEMORY_FAILURES, SIGNALS, Labels, Piece, Reader

__all__ = ("RasdaemonReport", "import_rasdaemon")

Progress = Callable[[int, int], None]
_ADDRESS_BITS = 52  # no architecture has more
_TOGETHER = "put together from the events"
_TABLES = (MEMORY_FAILURES, *MARKS, SIGNALS)
_GENERAL = (
    "times have a resolution of 1 s: events of one second are in the order in which rasdaemon stored each kind",
    "rasdaemon does not store the flags of memory_failure, the calling task or what it returned",
)


@dataclass(frozen=True)
class RasdaemonReport:
    """What an import made of a database.

    Attributes:
        rows: rows of the trace.
        tables: rows of the trace by the table they come from.
        unused: rows of tables that were not used, by table.
        kernel: of the trace.
        layout: name of the enum layout.
        table: rasdaemon's table that the last rows were read with.
        readings: every reading of a page type that occurs, and how often.
        undecided: memory_failure_event rows whose page type is not given.
        reconstructed: the machine was put together from the events.
        notes: what was assumed.
    """

    rows: int
    tables: dict[str, int]
    unused: dict[str, int]
    kernel: str
    layout: str
    table: str
    readings: tuple[tuple[Reading, int], ...]
    undecided: int
    reconstructed: bool
    notes: tuple[str, ...]


def import_rasdaemon(
    path: Path,
    output: Path,
    host: Host,
    rejects: Rejects,
    *,
    decoded: Path | None = None,
    compression: str | None = None,
    progress: Progress | None = None,
) -> RasdaemonReport:
    """Turn rasdaemon's database into a trace file.

    Args:
        path: ras-mc_event.db.
        output: the trace file.
        host: what is known about the host.
        rejects: takes rows that cannot be used.
        decoded: file for the page type of every memory_failure_event: text, numbers, meaning, confidence, reason.
        compression: None, "lz4" or "zstd".
        progress: called with rows read and rows in all.

    Raises:
        InputError: no such database, a damaged one, or one without any table of memory errors.
    """
    labels = Labels()
    with Database(path) as database:
        tables = _tables(database, path)
        failures, reader = Failures(host, database, labels), _reader(host, labels, rejects)
        pieces = _read(database, tables, reader, failures, progress)
        unused = {name: rows for name in sorted(set(database.tables) - set(tables)) if (rows := database.count(name))}
    columns = _merged([piece for name in tables for piece in pieces[name]])
    pagemaps = PagemapWitness(host.kernel, _page_shift(host))
    pagemaps.tell(columns)
    machine = _machine(host, failures, path, pagemaps)
    added, assumed = pagemaps.rows(machine, host.source.devices())
    columns = insert_rows(columns, added) if added else columns
    notes = _notes(host, machine, failures, reader, labels) + ((assumed,) if assumed else ())
    origin = _TOGETHER if host.machine is None else f"of {os.fspath(host.source.trace or '')}"
    provenance = Provenance(
        source="rasdaemon", name=path.name, tool=f"pfn-replay {__version__}", clock="realtime", unused=unused,
        parameters={"machine": origin}, notes=notes,
    )  # fmt: skip
    write_trace(output, columns, machine=machine, provenance=provenance, strings=labels.texts, compression=compression)
    if decoded is not None:
        failures.write(decoded)
    readings = tuple(failures.readings())
    return RasdaemonReport(
        rows=len(columns["time"][0]), tables={n: sum(len(p.kind) for p in pieces[n]) for n in tables}, unused=unused,
        kernel=host.kernel, layout=host.layout.name, table=failures.latest.name, readings=readings,
        undecided=sum(count for reading, count in readings if not reading.confidence.decided),
        reconstructed=host.machine is None, notes=notes,
    )  # fmt: skip


def _page_shift(host: Host) -> int:
    return host.source.page_shift() if host.machine is None else host.machine.page_shift


def _machine(host: Host, failures: Failures, path: Path, pagemaps: PagemapWitness) -> MachineDescription:
    """Return the host's machine, or one whose memory is where the kernel found pages of its own."""
    if host.machine is not None:
        release = host.release or host.machine.release
        return dataclasses.replace(host.machine, kernel=host.kernel, release=release)
    seen = Seen()
    for pages in failures.pages_of_ram():
        seen.add(np.sort(pages.astype(np.int64)))
    return host.source.put_together(host.kernel, host.release, seen, str(path), pagemaps.spans(seen.meets))


def _tables(database: Database, path: Path) -> list[str]:
    """Return the tables to read, those with nothing but an id left out."""
    needed = {name: columns[0] for name, columns in EVENT_COLUMNS.items()} | dict.fromkeys(MARKS, "timestamp")
    tables = [name for name in _TABLES if needed[name] in database.tables.get(name, ())]
    if not tables:
        found = ", ".join(sorted(database.tables)[:20]) or "none"
        raise InputError(path, f"tables: {found}", f"one of rasdaemon's: {', '.join(_TABLES)}")
    return tables


def _reader(host: Host, labels: Labels, rejects: Rejects) -> Reader:
    shift = _page_shift(host)
    if host.machine is None:
        return Reader(shift, 1 << _ADDRESS_BITS - shift, labels, rejects)
    machine = host.machine
    return Reader(shift, 1 << machine.max_physmem_bits - shift, labels, rejects)


def _read(
    database: Database, tables: list[str], reader: Reader, failures: Failures, progress: Progress | None
) -> dict[str, list[Piece]]:
    pieces: dict[str, list[Piece]] = {}
    done, total = 0, sum(map(database.count, tables)) if progress else 0
    for name in tables:
        found = pieces[name] = []
        for chunk in database.chunks(name, EVENT_COLUMNS[name] if name in EVENT_COLUMNS else MARKS[name].columns):
            if name == MEMORY_FAILURES:
                piece, rows = reader.failures(chunk)
                failures.take(chunk, piece, rows)
            else:
                piece = reader.signals(chunk) if name == SIGNALS else reader.marks(chunk)
            found.append(piece)
            done += len(chunk)
            if progress:
                progress(done, total)
    return pieces


def _merged(pieces: list[Piece]) -> dict[str, Column]:
    """Return the columns of all pieces in the order of time; what is of one time keeps its order."""
    kind = np.concatenate([piece.kind for piece in pieces]) if pieces else np.zeros(0, np.uint8)
    columns: dict[str, Column] = {"kind": (kind, np.ones(len(kind), np.bool_))}
    for name in COLUMNS:
        parts = [(piece.columns.get(name), len(piece.kind)) for piece in pieces]
        if any(part and part[1].any() for part, _ in parts) or name == "time":
            values = [part[0] if part else np.zeros(rows, COLUMNS[name].numpy) for part, rows in parts]
            given = [part[1] if part else np.zeros(rows, np.bool_) for part, rows in parts]
            empty = np.zeros(0, COLUMNS[name].numpy)
            columns[name] = np.concatenate([empty, *values]), np.concatenate([np.zeros(0, np.bool_), *given])
    order = np.argsort(columns["time"][0], kind="stable")
    return {name: (values[order], given[order]) for name, (values, given) in columns.items()}


def _notes(
    host: Host, machine: MachineDescription, failures: Failures, reader: Reader, labels: Labels
) -> tuple[str, ...]:
    notes = [*_GENERAL, *host.notes]
    if host.machine is None:
        notes.append(
            f"the machine is {_TOGETHER} ({machine.arch}; memory: the sections of pages that the kernel treated as its "
            "own): answers about any other pfn mean nothing; --machine gives the host's"
        )
    if (without := kernel_note(machine.kernel)) is not None:
        notes.append(without)
    readings = failures.readings()
    if readings:
        table = failures.latest
        notes.append(f"rasdaemon's table of page types: that of {table.name} ({table.versions}), {failures.why}")
    counts = {confidence: sum(n for r, n in readings if r.confidence is confidence) for confidence in Confidence}
    said = ", ".join(f"{confidence.name.lower()} {count:,}" for confidence, count in counts.items() if count)
    notes += [f"page types of memory_failure_event: {said}"] if said else []
    if failures.results_unknown:
        notes.append(f"{failures.results_unknown:,} results of memory_failure_event that rasdaemon could not tell")
    notes += [f"{count:,} {what}" for what, count in sorted(reader.counts.items()) if count]
    if labels.dropped:
        notes.append(f"{labels.dropped:,} texts of marks were left out: there are too many different ones")
    return tuple(notes)
