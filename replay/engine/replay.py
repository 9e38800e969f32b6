"""Replay: a trace through one kernel, stretch by stretch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.engine.acceleration import Acceleration
from replay.engine.aliases import loses_bits, without_lost_bits
from replay.engine.answers import answered
from replay.engine.dense import Stretch, dense_stretches
from replay.engine.device_report import compare_asked, count_steps
from replay.engine.dumps import ASPECTS, dump_matches, shown
from replay.engine.lookups import LookupEngine, replay_lookups
from replay.engine.observer import Observer, PoisonObserver
from replay.engine.past import Past
from replay.engine.poison_call import Decided
from replay.engine.poison_rows import IS_POISON, PoisonRows
from replay.engine.queries import metadata_counts, metadata_met, metadata_pieces, resource_query
from replay.engine.resolve import StateIndex
from replay.engine.rows import Lookups, Outcomes, Parts, among, blank_outcomes, cell_of, kinds_in
from replay.engine.side_by_side import SideBySide
from replay.engine.tabulate import tabulate
from replay.engine.tally import Difference, Tally
from replay.engine.toggles import TOGGLES, Toggles
from replay.engine.transitions import Cell, Transitions
from replay.engine.watches import Watch, observe_all, watch_dump, watch_lookup
from replay.errors import CandidateError, UndecidedError, UsageError
from replay.kernel.boot import boot
from replay.kernel.calls import Kernel
from replay.kernel.config import built_features, config_for, expected_section_bits
from replay.kernel.decision import KernelFunction
from replay.kernel.device_calls import DeviceCall
from replay.kernel.profiles import Profile
from replay.kernel.registry import CALLS, FUNCTIONS, STATE_LOOKUPS, Numbering
from replay.kernel.walk import LOOKUP_FUNCTIONS
from replay.machine.geometry import check_description
from replay.trace.batch import Batch
from replay.trace.header import MachineDescription
from replay.trace.outcomes import CHECK_SEVERAL
from replay.trace.reader import TraceFile
from replay.trace.schema import DEVICE_CALLS, DUMPS, TRANSITIONS, EventKind

I64 = NDArray[np.int64]

__all__ = ("Replay", "Replayer", "refuse_mismatch", "replay_trace")

_QUERIES = {EventKind.REGION_INTERSECTS, EventKind.WALK_SYSTEM_RAM_RANGE}
_IS_WATCHABLE = np.isin(np.arange(256), STATE_LOOKUPS)
_LOOKUPS = frozenset(STATE_LOOKUPS)
_SPECIAL = {*TRANSITIONS, *DEVICE_CALLS, *_QUERIES, *DUMPS, EventKind.PGMAP_PFN_VALID}
_IS_SPECIAL = np.isin(np.arange(256), list(_SPECIAL))


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
        threads: how many work on batches of nothing but lookups, whose counts are there after ``finish``; results do not
            depend on it.
        compiled: count lookups in compiled loops: True: all; False: none; None: once the replay is long, if numba is there.
        open_loop: tasks do not die of signals; mappings change by the trace only.
        log: is told every poison call, in the order of the rows.
        parts: is told the parts of runs within which several checks decide; only with ``keep``.
        observer: is told which states were met.
        poison_observer: is told of poison calls only; not beside an observer.
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
        threads: int = 1,
        compiled: bool | None = None,
        open_loop: bool = False,
        log: Callable[[Decided], None] | None = None,
        parts: Callable[[Parts], None] | None = None,
        observer: Observer | None = None,
        poison_observer: PoisonObserver | None = None,
        where: str = "trace",
    ) -> None:
        refuse_mismatch(description, profile, where)
        config = config_for(description, profile.features)
        self.kernel = Kernel(built_features(profile.features, config), config, profile.rules)
        self.machine = boot(description, profile.features, profile.rules)
        self._name = profile.name
        self._numbers = Numbering.of(profile.rules)
        self.tally = Tally()
        self.strings = strings
        self._where, self._loses_bits = where, loses_bits(self.kernel.config, profile.features)
        self._index = StateIndex(self.machine, section_limit=self.kernel.has("kpageflags-section-limit"))
        self._tables = {f.name: tabulate(f, self.kernel) for f in LOOKUP_FUNCTIONS}
        self._acceleration = Acceleration(compiled)
        aside = threads > 1 and not keep and observer is None
        self._beside = SideBySide(threads, self.tally) if aside else None
        self._engines: dict[int, LookupEngine] = {}
        self._transitions = Transitions(self.machine, self.kernel, strings)
        self._poison = PoisonRows(
            self.machine, self.kernel, description, self._index, self._tables, self.tally, open_loop=open_loop, log=log
        )
        self._poison.observe(observer or poison_observer)
        self._toggles = Toggles(self.machine, self._transitions)
        toggling = {CALLS[kind].function.name for kind in TOGGLES}
        self._watched_toggles = any(function in toggling for function, _ in profile.rules.hooks)
        self._watches: list[Watch] = []
        self._keep, self._parts, self._observer = keep, parts, observer
        self._kept: list[Outcomes] = []

    def feed(self, batch: Batch) -> None:
        """Replay the rows of a batch.

        Raises:
            TraceError: the trace makes no sense.
            CandidateError: the candidate fails.
        """
        try:
            self._feed(batch)
        except UndecidedError as error:
            if not self.kernel.rules.digest:
                raise
            raise CandidateError(self._name, f"{error}; needed a last check that always holds") from error

    def _feed(self, batch: Batch) -> None:
        if self._loses_bits:
            batch = without_lost_bits(batch, self.machine.geometry.page_shift, self._where)
        kinds = np.asarray(batch.column("kind"), np.uint8)
        outcomes = blank_outcomes(len(batch)) if self._keep else None
        present = kinds_in(kinds)
        plain = batch.given("window") is False and _SPECIAL.isdisjoint(present)
        if plain and self._beside is not None and _LOOKUPS.issuperset(present):
            self._beside.start(batch, kinds, {kind: self._engine(kind) for kind in present})
        else:
            self._settle()
            if plain:
                self._stretch(batch, kinds, 0, len(batch), outcomes, present)
            else:
                self._mixed(batch, kinds, present, outcomes)
        self.tally.events += len(batch)
        if outcomes is not None:
            self._kept.append(outcomes)

    def _mixed(self, batch: Batch, kinds: NDArray[np.uint8], present: list[int], outcomes: Outcomes | None) -> None:
        """Replay a batch in which the machine changes, or rows are answered one by one."""
        special = _special_rows(batch, kinds, present)
        at = 0
        # Remembered steps would not tell the hooks of a candidate.
        geometry = self.machine.geometry
        breaks = np.flatnonzero(among(kinds, present, IS_POISON))
        stretches = () if self._watched_toggles else dense_stretches(batch, kinds, special, breaks, geometry)
        for dense in stretches:
            self._sparse(batch, kinds, special, at, dense.first, outcomes)
            done = not self._watches and self._dense(batch, kinds, present, dense, outcomes)
            at = dense.end if done else dense.first
        self._sparse(batch, kinds, special, at, len(batch), outcomes)

    def finish(self) -> Tally:
        """Close what is still open after the last row, and return the tally."""
        for watch in self._watches:
            watch.close(self.tally)
        self._watches = []
        self._poison.finish()
        self._settle()
        if self._beside is not None:
            self._beside.close()
        return self.tally

    def _settle(self) -> None:
        """Wait for the lookups that are counted side by side: the machine may change now."""
        if self._beside is not None:
            self._beside.wait()

    @property
    def index(self) -> StateIndex:
        """State codes of every pfn at this moment."""
        self._index.refresh()
        return self._index

    def take_outcomes(self) -> Outcomes:
        """Return the outcome columns of the batch that was fed last, its open windows not closed; only with ``keep``."""
        last = self._kept[-1]
        self._kept = []
        return last

    def finished(self) -> Iterator[Outcomes]:
        """Yield the outcome columns of the batches that no later row can change any more, in order."""
        if not self._watches:
            yield from self._kept
            self._kept = []

    def _engine(self, kind: int) -> LookupEngine:
        self._index.refresh()
        engine = self._engines.get(kind)
        if engine is None:
            table = self._tables[FUNCTIONS[EventKind(kind)].name]
            engine = self._engines[kind] = LookupEngine(
                self._index,
                table,
                self.tally,
                self._numbers.base[table.function.name],
                self._acceleration,
            )
            engine.parts, engine.observer = self._parts, self._observer
        return engine.sync()

    def _sparse(
        self, batch: Batch, kinds: NDArray[np.uint8], special: I64, start: int, end: int, outcomes: Outcomes | None
    ) -> None:
        """Replay rows ``[start, end)``, with tables for every moment between two special rows."""
        for row in special[np.searchsorted(special, start) : np.searchsorted(special, end)].tolist():
            self._stretch(batch, kinds, start, row, outcomes)
            self._special(batch, EventKind(int(kinds[row])), row, outcomes)
            start = row + 1
        self._stretch(batch, kinds, start, end, outcomes)

    def _dense(
        self,
        batch: Batch,
        kinds: NDArray[np.uint8],
        present: list[int],
        stretch: Stretch,
        outcomes: Outcomes | None,
    ) -> bool:
        """Replay a stretch of toggles and lookups all together; return False if that cannot be done."""
        self._index.refresh()
        rows = stretch.toggles
        requests = [batch.column(name)[rows].tolist() for name in ("kind", "pfn", "nr_pages", "env")]
        taken = self._toggles.walk(list(zip(*requests, strict=True)))
        if taken is None:
            return False
        steps = np.array(taken)
        changes = self._toggles.changes(rows, steps)
        past = Past(self._index, changes)
        here = kinds[stretch.first : stretch.end]
        for kind in present:  # in the batch; maybe not here
            if kind in STATE_LOOKUPS:
                found = np.flatnonzero(here == kind)
                found += stretch.first
                single, several = stretch.parted(found)
                engine = self._engine(kind)
                if single.size:
                    engine.replay(Lookups.of(batch, single, single=True), batch.row, outcomes, past)
                if several.size:
                    engine.replay(Lookups.of(batch, several), batch.row, outcomes)
        self._answer_toggles(batch, rows, steps, outcomes)
        self._index.reflag(*changes.final())
        return True

    def _answer_toggles(self, batch: Batch, rows: I64, taken: I64, outcomes: Outcomes | None) -> None:
        given = batch.given("recorded_ret")
        mask = np.full(rows.size, given) if isinstance(given, bool) else given[rows]
        recorded, pfns = batch.column("recorded_ret")[rows], batch.column("pfn")[rows]
        for (kind, check, ret), which in self._toggles.verdicts(taken):
            known = (recorded[which], mask[which])
            function, base = self._form(FUNCTIONS[kind])
            answered(self.tally, function, base, check, ret, rows[which], batch.row, pfns[which], known, outcomes)

    def _form(self, built_in: KernelFunction[Any]) -> tuple[KernelFunction[Any], int]:
        """Return this kernel's form of a function, and the number of its first check in outcomes."""
        function = self.kernel.function(built_in)
        return function, self._numbers.base[function.name]

    def _stretch(
        self,
        batch: Batch,
        kinds: NDArray[np.uint8],
        start: int,
        end: int,
        outcomes: Outcomes | None,
        present: list[int] | None = None,
    ) -> None:
        """Replay rows ``[start, end)``, none of which is special; ``present`` are the kinds that occur, if known."""
        if start == end:
            return
        here = kinds[start:end]
        present = present or kinds_in(here)
        if IS_POISON[present].any():
            self._toggles.forget()  # some kernels refuse poisoned memory
            self._poison.take_rows(batch, start, end, outcomes)
        replay_lookups(batch, here, start, present, self._engine, outcomes)

    def _special(self, batch: Batch, kind: EventKind, row: int, outcomes: Outcomes | None) -> None:
        """Replay a row that changes the machine, or that is answered one by one."""
        cell = cell_of(batch, row)
        if kind in TRANSITIONS or kind in DEVICE_CALLS:
            self._transition(batch.row + row, row, kind, cell, outcomes)
        elif kind in DUMPS:
            self._watch(batch, row, kind, cell, outcomes)
        elif kind in _QUERIES:
            check, ret, pages = resource_query(self.machine, self.kernel, kind, cell)
            self._answered(FUNCTIONS[kind], check, ret, batch.row + row, row, cell, outcomes)
            if outcomes is not None:
                outcomes["pages"][row] = pages
        elif kind is EventKind.PGMAP_PFN_VALID:
            self._metadata(batch, row, cell, outcomes)
        else:
            self._engine(kind).replay(Lookups.of(batch, np.array([row])).unrecorded(), batch.row, outcomes)
            self._watch(batch, row, kind, cell, outcomes)

    def _transition(self, row: int, at: int, kind: EventKind, cell: Cell, outcomes: Outcomes | None) -> None:
        self._toggles.moved() if kind in TOGGLES else self._toggles.forget()
        call = self._transitions.carry_out(kind, cell)
        self._poison.after(kind, cell, call)
        if isinstance(call, DeviceCall):
            for made in call.own:
                self._poison.gone(made)
            step = count_steps(self.tally, call)
            self._answered(step.function, step.index, call.ret, row, at, cell, outcomes)
        elif call is not None:
            self._answered(call.function, call.check, call.ret, row, at, cell, outcomes)
        if (asked := self._transitions.asked) is not None:
            self._transitions.asked = None
            compare_asked(self.tally, row, cell("pfn") or 0, asked)
        self._watches = observe_all(self._watches, row, self.tally)

    def _answered(
        self,
        function: KernelFunction[Any],
        check: int,
        ret: int,
        row: int,
        at: int,
        cell: Cell,
        outcomes: Outcomes | None,
    ) -> None:
        """Count a verdict that is a return code."""
        value = cell("recorded_ret")
        recorded = np.array([value or 0]), np.array([value is not None])
        pfn = np.array([cell("pfn") or 0], np.uint64)
        function, base = self._form(function)
        answered(self.tally, function, base, check, ret, np.array([at]), row - at, pfn, recorded, outcomes)

    def _metadata(self, batch: Batch, row: int, cell: Cell, outcomes: Outcomes | None) -> None:
        """Answer pgmap_pfn_valid for the pfns of one row."""
        function, base = self._form(FUNCTIONS[EventKind.PGMAP_PFN_VALID])
        lookups = Lookups.of(batch, np.array([row]))
        pieces = metadata_pieces(self.machine, self.kernel, cell("pgmap") or 0)
        decided = metadata_counts(pieces, lookups.as_runs())
        if self._observer is not None:
            self._observer.metadata(metadata_met(self.machine, cell("pgmap") or 0, lookups.as_runs()))
        if self._parts is not None and len(decided) > 1:
            self._parts(Parts(np.full(pieces[0].size, row), *pieces, np.zeros(pieces[0].size, np.bool_)))
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
            outcomes["check"][row] = base + decided[0][0] if len(decided) == 1 else CHECK_SEVERAL

    def _watch(self, batch: Batch, row: int, kind: EventKind, cell: Cell, outcomes: Outcomes | None) -> None:
        """Start a watch on a row with a window, or on a dump; it sees the present state at once."""
        number = batch.row + row
        if kind in DUMPS:
            strings = self._transitions.strings
            words = shown(strings, kind, cell)
            watch = watch_dump(
                number,
                row,
                cell,
                ASPECTS[kind],
                words,
                lambda: dump_matches(self.machine, self.kernel, strings, kind, cell),
                outcomes,
            )
        else:
            runs = Lookups.of(batch, np.array([row])).as_runs()
            watch = watch_lookup(number, row, cell, runs, lambda: self._engine(kind), outcomes)
        watch.observe()
        if watch.last == number:
            watch.close(self.tally)
        else:
            self._watches.append(watch)


def _special_rows(batch: Batch, kinds: NDArray[np.uint8], present: list[int]) -> NDArray[np.int64]:
    """Return the rows that change the machine, or that are answered one by one."""
    special = among(kinds, present, _IS_SPECIAL)
    if batch.given("window") is not False:
        special |= (batch.column("window") != 0) & _IS_WATCHABLE[kinds]
    return np.flatnonzero(special)


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
    threads: int = 1,
    open_loop: bool = False,
    log: Callable[[Decided], None] | None = None,
) -> Replay:
    """Replay a trace through one kernel.

    Args:
        trace: an open trace.
        profile: the kernel.
        sink: takes the outcome columns of each batch, in order; None keeps none, which is faster.
        progress: is told (rows done, rows in all) after each batch.
        threads: with more than one, lookups are counted side by side, and the next batch is read meanwhile; same results.
        open_loop: tasks do not die of signals; mappings change by the trace only.
        log: is told every poison call, in the order of the rows.

    Raises:
        TraceError: the trace is damaged.
        UsageError: the profile cannot replay this machine.
    """
    started = time.perf_counter()
    keep, where = sink is not None, str(trace.path)
    replayer = Replayer(
        trace.machine, profile, trace.strings, keep=keep, threads=threads, open_loop=open_loop, log=log, where=where
    )
    for batch in trace.batches(prefetch=threads > 1):
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
