"""Lookups of one function over a stretch in which the machine does not change: decide, count, compare."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from replay.engine.gather import SingleLookup
from replay.engine.resolve import StateIndex
from replay.engine.rows import Lookups, Outcomes, Recorded
from replay.engine.runs import RunCounter, Runs
from replay.engine.tabulate import CHECK_MASK, SLOW, TRUTH, YES, DecisionTable
from replay.engine.tally import SLOW_PATH, Difference, RangeCount, Tally
from replay.kernel.registry import check_base
from replay.kernel.walk import GET_DEV_PAGEMAP, PFN_TO_ONLINE_PAGE, Bit, PgmapState
from replay.trace.outcomes import CHECK_SEVERAL

__all__ = ("LookupEngine",)

I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]

_BYTES = np.arange(256)
_IS_YES = _BYTES & YES != 0
_IS_SLOW = _BYTES & SLOW != 0
_IS_TRUTH = _BYTES & TRUTH != 0
_FALSE_ONLINE = _IS_YES & ~_IS_TRUTH
_FALSE_OFFLINE = ~_IS_YES & _IS_TRUTH


@dataclass(frozen=True)
class _Verdicts:
    """Decisions of some rows.

    Attributes:
        rows: indices of the rows within the batch.
        pfn: first pfn of each row.
        total: pfns of each row.
        yes: pfns answered with yes.
        slow: pfns that took the slow path.
        check: deciding check within the function, CHECK_SEVERAL where they differ within the row.
    """

    rows: I64
    pfn: U64
    total: I64
    yes: I64
    slow: I64
    check: U8


class LookupEngine:
    """One function of one kernel over one state of the machine.

    Args:
        index: state codes; must not change while this object is used.
        table: the function's decision table.
        tally: where to count.

    Attributes:
        online: the function is pfn_to_online_page, whose answers have a truth and a slow path.
        asks: the function looks up pagemaps.
    """

    def __init__(self, index: StateIndex, table: DecisionTable, tally: Tally) -> None:
        self.index = index
        self.function = table.function
        self.tally = tally
        self.single = SingleLookup(index, table)
        self.base = check_base(table.function)
        self._labels = np.unique(self.single.by_segment)
        self._counter: RunCounter | None = None
        self.online = table.function is PFN_TO_ONLINE_PAGE
        self.asks = self.online or table.function is GET_DEV_PAGEMAP
        live = index.codes >> Bit.PAGEMAP & 3 == PgmapState.LIVE
        self._live_pgmap = np.where(live, index.pgmaps, np.uint32(0))

    @property
    def counter(self) -> RunCounter:
        """Counts runs; made when the first run comes."""
        if self._counter is None:
            self._counter = RunCounter(self.index.starts, self.single.by_segment)
        return self._counter

    def answers(self, pfns: U64) -> I64:
        """Return 1 or 0 for each pfn."""
        return np.concatenate([_IS_YES[classes] for _, classes in self.single.chunks(pfns)]).astype(np.int64)

    def slow(self, pfns: U64) -> I64:
        """Return 1 where the slow path is taken."""
        return np.concatenate([_IS_SLOW[classes] for _, classes in self.single.chunks(pfns)]).astype(np.int64)

    def pagemaps(self, pfns: U64) -> I64:
        """Return the pagemap id that get_dev_pagemap gives; 0 for NULL, -1 where the function does not ask."""
        found = self._live_pgmap[self.index.segment_of(pfns)].astype(np.int64)
        return np.where(self.slow(pfns) == 1, found, -1) if self.online else found

    def replay(self, lookups: Lookups, first_row: int, outcomes: Outcomes | None) -> None:
        """Decide all lookups, count them, and fill in their outcome columns if outcomes are kept.

        Args:
            lookups: rows of this function.
            first_row: row number in the trace of the batch's first row.
            outcomes: columns of the whole batch, or None.
        """
        if lookups.runs is None and outcomes is None and not (self.asks and lookups.pgmap.any()):
            self._replay_singles(lookups, first_row)
        else:
            self._replay_runs(lookups, first_row, outcomes)

    def _replay_singles(self, lookups: Lookups, first_row: int) -> None:
        """The fast way: every row one pfn, nothing to be kept but counts."""
        counts = np.zeros(256, np.int64)
        untruths = self.online and bool((_FALSE_ONLINE | _FALSE_OFFLINE)[self._labels].any())
        recorded = lookups.ret.any() or lookups.slow.any()
        for offset, classes in self.single.chunks(lookups.pfn):
            part = slice(offset, offset + classes.size)
            for label in self._labels:
                counts[label] += np.count_nonzero(classes == label)
            if recorded:
                total = np.ones(classes.size, np.int64)
                yes, slow = _IS_YES[classes].astype(np.int64), _IS_SLOW[classes].astype(np.int64)
                rows = lookups.row_numbers(part)
                check = np.asarray(classes & CHECK_MASK, np.uint8)
                verdicts = _Verdicts(rows, lookups.pfn[part], total, yes, slow, check)
                self._compare(verdicts, lookups.ret.part(part), self.function.name, yes, first_row)
                if self.online:
                    self._compare(verdicts, lookups.slow.part(part), SLOW_PATH, slow, first_row)
            if untruths:
                self._note_single_untruths(lookups.pfn[part], classes)
        self._count(counts)

    def _note_single_untruths(self, pfns: U64, classes: U8) -> None:
        for wrong, ranges in ((_FALSE_ONLINE, self.tally.false_online), (_FALSE_OFFLINE, self.tally.false_offline)):
            found = np.sort(pfns[wrong[classes]])
            if found.size:
                _, at, count = np.unique(self.index.segment_of(found), return_index=True, return_counts=True)
                last = found[at + count - 1]
                for low, high, n in zip(found[at].tolist(), last.tolist(), count.tolist(), strict=True):
                    ranges.add(low, high, n)

    def _replay_runs(self, lookups: Lookups, first_row: int, outcomes: Outcomes | None) -> None:
        """The general way: rows of any length, all outcome columns."""
        runs = lookups.as_runs()
        labels, per_class = self.counter.labels, self.counter.counts(runs)
        counts = np.zeros(256, np.int64)
        counts[labels] = per_class.sum(axis=1)
        self._count(counts)
        hit = per_class > 0
        check = labels[np.argmax(hit, axis=0)] & CHECK_MASK
        several = (hit & ((labels & CHECK_MASK)[:, None] != check)).any(axis=0)
        check = np.where(several, CHECK_SEVERAL, check).astype(np.uint8)
        total = runs.count.astype(np.int64)
        yes, slow = _sum(per_class, _IS_YES[labels]), _sum(per_class, _IS_SLOW[labels])
        verdicts = _Verdicts(lookups.row_numbers(), lookups.pfn, total, yes, slow, check)
        columns = {
            "pages": yes,
            "check": np.where(several, CHECK_SEVERAL, self.base + check.astype(np.int64)),
            "match": self._compare(verdicts, lookups.ret, self.function.name, yes, first_row),
        }
        if self.online:
            columns["slow_match"] = self._compare(verdicts, lookups.slow, SLOW_PATH, slow, first_row)
            columns |= self._truth_columns(runs, per_class, slow)
        if self.asks and lookups.pgmap.any():
            same = self._same_pgmap(runs, lookups.pgmap)
            columns["pgmap_match"] = self._compare_counted(
                verdicts, lookups.pgmap, GET_DEV_PAGEMAP.name, same, first_row
            )
        if outcomes is not None:
            for name, values in columns.items():
                outcomes[name][lookups.rows] = values

    def _truth_columns(self, runs: Runs, per_class: I64, slow: I64) -> dict[str, I64]:
        labels = self.counter.labels
        columns = {"slow_pages": slow, "truth_pages": _sum(per_class, _IS_TRUTH[labels])}
        for name, wrong, ranges in (
            ("false_online", _FALSE_ONLINE, self.tally.false_online),
            ("false_offline", _FALSE_OFFLINE, self.tally.false_offline),
        ):
            columns[name] = _sum(per_class, wrong[labels])
            hit = np.flatnonzero(columns[name])
            if hit.size:
                self._note_run_untruths(runs.take(hit), wrong, ranges)
        return columns

    def _note_run_untruths(self, runs: Runs, wrong: NDArray[np.bool_], ranges: RangeCount) -> None:
        run, segment, pages = self.counter.pairs(runs)
        hit = wrong[self.single.by_segment[segment]] & (pages > 0)
        ends, first, last = self.index.ends(), runs.first.tolist(), runs.last.tolist()
        for r, s, n in zip(run[hit].tolist(), segment[hit].tolist(), pages[hit].tolist(), strict=True):
            ranges.add(max(int(self.index.starts[s]), first[r]), min(ends[s] - 1, last[r]), n)

    def _same_pgmap(self, runs: Runs, recorded: Recorded) -> I64:
        """Return per run the pfns whose get_dev_pagemap answer is the recorded pagemap.

        For pfn_to_online_page that is the lookup made inside, which only the slow path makes.
        """
        run, segment, pages = self.counter.pairs(runs)
        same = self._live_pgmap[segment] == recorded.value.astype(np.uint32)[run]
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
        for at in np.flatnonzero(match != asked)[: self.tally.room(aspect)].tolist():
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


def _sum(per_class: I64, which: NDArray[np.bool_]) -> I64:
    return np.asarray(per_class[which].sum(axis=0), np.int64)
