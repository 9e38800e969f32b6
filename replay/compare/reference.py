"""The scalar reference as an engine: its answers, counted like those of the vector engine."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from replay.engine.dumps import ASPECTS
from replay.engine.replay import Replay, refuse_mismatch
from replay.engine.rows import Outcomes, blank_outcomes
from replay.engine.tally import SLOW_PATH, Difference, Tally
from replay.engine.watches import RACE
from replay.kernel.decision import Check
from replay.kernel.profiles import Profile
from replay.kernel.registry import CHECK_NAMES, DEVICE_FUNCTIONS, FUNCTIONS
from replay.kernel.walk import GET_DEV_PAGEMAP
from replay.scalar import replay_trace as scalar_rows
from replay.scalar.rows import rows_of
from replay.trace.outcomes import CHECK_NONE, CHECK_SEVERAL, OUTCOME_COLUMNS, outcome_dtype
from replay.trace.reader import TraceFile
from replay.trace.schema import DEVICE_CALLS, DUMPS, LOOKUPS, TRANSITIONS, EventKind

__all__ = ("replay_trace",)

_STATE_LOOKUPS = LOOKUPS - {EventKind.REGION_INTERSECTS, EventKind.WALK_SYSTEM_RAM_RANGE}
Row = Mapping[str, int | None]


def replay_trace(
    trace: TraceFile,
    profile: Profile,
    *,
    sink: Callable[[Outcomes], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Replay:
    """Replay a trace with the scalar reference; same arguments and result as the vector engine's.

    The pfn ranges of untruths are those of the rows in which they occur, so they may be wider.
    """
    started = time.perf_counter()
    refuse_mismatch(trace.machine, profile, str(trace.path))
    tally = Tally(events=trace.rows)

    def decided(kind: EventKind, checks: Counter[str]) -> None:
        if kind not in FUNCTIONS or kind in TRANSITIONS:
            return  # oracles are compared, not decided; calls are counted by their return codes
        for question, count in checks.items():
            step = _step(kind, question, profile.features)
            tally.decided(FUNCTIONS[kind].name, step.id, step.answer.name, count)

    outcomes = scalar_rows(trace, profile.features, decided)
    for number, (row, outcome) in enumerate(zip(rows_of(trace), outcomes, strict=True)):
        _name_check(row, outcome, profile.features)
        _count(tally, number, row, outcome)
    if sink is not None:
        sink(_columns(outcomes))
    if progress is not None:
        progress(trace.rows, trace.rows)
    return Replay(str(trace.path), trace.digest, profile, tally, {"replay": time.perf_counter() - started})


def _step(kind: EventKind, question: str, features: frozenset[str]) -> Check[Any]:
    """Return the check of a kernel function that a check of the reference is.

    The reference names the question, the functions have a check for each answer: "range" is also "range-bounds" and
    "range-unchecked", of which a kernel's features leave one as the first.
    """
    active = [check for _, check in FUNCTIONS[kind].active(features)]
    same = [check for check in active if check.id == question]
    return (same or [check for check in active if check.id.startswith(f"{question}-")])[0]


def _name_check(row: Row, outcome: dict[str, object], features: frozenset[str]) -> None:
    """Let ``check`` be the name that the kernel functions have for it."""
    function, slash, question = str(outcome["check"]).partition("/")
    if slash and row["kind"] not in DEVICE_CALLS:  # these have the same names
        outcome["check"] = f"{function}/{_step(EventKind(row['kind'] or 0), question, features).id}"


def _count(tally: Tally, number: int, row: Row, outcome: dict[str, object]) -> None:
    """Count one row: what it looked up, how far it agrees, where it departs from the truth."""
    kind = EventKind(row["kind"] or 0)
    out = {name: value for name, value in outcome.items() if isinstance(value, int)}
    units = (row.get("nr_pages") or 1) if kind in _STATE_LOOKUPS else 1
    if kind in _STATE_LOOKUPS:
        tally.pages += units
    tally.slow += out["slow_pages"]
    for name, ranges in (("false_online", tally.false_online), ("false_offline", tally.false_offline)):
        if out[name]:
            first = row.get("pfn") or 0
            last = first + (units - 1) * (row.get("stride") or 1)
            ranges.add(min(first, last), max(first, last), out[name])
    if kind in TRANSITIONS and outcome["check"]:
        name = str(outcome["check"]).partition("/")[2]
        step = next(c for c in FUNCTIONS[kind].checks if c.id == name)
        tally.decided(FUNCTIONS[kind].name, name, str(out["ret"]) if step.imposed else step.answer.name, 1)
    if kind in DEVICE_CALLS and outcome["check"]:
        _count_device(tally, number, row, outcome)
    made = kind not in TRANSITIONS or bool(outcome["check"])  # else a call that this kernel's driver does not make
    if (kind in FUNCTIONS and made) or kind in DUMPS:
        _compare(tally, number, kind, row, outcome, units)
    elif kind.name.lower() in {"memory_failure", "soft_offline_page", "unpoison_memory"}:
        given = int(row.get("recorded_ret") is not None)
        tally.compare(kind.name.lower(), given, 0, "not decided by the scalar reference", given)


def _count_device(tally: Tally, number: int, row: Row, outcome: dict[str, object]) -> None:
    """Count the verdict of a call about devices; the reference tells of no decisions on the way."""
    name, _, check = str(outcome["check"]).partition("/")
    function = next(f for f in DEVICE_FUNCTIONS if f.name == name)
    step = next(c for c in function.checks if c.id == check)
    tally.decided(name, check, str(outcome["ret"]) if step.imposed else step.answer.name, 1)
    recorded = row.get("recorded_ret")
    if recorded is not None:
        tally.compare(name, 1, _number(outcome, "match"))
        if not outcome["match"]:
            tally.differ(Difference(name, number, 0, str(recorded), f"{outcome['ret']} ({check})", 1))


def _compare(tally: Tally, number: int, kind: EventKind, row: Row, outcome: dict[str, object], units: int) -> None:
    function, check = ASPECTS.get(kind, ""), ""
    if kind in FUNCTIONS:
        function, check = FUNCTIONS[kind].name, str(outcome["check"]).partition("/")[2]
    aspects = [(function, "match", kind in DUMPS or row.get("recorded_ret") is not None)]
    if kind is EventKind.PFN_TO_ONLINE_PAGE:
        aspects.append((SLOW_PATH, "slow_match", row.get("recorded_slow") is not None))
    if kind in {EventKind.PFN_TO_ONLINE_PAGE, EventKind.GET_DEV_PAGEMAP}:
        aspects.append((GET_DEV_PAGEMAP.name, "pgmap_match", row.get("recorded_pgmap") is not None))
    for aspect, column, given in aspects:
        if not given:
            continue
        agreed, race = _number(outcome, column), _number(outcome, "race")
        unproven, reason = min(race, units - agreed), RACE
        if check == "absent":
            unproven, reason = units, "no such function in this kernel"
        elif check == "environment" and agreed:
            step = next(c for c in FUNCTIONS[kind].checks if c.id == check)
            agreed, unproven, reason = 0, 1, f"{step.id}: {step.why}"
        tally.compare(aspect, units, agreed, reason, unproven)
        if agreed + unproven != units:
            pfn, recorded = row.get("pfn") or 0, str(row.get("recorded_ret"))
            tally.differ(Difference(aspect, number, pfn, recorded, check, units - agreed - unproven))


def _number(outcome: dict[str, object], column: str) -> int:
    value = outcome[column]
    assert isinstance(value, int)
    return value


def _columns(outcomes: list[dict[str, object]]) -> Outcomes:
    """Return the outcomes as columns, checks by number."""
    numbers = {name: i for i, name in enumerate(CHECK_NAMES)} | {"": CHECK_NONE, "several": CHECK_SEVERAL}
    columns: Outcomes = {}
    for name in OUTCOME_COLUMNS:
        values = [numbers[str(o[name])] if name == "check" else o[name] for o in outcomes]
        columns[name] = np.array(values, outcome_dtype(name))
    blank = blank_outcomes(len(outcomes))
    return {**blank, **columns}
