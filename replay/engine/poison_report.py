"""Poison calls against the recording: return codes, actions, flags, signals, counters."""

from __future__ import annotations

from dataclasses import dataclass, field

from replay.engine.poison import PoisonEngine
from replay.engine.poison_call import Decided
from replay.engine.poison_signals import SIGKILL, Sent
from replay.engine.rows import Outcomes
from replay.engine.tally import Difference, Tally
from replay.engine.transitions import Cell
from replay.kernel.poison_types import ActionType, decode
from replay.trace.poison import NO_ACTION, ActionResult, Counter

__all__ = ("ACCESSES", "ACTION", "COUNTERS", "FLAG", "SIGNALS", "UNDECIDED", "PoisonReport")

ACTION = "poison action"
FLAG = "HWPoison flag"
SIGNALS = "poison signals"
ACCESSES = "signals on access"
COUNTERS = "poison counters"
UNDECIDED = "the state of the page is not in the trace"
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


class PoisonReport:
    """Counts what poison calls answer, and compares it.

    Args:
        tally: where to count.
        kernel: version that recorded the trace; its numbers of action types are decoded with its own layout.
    """

    def __init__(self, tally: Tally, kernel: str) -> None:
        self.tally = tally
        self._kernel = kernel
        self._calls: dict[int, _Call] = {}
        self._tainted = False

    def decided(self, call: Decided, outcomes: Outcomes | None) -> None:
        """Take a decided call."""
        name = call.kind.name.lower()
        answer = "undecided" if call.undecided else _answer(call)
        self.tally.decided(name, "undecided" if call.check is None or call.undecided else call.check.id, answer, 1)
        self._tainted |= call.undecided
        self._ret(call, name)
        self._action(call)
        self._flag(call)
        number = call.cell("call")
        if number is not None:
            sent = {s.task: s for s in call.signals}
            mappers = {m.task.pid for m in call.mappers}
            self._calls[number] = _Call(call.row, call.pfn, call.undecided, mappers, sent)
        if outcomes is not None:
            for column in ("action", "result", "poisoned", "counted"):
                outcomes[column][call.at] = int(getattr(call, column))
            outcomes["ret"][call.at] = call.ret
            outcomes["signals"][call.at] = len(call.signals)
            outcomes["match"][call.at] = int(not call.undecided and call.ret == call.cell("recorded_ret"))

    def signal(self, cell: Cell) -> None:
        """Take a recorded signal; one that belongs to no poison call was seen at an access."""
        call = self._calls.get(cell("call") or 0)
        if call is not None:
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
        self._calls = {}

    def _ret(self, call: Decided, name: str) -> None:
        recorded = call.cell("recorded_ret")
        if recorded is None:
            return
        agreed = int(not call.undecided and call.ret == recorded)
        self.tally.compare(name, 1, agreed, UNDECIDED, int(call.undecided))
        if not agreed and not call.undecided:
            self._differ(call, name, str(recorded), f"{call.ret} ({_id(call)})")

    def _action(self, call: Decided) -> None:
        number = call.cell("recorded_type")
        if number is None:
            return
        recorded = _event(decode(self._kernel, number), call.cell("recorded_result"))
        replayed = _event(None if call.action == NO_ACTION else ActionType(call.action), call.result)
        agreed = int(not call.undecided and recorded == replayed)
        self.tally.compare(ACTION, 1, agreed, UNDECIDED, int(call.undecided))
        if not agreed and not call.undecided:
            self._differ(call, ACTION, recorded, f"{replayed} ({_id(call)})")

    def _flag(self, call: Decided) -> None:
        recorded = call.cell("recorded_hwpoison")
        if recorded is None:
            return
        agreed = int(not call.undecided and recorded == int(call.poisoned))
        self.tally.compare(FLAG, 1, agreed, UNDECIDED, int(call.undecided))
        if not agreed and not call.undecided:
            self._differ(call, FLAG, str(recorded), f"{int(call.poisoned)} ({_id(call)})")

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

    def _differ(self, call: Decided, aspect: str, recorded: str, replayed: str) -> None:
        self.tally.differ(Difference(aspect, call.row, call.pfn, recorded, replayed, 1))


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


def _answer(call: Decided) -> str:
    if call.action == NO_ACTION:
        return str(call.ret) if call.check is None or call.ret != call.check.answer.value else call.check.answer.name
    return _event(ActionType(call.action), call.result)


def _event(action: ActionType | None, result: int | None) -> str:
    if action is None:
        return "no action"
    return f"{action.display}: {ActionResult(result or 0).name.capitalize()}"


def _id(call: Decided) -> str:
    return call.check.id if call.check is not None else "?"
