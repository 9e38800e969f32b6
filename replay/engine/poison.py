"""Poison: from rows to states, from verdicts to effects.

Calls are decided together: each is encoded when its row comes, and the states that have gathered are decided at once. A row
that depends on what an earlier call leaves behind (the same page or folio, a task that may die, a counter) makes those that
have gathered be decided first. So repeated errors of one page go in rounds, and distinct pages in one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from replay.engine.poison_attributes import mark_attributes, page_attributes, pgmap_class
from replay.engine.poison_call import Decided, Surroundings, Verdict
from replay.engine.poison_effects import apply_effect, dax_range, set_poison, unmap_page
from replay.engine.poison_signals import (
    CODES,
    SI_KERNEL,
    SIGBUS,
    SIGKILL,
    Broken,
    Mapper,
    Sent,
    accessor_signal,
    mapper_signals,
)
from replay.engine.transitions import Cell
from replay.kernel.access import ACCESS, AccessState
from replay.kernel.calls import Kernel, fact
from replay.kernel.kill import Signal
from replay.kernel.memory_failure import MEMORY_FAILURE
from replay.kernel.poison_2009 import MEMORY_FAILURE_2009
from replay.kernel.poison_calls import KEEP, Kills, PageEffect, PoisonFunction, verdicts
from replay.kernel.poison_state import DEFAULTS, PoisonState
from replay.kernel.soft_offline import SOFT_OFFLINE_PAGE
from replay.kernel.unpoison import UNPOISON_MEMORY
from replay.machine.machine import Machine
from replay.machine.mappings import Mapping
from replay.machine.pages import Page
from replay.trace.header import MachineDescription
from replay.trace.poison import ActionResult, CallContext, MfFlag, PageFlag, SysctlKey, TaskFlag
from replay.trace.schema import POISON_CALLS, EventKind, PgmapType

__all__ = ("PoisonEngine",)

_SYSCTL_NAMES = {
    "vm.memory_failure_early_kill": SysctlKey.EARLY_KILL,
    "vm.memory_failure_recovery": SysctlKey.RECOVERY,
    "vm.enable_soft_offline": SysctlKey.ENABLE_SOFT_OFFLINE,
}
_GATHER = 1 << 16  # calls decided together at most


class PoisonEngine:
    """Pages, tasks and counters of one machine, and the calls on them, one kernel's way.

    Args:
        machine: for nodes and pagemaps.
        kernel: whose rules apply.
        description: sysctls at the start.
        surroundings: asks the walk functions.
        report: takes every call once it is decided, in the order of the rows.
        open_loop: tasks do not die of signals; mappings change by the trace only.
    """

    def __init__(
        self,
        machine: Machine,
        kernel: Kernel,
        description: MachineDescription,
        surroundings: Callable[[int], Surroundings],
        report: Callable[[Decided], None],
        *,
        open_loop: bool = False,
    ) -> None:
        self.machine, self.kernel = machine, kernel
        self.pages, self.tasks = machine.pages, machine.tasks
        self.counter = 0
        self.node_counters: dict[int, list[int]] = {}
        self._surroundings, self._report, self._open_loop = surroundings, report, open_loop
        self._sysctls = {SysctlKey.EARLY_KILL: 0, SysctlKey.RECOVERY: 1, SysctlKey.ENABLE_SOFT_OFFLINE: 1}
        for name, value in description.sysctls.items():
            if name in _SYSCTL_NAMES:
                self._sysctls[_SYSCTL_NAMES[name]] = value
        self._latched = False
        self.used = False
        self._gathered: list[Decided] = []
        self._keys: set[tuple[int, int]] = set()

    # State rows.

    def state(self, kind: EventKind, cell: Cell) -> None:
        """Take in a row that describes pages, tasks, mappings or sysctls."""
        if kind is EventKind.CLEAR_ERROR:
            self._clear_error(cell("pfn") or 0, cell("nr_pages") or 1)
            return
        if kind is EventKind.SYSCTL:
            self._sysctls[SysctlKey(cell("key") or 0)] = cell("value") or 0
            return
        if kind is EventKind.TASK_STATE:
            pid, flags, mm = cell("task") or 0, cell("flags") or 0, cell("value")
            if flags & TaskFlag.EXITED:
                self.settle()
            self.tasks.describe(pid, flags, pid if mm is None else mm, cell("label"))
            return
        start = cell("pfn") or 0
        end = start + (cell("nr_pages") or 1)
        self._settle_range(start, end)
        if kind is EventKind.PAGE_STATE:
            owner = cell("owner_ret")
            page = Page(
                kind=cell("page_kind") or 0,
                flags=cell("page_flags") or 0,
                order=cell("order") or 0,
                mapping=cell("mapping") or 0,
                pins=cell("pins") or 0,
                refs=1 if cell("refs") is None else cell("refs") or 0,
                owner_ret=-95 if owner is None else owner,
            )
            self.pages.describe(start, end, page)
        elif kind is EventKind.MAP_PAGES:
            flags, vaddr = cell("flags") or 0, cell("vaddr") or 0
            self.tasks.map(
                Mapping(cell("task") or 0, start, end, vaddr, cell("map_shift") or self.tasks.page_shift, flags)
            )
        else:
            self.tasks.unmap(start, end, cell("task"))

    def _clear_error(self, start: int, pages: int) -> None:
        """A write over bad blocks of a pmem device: the flags go, the counter stays."""
        self.settle()
        if self.kernel.has("clear-error-restores"):
            self.pages.clear(start, start + pages)

    def access(self, cell: Cell) -> tuple[str, list[Sent]]:
        """Return the deciding check and the signal when a task touches an address where it expects a page."""
        self.settle()
        pfn, pid = cell("pfn") or 0, cell("task") or 0
        mm = self.tasks.task(pid).mm
        entries = [m for m in self.tasks.of(pfn) if m.poisoned and self.tasks.task(m.task).mm == mm]
        page, poisoned = self.pages.at(pfn), self.pages.is_poisoned(pfn)
        state = AccessState(
            entry=fact(entries),
            swap=fact(poisoned and page.has(PageFlag.SWAPCACHE)),
            cache=fact(poisoned and page.has(PageFlag.MAPPING_SET)),
            evictable=fact(page.has(PageFlag.EVICTABLE)),
        )
        check = ACCESS.checks[ACCESS.decide(state, self.kernel.features)]
        if not check.answer.value:
            return check.id, []
        lsb = max((m.shift for m in entries), default=self.tasks.page_shift)
        return check.id, [Sent(pid, SIGBUS, CODES[Signal.BUS_AR], cell("vaddr") or 0, lsb)]

    # Calls.

    def call(self, kind: EventKind, row: int, at: int, cell: Cell) -> None:
        """Encode a call; it is decided with those that follow, or before the next that depends on it."""
        pfn = cell("pfn") or 0
        surroundings = self._surroundings(pfn)
        page = self.pages.at(pfn)
        key = page.order, pfn >> page.order
        if key in self._keys or len(self._gathered) >= _GATHER:
            self.settle()
            page = self.pages.at(pfn)
        mappers = [Mapper(m, self.tasks.task(m.task)) for m in self.tasks.of(pfn)]
        attributes = self._attributes(kind, pfn, page, surroundings, mappers, cell)
        self._gathered.append(Decided(kind, row, at, pfn, cell("task"), cell, attributes, page, mappers, surroundings))
        self._keys.add(key)
        self.used = True
        simulated = (cell("flags") or 0) & MfFlag.SW_SIMULATED
        if kind is EventKind.MEMORY_FAILURE and not simulated and self.kernel.has("hugetlb-raw-list"):
            self._latched = True
        if surroundings.pgmap or any(not m.task.flags & TaskFlag.HANDLER for m in mappers):
            self.settle()  # it may unmap a range, or kill a task that maps other pages

    def settle(self) -> None:
        """Decide what has gathered, in the order of the rows."""
        gathered, self._gathered, self._keys = self._gathered, [], set()
        for kind in POISON_CALLS:
            calls = [c for c in gathered if c.kind is kind]
            if calls:
                self._decide(_function(kind, self.kernel), calls)
        for call in gathered:
            if call.verdict is not None:
                self._apply(call, call.verdict)
            call.poisoned = self.pages.is_poisoned(call.pfn)
            self._report(call)

    def counters(self) -> dict[str, int]:
        """Return the counters by name: poisoned pages, and per node total and results."""
        names = ["total", *(r.name.lower() for r in ActionResult)]
        nodes = {
            f"node{node} {name}": count
            for node, counts in sorted(self.node_counters.items())
            for name, count in zip(names, counts, strict=True)
        }
        return {"poisoned pages": self.counter, **nodes}

    def removed(self, start: int, end: int) -> None:
        """Memory of pfns ``[start, end)`` is gone, its poisoned pages are no longer counted."""
        self.settle()
        self.counter -= self.pages.clear(start, end)
        self.pages.describe(start, end, Page())
        nodes = {node - 1 for _, _, node in self.machine.nodes}
        self.node_counters = {n: c for n, c in self.node_counters.items() if n in nodes}

    def unmapped(self, start: int, end: int) -> None:
        """Device memory of pfns ``[start, end)`` is gone, and its flags with it; some kernels count them down."""
        self.settle()
        gone = self.pages.clear(start, end)
        if self.kernel.has("section-removal-counts-down") and self.counter:
            self.counter -= gone

    def _settle_range(self, start: int, end: int) -> None:
        """Decide gathered calls if one of them is on a page (or folio) of the range."""
        for c in self._gathered:
            folio = c.pfn >> c.page.order << c.page.order
            if folio < end and start < folio + (1 << c.page.order):
                self.settle()
                return

    def _attributes(
        self, kind: EventKind, pfn: int, page: Page, around: Surroundings, mappers: list[Mapper], cell: Cell
    ) -> dict[str, object]:
        flags, context = cell("flags") or 0, cell("context") or 0
        found = self.machine.pagemaps.by_id.get(around.pgmap) if around.pgmap else None
        values: dict[str, object] = {
            "COUNT": flags & MfFlag.COUNT_INCREASED,
            "AR": flags & MfFlag.ACTION_REQUIRED,
            "MUST": flags & MfFlag.MUST_KILL,
            "SW": flags & MfFlag.SW_SIMULATED,
            "recov": self._sysctls[SysctlKey.RECOVERY],
            "softon": self._sysctls[SysctlKey.ENABLE_SOFT_OFFLINE],
            "es": self._sysctls[SysctlKey.EARLY_KILL],
            "hwmf": self._latched,
            "nomm": context & CallContext.NO_MM,
            "curpt": self._has_entry(context, mappers, cell("task")),
            "valid": around.valid,
            "online": around.online,
            "pgmap": pgmap_class(found.type) if found else 0,
            "meta": around.metadata,
            "own_rc": page.owner_ret,
            "kind": page.kind,
            "map": page.mapping,
            "pins": page.pins,
            "refs": page.refs,
            "mig": (cell("value") or 0) if kind is EventKind.SOFT_OFFLINE_PAGE else 0,
            **page_attributes(page),
            **mark_attributes(kind, self.pages, pfn),
        }
        return values

    def _has_entry(self, context: int, mappers: list[Mapper], task: int | None) -> bool:
        if context & (CallContext.HAS_ENTRY | CallContext.NO_ENTRY) or task is None:
            return bool(context & CallContext.HAS_ENTRY)
        mm = self.tasks.task(task).mm
        return any(m.task.mm == mm for m in mappers)

    def _decide(self, function: PoisonFunction, calls: list[Decided]) -> None:
        columns = {name: np.array([c.attributes.get(name, DEFAULTS[name]) for c in calls]) for name in DEFAULTS}
        states = PoisonState.of(len(calls), self.kernel.features, **columns)
        found = verdicts(function, states, len(calls))
        for i, call in enumerate(calls):
            call.take(function, found, i)

    def _apply(self, call: Decided, verdict: Verdict) -> None:
        """Carry out what a verdict says: signals, marks, counters, the page's condition."""
        self._signal(call, verdict.kills)
        if verdict.poison != KEEP:
            set_poison(self.pages, self._flagged_page(call), verdict.poison)
        if verdict.unmapped:
            unmap_page(self.tasks, self.pages, call.pfn, entries=verdict.entries)
        if verdict.effect in {PageEffect.SOFT_FREE, PageEffect.SOFT_USED}:
            unmap_page(self.tasks, self.pages, call.pfn, entries=False)
        apply_effect(self.pages, self.kernel, call.pfn, verdict.effect, unmapped=verdict.unmapped)
        self.counter += call.counted
        if verdict.event:
            self._count_in_node(call)

    def _signal(self, call: Decided, kills: Kills) -> None:
        if kills is Kills.NOBODY:
            return
        state = PoisonState.of(
            None, self.kernel.features, **{n: call.attributes[n] for n in DEFAULTS if n in call.attributes}
        )
        broken = Broken(self.kernel, state, call.page, call.pfn, self.tasks.page_shift)
        current = None if call.task is None else self.tasks.task(call.task)
        if kills is Kills.SGX:
            if current is not None and call.attributes["AR"]:
                call.signals = [Sent(current.pid, SIGBUS, SI_KERNEL)]
        elif kills is Kills.ACCESSOR:
            if current is not None:
                call.signals = accessor_signal(broken, call.mappers, current)
        else:
            live = [m for m in call.mappers if not m.mapping.poisoned]
            call.signals = mapper_signals(broken, kills, live, current)
            if kills is Kills.DAX and call.signals:
                collected = {self.tasks.task(s.task).mm for s in call.signals}
                zapped = [m.mapping for m in live if m.task.mm in collected]
                self.tasks.zap(*dax_range(call.pfn, zapped, self.tasks.page_shift))
        call.names = {s.task: self.tasks.task(s.task).label for s in call.signals}
        for sent in () if self._open_loop else call.signals:
            if sent.signal == SIGKILL or not self.tasks.task(sent.task).flags & TaskFlag.HANDLER:
                self.tasks.exit(sent.task)

    def _flagged_page(self, call: Decided) -> int:
        """Return the page that gets HWPoison: the first one of a compound device-dax page, else the page itself."""
        found = self.machine.pagemaps.by_id.get(call.surroundings.pgmap)
        if found is None or pgmap_class(found.type) != PgmapType.GENERIC or not self.kernel.has("device-dax-compound"):
            return call.pfn
        return call.pfn >> found.shift << found.shift

    def _count_in_node(self, call: Decided) -> None:
        node = self.machine.node_of(call.pfn)
        if node is not None:
            counters = self.node_counters.setdefault(node, [0] * (1 + len(ActionResult)))
            counters[0] += 1
            counters[1 + call.result] += 1


def _function(kind: EventKind, kernel: Kernel) -> PoisonFunction:
    if kind is EventKind.MEMORY_FAILURE:
        return MEMORY_FAILURE_2009 if kernel.has("poison-2009") else MEMORY_FAILURE
    return SOFT_OFFLINE_PAGE if kind is EventKind.SOFT_OFFLINE_PAGE else UNPOISON_MEMORY
