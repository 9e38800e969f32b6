"""What rows of a trace say of pagemaps, and rows that are put between others."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from replay.errors import UsageError
from replay.kernel.poison_types import ActionType, layout_of
from replay.machine.geometry import SUBSECTION_SHIFT
from replay.sources.importers.pfns import PFN_LIMIT
from replay.sources.importers.recording.table import Column
from replay.trace.header import MachineDescription
from replay.trace.poison import NO_ACTION
from replay.trace.schema import COLUMNS, EventKind

from .pagemaps import ABSENT, UNKNOWN, AssumedRow, PagemapEvidence

__all__ = ("PagemapWitness", "insert_rows")

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_ENXIO = -6
_FEW, _FAR = 64, 1 << 63
_CHANGES = (EventKind.MEMREMAP_PAGES, EventKind.PGMAP_RANGE, EventKind.MEMUNMAP_PAGES)
_NO_PAGEMAP = (ActionType.PFN_MAP, ActionType.OUTSIDE_CONTROL)


class PagemapWitness:
    """Finds the rows that say of a page whether it was one of a pagemap.

    Args:
        kernel: that the trace is of; page types are by its layout.
        page_shift: log2 of the page size.
    """

    NEEDS = frozenset(
        ("kind", "call", "pfn", "nr_pages", "stride", "pgmap", "recorded_type", "recorded_ret", "recorded_pgmap")
    )  # columns; call tells which rows something became known of late

    def __init__(self, kernel: str, page_shift: int) -> None:
        self._shift = SUBSECTION_SHIFT - page_shift
        self._evidence = PagemapEvidence(self._shift)
        self._used = 0  # the largest id of a pagemap
        self._unmade: list[tuple[int, int, int]] = []  # id and range of those that are removed and never made
        self._made: set[int] = set()  # ids of those that calls in the trace made or removed
        self._live: list[tuple[int, int, int]] = []  # ranges of what is mapped, and ids, ascending
        self._parts: dict[int, list[tuple[int, int, int]]] = {}  # the same by id
        self._ranges: set[tuple[int, int]] = set()
        try:
            types = layout_of(kernel).types
        except UsageError:
            types = ()
        self._dax = types.index(ActionType.DAX) if ActionType.DAX in types else None
        self._none = [types.index(kind) for kind in _NO_PAGEMAP if kind in types]

    def tell(self, columns: Mapping[str, Column], before: int = 0) -> None:
        """Take rows.

        Args:
            columns: of the rows.
            before: how many rows came before them.
        """
        if "pfn" not in columns or not len(columns["kind"][0]):
            return
        for name in ("pgmap", "recorded_pgmap"):
            if name in columns:
                self._used = max(self._used, int(columns[name][0].max()))
        dax = self._dax_pages(columns)
        # A number that is no pfn tells nothing about pagemaps.
        failures = np.flatnonzero((dax | self._outside(columns)) & (columns["pfn"][0] < PFN_LIMIT))
        pagemap = np.where(dax[failures], UNKNOWN, ABSENT)
        parts = [(failures, columns["pfn"][0][failures].astype(np.int64), pagemap)]
        if "recorded_pgmap" in columns:
            parts.append(_lookups(columns, self._shift))
        row, pfn, found = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(row, kind="stable")
        row, pfn, found = row[order], pfn[order], found[order]
        start = 0
        for change in np.flatnonzero(np.isin(columns["kind"][0], _CHANGES)).tolist():
            end = int(np.searchsorted(row, change))
            self._add(row[start:end] + before, pfn[start:end], found[start:end])
            self._follow(columns, change, before)
            start = end
        self._add(row[start:] + before, pfn[start:], found[start:])

    def spans(self, memory: Callable[[int, int], bool]) -> list[tuple[int, int]]:
        """Return ranges of pfns in which there ever was a pagemap, ascending; they may overlap.

        Args:
            memory: whether an error was reported of a page of memory in a range: there, no pagemap is assumed.
        """
        return sorted((*self._ranges, *(span for span in self._evidence.spans() if not memory(*span))))

    def rows(self, machine: MachineDescription, devices: Mapping[str, str]) -> tuple[list[AssumedRow], str]:
        """Return rows for the pagemaps that no row tells of, and a note about them; see ``PagemapEvidence.rows``."""
        return self._evidence.rows(machine, devices, self._used, frozenset(self._made), self._unmade)

    def _add(self, row: _Ints, pfn: _Ints, found: _Ints) -> None:
        """Add what rows say of pages that no traced call has mapped."""
        if not len(row):
            return
        keep = ~self._mapped(pfn)
        if self._made:
            keep &= np.array([number not in self._made for number in found.tolist()], np.bool_)
        self._evidence.add(row[keep], pfn[keep], found[keep])

    def _mapped(self, pfn: _Ints) -> _Bools:
        """Return which pages are in a pagemap that a traced call has made and none removed; these do not overlap."""
        if len(pfn) > _FEW:
            bounds = np.array(self._live, np.int64).reshape(-1, 3)
            at = np.searchsorted(bounds[:, 0], pfn, "right") - 1
            return np.asarray((at >= 0) & (pfn < bounds[at, 1]) if len(bounds) else np.zeros(len(pfn), np.bool_))
        found = []
        for number in pfn.tolist():
            last = bisect_right(self._live, (number, _FAR, _FAR)) - 1
            found.append(last >= 0 and number < self._live[last][1])
        return np.array(found, np.bool_)

    def _follow(self, columns: Mapping[str, Column], at: int, before: int) -> None:
        """Remember what a row maps or unmaps."""
        kind, pgmap = columns["kind"][0][at], int(columns["pgmap"][0][at])
        if kind == EventKind.MEMUNMAP_PAGES:
            if pgmap not in self._made:
                low, high = _range_at(columns, at)
                self._evidence.end(before + at, low, high)
                self._unmade.append((pgmap, low, high))
                self._ranges.add((low, high))
            for part in self._parts.pop(pgmap, ()):
                self._live.pop(bisect_left(self._live, part))
            self._made.add(pgmap)
            return
        self._made.add(pgmap)
        low, high = _range_at(columns, at)
        self._evidence.end(before + at, low, high)
        self._ranges.add((low, high))
        part = (low, high, pgmap)
        self._parts.setdefault(pgmap, []).append(part)
        insort(self._live, part)

    def _dax_pages(self, columns: Mapping[str, Column]) -> _Bools:
        kind = columns["kind"][0]
        if self._dax is None or "recorded_type" not in columns:
            return np.zeros(len(kind), np.bool_)
        value, given = columns["recorded_type"]
        return np.asarray((kind == EventKind.MEMORY_FAILURE) & given & (value == self._dax))

    def _outside(self, columns: Mapping[str, Column]) -> _Bools:
        """Return which rows are errors on a pfn that no page was found for."""
        kind = columns["kind"][0]
        if "recorded_type" not in columns:
            return np.zeros(len(kind), np.bool_)
        value, given = columns["recorded_type"]
        none = np.isin(value, self._none)
        if "recorded_ret" in columns:
            ret, returned = columns["recorded_ret"]
            none |= (value == NO_ACTION) & returned & (ret == _ENXIO)
        return np.asarray((kind == EventKind.MEMORY_FAILURE) & given & none)


def _lookups(columns: Mapping[str, Column], shift: int) -> tuple[_Ints, _Ints, _Ints]:
    """Return row, page and pagemap of lookups, at least one of every subsection that a run goes through."""
    found, given = columns["recorded_pgmap"]
    rows = np.flatnonzero(given)
    pfn, pages, stride = (
        columns[name][0][rows].astype(np.int64) if name in columns else np.full(len(rows), default)
        for name, default in (("pfn", 0), ("nr_pages", 1), ("stride", 1))
    )
    # Steps of at most a subsection leave none out; longer ones are told one by one.
    size = 1 << shift
    step = np.where(np.abs(stride) < size, np.sign(stride) * size, stride)
    last = pfn + (pages - 1) * stride
    count = np.where(step == 0, 1, np.abs(last - pfn) // np.maximum(np.abs(step), 1) + 1)
    place = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    each = np.repeat(pfn, count) + place * np.repeat(step, count)
    # The last page of a run may lie in one subsection more.
    row, found = np.concatenate((np.repeat(rows, count), rows)), found[rows].astype(np.int64)
    return row, np.concatenate((each, last)), np.concatenate((np.repeat(found, count), found))


def _range_at(columns: Mapping[str, Column], at: int) -> tuple[int, int]:
    pfn = int(columns["pfn"][0][at])
    return pfn, pfn + int(columns["nr_pages"][0][at])


def insert_rows(columns: Mapping[str, Column], rows: Sequence[AssumedRow], before: int = 0) -> dict[str, Column]:
    """Return columns with rows put in; each has the time of the row that it stands in front of.

    Args:
        columns: at least one row; windows grow where a row comes into one.
        rows: ascending by where they stand.
        before: how many rows, without those that were put in, came before these.
    """
    count = len(columns["kind"][0])
    at = np.array([row.before - before for row in rows], np.int64)
    columns = dict(columns)
    if "window" in columns:
        window, given = columns["window"]
        index = np.arange(count)
        more = np.searchsorted(at, index + window.astype(np.int64), "right") - np.searchsorted(at, index, "right")
        columns["window"] = (window + np.where(given & (window > 0), more, 0)).astype(window.dtype), given
    result: dict[str, Column] = {}
    for name in COLUMNS:
        own = [row.kind if name == "kind" else row.values.get(name) for row in rows]
        if name not in columns and all(value is None for value in own):
            continue
        values, given = columns.get(name, (np.zeros(count, COLUMNS[name].numpy), np.zeros(count, np.bool_)))
        if name == "time":
            new, told = values[at], given[at]
        else:
            new = np.array([value or 0 for value in own], values.dtype)
            told = np.array([value is not None for value in own], np.bool_)
        result[name] = np.insert(values, at, new), np.insert(given, at, told)
    return result
