"""Random poison histories: pages of every kind, tasks of every policy, calls again and again on the same pages."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from replay.engine.poison_call import Decided
from replay.engine.replay import Replayer
from replay.kernel.poison_types import ActionType
from replay.kernel.profiles import Profile
from replay.scalar import replay_poison_rows
from replay.trace.header import BootRange, MachineDescription
from replay.trace.poison import (
    NO_ACTION,
    CallContext,
    MapFlag,
    MappingClass,
    PageFlag,
    PageKind,
    SysctlKey,
    TaskFlag,
)
from replay.trace.schema import EventKind, PgmapType
from tests.property.engines import as_batch
from tests.property.strategies import STRINGS, Row

MACHINE = MachineDescription(
    "x86_64", 12, 27, 46, 1 << 27, "6.1", memory=(BootRange(0x100000, 0x108000, 0), BootRange(0x108000, 0x10C000, 1))
)
DEVICE = 0x110000  # a section of its own; 0x10c000.. shares one with RAM
PAGES = (0x100000, 0x100001, 0x100200, 0x100203, 0x10A000, 0x10C000, 0x10C003, DEVICE, DEVICE + 2, DEVICE + 0x300)
TASKS = (1, 2, 3)
NEIGHBOURS = (
    *PAGES,
    *(pfn + near for pfn in PAGES for near in (1, 5, 0x1FF)),
    0x10BFFF,
    1 << 45,
    0x100001 | 1 << 52,  # these are no pfns: more than an address has bits for
    1 << 63,
    (1 << 64) - 1,
)
CALLS = (EventKind.MEMORY_FAILURE,) * 3 + (
    EventKind.SOFT_OFFLINE_PAGE,
    EventKind.UNPOISON_MEMORY,
    EventKind.UNPOISON_MEMORY,
)
_FREE_FLAGS = [f for f in PageFlag if f not in {PageFlag.POISON_GIVEN, PageFlag.RAW_LISTED, PageFlag.RAW_UNRELIABLE}]


@st.composite
def histories(draw: st.DrawFn, max_events: int = 30) -> list[Row]:
    """Rows: devices mapped or not, pages, tasks and mappings described, calls."""
    rows: list[Row] = []
    for pgmap, start in ((1, DEVICE), (2, 0x10C000)):
        if draw(st.booleans()):
            row = {"kind": EventKind.MEMREMAP_PAGES, "pfn": start, "nr_pages": 0x400, "pgmap": pgmap, "node": 1}
            row["pgmap_type"] = draw(st.sampled_from([t for t in PgmapType if t]))
            if draw(st.booleans()):
                row |= {"altmap_base": start, "altmap_reserve": 1, "altmap_free": 1}
            rows.append(row)
    for _ in range(draw(st.integers(1, max_events))):
        rows += draw(st.sampled_from((_call, _call, _call, _page, _page, _task, _mapping, _sysctl, _clear)))(draw)
    for i, row in enumerate(rows):
        row["time"] = i
    return rows


def _call(draw: Any) -> list[Row]:
    kind = draw(
        st.sampled_from((EventKind.MEMORY_FAILURE,) * 3 + (EventKind.SOFT_OFFLINE_PAGE, EventKind.UNPOISON_MEMORY))
    )
    pfn = draw(st.sampled_from((*PAGES, *PAGES, 0x100000 | 1 << 52, (1 << 64) - 1)))
    row = {"kind": kind, "pfn": pfn, "flags": draw(st.integers(0, 255)) & 0x27}
    if draw(st.booleans()):
        row["task"] = draw(st.sampled_from(TASKS))
    if draw(st.integers(0, 3)) == 0:
        row["context"] = draw(st.sampled_from([int(c) for c in CallContext]))
    if kind is EventKind.SOFT_OFFLINE_PAGE:
        row["value"] = draw(st.sampled_from((0, 0, 0, 1, -12)))
    before = _page(draw, pfn) if pfn < 1 << 52 and draw(st.booleans()) else []
    return [*before, row]


def _page(draw: Any, pfn: int | None = None) -> list[Row]:
    pfn = draw(st.sampled_from(PAGES)) if pfn is None else pfn
    kind = draw(st.sampled_from((*PageKind, PageKind.LRU, PageKind.LRU, PageKind.LRU, PageKind.HUGE, PageKind.BUDDY)))
    flags = PageFlag(0)
    for flag in draw(st.lists(st.sampled_from(_FREE_FLAGS), max_size=5)):
        flags |= flag
    if draw(st.booleans()):
        flags |= PageFlag.MAPPED
    if flags & (PageFlag.HWPOISON | PageFlag.TAKEN_OFF):
        flags |= PageFlag.POISON_GIVEN
    order = 9 if kind is PageKind.HUGE else 0
    if kind is PageKind.HUGE and flags & PageFlag.HWPOISON:
        flags |= PageFlag.RAW_LISTED
    count = 1 << order
    first = pfn // count * count
    if kind is PageKind.HUGE:
        flags &= ~(PageFlag.HWPOISON | PageFlag.TAKEN_OFF | PageFlag.RAW_LISTED | PageFlag.POISON_GIVEN)
    row = {"kind": EventKind.PAGE_STATE, "pfn": first, "nr_pages": count, "page_kind": kind, "page_flags": int(flags)}
    row |= {"order": order, "mapping": draw(st.sampled_from(list(MappingClass)))}
    row |= {"pins": draw(st.sampled_from((0, 0, 0, 1, 2))), "refs": draw(st.sampled_from((1, 1, 0, 2)))}
    if draw(st.integers(0, 5)) == 0:
        row["owner_ret"] = draw(st.sampled_from((0, -95, -117)))
    return [row]


def _task(draw: Any) -> list[Row]:
    flags = TaskFlag(0)
    for flag in draw(st.lists(st.sampled_from([f for f in TaskFlag if f is not TaskFlag.EXITED]), max_size=4)):
        flags |= flag
    if draw(st.integers(0, 6)) == 0:
        flags = TaskFlag.EXITED
    row = {"kind": EventKind.TASK_STATE, "task": draw(st.sampled_from(TASKS)), "flags": int(flags)}
    if draw(st.booleans()):
        row["value"] = draw(st.sampled_from(TASKS))
    return [row]


def _mapping(draw: Any, pfn: int | None = None) -> list[Row]:
    pfn, task = draw(st.sampled_from(PAGES)) if pfn is None else pfn, draw(st.sampled_from(TASKS))
    if draw(st.integers(0, 4)) == 0:
        return [{"kind": EventKind.UNMAP_PAGES, "pfn": pfn, "nr_pages": draw(st.sampled_from((1, 512))), "task": task}]
    shift = draw(st.sampled_from((12, 12, 21)))
    count = 1 << shift - 12
    row = {"kind": EventKind.MAP_PAGES, "pfn": pfn // count * count, "nr_pages": count, "task": task}
    row |= {"vaddr": 0x7F0000000000 + task * 0x10000000 + (pfn // count * count << 12), "map_shift": shift}
    row["flags"] = draw(st.sampled_from((0, 0, 0, *(int(f) for f in MapFlag))))
    return [row]


def _sysctl(draw: Any) -> list[Row]:
    key = draw(st.sampled_from((SysctlKey.EARLY_KILL, SysctlKey.ENABLE_SOFT_OFFLINE)))
    return [{"kind": EventKind.SYSCTL, "key": key, "value": draw(st.integers(0, 1))}]


def _clear(draw: Any) -> list[Row]:
    return [{"kind": EventKind.CLEAR_ERROR, "pfn": draw(st.sampled_from(PAGES)), "nr_pages": 2}]


@st.composite
def storms(draw: st.DrawFn) -> list[Row]:
    """Histories with long runs of calls, on few pages or on many, and with whatever a recording could say of them."""
    rows = draw(histories(12))
    for _ in range(draw(st.integers(0, 4))):  # somebody to be told
        page = draw(st.sampled_from(PAGES))
        task, mapping = _task(draw), _mapping(draw, page)
        rows += [*task, *_page(draw, page), {**mapping[0], "task": task[0]["task"]}]
    for _ in range(draw(st.integers(1, 2))):
        before = draw(st.sampled_from((_page, _page, _task, _mapping, _sysctl)))(draw)
        rows += before + _run(draw)
    for i, row in enumerate(rows):
        row["time"] = i
    return rows


def _run(draw: Any) -> list[Row]:
    """Return calls drawn by a generator of their own: there are more of them than hypothesis likes to draw."""
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    pages = random.choice(np.array(NEIGHBOURS, np.uint64), draw(st.sampled_from((1, 2, 5, len(NEIGHBOURS)))))
    flags, contexts = draw(st.sampled_from(((32,), (0, 32), (0, 1, 2, 3, 4, 32, 39)))), draw(st.sampled_from((0, 1, 7)))
    recorded, rows = draw(st.booleans()), []
    for number in range(draw(st.sampled_from((8, 33, 70)))):
        row: Row = {"kind": int(random.choice(CALLS)), "pfn": int(random.choice(pages))}
        row["flags"] = int(random.choice(flags))
        if contexts and random.random() < 0.2:
            row |= {"context": int(random.choice((1, 2, 4)[:contexts])), "task": int(random.choice(TASKS))}
        if row["kind"] == EventKind.SOFT_OFFLINE_PAGE and random.random() < 0.3:
            row["value"] = int(random.choice((1, -12, -16)))
        if recorded and random.random() < 0.8:
            row |= {"recorded_ret": int(random.choice((0, -16, -133))), "recorded_hwpoison": int(random.integers(2))}
        if recorded and random.random() < 0.8:
            row |= {"recorded_type": int(random.choice((5, 16, 255))), "call": number}
            row |= {"recorded_result": int(random.integers(4))} if random.random() < 0.8 else {}
        rows.append(row)
    if recorded:
        rows += [{"kind": EventKind.SIGNAL, "call": 3, "task": TASKS[0], "signal": 7, "recorded_code": 5}]
    return rows


def kept(
    rows: list[Row], kernel: Profile, *, cuts: Sequence[int] = (), open_loop: bool = False, one_by_one: bool = False
) -> tuple[dict[str, list[int]], dict[str, object]]:
    """Return the outcome columns, and everything that was counted.

    Args:
        rows: of a trace.
        kernel: to replay.
        cuts: where batches end.
        open_loop: tasks do not die.
        one_by_one: every call by itself, as it is when somebody wants to be told about each.
    """
    replayer = Replayer(
        MACHINE, kernel, STRINGS, keep=True, open_loop=open_loop, log=(lambda _: None) if one_by_one else None
    )
    for start, end in itertools.pairwise([0, *sorted(cuts), len(rows)]):
        if start < end:
            replayer.feed(as_batch(rows[start:end], start))
    tally = replayer.finish()
    columns: dict[str, list[int]] = {}
    for outcomes in replayer.finished():
        for name, values in outcomes.items():
            columns.setdefault(name, []).extend(values.tolist())
    agreement = {name: a.to_dict() for name, a in tally.agreement.items()}
    counted = {"events": tally.events, "outcomes": tally.outcomes, "checks": tally.checks, "agreement": agreement}
    return columns, counted | {"differences": tally.differences, "counters": tally.counters}


def vector_calls(rows: list[Row], kernel: Profile, *, open_loop: bool) -> list[dict[str, object]]:
    """Return what the vector engine says of each call, by row."""
    found: list[dict[str, object]] = []

    def log(call: Decided) -> None:
        found.append(
            {
                "row": call.row,
                "undecided": call.undecided,
                "ret": 0 if call.undecided else call.ret,
                "action": "" if call.action == NO_ACTION else ActionType(call.action).name,
                "result": "" if call.result == NO_ACTION else "IFDR"[call.result],
                "poisoned": int(call.poisoned),
                "counted": call.counted,
                "signals": tuple(sorted((s.task, s.signal, s.code, s.addr, s.lsb) for s in call.signals)),
            }
        )

    replayer = Replayer(MACHINE, kernel, STRINGS, open_loop=open_loop, log=log)
    replayer.feed(as_batch(rows))
    replayer.finish()
    return found


def scalar_calls(rows: list[Row], kernel: Profile, *, open_loop: bool) -> list[dict[str, object]]:
    """Return what the scalar engine says of each call, by row."""
    kinds = {EventKind.MEMORY_FAILURE, EventKind.SOFT_OFFLINE_PAGE, EventKind.UNPOISON_MEMORY}
    answers = replay_poison_rows(MACHINE, rows, kernel.features, STRINGS, closed_loop=not open_loop)
    names = ("undecided", "ret", "action", "result", "poisoned", "counted", "signals")
    return [
        {"row": i, **{name: answer[name] for name in names}}
        for i, (row, answer) in enumerate(zip(rows, answers, strict=True))
        if row["kind"] in kinds
    ]
