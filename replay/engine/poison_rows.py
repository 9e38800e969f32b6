"""The poison rows of a replay: where the walk functions, the poison engine and the report meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from replay.engine.poison import PoisonEngine
from replay.engine.poison_call import Decided, Surroundings
from replay.engine.poison_report import PoisonReport
from replay.engine.resolve import StateIndex
from replay.engine.rows import ColumnSource, Outcomes, cell_of
from replay.engine.tabulate import YES, DecisionTable
from replay.engine.tally import Tally
from replay.engine.transitions import Cell
from replay.errors import TraceError
from replay.kernel.calls import Call, Kernel
from replay.kernel.memremap import MemunmapPages
from replay.kernel.walk import PFN_TO_ONLINE_PAGE, PFN_VALID, Bit, PgmapState
from replay.machine.machine import Machine
from replay.trace.header import MachineDescription
from replay.trace.schema import POISON_CALLS, EventKind, Phase

__all__ = ("PoisonRows",)


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
        self._engine = PoisonEngine(
            machine, kernel, description, self._surroundings, self._decided, open_loop=open_loop
        )
        self._log = log
        self._waiting: dict[int, Outcomes | None] = {}
        self._going: dict[int, Call] = {}

    @property
    def settled(self) -> bool:
        """Whether no call is waiting to be decided."""
        return not self._waiting

    def take(self, batch: ColumnSource, kind: EventKind, at: int, outcomes: Outcomes | None) -> None:
        """Take one row."""
        cell = cell_of(batch, at)
        if kind in POISON_CALLS:
            self._waiting[batch.row + at] = outcomes
            self._engine.call(kind, batch.row + at, at, cell)
        elif kind is EventKind.SIGNAL:
            self._engine.settle()
            self._report.signal(cell)
        elif kind is EventKind.ACCESS:
            self._report.access(batch.row + at, cell, *self._engine.access(cell))
        elif kind is EventKind.COUNTERS:
            self._engine.settle()
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

    def settle(self) -> None:
        """Decide what has gathered: the machine is about to change."""
        self._engine.settle()

    def after(self, kind: EventKind, cell: Cell, call: Call | None) -> None:
        """Follow a transition: memory that is gone takes its poison with it."""
        if kind not in {EventKind.REMOVE_MEMORY, EventKind.MEMUNMAP_PAGES}:
            return
        number, phase = cell("call") or 0, Phase(cell("phase") or 0)
        if call is not None and call.ret == 0:
            self._going[number] = call
        if phase not in {Phase.WHOLE, Phase.DONE} or number not in self._going:
            return
        done = self._going.pop(number)
        if isinstance(done, MemunmapPages):
            for start, end in done.pagemap.ranges if done.pagemap else ():
                self._engine.unmapped(start, end)
        else:
            self._engine.removed(done.request.start, done.request.end)

    def finish(self) -> None:
        """Decide and compare what is left."""
        self._engine.settle()
        self._report.finish()
        if self._engine.used:
            self._tally.counters = self._engine.counters()

    def _decided(self, call: Decided) -> None:
        self._report.decided(call, self._waiting.pop(call.row))
        if self._log is not None:
            self._log(call)

    def _surroundings(self, pfn: int) -> Surroundings:
        self._index.refresh()
        segment = int(np.searchsorted(self._index.starts, np.uint64(pfn), "right")) - 1
        code = int(self._index.codes[segment])
        live = code >> Bit.PAGEMAP & 3 == PgmapState.LIVE
        pgmap = int(self._index.pgmaps[segment]) if live else 0
        found = self._machine.pagemaps.by_id.get(pgmap)
        data = found is None or any(low <= pfn < high for low, high in found.data_spans())
        return Surroundings(bool(self._valid[code] & YES), bool(self._online[code] & YES), pgmap, not data)
