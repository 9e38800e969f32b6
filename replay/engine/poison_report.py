"""Poison calls against the recording: return codes, actions, flags, signals, counters."""

from __future__ import annotations

from collections import Counter as Tallied
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from replay.engine.observer import PoisonObserver
from replay.engine.poison import PoisonEngine
from replay.engine.poison_call import Decided
from replay.engine.poison_columns import column_at, recorded_at
from replay.engine.poison_compare import ACTION, FLAG, UNDECIDED, compare_plain, event_text
from replay.engine.poison_plain import Walked
from replay.engine.poison_signals import SIGKILL, Sent
from replay.engine.poison_steps import Steps
from replay.engine.rows import ColumnSource, Outcomes
from replay.engine.tally import MAX_DIFFERENCES, Difference, Tally
from replay.engine.transitions import Cell
from replay.kernel.poison_types import decode
from replay.trace.poison import NO_ACTION, ActionResult, Counter

__all__ = ("ACCESSES", "ACTION", "COUNTERS", "FLAG", "SIGNALS", "UNDECIDED", "PoisonReport")

SIGNALS = "poison signals"
ACCESSES = "signals on access"
COUNTERS = "poison counters"
Label = tuple[str, str, str]
_MAX_HELD = 1 << 12  # differences held back until those of other rows are known
_ONLY = np.zeros(1, np.int64)
_TAINTED = "follows from calls that are not decided"


@dataclass
class _Call:
    """Signals of one call: replayed and recorded.

    Attributes:
        row: row number of the call.
        pfn: the page.
        undecided: the call is not decided.
        mappers: pids of the tasks that mapped the page.
        sent: replayed signals by pid.
        aspect: what they are compared as.
        seen: recorded signals by pid.
    """

    row: int
    pfn: int
    undecided: bool
    mappers: set[int]
    sent: dict[int, Sent]
    aspect: str = SIGNALS
    seen: list[tuple[int, int, int | None, int | None, int | None]] = field(default_factory=list)


@dataclass(frozen=True)
class _Unheard:
    """Calls that nobody was signalled for, by ascending call number.

    Attributes:
        number: the calls' ``call``.
        row: row numbers.
        pfn: their pages.
        undecided: whether they are not decided.
    """

    number: NDArray[np.generic]
    row: NDArray[np.int64]
    pfn: NDArray[np.generic]
    undecided: NDArray[np.bool_]

    def find(self, number: int) -> _Call | None:
        """Return a call by its number."""
        wanted = self.number.dtype.type(number)  # of another type it would make a copy of all numbers
        at = int(np.searchsorted(self.number, wanted, "right")) - 1  # of several, the last
        if at < 0 or int(self.number[at]) != number:
            return None
        return _Call(int(self.row[at]), int(self.pfn[at]), bool(self.undecided[at]), set(), {})


class PoisonReport:
    """Counts what poison calls answer, and compares it.

    Args:
        tally: where to count.
        kernel: version that recorded the trace; its numbers of action types are decoded with its own layout.

    Attributes:
        observer: is told of every call, None to tell nobody.
    """

    def __init__(self, tally: Tally, kernel: str) -> None:
        self.tally = tally
        self._kernel = kernel
        self._calls: dict[int, _Call] = {}
        self._unheard: list[_Unheard] = []
        self._tainted = False
        self._labelled: tuple[Steps, list[Label], NDArray[np.int64]] | None = None
        self.observer: PoisonObserver | None = None
        self._held: list[Difference] | None = None

    def decided(self, call: Decided, outcomes: Outcomes | None) -> None:
        """Take a decided call."""
        self.tally.decided(*_label(call), 1)
        self._tainted |= call.undecided
        if self.observer is not None:
            self.observer.poison([call], np.array([call.at]), _ONLY)
        self._ret(call, call.kind.name.lower())
        self._action(call)
        self._flag(call)
        number = call.cell("call")
        if number is not None:
            sent = {s.task: s for s in call.signals}
            mappers = {m.task.pid for m in call.mappers}
            later = self._find_unheard(number)
            if later is None or later.row < call.row:
                self._calls[number] = _Call(call.row, call.pfn, call.undecided, mappers, sent)
        if outcomes is not None:
            for column in ("action", "result", "poisoned", "counted"):
                outcomes[column][call.at] = int(getattr(call, column))
            outcomes["ret"][call.at] = call.ret
            outcomes["poison_check"][call.at] = call.number
            outcomes["signals"][call.at] = len(call.signals)
            outcomes["match"][call.at] = int(not call.undecided and call.ret == call.cell("recorded_ret"))

    def plain(self, calls: Walked, batch: ColumnSource, outcomes: Outcomes | None) -> None:
        """Take plain calls: all at once what ``decided`` takes one by one."""
        steps = calls.steps
        labels, of_step = self._labels_of(steps)
        counts = np.zeros(len(labels), np.int64)
        np.add.at(counts, of_step, calls.counts)
        for label, count in zip(labels, counts.tolist(), strict=True):
            self.tally.decided(*label, count)
        if self.observer is not None:
            used = np.flatnonzero(calls.counts)
            made = [steps.calls[number] for number in used.tolist()]
            self.observer.poison(made, calls.rows, np.searchsorted(used, calls.step))
        self._tainted |= bool(steps.undecided[calls.counts > 0].any())
        same = compare_plain(self.tally, self._kernel, calls, batch, self._differ)
        self._note_unheard(calls, batch)
        if outcomes is not None:
            for column in ("action", "result", "poisoned", "counted", "ret"):
                outcomes[column][calls.rows] = getattr(steps, column)[calls.step]
            outcomes["poison_check"][calls.rows] = steps.number[calls.step]
            outcomes["match"][calls.rows] = same

    @contextmanager
    def in_row_order(self) -> Iterator[None]:
        """Show differences in the order of the rows, though calls are taken in another."""
        held: list[Difference] = []
        self._held = held
        try:
            yield
        finally:
            self._held = None
        for difference in _first(held):
            self.tally.differ(difference)

    def signal(self, cell: Cell) -> None:
        """Take a recorded signal; one that belongs to no poison call was seen at an access."""
        number = cell("call") or 0
        call = self._calls.get(number) or self._find_unheard(number)
        if call is not None:
            self._calls[number] = call
            seen = (cell("task") or 0, cell("signal") or 0)
            call.seen.append((*seen, cell("recorded_code"), cell("recorded_addr"), cell("recorded_lsb")))

    def access(self, row: int, cell: Cell, check: str, sent: list[Sent]) -> None:
        """Take a touch after an error, and what it should have led to; its recorded signals follow."""
        self.tally.decided("access", check, "SIGBUS" if sent else "no signal", 1)
        number = cell("call")
        if number is not None:
            task, pfn = cell("task") or 0, cell("pfn") or 0
            self._calls[number] = _Call(row, pfn, False, {task}, {s.task: s for s in sent}, ACCESSES)

    def counters(self, row: int, cell: Cell, poison: PoisonEngine) -> None:
        """Compare a recorded counter."""
        key, node, recorded = Counter(cell("key") or 0), cell("node"), cell("value") or 0
        if key is Counter.POISONED:
            replayed, name = poison.counter, "poisoned pages"
        else:
            counts = poison.node_counters.get(node or 0, [0] * (1 + len(ActionResult)))
            replayed, name = counts[key - Counter.TOTAL], f"{key.name.lower()} of node {node}"
        agreed = int(replayed == recorded)
        unproven = int(self._tainted and not agreed)
        self.tally.compare(COUNTERS, 1, agreed, _TAINTED, unproven)
        if not agreed and not unproven:
            self.tally.differ(Difference(COUNTERS, row, 0, f"{name} {recorded}", str(replayed), 1))

    def finish(self) -> None:
        """Compare the signals of all calls."""
        for call in self._calls.values():
            self._compare_signals(call)
        self._calls, self._unheard = {}, []

    def _labels_of(self, steps: Steps) -> tuple[list[Label], NDArray[np.int64]]:
        """Return the labels of steps, and for each step which of them it has."""
        if self._labelled is None or self._labelled[0] is not steps:
            numbers: dict[Label, int] = {}
            of_step = [numbers.setdefault(_label(call), len(numbers)) for call in steps.calls]
            self._labelled = steps, list(numbers), np.array(of_step, np.int64)
        return self._labelled[1:]

    def _note_unheard(self, calls: Walked, batch: ColumnSource) -> None:
        """Remember calls whose signals, if any were recorded, are still to come."""
        given = recorded_at(batch, "call", calls.rows)
        if not given.any():
            return
        which = np.flatnonzero(given.mask())
        which = which[np.argsort(given.value[which], kind="stable")]
        number, undecided = given.value[which], calls.steps.undecided[calls.step[which]]
        rows = batch.row + calls.rows[which]
        pfns = column_at(batch, "pfn", calls.rows)[which]
        before = np.fromiter(self._calls, np.int64, len(self._calls))
        for replaced in before[np.isin(before, number)].tolist():
            del self._calls[replaced]
        self._unheard.append(_Unheard(number, rows, pfns, undecided))

    def _find_unheard(self, number: int) -> _Call | None:
        found = (calls.find(number) for calls in reversed(self._unheard))
        return next((call for call in found if call is not None), None)

    def _ret(self, call: Decided, name: str) -> None:
        recorded = call.cell("recorded_ret")
        if recorded is None:
            return
        agreed = int(not call.undecided and call.ret == recorded)
        self.tally.compare(name, 1, agreed, UNDECIDED, int(call.undecided))
        if not agreed and not call.undecided:
            self._differ(Difference(name, call.row, call.pfn, str(recorded), f"{call.ret} ({_id(call)})", 1))

    def _action(self, call: Decided) -> None:
        number = call.cell("recorded_type")
        if number is None:
            return
        recorded = event_text(decode(self._kernel, number), call.cell("recorded_result"))
        replayed = event_text(call.action, call.result)
        agreed = int(not call.undecided and recorded == replayed)
        self.tally.compare(ACTION, 1, agreed, UNDECIDED, int(call.undecided))
        if not agreed and not call.undecided:
            self._differ(Difference(ACTION, call.row, call.pfn, recorded, f"{replayed} ({_id(call)})", 1))

    def _flag(self, call: Decided) -> None:
        recorded = call.cell("recorded_hwpoison")
        if recorded is None:
            return
        agreed = int(not call.undecided and recorded == int(call.poisoned))
        self.tally.compare(FLAG, 1, agreed, UNDECIDED, int(call.undecided))
        if not agreed and not call.undecided:
            self._differ(Difference(FLAG, call.row, call.pfn, str(recorded), f"{int(call.poisoned)} ({_id(call)})", 1))

    def _compare_signals(self, call: _Call) -> None:
        seen: dict[int, tuple[int, int | None, int | None, int | None]] = {}
        for task, *what in call.seen:
            seen.setdefault(task, (what[0] or 0, what[1], what[2], what[3]))
        for task in sorted(call.mappers | set(call.sent) | set(seen)):
            same = _same(call.sent.get(task), seen.get(task))
            self.tally.compare(call.aspect, 1, int(same and not call.undecided), UNDECIDED, int(call.undecided))
            if not same and not call.undecided:
                recorded, replayed = str(seen.get(task, "none")), str(call.sent.get(task, "none"))
                self.tally.differ(Difference(call.aspect, call.row, call.pfn, f"task {task}: {recorded}", replayed, 1))

    def _differ(self, difference: Difference) -> None:
        if self._held is None:
            self.tally.differ(difference)
        else:
            self._held.append(difference)
            if len(self._held) >= _MAX_HELD:
                self._held[:] = _first(self._held)


def _first(differences: list[Difference]) -> list[Difference]:
    """Return as many of the differences as are shown of each aspect, in the order of the rows."""
    seen: Tallied[str] = Tallied()
    first = []
    for difference in sorted(differences, key=lambda d: d.row):
        seen[difference.aspect] += 1
        if seen[difference.aspect] <= MAX_DIFFERENCES:
            first.append(difference)
    return first


def _same(sent: Sent | None, seen: tuple[int, int | None, int | None, int | None] | None) -> bool:
    """Return whether a replayed signal is the recorded one, as far as it was recorded."""
    if sent is None or seen is None:
        return sent is None and seen is None
    number, code, addr, lsb = seen
    if sent.signal != number:
        return False
    if number == SIGKILL:
        return True
    pairs = ((code, sent.code), (addr, sent.addr), (lsb, sent.lsb))
    return all(recorded is None or recorded == replayed for recorded, replayed in pairs)


def _label(call: Decided) -> Label:
    """Return the function, check and answer that a call is counted under."""
    if call.undecided or call.check is None:
        return call.kind.name.lower(), "undecided", "undecided" if call.undecided else _answer(call)
    return call.kind.name.lower(), call.check.id, _answer(call)


def _answer(call: Decided) -> str:
    if call.action == NO_ACTION:
        return str(call.ret) if call.check is None or call.ret != call.check.answer.value else call.check.answer.name
    return event_text(call.action, call.result)


def _id(call: Decided) -> str:
    return call.check.id if call.check is not None else "?"
