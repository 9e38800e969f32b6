"""Outcome columns, phases and windows."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay import scalar
from replay.kernel.profiles import profile
from replay.scalar import replay_rows, replay_trace
from replay.trace.header import Provenance
from replay.trace.outcomes import OUTCOME_COLUMNS
from replay.trace.schema import COLUMNS, DEVICE_CALLS, EventKind, Phase
from tests.scalar.build import phases, picked, replay, row
from tests.vectors.lookups import L1, L3, L4

K = EventKind
SECTIONS, ZONE = Phase.SECTIONS, Phase.ZONE
DEVICE = (0x1FC000, 0x100000)  # of L1
SHARED = 0x1FC000
MAP = row(K.MEMREMAP_PAGES, *DEVICE, pgmap=1, recorded_ret=0)


def test_every_row_has_all_columns() -> None:
    rows = [row(kind, 0x100000, 1, pgmap=1, start=0, size=1, label=0) for kind in EventKind]
    found = replay_rows(L4.description(), rows, profile("v6.1").features, ("x",))
    assert all(list(outcome) == list(OUTCOME_COLUMNS) for outcome in found)
    silent = {k for k, outcome in zip(EventKind, found, strict=True) if not outcome["check"]}
    assert silent == {k for k in EventKind if k >= K.PAGE_STATE} - DEVICE_CALLS | {K.PGMAP_RANGE}


def test_run_counts_and_names_its_check() -> None:
    one, several, stride = replay(
        L3,
        "v6.1",
        row(K.PFN_TO_ONLINE_PAGE, 0x100000, 8, recorded_ret=1),
        row(K.PFN_TO_ONLINE_PAGE, 0x17FCFE, 0x400, recorded_ret=0),
        row(K.PFN_TO_ONLINE_PAGE, 0x17FE00, 3, stride=-0x100),
    )
    assert picked(one, "pages", "truth_pages", "match", "check") == (8, 8, 8, "pfn_to_online_page/untainted")
    columns = ("pages", "truth_pages", "false_online", "false_offline", "match", "check")
    assert picked(several, *columns) == (0x102, 2, 0x100, 0, 0x400 - 0x102, "several")
    assert picked(stride, "pages", "truth_pages", "match") == (2, 1, 0)


def test_false_offline() -> None:
    rows = (row(K.RESOURCE_INSERT, start=0x150000 << 12, size=0x1000, label=0, flags=3),)
    found = replay_rows(
        L4.description(), [*rows, row(K.PFN_TO_ONLINE_PAGE, 0x150000)], profile("v6.1").features, ("x",)
    )
    assert picked(found[0], "ret", "check") == (0, "resource_insert/inserted")
    assert picked(found[1], "truth_pages", "false_offline") == (0, 0)  # not online


def test_pagemap_columns() -> None:
    mapped, own, other, nested, slow = replay(
        L1,
        "v6.1",
        MAP,
        row(K.GET_DEV_PAGEMAP, SHARED, 2, recorded_pgmap=1, recorded_ret=1),
        row(K.GET_DEV_PAGEMAP, SHARED - 1, 2, recorded_pgmap=0),
        row(K.PFN_TO_ONLINE_PAGE, SHARED - 1, 2, recorded_pgmap=1, recorded_slow=1, recorded_ret=0),
        row(K.PFN_TO_ONLINE_PAGE, 0x100000, 2, recorded_pgmap=0, recorded_slow=0),
    )
    assert picked(mapped, "ret", "match", "check") == (0, 1, "memremap_pages/mapped")
    assert picked(own, "pages", "match", "pgmap_match", "check") == (2, 2, 2, "get_dev_pagemap/live")
    assert picked(other, "pages", "match", "pgmap_match", "check") == (1, 0, 1, "several")
    assert picked(nested, "pages", "slow_pages", "match", "slow_match", "pgmap_match") == (1, 2, 1, 2, 1)
    assert picked(slow, "slow_pages", "slow_match", "pgmap_match") == (0, 2, 0)


def test_absent_function_is_not_compared() -> None:
    asked = row(K.PGMAP_PFN_VALID, SHARED, 2, pgmap=1, recorded_ret=0)
    for version, match, check in (("v5.11", 0, "absent"), ("v5.12", 0, "data")):
        _, found = replay(L1, version, MAP, asked)
        assert picked(found, "match", "check") == (match, f"pgmap_pfn_valid/{check}")


def test_ranges_come_before_their_call() -> None:
    rows = (
        row(K.PGMAP_RANGE, 0x150000, 0x200, pgmap=1),
        row(K.PGMAP_RANGE, 0x150200, 0x200, pgmap=1),
        row(K.MEMREMAP_PAGES, 0x140000, 0x200, pgmap=1),
        row(K.GET_DEV_PAGEMAP, 0x150000, 0x401),
    )
    assert [outcome["pages"] for outcome in replay(L4, "v6.1", *rows)] == [0, 0, 0, 0x400]


def test_map_step_by_step() -> None:
    ask = row(K.PFN_TO_ONLINE_PAGE, SHARED)
    begin, sections, zone, done = phases(
        K.MEMREMAP_PAGES, *DEVICE, (SECTIONS, 0x1FC000, 0x4000), (ZONE, *DEVICE), pgmap=1, recorded_ret=0
    )
    index = row(K.GET_DEV_PAGEMAP, 0x200000)
    valid = row(K.PFN_VALID, 0x200000)
    found = replay(L1, "v6.1", begin, index, ask, sections, ask, valid, zone, ask, done, valid)
    assert picked(found[0], "ret", "match", "check") == (0, 1, "memremap_pages/mapped")
    assert picked(found[3], "ret", "match", "check") == (0, 0, "")
    assert [found[n]["pages"] for n in (1, 2, 4, 5, 7, 9)] == [1, 0, 1, 0, 0, 1]
    assert found[4]["check"] == "pfn_to_online_page/untainted"  # window R1


def test_unmap_step_by_step() -> None:
    ask = row(K.PFN_TO_ONLINE_PAGE, SHARED)
    index = row(K.GET_DEV_PAGEMAP, SHARED)
    begin, sections, done = phases(K.MEMUNMAP_PAGES, *DEVICE, (SECTIONS, 0x1FC000, 0x4000), pgmap=1)
    found = replay(L1, "v7.2", MAP, begin, ask, index, sections, ask, index, row(K.PFN_VALID, 0x200000), done, index)
    assert picked(found[2], "pages", "false_online", "check") == (1, 1, "pfn_to_online_page/tainted-page")  # R2
    assert [found[n]["check"].split("/")[1] for n in (3, 5, 6, 7, 9)] == [
        "dying",
        "subsection",
        "dying",
        "valid",
        "not-indexed",
    ]


def test_ram_step_by_step() -> None:
    ask = row(K.PFN_TO_ONLINE_PAGE, 0x140000, 2, stride=0x8000)
    add = phases(K.ADD_MEMORY, 0x140000, 0x10000, (SECTIONS, 0x140000, 0x8000))
    online = phases(K.ONLINE_PAGES, 0x140000, 0x10000, (SECTIONS, 0x140000, 0x8000))
    offline = phases(K.OFFLINE_PAGES, 0x140000, 0x10000, (SECTIONS, 0x148000, 0x8000))
    remove = phases(K.REMOVE_MEMORY, 0x140000, 0x10000, (SECTIONS, 0x140000, 0x8000))
    valid = {**ask, "kind": int(K.PFN_VALID)}

    def with_questions(rows: list[dict[str, Any]], question: dict[str, Any]) -> list[dict[str, Any]]:
        return [each for step in rows for each in (step, question)]

    rows = [
        *with_questions(add, valid),
        *with_questions(online, ask),
        *with_questions(offline, ask),
        *with_questions(remove, valid),
    ]
    found = replay(L4, "v6.1", *rows)
    assert [outcome["ret"] for outcome in found[::6]] == [0, 0, 0, 0]
    assert [outcome["pages"] for outcome in found[1::2]] == [0, 1, 2, 0, 1, 2, 2, 1, 0, 2, 1, 0]


def test_refused_call_ignores_its_later_rows() -> None:
    rows = phases(K.MEMREMAP_PAGES, *DEVICE, (SECTIONS, *DEVICE), pgmap=1, recorded_ret=0)
    begin, _, done, valid = replay(L1, "v5.1", *rows, row(K.PFN_VALID, 0x200000))
    assert picked(begin, "ret", "match", "check") == (-6, 0, "memremap_pages/system-ram")
    assert picked(done, "ret", "check") == (0, "")
    assert valid["pages"] == 0


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"recorded_ret": 0, "window": 0}, (0, 0)),
        ({"recorded_ret": 1, "window": 0}, (2, 0)),
        ({"recorded_ret": 1, "window": 1}, (2, 0)),
        ({"recorded_ret": 1, "window": 2}, (0, 2)),
        ({"recorded_ret": 0, "window": 9}, (0, 2)),
        ({"window": 9}, (0, 0)),
    ],
)
def test_windows(columns: dict[str, int], expected: tuple[int, int]) -> None:
    asked = row(K.PFN_TO_ONLINE_PAGE, 0x138000, 2, **columns)
    found = replay(L4, "v6.1", asked, row(K.MARK), row(K.OFFLINE_PAGES, 0x138000, 0x8000))
    assert picked(found[0], "match", "race") == expected
    assert picked(found[0], "pages", "truth_pages", "check") == (2, 2, "pfn_to_online_page/untainted")


def test_window_with_a_sure_and_an_unsure_aspect() -> None:
    asked = row(K.PFN_TO_ONLINE_PAGE, SHARED, 1, recorded_ret=1, recorded_slow=1, recorded_pgmap=0, window=1)
    found = replay(L1, "v7.2", MAP, asked, row(K.MEMUNMAP_PAGES, pgmap=1, phase=int(Phase.BEGIN), call=1))
    assert picked(found[1], "match", "slow_match", "pgmap_match", "race") == (0, 1, 0, 1)


def test_answer_outside_the_window_is_neither() -> None:
    asked = row(K.GET_DEV_PAGEMAP, SHARED, 1, recorded_pgmap=7, window=1)
    found = replay(L1, "v6.1", asked, MAP)
    assert picked(found[0], "pages", "pgmap_match", "race") == (0, 0, 0)


def test_sections_dump() -> None:
    dump = row(K.SECTIONS_DUMP, nr_pages=8)
    shared = row(K.SECTION_STATE, 0x1F8000, recorded_flags=1 | 2 | 4 | 8 | 16, recorded_bits=(1 << 64) - 1)
    absent = row(K.SECTION_STATE, 0x400000, recorded_flags=0, recorded_bits=0)
    found = replay(L1, "v6.1", {**dump, "nr_pages": 32}, {**shared, "window": 2}, MAP, shared, dump, absent)
    assert [outcome["match"] for outcome in found] == [1, 0, 1, 1, 0, 1]
    assert [outcome["race"] for outcome in found] == [0, 1, 0, 0, 0, 0]
    assert {outcome["check"] for outcome in found} == {"", "memremap_pages/mapped"}


def test_resource_queries() -> None:
    found = replay(
        L1,
        "v6.1",
        row(K.REGION_INTERSECTS, start=0x1FB000 << 12, size=0x2000 << 12, flags=2, recorded_ret=2),
        row(K.WALK_SYSTEM_RAM_RANGE, 0x1FB000, 0x2000, recorded_ret=0),
        row(K.WALK_SYSTEM_RAM_RANGE, 0x1FC000, 0x2000, recorded_ret=0),
    )
    assert picked(found[0], "ret", "match", "check") == (2, 1, "region_intersects/mixed")
    assert picked(found[1], "ret", "match", "pages", "check") == (0, 1, 0x1000, "walk_system_ram_range/visited")
    assert picked(found[2], "ret", "match", "pages", "check") == (-22, 0, 0, "walk_system_ram_range/nothing")


def test_trace_file_is_the_same_as_its_rows(tmp_path: Path) -> None:
    writer = pytest.importorskip("replay.trace.writer")
    reader = pytest.importorskip("replay.trace.reader")
    rows = [
        MAP,
        row(K.PFN_TO_ONLINE_PAGE, SHARED - 2, 4, recorded_ret=0, window=1),
        *phases(K.MEMUNMAP_PAGES, *DEVICE, (SECTIONS, 0x1FC000, 0x4000), pgmap=1),
        row(K.ADD_MEMORY, 0x300000, 0x8000, label=0, flags=1, env=-12),
        row(K.PFN_VALID, 0x300010, 4, stride=-4),
    ]
    names = [name for name in COLUMNS if any(each.get(name) is not None for each in rows)]
    columns: dict[str, Any] = {
        name: (
            np.array([each.get(name) or 0 for each in rows], COLUMNS[name].numpy),
            np.array([each.get(name) is not None for each in rows]),
        )
        for name in names
    }
    path = tmp_path / "trace.arrow"
    strings = ("System RAM (kmem)",)
    for name in ("time", "kind"):  # these have no nulls
        columns[name] = columns[name][0]
    provenance = Provenance("test")
    writer.write_trace(path, columns, machine=L1.description(), provenance=provenance, strings=strings)
    features = profile("v7.2").features
    with reader.TraceFile.open(path) as trace:
        found = replay_trace(trace, features)
    assert found == replay_rows(L1.description(), rows, features, strings)


def test_the_reference_knows_nothing_of_the_engine() -> None:
    allowed = ("replay.scalar", "replay.trace", "replay.errors", "replay.machine.geometry")
    for path in Path(scalar.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith("replay") or name.startswith(allowed), f"{path.name}: {name}"
                assert not name.startswith(("numpy", "pyarrow", "polars")), f"{path.name}: {name}"
