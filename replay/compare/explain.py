"""Why a kernel answered a row as it did: the checks in order, what they looked at, the machine around, what changed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from replay.candidate.candidate import CHANGEABLE
from replay.compare.asked import Asked, steps_of, telling
from replay.compare.memory_facts import Change, changes, memory_facts
from replay.compare.surroundings import Around, around_of
from replay.engine.replay import Replayer
from replay.engine.rows import Outcomes, cell_of
from replay.errors import UsageError
from replay.kernel.decision import KernelFunction
from replay.kernel.profiles import Profile
from replay.kernel.registry import FUNCTIONS, STATE_LOOKUPS
from replay.kernel.resource_queries import MetadataFacts
from replay.kernel.walk import WalkState
from replay.trace.batch import Batch
from replay.trace.reader import TraceFile
from replay.trace.schema import COLUMNS, DEVICE_CALLS, POISON_CALLS, TRANSITIONS, EventKind, Phase

__all__ = ("Explanation", "explain")

_EXPLAINED = {*FUNCTIONS, *DEVICE_CALLS, *POISON_CALLS, EventKind.ACCESS}
_CHANGING = TRANSITIONS | DEVICE_CALLS
_IS_CALL = np.isin(np.arange(256), list(_CHANGING))


@dataclass(frozen=True)
class Explanation:
    """One row, as one kernel answers it.

    Attributes:
        profile: the kernel.
        row: row number.
        kind: of the row.
        pfn: that is explained, None where the row has none.
        given: columns of the row, as recorded and as asked.
        asked: the decisions that the row led to; the first is the row's own.
        answer: what came out, by outcome column.
        around: the machine around the pfn just before the row.
        change: what the call changed, from before the row to its last row (or that of the trace); None where the row is no
            call that can change the machine. Of a call in phases, all that came between counts.
    """

    profile: Profile
    row: int
    kind: EventKind
    pfn: int | None
    given: Mapping[str, int]
    asked: Sequence[Asked]
    answer: Mapping[str, int]
    around: Around | None
    change: Change | None


def explain(
    trace: TraceFile,
    row: int,
    profile: Profile,
    *,
    pfn: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Explanation:
    """Replay a trace up to a row, and say how the kernel decides that row.

    Args:
        trace: an open trace.
        row: row number, from 0.
        profile: the kernel.
        pfn: one of the run's pfns; its first one by default.
        progress: is told (rows done, rows in all).

    Raises:
        UsageError: there is no such row, it asks nothing of a kernel, or the pfn is not in it.
        TraceError: the trace is damaged.
    """
    if not 0 <= row < trace.rows:
        raise UsageError(f"row {row}: {trace.path} has rows 0 to {trace.rows - 1}")
    told: list[tuple[KernelFunction[Any], Any]] = []
    rules = telling(profile.rules, CHANGEABLE, lambda function, state: told.append((function, state)))
    replayer = Replayer(
        trace.machine,
        Profile(profile.name, profile.features, profile.poison_only, rules),
        trace.strings,
        keep=True,
        where=str(trace.path),
    )
    batches = _cuttable(trace)
    for batch in batches:
        if row >= batch.row + len(batch):
            _feed(replayer, batch)
            if progress is not None:
                progress(batch.row + len(batch), row)
            continue
        at = row - batch.row
        _feed(replayer, batch.part(0, at))
        rest = itertools.chain((batch.part(at + 1, len(batch)),), batches)
        return _explain(replayer, batch.part(at, at + 1), rest, profile, pfn, told, str(trace.path))
    raise AssertionError("the row is in some batch")


def _cuttable(trace: TraceFile) -> Iterator[Batch]:
    """Yield the batches of a trace such that they can be cut anywhere."""
    for batch in trace.batches():
        for name in batch.stored_names:
            batch.given(name)
        yield batch


def _feed(replayer: Replayer, batch: Batch) -> Outcomes:
    if not len(batch):
        return {}
    replayer.feed(batch)
    return replayer.take_outcomes()


def _explain(
    replayer: Replayer,
    batch: Batch,
    rest: Iterator[Batch],
    profile: Profile,
    pfn: int | None,
    told: list[tuple[KernelFunction[Any], Any]],
    where: str,
) -> Explanation:
    kind = EventKind(int(batch.column("kind")[0]))
    cell = cell_of(batch, 0)
    given = {name: value for name in COLUMNS if (value := cell(name)) is not None}
    if kind not in _EXPLAINED or (
        kind in TRANSITIONS | DEVICE_CALLS and given.get("phase", 0) not in {Phase.WHOLE, Phase.BEGIN}
    ):
        what = f"a later phase of call {given.get('call')}" if kind in _EXPLAINED else kind.name.lower()
        raise UsageError(f"{where}: row {batch.row} is {what}, which asks nothing of a kernel; "
                         "`replay info` counts the rows by kind")  # fmt: skip
    pfn = _pfn_of(given, kind, pfn, f"{where}: row {batch.row}")
    around = None if pfn is None else around_of(replayer, pfn)
    before = memory_facts(replayer.machine) if kind in _CHANGING else None
    told.clear()
    asked = _lookup(replayer, kind, given, pfn)
    outcomes = _feed(replayer, batch)
    until = batch.row + 1
    if before is not None and given.get("phase", 0) == Phase.BEGIN:
        last, until = _to_the_end(replayer, rest, given.get("call", 0), told, until)
        outcomes = last if kind in DEVICE_CALLS and last else outcomes
    features = profile.features
    if asked is None:
        seen = [steps_of(function, state, features) for function, state in told]
        asked = [a for i, a in enumerate(seen) if a not in seen[:i]]
    answer = {name: int(np.asarray(column)[0]) for name, column in outcomes.items()}
    change = None if before is None else changes(before, memory_facts(replayer.machine), until)
    return Explanation(profile, batch.row, kind, pfn, given, asked, answer, around, change)


def _to_the_end(
    replayer: Replayer, rest: Iterator[Batch], call: int, told: list[tuple[KernelFunction[Any], Any]], until: int
) -> tuple[Outcomes, int]:
    """Replay on to the last row of a call, telling of its own decisions and those of the calls that it made only.

    Returns:
        (outcomes of the last row, number of the row after it); no outcomes where the trace ends before that.
    """
    calls = {call}  # this one and those that it made
    for batch in rest:
        columns = (
            np.flatnonzero(_IS_CALL[batch.column("kind")]),
            *(batch.column(n) for n in ("call", "caller", "phase")),
        )
        start = 0
        for at, number, caller, phase in zip(
            columns[0].tolist(), *(c[columns[0]].tolist() for c in columns[1:]), strict=True
        ):
            if caller == call:
                calls.add(number)
            elif number not in calls:
                continue
            kept = len(told)
            _feed(replayer, batch.part(start, at))
            del told[kept:]
            outcomes = _feed(replayer, batch.part(at, at + 1))
            start, until = at + 1, batch.row + at + 1
            if number == call and phase == Phase.DONE:
                return outcomes, until
        kept = len(told)
        _feed(replayer, batch.part(start, len(batch)))
        del told[kept:]
        until = batch.row + len(batch)
    return {}, until


def _pfn_of(given: Mapping[str, int], kind: EventKind, pfn: int | None, where: str) -> int | None:
    first = given.get("pfn")
    if first is None:
        return None
    pages, stride = given.get("nr_pages", 1), given.get("stride", 1)
    if pfn is None:
        return first
    if kind in POISON_CALLS or (pfn - first) % (abs(stride) or 1) or not 0 <= (pfn - first) // (stride or 1) < pages:
        last = first + (pages - 1) * stride
        raise UsageError(f"{where} has pfns {first:#x} to {last:#x} in steps of {stride}; {pfn:#x} is none of them")
    return pfn


def _lookup(replayer: Replayer, kind: EventKind, given: Mapping[str, int], pfn: int | None) -> list[Asked] | None:
    """Return the decision on a pfn's state; None where the function tells of it itself."""
    kernel = replayer.kernel
    if pfn is None:
        return None
    if kind in STATE_LOOKUPS:
        index = replayer.index
        code = index.codes[index.segment_of(np.array([pfn], np.uint64))]
        state = WalkState(code, kernel.config, kernel.features, kernel.rules)
        return [steps_of(kernel.function(FUNCTIONS[kind]), state, kernel.features)]
    if kind is EventKind.PGMAP_PFN_VALID:
        found = replayer.machine.pagemaps.by_id.get(given.get("pgmap", 0))
        ranges = list(zip(found.ranges, found.data_spans(), strict=True)) if found else []
        inside = any(low <= pfn < high for (low, high), _ in ranges)
        data = any(low <= pfn < high for _, (low, high) in ranges)
        facts = MetadataFacts(np.array([inside]), np.array([data]))
        return [steps_of(kernel.function(FUNCTIONS[kind]), facts, kernel.features)]
    return None
