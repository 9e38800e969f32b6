"""What plain calls do: a table from (condition of the page, call) to the verdict and the condition that follows.

A call is *plain* if nothing but its page's condition and what its code says goes into the verdict, and nothing but that
condition and the counters comes out: nobody maps the page, nobody is signalled, and no other page is concerned. There are
few different ones, so each is decided once, and many calls are looked up at once. Calls on one page follow each other: they
are walked through the table, all pages side by side as long as many are left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.engine.poison_call import Decided
from replay.machine.distinct import distinct
from replay.machine.pages import Condition, Pages

__all__ = ("Decide", "PlainCall", "Step", "StepTable", "Steps")

_LANES = 256  # fewer pages are walked one after the other
_MAX_CELLS = 1 << 22  # of the table; it is begun anew when it has more

I64 = NDArray[np.int64]
Ints = NDArray[np.integer[Any]]
_NONE: I64 = np.empty(0, np.int64)


@dataclass(frozen=True)
class PlainCall:
    """A call on a page in some condition.

    Attributes:
        condition: of the page.
        code: what the call asks for, and what is around the page (``poison_plain``).
    """

    condition: Condition
    code: int


@dataclass(frozen=True)
class Step:
    """What a plain call does.

    Attributes:
        call: as if it were made alone; ``poisoned`` says how it leaves the page.
        after: the page's condition afterwards.
    """

    call: Decided
    after: Condition


Decide = Callable[[list[PlainCall]], list[Step]]


class Steps:
    """Steps by number, and their columns as arrays.

    Attributes:
        calls: the decided calls.
        kind: EventKind, uint8.
        undecided: bool.
        ret: return code, int64.
        action: ActionType or NO_ACTION, uint8.
        result: ActionResult or NO_ACTION, uint8.
        poisoned: bool.
        counted: int64.
        number: of the deciding check within its function, CHECK_NONE where undecided, uint8.
        event: counted by the node, bool.
    """

    def __init__(self, calls: list[Decided]) -> None:
        self.calls = calls
        self.kind = np.array([c.kind for c in calls], np.uint8)
        self.undecided = np.array([c.undecided for c in calls], np.bool_)
        self.ret = np.array([c.ret for c in calls], np.int64)
        self.action = np.array([c.action for c in calls], np.uint8)
        self.result = np.array([c.result for c in calls], np.uint8)
        self.poisoned = np.array([c.poisoned for c in calls], np.bool_)
        self.counted = np.array([c.counted for c in calls], np.int64)
        self.number = np.array([c.number for c in calls], np.uint8)
        self.event = np.array([c.verdict is not None and c.verdict.event for c in calls], np.bool_)


class StepTable:
    """The steps of one kernel under one setting of the sysctls.

    Args:
        pages: knows the conditions.
        decide: decides calls that have not been met before.
    """

    def __init__(self, pages: Pages, decide: Decide) -> None:
        self._pages, self._decide = pages, decide
        self._row = self._column = _NONE  # condition -> table row, code -> table column; -1 for none
        self._condition = self._code = _NONE  # table row -> condition, table column -> code
        self._table = np.empty((0, 0), np.int64)  # -> step, -1 for not decided yet
        self._after = _NONE  # step -> table row
        self._calls: list[Decided] = []
        self._steps: Steps | None = None
        self._listed: tuple[list[list[int]], list[int]] | None = None

    @property
    def steps(self) -> Steps:
        """The steps met so far."""
        if self._steps is None or len(self._steps.calls) < len(self._calls):
            self._steps = Steps(list(self._calls))
        return self._steps

    def fits(self, conditions: I64, codes: Ints) -> bool:
        """Return whether calls with these codes on pages in these conditions leave the table within its bounds."""
        if len(self._pages.conditions) * (int(codes.max()) + 1) <= _MAX_CELLS:
            return True
        rows, columns = (int(np.count_nonzero(np.bincount(numbers))) for numbers in (conditions, codes))
        return rows * columns <= _MAX_CELLS

    def walk(self, conditions: I64, counts: I64, codes: Ints) -> tuple[I64, I64]:
        """Make calls.

        Args:
            conditions: number of each page's condition.
            counts: calls on each page, at least 1.
            codes: of the calls, those on a page together and in their order, page by page.

        Returns:
            The number of each call's step, and of the condition that each page is left in.
        """
        if self._table.size > _MAX_CELLS:
            self._forget()
        calls = self._columns(codes)
        rows = self._rows(conditions)
        if calls.size == rows.size:
            steps = self._step(rows, calls)
            return steps, np.take(self._condition[self._after], steps)
        steps = np.empty(calls.size, np.int64)
        longest = np.argsort(-counts, kind="stable")
        counts, first, lanes = counts[longest], (np.cumsum(counts) - counts)[longest], rows[longest]
        width = np.searchsorted(-counts, -np.arange(1, int(counts[0]) + 2), "right").tolist()  # pages with a k-th call
        k = 0
        while width[k] >= _LANES:
            at = first[: width[k]] + k
            steps[at] = found = self._step(lanes[: width[k]], calls[at])
            lanes[: width[k]] = self._after[found]
            k += 1
        for lane in range(width[k]):
            part = slice(int(first[lane]) + k, int(first[lane] + counts[lane]))
            steps[part], lanes[lane] = self._follow(int(lanes[lane]), calls[part])
        rows[longest] = lanes
        return steps, self._condition[rows]

    def _follow(self, row: int, calls: I64) -> tuple[list[int], int]:
        """Make the calls on one page; return the steps and the table row of the condition that it is left in."""
        steps: list[int] = []
        table, after = self._lists()
        for call in calls.tolist():
            step = table[row][call]
            if step < 0:
                self._step(np.array([row]), np.array([call]))
                table, after = self._lists()
                step = table[row][call]
            steps.append(step)
            row = after[step]
        return steps, row

    def _lists(self) -> tuple[list[list[int]], list[int]]:
        if self._listed is None:
            self._listed = self._table[: self._condition.size, : self._code.size].tolist(), self._after.tolist()
        return self._listed

    def _step(self, rows: I64, calls: I64) -> I64:
        """Return the steps of calls, deciding those that are new."""
        cells = rows * self._table.shape[1]
        cells += calls
        found: I64 = np.take(self._table.reshape(-1), cells)
        if int(found.min()) < 0:
            self._add(distinct(cells[found < 0]))
            return self._step(rows, calls)
        return found

    def _add(self, cells: I64) -> None:
        """Decide the calls of some cells of the table."""
        rows, calls = np.divmod(cells, self._table.shape[1])
        numbers = self._condition[rows].tolist()
        plain = [
            PlainCall(self._pages.conditions[number], code)
            for number, code in zip(numbers, self._code[calls].tolist(), strict=True)
        ]
        steps = self._decide(plain)
        after = self._rows(np.array([self._pages.number(step.after) for step in steps]))
        self._table[rows, calls] = np.arange(len(self._calls), len(self._calls) + len(steps))
        self._calls += [step.call for step in steps]
        self._after = np.append(self._after, after)
        self._listed = None

    def _rows(self, conditions: I64) -> I64:
        """Return the table rows of conditions, new ones for those that have none."""
        if len(self._pages.conditions) > self._row.size:
            self._row = _longer(self._row, len(self._pages.conditions))
        rows = self._row[conditions]
        if rows.size and int(rows.min()) < 0:
            new = distinct(conditions[rows < 0])
            self._row[new] = np.arange(self._condition.size, self._condition.size + new.size)
            self._condition = np.append(self._condition, new.astype(np.int64))
            self._listed = None  # it ends with the last condition known so far
            self._make_room()
            rows = self._row[conditions]
        return rows

    def _columns(self, codes: Ints) -> I64:
        """Return the table columns of call codes, new ones for those that have none."""
        highest = int(codes.max())
        if highest >= self._column.size:
            self._column = _longer(self._column, highest + 1)
        columns = self._column[codes]
        if int(columns.min()) < 0:
            new = distinct(codes[columns < 0])
            self._column[new] = np.arange(self._code.size, self._code.size + new.size)
            self._code = np.append(self._code, new.astype(np.int64))
            self._listed = None
            self._make_room()
            columns = self._column[codes]
        return columns

    def _make_room(self) -> None:
        """Let the table have a row for each condition and a column for each code."""
        rows, columns = self._table.shape
        need = self._condition.size, self._code.size
        if need[0] > rows or need[1] > columns:
            table = np.full((max(need[0], 2 * rows), max(need[1], columns)), -1, np.int64)
            table[:rows, :columns] = self._table
            self._table = table

    def _forget(self) -> None:
        self._row = self._column = self._condition = self._code = self._after = _NONE
        self._table = np.empty((0, 0), np.int64)
        self._calls, self._steps, self._listed = [], None, None


def _longer(numbers: I64, size: int) -> I64:
    """Return an array of at least that size that begins with these numbers, and goes on with -1."""
    longer = np.full(max(size, 2 * numbers.size), -1, np.int64)
    longer[: numbers.size] = numbers
    return longer
