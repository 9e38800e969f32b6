"""Calls about poisoned pages -> rows. What they decide is not evaluated here; no call is lost."""

from __future__ import annotations

import re
from collections import Counter

from replay.trace.schema import EventKind

from .calls import Call, Calls
from .ftrace import Events
from .rows import Order, Row
from .transitions import OWNERS

__all__ = ("poison_rows",)

_ACTION = re.compile(r"pfn 0x[0-9a-f]+: recovery action for (.*): (\w+)")
_RESULTS = {"Ignored": 0, "Failed": 1, "Delayed": 2, "Recovered": 3}


def poison_rows(
    events: Events, calls: Calls, ids: dict[int, int], types: dict[str, int], unused: Counter[str]
) -> list[Row]:
    """Return one row per memory_failure, soft_offline_page and unpoison_memory call.

    Args:
        events: the trace.
        calls: its calls.
        ids: per entry event of an owning call, its id.
        types: this kernel's numbers of action page types; empty when the recording does not say.
        unused: counts the action reports that belong to no call, or that a later one of the same call replaces.
    """
    actions: dict[int, dict[str, int]] = {}
    for point in calls.points:
        if point.name != "memory_failure_event":
            continue
        call = point.parent
        while call is not None and call.name != "memory_failure":
            call = call.parent
        found = _ACTION.fullmatch(events.text(point.at))
        if call is None or found is None or call.begin in actions:
            unused["memory_failure_event"] += 1
        if call is not None and found is not None:
            actions[call.begin] = _action(found[1], found[2], types)
    return [
        _row(call, OWNERS[call.name], ids[call.begin], actions.get(call.begin, {}))
        for call in calls.calls
        if call.name in OWNERS and OWNERS[call.name] > EventKind.PAGE_STATE
    ]


def _action(page_type: str, result: str, types: dict[str, int]) -> dict[str, int]:
    values = {"recorded_type": types[page_type]} if page_type in types else {}
    return values | ({"recorded_result": _RESULTS[result]} if result in _RESULTS else {})


def _row(call: Call, kind: EventKind, number: int, action: dict[str, int]) -> Row:
    values = {"pfn": call.given["pfn"], "call": number, "task": call.pid, **action}
    if "flags" in call.given:
        values["flags"] = call.given["flags"]
    if call.ret is not None:
        values["recorded_ret"] = call.ret
    return Row(call.begin, Order.EVENT, kind, values)
