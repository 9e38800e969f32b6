"""Lookups of one function over a stretch in which the machine does not change: decide, count, compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from replay.engine.acceleration import Acceleration
from replay.engine.gather import CHUNK, Scratch, SingleLookup
from replay.engine.observer import Observer
from replay.engine.past import Past
from replay.engine.resolve import StateIndex
from replay.engine.rows import ColumnSource, Lookups, Outcomes, Parts, Recorded
from replay.engine.runs import Placed, RunCounter
from replay.engine.tabulate import CHECK_MASK, SLOW, TRUTH, YES, DecisionTable
from replay.engine.tally import MAX_DIFFERENCES, SLOW_PATH, Difference, Tally
from replay.kernel.registry import STATE_LOOKUPS
from replay.kernel.walk import GET_DEV_PAGEMAP, PFN_TO_ONLINE_PAGE, Bit, PgmapState
from replay.trace.outcomes import CHECK_SEVERAL

__all__ = ("LookupEngine", "replay_lookups")

I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]

_BYTES = np.arange(256)
_IS_YES = _BYTES & YES != 0
_IS_SLOW = _BYTES & SLOW != 0
_IS_TRUTH = _BYTES & TRUTH != 0
_FALSE_ONLINE = _IS_YES & ~_IS_TRUTH
_FALSE_OFFLINE = ~_IS_YES & _IS_TRUTH
_WRONG = _FALSE_ONLINE | _FALSE_OFFLINE
_TRUTHS = {"truth_pages": _IS_TRUTH, "false_online": _FALSE_ONLINE, "false_offline": _FALSE_OFFLINE}
_NONE = np.zeros(256, np.bool_)
_CHECK = (_BYTES & CHECK_MASK).astype(np.uint8)
_VERDICT = _CHECK | (_WRONG.astype(np.uint8) << 4)
_PAST_GAIN = 8  # how many times as much compiled loops save where section flags change from row to row
_RUNS = 1 << 14  # runs counted together: their columns fit the second level cache


@dataclass(frozen=True)
class _Verdicts:
    """Decisions of some rows.

    Attributes:
        rows: indices of the rows within the batch.
        pfn: first pfn of each row.
        total: pfns of each row.
        yes: pfns answered with yes.
        check: deciding check within the function, CHECK_SEVERAL where they differ within the row.
    """

    rows: I64
    pfn: U64
    total: I64
    yes: I64
    check: U8


class LookupEngine:
    """One function of one kernel over one state of the machine.

    Args:
        index: state codes; must not change while this object is used.
        table: the function's decision table.
        tally: where to count.
        base: number of the function's first check in outcomes.
        acceleration: gives compiled loops; results do not depend on them.

    Attributes:
        online: the function is pfn_to_online_page, whose answers have a truth and a slow path.
        asks: the function looks up pagemaps.
        observer: is told the state codes that lookups meet, None to tell nobody.
        parts: is told the parts of runs within which several checks decide, None to tell nobody.
    """

    def __init__(
        self,
        index: StateIndex,
        table: DecisionTable,
        tally: Tally,
        base: int = 0,
        acceleration: Acceleration | None = None,
    ) -> None:
        self.index = index
        self.function = table.function
        self.tally = tally
        self.single = SingleLookup(index, table)
        self.base = base
        self.online = table.function.name == PFN_TO_ONLINE_PAGE.name
        self.asks = self.online or table.function.name == GET_DEV_PAGEMAP.name
        self._acceleration = acceleration or Acceleration(wanted=False)
        self.observer: Observer | None = None
        self.parts: Callable[[Parts], None] | None = None
        self._watched = _WRONG if self.online else _NONE
        self._scratch = Scratch()
        self._counter: RunCounter | None = None

    def sync(self) -> LookupEngine:
        """Follow the machine; to be called before anything else when it may have changed."""
        if self.single.sync():
            self._counter = None
        return self

    @property
    def counter(self) -> RunCounter:
        """Counts runs; made when the first run comes."""
        if self._counter is None:
            self._counter = RunCounter(self.index.starts, self.single.by_segment)
        return self._counter

    def answers(self, pfns: U64) -> I64:
        """Return 1 or 0 for each pfn."""
        return self._table(_IS_YES, pfns)

    def slow(self, pfns: U64) -> I64:
        """Return 1 where the slow path is taken."""
        return self._table(_IS_SLOW, pfns)

    def pagemaps(self, pfns: U64) -> I64:
        """Return the pagemap id that get_dev_pagemap gives; 0 for NULL, -1 where the function does not ask."""
        found = self._live_pagemaps()[self.index.segment_of(pfns)].astype(np.int64)
        return np.where(self.slow(pfns) == 1, found, -1) if self.online else found

    def prepare(self) -> None:
        """Make all that a lookup may need of the machine as it is, which is made when it is asked for otherwise."""
        self.single.sync_flat()
        self.counter  # noqa: B018 - made now

    def beside(self, tally: Tally, scratch: Scratch) -> LookupEngine:
        """Return an engine for another thread: the same prepared tables, with a tally and buffers of its own."""
        other = copy(self)
        other.tally, other._scratch = tally, scratch
        return other

    def _table(self, values: NDArray[np.bool_], pfns: U64) -> I64:
        parts = [values[classes] for _, classes in self.single.chunks(pfns, self._scratch)]
        return np.concatenate(parts).astype(np.int64)

    def _live_pagemaps(self) -> NDArray[np.uint32]:
        """Return per segment the pagemap that get_dev_pagemap gives."""
        live = self.index.codes >> Bit.PAGEMAP & 3 == PgmapState.LIVE
        return np.where(live, self.index.pgmaps, np.uint32(0))

    def replay(self, lookups: Lookups, first_row: int, outcomes: Outcomes | None, past: Past | None = None) -> None:
        """Decide all lookups, count them, and fill in their outcome columns if outcomes are kept.

        Args:
            lookups: rows of this function.
            first_row: row number in the trace of the batch's first row.
            outcomes: columns of the whole batch, or None.
            past: section flags at each row, if they change from row to row; all rows look up single pfns then.
        """
        compared = lookups.ret.any() or (self.online and lookups.slow.any()) or (self.asks and lookups.pgmap.any())
        by_row = compared or outcomes is not None
        counts = np.zeros(256, np.int64)
        if self.observer is not None:
            self.observer.lookups(self.function.name, self._codes_of(lookups, past))
        if by_row:
            step = CHUNK if lookups.runs is None else min(self.counter.step(lookups.runs), CHUNK)
            for start in range(0, len(lookups), step):
                counts += self._replay_part(lookups.part(slice(start, start + step)), first_row, outcomes, past)
        elif (loops := self._loops(lookups, past)) is not None and lookups.straight:
            counts += self._count_compiled(loops, lookups, past)
        elif past is not None:
            for start in range(0, len(lookups), CHUNK):
                counts += self._count_decided(self._decide(lookups.part(slice(start, start + CHUNK)), past))
        elif lookups.runs is None:
            for start in range(0, len(lookups), CHUNK):
                counts += self._count_singles(lookups.pfn[start : start + CHUNK])
        else:
            step = min(self.counter.step(lookups.runs), _RUNS)
            for start in range(0, len(lookups), step):
                placed = self.counter.place(lookups.runs.part(slice(start, start + step)))
                counts += self._count_decided(_Runs(self.counter, placed))
        self._count(counts)

    def _loops(self, lookups: Lookups, past: Past | None) -> ModuleType | None:
        return self._acceleration.loops(len(lookups) * (1 if past is None else _PAST_GAIN))

    def _count_compiled(self, loops: ModuleType, lookups: Lookups, past: Past | None) -> I64:
        """The fastest way, where numba is there."""
        decided: _Singles | _Pieces
        if past is not None:
            rows = lookups.row_numbers()
            counts, classes = past.count_compiled(loops, lookups.pfn, rows, self.single.table.classes)
            decided = _Singles(classes, lookups.pfn)
        elif lookups.runs is None:
            counts, pfns, classes = self.single.count_compiled(loops, lookups.pfn, self._watched, self._scratch)
            decided = _Singles(classes, pfns)
        else:
            counts, pieces = self.counter.count_compiled(loops, lookups.runs, self._watched)
            decided = _Pieces(self.single.by_segment[self.index.segment_of(pieces[0])], pieces)
        if self.online:
            self._note_untruths(decided, counts)
        return counts

    def _count_singles(self, pfns: U64) -> I64:
        """The fast way: nothing was recorded, nothing is to be kept but counts."""
        counts = self.single.count(pfns, self._scratch)
        if self.online and counts[_WRONG].any():
            filled = self._scratch.filled
            classes = self._scratch.classes[: pfns.size] if filled else self.single.classes(pfns, self._scratch)
            self._note_untruths(_Singles(classes, pfns), counts)
        return counts

    def _count_decided(self, decided: _Singles | _Runs) -> I64:
        counts = decided.totals()
        if self.online:
            self._note_untruths(decided, counts)
        return counts

    def _decide(self, lookups: Lookups, past: Past | None = None) -> _Singles | _Runs:
        """Decide at most CHUNK rows."""
        if past is not None:
            classes = self.single.table.classes[past.codes(lookups.pfn, lookups.row_numbers())]
            return _Singles(classes, lookups.pfn)
        if lookups.runs is None:
            return _Singles(self.single.classes(lookups.pfn, self._scratch), lookups.pfn)
        return _Runs(self.counter, self.counter.place(lookups.runs))

    def _replay_part(self, lookups: Lookups, first_row: int, outcomes: Outcomes | None, past: Past | None) -> I64:
        """The general way, row by row, for at most CHUNK rows; return the counts by class."""
        decided = self._decide(lookups, past)
        counts = decided.totals()
        check, several = decided.several(_CHECK)
        check = np.where(several, CHECK_SEVERAL, check).astype(np.uint8)
        total = np.ones(len(lookups), np.int64) if lookups.runs is None else lookups.runs.count.astype(np.int64)
        yes = decided.pages(_IS_YES)
        verdicts = _Verdicts(lookups.row_numbers(), lookups.pfn, total, yes, check)
        columns = {"match": self._compare(verdicts, lookups.ret, self.function.name, yes, first_row)}
        if self.parts is not None and lookups.runs is not None and (varied := decided.several(_VERDICT)[1]).any():
            self.parts(self._parts_of(lookups.part(np.flatnonzero(varied))))
        if outcomes is not None:
            columns["pages"] = yes
            columns["check"] = np.where(several, CHECK_SEVERAL, self.base + check.astype(np.int64))
        if self.online:
            if outcomes is not None or lookups.slow.any():
                slow = decided.pages(_IS_SLOW)
                columns["slow_pages"] = slow
                columns["slow_match"] = self._compare(verdicts, lookups.slow, SLOW_PATH, slow, first_row)
            self._note_untruths(decided, counts)
            if outcomes is not None:
                columns |= {name: decided.pages(which) for name, which in _TRUTHS.items()}
        if self.asks and lookups.pgmap.any():
            same = self._same_pgmap(decided, lookups)
            columns["pgmap_match"] = self._compare_counted(
                verdicts, lookups.pgmap, GET_DEV_PAGEMAP.name, same, first_row
            )
        if outcomes is not None:
            for name, values in columns.items():
                outcomes[name][lookups.rows] = values
        return counts

    def _codes_of(self, lookups: Lookups, past: Past | None) -> NDArray[np.uint16]:
        """Return the state codes that lookups meet."""
        if past is not None:
            return np.unique(past.codes(lookups.pfn, lookups.row_numbers()))
        if lookups.runs is None:
            return np.unique(self.index.codes[self.index.segment_of(lookups.pfn)])
        runs = lookups.runs
        met = np.zeros(self.index.starts.size + 1, np.int64)
        straight = runs.stride == 1
        np.add.at(met, self.index.segment_of(runs.first[straight]), 1)
        np.add.at(met, self.index.segment_of(runs.last[straight]) + 1, -1)
        met = np.cumsum(met)[:-1]
        strided = runs.part(np.flatnonzero(~straight))
        step = self.counter.step(strided) or 1
        for start in range(0, len(strided), step):
            met[self.counter.pairs(strided.part(slice(start, start + step)))[1]] = 1
        return np.unique(self.index.codes[met > 0])

    def _parts_of(self, lookups: Lookups) -> Parts:
        """Return which checks decide the parts of runs."""
        run, segment, _ = self.counter.pairs(lookups.as_runs())
        classes = self.single.by_segment[segment]
        wrong = _WRONG[classes] if self.online else np.zeros(classes.size, np.bool_)
        return Parts(lookups.row_numbers()[run], self.index.starts[segment], classes & np.uint8(CHECK_MASK), wrong)

    def _note_untruths(self, decided: _Singles | _Runs | _Pieces, counts: I64) -> None:
        """Note which pfns were answered against the truth."""
        for wrong, ranges in ((_FALSE_ONLINE, self.tally.false_online), (_FALSE_OFFLINE, self.tally.false_offline)):
            if counts[wrong].any():
                first, last, count = decided.pieces(wrong)
                ranges.add_many(first, last, count, self.index.place_of(first))

    def _same_pgmap(self, decided: _Singles | _Runs, lookups: Lookups) -> I64:
        """Return per row the pfns whose get_dev_pagemap answer is the recorded pagemap.

        For pfn_to_online_page that is the lookup made inside, which only the slow path makes.
        """
        recorded = lookups.pgmap
        if lookups.runs is None:
            found = self._live_pagemaps()[self.index.segment_of(lookups.pfn)]
            asked = decided.pages(_IS_SLOW) if self.online else 1
            return np.asarray((found == recorded.value.astype(np.uint32)) * asked, np.int64)
        runs = lookups.runs
        run, segment, pages = self.counter.pairs(runs)
        same = self._live_pagemaps()[segment] == recorded.value.astype(np.uint32)[run]
        if self.online:
            same &= _IS_SLOW[self.single.by_segment[segment]]
        result = np.zeros(len(runs), np.int64)
        np.add.at(result, run[same], pages[same])
        return result

    def _compare(self, verdicts: _Verdicts, recorded: Recorded, aspect: str, hits: I64, first_row: int) -> I64:
        """Hold yes-or-no answers (``hits`` pfns of each row got a yes) against the recorded ones."""
        if not recorded.any():
            return np.zeros(verdicts.total.size, np.int64)
        value = recorded.value.astype(np.int64)
        same = np.where(value == 1, hits, np.where(value == 0, verdicts.total - hits, 0))
        return self._compare_counted(verdicts, recorded, aspect, same, first_row)

    def _compare_counted(self, verdicts: _Verdicts, recorded: Recorded, aspect: str, same: I64, first_row: int) -> I64:
        """Count that ``same`` pfns of each row agree; return the match column."""
        given = recorded.mask()
        match = np.where(given, same, 0)
        asked = np.where(given, verdicts.total, 0)
        self.tally.compare(aspect, int(asked.sum()), int(match.sum()))
        for at in np.flatnonzero(match != asked)[:MAX_DIFFERENCES].tolist():
            check = int(verdicts.check[at])
            self.tally.differ(
                Difference(
                    aspect=aspect,
                    row=first_row + int(verdicts.rows[at]),
                    pfn=int(verdicts.pfn[at]),
                    recorded=str(recorded.value[at]),
                    replayed="several checks" if check == CHECK_SEVERAL else self.function.checks[check].id,
                    count=int(asked[at] - match[at]),
                )
            )
        return match

    def _count(self, counts: I64) -> None:
        for label in np.flatnonzero(counts).tolist():
            check = self.function.checks[label & CHECK_MASK]
            self.tally.decided(self.function.name, check.id, check.answer.name, int(counts[label]))
        self.tally.pages += int(counts.sum())
        if self.online:
            self.tally.slow += int(counts[_IS_SLOW].sum())


def replay_lookups(
    batch: ColumnSource,
    kinds: NDArray[np.uint8],
    start: int,
    present: Sequence[int],
    engine: Callable[[int], LookupEngine],
    outcomes: Outcomes | None = None,
) -> None:
    """Replay the lookups of a stretch in which the machine does not change.

    Args:
        batch: the batch that the stretch is part of.
        kinds: of the rows of the stretch.
        start: its first row, within the batch.
        present: the kinds that occur.
        engine: gives the engine for a kind.
        outcomes: columns of the whole batch, or None.
    """
    for kind in present:
        if kind in STATE_LOOKUPS:
            rows = slice(start, start + kinds.size) if len(present) == 1 else np.flatnonzero(kinds == kind) + start
            engine(kind).replay(Lookups.of(batch, rows), batch.row, outcomes)


class _Singles:
    """Decided lookups of single pfns.

    Args:
        classes: class byte of each.
        pfns: the pfns.
    """

    def __init__(self, classes: U8, pfns: U64) -> None:
        self._classes, self._pfns = classes, pfns

    def totals(self) -> I64:
        """Return how many fall into each of the 256 classes."""
        return np.bincount(self._classes, minlength=256)

    def pages(self, which: NDArray[np.bool_]) -> I64:
        """Return 1 for each whose class is among ``which`` (256 of them), else 0."""
        return which.astype(np.int64)[self._classes]

    def several(self, value: U8) -> tuple[U8, NDArray[np.bool_]]:
        """Return the value (by class) of each, and that none meets another one."""
        return value[self._classes], np.zeros(self._classes.size, np.bool_)

    def pieces(self, which: NDArray[np.bool_]) -> tuple[U64, U64, I64]:
        """Return (first pfn, last pfn, pfns) of those whose class is among ``which``."""
        found = self._pfns[which[self._classes]]
        return found, found, np.ones(found.size, np.int64)


class _Runs:
    """Decided runs, with the same questions as ``_Singles``."""

    def __init__(self, counter: RunCounter, placed: Placed) -> None:
        self._counter, self._placed = counter, placed

    def totals(self) -> I64:
        return self._counter.totals(self._placed)

    def pages(self, which: NDArray[np.bool_]) -> I64:
        return self._counter.pages(self._placed, which)

    def several(self, value: U8) -> tuple[U8, NDArray[np.bool_]]:
        return self._counter.several(self._placed, value)

    def pieces(self, which: NDArray[np.bool_]) -> tuple[U64, U64, I64]:
        return self._counter.pieces(self._placed, which)


class _Pieces:
    """Parts of runs that are known already.

    Args:
        classes: class byte of each.
        pieces: (first pfn, last pfn, pfns) of each.
    """

    def __init__(self, classes: U8, pieces: tuple[U64, U64, I64]) -> None:
        self._classes, self._pieces = classes, pieces

    def pieces(self, which: NDArray[np.bool_]) -> tuple[U64, U64, I64]:
        """Return those whose class is among ``which``."""
        hit = which[self._classes]
        first, last, count = self._pieces
        return first[hit], last[hit], count[hit]
