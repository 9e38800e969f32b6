"""memremap_pages and memunmap_pages, block after block, where their probes fetch the fields of struct dev_pagemap."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from replay.errors import InputError
from replay.sources.importers.pfns import PFN_LIMIT
from replay.sources.importers.recording.ftrace import Events, Ints
from replay.sources.importers.recording.pagemaps import pagemap_type
from replay.sources.importers.recording.rows import Effect, Order, Row
from replay.sources.importers.rejects import Rejects
from replay.trace.schema import EventKind
from replay.trace.validate import MAX_RUN_PAGES

from .functions import PAGEMAP_LOOKUP, RETURN, fields

__all__ = ("PAGEMAP_CALLS", "PagemapCalls", "PagemapIds")

PAGEMAP_CALLS = ("memremap_pages", "memunmap_pages")
_NEEDED = {
    "memremap_pages": ("pgmap", "type", "flags", "nr_range", "range_start", "range_end"),
    "memunmap_pages": ("pgmap",),
}
_ALTMAP_VALID = 1
_ALTMAP = {"altmap_base": "altmap_base_pfn", "altmap_reserve": "altmap_reserve", "altmap_free": "altmap_free"}
_ERRORS = (1 << 64) - 4095  # pointers from here on are error codes
_MAX_IDS = 1 << 18
_MAX_OPEN = 1 << 12


@dataclass
class PagemapIds:
    """Ids of pagemaps by pointer: 1, 2, 3 … in the order in which they are met or made.

    Args:
        where: the input, for errors.

    Attributes:
        count: how many there are.
    """

    where: str
    count: int = 0
    _now: dict[int, int] = field(default_factory=dict)
    _made: dict[int, list[tuple[int, int]]] = field(default_factory=dict)  # in this block: event, id

    def begin_block(self) -> None:
        """Forget at which events of the last block pagemaps were made."""
        self._made.clear()

    def make(self, pointer: int, at: int) -> int:
        """Return a new id that the pointer stands for from an event on; the kernel reuses addresses."""
        self._now.setdefault(pointer, 0)
        made = self._made.setdefault(pointer, [(-1, self._now[pointer])])
        self._now[pointer] = self._fresh()
        made.append((at, self._now[pointer]))
        return self._now[pointer]

    def of(self, pointer: int) -> int:
        """Return the id that a pointer stands for at the end of what was read."""
        if not self._now.get(pointer):
            self._now[pointer] = self._fresh()
        return self._now[pointer]

    def ids(self, pointers: npt.NDArray[np.uint64], at: Ints) -> Ints:
        """Return the ids that pointers stood for at events of this block; 0 for NULL."""
        distinct, inverse = np.unique(pointers, return_inverse=True)
        result = np.array([self.of(p) if p and p not in self._made else 0 for p in distinct.tolist()], np.int64)[
            inverse
        ]
        for pointer, made in self._made.items():
            rows = np.flatnonzero(pointers == np.uint64(pointer))
            if len(rows):
                if made[0][1] == 0 and (at[rows] < made[1][0]).any():
                    made[0] = -1, self._fresh()
                begins, ids = (np.array(column, np.int64) for column in zip(*made, strict=True))
                result[rows] = ids[np.searchsorted(begins, at[rows], "right") - 1]
        return result

    def _fresh(self) -> int:
        if self.count >= _MAX_IDS:
            raise InputError(self.where, f"more than {_MAX_IDS} pagemaps", "a trace of a real machine")
        self.count += 1
        return self.count


@dataclass
class PagemapCalls:
    """Follows the calls that make and remove pagemaps.

    Args:
        kernel: numbers of pagemap types are by it.
        shift: log2 of the page size.
        ids: of pagemaps.
        rejects: takes events that cannot be used.
        unused: counts what was read and not needed.

    Attributes:
        followed: events of calls that became rows.
        not_followed: events of calls that changed something unknown.
    """

    kernel: str
    shift: int
    ids: PagemapIds
    rejects: Rejects
    unused: Counter[str]
    followed: int = 0
    not_followed: int = 0
    _open: dict[int, list[tuple[str, int, dict[str, int]]]] = field(default_factory=dict)  # by task
    _ranges: dict[int, tuple[int, int]] = field(default_factory=dict)  # by id: first pfn, pfn after the last
    _asked: Ints = field(default_factory=lambda: np.zeros(0, np.int64))  # returns of get_dev_pagemap in this block

    def read(self, events: Events, cuts: Ints) -> list[Row]:
        """Return the rows of a block.

        Args:
            events: the block.
            cuts: indices of events in front of which others are missing, ascending: no call is followed across one.
        """
        self.ids.begin_block()
        rows: list[Row] = []
        missing = cuts.tolist()
        self._asked = events.of(PAGEMAP_LOOKUP + RETURN)
        carried = {task: [(name, -1, given) for name, _, given in stack] for task, stack in self._open.items()}
        self._open = carried
        for at in events.of(*PAGEMAP_CALLS, *(name + RETURN for name in PAGEMAP_CALLS)).tolist():
            while missing and missing[0] <= at:
                missing.pop(0)
                self._open.clear()
            name, task = events.names[int(events.kind[at])], int(events.task[at])
            payload = events.data[int(events.payload[at]) : int(events.end[at])]
            if name in PAGEMAP_CALLS:
                self._entry(int(events.line[at]), name, task, payload, at)
            else:
                rows += self._return(events, at, name.removesuffix(RETURN), task, payload)
        if missing:
            self._open.clear()
        return rows

    def finish(self) -> None:
        """Count the calls that have not returned."""
        still = sum(1 for stack in self._open.values() for _, _, given in stack if given)
        if still:
            self.unused["call that has not returned"] += still
            self.not_followed += still

    def _entry(self, line: int, name: str, task: int, payload: bytes, at: int) -> None:
        given = fields(payload)
        if any(key not in given for key in _NEEDED[name]):
            self.unused[name] += 1  # a probe that fetches less
            self.not_followed += 1
            given = {}
        elif not self._possible(given, name):
            self.rejects.add(line, f"{name} of a pagemap that cannot be", payload)
            self.not_followed += 1
            given = {}
        if len(self._open) >= _MAX_OPEN and task not in self._open:
            self._open.pop(next(iter(self._open)))
        if given and name == "memremap_pages":
            given["id"] = self.ids.make(given["pgmap"], at)  # others may find it before the call returns
        self._open.setdefault(task, []).append((name, at, given))
        del self._open[task][:-8]  # calls nest at most twice

    def _possible(self, given: dict[str, int], name: str) -> bool:
        if name == "memunmap_pages":
            low, high = given.get("range_start", 0), given.get("range_end", 0)
            return given["pgmap"] > 0 and 0 <= low <= high < MAX_RUN_PAGES << self.shift
        if given["flags"] & _ALTMAP_VALID and any(not 0 <= given.get(key, -1) < PFN_LIMIT for key in _ALTMAP.values()):
            return False
        return given["pgmap"] > 0 and 1 <= given["nr_range"] < 1 << 16 and all(
            0 <= low <= high < MAX_RUN_PAGES << self.shift and low % (1 << self.shift) == 0
            for low, high in _ranges(given)
        )  # fmt: skip

    def _return(self, events: Events, at: int, name: str, task: int, payload: bytes) -> list[Row]:
        stack = self._open.get(task, [])
        while stack and stack[-1][0] != name:
            stack.pop()
        if not stack:
            self.rejects.add(int(events.line[at]), f"a return of {name} without its entry", payload)
            return []
        _, begin, given = stack.pop()
        if not stack:
            del self._open[task]
        inside = any(outer == "memremap_pages" for outer, _, _ in stack)  # how a failing one cleans up
        if not given or inside:
            self.unused[f"{name}{RETURN}"] += 1
            self.not_followed += not inside
            return []
        rows = self._made(events, at, begin, given) if name == "memremap_pages" else self._gone(at, begin, given)
        for row in rows:
            row.values["task"] = int(events.pid[at])
        self.followed += 2 if rows else 0
        return rows

    def _made(self, events: Events, at: int, begin: int, given: dict[str, int]) -> list[Row]:
        ret = next((v for k, v in fields(events.data[int(events.payload[at]) : int(events.end[at])]).items()
                    if k in {"ret", "arg1", "retval"}), None)  # fmt: skip
        ranges = _ranges(given)
        if ret is None or ret % (1 << 64) >= _ERRORS or len(ranges) < given["nr_range"]:
            failed = ret is not None and ret % (1 << 64) >= _ERRORS
            self.unused["memremap_pages that failed" if failed else "memremap_pages of unknown result or ranges"] += 2
            self.not_followed += 0 if failed else 2
            return []
        number = given["id"]
        pages = [(low >> self.shift, (high >> self.shift) + 1) for low, high in ranges]
        rows = [
            Row(at, Order.EFFECT, EventKind.PGMAP_RANGE, {"pfn": low, "nr_pages": high - low, "pgmap": number})
            for low, high in pages[1:]
        ]
        (low, high), *_ = pages
        values = {"pfn": low, "nr_pages": high - low, "pgmap": number, "recorded_ret": 0}
        if given["flags"] & _ALTMAP_VALID:
            values |= {column: given[key] for column, key in _ALTMAP.items()}
        try:
            values["pgmap_type"] = int(pagemap_type(self.kernel, given["type"], "the input"))
        except InputError:
            self.unused["pagemap type whose meaning is not known"] += 1
        self._ranges[number] = low, high
        effect = Effect(
            self._checked(events, at, begin), min(p[0] for p in pages), max(p[1] for p in pages), sections=True
        )
        return [*rows, Row(at, Order.EFFECT, EventKind.MEMREMAP_PAGES, values, effect)]

    def _checked(self, events: Events, at: int, begin: int) -> int:
        """Return the event after which a pagemap can be found: the last of the checks whether there is one already."""
        low, high = np.searchsorted(self._asked, (begin, at), "right")
        asked = self._asked[low:high]
        own = asked[events.task[asked] == events.task[at]]
        return int(own[1]) if len(own) > 1 else max(begin, 0)

    def _gone(self, at: int, begin: int, given: dict[str, int]) -> list[Row]:
        fetched = "range_start" in given and "range_end" in given
        number = self.ids.of(given["pgmap"])
        if not fetched and number not in self._ranges:
            self.unused["memunmap_pages of a pagemap whose range is not known"] += 2
            self.not_followed += 2
            return []
        low, high = self._ranges.pop(number, (0, PFN_LIMIT))
        values = {"pgmap": number}
        if fetched:
            low, high = given["range_start"] >> self.shift, (given["range_end"] >> self.shift) + 1
            values |= {"pfn": low, "nr_pages": high - low}
        effect = Effect(max(begin, 0), low, high, sections=True)
        return [Row(at, Order.EFFECT, EventKind.MEMUNMAP_PAGES, values, effect)]


def _ranges(given: dict[str, int]) -> list[tuple[int, int]]:
    """Return the ranges that the probe fetched, in bytes, ends inclusive."""
    ranges = [(given["range_start"], given["range_end"])]
    while len(ranges) < given["nr_range"] and f"range{len(ranges)}_end" in given:
        number = len(ranges)
        ranges.append((given.get(f"range{number}_start", -1), given[f"range{number}_end"]))
    return ranges
