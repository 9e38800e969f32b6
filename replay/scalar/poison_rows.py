"""Rows about poison: state from the trace, calls, and what a recording saw of them (poison-model.md)."""

from __future__ import annotations

from replay.scalar.errors import PoisonResult
from replay.scalar.kill import SIGKILL, Signal
from replay.scalar.machine import ScalarMachine
from replay.scalar.queries import Row, value
from replay.trace.poison import Counter, SysctlKey
from replay.trace.schema import POISON_CALLS, POISON_STATES, EventKind

__all__ = ("POISON_KINDS", "PoisonRows", "no_details")

POISON_KINDS = POISON_STATES | POISON_CALLS | {EventKind.SIGNAL, EventKind.COUNTERS}

Details = dict[str, object]


def no_details() -> Details:
    """The poison columns of a row that is no call about poison."""
    return {
        "action": "",
        "result": "",
        "poisoned": 0,
        "counted": 0,
        "signals": (),
        "rule": "",
        "undecided": False,
        "signals_compared": 0,
        "signals_matched": 0,
    }


def details_of(result: PoisonResult) -> Details:
    """The poison columns of a call."""
    return {
        **no_details(),
        "action": result.action or "",
        "result": result.result or "",
        "poisoned": int(result.poisoned),
        "counted": result.counted,
        "signals": tuple(tuple(signal) for signal in result.signals),
        "rule": result.rule,
        "undecided": result.undecided,
    }


def same_signal(row: Row, signal: Signal) -> bool:
    """Whether a SIGNAL row tells of this signal; what the row does not give is not compared."""
    if (value(row, "task"), value(row, "signal")) != (signal.task, signal.signal):
        return False
    wanted = {"recorded_code": signal.code, "recorded_addr": signal.addr, "recorded_lsb": signal.lsb}
    given = {} if signal.signal == SIGKILL else wanted
    return all(row.get(column) in (None, number) for column, number in given.items())


class PoisonRows:
    """The poison rows of one replay, in order.

    ``details`` are the poison columns of the rows that are calls, by row number; complete after `finish`.
    """

    def __init__(self, machine: ScalarMachine) -> None:
        self.machine = machine
        self.details: dict[int, Details] = {}
        self.failures: dict[int, PoisonResult] = {}  # memory_failure calls by row number
        self.number_of: dict[int | None, int] = {}  # call id -> row number; None: the last one
        self.recorded: dict[int, list[Row]] = {}  # row number of a call -> its SIGNAL rows

    def step(self, kind: EventKind, number: int, row: Row) -> Details:
        """Carry out a row; the outcome columns that it fills."""
        if kind in POISON_CALLS:
            result = self.call(kind, row)
            self.details[number] = details_of(result)
            if kind == EventKind.MEMORY_FAILURE:
                self.failures[number] = result
                self.number_of[row.get("call")] = self.number_of[None] = number
            same = not result.undecided and result.ret == row.get("recorded_ret")
            return {"ret": result.ret, "match": int(same)}
        if kind == EventKind.SIGNAL:
            return {"match": self.signal(row)}
        if kind == EventKind.COUNTERS:
            return {"match": self.counter(row)}
        self.state(kind, row)
        return {}

    def call(self, kind: EventKind, row: Row) -> PoisonResult:
        """The three calls."""
        pfn, flags = value(row, "pfn"), value(row, "flags")
        if kind == EventKind.MEMORY_FAILURE:
            return self.machine.memory_failure(pfn, flags, task=row.get("task"), context=value(row, "context"))
        if kind == EventKind.SOFT_OFFLINE_PAGE:
            return self.machine.soft_offline_page(pfn, flags, value(row, "value"))
        return self.machine.unpoison_memory(pfn)

    def state(self, kind: EventKind, row: Row) -> None:
        """What decisions look at."""
        machine, task, flags = self.machine, value(row, "task"), value(row, "flags")
        pfn, nr_pages = value(row, "pfn"), value(row, "nr_pages")
        if kind == EventKind.PAGE_STATE:
            numbers = {name: value(row, name) for name in ("order", "mapping", "pins", "refs")}
            owner_ret, page_flags = value(row, "owner_ret"), value(row, "page_flags")
            machine.page_state(pfn, nr_pages, value(row, "page_kind"), flags=page_flags, owner_ret=owner_ret, **numbers)
        elif kind == EventKind.TASK_STATE:
            machine.task_state(task, flags, row.get("value"))
        elif kind == EventKind.MAP_PAGES:
            machine.map_pages(pfn, nr_pages, task, value(row, "vaddr"), shift=row.get("map_shift"), flags=flags)
        elif kind == EventKind.UNMAP_PAGES:
            machine.unmap_pages(pfn, nr_pages, task)
        elif kind == EventKind.CLEAR_ERROR:
            machine.clear_error(pfn, nr_pages)
        elif row.get("key") in set(SysctlKey):
            machine.sysctl(value(row, "key"), value(row, "value"))

    def counter(self, row: Row) -> int:
        """Whether a counter has the recorded value."""
        if row.get("key") not in set(Counter) or row.get("value") is None:
            return 0
        found = self.machine.state.poison.counter(Counter(value(row, "key")), row.get("node"))
        return int(found == row.get("value"))

    def signal(self, row: Row) -> int:
        """Whether the call of a SIGNAL row sent that signal."""
        number = self.number_of.get(row.get("call"))
        if number is None:
            return 0
        self.recorded.setdefault(number, []).append(row)
        return int(any(same_signal(row, signal) for signal in self.failures[number].signals))

    def finish(self, *, signals_recorded: bool) -> None:
        """Compare the signals of every call: one comparison for each task that mapped the page or was signalled."""
        for number, result in self.failures.items() if signals_recorded else ():
            rows = self.recorded.get(number, [])
            sent = {signal.task for signal in result.signals}
            tasks = {*result.mappers, *sent, *(value(row, "task") for row in rows)}
            if result.undecided:
                continue
            matched = 0
            for task in tasks:
                seen = [row for row in rows if value(row, "task") == task]
                own = [signal for signal in result.signals if signal.task == task]
                matched += len(seen) == len(own) and all(any(same_signal(r, s) for s in own) for r in seen)
            self.details[number]["signals_compared"] = len(tasks)
            self.details[number]["signals_matched"] = matched
