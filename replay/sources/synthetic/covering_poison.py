"""A trace whose poison calls meet a state for every check and every mistake that a trace can show."""

from __future__ import annotations

from collections.abc import Iterator

from replay.compare.areas import Areas
from replay.compare.diagrams import EMPTY, Function
from replay.compare.reach import Reach, Unreachable
from replay.kernel.kill import KILL_ACCESSING_PROCESS
from replay.sources.synthetic.covering_calls import CALLER, rows_for
from replay.sources.synthetic.covering_script import Script, Shown, Shows, Unit
from replay.sources.synthetic.covering_signals import access_units, signal_units
from replay.sources.synthetic.covering_states import together
from replay.trace.poison import MfFlag, TaskFlag
from replay.trace.schema import EventKind

__all__ = ("PoisonCover",)

_CALLS = {
    EventKind.MEMORY_FAILURE: "memory_failure",
    EventKind.SOFT_OFFLINE_PAGE: "soft_offline_page",
    EventKind.UNPOISON_MEMORY: "unpoison_memory",
}
_ACCESSOR = KILL_ACCESSING_PROCESS.name
Wanted = dict[tuple[str, str], Function]


class PoisonCover:
    """The calls collected so far; every kernel adds what the earlier ones do not show of it."""

    def __init__(self) -> None:
        self.areas = Areas()
        # Whether a hardware error was seen changes what unpoisoning does: from the first one on it was.
        self._before: list[Unit] = []
        self._calls: list[Unit] = []
        self._after: list[Unit] = []
        self._tasks = CALLER
        self._nowhere = self.areas.hole.take(1)
        self._accesses = access_units(self.areas.ram, self._next_tasks)

    @property
    def script(self) -> Script:
        """The trace."""
        caller = {"kind": EventKind.TASK_STATE, "task": CALLER, "flags": int(TaskFlag.HAS_DEFAULT | TaskFlag.HANDLER)}
        seen = {"kind": EventKind.MEMORY_FAILURE, "pfn": self._nowhere, "flags": int(MfFlag.ACTION_REQUIRED)}
        units = [Unit(tuple(self.areas.setup), keep=True), Unit((caller,), keep=True), *self._before, *self._calls]
        units += [Unit((seen,), keep=True), *self._after, *self._accesses]
        return Script(
            "covering-poison", self.areas.machine, ("System RAM",), tuple(units), "poison calls, signals, accesses"
        )

    def cover(self, shows: Shows) -> list[Unreachable]:
        """Add what is needed for a kernel, and return what cannot be shown of it."""
        around = self.areas.around(shows.kernel)
        shown = self._shown(shows)
        reach, missing = Reach(shows.kernel, list(around)), list[Unreachable]()
        for kind, call in _CALLS.items():
            wanted: Wanted = {}
            for name in (call, _ACCESSOR) if kind is EventKind.MEMORY_FAILURE else (call,):
                targets = {
                    words: states
                    for words, states in _targets(name, shows, reach)
                    if (shows.kernel.digest, name, words) not in shown
                }
                missing += reach.unreachable(name, targets)
                met = {(name, words): reach.within(name, states) for words, states in targets.items()}
                wanted |= {what: states for what, states in met.items() if states != EMPTY}
            space = reach.of(call).space
            for state in together(space, wanted):
                rows = rows_for(kind, state, around)
                unit = Unit((*rows.before, rows.call, *rows.after))
                if kind is EventKind.UNPOISON_MEMORY:
                    (self._after if state.get("hwmf") else self._before).append(unit)
                else:
                    self._calls.append(unit)
        units, more = signal_units(shows, reach, around, shown, self._next_tasks)
        self._calls += units
        return missing + more

    def _shown(self, shows: Shows) -> set[Shown]:
        return set().union(*(shows.units(self.script) or []))

    def _next_tasks(self, count: int) -> int:
        """Return the first of some task ids that nobody has yet."""
        first = self._tasks + 1
        self._tasks += count
        return first


def _targets(name: str, shows: Shows, reach: Reach) -> Iterator[tuple[str, Function]]:
    """Yield (words, states) of everything that should be shown of a function."""
    mine = reach.of(name)
    for mutant in shows.noticing(name).mutants:
        yield mutant.words, mine.notices(mutant)
    for check in mine.checks:
        yield f"decided {check.id}", mine.decided(check.id)
