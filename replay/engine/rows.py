"""The lookups of one stretch, as arrays; and the outcome columns that a replay fills in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from replay.engine.runs import Runs
from replay.machine.distinct import distinct
from replay.trace.outcomes import CHECK_NONE, OUTCOME_COLUMNS, POISON_COLUMNS, outcome_dtype
from replay.trace.poison import NO_ACTION

__all__ = (
    "ColumnSource",
    "Lookups",
    "Outcomes",
    "Parts",
    "Recorded",
    "among",
    "blank_outcomes",
    "cell_of",
    "kinds_in",
)

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
Outcomes = dict[str, NDArray[np.generic]]


class ColumnSource(Protocol):
    """Part of a trace that gives its columns as arrays (``replay.trace.reader.Batch``)."""

    row: int

    def __len__(self) -> int: ...

    def column(self, name: str) -> NDArray[np.generic]:
        """Return a column, nulls as its default."""
        ...

    def given(self, name: str) -> NDArray[np.bool_] | bool:
        """Return where a column is given."""
        ...


_PROBED = 256
_COMPARED = 8  # kinds, up to which comparing with each takes less time than looking each row's up


@dataclass(frozen=True)
class Parts:
    """What decided the pfns of runs within which several checks decide, in parts; ascending within each row.

    Attributes:
        rows: indices within the batch, int64.
        first: pfn from which on a check decides, to the next part of the row, uint64.
        check: index of the check within its function, uint8.
        wrong: pfn_to_online_page: the answer differs from the truth, bool.
    """

    rows: I64
    first: U64
    check: NDArray[np.uint8]
    wrong: NDArray[np.bool_]


@dataclass(frozen=True)
class Recorded:
    """A recorded column of the rows at hand.

    Attributes:
        value: int64 or narrower, undefined where not given, and without elements when it is given nowhere.
        given: True, False, or bool per row.
    """

    value: NDArray[np.generic]
    given: NDArray[np.bool_] | bool

    def any(self) -> bool:
        """Return whether any row has it."""
        return self.given if isinstance(self.given, bool) else bool(self.given.any())

    def part(self, part: slice | I64) -> Recorded:
        """Return some of the rows."""
        if isinstance(self.given, bool):
            return Recorded(self.value[part], True) if self.given else self
        return Recorded(self.value[part], self.given[part])

    def mask(self) -> NDArray[np.bool_]:
        """Return bool per row."""
        return np.full(self.value.size, self.given) if isinstance(self.given, bool) else self.given


@dataclass(frozen=True)
class Lookups:
    """Rows of one lookup function within one stretch.

    Attributes:
        rows: indices within the batch, or a slice of it.
        pfn: first pfn.
        runs: None when every row is a single pfn.
        ret: recorded_ret.
        slow: recorded_slow.
        pgmap: recorded_pgmap.
    """

    rows: I64 | slice
    pfn: U64
    runs: Runs | None
    ret: Recorded
    slow: Recorded
    pgmap: Recorded

    @classmethod
    def of(cls, batch: ColumnSource, rows: I64 | slice, *, single: bool = False) -> Lookups:
        """Return the lookups of a batch at these rows; ``single`` when each is known to be of one pfn."""
        pfn = np.asarray(batch.column("pfn")[rows], np.uint64)
        runs = None
        if not single and batch.given("nr_pages") is not False:
            nr_pages = np.asarray(batch.column("nr_pages")[rows], np.uint64)
            if (nr_pages != 1).any():
                runs = Runs.of(pfn, nr_pages, np.asarray(batch.column("stride")[rows], np.int64))
        recorded = (_recorded(batch, f"recorded_{n}", rows) for n in ("ret", "slow", "pgmap"))
        return cls(rows, pfn, runs, *recorded)

    def unrecorded(self) -> Lookups:
        """Return the same rows without what was recorded about them."""
        return replace(self, **{n: replace(getattr(self, n), given=False) for n in ("ret", "slow", "pgmap")})

    def __len__(self) -> int:
        return self.pfn.size

    def part(self, part: slice | I64) -> Lookups:
        """Return some of the rows."""
        if isinstance(part, slice) and isinstance(self.rows, slice):
            low, high, _ = part.indices(len(self))
            rows: I64 | slice = slice(self.rows.start + low, self.rows.start + high)
        else:
            rows = self.row_numbers()[part]
        runs = None if self.runs is None else self.runs.part(part)
        return Lookups(rows, self.pfn[part], runs, self.ret.part(part), self.slow.part(part), self.pgmap.part(part))

    @property
    def straight(self) -> bool:
        """Whether no row has a stride but one."""
        return self.runs is None or bool((self.runs.stride == 1).all())

    def row_numbers(self) -> I64:
        """Return the indices of the rows within the batch."""
        return np.arange(self.rows.start, self.rows.stop) if isinstance(self.rows, slice) else self.rows

    def as_runs(self) -> Runs:
        """Return the rows as runs, single pfns being runs of one."""
        one = np.ones(self.pfn.size, np.uint64)
        return self.runs if self.runs is not None else Runs(self.pfn, one, one)


def _recorded(batch: ColumnSource, name: str, rows: I64 | slice) -> Recorded:
    given = batch.given(name)
    if given is False:
        return _NOTHING
    return Recorded(batch.column(name)[rows], given if isinstance(given, bool) else given[rows])


_NOTHING = Recorded(np.empty(0, np.int64), False)


def cell_of(batch: ColumnSource, row: int) -> Callable[[str], int | None]:
    """Return a function that gives columns of one row, None where they are not given."""

    def cell(name: str) -> int | None:
        given = batch.given(name)
        present = given if isinstance(given, bool) else bool(given[row])
        return int(batch.column(name)[row]) if present else None

    return cell


def kinds_in(kinds: NDArray[np.uint8]) -> list[int]:
    """Return the kinds that occur, ascending; those of the first rows are counted, and mostly they are all."""
    if not kinds.size:
        return []
    if (lowest := int(kinds.min())) == int(kinds.max()):
        return [lowest]
    found: list[int] = distinct(kinds[:_PROBED]).tolist()
    if sum(int(np.count_nonzero(kinds == kind)) for kind in found) == kinds.size:
        return found
    present = np.zeros(256, np.bool_)
    present[kinds] = True
    kinds_found: list[int] = np.flatnonzero(present).tolist()
    return kinds_found


def among(kinds: NDArray[np.uint8], present: list[int], which: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which rows are of some kinds.

    Args:
        kinds: of the rows.
        present: the kinds that occur, or more.
        which: by kind, 256 of them.
    """
    wanted = [kind for kind in present if which[kind]]
    if len(wanted) > _COMPARED:
        return np.asarray(which[kinds])
    found = np.zeros(kinds.size, np.bool_)
    for kind in wanted:
        found |= kinds == kind
    return found


def blank_outcomes(rows: int) -> Outcomes:
    """Return outcome columns in which nothing is decided yet."""
    columns: Outcomes = {name: np.zeros(rows, outcome_dtype(name)) for name in (*OUTCOME_COLUMNS, *POISON_COLUMNS)}
    columns["check"] = np.full(rows, CHECK_NONE, np.uint8)
    columns["poison_check"] = np.full(rows, CHECK_NONE, np.uint8)
    columns["action"] = np.full(rows, NO_ACTION, np.uint8)
    columns["result"] = np.full(rows, NO_ACTION, np.uint8)
    return columns
