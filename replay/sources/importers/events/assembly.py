"""Rows that wait on disk, then the trace: what its header says is known only when the input has been read."""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from replay import __version__
from replay.kernel.poison_types import ActionType, kernel_version
from replay.sources.importers.recording.table import Column
from replay.sources.importers.rejects import Rejects
from replay.sources.importers.spool import Spool
from replay.trace.header import MachineDescription, Provenance
from replay.trace.poison import NO_ACTION, MfFlag
from replay.trace.schema import COLUMNS, KINDS, LOOKUPS, POISON_CALLS, REQUIRED_COLUMNS, EventKind
from replay.trace.writer import TraceWriter

from .evidence import PagemapWitness, insert_rows
from .machine import MachineSource, Seen, kernel_note, with_memory
from .page_types import PageTypes
from .pagemaps import AssumedRow

__all__ = ("Assembly", "ImportReport")


@dataclass(frozen=True)
class ImportReport:
    """What an import of events made.

    Attributes:
        rows: rows of the trace.
        events: rows by kind; a run of lookups counts each of its pfns.
        rejected: entries of the rejects table, by reason.
        unused: events that were read and not needed, by kind.
        lost_events: events that the recorder lost.
        machine: where the machine is from.
        warnings: what had to be assumed.
    """

    rows: int
    events: dict[str, int]
    rejected: dict[str, int]
    unused: dict[str, int]
    lost_events: int
    machine: str
    warnings: tuple[str, ...]


@dataclass
class Assembly:
    """Takes rows block by block, and writes the trace at the end.

    Args:
        source: kind of the input, as in the provenance.
        name: its name.
        machine: what the user says about the machine.

    Attributes:
        unused: counts what was read and not needed.
        notes: what had to be assumed.
        memory: where there are pages of memory.
        seen: where there are pages, which may be of a device.
    """

    source: str
    name: str
    machine: MachineSource
    unused: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    memory: Seen = field(default_factory=Seen)
    seen: Seen = field(default_factory=Seen)
    _spool: Spool = field(default_factory=Spool)
    _names: set[str] = field(default_factory=set)
    _counts: Counter[str] = field(default_factory=Counter)
    _unpoisoned: int = -1  # row of the last unpoisoning that went well
    _plain: int | None = None  # row of the first memory_failure without flags
    _pagemaps: bool = False  # some row is about a pagemap

    def add(self, columns: Mapping[str, Column]) -> None:
        """Take rows: columns with masks of what is given; ``time`` and ``kind`` are among them."""
        kind, _ = columns["kind"]
        pages, _ = columns["nr_pages"] if "nr_pages" in columns else (np.ones(len(kind), np.int64), None)
        for number in np.unique(kind).tolist():
            rows = kind == number
            self._counts[KINDS[number]] += int(pages[rows].sum()) if number in LOOKUPS else int(rows.sum())
        self._note_injection(columns)
        found, given = columns.get("recorded_pgmap", (kind, np.zeros(len(kind), bool)))
        self._pagemaps |= "pgmap" in columns or bool((given & (found > 0)).any())
        used = {name: column for name, column in columns.items() if column[1].any()}
        self._names |= used.keys()
        arrays = [pa.array(values, mask=None if given.all() else ~given) for values, given in used.values()]
        self._spool.append(pa.RecordBatch.from_arrays(arrays, names=list(used)))

    def _note_injection(self, columns: Mapping[str, Column]) -> None:
        """Remember the last unpoisoning that went well, and the first error without flags."""
        kind, before = columns["kind"][0], self._spool.rows
        ret, given = columns.get("recorded_ret", (kind, np.zeros(len(kind), bool)))
        well = np.flatnonzero((kind == EventKind.UNPOISON_MEMORY) & given & (ret == 0))
        if len(well):
            self._unpoisoned = before + int(well[-1])
        _, given = columns.get("flags", (kind, np.zeros(len(kind), bool)))
        plain = np.flatnonzero((kind == EventKind.MEMORY_FAILURE) & ~given)
        if len(plain) and self._plain is None:
            self._plain = before + int(plain[0])

    def _injected(self) -> int:
        """Return how many first rows hold only errors that were injected, as far as their flags are not given.

        Kernels that remember whether an error was real refuse to unpoison after one: so those before were injected.
        Kernels that do not remember do not look at the flag either.
        """
        if self._plain is None or self._plain > self._unpoisoned:
            return 0
        self.notes.append("pages were unpoisoned, so the errors before that are taken to be injected (MF_SW_SIMULATED)")
        return self._unpoisoned

    def finish(
        self,
        output: str | os.PathLike[str],
        types: PageTypes | None,
        rejects: Rejects,
        *,
        kernel: str,
        release: str = "",
        clock: str = "",
        lost: int = 0,
        patches: Mapping[int, Mapping[str, int]] | None = None,
        drop: frozenset[str] = frozenset(),
        no_actions: bool = False,
        compression: str | None = None,
    ) -> ImportReport:
        """Write the trace.

        Args:
            output: the file.
            types: how page types were decoded.
            rejects: what was not used.
            kernel: version, from the input or the user.
            release: of the kernel, where the input says it.
            clock: of the time column.
            lost: events that the recorder lost.
            patches: columns that became known late, by call number.
            drop: columns that turned out to say nothing.
            no_actions: the input has no action reports at all, so that a call without one tells nothing.
            compression: None, "lz4" or "zstd".
        """
        patches = patches or {}
        machine = self.machine.known()
        origin = f"of {os.fspath(self.machine.trace or '')}" if machine else "put together from the events"
        pagemaps = PagemapWitness(machine.kernel if machine else kernel, self.machine.page_shift())
        if self._pagemaps or (types is not None and types.met(ActionType.DAX)):
            for before, columns in self._batches(pagemaps.NEEDS, patches, no_actions=no_actions):
                pagemaps.tell(columns, before)
        devices = pagemaps.spans(self.memory.meets)
        self.seen = self.seen.apart_from(devices).union(self.memory)
        if machine is None:
            machine = self.machine.put_together(kernel, release, self.seen, self.name, devices)
            self.notes.append(
                "the machine is put together from the events (memory: the sections in which they saw pages): answers "
                "about any other pfn mean nothing; --machine gives the machine of another trace"
            )
        else:
            machine, blocks = with_memory(machine, self.memory, devices)
            if blocks:
                self.notes.append(
                    f"there were memory errors in {blocks:,} memory blocks where the machine has no boot memory: that was "
                    "added later, which events do not tell, or the machine is another one; they are taken for memory"
                )
        assumed, note = pagemaps.rows(machine, self.machine.devices())
        self.notes += [note] if note else []
        injected = self._injected()
        said = re.match(r"\d+\.\d+", release)
        if said and kernel_version(said[0])[:2] != kernel_version(machine.kernel)[:2]:
            self.notes.append(f"the input is of kernel {release}, the machine of kernel {machine.kernel}")
        self._note(machine, types, rejects, lost)
        provenance = Provenance(
            source=self.source, name=os.path.basename(self.name), tool=f"pfn-replay {__version__}", clock=clock,
            lost_events=lost, unused=dict(sorted((+self.unused).items())), notes=tuple(self.notes),
            parameters={"machine": origin, **(types.table() if types else {})},
        )  # fmt: skip
        used = self._names.union(*patches.values(), {"flags"} if injected else ()) - drop
        used = used.union(*(row.values for row in assumed))
        names = [name for name in COLUMNS if name in used or name in REQUIRED_COLUMNS]
        with TraceWriter(
            output, machine=machine, provenance=provenance, columns=names, compression=compression
        ) as writer:
            waiting = deque(assumed)
            for before, columns in self._batches(frozenset(names), patches, no_actions=no_actions):
                if before < injected:
                    _mark_injected(columns, injected - before)
                here = _up_to(before + len(columns["kind"][0]), waiting)
                writer.write(insert_rows(columns, here, before) if here else columns)
        return ImportReport(
            rows=self._spool.rows + len(assumed), events=dict(sorted(self._counts.items())),
            rejected=dict(rejects.by_reason), unused=dict(provenance.unused), lost_events=lost, machine=origin,
            warnings=tuple(self.notes),
        )  # fmt: skip

    def _batches(
        self, names: frozenset[str], patches: Mapping[int, Mapping[str, int]], *, no_actions: bool
    ) -> Iterator[tuple[int, dict[str, Column]]]:
        """Yield these columns of the rows, with what became known late; and how many rows came before."""
        before = 0
        for batch in self._spool:
            columns = {name: _column(batch.column(name)) for name in batch.schema.names if name in names}
            _patch(columns, patches)
            if no_actions:
                _drop_no_action(columns)
            yield before, columns
            before += batch.num_rows

    def _note(self, machine: MachineDescription, types: PageTypes | None, rejects: Rejects, lost: int) -> None:
        self.notes += types.notes() if types else []
        if self.machine.trace is not None and (outside := self.seen.outside(machine)) is not None:
            self.notes.append(
                f"the events saw pages near pfn {outside:#x}, where the machine has no boot memory: that was added later, "
                "which events do not tell, or the machine is another one"
            )
        if (note := kernel_note(machine.kernel)) is not None:
            self.notes.append(note)
        if rejects.count:
            self.notes.append(f"{rejects.count:,} pieces of the input were rejected")
        if lost:
            self.notes.append(f"the recorder lost {lost:,} events: a replay of this trace is not to be trusted")


def _up_to(end: int, waiting: deque[AssumedRow]) -> list[AssumedRow]:
    """Take the rows that stand in front of one of the first ``end`` rows."""
    found = []
    while waiting and waiting[0].before < end:
        found.append(waiting.popleft())
    return found


def _column(array: pa.Array) -> Column:
    """Return values, with 0 where there is none, and the mask of those that are given."""
    given = np.asarray(array.is_valid())
    return np.array(array.fill_null(0)), np.array(given)


def _patch(columns: dict[str, Column], patches: Mapping[int, Mapping[str, int]]) -> None:
    if not patches or "call" not in columns:
        return
    (call, given), kind = columns["call"], columns["kind"][0]
    rows = np.flatnonzero(given & np.isin(kind, list(POISON_CALLS)))
    for row in rows[np.isin(call[rows], list(patches))].tolist():
        for name, value in patches[int(call[row])].items():
            if name not in columns:
                columns[name] = np.zeros(len(kind), COLUMNS[name].numpy), np.zeros(len(kind), bool)
            values, mask = columns[name]
            values[row], mask[row] = value, True


def _drop_no_action(columns: dict[str, Column]) -> None:
    if "recorded_type" in columns:
        values, given = columns["recorded_type"]
        nothing = values == NO_ACTION
        columns["recorded_type"] = np.where(nothing, 0, values).astype(values.dtype), given & ~nothing


def _mark_injected(columns: dict[str, Column], count: int) -> None:
    """Set the flag of simulated errors in the memory_failure rows among the first ones that have no flags."""
    kind = columns["kind"][0]
    none = np.zeros(len(kind), COLUMNS["flags"].numpy), np.zeros(len(kind), bool)
    flags, given = columns.setdefault("flags", none)
    rows = (kind == EventKind.MEMORY_FAILURE) & ~given & (np.arange(len(kind)) < count)
    flags[rows], given[rows] = MfFlag.SW_SIMULATED, True
