"""Poison: from rows to states, from verdicts to effects.

Calls are carried out one by one here: encoded, decided, applied. What was decided before is remembered, so most calls cost
no decision. Where many calls do not concern each other, ``poison_plain`` carries them out together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from replay.engine.poison_attributes import mark_attributes, page_attributes, pgmap_class
from replay.engine.poison_call import Decided, Surroundings, Verdict
from replay.engine.poison_effects import change_page, dax_range, unmap
from replay.engine.poison_signals import (
    CODES,
    SI_KERNEL,
    SIGBUS,
    SIGKILL,
    Broken,
    Mapper,
    Sent,
    Signals,
)
from replay.engine.poison_verdicts import Verdicts
from replay.engine.transitions import Cell
from replay.kernel.access import ACCESS, AccessState
from replay.kernel.badblocks import strike
from replay.kernel.calls import Kernel, fact
from replay.kernel.kill import Signal
from replay.kernel.poison_calls import Kills
from replay.machine.machine import Machine
from replay.machine.mappings import Mapping
from replay.machine.pages import Condition, Page, Pages
from replay.trace.header import MachineDescription
from replay.trace.poison import ActionResult, CallContext, MfFlag, PageFlag, PageKind, SysctlKey, TaskFlag
from replay.trace.schema import EventKind, PgmapType

__all__ = ("PoisonEngine",)

_COUNT, _AR, _MUST = int(MfFlag.COUNT_INCREASED), int(MfFlag.ACTION_REQUIRED), int(MfFlag.MUST_KILL)
_SIMULATED, _HANDLER = int(MfFlag.SW_SIMULATED), int(TaskFlag.HANDLER)
_NO_MM, _HAS_ENTRY, _NO_ENTRY = int(CallContext.NO_MM), int(CallContext.HAS_ENTRY), int(CallContext.NO_ENTRY)
_MAX_AFTER = 1 << 16  # conditions remembered
_SYSCTL_NAMES = {
    "vm.memory_failure_early_kill": SysctlKey.EARLY_KILL,
    "vm.memory_failure_recovery": SysctlKey.RECOVERY,
    "vm.enable_soft_offline": SysctlKey.ENABLE_SOFT_OFFLINE,
}


class PoisonEngine:
    """Pages, tasks and counters of one machine, and the calls on them, one kernel's way.

    Args:
        machine: for nodes and pagemaps.
        kernel: whose rules apply.
        description: sysctls at the start.
        surroundings: asks the walk functions.
        open_loop: tasks do not die of signals; mappings change by the trace only.
    """

    def __init__(
        self,
        machine: Machine,
        kernel: Kernel,
        description: MachineDescription,
        surroundings: Callable[[int], Surroundings],
        *,
        open_loop: bool = False,
    ) -> None:
        self.machine, self.kernel = machine, kernel
        self.pages, self.tasks = machine.pages, machine.tasks
        self.counter = 0
        self.node_counters: dict[int, list[int]] = {}
        self._surroundings, self._open_loop = surroundings, open_loop
        self._sysctls = {SysctlKey.EARLY_KILL: 0, SysctlKey.RECOVERY: 1, SysctlKey.ENABLE_SOFT_OFFLINE: 1}
        for name, value in description.sysctls.items():
            if name in _SYSCTL_NAMES:
                self._sysctls[_SYSCTL_NAMES[name]] = value
        self.latched = False
        self.used = False
        self._verdicts = Verdicts(kernel)
        self._after: dict[tuple[Condition, Verdict], Condition] = {}
        self._signals = Signals(kernel, machine.tasks.page_shift)

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
            self.tasks.describe(pid, flags, pid if mm is None else mm, cell("label"))
            return
        start = cell("pfn") or 0
        end = start + (cell("nr_pages") or 1)
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
        """A write over bad blocks of a pmem device: they are off the list, the flags go, the counter stays."""
        strike(self.machine, start << self.tasks.page_shift, start + pages << self.tasks.page_shift)
        if self.kernel.has("clear-error-restores"):
            self.pages.clear(start, start + pages)

    def access(self, cell: Cell) -> tuple[str, list[Sent]]:
        """Return the deciding check and the signal when a task touches an address where it expects a page."""
        pfn, pid = cell("pfn") or 0, cell("task") or 0
        mm = self.tasks.task(pid).mm
        own = [m for m in self.tasks.of(pfn) if self.tasks.task(m.task).mm == mm]
        entries = [m for m in own if m.poisoned]
        page, poisoned = self.pages.at(pfn), self.pages.is_poisoned(pfn)
        state = AccessState(
            entry=fact(entries),
            mapped=fact(len(own) > len(entries)),
            swap=fact(poisoned and page.has(PageFlag.SWAPCACHE)),
            cache=fact(poisoned and page.has(PageFlag.MAPPING_SET)),
            evictable=fact(page.has(PageFlag.EVICTABLE)),
        )
        function = self.kernel.function(ACCESS)
        check = function.checks[function.decide(state, self.kernel.features)]
        if not check.answer.value:
            return check.id, []
        lsb = max((m.shift for m in entries), default=self.tasks.page_shift)
        return check.id, [Sent(pid, SIGBUS, CODES[Signal.BUS_AR], cell("vaddr") or 0, lsb)]

    # Calls.

    def call(self, kind: EventKind, row: int, at: int, cell: Cell) -> Decided:
        """Carry out a call."""
        pfn = cell("pfn") or 0
        call = self.encode(kind, row, at, pfn, cell, self._surroundings(pfn), self.pages)
        self._verdicts.decide([call])
        if call.verdict is not None:
            self._apply(call, call.verdict)
        call.poisoned = self.pages.is_poisoned(pfn)
        self.made(latches=self.latches(kind, cell("flags") or 0))
        return call

    def encode(
        self, kind: EventKind, row: int, at: int, pfn: int, cell: Cell, surroundings: Surroundings, pages: Pages
    ) -> Decided:
        """Return a call that is still to be decided, on a page of these pages."""
        page = pages.at(pfn)
        mappers = [Mapper(m, self.tasks.task(m.task)) for m in self.tasks.of(pfn)] if pages is self.pages else []
        attributes = self._attributes(kind, pfn, pages, surroundings, mappers, cell)
        return Decided(kind, row, at, pfn, cell("task"), cell, attributes, page, mappers, surroundings)

    def decide(self, calls: Sequence[Decided]) -> None:
        """Fill in the verdicts of calls that do not depend on each other."""
        self._verdicts.decide(calls)

    def after(self, condition: Condition, verdict: Verdict) -> Condition:
        """Return the condition in which a call leaves a page that is no hugetlb page, and that it flags itself."""
        key = condition, verdict
        if key not in self._after:
            alone = Pages()
            alone.become(0, condition)
            change_page(alone, self.kernel, 0, 0, verdict)
            if len(self._after) > _MAX_AFTER:
                self._after = {}
            self._after[key] = alone.condition(0)
        return self._after[key]

    def latches(self, kind: EventKind, flags: int) -> bool:
        """Return whether a call of this kind is a hardware error as far as unpoisoning goes."""
        hardware = kind is EventKind.MEMORY_FAILURE and not flags & _SIMULATED
        return hardware and self.kernel.has("hugetlb-raw-list")

    @property
    def setting(self) -> tuple[bool, ...]:
        """What decisions depend on besides the call and what is around its page: sysctls, and whether an error was seen."""
        return (*(bool(value) for _, value in sorted(self._sysctls.items())), self.latched)

    def made(self, *, latches: bool) -> None:
        """Note that calls were made, and whether one of them is a hardware error."""
        self.used = True
        self.latched |= latches

    def count_in_node(self, node: int, result: int, count: int = 1) -> None:
        """Count events of a node."""
        counters = self.node_counters.setdefault(node, [0] * (1 + len(ActionResult)))
        counters[0] += count
        counters[1 + result] += count

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
        """Memory of pfns ``[start, end)`` is gone, its poisoned pages are no longer counted. What its node counted stays."""
        self.counter -= self.pages.clear(start, end)
        self.pages.describe(start, end, Page())

    def unmapped(self, start: int, end: int) -> None:
        """Device memory of pfns ``[start, end)`` is gone, and its flags with it; some kernels count them down."""
        gone = self.pages.clear(start, end)
        if self.kernel.has("section-removal-counts-down") and self.counter:
            self.counter -= gone

    def _attributes(
        self, kind: EventKind, pfn: int, pages: Pages, around: Surroundings, mappers: list[Mapper], cell: Cell
    ) -> dict[str, object]:
        page = pages.at(pfn)
        flags, context = cell("flags") or 0, cell("context") or 0
        found = self.machine.pagemaps.by_id.get(around.pgmap) if around.pgmap else None
        values: dict[str, object] = {
            "COUNT": bool(flags & _COUNT),
            "AR": bool(flags & _AR),
            "MUST": bool(flags & _MUST),
            "SW": bool(flags & _SIMULATED),
            "recov": self._sysctls[SysctlKey.RECOVERY],
            "softon": self._sysctls[SysctlKey.ENABLE_SOFT_OFFLINE],
            "es": self._sysctls[SysctlKey.EARLY_KILL],
            "hwmf": self.latched,
            "nomm": bool(context & _NO_MM),
            "curpt": self._has_entry(context, mappers, cell("task")),
            "valid": around.valid,
            "online": around.online,
            "pgmap": int(pgmap_class(found.type)) if found else 0,
            "meta": around.metadata,
            "own_rc": page.owner_ret,
            "kind": int(page.kind),
            "map": int(page.mapping),
            "pins": page.pins,
            "refs": page.refs,
            "mig": (cell("value") or 0) if kind is EventKind.SOFT_OFFLINE_PAGE else 0,
            **page_attributes(page.flags),
            **mark_attributes(kind, pages, pfn),
        }
        return values

    def _has_entry(self, context: int, mappers: list[Mapper], task: int | None) -> bool:
        if context & (_HAS_ENTRY | _NO_ENTRY) or task is None:
            return bool(context & _HAS_ENTRY)
        mm = self.tasks.task(task).mm
        return any(m.task.mm == mm for m in mappers)

    def _apply(self, call: Decided, verdict: Verdict) -> None:
        """Carry out what a verdict says: signals, marks, counters, the page's condition."""
        self._signal(call, verdict.kills)
        unmap(self.tasks, self.pages, call.pfn, verdict)
        flagged = self._flagged_page(call)
        if call.page.kind == PageKind.HUGE or flagged != call.pfn:
            change_page(self.pages, self.kernel, call.pfn, flagged, verdict)
        else:
            self.pages.become(call.pfn, self.after(self.pages.condition(call.pfn), verdict))
        self.counter += call.counted
        if verdict.event:
            node = self.machine.node_of(call.pfn)
            if node is not None:
                self.count_in_node(node, call.result)

    def _signal(self, call: Decided, kills: Kills) -> None:
        if kills is Kills.NOBODY:
            return
        broken = Broken(call.attributes, call.page, call.pfn)
        current = None if call.task is None else self.tasks.task(call.task)
        if kills is Kills.SGX:
            if current is not None and call.attributes["AR"]:
                call.signals = [Sent(current.pid, SIGBUS, SI_KERNEL)]
        elif kills is Kills.ACCESSOR:
            if current is not None:
                call.signals = self._signals.to_accessor(broken, call.mappers, current)
        else:
            live = [m for m in call.mappers if not m.mapping.poisoned]
            call.signals = self._signals.to_mappers(broken, kills, live, current)
            if kills is Kills.DAX and call.signals:
                collected = {self.tasks.task(s.task).mm for s in call.signals}
                zapped = [m.mapping for m in live if m.task.mm in collected]
                self.tasks.zap(*dax_range(call.pfn, zapped, self.tasks.page_shift))
        call.names = {s.task: self.tasks.task(s.task).label for s in call.signals}
        for sent in () if self._open_loop else call.signals:
            if sent.signal == SIGKILL or not self.tasks.task(sent.task).flags & _HANDLER:
                self.tasks.exit(sent.task)

    def _flagged_page(self, call: Decided) -> int:
        """Return the page that gets HWPoison: the first one of a compound device-dax page, else the page itself."""
        found = self.machine.pagemaps.by_id.get(call.surroundings.pgmap)
        if found is None or pgmap_class(found.type) != PgmapType.GENERIC or not self.kernel.has("device-dax-compound"):
            return call.pfn
        return call.pfn >> found.shift << found.shift
