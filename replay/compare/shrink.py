"""The smallest trace that still shows a difference: fewest events, simplest machine, found step by step and always the same.

Lookups and dumps change nothing, so only the row that differs is kept of them. Of the rest, first large and then ever
smaller parts are left out as long as the same difference is still there (Zeller and Hildebrandt's ddmin); then the rows and
the machine are made simpler one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from replay.compare.causes import Cause, Verdict
from replay.compare.kernels import Pair, compare_trace
from replay.errors import ReplayError, UnknownNameError, UsageError
from replay.kernel.profiles import Profile
from replay.kernel.registry import FUNCTIONS
from replay.trace.batch import Batch
from replay.trace.header import MachineDescription
from replay.trace.literals import batch_of
from replay.trace.reader import TraceFile
from replay.trace.schema import DEVICE_CALLS, DUMPS, LOOKUPS, POISON_CALLS, TRANSITIONS, EventKind, Phase
from replay.trace.validate import RowChecker, check_machine

__all__ = ("Row", "Shrunk", "Target", "shrink", "target_of")

Row = dict[str, int]
_CHANGES_NOTHING = {
    *LOOKUPS,
    EventKind.MARK,
    *DUMPS,
    EventKind.COUNTERS,
    EventKind.SIGNAL,
}
_KEPT = {"kind", "pfn", "nr_pages"}  # columns that are not tried to be left out


@dataclass(frozen=True)
class Target:
    """The difference that has to stay.

    Attributes:
        function: the kernel's name.
        baseline: check and answer of the one kernel.
        candidate: check and answer of the other.
    """

    function: str
    baseline: Verdict
    candidate: Verdict

    @classmethod
    def of(cls, cause: Cause) -> Target:
        """Return the difference that a cause is."""
        return cls(cause.function, cause.baseline, cause.candidate)

    @property
    def words(self) -> str:
        """The difference in words."""
        a, b = self.baseline, self.candidate
        return f"{self.function}: {a.answer} ({a.check}) / {b.answer} ({b.check})"


@dataclass
class Shrunk:
    """What is left.

    Attributes:
        machine: the machine before the first event.
        strings: names that ``label`` refers to.
        rows: the events.
        tried: how many traces were replayed on the way.
        before: events that the trace had.
    """

    machine: MachineDescription
    strings: tuple[str, ...]
    rows: list[Row]
    tried: int = 0
    before: int = 0


def target_of(trace: TraceFile, baseline: Profile, candidate: Profile, function: str = "") -> tuple[Target, int]:
    """Return the first difference of two kernels that is not only a consequence, and the row that it is on.

    Args:
        trace: an open trace.
        baseline: one kernel.
        candidate: the other.
        function: take the first one of this function.

    Raises:
        UsageError: there is no such function, or they do not differ there.
    """
    known = {f.name for f in FUNCTIONS.values()} | {kind.name.lower() for kind in POISON_CALLS | DEVICE_CALLS}
    if function and function not in known:
        raise UnknownNameError("function", function, sorted(known), f"there are {', '.join(sorted(known))}")
    differing = compare_trace(trace, baseline, candidate).causes.differing
    found = [c for c in differing if (not function or c.function == function) and c.first is not None]
    if not found:
        of = f" in {function}" if function else ""
        raise UsageError(
            f"{trace.path}: {baseline.name} and {candidate.name} do not differ{of}: there is nothing to shrink to"
        )
    own = [c for c in found if not c.follows] or found
    first = min(own, key=lambda c: c.first or (0, 0))
    assert first.first is not None
    return Target.of(first), first.first[0]


def shrink(
    trace: TraceFile,
    baseline: Profile,
    candidate: Profile,
    target: Target,
    row: int,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Shrunk:
    """Return the smallest trace found on which two kernels still differ in the same way.

    Args:
        trace: an open trace.
        baseline: one kernel.
        candidate: the other.
        target: the difference.
        row: a row that it is on.
        progress: is told (events left out, of how many).

    Raises:
        UsageError: the difference needs rows that are taken for such that change nothing.
    """
    rows = list(_rows_up_to(trace, row))
    found = Shrunk(trace.machine, trace.strings, rows, before=trace.rows)
    shrinker = _Shrinker(baseline, candidate, target, found, progress)
    if not shrinker.shows(found.machine, rows):
        raise UsageError(f"{trace.path}: row {row} does not show {target.words} by itself")
    shrinker.events()
    shrinker.drivers()
    shrinker.columns()
    shrinker.lookups()
    shrinker.memory()
    shrinker.events()  # a simpler machine may need fewer
    shrinker.texts()
    return found


class _Shrinker:
    def __init__(
        self,
        baseline: Profile,
        candidate: Profile,
        target: Target,
        found: Shrunk,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._kernels, self._target, self._found, self._progress = (baseline, candidate), target, found, progress
        self._all = len(found.rows)

    def shows(self, machine: MachineDescription, rows: Sequence[Row]) -> bool:
        """Return whether a trace is one, and the kernels still differ so on it."""
        self._found.tried += 1
        try:
            check_machine(machine, "shrunk")
            batch = RowChecker(machine, len(self._found.strings), "shrunk").check(batch_of(rows))
            pair = Pair(machine, self._found.strings, *self._kernels)
            pair.feed(batch)
            pair.finish()
        except ReplayError:
            return False
        return any(Target.of(cause) == self._target for cause in pair.causes.differing)

    def _take(self, rows: list[Row] | None = None, machine: MachineDescription | None = None) -> bool:
        """Go on with other rows, or another machine, if the difference is still there."""
        rows = self._found.rows if rows is None else rows
        machine = machine or self._found.machine
        if not self.shows(machine, rows):
            return False
        self._found.rows, self._found.machine = rows, machine
        if self._progress is not None:
            self._progress(self._all - len(rows), self._all)
        return True

    def events(self) -> None:
        """Leave out events; the rows of one call only together."""
        units = _units(self._found.rows)
        parts = 2
        while len(units) > 1:
            size = -(-len(units) // parts)
            pieces = [units[at : at + size] for at in range(0, len(units), size)]
            for number in range(len(pieces)):
                rest = [unit for i, piece in enumerate(pieces) if i != number for unit in piece]
                if self._take([self._found.rows[at] for at in sorted(at for unit in rest for at in unit)]):
                    units = _units(self._found.rows)
                    parts = max(parts - 1, 2)
                    break
            else:
                if size == 1:
                    break
                parts = min(2 * parts, len(units))
        self._whole_calls()

    def _whole_calls(self) -> None:
        """Make calls that are told in several rows one row each."""
        for call in sorted({row["call"] for row in self._found.rows if row.get("phase", 0) and "call" in row}):
            rows = [
                {name: value for name, value in row.items() if name not in {"phase", "call"}}
                if row.get("call") == call and row.get("phase") == Phase.BEGIN
                else row
                for row in self._found.rows
                if not (row.get("call") == call and row.get("phase", 0) > Phase.BEGIN)
            ]
            self._take(rows)

    def drivers(self) -> None:
        """Let calls that drivers made stand by themselves, without the drivers."""
        for driver in sorted({row["caller"] for row in self._found.rows if "caller" in row}):
            self._take(
                [
                    {n: v for n, v in row.items() if n != "caller"} if row.get("caller") == driver else row
                    for row in self._found.rows
                    if row["kind"] not in DEVICE_CALLS or row.get("call") != driver
                ]
            )

    def columns(self) -> None:
        """Leave out columns: of all rows at once, or of single rows."""
        for name in sorted({name for row in self._found.rows for name in row} - _KEPT):
            if name == "time":
                continue
            if not self._take([{n: v for n, v in row.items() if n != name} for row in self._found.rows]):
                for at in range(len(self._found.rows)):
                    if name in self._found.rows[at]:
                        rows = list(self._found.rows)
                        rows[at] = {n: v for n, v in rows[at].items() if n != name}
                        self._take(rows)

    def lookups(self) -> None:
        """Make runs single pfns: the ends first, then halves."""
        for at, row in enumerate(self._found.rows):
            if row["kind"] not in LOOKUPS:
                continue
            pages, stride = row.get("nr_pages", 1), row.get("stride", 1)
            low, high = 0, pages
            while high - low > 1:
                middle = (low + high) // 2
                for part in ((low, middle), (middle, high)):
                    rows = list(self._found.rows)
                    rows[at] = row | {"pfn": row["pfn"] + part[0] * stride, "nr_pages": part[1] - part[0]}
                    if self._take(rows):
                        low, high = part
                        break
                else:
                    break
            if self._found.rows[at].get("nr_pages") == 1:
                rows = list(self._found.rows)
                rows[at] = {n: v for n, v in rows[at].items() if n != "stride"}
                self._take(rows)

    def memory(self) -> None:
        """Leave out boot memory, resources and settings, and make ranges of memory smaller."""
        for name in ("resources", "memory"):
            if not self._take(machine=_with(self._found.machine, name, ())):
                self._each(name)
        for name in ("sysctls", "config"):
            self._take(machine=_with(self._found.machine, name, {}))
        self._take(machine=replace(self._found.machine, release=""))

    def _each(self, name: str) -> None:
        at = 0
        while at < len(getattr(self._found.machine, name)):
            entries = getattr(self._found.machine, name)
            if not self._take(machine=_with(self._found.machine, name, entries[:at] + entries[at + 1 :])):
                at += 1

    def texts(self) -> None:
        """Number the times from 0, and leave out names that nobody uses."""
        self._found.rows = [row | {"time": n} for n, row in enumerate(self._found.rows)]
        used = sorted({row["label"] for row in self._found.rows if "label" in row})
        numbers = {old: new for new, old in enumerate(used)}
        self._found.rows = [
            row | {"label": numbers[row["label"]]} if "label" in row else row for row in self._found.rows
        ]
        self._found.strings = tuple(self._found.strings[old] for old in used)


def _with(machine: MachineDescription, name: str, value: object) -> MachineDescription:
    """Return a machine with another value of one field."""
    changed: Any = {name: value}
    return replace(machine, **changed)


def _units(rows: Sequence[Row]) -> list[list[int]]:
    """Return the rows in groups that belong together: one call, with the calls it made; the last row differs and stays."""
    calls: dict[int, list[int]] = {}
    units: list[list[int]] = []
    for at, row in enumerate(rows):
        caller = calls.get(row["caller"]) if "caller" in row else None
        if caller is not None:
            caller.append(at)
            calls[row.get("call", 0)] = caller
        elif row.get("phase", 0) and row["kind"] in TRANSITIONS | DEVICE_CALLS:
            unit = calls.get(row.get("call", 0))
            if unit is not None:
                unit.append(at)
                continue
            calls[row.get("call", 0)] = unit = [at]
            units.append(unit)
        else:
            units.append([at])
    return units


def _rows_up_to(trace: TraceFile, row: int) -> Iterator[Row]:
    """Yield the rows before one that may matter to it, and that row."""
    changes = np.ones(256, np.bool_)
    changes[list(_CHANGES_NOTHING)] = False
    for batch in trace.batches():
        kinds = np.asarray(batch.column("kind"), np.uint8)
        wanted = changes[kinds]
        wanted[max(row - batch.row, 0) :] = False
        if batch.row <= row < batch.row + len(batch):
            wanted[row - batch.row] = True
        yield from _rows(batch, np.flatnonzero(wanted).tolist())
    # The digest of the whole file was checked on the way.


def _rows(batch: Batch, which: Sequence[int]) -> Iterator[Row]:
    names = batch.stored_names
    given = {name: batch.given(name) for name in names}
    values = {name: batch.column(name) for name in names}
    for at in which:
        row: Row = {}
        for name in names:
            mask = given[name]
            if mask if isinstance(mask, bool) else mask[at]:
                row[name] = int(values[name][at])
        yield row
