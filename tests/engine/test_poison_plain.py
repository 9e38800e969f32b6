"""Calls taken together: what is taken together, in which parts, by which way of walking; never another outcome."""

from __future__ import annotations

import numpy as np
import pytest

from replay.engine import poison_plain, poison_rows, poison_steps
from replay.engine.poison import PoisonEngine
from replay.kernel.profiles import profile
from replay.trace.poison import CallContext, MappingClass, MfFlag, PageFlag, PageKind, TaskFlag
from replay.trace.schema import EventKind, PgmapType
from tests.property.poison import DEVICE, kept
from tests.property.strategies import Row

RAM = 0x100000
KERNEL = profile("v6.12.107")
SIMULATED = int(MfFlag.SW_SIMULATED)


def described(*, tasks: bool = False) -> list[Row]:
    """Pages of several kinds, 64 of each, some of the machine not described, a hugetlb folio, and a device."""
    kinds = (
        {"page_kind": PageKind.LRU},
        {"page_kind": PageKind.LRU, "page_flags": int(PageFlag.DIRTY | PageFlag.ANON)},
        {"page_kind": PageKind.BUDDY, "refs": 0},
        {"page_kind": PageKind.SLAB},
        {"page_kind": PageKind.LRU, "mapping": MappingClass.SHMEM, "pins": 1},
    )
    rows: list[Row] = [
        {
            "kind": EventKind.MEMREMAP_PAGES,
            "pfn": DEVICE,
            "nr_pages": 0x400,
            "pgmap": 1,
            "pgmap_type": PgmapType.GENERIC,
        },
        {"kind": EventKind.PAGE_STATE, "pfn": RAM + 0x400, "nr_pages": 512, "page_kind": PageKind.HUGE, "order": 9},
        {"kind": EventKind.PAGE_STATE, "pfn": DEVICE, "nr_pages": 0x400, "page_kind": PageKind.LRU},
    ]
    rows += [
        {"kind": EventKind.PAGE_STATE, "pfn": RAM + 64 * i, "nr_pages": 64, "refs": 1, **kinds[i % len(kinds)]}
        for i in range(8)
    ]
    if tasks:
        rows += [{"kind": EventKind.TASK_STATE, "task": 7, "flags": int(TaskFlag.HANDLER | TaskFlag.ANY_EARLY)}]
        rows += [{"kind": EventKind.MAP_PAGES, "pfn": RAM + 60, "nr_pages": 8, "task": 7, "vaddr": 0x1000}]
    return rows


def calls(count: int, seed: int = 1, flags: tuple[int, ...] = (SIMULATED,), pages: int = 0x600) -> list[Row]:
    """Calls on RAM of every kind (which becomes hugetlb at 0x400), and on the device."""
    random = np.random.default_rng(seed)
    kinds = (EventKind.MEMORY_FAILURE, EventKind.MEMORY_FAILURE, EventKind.SOFT_OFFLINE_PAGE, EventKind.UNPOISON_MEMORY)
    rows: list[Row] = []
    for _ in range(count):
        pfn = DEVICE + int(random.integers(8)) if random.random() < 0.02 else RAM + int(random.integers(pages))
        rows.append({"kind": int(random.choice(kinds)), "pfn": pfn, "flags": int(random.choice(flags))})
        if random.random() < 0.5:
            rows[-1] |= {"recorded_ret": int(random.choice((0, -16))), "recorded_hwpoison": int(random.integers(2))}
            rows[-1] |= {"recorded_type": 16, "recorded_result": 3}
    return rows


def timed(rows: list[Row]) -> list[Row]:
    return [{**row, "time": i} for i, row in enumerate(rows)]


def alone(rows: list[Row]) -> object:
    return kept(rows, KERNEL, one_by_one=True)


def count_alone(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the row of every call that is carried out by itself."""
    found: list[int] = []
    carry_out = PoisonEngine.call

    def call(self, kind, row, at, cell):
        found.append(row)
        return carry_out(self, kind, row, at, cell)

    monkeypatch.setattr(PoisonEngine, "call", call)
    return found


@pytest.mark.parametrize("size", [40, 97, 1500])
def test_batches_of_any_size(size: int) -> None:
    rows = timed(described(tasks=True) + calls(1500, flags=(0, SIMULATED, 2)))
    assert kept(rows, KERNEL, cuts=range(size, len(rows), size)) == alone(rows)


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (poison_plain, "_MAX_ROWS", 64),  # many parts
        (poison_plain, "_MAX_MIGRATIONS", 2),  # more returns of migration than are told apart
        (poison_plain, "_HIGH_PFN", 1),  # pfns too large to be sorted together with their positions
        (poison_steps, "_LANES", 1),  # all pages side by side to the end
        (poison_steps, "_LANES", 1 << 30),  # page by page
        (poison_steps, "_MAX_CELLS", 4),  # a table that is begun anew, and parts that have to be halved for it
        (poison_rows, "_MANY", 1),  # the shortest runs are taken together
    ],
)
def test_limits_do_not_show(monkeypatch: pytest.MonkeyPatch, module: object, name: str, value: int) -> None:
    migrated = [{"kind": EventKind.SOFT_OFFLINE_PAGE, "pfn": RAM + i % 90, "value": -i % 11} for i in range(200)]
    rows = timed(described() + migrated + calls(400) + described() + calls(400, 2, pages=20))
    expected = alone(rows)
    monkeypatch.setattr(module, name, value)
    assert kept(rows, KERNEL) == expected


def test_only_entangled_calls_are_made_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those on mapped pages, on hugetlb pages and pages of pagemaps, and of consumers that have to be told."""
    told = {"flags": int(MfFlag.ACTION_REQUIRED), "task": 9, "context": int(CallContext.HAS_ENTRY)}
    rows = timed(described(tasks=True) + calls(300) + [{"kind": EventKind.MEMORY_FAILURE, "pfn": RAM + 3, **told}])
    found = count_alone(monkeypatch)
    kept(rows, KERNEL)
    entangled = {*range(RAM + 60, RAM + 68), *range(RAM + 0x400, RAM + 0x600), *range(DEVICE, DEVICE + 0x400), RAM + 3}
    first = len(described(tasks=True))
    assert sorted(found) == [i for i in range(first, len(rows)) if rows[i]["pfn"] in entangled]
    assert 0 < len(found) < len(rows) - first


def test_pages_that_a_hugetlb_folio_takes_along() -> None:
    """A folio that is dissolved turns all its pages into free ones, also those that were described otherwise since."""
    inside = {"kind": EventKind.PAGE_STATE, "pfn": RAM + 0x403, "nr_pages": 2, "page_kind": PageKind.SLAB}
    for order in ((0x403, 0x410), (0x410, 0x403)):
        on = [{"kind": EventKind.MEMORY_FAILURE, "pfn": RAM + at, "flags": SIMULATED} for at in order]
        free = {**described()[1], "page_flags": int(PageFlag.HUGE_FREE)}
        rows = timed([free, inside, *on, *calls(64, pages=0x400)])
        assert kept(rows, KERNEL) == alone(rows)


@pytest.mark.parametrize("at", [0, 20, 63])
def test_unpoisoning_ends_with_the_first_hardware_error(at: int) -> None:
    """Calls of one run before it are allowed, those after it are not, whichever page it hits."""
    pair = [
        {"kind": EventKind.MEMORY_FAILURE, "pfn": RAM + 128, "flags": SIMULATED},
        {"kind": EventKind.UNPOISON_MEMORY, "pfn": RAM + 128},
    ]
    run = pair * 32
    for hit in (RAM, RAM + 0x400, RAM + 61):  # plain, hugetlb, mapped
        error = {"kind": EventKind.MEMORY_FAILURE, "pfn": hit, "flags": 0}
        rows = timed([*described(tasks=True), *run[:at], error, *run[at:]])
        columns, counted = kept(rows, KERNEL)
        assert (columns, counted) == alone(rows)
        returned = [columns["ret"][i] for i, row in enumerate(rows) if row["kind"] == EventKind.UNPOISON_MEMORY]
        assert returned[-1] == -95 or at == 63
        assert (0 in returned) == (at > 0)


def test_signals_recorded_for_calls_taken_together() -> None:
    """A signal that nobody should have got is a difference, and of two calls with one number the later one is meant."""
    run = [{"kind": EventKind.MEMORY_FAILURE, "pfn": RAM + i, "flags": SIMULATED, "call": i % 40} for i in range(60)]
    run.insert(0, {**run[0], "pfn": RAM + 60, "call": 39})  # which is made by itself, and still before
    signal = {"kind": EventKind.SIGNAL, "call": 5, "task": 9, "signal": 7}
    rows = timed([*described(tasks=True), *run, signal, *run[1:34], {**signal, "call": 39}])
    _, counted = kept(rows, KERNEL)
    assert kept(rows, KERNEL) == alone(rows)
    differences = counted["differences"]["poison signals"]  # type: ignore[index]
    assert [(d.row, d.pfn) for d in differences] == [(len(described(tasks=True)) + 40, RAM + 39)]


def test_events_are_counted_by_the_node_of_their_page() -> None:
    """Nodes 0 and 1 of boot memory, and what shares a section with them."""
    rows = [{"kind": EventKind.PAGE_STATE, "pfn": 0x100000, "nr_pages": 0x10000, "page_kind": PageKind.LRU}]
    rows += [
        {"kind": EventKind.MEMORY_FAILURE, "pfn": pfn, "flags": SIMULATED}
        for pfn in (*range(0x107FF0, 0x108010), *range(0x10BFF8, 0x10C008), *range(0x107FF0, 0x107FF8))
    ]
    _, counted = kept(timed(rows), KERNEL)
    counters = counted["counters"]
    assert (counters["node0 total"], counters["node1 total"]) == (16, 24)  # type: ignore[index]
    assert kept(timed(rows), KERNEL) == alone(timed(rows))
