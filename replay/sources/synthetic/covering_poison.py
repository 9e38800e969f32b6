"""A trace whose poison calls meet a state for every check and every mistake that a trace can show."""

from __future__ import annotations

from collections.abc import Iterator

from replay.compare.diagrams import EMPTY, Function
from replay.compare.regions import Regions
from replay.kernel.kill import KILL_ACCESSING_PROCESS
from replay.kernel.poison_calls import Ret
from replay.kernel.poison_state import PoisonState
from replay.sources.synthetic.covering_areas import Areas
from replay.sources.synthetic.covering_calls import CALLER, rows_for
from replay.sources.synthetic.covering_script import Script, Shown, Shows, Unit
from replay.sources.synthetic.covering_signals import access_units, signal_units
from replay.sources.synthetic.covering_states import Limit, Unreachable, limits, reasons, together
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
        units = [self.areas.unit, Unit((caller,), keep=True), *self._before, *self._calls]
        units += [Unit((seen,), keep=True), *self._after, *self._accesses]
        return Script(
            "covering-poison", self.areas.machine, ("System RAM",), tuple(units), "poison calls, signals, accesses"
        )

    def cover(self, shows: Shows) -> list[Unreachable]:
        """Add what is needed for a kernel, and return what cannot be shown of it."""
        kernel = shows.kernel
        around = self.areas.around(kernel)
        shown = self._shown(shows)
        regions, missing = Regions(kernel), list[Unreachable]()
        bounds: dict[EventKind, list[Limit]] = {}
        for kind in _CALLS:
            space = regions.spaces[PoisonState]
            bounds[kind] = limits(space, kind, list(around), kernel.features)
            wanted: Wanted = {}
            asked = _asked(shows, regions)
            for (name, words), states in _targets(kind, shows, regions):
                if (kernel.digest, name, words) in shown:
                    continue
                here = [asked, *bounds[kind]] if name == _ACCESSOR else bounds[kind]
                within = states
                for limit in here:
                    within = space.diagrams.both(limit.states, within)
                if within != EMPTY:
                    wanted[name, words] = within
                elif states != EMPTY:
                    missing.append(Unreachable(kernel.name, name, words, reasons(space, states, here)))
                elif words.startswith("decided "):
                    missing.append(Unreachable(kernel.name, name, words, "earlier checks decide all its states"))
            for state in together(space, wanted):
                call = rows_for(kind, state, around)
                unit = Unit((*call.before, call.call, *call.after))
                if kind is EventKind.UNPOISON_MEMORY:
                    (self._after if state.get("hwmf") else self._before).append(unit)
                else:
                    self._calls.append(unit)
        units, more = signal_units(shows, regions, bounds[EventKind.MEMORY_FAILURE], around, shown, self._next_tasks)
        self._calls += units
        return missing + more

    def _shown(self, shows: Shows) -> set[Shown]:
        return set().union(*(shows.units(self.script) or []))

    def _next_tasks(self, count: int) -> int:
        """Return the first of some task ids that nobody has yet."""
        first = self._tasks + 1
        self._tasks += count
        return first


def _asked(shows: Shows, regions: Regions) -> Limit:
    """Return the states in which memory_failure asks what killing the accessing process returns."""
    mine, states = regions.of(shows.noticing("memory_failure").function), EMPTY
    for check in mine.checks:
        if getattr(check.answer, "ret", None) is Ret.ACCESSOR:
            states = mine.space.diagrams.either(states, mine.decided(check.id))
    return Limit(states, "memory_failure asks it only about pages that are poisoned already, and in some kernels never")


def _targets(kind: EventKind, shows: Shows, regions: Regions) -> Iterator[tuple[tuple[str, str], Function]]:
    """Yield ((function, words), states) of everything that calls of a kind should show."""
    name = _CALLS[kind]
    function = shows.noticing(name).function
    mine = regions.of(function)
    for mutant in shows.noticing(name).mutants:
        yield (name, mutant.words), mine.notices(mutant)
    for check in mine.checks:
        yield (name, f"decided {check.id}"), mine.decided(check.id)
    if kind is not EventKind.MEMORY_FAILURE:
        return
    theirs = regions.of(shows.noticing(_ACCESSOR).function)
    for mutant in shows.noticing(_ACCESSOR).mutants:
        yield (_ACCESSOR, mutant.words), theirs.notices(mutant)
    for check in theirs.checks:
        yield (_ACCESSOR, f"decided {check.id}"), theirs.decided(check.id)
