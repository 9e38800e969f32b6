"""Where a trace can be cut into shares of sections: borders that nothing crosses, and that balance the lookups."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from replay.engine.rows import cell_of
from replay.engine.runs import Runs
from replay.errors import UsageError
from replay.fleet.share import SHARED, Share
from replay.trace.batch import Batch
from replay.trace.reader import TraceFile
from replay.trace.schema import EventKind, Phase

__all__ = ("Blocker", "Extents", "choose_borders", "cut")

U64 = NDArray[np.uint64]

_SAMPLE = 1 << 18  # rows by which lookups are balanced
_TOP = (1 << 64) - 1
_IS_SHARED = np.isin(np.arange(256), SHARED)
_PAGEMAPS = (EventKind.MEMREMAP_PAGES, EventKind.PGMAP_RANGE)
_OWNED = np.isin(np.arange(256), (*_PAGEMAPS, EventKind.MAP_PAGES, EventKind.PAGE_STATE))


@dataclass
class Blocker:
    """Something that lies in several sections, so that no border may be inside it.

    Attributes:
        low: lowest pfn.
        high: highest pfn.
        what: its name, with the row.
    """

    low: int
    high: int
    what: str


class Extents:
    """Collects, batch by batch, where the lookups are and what lies in several sections.

    Args:
        section_shift: log2 of a section in pages.
        step: every so many rows of lookups go into the sample.
    """

    def __init__(self, section_shift: int, step: int = 1) -> None:
        self._shift, self._step = section_shift, step
        self._sample: list[U64] = []
        self._runs: list[Blocker] = []
        self._owned: dict[tuple[str, int], Blocker] = {}

    def add(self, batch: Batch) -> None:
        """Take in the rows of a batch."""
        kinds = np.asarray(batch.column("kind"), np.uint8)
        lookups = _IS_SHARED[kinds]
        every = bool(lookups.all())
        rows = None if every else np.flatnonzero(lookups)
        pfn = np.asarray(batch.column("pfn"), np.uint64)
        self._sample.append((pfn if rows is None else pfn[rows])[:: self._step].copy())
        if batch.given("nr_pages") is not False:
            self._add_runs(batch, np.flatnonzero(lookups & (batch.column("nr_pages") != 1)))
        for row in () if every else np.flatnonzero(_OWNED[kinds]).tolist():
            self._add_owned(batch, EventKind(int(kinds[row])), row)

    def pfns(self) -> U64:
        """Return the first pfns of a sample of the lookups, ascending."""
        return np.sort(np.concatenate(self._sample)) if self._sample else np.empty(0, np.uint64)

    def blockers(self) -> list[Blocker]:
        """Return what lies in several sections, ascending; what overlaps is told as one."""
        crossing = [b for b in (*self._runs, *self._owned.values()) if b.low >> self._shift != b.high >> self._shift]
        return list(_joined(crossing))

    def _add_runs(self, batch: Batch, rows: NDArray[np.int64]) -> None:
        columns = (np.asarray(batch.column(name)[rows]) for name in ("pfn", "nr_pages", "stride"))
        runs = Runs.of(*columns)
        shift = np.uint64(self._shift)
        crossing = np.flatnonzero(runs.first >> shift != runs.last >> shift)
        order = crossing[np.argsort(runs.first[crossing], kind="stable")]
        if not order.size:
            return
        low, high = runs.first[order], np.maximum.accumulate(runs.last[order])
        # A new group begins where all runs before have ended.
        start = np.flatnonzero(np.append(True, low[1:] > high[:-1]))
        end = np.append(start[1:], order.size) - 1
        names = (batch.row + rows[order[start]]).tolist()
        for a, b, row in zip(low[start].tolist(), high[end].tolist(), names, strict=True):
            self._runs.append(Blocker(a, b, f"the run of row {row}"))

    def _add_owned(self, batch: Batch, kind: EventKind, row: int) -> None:
        cell, number = cell_of(batch, row), batch.row + row
        low = cell("pfn")
        if low is None or cell("phase") not in {None, Phase.WHOLE, Phase.BEGIN}:
            return  # a call's first row tells its range
        high = low + (cell("nr_pages") or 1) - 1
        if kind is EventKind.PAGE_STATE:
            folio = (1 << (cell("order") or 0)) - 1
            if folio:
                self._owned["row", number] = Blocker(low & ~folio, high | folio, f"the folios of row {number}")
            return
        owner = ("task", cell("task") or 0) if kind is EventKind.MAP_PAGES else ("pagemap", cell("pgmap") or 0)
        known = self._owned.get(owner)
        if known is None:
            self._owned[owner] = Blocker(low, high, f"{owner[0]} {owner[1]} (row {number})")
        else:
            known.low, known.high = min(known.low, low), max(known.high, high)


def cut(trace: TraceFile, shares: int, extents: Extents | None = None) -> list[Share]:
    """Return shares of a trace. Reads all of it, and so checks it.

    Raises:
        TraceError: the trace is damaged.
        UsageError: there are no such borders.
    """
    shift = trace.machine.section_size_bits - trace.machine.page_shift
    extents = Extents(shift, max(1, trace.rows // _SAMPLE)) if extents is None else extents
    for batch in trace.batches():
        extents.add(batch)
    borders = choose_borders(extents.pfns(), extents.blockers(), shift, shares, trace.path)
    ends = [*(border - 1 for border in borders), _TOP]
    return [Share(n, low, high) for n, (low, high) in enumerate(zip([0, *borders], ends, strict=True))]


def choose_borders(pfns: U64, blockers: Sequence[Blocker], shift: int, shares: int, where: str) -> list[int]:
    """Return ``shares - 1`` ascending section borders with lookups on both sides of each, and nothing across.

    Args:
        pfns: of lookups, ascending.
        blockers: ascending and disjoint.
        shift: log2 of a section in pages.
        shares: how many are wanted.
        where: the trace, for errors.

    Raises:
        UsageError: there are no such borders; names what is in the way.
    """
    borders: list[int] = []
    before = 0  # lookups in front of the last border
    for number in range(1, shares):
        aim = pfns.size * number // shares
        target = int(pfns[aim]) if pfns.size else 0
        options = [_free(target, blockers, shift, up) for up in (False, True)]
        ranks = {b: int(np.searchsorted(pfns, np.uint64(b))) for b in options if b <= _TOP}
        possible = [b for b, rank in ranks.items() if before < rank < pfns.size]
        if not possible:
            raise UsageError(f"{where}: cannot be cut into {shares} shares: {_reason(target, blockers, shift, number)}")
        border = min(possible, key=lambda b: abs(ranks[b] - aim))
        borders.append(border)
        before = ranks[border]
    return borders


def _free(pfn: int, blockers: Sequence[Blocker], shift: int, up: bool) -> int:
    """Return the next section border at or below a pfn (or above it) that is inside of nothing."""
    border = (pfn >> shift) + up << shift
    while (inside := _around(border, blockers)) is not None:
        border = ((inside.high >> shift) + 1 if up else inside.low >> shift) << shift
    return border


def _around(border: int, blockers: Sequence[Blocker]) -> Blocker | None:
    at = bisect.bisect_left(blockers, border, key=lambda b: b.low) - 1
    return blockers[at] if at >= 0 and border <= blockers[at].high else None


def _reason(target: int, blockers: Sequence[Blocker], shift: int, number: int) -> str:
    section = target >> shift << shift
    for border in (section, section + (1 << shift)):
        inside = _around(border, blockers)
        if inside is not None:
            return (
                f"the border between share {number} and {number + 1} would be about pfn {border:#x}, but {inside.what} "
                f"crosses it, from pfn {inside.low:#x} to {inside.high:#x}; give fewer shards, or none"
            )
    return (
        f"a share has whole sections, and too many of the lookups are in the one of pfn {target:#x}; "
        "give fewer shards, or none"
    )


def _joined(blockers: Sequence[Blocker]) -> Iterator[Blocker]:
    """Yield disjoint blockers, each named after the longest of those that overlap in it."""
    whole: Blocker | None = None
    longest = -1
    for b in sorted(blockers, key=lambda b: (b.low, b.high)):
        if whole is None or b.low > whole.high:
            if whole is not None:
                yield whole
            whole, longest = Blocker(b.low, b.high, b.what), b.high - b.low
            continue
        whole.high = max(whole.high, b.high)
        if b.high - b.low > longest:
            whole.what, longest = b.what, b.high - b.low
    if whole is not None:
        yield whole
