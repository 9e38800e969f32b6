"""Replay: a trace through one kernel, stretch by stretch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from replay.engine.lookups import LookupEngine
from replay.engine.poison_call import Decided
from replay.engine.poison_rows import PoisonRows
from replay.engine.queries import dump_matches, metadata_counts, resource_query
from replay.engine.resolve import StateIndex
from replay.engine.rows import Lookups, Outcomes, blank_outcomes, cell_of
from replay.engine.tabulate import tabulate
from replay.engine.tally import Difference, Tally
from replay.engine.transitions import Cell, Transitions
from replay.engine.watches import Watch, observe_all, watch_dump, watch_lookup
from replay.errors import UsageError
from replay.kernel.boot import boot
from replay.kernel.calls import Kernel
from replay.kernel.config import config_for, expected_section_bits
from replay.kernel.profiles import Profile
from replay.kernel.registry import FUNCTIONS, check_base
from replay.kernel.walk import LOOKUP_FUNCTIONS
from replay.machine.geometry import check_description
from replay.trace.batch import Batch
from replay.trace.header import MachineDescription
from replay.trace.outcomes import CHECK_SEVERAL
from replay.trace.reader import TraceFile
from replay.trace.schema import TRANSITIONS, EventKind

__all__ = ("Replay", "Replayer", "refuse_mismatch", "replay_trace")

_STATE_LOOKUPS = (
    EventKind.PFN_VALID,
    EventKind.PFN_TO_ONLINE_PAGE,
    EventKind.GET_DEV_PAGEMAP,
    EventKind.KPAGEFLAGS,
)
_QUERIES = {EventKind.REGION_INTERSECTS, EventKind.WALK_SYSTEM_RAM_RANGE}
_DUMPS = {EventKind.SECTIONS_DUMP, EventKind.SECTION_STATE}
_SPECIAL = np.zeros(256, np.bool_)
_WATCHABLE = np.zeros(256, np.bool_)
_WATCHABLE[[*_STATE_LOOKUPS]] = True
_SPECIAL[[*TRANSITIONS, *_QUERIES, *_DUMPS, EventKind.PGMAP_PFN_VALID]] = True


@dataclass(frozen=True)
class Replay:
    """What came out of one replay.

    Attributes:
        trace: path of the trace.
        digest: identity of the trace.
        profile: the kernel.
        tally: everything counted.
        seconds: wall clock: "replay" for the replay itself, reading included.
    """

    trace: str
    digest: str
    profile: Profile
    tally: Tally
    seconds: dict[str, float] = field(default_factory=dict)


class Replayer:
    """One kernel on one machine; feed it the batches of a trace in order, then ``finish``.

    Args:
        description: the machine before the first event.
        profile: the kernel.
        strings: names that ``label`` refers to.
        keep: keep outcome columns and hand them out with ``finished``.
        open_loop: tasks do not die of signals; mappings change by the trace only.
        log: is told every poison call, in the order of the rows.
        where: name of the trace, for errors.

    Raises:
        UsageError: the profile cannot replay this machine.
        TraceError: the machine description makes no sense.
    """

    def __init__(
        self,
        description: MachineDescription,
        profile: Profile,
        strings: tuple[str, ...] = (),
        *,
        keep: bool = False,
        open_loop: bool = False,
        log: Callable[[Decided], None] | None = None,
        where: str = "trace",
    ) -> None:
        refuse_mismatch(description, profile, where)
        self.kernel = Kernel(profile.features, config_for(description, profile.features))
        self.machine = boot(description, profile.features)
        self.tally = Tally()
        self._index = StateIndex(self.machine, section_limit=self.kernel.has("kpageflags-section-limit"))
        self._tables = {f.name: tabulate(f, self.kernel) for f in LOOKUP_FUNCTIONS}
        self._engines: dict[EventKind, LookupEngine] = {}
        self._version = -1
        self._transitions = Transitions(self.machine, self.kernel, strings)
        self._poison = PoisonRows(
            self.machine, self.kernel, description, self._index, self._tables, self.tally, open_loop=open_loop, log=log
        )
        self._watches: list[Watch] = []
        self._keep = keep
        self._kept: list[Outcomes] = []

    def feed(self, batch: Batch) -> None:
        """Replay the rows of a batch."""
        kinds = np.asarray(batch.column("kind"), np.uint8)
        outcomes = blank_outcomes(len(batch)) if self._keep else None
        special = _SPECIAL[kinds]
        if batch.given("window") is not False:
            special = special | ((batch.column("window") != 0) & _WATCHABLE[kinds])
        at = 0
        for row in np.flatnonzero(special).tolist():
            self._stretch(batch, kinds, at, row, outcomes)
            self._special(batch, EventKind(int(kinds[row])), row, outcomes)
            at = row + 1
        self._stretch(batch, kinds, at, len(batch), outcomes)
        self.tally.events += len(batch)
        if outcomes is not None:
            self._kept.append(outcomes)

    def finish(self) -> Tally:
        """Close what is still open after the last row, and return the tally."""
        for watch in self._watches:
            watch.close(self.tally)
        self._watches = []
        self._poison.finish()
        return self.tally

    def finished(self) -> Iterator[Outcomes]:
        """Yield the outcome columns of the batches that no later row can change any more, in order."""
        if not self._watches:
            yield from self._kept
            self._kept = []

    def _engine(self, kind: EventKind) -> LookupEngine:
        self._index.refresh()
        if self._version != self._index.version:
            self._engines, self._version = {}, self._index.version
        if kind not in self._engines:
            self._engines[kind] = LookupEngine(self._index, self._tables[FUNCTIONS[kind].name], self.tally)
        return self._engines[kind]

    def _stretch(self, batch: Batch, kinds: NDArray[np.uint8], start: int, end: int, outcomes: Outcomes | None) -> None:
        """Replay the lookups of rows ``[start, end)``, between which nothing changes."""
        if start == end:
            return
        here = kinds[start:end]
        if self._poison.take_rows(batch, start, end, outcomes):
            return
        alike = bool((here == here[0]).all())
        for kind in np.unique(here[:1] if alike else here).tolist():
            rows = slice(start, end) if alike else np.flatnonzero(here == kind) + start
            if kind in _STATE_LOOKUPS:
                self._engine(EventKind(kind)).replay(Lookups.of(batch, rows), batch.row, outcomes)

    def _special(self, batch: Batch, kind: EventKind, row: int, outcomes: Outcomes | None) -> None:
        """Replay a row that changes the machine, or that is answered one by one."""
        cell = cell_of(batch, row)
        if kind in TRANSITIONS:
            self._transition(batch.row + row, row, kind, cell, outcomes)
        elif kind in _DUMPS:
            self._watch(batch, row, kind, cell, outcomes)
        elif kind in _QUERIES:
            check, ret, pages = resource_query(self.machine, self.kernel, kind, cell)
            self._answered(kind, check, ret, batch.row + row, row, cell, outcomes)
            if outcomes is not None:
                outcomes["pages"][row] = pages
        elif kind is EventKind.PGMAP_PFN_VALID:
            self._metadata(batch, row, cell, outcomes)
        else:
            self._engine(kind).replay(Lookups.of(batch, np.array([row])).unrecorded(), batch.row, outcomes)
            self._watch(batch, row, kind, cell, outcomes)

    def _transition(self, row: int, at: int, kind: EventKind, cell: Cell, outcomes: Outcomes | None) -> None:
        call = self._transitions.carry_out(kind, cell)
        self._poison.after(kind, cell, call)
        if call is not None:
            self._answered(kind, call.check, call.ret, row, at, cell, outcomes)
        self._watches = observe_all(self._watches, row, self.tally)

    def _answered(
        self, kind: EventKind, check: int, ret: int, row: int, at: int, cell: Cell, outcomes: Outcomes | None
    ) -> None:
        """Count a verdict that is a return code."""
        function = FUNCTIONS[kind]
        step = function.checks[check]
        self.tally.decided(function.name, step.id, str(ret) if step.imposed else step.answer.name, 1)
        recorded = cell("recorded_ret")
        match = int(recorded is not None and recorded == ret)
        if recorded is not None:
            reason = f"{step.id}: {step.why}"
            self.tally.compare(function.name, 1, match * (not step.imposed), reason, match * step.imposed)
            if not match:
                self.tally.differ(
                    Difference(function.name, row, cell("pfn") or 0, str(recorded), f"{ret} ({step.id})", 1)
                )
        if outcomes is not None:
            outcomes["check"][at] = check_base(function) + check
            outcomes["ret"][at] = ret
            outcomes["match"][at] = match

    def _metadata(self, batch: Batch, row: int, cell: Cell, outcomes: Outcomes | None) -> None:
        """Answer pgmap_pfn_valid for the pfns of one row."""
        kind = EventKind.PGMAP_PFN_VALID
        function = FUNCTIONS[kind]
        lookups = Lookups.of(batch, np.array([row]))
        decided = metadata_counts(self.machine, self.kernel, cell("pgmap") or 0, lookups.as_runs())
        total = sum(n for _, n in decided)
        yes = sum(n for check, n in decided if function.checks[check].answer.value)
        for check, n in decided:
            self.tally.decided(function.name, function.checks[check].id, function.checks[check].answer.name, n)
        self.tally.pages += total
        recorded = cell("recorded_ret")
        absent = total if function.checks[decided[0][0]].id == "absent" else 0
        match = 0 if recorded is None or absent else {1: yes, 0: total - yes}.get(recorded, 0)
        if recorded is not None:
            self.tally.compare(function.name, total, match, "no such function in this kernel", absent)
            if match + absent != total:
                name = function.checks[decided[0][0]].id
                self.tally.differ(
                    Difference(function.name, batch.row + row, cell("pfn") or 0, str(recorded), name, total - match)
                )
        if outcomes is not None:
            outcomes["pages"][row] = yes
            outcomes["match"][row] = match
            outcomes["check"][row] = check_base(function) + decided[0][0] if len(decided) == 1 else CHECK_SEVERAL

    def _watch(self, batch: Batch, row: int, kind: EventKind, cell: Cell, outcomes: Outcomes | None) -> None:
        """Start a watch on a row with a window, or on a dump; it sees the present state at once."""
        number = batch.row + row
        if kind in _DUMPS:
            watch = watch_dump(number, row, cell, lambda: dump_matches(self.machine, self.kernel, kind, cell), outcomes)
        else:
            runs = Lookups.of(batch, np.array([row])).as_runs()
            watch = watch_lookup(number, row, cell, runs, lambda: self._engine(kind), outcomes)
        watch.observe()
        if watch.last == number:
            watch.close(self.tally)
        else:
            self._watches.append(watch)


def refuse_mismatch(description: MachineDescription, profile: Profile, where: str) -> None:
    """Refuse a machine that cannot be, and a kernel that cannot replay it.

    Raises:
        UsageError: the profile cannot replay this machine.
        TraceError: the machine description makes no sense.
    """
    check_description(description, where)
    if profile.poison_only:
        raise UsageError(f"profile {profile.name}: no lookups or hotplug are known of this kernel, only poison")
    expected = expected_section_bits(description, profile.features)
    if expected is not None and expected != description.section_size_bits:
        raise UsageError(
            f"{where}: the machine has sections of 2^{description.section_size_bits} bytes, but {profile.name} uses "
            f"2^{expected} on {description.arch}; replay it with a kernel of the same section size"
        )


def replay_trace(
    trace: TraceFile,
    profile: Profile,
    *,
    sink: Callable[[Outcomes], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    open_loop: bool = False,
    log: Callable[[Decided], None] | None = None,
) -> Replay:
    """Replay a trace through one kernel.

    Args:
        trace: an open trace.
        profile: the kernel.
        sink: takes the outcome columns of each batch, in order; None keeps none, which is faster.
        progress: is told (rows done, rows in all) after each batch.
        open_loop: tasks do not die of signals; mappings change by the trace only.
        log: is told every poison call, in the order of the rows.

    Raises:
        TraceError: the trace is damaged.
        UsageError: the profile cannot replay this machine.
    """
    started = time.perf_counter()
    keep, where = sink is not None, str(trace.path)
    replayer = Replayer(trace.machine, profile, trace.strings, keep=keep, open_loop=open_loop, log=log, where=where)
    for batch in trace.batches():
        replayer.feed(batch)
        for outcomes in replayer.finished():
            assert sink is not None
            sink(outcomes)
        if progress is not None:
            progress(batch.row + len(batch), trace.rows)
    tally = replayer.finish()
    for outcomes in replayer.finished():
        assert sink is not None
        sink(outcomes)
    seconds = {"replay": time.perf_counter() - started}
    return Replay(str(trace.path), trace.digest, profile, tally, seconds)
