"""Signals that were sent, and what touching a page afterwards showed -> rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count

from replay.trace.schema import EventKind

from .calls import Calls, Point
from .evidence import Evidence
from .rows import Order, Row
from .victims import Sharer, Sigbus
from .visits import Phase, Visit

__all__ = ("signal_rows",)

_SIGBUS = 7


def signal_rows(
    calls: Calls, visits: list[Visit], evidence: dict[int, Evidence], ids: dict[int, int], unused: Counter[str]
) -> list[Row]:
    """Return a SIGNAL row per signal of a poison call, and ACCESS rows with their SIGNAL rows for touches.

    signal_generate has no address; the handlers of the recording tool saw it. Signals of one process and code are
    delivered in the order they were sent.

    Args:
        calls: calls and points of the trace.
        visits: the victims.
        evidence: what each poison call did.
        ids: per entry event of a call, its id.
        unused: counts the signals that have to do with no victim.
    """
    rows, numbers = list[Row](), count(max(ids.values(), default=0) + 1)
    by_process = {(visit.victim.number, s.pid): list(s.sigbus) for visit in visits for s in visit.victim.sharers}
    sent = {point.at for known in evidence.values() for point in known.signals}
    victim_of = {call.begin: visit.victim.number for visit in visits for call, _ in visit.calls}
    for begin, known in evidence.items():
        for point in known.signals:
            seen = by_process.get((victim_of.get(begin, 0), point.given["pid"]), [])
            rows.append(_signal(point.at, point.given["pid"], ids[begin], point, _take(seen, point.given["code"])))
    traced = any(point.name == "signal_generate" for point in calls.points)
    loose = [point for point in calls.points if point.name == "signal_generate" and point.at not in sent]
    places = sent | {point.at for point in loose}
    for visit in visits:
        if not traced:
            rows += _untraced(visit, by_process, ids)
        rows += _touches(visit, by_process, loose, numbers, traced=traced)
    others = len(sent) + len(loose) - len({row.at for row in rows if row.kind == EventKind.SIGNAL} & places)
    if others:
        unused["signal_generate"] += others
    return rows


def _take(seen: list[Sigbus], code: int) -> Sigbus | None:
    index = next((i for i, one in enumerate(seen) if one.code == code), None)
    return None if index is None else seen.pop(index)


def _signal(at: int, pid: int, call: int, point: Point | None, seen: Sigbus | None) -> Row:
    values = {"task": pid, "call": call, "signal": point.given["sig"] if point else _SIGBUS}
    if seen is not None:
        values |= {"recorded_code": seen.code, "recorded_addr": seen.addr, "recorded_lsb": seen.lsb}
    elif point is not None:
        values["recorded_code"] = point.given["code"]
    return Row(at, Order.EVENT, EventKind.SIGNAL, values)


def _untraced(visit: Visit, by_process: dict[tuple[int, int], list[Sigbus]], ids: dict[int, int]) -> list[Row]:
    """Return the signals of an injection from what the handlers saw alone."""
    call = next((call for call, phase in visit.calls if phase == Phase.INJECT), None)
    rows = []
    for sharer in visit.victim.sharers:
        seen = by_process[visit.victim.number, sharer.pid]
        for one in [one for one in seen if one.phase == "inject"] if call else []:
            assert call is not None
            seen.remove(one)
            rows.append(_signal(call.end, sharer.pid, ids[call.begin], None, one))
    return rows


def _touches(
    visit: Visit, by_process: dict[tuple[int, int], list[Sigbus]], loose: list[Point], numbers: Iterator[int],
    *, traced: bool,
) -> list[Row]:  # fmt: skip
    victim, touch, rows = visit.victim, visit.marks.get("touch"), list[Row]()
    if touch is None or victim.freed:
        return rows
    for sharer in victim.sharers:
        if sharer.died:
            continue
        number = next(numbers)
        where = {"pfn": victim.pfn, "task": sharer.pid, "vaddr": victim.vaddr, "call": number}
        signals = _touch_signals(visit, sharer, number, touch, by_process[victim.number, sharer.pid], loose)
        if traced and sharer.touch == "none" and not signals:
            continue  # it did not get to it: it was dying of the signal of the injection
        rows += [Row(touch, Order.EVENT, EventKind.ACCESS, where), *signals]
    return rows


def _touch_signals(
    visit: Visit, sharer: Sharer, number: int, touch: int, seen: list[Sigbus], loose: list[Point]
) -> list[Row]:
    rows = [
        _signal(point.at, sharer.pid, number, point, _take(seen, point.given["code"]))
        for point in loose
        if point.given["pid"] == sharer.pid and touch < point.at < visit.marks["end"]
    ]
    late = [one for one in seen if one.phase == "touch"]  # not traced
    return rows + [_signal(touch, sharer.pid, number, None, one) for one in late]
