"""Two kernels over one trace: the same rows to both, verdict against verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from replay.compare.causes import Cause, Causes, Verdict
from replay.compare.following import CallStates, Following
from replay.compare.recorded import PoisonRecord, possible_within_windows
from replay.compare.units import Side, Units, units_of
from replay.compare.verdicts import KernelWords, Unproven, answer_in_full
from replay.engine.replay import Replayer
from replay.engine.rows import ColumnSource, Outcomes, Parts
from replay.engine.tabulate import CHECK_MASK, tabulate
from replay.engine.tally import Tally
from replay.kernel.profiles import Profile
from replay.kernel.registry import CALLS, FUNCTIONS
from replay.kernel.walk import LOOKUP_FUNCTIONS
from replay.trace.batch import Batch
from replay.trace.header import MachineDescription
from replay.trace.reader import TraceFile
from replay.trace.schema import DEVICE_CALLS, POISON_CALLS, EventKind

__all__ = ("Comparison", "Differing", "Pair", "Part", "compare_trace")

_ROWS = 1 << 20
_QUERIES = {EventKind.REGION_INTERSECTS, EventKind.WALK_SYSTEM_RAM_RANGE}
_CALLS = {*CALLS, *_QUERIES}
_LOOKUPS = [kind for kind in FUNCTIONS if kind not in _CALLS]
_POISON = ("poison_check", "ret", "action", "result", "poisoned", "counted", "signals")


@dataclass(frozen=True)
class Differing:
    """Units on which the kernels differ, for writing down.

    Attributes:
        row: row numbers in the trace, int64.
        first: lowest pfn, uint64.
        last: highest pfn, inclusive, uint64.
        calls: pfns, int64.
        function: its name.
        baseline: verdict.
        candidate: verdict.
    """

    row: NDArray[np.int64]
    first: NDArray[np.uint64]
    last: NDArray[np.uint64]
    calls: NDArray[np.int64]
    function: str
    baseline: Verdict
    candidate: Verdict


@dataclass(frozen=True)
class Part:
    """One of the two kernels, and what it came to.

    Attributes:
        profile: the kernel.
        tally: everything counted.
        steps: per function, checks evaluated over all calls (the deciding one included).
    """

    profile: Profile
    tally: Tally
    steps: Mapping[str, int]


@dataclass(frozen=True)
class Comparison:
    """What came out of a comparison.

    Attributes:
        trace: path as given.
        digest: identity of the trace.
        events: rows.
        baseline: the one kernel.
        candidate: the other.
        causes: all calls, by cause.
        lost_events: events that the recorder lost.
    """

    trace: str
    digest: str
    events: int
    baseline: Part
    candidate: Part
    causes: Causes = field(default_factory=Causes)
    lost_events: int = 0

    @property
    def counters(self) -> dict[str, tuple[int, int]]:
        """Counters of the machine at the end, of baseline and candidate, where they differ."""
        a, b = self.baseline.tally.counters, self.candidate.tally.counters
        return {name: (a.get(name, 0), b.get(name, 0)) for name in sorted({*a, *b}) if a.get(name, 0) != b.get(name, 0)}


def compare_trace(
    trace: TraceFile,
    baseline: Profile,
    candidate: Profile,
    *,
    path: str = "",
    open_loop: bool = False,
    sink: Callable[[Differing], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Replay a trace through two kernels side by side.

    Args:
        trace: an open trace.
        baseline: the one kernel.
        candidate: the other.
        path: the trace's name in the result.
        open_loop: tasks do not die of signals; mappings change by the trace only.
        sink: takes the units on which they differ, batch by batch.
        progress: is told (rows done, rows in all).

    Raises:
        TraceError: the trace is damaged.
        UsageError: a profile cannot replay this machine.
        CandidateError: the candidate fails.
    """
    name = path or str(trace.path)
    pair = Pair(
        trace.machine, trace.strings, baseline, candidate, open_loop=open_loop, sink=sink, where=str(trace.path)
    )
    for batch in trace.batches(max_rows=_ROWS):
        pair.feed(batch)
        if progress is not None:
            progress(batch.row + len(batch), trace.rows)
    parts = pair.finish()
    return Comparison(name, trace.digest, trace.rows, *parts, pair.causes, trace.provenance.lost_events)


class Pair:
    """Two kernels on one machine each; feed both the batches of a trace in order, then ``finish``.

    Args:
        description: the machine before the first event.
        strings: names that ``label`` refers to.
        baseline: the one kernel.
        candidate: the other.
        open_loop: tasks do not die of signals.
        sink: takes the units on which they differ.
        where: name of the trace, for errors.

    Attributes:
        causes: all calls so far, by cause.
    """

    def __init__(
        self,
        description: MachineDescription,
        strings: tuple[str, ...],
        baseline: Profile,
        candidate: Profile,
        *,
        open_loop: bool = False,
        sink: Callable[[Differing], None] | None = None,
        where: str = "trace",
    ) -> None:
        self.causes = Causes()
        self._following = Following()
        self._sides = [
            _Running(description, strings, k, where, states, open_loop=open_loop)
            for k, states in zip((baseline, candidate), self._following.sides, strict=True)
        ]
        self._sink = sink
        self._pages_per_block = max(description.memory_block_bytes >> description.page_shift, 1)

    def feed(self, batch: Batch) -> None:
        """Replay a batch through both, and group its calls by cause."""
        self._following.begin(len(batch))
        for side in self._sides:
            side.feed(batch)
        _take(batch, self._sides, self._following, self.causes, self._sink, self._pages_per_block)

    def finish(self) -> tuple[Part, Part]:
        """Close both replays."""
        baseline, candidate = (side.finish() for side in self._sides)
        return baseline, candidate


class _Running:
    """A replay under way, whose outcomes are taken batch by batch."""

    def __init__(
        self,
        description: MachineDescription,
        strings: tuple[str, ...],
        profile: Profile,
        where: str,
        states: CallStates,
        *,
        open_loop: bool,
    ) -> None:
        self.profile = profile
        self.parts: list[Parts] = []
        self.outcomes: Outcomes = {}
        self.recorded_on = description.kernel
        self._replayer = Replayer(
            description,
            profile,
            strings,
            keep=True,
            open_loop=open_loop,
            parts=self.parts.append,
            where=where,
            poison_observer=states,
        )
        self.words = KernelWords(self._replayer.kernel)

    def feed(self, batch: Batch) -> None:
        self.parts.clear()
        self._replayer.feed(batch)
        self.outcomes = self._replayer.take_outcomes()

    def side(self, kind: EventKind) -> Side:
        return Side(self.outcomes, self.parts, self.words.base(kind))

    def finish(self) -> Part:
        tally = self._replayer.finish()
        return Part(self.profile, tally, _steps(self.words, tally))


def _steps(words: KernelWords, tally: Tally) -> dict[str, int]:
    """Return per lookup function how many checks were evaluated over all calls.

    Checks that this kernel's configuration rules out (those of other architectures) are not made.
    """
    found = {}
    for function in (words.kernel.function(f) for f in LOOKUP_FUNCTIONS):
        possible = np.unique(tabulate(function, words.kernel).classes & CHECK_MASK).tolist()
        made = [function.checks[number].id for number in possible]
        counts = tally.checks.get(function.name, Counter())
        found[function.name] = sum((made.index(check) + 1) * n for check, n in counts.items())
    return found


def _take(
    batch: ColumnSource,
    sides: list[_Running],
    following: Following,
    causes: Causes,
    sink: Callable[[Differing], None] | None,
    pages_per_place: int,
) -> None:
    """Group the calls of a batch by cause."""
    kinds = np.asarray(batch.column("kind"), np.uint8)
    for number in np.unique(kinds).tolist():
        kind = EventKind(number)
        rows = np.flatnonzero(kinds == number)
        if kind in _LOOKUPS:
            found = _lookups(batch, kind, rows, sides)
        elif kind in _CALLS or kind in POISON_CALLS or kind in DEVICE_CALLS:
            found = _calls(batch, kind, rows, sides, following)
        else:
            continue
        same_rules = sides[0].words.same_rules(sides[1].words, kind)
        for cause, units in found:
            cause.follows |= same_rules
            causes.add(cause)
            if cause.differs:
                places = units.first // np.uint64(pages_per_place)
                has = _has_pfn(batch, units.row)
                cause.ranges.add(units.first[has], units.last[has], units.pages[has], places[has])
                if sink is not None:
                    at = batch.row + units.row
                    sink(
                        Differing(
                            at, units.first, units.last, units.pages, cause.function, cause.baseline, cause.candidate
                        )
                    )


def _lookups(
    batch: ColumnSource, kind: EventKind, rows: NDArray[np.int64], sides: list[_Running]
) -> Iterator[tuple[Cause, Units]]:
    a, b = sides
    units = units_of(batch, rows, (a.side(kind), b.side(kind)))
    given, value = _recorded(batch, units.row)
    within = [possible_within_windows(batch, units, side.outcomes) & given for side in sides]
    pair = units.check[0].astype(np.int64) << 8 | units.check[1]
    for number in np.flatnonzero(np.bincount(pair, minlength=1)).tolist():
        of_pair = pair == number
        of_baseline, of_candidate = divmod(number, 256)
        verdicts = a.words.lookup(kind, of_baseline), b.words.lookup(kind, of_candidate)
        picked = units.take(of_pair)
        cause = Cause(a.words.function(kind).name, *verdicts)
        agrees = [
            windowed[of_pair] | given[of_pair] & (value[of_pair] == int(v.yes))
            for v, windowed in zip(verdicts, within, strict=True)
        ]
        unproven = a.words.unproven(kind, of_baseline), b.words.unproven(kind, of_candidate)
        _count(cause, batch, picked, given[of_pair], agrees, unproven)
        cause.baseline_wrong, cause.candidate_wrong = (int(wrong.sum()) for wrong in picked.wrong)
        yield cause, picked


def _calls(
    batch: ColumnSource, kind: EventKind, rows: NDArray[np.int64], sides: list[_Running], following: Following
) -> Iterator[tuple[Cause, Units]]:
    """Group calls, which are one row each, by everything that they answered."""
    names = _POISON if kind in POISON_CALLS else ("check", "ret")
    columns = {
        f"{n}{i}": np.asarray(side.outcomes[n][rows]).astype(np.int64) for i, side in enumerate(sides) for n in names
    }
    recorded, agreed = _agreed(batch, kind, rows, sides)
    groups = pl.DataFrame(columns).with_row_index("unit").group_by(list(columns), maintain_order=True).agg("unit")
    units = _each(batch, rows)
    follows = np.zeros(rows.size, np.bool_)
    if kind in POISON_CALLS:
        kernels = sides[0].words.kernel, sides[1].words.kernel
        follows = following.follows(kind, rows, kernels, (sides[0].outcomes, sides[1].outcomes))
    for *values, unit in groups.iter_rows():
        at = np.array(unit, np.int64)
        half = len(names)
        both = [
            _verdict(side.words, kind, tuple(v)) for side, v in zip(sides, (values[:half], values[half:]), strict=True)
        ]
        if not both[0].yes and not both[1].yes:
            continue  # later rows of a call that was answered before
        verdicts = answer_in_full(both[0], both[1])
        picked = units.take(at)
        cause = Cause(FUNCTIONS[kind].name if kind in FUNCTIONS else kind.name.lower(), *verdicts)
        cause.follows = bool(follows[at].all())
        unproven = sides[0].words.unproven(kind, values[0]), sides[1].words.unproven(kind, values[half])
        _count(cause, batch, picked, recorded[at], [of_side[at] for of_side in agreed], unproven)
        yield cause, picked


def _agreed(
    batch: ColumnSource, kind: EventKind, rows: NDArray[np.int64], sides: list[_Running]
) -> tuple[NDArray[np.bool_], list[NDArray[np.bool_]]]:
    """Return of which calls something was recorded, and for each side with which of them it agrees in all of that."""
    given, value = _recorded(batch, rows)
    if kind not in POISON_CALLS:
        return given, [given & (side.outcomes["ret"][rows] == value) for side in sides]
    recorded = PoisonRecord.of(batch, rows)
    return recorded.given, [recorded.agrees(side.outcomes, side.recorded_on) for side in sides]


def _verdict(words: KernelWords, kind: EventKind, values: tuple[int, ...]) -> Verdict:
    return words.poison(kind, values) if kind in POISON_CALLS else words.call(kind, *values)


def _each(batch: ColumnSource, rows: NDArray[np.int64]) -> Units:
    """Return rows as units of one call each."""
    pfn = np.asarray(batch.column("pfn")[rows], np.uint64)
    pages = np.asarray(batch.column("nr_pages")[rows], np.uint64)
    one, none = np.ones(rows.size, np.int64), np.zeros(rows.size, np.int64)
    last = pfn + np.maximum(pages, np.uint64(1)) - np.uint64(1)
    blank = np.zeros(rows.size, np.uint8)
    return Units(rows, pfn, last, one, (blank, blank), (none, none))


def _recorded(batch: ColumnSource, rows: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return where an answer was recorded, and which."""
    given = batch.given("recorded_ret")
    if given is False:
        return np.zeros(rows.size, np.bool_), np.zeros(rows.size, np.int64)
    mask = np.ones(rows.size, np.bool_) if given is True else given[rows]
    return mask, np.asarray(batch.column("recorded_ret")[rows], np.int64)


def _count(
    cause: Cause,
    batch: ColumnSource,
    units: Units,
    given: NDArray[np.bool_],
    agrees: list[NDArray[np.bool_]],
    unproven: tuple[Unproven, Unproven],
) -> None:
    cause.calls = int(units.pages.sum())
    cause.rows = int(np.unique(units.row).size)
    cause.recorded = int(units.pages[given].sum())
    same = [int(units.pages[of_side].sum()) for of_side in agrees]
    counted = [what.counted(n, cause.recorded) for n, what in zip(same, unproven, strict=True)]
    (cause.baseline_agrees, cause.baseline_unproven), (cause.candidate_agrees, cause.candidate_unproven) = counted
    at = int(np.argmin(units.row))
    has = bool(_has_pfn(batch, units.row[at : at + 1])[0])
    cause.first = batch.row + int(units.row[at]), int(units.first[at]) if has else None


def _has_pfn(batch: ColumnSource, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows name pfns: memunmap_pages may name a pagemap only, resources are named in bytes."""
    given = batch.given("pfn")
    return np.full(rows.size, given) if isinstance(given, bool) else given[rows]
