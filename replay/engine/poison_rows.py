"""The poison rows of a replay: where the walk functions, the poison engine and the report meet."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from replay.engine.observer import PoisonObserver
from replay.engine.poison import PoisonEngine
from replay.engine.poison_call import Decided, Surroundings
from replay.engine.poison_columns import RowCells
from replay.engine.poison_plain import PlainCalls
from replay.engine.poison_report import PoisonReport
from replay.engine.resolve import StateIndex
from replay.engine.rows import ColumnSource, Outcomes
from replay.engine.tabulate import YES, DecisionTable
from replay.engine.tally import Tally
from replay.engine.transitions import Cell
from replay.errors import TraceError
from replay.kernel.calls import Call, Kernel
from replay.kernel.hotplug import RemoveMemory
from replay.kernel.memremap import MemunmapPages
from replay.kernel.resource_queries import within_is_data
from replay.kernel.walk import PFN_TO_ONLINE_PAGE, PFN_VALID, Bit, PgmapState
from replay.machine.machine import Machine
from replay.trace.header import MachineDescription
from replay.trace.schema import POISON_CALLS, POISON_STATES, EventKind, Phase

__all__ = ("IS_POISON", "PoisonRows")

_MANY = 8  # calls in a row from which on they are taken together
_IS_CALL = np.zeros(256, np.bool_)
_IS_CALL[list(POISON_CALLS)] = True
IS_POISON = np.zeros(256, np.bool_)
IS_POISON[[*POISON_CALLS, *POISON_STATES, EventKind.SIGNAL, EventKind.ACCESS, EventKind.COUNTERS]] = True


class PoisonRows:
    """Takes the rows about poison, in order; the walk state is that of the machine at that moment.

    Args:
        machine: the memory.
        kernel: whose rules apply.
        description: sysctls at the start, and the kernel that recorded.
        index: state codes of the machine.
        tables: decision tables of the walk functions.
        tally: where to count.
        open_loop: tasks do not die of signals.
        log: is told every decided call.
    """

    def __init__(
        self,
        machine: Machine,
        kernel: Kernel,
        description: MachineDescription,
        index: StateIndex,
        tables: Mapping[str, DecisionTable],
        tally: Tally,
        *,
        open_loop: bool,
        log: Callable[[Decided], None] | None = None,
    ) -> None:
        self._machine, self._index = machine, index
        self._valid = tables[PFN_VALID.name].classes
        self._online = tables[PFN_TO_ONLINE_PAGE.name].classes
        self._tally = tally
        self._report = PoisonReport(tally, description.kernel)
        self._engine = PoisonEngine(machine, kernel, description, self._surroundings, open_loop=open_loop)
        self._plain = PlainCalls(self._engine, index, self._valid, self._online)
        self._is_data = [within_is_data(kernel, data=data) for data in (False, True)]
        self._log = log
        self._cells: RowCells | None = None
        self._going: dict[int, Call] = {}

    def observe(self, observer: PoisonObserver | None) -> None:
        """Let somebody be told of every call."""
        self._report.observer = observer

    def take_rows(self, batch: ColumnSource, start: int, end: int, outcomes: Outcomes | None) -> None:
        """Take those of some rows that are about poison.

        Args:
            batch: which they are rows of.
            start: index of the first within the batch.
            end: index after the last.
            outcomes: columns of the batch, or None.
        """
        kinds = np.asarray(batch.column("kind")[start:end], np.uint8)
        if int(kinds.min()) >= min(POISON_CALLS) and int(kinds.max()) <= max(POISON_CALLS):
            self._take_run(batch, np.arange(start, end), outcomes, calls=True)
            return
        rows = np.flatnonzero(IS_POISON[kinds]) + start
        is_call = _IS_CALL[kinds[rows - start]]
        turns = np.flatnonzero(is_call[1:] != is_call[:-1]) + 1
        for first, after in itertools.pairwise([0, *turns.tolist(), rows.size]):
            if first < after:
                self._take_run(batch, rows[first:after], outcomes, calls=bool(is_call[first]))

    def _take_run(
        self, batch: ColumnSource, rows: NDArray[np.int64], outcomes: Outcomes | None, *, calls: bool
    ) -> None:
        """Take rows all of which are calls, or none."""
        if calls and rows.size >= _MANY and self._log is None:
            self._take_calls(batch, rows, outcomes)
        else:
            for at in rows.tolist():
                self._take(batch, at, outcomes)

    def _take_calls(self, batch: ColumnSource, rows: NDArray[np.int64], outcomes: Outcomes | None) -> None:
        """Take calls: the plain ones at once, the others one by one."""
        for part in self._plain.parts(batch, rows):
            with self._report.in_row_order():
                plain, others = self._plain.take(batch, part)
                for calls in plain:
                    self._report.plain(calls, batch, outcomes)
                for at in others.tolist():
                    self._take(batch, at, outcomes)

    def _take(self, batch: ColumnSource, at: int, outcomes: Outcomes | None) -> None:
        """Take one row."""
        kind = EventKind(int(batch.column("kind")[at]))
        if self._cells is None or self._cells.batch is not batch:
            self._cells = RowCells(batch)
        cell = self._cells.of(at)
        if kind in POISON_CALLS:
            call = self._engine.call(kind, batch.row + at, at, cell)
            self._report.decided(call, outcomes)
            if self._log is not None:
                self._log(call)
        elif kind is EventKind.SIGNAL:
            self._report.signal(cell)
        elif kind is EventKind.ACCESS:
            self._report.access(batch.row + at, cell, *self._engine.access(cell))
        elif kind is EventKind.COUNTERS:
            self._report.counters(batch.row + at, cell, self._engine)
        else:
            if kind is EventKind.PAGE_STATE:
                self._refuse_torn_folio(batch.row + at, cell)
            self._engine.state(kind, cell)

    def _refuse_torn_folio(self, row: int, cell: Cell) -> None:
        """A folio lies in one pagemap or in none; a state that says otherwise describes no kernel's memory.

        Raises:
            TraceError: a folio of the row crosses the edge of a pagemap.
        """
        size = 1 << (cell("order") or 0)
        start, end = cell("pfn") or 0, (cell("pfn") or 0) + (cell("nr_pages") or 1)
        first, last = start // size * size, -(-end // size) * size
        for edge in self._machine.pagemaps.index.edges(first, last) if size > 1 else ():
            if edge % size:
                head = edge // size * size
                folio = f"the folio [{head:#x}, {head + size:#x})"
                found = f"{size.bit_length() - 1}: {folio} crosses the edge {edge:#x} of a pagemap"
                raise TraceError(f"row {row}, column order", found, "a folio within one pagemap, or outside of all")

    def after(self, kind: EventKind, cell: Cell, call: Call | None) -> None:
        """Follow a transition: memory that is gone takes its poison with it."""
        if kind not in {EventKind.REMOVE_MEMORY, EventKind.MEMUNMAP_PAGES}:
            return
        number, phase = cell("call") or 0, Phase(cell("phase") or 0)
        if call is not None and call.ret == 0:
            self._going[number] = call
        if phase not in {Phase.WHOLE, Phase.DONE} or number not in self._going:
            return
        self.gone(self._going.pop(number))

    def gone(self, done: Call) -> None:
        """Follow a finished call: memory that it took away takes its poison with it."""
        if done.ret == 0 and isinstance(done, MemunmapPages):
            for start, end in done.pagemap.ranges if done.pagemap else ():
                self._engine.unmapped(start, end)
        elif done.ret == 0 and isinstance(done, RemoveMemory):
            self._engine.removed(done.request.start, done.request.end)

    def finish(self) -> None:
        """Compare what is left."""
        self._report.finish()
        if self._engine.used:
            self._tally.counters = self._engine.counters()

    def _surroundings(self, pfn: int) -> Surroundings:
        self._index.refresh()
        segment = int(np.searchsorted(self._index.starts, np.uint64(pfn), "right")) - 1
        code = int(self._index.codes[segment])
        live = code >> Bit.PAGEMAP & 3 == PgmapState.LIVE
        pgmap = int(self._index.pgmaps[segment]) if live else 0
        found = self._machine.pagemaps.by_id.get(pgmap)
        data = found is None or any(low <= pfn < high for low, high in found.data_spans())
        metadata = pgmap != 0 and not self._is_data[data]
        return Surroundings(bool(self._valid[code] & YES), bool(self._online[code] & YES), pgmap, metadata)
