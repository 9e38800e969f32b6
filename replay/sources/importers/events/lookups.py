"""Pfn lookups of a block: entries and returns of one task paired, as arrays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from replay.sources.importers.pfns import PFN_LIMIT
from replay.sources.importers.recording.calls import Pairs, Tasks, pair
from replay.sources.importers.recording.ftrace import Events, Ints
from replay.sources.importers.recording.lookups import NOT_GIVEN, Lookups
from replay.sources.importers.rejects import Rejects
from replay.trace.schema import EventKind

from .calls import Changes, calls_around
from .functions import INLINED, LOOKUPS, PAGEMAP_LOOKUP, RETURN
from .numbers import Unsigned, read_field
from .pagemap_calls import PagemapIds

__all__ = ("LookupReader",)

_STRUCT_PAGE = 64  # bytes, on nearly all 64-bit kernels
_MAX_OVER = 1 << 14  # events that wait for their lookup's return; more are those of a damaged trace
_ENOUGH = 16  # answers that show where the memory map begins
_ONLINE, _PGMAP = "pfn_to_online_page", PAGEMAP_LOOKUP


@dataclass
class LookupReader:
    """Reads the lookups of one input, block after block.

    Args:
        rejects: takes events that cannot be used.
        unused: counts what was read and not needed.
        ids: of pagemaps.

    Attributes:
        pagemaps: whether get_dev_pagemap occurred at all.
    """

    rejects: Rejects
    unused: Counter[str]
    ids: PagemapIds
    pagemaps: bool = False
    _starts: Counter[int] = field(default_factory=Counter)
    _memmap: int | None = None  # virtual address of the struct page of pfn 0; -1: not at all times the same

    def read(self, events: Events, changes: Changes, cuts: Ints, *, last: bool) -> tuple[Lookups, Ints]:
        """Return the lookups of a block, and its events that belong to lookups that go on after it.

        Args:
            events: the block. The events that the last one left over come first.
            changes: where poison calls begin and end in it.
            cuts: indices of events in front of which others are missing, ascending.
            last: nothing follows; then nothing is left over.
        """
        names = [name for name in LOOKUPS if name in events.names or name + RETURN in events.names]
        if not names and INLINED not in events.names:
            return _nothing(), np.zeros(0, np.int64)
        self.pagemaps |= _PGMAP in names
        tasks = Tasks(events)
        pairs = {name: _torn(pair(events, tasks, name), cuts, len(events)) for name in names}
        over = self._left_over(events, names, pairs, cuts)
        if last or np.count_nonzero(over) > _MAX_OVER:
            over[:] = False
        parts = [self._lookups(events, tasks, name, pairs, changes, over) for name in names]
        parts.append(self._inlined(events, tasks, changes))
        return Lookups.concat(parts), np.flatnonzero(over)

    def _left_over(
        self, events: Events, names: list[str], pairs: dict[str, Pairs], cuts: Ints
    ) -> npt.NDArray[np.bool_]:
        """Mark the lookup events of every task from its first unfinished lookup on."""
        over = np.zeros(len(events), bool)
        starts: dict[int, int] = {}
        for own in pairs.values():
            going_on = own.begin[(own.end == len(events)) & ~np.isin(own.begin, own.orphans)]
            going_on = going_on[going_on >= (cuts[-1] if len(cuts) else 0)]
            for at in going_on.tolist():
                task = int(events.task[at])
                starts[task] = min(at, starts.get(task, at))
        if starts:
            at = events.of(*names, *(name + RETURN for name in names))
            at = at[np.isin(events.task[at], np.array(list(starts)))]
            over[at] = at >= np.array([starts[task] for task in events.task[at].tolist()], np.int64)
        return over

    def _lookups(
        self, events: Events, tasks: Tasks, name: str, pairs: dict[str, Pairs], changes: Changes,
        over: npt.NDArray[np.bool_],
    ) -> Lookups:  # fmt: skip
        own, function, count = pairs[name], LOOKUPS[name], len(events)
        is_return = np.array([n == name + RETURN for n in events.names], bool)[events.kind[own.orphans]]
        # What is left over is judged when it is read again.
        self._reject(events, own.orphans[is_return & ~over[own.orphans]], f"a return of {name} without its entry")
        begin, end = own.begin, own.end
        pfn, good = read_field(events, begin, function.pfn)
        if name == _PGMAP:
            good &= pfn < PFN_LIMIT
        self._reject(events, begin[~good & ~over[begin]], f"{name} without a pfn")
        value, answered = self._values(events, np.where(over[begin], count, end), function.answer, name)
        ret, slow, found = (np.full(len(begin), NOT_GIVEN, np.int64) for _ in range(3))
        keep = good & ~over[begin]
        if name == _PGMAP:
            found[answered] = self.ids.ids(value[answered], end[answered])
            keep &= ~(_around(tasks, begin, pairs[_ONLINE]) >= 0) if _ONLINE in pairs else True
        else:
            ret[answered] = value[answered] != 0
        if name == _ONLINE:
            self._check_pages(events, pfn, value, ret, end)
            slow[answered] = 0
            if _PGMAP in pairs:
                self._nested(events, tasks, pairs, slow, found)
        self.unused["call without its return"] += int(np.count_nonzero(keep & (end == count)))
        return Lookups.make(
            len(begin), kind=function.kind, pfn=pfn, begin=begin, end=end, ret=ret, slow=slow,
            found=found, task=events.pid[begin], call=calls_around(changes, events, tasks, begin),
        ).take(np.flatnonzero(keep))  # fmt: skip

    def _check_pages(self, events: Events, pfn: Unsigned, page: Unsigned, ret: Ints, end: Ints) -> None:
        """Take back answers that are about another page, which tells an entry from another call's return.

        Where the memory map is one array of the usual struct page, all pages of a trace tell the same start of it.
        """
        asked = np.flatnonzero(ret == 1)
        if not len(asked) or self._memmap == -1:
            return
        start = page[asked] - pfn[asked] * np.uint64(_STRUCT_PAGE)
        if self._memmap is None:
            self._starts.update(start[:_ENOUGH].tolist())
            if self._starts.total() < _ENOUGH:
                return
            ((usual, count),) = self._starts.most_common(1)
            self._memmap = usual if count * 2 > self._starts.total() else -1
        if self._memmap == -1:
            return
        other = asked[start != np.uint64(self._memmap)]
        self._reject(events, end[other], "a page that is not that of the pfn")
        ret[other] = NOT_GIVEN

    def _nested(self, events: Events, tasks: Tasks, pairs: dict[str, Pairs], slow: Ints, found: Ints) -> None:
        """Say of lookups that ask get_dev_pagemap themselves that they do, and what they are told."""
        inner = pairs[_PGMAP]
        outer = _around(tasks, inner.begin, pairs[_ONLINE])
        nested = np.flatnonzero(outer >= 0)
        slow[outer[nested]] = 1
        value, answered = self._values(events, inner.end[nested], LOOKUPS[_PGMAP].answer, "")
        found[outer[nested[answered]]] = self.ids.ids(value[answered], inner.end[nested[answered]])

    def _values(
        self, events: Events, end: Ints, names: tuple[str, ...], name: str
    ) -> tuple[Unsigned, npt.NDArray[np.bool_]]:
        """Return what calls returned, and whether it is known; those that cannot be read are rejected under a name."""
        value, good = np.zeros(len(end), np.uint64), np.zeros(len(end), bool)
        returned = np.flatnonzero(end < len(events))
        value[returned], good[returned] = read_field(events, end[returned], names)
        if name:
            self._reject(events, end[returned[~good[returned]]], f"{name} without a returned value")
        return value, good

    def _inlined(self, events: Events, tasks: Tasks, changes: Changes) -> Lookups:
        """Return lookups that are reported by a probe behind them, with pfn and page in one event.

        The hwpoison filter calls the probed function, too, with no lookup before it; it does so inside of an error.
        """
        at = events.of(INLINED)
        at = at[calls_around(changes, events, tasks, at) < 0]
        page, good = read_field(events, at, ("page",))
        # In the usual form the page ends the line and the pfn stands before it.
        digits = np.array([len(f"{value:x}") for value in page.tolist()], np.int64)
        pfn, found = read_field(events, at, ("pfn",), events.end[at] - digits - len(" page=0x"))
        good &= found
        self._reject(events, at[~good], f"{INLINED} without pfn and page")
        at, pfn, page = at[good], pfn[good], page[good]
        return Lookups.make(
            len(at), kind=EventKind.PFN_TO_ONLINE_PAGE, pfn=pfn, begin=at, end=at,
            ret=(page != 0).astype(np.int64), task=events.pid[at],
        )  # fmt: skip

    def _reject(self, events: Events, index: Ints, reason: str) -> None:
        for i in index.tolist():
            self.rejects.add(int(events.line[i]), reason, events.data[int(events.payload[i]) : int(events.end[i])])


def _torn(pairs: Pairs, cuts: Ints, count: int) -> Pairs:
    """Take entry and return apart where events are missing between them: they may be of two calls."""
    if not len(cuts):
        return pairs
    apart = np.searchsorted(cuts, pairs.begin, "right") != np.searchsorted(cuts, pairs.end, "right")
    apart &= pairs.end < count
    return Pairs(pairs.begin, np.where(apart, count, pairs.end), np.sort(np.append(pairs.orphans, pairs.begin[apart])))


def _around(tasks: Tasks, at: Ints, outer: Pairs) -> Ints:
    """Return the index of the lookup that each event lies inside of, or -1."""
    if not len(outer.begin) or not len(at):
        return np.full(len(at), -1, np.int64)
    keys = tasks.key(outer.begin)
    order = np.argsort(keys)
    found = np.searchsorted(keys[order], tasks.key(at)) - 1
    which = order[found]
    inside = (found >= 0) & (tasks.rank[outer.begin[which]] == tasks.rank[at]) & (outer.end[which] > at)
    return np.where(inside, which, -1)


def _nothing() -> Lookups:
    none = np.zeros(0, np.int64)
    return Lookups.make(0, begin=none, end=none, pfn=none, kind=EventKind.PFN_VALID)
