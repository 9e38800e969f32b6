"""Poison calls, block after block: an entry, the action that is reported inside of it, and its return."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from replay.sources.importers.pfns import NUMBERS
from replay.sources.importers.recording.calls import Tasks
from replay.sources.importers.recording.ftrace import Events, Ints
from replay.sources.importers.recording.rows import Order, Row
from replay.sources.importers.rejects import Rejects
from replay.trace.poison import NO_ACTION, ActionResult
from replay.trace.schema import EventKind

from .functions import ACTION_EVENT, CALLS, RETURN, fields
from .page_types import NO_MEMORY, PageTypes

__all__ = ("RESULTS", "Changes", "PoisonCalls", "calls_around")

Changes = list[tuple[int, int, int]]  # event index (-1: before the block), task, number of its innermost call or -1

RESULTS = {result.name.capitalize(): int(result) for result in ActionResult}
_ACTION = re.compile(rb"\s*pfn (0x[0-9a-f]{1,16}): recovery action for (.{1,80}): (\w{1,20})\s*")
_MAX_RET, _MAX_DEPTH = 1 << 31, 64
_MAX_OPEN = 1 << 12  # tasks that are in a call at a time


@dataclass(eq=False)
class _Open:
    """A call that has not returned."""

    name: str
    number: int
    pfn: int
    values: dict[str, int]
    stored: bool = False  # its row is on disk; what comes later is a patch
    torn: bool = False  # events were lost since its entry: the next return may be another call's


@dataclass
class PoisonCalls:
    """Reads the poison calls of one input.

    Args:
        types: decodes page types.
        rejects: takes events that cannot be used.
        unused: counts what was read and not needed.

    Attributes:
        patches: by call number, columns of a row that was given out before they were known.
        actions: whether the tracepoint occurred at all.
        pages: pfns that turned out to be pages of memory since this was emptied.
        valid: pfns that turned out to be pages, if only of a device.
    """

    types: PageTypes
    rejects: Rejects
    unused: Counter[str]
    patches: dict[int, dict[str, int]] = field(default_factory=dict)
    actions: bool = False
    pages: list[int] = field(default_factory=list)
    valid: list[int] = field(default_factory=list)
    _open: dict[int, list[_Open]] = field(default_factory=dict)  # by task, innermost last
    _count: int = 0

    def read(self, events: Events, cuts: Ints) -> tuple[list[Row], Changes]:
        """Return the rows of a block.

        Args:
            events: the block.
            cuts: indices of events in front of which others are missing, ascending.

        Returns:
            The rows, and the changes of the innermost call as (event index, task, call number or -1), in order; index
            -1 stands for what was so before the block.
        """
        rows: list[Row] = []
        changes = [(-1, task, stack[-1].number) for task, stack in self._open.items() if stack]
        missing = cuts.tolist()
        for at in events.of(ACTION_EVENT, *CALLS, *(name + RETURN for name in CALLS)).tolist():
            if missing and missing[0] <= at:
                missing = [cut for cut in missing if cut > at]
                self._tear()
            name, task = events.names[int(events.kind[at])], int(events.task[at])
            payload = events.data[int(events.payload[at]) : int(events.end[at])]
            line = int(events.line[at])
            if name == ACTION_EVENT:
                row = self._action(line, task, payload)
            elif name in CALLS:
                row = self._entry(line, name, task, payload, int(events.pid[at]))
            else:
                self._return(line, name.removesuffix(RETURN), task, payload)
                row = None
            if row is not None:
                rows.append(Row(at, Order.EVENT, row[0], row[1]))
            if name != ACTION_EVENT:
                stack = self._open.get(task)
                changes.append((at, task, stack[-1].number if stack else -1))
        if missing:
            self._tear()
        for stack in self._open.values():
            for call in stack:
                call.stored = True
        return rows, changes

    def _tear(self) -> None:
        for stack in self._open.values():
            for call in stack:
                call.torn = True

    def finish(self) -> None:
        """Count the calls that have not returned."""
        still = sum(len(stack) for stack in self._open.values())
        if still:
            self.unused["call that has not returned"] += still

    def _entry(
        self, line: int, name: str, task: int, payload: bytes, pid: int
    ) -> tuple[EventKind, dict[str, int]] | None:
        function, given = CALLS[name], fields(payload)
        pfn = next((given[key] for key in function.pfn if key in given), None)
        if pfn is None or not 0 <= pfn < NUMBERS:
            self.rejects.add(line, f"{name} without a pfn", payload)
            return None
        if len(self._open) >= _MAX_OPEN and task not in self._open:
            self.unused["call whose return is missing"] += len(self._open.pop(next(iter(self._open))))
        stack = self._open.setdefault(task, [])
        while stack and (len(stack) >= _MAX_DEPTH or any(call.name == name for call in stack)):
            self.unused["call whose return is missing"] += 1
            stack.pop()
        self._count += 1
        values = {"pfn": pfn, "call": self._count, "task": pid}
        if function.flags and 0 <= given.get("flags", -1) < 1 << 32:
            values["flags"] = given["flags"]
        stack.append(_Open(name, self._count, pfn, values))
        return function.kind, values

    def _return(self, line: int, name: str, task: int, payload: bytes) -> None:
        stack = self._open.get(task, [])
        if all(call.name != name for call in stack):
            self.rejects.add(line, f"a return of {name} without its entry", payload)
            return
        while stack[-1].name != name:
            self.unused["call whose return is missing"] += 1
            stack.pop()
        call = stack.pop()
        if not stack:
            del self._open[task]
        if call.torn:
            self.unused["return after lost events"] += 1
            return
        given = fields(payload)
        ret = next((given[key] for key in CALLS[name].answer if key in given), None)
        if ret is None or not -_MAX_RET <= (ret := _signed(ret)) < _MAX_RET:
            self.rejects.add(line, f"{name} without a returned value", payload)
            return
        self._put(call, "recorded_ret", ret)
        if ret == 0:
            (self.pages if CALLS[name].kind == EventKind.SOFT_OFFLINE_PAGE else self.valid).append(call.pfn)
        if "recorded_result" not in call.values:
            self._put(call, "recorded_type", NO_ACTION)

    def _action(self, line: int, task: int, payload: bytes) -> tuple[EventKind, dict[str, int]] | None:
        self.actions = True
        action = self._parsed(payload)
        if action is None:
            self.rejects.add(line, f"{ACTION_EVENT} in another form", payload)
            return None
        pfn, text, result = action
        decoded = self.types.read(text)
        if not decoded.types:
            self.rejects.add(line, "a page type that is not known", payload)
            return None
        if NO_MEMORY.isdisjoint(decoded.types):
            self.pages.append(pfn)
        given = {"recorded_result": result}
        if decoded.stored is not None:
            given["recorded_type"] = decoded.stored
        for call in reversed(self._open.get(task, [])):
            if CALLS[call.name].kind == EventKind.MEMORY_FAILURE and call.pfn == pfn:
                if "recorded_result" in call.values:
                    self.unused["action that a later one of the same call replaces"] += 1
                for name, value in given.items():
                    self._put(call, name, value)
                return None
        return EventKind.MEMORY_FAILURE, {"pfn": pfn, **given}

    def _parsed(self, payload: bytes) -> tuple[int, str, int] | None:
        """Return pfn, page type as printed, result."""
        if found := _ACTION.fullmatch(payload):
            text, pfn = found[2].decode("utf-8", "replace"), int(found[1], 16)
            result = RESULTS.get(found[3].decode("ascii", "replace"), -1)
        else:
            given = fields(payload)
            if not given.keys() >= {"pfn", "type", "result"}:
                return None
            text, pfn, result = str(given["type"]), given["pfn"], given["result"]
        return (pfn, text, result) if 0 <= pfn < NUMBERS and result in RESULTS.values() else None

    def _put(self, call: _Open, name: str, value: int) -> None:
        call.values[name] = value
        if call.stored:
            self.patches.setdefault(call.number, {})[name] = value


def _signed(value: int) -> int:
    """Return a 32-bit return value that was printed without its sign as what it is."""
    return value - (1 << 32) if 1 << 31 <= value < 1 << 32 else value - (1 << 64) if value >= 1 << 63 else value


def calls_around(changes: Changes, events: Events, tasks: Tasks, at: Ints) -> Ints:
    """Return the number of the innermost call around each of some events, or -1.

    Args:
        changes: as ``PoisonCalls.read`` returns them.
        events: the block.
        tasks: its order.
        at: event indices.
    """
    if not changes or not len(at):
        return np.full(len(at), -1, np.int64)
    before = {task for where, task, _ in changes if where < 0}
    ranks = {
        task: int(tasks.rank[first[0]]) for task in before if len(first := np.flatnonzero(events.task == task)[:1])
    }
    rows = [
        ((ranks[task] if where < 0 else int(tasks.rank[where])) * (tasks.count + 2) + where + 1, number)
        for where, task, number in changes
        if where >= 0 or task in ranks
    ]
    if not rows:
        return np.full(len(at), -1, np.int64)
    keys, numbers = (np.array(column, np.int64) for column in zip(*sorted(rows), strict=True))
    asked = tasks.rank[at] * (tasks.count + 2) + at + 1
    found = np.searchsorted(keys, asked, side="right") - 1
    inside = (found >= 0) & (keys[found] // (tasks.count + 2) == tasks.rank[at])
    return np.where(inside, numbers[found], -1)
