"""Why a kernel answered a row as it did: the checks in order, what they looked at, and the machine around the pfn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from replay.candidate.candidate import CHANGEABLE
from replay.compare.asked import Asked, steps_of, telling
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
from replay.trace.schema import COLUMNS, POISON_CALLS, TRANSITIONS, EventKind, Phase

__all__ = ("Explanation", "explain")

_EXPLAINED = {*FUNCTIONS, *POISON_CALLS, EventKind.ACCESS}


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
    """

    profile: Profile
    row: int
    kind: EventKind
    pfn: int | None
    given: Mapping[str, int]
    asked: Sequence[Asked]
    answer: Mapping[str, int]
    around: Around | None


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
    for batch in trace.batches():
        for name in batch.stored_names:
            batch.given(name)  # so that the batch can be cut anywhere
        if row >= batch.row + len(batch):
            _feed(replayer, batch)
            if progress is not None:
                progress(batch.row + len(batch), row)
            continue
        at = row - batch.row
        _feed(replayer, batch.part(0, at))
        return _explain(replayer, batch.part(at, at + 1), profile, pfn, told, str(trace.path))
    raise AssertionError("the row is in some batch")


def _feed(replayer: Replayer, batch: Batch) -> Outcomes:
    if not len(batch):
        return {}
    replayer.feed(batch)
    return replayer.take_outcomes()


def _explain(
    replayer: Replayer,
    batch: Batch,
    profile: Profile,
    pfn: int | None,
    told: list[tuple[KernelFunction[Any], Any]],
    where: str,
) -> Explanation:
    kind = EventKind(int(batch.column("kind")[0]))
    cell = cell_of(batch, 0)
    given = {name: value for name in COLUMNS if (value := cell(name)) is not None}
    if kind not in _EXPLAINED or (kind in TRANSITIONS and given.get("phase", 0) not in {Phase.WHOLE, Phase.BEGIN}):
        what = f"a later phase of call {given.get('call')}" if kind in _EXPLAINED else kind.name.lower()
        raise UsageError(f"{where}: row {batch.row} is {what}, which asks nothing of a kernel; "
                         "`replay info` counts the rows by kind")  # fmt: skip
    pfn = _pfn_of(given, kind, pfn, f"{where}: row {batch.row}")
    around = None if pfn is None else around_of(replayer, pfn)
    told.clear()
    asked = _lookup(replayer, kind, given, pfn)
    outcomes = _feed(replayer, batch)
    features = profile.features
    if asked is None:
        seen = [steps_of(function, state, features) for function, state in told]
        asked = [a for i, a in enumerate(seen) if a not in seen[:i]]
    answer = {name: int(np.asarray(column)[0]) for name, column in outcomes.items()}
    return Explanation(profile, batch.row, kind, pfn, given, asked, answer, around)


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
