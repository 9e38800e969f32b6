"""Every pfn lookup of a trace, as columns: when it was asked, what it answered.

The kernel's lookups are traced as functions (entry and return). Where the compiler has inlined one, a probe behind it
reports the result; and a pfn_valid that cannot be traced at all is deduced from what its caller did next.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from replay.errors import InputError
from replay.sources.importers.pfns import PFN_LIMIT
from replay.trace.schema import EventKind

from .boot import Boot
from .calls import Call, Calls, Pairs, Tasks, pair
from .ftrace import Events, Ints, Words
from .pagemaps import Pagemaps

__all__ = ("NOT_GIVEN", "LookupReader", "Lookups")

NOT_GIVEN = -1
_ENXIO = -6


@dataclass
class Lookups:
    """Lookups in the order of ``begin``; columns of equal length, int64, ``NOT_GIVEN`` where there is no value.

    Attributes:
        kind: EventKind.
        pfn: what was asked for, uint64: kernels are asked about any number.
        begin: event index at which the answer was not yet given.
        end: event index by which it was given; the number of events when there is no return.
        at: event index at which the row stands while nothing contradicts it: begin, or end for an inlined lookup.
        task: process id.
        call: id of the call around it.
        pgmap: pagemap asked about.
        ret: recorded_ret.
        slow: recorded_slow.
        found: recorded_pgmap.
    """

    kind: Ints
    pfn: Words
    begin: Ints
    end: Ints
    at: Ints
    task: Ints
    call: Ints
    pgmap: Ints
    ret: Ints
    slow: Ints
    found: Ints

    def __len__(self) -> int:
        return len(self.kind)

    @classmethod
    def make(cls, n: int, **columns: Ints | Words | int) -> Lookups:
        """Build lookups from some columns; ``at`` is ``begin`` unless given."""
        columns.setdefault("at", columns["begin"])
        given: dict[str, Any] = columns
        whole = {f.name: np.full(n, given.get(f.name, NOT_GIVEN), np.int64) for f in fields(cls) if f.name != "pfn"}
        return cls(pfn=np.full(n, given["pfn"], np.uint64), **whole)

    @classmethod
    def concat(cls, parts: list[Lookups]) -> Lookups:
        """Join lookups, sorted by ``begin``."""
        whole = cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})
        return whole.take(np.argsort(whole.begin, kind="stable"))

    def take(self, which: Ints) -> Lookups:
        """Return some of the lookups, in the order given."""
        return Lookups(**{f.name: getattr(self, f.name)[which] for f in fields(self)})


class LookupReader:
    """Reads the lookups of one trace.

    Args:
        events: the trace.
        tasks: order of events within each task.
        calls: the calls around the lookups.
        owner: per call of ``calls.calls``, the id that lookups inside it carry, or NOT_GIVEN.
        pagemaps: ids of pagemaps.
        boot: the machine.
        armed: names of the probes that were armed.

    Attributes:
        orphans: event indices that could not be paired.
        direct: event indices of entry and return of the get_dev_pagemap calls that memremap_pages and memory_failure
            make themselves, by entry event of the caller.
    """

    def __init__(
        self, events: Events, tasks: Tasks, calls: Calls, owner: Ints, pagemaps: Pagemaps, boot: Boot,
        armed: frozenset[str],
    ) -> None:  # fmt: skip
        self._events, self._tasks, self._calls = events, tasks, calls
        self._owner, self._pagemaps, self._boot, self._armed = owner, pagemaps, boot, armed
        self._online = pair(events, tasks, "pfn_to_online_page")
        self._pgmap = pair(events, tasks, "get_dev_pagemap")
        self.orphans = sorted((*self._online.orphans.tolist(), *self._pgmap.orphans.tolist()))
        self._inside = self._lookup_around(self._pgmap, self._online)
        self._found = self._read_found()
        self.direct = self._children(self._pgmap, self._inside < 0, ("memremap_pages", "memory_failure"))

    def read(self) -> Lookups:
        """Return all lookups.

        Raises:
            InputError: a recorded answer is not one that the function can give.
        """
        parts = (self._online_pages(), self._get_dev_pagemap(), self._inlined(), self._pgmap_pfn_valid(),
                 self._pfn_valid())  # fmt: skip
        return Lookups.concat(list(parts))

    def _lookup_around(self, inner: Pairs, outer: Pairs) -> Ints:
        """Return the index of the outer lookup that each inner one was made by, or -1."""
        if not len(outer.begin) or not len(inner.begin):
            return np.full(len(inner.begin), -1, np.int64)
        order = np.argsort(self._tasks.key(outer.begin))
        found = np.searchsorted(self._tasks.key(outer.begin)[order], self._tasks.key(inner.begin)) - 1
        which = order[found]
        rank = self._tasks.rank
        inside = (found >= 0) & (rank[outer.begin[which]] == rank[inner.begin]) & (outer.end[which] > inner.begin)
        result: Ints = np.where(inside, which, -1)
        return result

    def _children(self, pairs: Pairs, mask: np.ndarray, callers: tuple[str, ...]) -> dict[int, list[tuple[int, int]]]:
        around = self._calls.around(self._tasks, pairs.begin)
        wanted = np.array([call.name in callers for call in self._calls.calls] or [False], bool)
        result: dict[int, list[tuple[int, int]]] = {}
        for i in np.flatnonzero(mask & (around >= 0) & wanted[around]).tolist():
            caller = self._calls.calls[int(around[i])]
            result.setdefault(caller.begin, []).append((int(pairs.begin[i]), int(pairs.end[i])))
        return result

    def _call_ids(self, at: Ints) -> Ints:
        around = self._calls.around(self._tasks, at)
        if not len(self._owner):
            return around
        ids: Ints = np.where(around >= 0, self._owner[around], NOT_GIVEN)
        return ids

    def _pfns(self, at: Ints, prefix: bytes, end: Ints | None = None, *, limit: int = 1 << 64) -> Words:
        values, _ = self._events.numbers(at, prefix, end)
        if values.size and int(values.max()) >= limit:
            bad = int(at[int(np.argmax(values >= limit))])
            raise InputError(self._events.at(bad), self._events.text(bad)[:100], f"a pfn below {limit:#x}")
        return values

    def _is_page(self, at: Ints, pfn: Words) -> Ints:
        """Return 1 where the recorded page is that of the pfn, 0 where it is NULL."""
        page, _ = self._events.numbers(at, b" page=0x")
        expected = pfn * np.uint64(self._boot.struct_page_size) + np.uint64(self._boot.vmemmap_base)
        wrong = (page != 0) & (page != expected)
        if wrong.any():
            i = int(np.argmax(wrong))
            raise InputError(
                self._events.at(int(at[i])), f"page {int(page[i]):#x} for pfn {int(pfn[i]):#x}",
                f"NULL or {int(expected[i]):#x}, which vmemmap_base and struct_page_size give",
                "meta.json or sections.txt are of another boot than the trace",
            )  # fmt: skip
        is_page: Ints = (page != 0).astype(np.int64)
        return is_page

    def _online_pages(self) -> Lookups:
        begin, end = self._online.begin, self._online.end
        pfn = self._pfns(begin, b") pfn=0x")
        answered = np.flatnonzero(end < len(self._events))
        ret = np.full(len(begin), NOT_GIVEN, np.int64)
        ret[answered] = self._is_page(end[answered], pfn[answered])
        slow = np.where(end < len(self._events), 0 if "get_dev_pagemap" in self._armed else NOT_GIVEN, NOT_GIVEN)
        found = np.full(len(begin), NOT_GIVEN, np.int64)
        nested = np.flatnonzero(self._inside >= 0)
        slow[self._inside[nested]] = 1
        found[self._inside[nested]] = self._found[nested]
        return Lookups.make(
            len(begin), kind=EventKind.PFN_TO_ONLINE_PAGE, pfn=pfn, begin=begin, end=end, ret=ret, slow=slow,
            found=found, task=self._events.pid[begin], call=self._call_ids(begin),
        )  # fmt: skip

    def _read_found(self) -> Ints:
        """Return the pagemap id that each get_dev_pagemap call returned."""
        end = self._pgmap.end
        answered = np.flatnonzero(end < len(self._events))
        result = np.full(len(end), NOT_GIVEN, np.int64)
        pointers, _ = self._events.numbers(end[answered], b" pgmap=0x")
        result[answered] = self._pagemaps.ids(pointers, end[answered])
        return result

    def _get_dev_pagemap(self) -> Lookups:
        own = np.flatnonzero(self._inside < 0)
        begin = self._pgmap.begin[own]
        return Lookups.make(
            len(own), kind=EventKind.GET_DEV_PAGEMAP, pfn=self._pfns(begin, b") pfn=0x", limit=PFN_LIMIT),
            begin=begin, end=self._pgmap.end[own], found=self._found[own], task=self._events.pid[begin],
            call=self._call_ids(begin),
        )  # fmt: skip

    def _inlined(self) -> Lookups:
        """Read lookups that are reported by a probe behind them: made after the task's last event, before this one.

        The hwpoison filter calls the probed function, too, with no lookup before it; it does so inside of an error.
        """
        at = self._events.of("pfn_to_online_page_inlined")
        at = at[self._calls.around(self._tasks, at) < 0]
        _, page_field = self._events.numbers(at, b" page=0x")
        pfn = self._pfns(at, b") pfn=0x", page_field)
        return Lookups.make(
            len(at), kind=EventKind.PFN_TO_ONLINE_PAGE, pfn=pfn, begin=self._tasks.last(at), end=at, at=at,
            ret=self._is_page(at, pfn), task=self._events.pid[at],
        )  # fmt: skip

    def _pgmap_pfn_valid(self) -> Lookups:
        calls = [call for call in self._calls.calls if call.name == "pgmap_pfn_valid"]
        begin = _ints([call.begin for call in calls])
        pointers = np.array([call.given["pgmap"] for call in calls], np.uint64)
        return Lookups.make(
            len(calls), kind=EventKind.PGMAP_PFN_VALID, pfn=_words([call.given["pfn"] for call in calls]),
            begin=begin, end=_ints([call.end for call in calls]), pgmap=self._pagemaps.ids(pointers, begin),
            ret=_ints([NOT_GIVEN if call.ret is None else call.ret for call in calls]),
            task=self._events.pid[begin], call=self._call_ids(begin),
        )  # fmt: skip

    def _pfn_valid(self) -> Lookups:
        """Deduce pfn_valid from what memory_failure and soft_offline_page did after asking."""
        is_function = "pfn_to_online_page" in self._armed
        callers = ("memory_failure", "soft_offline_page")
        online = self._children(self._online, np.ones(len(self._online.begin), bool), callers)
        rows: list[tuple[int, int, int, int, int, int]] = []
        for call, owner in zip(self._calls.calls, self._owner.tolist(), strict=True):
            first = next(iter(online.get(call.begin, ())), None)
            if call.name == "soft_offline_page":
                deduced = self._soft_offline(call, first)
            elif call.name == "memory_failure" and (not is_function or self._said_null(first)):
                deduced = self._memory_failure(call, first)
            else:
                continue
            if deduced is not None:
                rows.append((*deduced, call.given["pfn"], call.pid, owner))
        begin, end, ret, pfn, task, owners = ([row[column] for row in rows] for column in range(6))
        return Lookups.make(
            len(rows), kind=EventKind.PFN_VALID, begin=_ints(begin), end=_ints(end), ret=_ints(ret), pfn=_words(pfn),
            task=_ints(task), call=_ints(owners),
        )  # fmt: skip

    def _said_null(self, online: tuple[int, int] | None) -> bool:
        return bool(online and online[1] < len(self._events) and self._events.text(online[1]).endswith(" page=0x0"))

    def _memory_failure(self, call: Call, online: tuple[int, int] | None) -> tuple[int, int, int] | None:
        """Return begin, end, answer: it asks get_dev_pagemap iff the lookup said NULL and pfn_valid said yes."""
        begin = online[1] if online else call.begin
        if "get_dev_pagemap" not in self._armed:
            return None  # that no call of it is seen tells nothing
        asked = self.direct.get(call.begin)
        if asked:
            return begin, asked[0][0], 1
        if call.returned and (online or call.ret == _ENXIO):
            return begin, call.end, 0
        return None

    def _soft_offline(self, call: Call, online: tuple[int, int] | None) -> tuple[int, int, int] | None:
        """Return begin, end, answer: the first thing it asks, and the only reason for -ENXIO."""
        if online:
            return call.begin, online[0], 1
        return (call.begin, call.end, int(call.ret != _ENXIO)) if call.returned else None


def _ints(values: list[int]) -> Ints:
    return np.array(values, np.int64)


def _words(values: list[int]) -> Words:
    return np.array(values, np.uint64)
