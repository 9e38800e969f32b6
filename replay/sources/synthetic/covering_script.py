"""Scripts: the events of a trace in units, and which units show something of a kernel that the others do not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from replay.compare.met import Meeting, Met, States
from replay.compare.noticing import Noticing
from replay.errors import UsageError
from replay.kernel.profiles import Profile
from replay.trace.header import MachineDescription
from replay.trace.literals import batch_of

__all__ = ("Row", "Script", "Shown", "Shows", "Unit", "select")

Row = dict[str, int]
Shown = tuple[str, str, str]
"""Digest of a kernel, name of a function, words of a mutant that is noticed or ``decided`` with the id of a check."""


@dataclass(frozen=True)
class Unit:
    """Rows that belong together. One that may be left out changes nothing that other units look at.

    Attributes:
        rows: columns by name, without ``time``.
        keep: others need it.
    """

    rows: tuple[Row, ...]
    keep: bool = False


@dataclass(frozen=True)
class Script:
    """A trace in the making.

    Attributes:
        name: of its file.
        machine: before the first event.
        strings: names that ``label`` refers to.
        units: in order.
        about: what it is for.
    """

    name: str
    machine: MachineDescription
    strings: tuple[str, ...]
    units: tuple[Unit, ...]
    about: str = ""

    def rows(self) -> list[Row]:
        """Return all rows, timed."""
        rows = [row for unit in self.units for row in unit.rows]
        return [{**row, "time": n} for n, row in enumerate(rows)]


@dataclass
class Shows:
    """What states show of one kernel; each state is looked at once.

    Attributes:
        kernel: the kernel.
    """

    kernel: Profile
    _noticing: dict[str, Noticing] = field(default_factory=dict)
    _known: dict[tuple[str, tuple[object, ...]], frozenset[Shown]] = field(default_factory=dict)
    _digest: str = ""

    def __post_init__(self) -> None:
        self._digest = self.kernel.digest

    def noticing(self, name: str) -> Noticing:
        """Return a function's mutants."""
        if name not in self._noticing:
            self._noticing[name] = Noticing(self.kernel, name)
        return self._noticing[name]

    def of(self, mets: Sequence[Met]) -> list[set[Shown]]:
        """Return what is shown by the states that were met, each time."""
        new: dict[str, States] = {}
        for met in mets:
            for name, states in met.states.items():
                rows = new.setdefault(name, States(states.kind)).rows
                rows.update(row for row in states.rows if (name, row) not in self._known)
        for name, states in new.items():
            for row, words in self.noticing(name).each(list(states.rows), states.kind):
                self._known[name, row] = frozenset((self._digest, name, word) for word in words)
        return [
            set().union(*(self._known[name, row] for name, states in met.states.items() for row in states.rows))
            for met in mets
        ]

    def units(self, script: Script) -> list[set[Shown]] | None:
        """Return what each unit of a script shows; None if the kernel does not run on that machine."""
        try:
            meeting = Meeting(self.kernel, script.machine, script.strings, script.name)
        except UsageError:
            return None
        mets, at = [], 0
        for unit in script.units:
            meeting.feed(batch_of([{**row, "time": at + n} for n, row in enumerate(unit.rows)], at))
            at += len(unit.rows)
            mets.append(meeting.take())
        return self.of(mets)


def select(scripts: Sequence[Script], kernels: Iterable[Shows]) -> list[Script]:
    """Return the scripts without the units that show nothing that others do not.

    Units are taken in order if they show something new, and then left out again, from the last one on, if by then all they
    show is shown by others.
    """
    shown = [_together([shows.units(script) for shows in kernels], len(script.units)) for script in scripts]
    taken: list[tuple[int, int]] = []
    counts: dict[Shown, int] = {}
    for s, number, unit in _all_units(scripts):
        mine = shown[s][number]
        if unit.keep or not mine <= counts.keys():
            taken.append((s, number))
            for what in mine:
                counts[what] = counts.get(what, 0) + 1
    kept = set(taken)
    for s, number in reversed(taken):
        if not scripts[s].units[number].keep and all(counts[what] > 1 for what in shown[s][number]):
            kept.remove((s, number))
            for what in shown[s][number]:
                counts[what] -= 1
    return [
        replace(script, units=tuple(u for n, u in enumerate(script.units) if (s, n) in kept))
        for s, script in enumerate(scripts)
    ]


def _all_units(scripts: Sequence[Script]) -> Iterator[tuple[int, int, Unit]]:
    for s, script in enumerate(scripts):
        for number, unit in enumerate(script.units):
            yield s, number, unit


def _together(by_kernel: Sequence[list[set[Shown]] | None], units: int) -> list[set[Shown]]:
    found: list[set[Shown]] = [set() for _ in range(units)]
    for one in by_kernel:
        for mine, theirs in zip(found, one or (), strict=False):
            mine.update(theirs)
    return found
