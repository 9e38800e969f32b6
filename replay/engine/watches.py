"""Rows answered at an instant that the recording does not give: every state within their window is a possible one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from replay.engine.lookups import LookupEngine
from replay.engine.rows import Outcomes
from replay.engine.runs import Runs
from replay.engine.tally import SLOW_PATH, Difference, Tally
from replay.engine.transitions import Cell
from replay.errors import InputError
from replay.kernel.walk import GET_DEV_PAGEMAP

__all__ = ("RACE", "Aspect", "Watch", "observe_all", "watch_dump", "watch_lookup")

MAX_WATCHED = 1 << 20  # pfns of one row; each is watched by itself

RACE = "answered during a change whose instant is not recorded"

I64 = NDArray[np.int64]


@dataclass
class Aspect:
    """One recorded answer of a row, and what the replay could have answered, pfn by pfn.

    Attributes:
        name: aspect of the tally.
        column: outcome column of its matches.
        recorded: the recorded answer.
        answer: returns the answer of each pfn in the present state.
        shown: the recorded answer in words, where its number says little.
        first: answers in the first state.
        ambiguous: pfns with another answer in a later state.
        possible: pfns for which some state gives the recorded answer.
    """

    name: str
    column: str
    recorded: int
    answer: Callable[[], I64]
    shown: str = ""
    first: I64 = field(default_factory=lambda: np.empty(0, np.int64))
    ambiguous: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    possible: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))

    def observe(self) -> None:
        """Take in the answers of the present state."""
        answers = self.answer()
        if not self.first.size:
            self.first = answers
            self.ambiguous = np.zeros(answers.size, np.bool_)
            self.possible = np.zeros(answers.size, np.bool_)
        self.ambiguous |= answers != self.first
        self.possible |= answers == self.recorded


@dataclass
class Watch:
    """A row with a window.

    Attributes:
        row: row number in the trace.
        last: last row number of the window.
        pfn: first pfn of the row.
        aspects: what was recorded about it.
        outcomes: columns of the row's batch, or None.
        at: index of the row within the batch.
    """

    row: int
    last: int
    pfn: int
    aspects: list[Aspect]
    outcomes: Outcomes | None
    at: int

    def observe(self) -> None:
        """Take in the present state."""
        for aspect in self.aspects:
            aspect.observe()

    def close(self, tally: Tally) -> None:
        """Count what came out."""
        race = np.zeros(max((a.first.size for a in self.aspects), default=0), np.bool_)
        for a in self.aspects:
            unproven = a.ambiguous & a.possible
            agreed = a.possible & ~unproven
            race |= unproven
            tally.compare(a.name, a.first.size, int(agreed.sum()), RACE, int(unproven.sum()))
            differing = int((~a.possible).sum())
            if differing:
                answers = "something else" if a.shown or a.ambiguous.any() else str(int(a.first[0]))
                tally.differ(Difference(a.name, self.row, self.pfn, a.shown or str(a.recorded), answers, differing))
            if self.outcomes is not None:
                self.outcomes[a.column][self.at] = int(agreed.sum())
        if self.outcomes is not None:
            self.outcomes["race"][self.at] = int(race.sum())


def watch_dump(
    row: int, at: int, cell: Cell, name: str, shown: str, matches: Callable[[], bool], outcomes: Outcomes | None
) -> Watch:
    """Return a watch on a row of a dump, which is right or wrong as a whole.

    Args:
        row: row number in the trace.
        at: index of the row within its batch.
        cell: gives a column of the row.
        name: aspect of the tally.
        shown: what the row says, in words.
        matches: tells whether the machine is that way in the present state.
        outcomes: columns of the whole batch, or None.
    """
    aspect = Aspect(name, "match", 1, lambda: np.array([matches()], np.int64), shown)
    return Watch(row, row + (cell("window") or 0), cell("pfn") or 0, [aspect], outcomes, at)


def watch_lookup(
    row: int, at: int, cell: Cell, runs: Runs, engine: Callable[[], LookupEngine], outcomes: Outcomes | None
) -> Watch:
    """Return a watch on a lookup with a window.

    Args:
        row: row number in the trace.
        at: index of the row within its batch.
        cell: gives a column of the row.
        runs: the pfns of the row, a single run.
        engine: gives the lookup engine for the present state.
        outcomes: columns of the row's batch, or None.

    Raises:
        InputError: the row has too many pfns.
    """
    pfn, count = int(runs.first[0]), int(runs.count[0])
    if count > MAX_WATCHED:
        raise InputError(f"row {row}", f"a window on a run of {count} pfns", f"at most {MAX_WATCHED}", "split the run")
    pfns = runs.first + np.arange(count, dtype=np.uint64) * runs.stride
    function = engine().function.name
    answers: list[tuple[bool, str, str, str, Callable[[], I64]]] = [
        (True, "recorded_ret", function, "match", lambda: engine().answers(pfns)),
        (engine().online, "recorded_slow", SLOW_PATH, "slow_match", lambda: engine().slow(pfns)),
        (engine().asks, "recorded_pgmap", GET_DEV_PAGEMAP.name, "pgmap_match", lambda: engine().pagemaps(pfns)),
    ]
    aspects = []
    for applies, column, name, target, answer in answers:
        recorded = cell(column)
        if applies and recorded is not None:
            aspects.append(Aspect(name, target, recorded, answer))
    return Watch(row, row + (cell("window") or 0), pfn, aspects, outcomes, at)


def observe_all(watches: list[Watch], row: int, tally: Tally) -> list[Watch]:
    """Show the state after row ``row`` to the watches that reach it; close and drop the others."""
    still = []
    for watch in watches:
        if watch.last < row:
            watch.close(tally)
        else:
            watch.observe()
            still.append(watch)
    return still
