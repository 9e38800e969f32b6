"""Events -> calls: an entry and its return, paired per task and function, with the call that each lies inside of.

Pfn lookups are nearly all of a trace and call nothing but each other, so they are paired as arrays (``pair``). All
other functions are rare and nest freely; they are walked through one by one (``read_calls``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from replay.errors import InputError
from replay.sources.importers.pfns import PFN_LIMIT

from .ftrace import Events, Ints

__all__ = (
    "CALLS",
    "LOOKUP_EVENTS",
    "POINTS",
    "POISON_CALLS",
    "RETURN",
    "Call",
    "Calls",
    "Pairs",
    "Point",
    "Tasks",
    "pair",
    "read_calls",
)

RETURN = "__return"
POISON_CALLS = (
    "memory_failure",
    "soft_offline_page",
    "unpoison_memory",
)  # are handed whatever somebody wrote to a file
LOOKUP_EVENTS = ("pfn_to_online_page", "get_dev_pagemap")
# Functions with entry and return, and the fields of both that are needed.
CALLS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "memory_failure": (("pfn", "flags"), ("ret",)),
    "soft_offline_page": (("pfn", "flags"), ("ret",)),
    "unpoison_memory": (("pfn",), ("ret",)),
    "pgmap_pfn_valid": (("pgmap", "pfn"), ("ret",)),
    "memremap_pages": (("pgmap", "nid", "type", "flags", "nr_range", "range_start", "range_end"), ("ret",)),
    "memunmap_pages": (("pgmap", "range_start", "range_end"), ()),
    "add_memory_resource": (("nid", "start", "end"), ("ret",)),
    "__add_memory": (("nid", "start", "size"), ("ret",)),
    "add_memory_driver_managed": (("nid", "start", "size"), ("ret",)),
    "try_remove_memory": (("start", "size"), ("ret",)),
    "online_pages": (("pfn", "nr_pages"), ("ret",)),
    "offline_pages": (("pfn", "nr_pages"), ("ret",)),
    "arch_add_memory": (("start", "size"), ("ret",)),
    "__add_pages": (("pfn", "nr_pages"), ("ret",)),
    "sparse_add_section": (("pfn", "nr_pages"), ("ret",)),
}
# Functions of which the entry alone tells something.
POINTS: dict[str, tuple[str, ...]] = {
    "move_pfn_range_to_zone": ("pfn", "nr_pages"),
    "section_deactivate": ("pfn", "nr_pages"),
    "online_mem_sections": ("start_pfn", "end_pfn"),
    "offline_mem_sections": ("start_pfn", "end_pfn"),
    "memory_failure_event": (),
    "get_hwpoison_page__return": ("ret",),
    "take_page_off_buddy__return": ("ret",),
    "signal_generate": ("sig", "code", "pid"),
}
_FIELD = re.compile(r"(\w+)=(-?(?:0x[0-9a-f]+|\d+))(?= |$)")


@dataclass(eq=False)
class Call:
    """A call of a function of ``CALLS``.

    Attributes:
        name: the function.
        begin: event index of the entry.
        end: event index of the return; the number of events while there is none.
        task: as in ``Events.task``.
        pid: process id.
        parent: the call it was made in.
        given: arguments.
        ret: return value; None while there is none, or when the function returns nothing.
        returned: whether it has returned.
    """

    name: str
    begin: int
    end: int
    task: int
    pid: int
    parent: Call | None
    given: dict[str, int]
    ret: int | None = None
    returned: bool = False

    def inside(self, *names: str) -> Call | None:
        """Return the innermost call around this one that is of one of these functions."""
        call = self.parent
        while call is not None and call.name not in names:
            call = call.parent
        return call


@dataclass(eq=False)
class Point:
    """An event of ``POINTS``: the entry of a function whose return is not traced, or a tracepoint."""

    name: str
    at: int
    pid: int
    parent: Call | None
    given: dict[str, int]


@dataclass(frozen=True)
class Pairs:
    """Calls of one lookup function, in the order of their entries.

    Attributes:
        begin: event index of the entry.
        end: event index of the return, or the number of events where there is none.
        orphans: event indices of returns without an entry, and of entries that were left without a return although
            their task went on; both only happen where events were lost.
    """

    begin: Ints
    end: Ints
    orphans: Ints


class Tasks:
    """The order of events within each task."""

    def __init__(self, events: Events) -> None:
        self.count = len(events)
        _, self.rank = np.unique(events.task, return_inverse=True)
        order = np.argsort(self.rank, kind="stable")
        same = self.rank[order][1:] == self.rank[order][:-1]
        self._next = np.full(self.count, self.count, np.int64)
        self._next[order[:-1][same]] = order[1:][same]
        self._last = np.full(self.count, -1, np.int64)
        self._last[order[1:][same]] = order[:-1][same]

    def next(self, at: int) -> int:
        """Return the event that the same task makes next, or the number of events."""
        return int(self._next[at])

    def last(self, at: Ints) -> Ints:
        """Return the events that the same tasks made before these, or these themselves."""
        before = self._last[at]
        return np.where(before >= 0, before, at)

    def key(self, at: Ints) -> Ints:
        """Return numbers that sort events by task, then by order."""
        return self.rank[at] * (self.count + 1) + at


def pair(events: Events, tasks: Tasks, name: str) -> Pairs:
    """Pair the entries and returns of a function that does not call itself."""
    entries, returns = events.of(name), events.of(name + RETURN)
    both = np.concatenate((entries, returns))
    order = np.argsort(tasks.key(both))
    at, is_return = both[order], order >= len(entries)
    if not len(at):
        return Pairs(at, at, at)
    follows = np.append((tasks.rank[at[1:]] == tasks.rank[at[:-1]]), False)
    answered = ~is_return & follows & np.append(is_return[1:], False)
    orphan = is_return & ~np.append(False, answered[:-1])
    left_open = ~is_return & ~answered
    begin = at[answered | left_open]
    end = np.where(answered, np.append(at[1:], 0), len(events))[answered | left_open]
    by_entry = np.argsort(begin)
    return Pairs(begin[by_entry], end[by_entry], np.sort(at[orphan | (left_open & follows)]))


@dataclass
class Calls:
    """All calls and points of a trace, in the order of their entries.

    Attributes:
        calls: the calls.
        points: the points.
        orphans: event indices of returns without an entry and entries without a return, where events were lost.
    """

    calls: list[Call] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    orphans: list[int] = field(default_factory=list)
    _changes: list[tuple[int, int]] = field(default_factory=list)  # event, index of the innermost call from there on

    def around(self, tasks: Tasks, at: Ints) -> Ints:
        """Return the index in ``calls`` of the innermost call that each event lies inside of, or -1."""
        if not self._changes:
            return np.full(len(at), -1, np.int64)
        where, what = np.array(self._changes, np.int64).T
        order = np.argsort(tasks.key(where))
        where, what = where[order], what[order]
        found = np.searchsorted(tasks.key(where), tasks.key(at), side="right") - 1
        inside = (found >= 0) & (tasks.rank[where[found]] == tasks.rank[at])
        return np.where(inside, what[found], -1)


def read_calls(events: Events) -> Calls:
    """Pair all calls of ``CALLS`` and find the calls around them and around all ``POINTS``.

    Raises:
        InputError: an event lacks a field that is needed.
    """
    result = Calls()
    numbers: dict[int, int] = {}
    stacks: dict[int, list[Call]] = {}
    for at in events.of(*CALLS, *(name + RETURN for name in CALLS), *POINTS).tolist():
        name, task, pid = events.names[int(events.kind[at])], int(events.task[at]), int(events.pid[at])
        stack = stacks.setdefault(task, [])
        parent = stack[-1] if stack else None
        if name in POINTS:
            result.points.append(Point(name, at, pid, parent, _fields(events, at, POINTS[name])))
            continue
        if name in CALLS:
            call = Call(name, at, len(events), task, pid, parent, _fields(events, at, CALLS[name][0]))
            numbers[id(call)] = len(result.calls)
            result.calls.append(call)
            stack.append(call)
        else:
            _close(events, at, name.removesuffix(RETURN), stack, result)
        result._changes.append((at, numbers[id(stack[-1])] if stack else -1))
    return result


def _close(events: Events, at: int, name: str, stack: list[Call], result: Calls) -> None:
    if all(call.name != name for call in stack):
        result.orphans.append(at)
        return
    while stack[-1].name != name:  # its return was lost
        result.orphans.append(stack.pop().begin)
    call = stack.pop()
    call.end, call.returned = at, True
    call.ret = _fields(events, at, CALLS[name][1]).get("ret")


def _fields(events: Events, at: int, needed: tuple[str, ...]) -> dict[str, int]:
    text = events.text(at)
    values = {key: int(value, 0) for key, value in _FIELD.findall(text)}
    for key in needed:
        if key not in values:
            raise InputError(
                events.at(at), f"{events.names[int(events.kind[at])]}: {text[:100]!r}", f"a field {key}=",
                "the line is damaged, or the probe was defined otherwise",
            )  # fmt: skip
    if values.get("pfn", 0) >= PFN_LIMIT and events.names[int(events.kind[at])] not in POISON_CALLS:
        raise InputError(events.at(at), text[:100], f"a pfn below {PFN_LIMIT:#x}")
    return values
