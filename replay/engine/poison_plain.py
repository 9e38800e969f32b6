"""Poison calls in bulk: which of many calls are plain, and their effects all at once.

Calls on different pages do not see each other unless a folio or pagemap binds the pages together, or tasks map them. What
all calls share are sums (the counters), and settings that stay the same in between (sysctls; whether a hardware error was
seen). So the plain calls are carried out together, page by page; the *entangled* ones are left to be carried out one by
one. Every page is wholly of one sort or the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.engine.poison import PoisonEngine
from replay.engine.poison_call import Surroundings
from replay.engine.poison_columns import column_at, recorded_at
from replay.engine.poison_steps import PlainCall, Step, Steps, StepTable
from replay.engine.resolve import StateIndex
from replay.engine.rows import ColumnSource
from replay.engine.tabulate import YES
from replay.kernel.walk import Bit, PgmapState
from replay.machine.intervals import piecewise
from replay.machine.pages import Found, Pages
from replay.trace.poison import CallContext, MfFlag, PageFlag, PageKind
from replay.trace.schema import EventKind

__all__ = ("PlainCalls", "Walked")

_MAX_ROWS = 1 << 19  # carried out together; of fewer, arrays are sorted and walked faster, but there are more of them
_POSITION = np.uint64(19)  # bits of a position among them
_MAX_MIGRATIONS = 256  # different returns of migration that are told apart
_HIGH_PFN = 1 << 45  # from here on, pfn and position do not fit into 64 bits

# What is in the code of a call, from bit 0 on: kind (2 bits), flags (6), context (2), what the walk functions say
# (2); above, the number of what migration returns. Flags and context only as far as the rules look at them.
_FLAG, _CONTEXT, _VALID, _ONLINE, _MIGRATION = 2, 8, 10, 11, 12
_KINDS = (EventKind.MEMORY_FAILURE, EventKind.SOFT_OFFLINE_PAGE, EventKind.UNPOISON_MEMORY)
_FLAGS = np.uint64(MfFlag.COUNT_INCREASED | MfFlag.ACTION_REQUIRED | MfFlag.MUST_KILL | MfFlag.SW_SIMULATED)
_FACTS = np.uint8(CallContext.NO_MM | CallContext.HAS_ENTRY)

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.int32]
Array = NDArray[Any]


@dataclass(frozen=True)
class _ByPage:
    """Calls ordered by page, and on a page as they were made.

    Attributes:
        order: position of each call among those of the part.
        pages: the pages, ascending.
        counts: calls on each.
    """

    order: I64
    pages: U64
    counts: I64

    @classmethod
    def of(cls, pfns: U64) -> _ByPage:
        """Order calls."""
        if int(pfns.max()) < _HIGH_PFN:
            keys = pfns << _POSITION
            keys |= np.arange(pfns.size, dtype=np.uint64)
            keys.sort()
            order = (keys & np.uint64(_MAX_ROWS - 1)).view(np.int64)
            keys >>= _POSITION
        else:
            order = np.argsort(pfns, kind="stable")
            keys = pfns[order]
        new = np.empty(pfns.size, np.bool_)
        new[0] = True
        np.not_equal(keys[1:], keys[:-1], out=new[1:])
        if bool(new.all()):
            return cls(order, keys, np.broadcast_to(np.int64(1), keys.shape))
        first = np.flatnonzero(new)
        return cls(order, keys[first], np.diff(first, append=pfns.size))

    def split(self, apart: Bools) -> tuple[_ByPage, I64]:
        """Return the calls on the other pages, and the positions of those on the pages set apart, ascending."""
        out = self.by_call(apart)
        return _ByPage(self.order[~out], self.pages[~apart], self.counts[~apart]), np.sort(self.order[out])

    def by_call(self, values: Array) -> Array:
        """Return for every call, in this order, the value of its page."""
        return values if self.pages.size == self.order.size else np.repeat(values, self.counts)


@dataclass(frozen=True)
class Walked:
    """Plain calls that were carried out.

    Attributes:
        steps: what calls do.
        rows: indices within the batch, ascending.
        order: ranks of the rows in the order in which they were walked.
        walked: number of each call's step, in that order.
        counts: calls of each step.
    """

    steps: Steps
    rows: I64
    order: I64
    walked: I64
    counts: I64

    @cached_property
    def step(self) -> I64:
        """Number of each call's step, in the order of the rows."""
        step = np.empty_like(self.walked)
        step[self.order] = self.walked
        return step


class PlainCalls:
    """Carries out the plain ones of many calls.

    Args:
        engine: whose pages, tasks, counters and rules they are.
        index: state codes of the machine.
        valid: class byte of pfn_valid per state code.
        online: class byte of pfn_to_online_page per state code.
    """

    def __init__(
        self, engine: PoisonEngine, index: StateIndex, valid: NDArray[np.uint8], online: NDArray[np.uint8]
    ) -> None:
        self._engine, self._index = engine, index
        self._around_code = (np.where(valid & YES, 1 << _VALID, 0) | np.where(online & YES, 1 << _ONLINE, 0)).astype(
            np.int32
        )
        self._tables: dict[tuple[int, ...], StepTable] = {}
        self._migrations: dict[int, int] = {0: 0}
        self._huge = np.empty(0, np.bool_)  # by condition
        self._sgx = np.empty(0, np.bool_)
        self._order = np.empty(0, np.uint64)

    def parts(self, batch: ColumnSource, rows: I64) -> Iterator[I64]:
        """Yield calls of a batch in parts that can be carried out together: settings stay the same within each."""
        hardware = self._hardware_errors(batch, rows)
        first = int(np.argmax(hardware)) + 1 if hardware.any() else rows.size
        for part in (rows[:first], rows[first:]):
            yield from (part[at : at + _MAX_ROWS] for at in range(0, part.size, _MAX_ROWS))
            self._engine.made(latches=bool(hardware.any()))  # not before all calls of the part are carried out

    def take(self, batch: ColumnSource, rows: I64) -> tuple[list[Walked], I64]:
        """Carry out the plain calls of a part.

        Args:
            batch: the rows.
            rows: indices of calls within the batch, ascending.

        Returns:
            The calls that were carried out, and the rows of the others.
        """
        self._learn_conditions()
        self._index.refresh()
        calls = _ByPage.of(np.asarray(column_at(batch, "pfn", rows), np.uint64))
        around, pgmaps = self._around(calls.pages)
        found = self._engine.pages.find(calls.pages)
        entangled = rows[:0]
        apart = self._entangled(batch, rows, calls, found.numbers, pgmaps)
        if apart is not None:
            calls, others = calls.split(apart)
            around, found, entangled = around[~apart], found.only(~apart), rows[others]
        if not calls.pages.size:
            return [], entangled
        codes = self._codes(batch, rows)[calls.order]
        codes |= calls.by_call(around)
        table = self._table()
        if not table.fits(found.numbers, codes):
            walked = []
            for half in np.array_split(np.setdiff1d(rows, entangled, assume_unique=True), 2):
                more, _ = self.take(batch, half)
                walked += more
            return walked, entangled
        return [self._carry_out(table, batch, rows, calls, found, codes)], entangled

    def _carry_out(
        self,
        table: StepTable,
        batch: ColumnSource,
        rows: I64,
        calls: _ByPage,
        found: Found,
        codes: Codes,
    ) -> Walked:
        engine = self._engine
        walked, after = table.walk(found.numbers, calls.counts, codes)
        engine.pages.put(found, after)
        steps = table.steps
        counts = np.bincount(walked, minlength=len(steps.calls))
        engine.counter += int(counts @ steps.counted)
        if steps.event[counts > 0].any():
            self._count_in_nodes(steps, calls, walked)
        made, order = rows, calls.order
        if order.size < rows.size:
            at = np.sort(order)
            made, order = rows[at], np.searchsorted(at, order)
        return Walked(steps, made, order, walked, counts)

    def _count_in_nodes(self, steps: Steps, calls: _ByPage, walked: I64) -> None:
        events = np.flatnonzero(steps.event).tolist()
        pages = calls.by_call(calls.pages)
        if not self._engine.machine.all_in_nodes(calls.pages):  # looking at those of no node takes longer
            pages, walked = pages[steps.event[walked]], walked[steps.event[walked]]
        for first, end, node in self._engine.machine.node_runs(pages):
            counts = np.bincount(walked[first:end], minlength=len(steps.calls))
            for step in events:
                if counts[step]:
                    self._engine.count_in_node(node, int(steps.result[step]), int(counts[step]))

    def _entangled(
        self, batch: ColumnSource, rows: I64, calls: _ByPage, conditions: I64, pgmaps: U64 | None
    ) -> Bools | None:
        """Return the pages whose calls are not plain; None if there are none."""
        apart = self._engine.tasks.mapped(calls.pages) if self._engine.tasks.map_anything else None
        bound = self._huge[conditions] if self._huge.any() else None
        if pgmaps is not None and pgmaps.any():
            bound = pgmaps != 0 if bound is None else bound | (pgmaps != 0)
        if bound is not None and bound.any():
            reach = self._reach(calls.pages, np.flatnonzero(bound), conditions, pgmaps)
            apart = reach if apart is None else apart | reach
        by_call = self._told(batch, rows, calls, conditions)
        if batch.given("value") is not False:
            soft, numbers = self._migrated(batch, rows)
            by_call[soft[numbers < 0]] = True
        if by_call.any():
            told = np.zeros(calls.pages.size, np.bool_)
            told[np.repeat(np.arange(calls.pages.size), calls.counts)[by_call[calls.order]]] = True
            apart = told if apart is None else apart | told
        return apart if apart is not None and apart.any() else None

    def _told(self, batch: ColumnSource, rows: I64, calls: _ByPage, conditions: I64) -> Bools:
        """Return the calls that may have to be told to their own task: a consumer that has the page."""
        told = np.zeros(rows.size, np.bool_)
        given = recorded_at(batch, "task", rows)
        if not given.any():
            return told
        consumed = (column_at(batch, "flags", rows) & np.uint64(MfFlag.ACTION_REQUIRED) != 0) & given.mask()
        if consumed.any():
            told |= column_at(batch, "context", rows) & np.uint8(CallContext.HAS_ENTRY) != 0
            if self._sgx.any():
                told[calls.order] |= calls.by_call(self._sgx[conditions])
        told &= consumed
        return told

    def _reach(self, pages: U64, bound: I64, conditions: I64, pgmaps: U64 | None) -> Bools:
        """Return the pages that share a hugetlb folio, or a compound page of a pagemap, with the bound ones among them."""
        numbers = conditions[bound]
        orders = np.where(self._huge[numbers], self._order[numbers], np.uint64(0))
        if pgmaps is not None:
            by_id = self._engine.machine.pagemaps.by_id
            ids, place = np.unique(pgmaps[bound], return_inverse=True)
            shifts = np.array([by_id[i].shift if i in by_id else 0 for i in ids.tolist()], np.uint64)
            orders = np.maximum(orders, shifts[place])
        orders = np.minimum(orders, np.uint64(63))
        start = pages[bound] >> orders << orders
        last = start + ((np.uint64(1) << orders) - np.uint64(1))
        depth = np.bincount(np.searchsorted(pages, start), minlength=pages.size + 1)
        depth -= np.bincount(np.searchsorted(pages, last, "right"), minlength=pages.size + 1)
        return np.asarray(np.cumsum(depth)[:-1] > 0)

    def _codes(self, batch: ColumnSource, rows: I64) -> Codes:
        """Return the codes of calls, without what is around their pages."""
        kinds = column_at(batch, "kind", rows)
        codes: Codes = np.subtract(kinds, _KINDS[0], dtype=np.int32)
        if batch.given("flags") is not False:
            codes |= (column_at(batch, "flags", rows) & _FLAGS).astype(np.int32) << _FLAG
        if batch.given("context") is not False:
            codes |= (column_at(batch, "context", rows) & _FACTS).astype(np.int32) << _CONTEXT
        if batch.given("value") is not False:
            soft, numbers = self._migrated(batch, rows)
            codes[soft] |= np.maximum(numbers, 0) << _MIGRATION
        return codes

    def _migrated(self, batch: ColumnSource, rows: I64) -> tuple[I64, Codes]:
        """Return which of the rows migrate pages, and the number of what migration returns, -1 if there are too many."""
        soft = np.flatnonzero(column_at(batch, "kind", rows) == EventKind.SOFT_OFFLINE_PAGE)
        returned, place = np.unique(column_at(batch, "value", rows)[soft], return_inverse=True)
        known = self._migrations
        for value in returned[: _MAX_MIGRATIONS - len(known)].tolist():
            known.setdefault(value, len(known))
        return soft, np.array([known.get(value, -1) for value in returned.tolist()], np.int32)[place]

    def _around(self, pages: U64) -> tuple[Codes, U64 | None]:
        """Return what the walk functions say about pages, as bits of a code, and their live pagemap or 0."""
        index = self._index
        live = index.codes >> Bit.PAGEMAP & 3 == PgmapState.LIVE
        around = piecewise(index.starts[1:], self._around_code[index.codes], pages)
        if not live.any():
            return around, None
        return around, piecewise(index.starts[1:], np.where(live, index.pgmaps, 0).astype(np.uint64), pages)

    def _hardware_errors(self, batch: ColumnSource, rows: I64) -> Bools:
        """Return which calls latch that a hardware error was seen; none once one has."""
        if self._engine.latched or not self._engine.latches(EventKind.MEMORY_FAILURE, 0):
            return np.zeros(rows.size, np.bool_)
        simulated = column_at(batch, "flags", rows) & np.uint64(MfFlag.SW_SIMULATED) != 0
        return np.asarray((column_at(batch, "kind", rows) == EventKind.MEMORY_FAILURE) & ~simulated)

    def _table(self) -> StepTable:
        setting = self._engine.setting
        if setting not in self._tables:
            self._tables[setting] = StepTable(self._engine.pages, self._decide)
        return self._tables[setting]

    def _decide(self, plain: list[PlainCall]) -> list[Step]:
        """Decide calls, each on a page of its own."""
        migrations = list(self._migrations)
        alone, decided = Pages(), []  # page 0, put into one condition after the other
        for one in plain:
            code = one.code
            alone.become(0, one.condition)
            cells = {
                "flags": code >> _FLAG & int(_FLAGS),
                "context": code >> _CONTEXT & int(_FACTS),
                "value": migrations[code >> _MIGRATION],
            }
            around = Surroundings(bool(code >> _VALID & 1), bool(code >> _ONLINE & 1), 0, False)
            decided.append(self._engine.encode(_KINDS[code & 3], -1, -1, 0, cells.get, around, alone))
        self._engine.decide(decided)
        steps = []
        for one, call in zip(plain, decided, strict=True):
            after = one.condition if call.verdict is None else self._engine.after(one.condition, call.verdict)
            call.poisoned = bool(after.marks & PageFlag.HWPOISON)
            steps.append(Step(call, after))
        return steps

    def _learn_conditions(self) -> None:
        """Note of new conditions what decides whether calls are plain."""
        known, conditions = self._huge.size, self._engine.pages.conditions
        if len(conditions) > known:
            new = [c.page for c in conditions[known:]]
            self._huge = np.append(self._huge, [p.kind == PageKind.HUGE for p in new])
            self._sgx = np.append(self._sgx, [p.has(PageFlag.SGX) for p in new])
            self._order = np.append(self._order, np.array([p.order for p in new], np.uint64))
