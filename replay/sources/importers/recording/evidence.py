"""What happened inside of each poison call, and what the kernel log says about it: facts that the call decided by."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from replay.trace.poison import ActionResult
from replay.trace.schema import EventKind

from .calls import POISON_CALLS, Call, Calls, Point
from .ftrace import Events
from .lookups import NOT_GIVEN, Lookups

__all__ = ("Action", "Evidence", "read_evidence")

_ACTION = re.compile(r"pfn 0x[0-9a-f]+: recovery action for (.*): (\w+)")
_RESULTS = {result.name.capitalize(): result for result in ActionResult}
_MIGRATION = re.compile(r"soft[ _]offline: (0x[0-9a-f]+): \w+ migration failed (-?\d+)", re.I)
_REFERENCED = re.compile(r"Memory failure: (0x[0-9a-f]+): .* still referenced by (\d+) users")
_UNMAP_FAILED = re.compile(r"Memory failure: (0x[0-9a-f]+): failed to unmap (?:page|folio) \(\w*? ?mapcount=(\d+)")
_EOPNOTSUPP = -95  # refused before anything was migrated
_REFERENCE, _TAKE_OFF = "get_hwpoison_page__return", "take_page_off_buddy__return"


@dataclass(frozen=True)
class Action:
    """A memory_failure_event: what was reported, in the kernel's words; None for a result that has no number."""

    page_type: str
    result: ActionResult | None


@dataclass
class Evidence:
    """What was seen inside of a call.

    Attributes:
        online: whether the first pfn_to_online_page found a page; None where it is not traced or not called.
        reference: what the last get_hwpoison_page returned.
        taken_off: the page was taken off the buddy lists.
        action: the last action that was reported.
        signals: the signals that were sent.
        migration: what migration returned, by the log.
        users: how many other references there were, by the log.
        unmap_failed: the page could not be unmapped from the processes that had mapped it, by the log.
    """

    online: bool | None = None
    reference: int | None = None
    taken_off: bool = False
    action: Action | None = None
    signals: list[Point] = field(default_factory=list)
    migration: int | None = None
    users: int | None = None
    unmap_failed: bool = False


def read_evidence(
    events: Events, calls: Calls, lookups: Lookups, ids: dict[int, int], log: str, unused: Counter[str]
) -> dict[int, Evidence]:
    """Return the evidence of every poison call by its entry event.

    Args:
        events: the trace.
        calls: its calls and points.
        lookups: its lookups.
        ids: per entry event of a call, the id that lookups inside of it carry.
        log: text of the kernel log.
        unused: counts the action reports that belong to no call, or that a later one of the same call replaces.
    """
    poison = [call for call in calls.calls if call.name in POISON_CALLS]
    result = {call.begin: Evidence() for call in poison}
    for point in calls.points:
        call = _around(point)
        if point.name == "memory_failure_event":
            _add_action(events, point, result[call.begin] if call else None, unused)
        elif call is None:
            continue
        elif point.name == "signal_generate":
            result[call.begin].signals.append(point)
        elif point.name == _REFERENCE:
            result[call.begin].reference = point.given["ret"]
        elif point.name == _TAKE_OFF:
            result[call.begin].taken_off |= point.given["ret"] == 1
    _add_online(result, poison, lookups, ids)
    _add_log(result, poison, log)
    return result


def _around(point: Point) -> Call | None:
    call = point.parent
    while call is not None and call.name not in POISON_CALLS:
        call = call.parent
    return call


def _add_action(events: Events, point: Point, evidence: Evidence | None, unused: Counter[str]) -> None:
    found = _ACTION.fullmatch(events.text(point.at))
    if evidence is None or found is None or evidence.action is not None:
        unused["memory_failure_event"] += 1
    if evidence is not None and found is not None:
        evidence.action = Action(found[1], _RESULTS.get(found[2]))


def _add_online(result: dict[int, Evidence], poison: list[Call], lookups: Lookups, ids: dict[int, int]) -> None:
    by_id = {ids[call.begin]: call for call in poison}
    asked = (lookups.kind == EventKind.PFN_TO_ONLINE_PAGE) & (lookups.call != NOT_GIVEN) & (lookups.ret != NOT_GIVEN)
    for index in np.flatnonzero(asked).tolist():
        call = by_id.get(int(lookups.call[index]))
        if call is not None and result[call.begin].online is None and lookups.pfn[index] == call.given["pfn"]:
            result[call.begin].online = bool(lookups.ret[index])


def _add_log(result: dict[int, Evidence], poison: list[Call], log: str) -> None:
    """Join lines of the log to calls: those of one pfn are in the same order."""
    failed = [call for call in poison if call.name == "soft_offline_page" and call.ret not in (None, 0, _EOPNOTSUPP)]
    for call, value in _in_order(_MIGRATION.findall(log), failed):
        result[call.begin].migration = value
    held = [call for call in poison if (action := result[call.begin].action) and action.result == ActionResult.FAILED]
    for call, value in _in_order(_REFERENCED.findall(log), held):
        result[call.begin].users = value
    mapped = [call for call in poison if call.name == "memory_failure" and call.ret]
    for call, _ in _in_order(_UNMAP_FAILED.findall(log), mapped):
        result[call.begin].unmap_failed = True


def _in_order(lines: Iterable[tuple[str, str]], calls: list[Call]) -> list[tuple[Call, int]]:
    waiting: dict[int, list[Call]] = {}
    for call in reversed(calls):
        waiting.setdefault(call.given["pfn"], []).append(call)
    pairs = []
    for pfn, value in lines:
        if queue := waiting.get(int(pfn, 16)):
            pairs.append((queue.pop(), int(value)))
    return pairs
