"""Shares of a trace: added up they are the whole, to the row; and what no border can be drawn through is refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import replay
from replay.engine.replay import Replayer
from replay.engine.runs import Runs
from replay.engine.tally import RangeCount, Tally
from replay.errors import TraceError, UsageError
from replay.fleet import shards as sharding
from replay.fleet.borders import Blocker, Extents, choose_borders, cut
from replay.fleet.share import SHARED, Share
from replay.kernel.profiles import Profile, profile
from replay.machine.geometry import Geometry
from replay.trace.header import MachineDescription
from replay.trace.poison import PageKind
from replay.trace.reader import TraceFile
from replay.trace.schema import EventKind
from tests.fleet.conftest import plain
from tests.property import poison
from tests.property.engines import as_batch
from tests.property.strategies import SECTIONS, STRINGS, Case, Row, cases
from tests.trace.build import lookup, machine, write

RECORDED = Path(__file__).parents[2] / "traces" / "recorded"
KERNELS = st.sampled_from(("v4.19", "v5.11", "v5.12", "v6.1.192", "v7.2")).map(profile)
TOP = (1 << 64) - 1
SECTION = 0x8000  # pages, on x86


def shares_at(borders: Sequence[int]) -> list[Share]:
    edges = [0, *borders, TOP + 1]
    return [Share(number, low, high - 1) for number, (low, high) in enumerate(itertools.pairwise(edges))]


def tally_of(
    description: MachineDescription,
    rows: list[Row],
    kernel: Profile,
    cuts: Sequence[int],
    *,
    share: Share | None = None,
    keep: bool,
) -> Tally:
    """What a replay counts of the rows, in batches cut at ``cuts``, or of a share of them."""
    replayer = Replayer(description, kernel, STRINGS, keep=keep)
    for start, end in itertools.pairwise([0, *cuts, len(rows)]):
        if start < end:
            batch = as_batch(rows[start:end], start)
            replayer.feed(batch if share is None else share.of(batch))
    tally = replayer.finish()
    if share is not None:
        share.keep_own(tally)
    return tally


def together(parts: Sequence[Tally]) -> Tally:
    whole = Tally()
    for part in parts:
        whole.merge(part)
    return whole


def without_ranges(tally: Tally) -> Tally:
    """The same counts, those of untruths without saying where."""
    sums = {}
    for name in ("false_online", "false_offline"):
        sums[name] = RangeCount()
        sums[name].add(0, 0, getattr(tally, name).total)
    return replace(tally, **sums)


def crosses(row: Row, border: int) -> bool:
    if row["kind"] not in SHARED:
        return False
    runs = Runs.of(
        np.array([row["pfn"]], np.uint64),
        np.array([row.get("nr_pages", 1)], np.uint64),
        np.array([row.get("stride", 1)], np.int64),
    )
    return int(runs.first[0]) < border <= int(runs.last[0])


def agree(
    description: MachineDescription, rows: list[Row], kernel: Profile, borders: list[int], cuts: list[int], keep: bool
) -> None:
    """Hold the sum of the shares against the whole. Where pfn ranges are noted row by row they are the same too."""
    whole = tally_of(description, rows, kernel, [], keep=keep)
    parts = [tally_of(description, rows, kernel, cuts, share=share, keep=keep) for share in shares_at(borders)]
    summed = together(parts)
    assert without_ranges(summed) == without_ranges(whole)
    if keep:
        assert summed == whole


@settings(max_examples=30)
@given(case=cases(), kernel=KERNELS, data=st.data(), keep=st.booleans())
def test_shares_add_up_to_the_whole(case: Case, kernel: Profile, data: st.DataObject, keep: bool) -> None:
    """Any machine, any events, any borders that no run crosses; batches do not matter either."""
    if case.machine.arch == "aarch64":
        return  # its sections are as large as the kernel has them
    shift = Geometry.of(case.machine).section_shift
    sections = data.draw(st.sets(st.integers(1, SECTIONS), min_size=1, max_size=3))
    borders = [(case.base + section) << shift for section in sorted(sections)]
    rows = [row for row in case.rows if not any(crosses(row, border) for border in borders)]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    agree(case.machine, rows, kernel, borders, cuts, keep)


@st.composite
def poisoned(draw: st.DrawFn) -> list[Row]:
    """A history of poison with lookups in it, and memory that goes offline, which poison has a say in."""
    rows: list[Row] = []
    block = {"pfn": 0x100000, "nr_pages": SECTION}
    for row in draw(poison.histories()):
        rows.append(row)
        extra = draw(st.sampled_from(("", "", "lookup", "lookup", "offline", "online")))
        if extra == "lookup":
            kind = draw(st.sampled_from(SHARED))
            rows.append({"kind": kind, "pfn": draw(st.sampled_from(poison.PAGES)), "pgmap": 1, "recorded_ret": 1})
        elif extra:
            kind = EventKind.MEMORY_BLOCK_OFFLINE if extra == "offline" else EventKind.MEMORY_BLOCK_ONLINE
            rows.append({"kind": kind, **block, "recorded_ret": 0})
    return rows


@settings(max_examples=20)
@given(rows=poisoned(), kernel=KERNELS, section=st.integers(1, 2), keep=st.booleans())
def test_poison_is_in_every_share_and_counted_once(rows: list[Row], kernel: Profile, section: int, keep: bool) -> None:
    agree(poison.MACHINE, rows, kernel, [0x100000 + section * SECTION], [], keep)


def test_poison_does_decide_lookups_of_other_shares() -> None:
    """Why each share replays all poison: a block with a poisoned page does not come online, and no page is found."""
    first, second = shares_at([0x100000])
    block = {"pfn": 0x100000, "nr_pages": SECTION}
    rows = [
        {"kind": EventKind.PAGE_STATE, "pfn": 0x100000, "page_kind": PageKind.LRU},
        {"kind": EventKind.MEMORY_FAILURE, "pfn": 0x100000},
        {"kind": EventKind.MEMORY_BLOCK_OFFLINE, **block},
        {"kind": EventKind.MEMORY_BLOCK_ONLINE, **block},
        lookup(0x100001),
        lookup(0x100),
    ]
    kernel = profile("v6.12")
    agree(machine(), rows, kernel, [0x100000], [], True)

    def pages(rows: list[Row]) -> int:
        return tally_of(machine(), rows, kernel, [], share=second, keep=False).outcomes["pfn_to_online_page"]["page"]

    assert (pages(rows), pages([row for row in rows if row["kind"] != EventKind.MEMORY_FAILURE])) == (0, 1)
    counted = [tally_of(machine(), rows, kernel, [], share=share, keep=False).outcomes for share in (first, second)]
    assert ["memory_failure" in outcomes for outcomes in counted] == [True, False]


@settings(max_examples=30)
@given(case=cases(), kernel=KERNELS, cuts=st.lists(st.integers(0, 40), max_size=3))
def test_the_differences_kept_are_the_first_rows(case: Case, kernel: Profile, cuts: list[int]) -> None:
    """By number, in whatever order they are found: so they are the same for any batches and any shares."""
    if case.machine.arch == "aarch64":
        return
    rows = [{**row, "recorded_ret": 0} for row in case.rows]
    whole = tally_of(case.machine, rows, kernel, [], keep=False)
    cut_up = tally_of(case.machine, rows, kernel, sorted(min(c, len(rows)) for c in cuts), keep=True)
    assert whole.differences == cut_up.differences
    for differences in whole.differences.values():
        assert [d.row for d in differences] == sorted(d.row for d in differences)


def test_the_first_rows_of_many() -> None:
    """More differ than are kept, and those of the function that is replayed last stand in front."""
    late = [lookup(0x100, EventKind.GET_DEV_PAGEMAP, recorded_pgmap=1) for _ in range(15)]
    early = [lookup(0x100, EventKind.PFN_TO_ONLINE_PAGE, recorded_pgmap=1) for _ in range(25)]
    rows = [row for pair in itertools.zip_longest(late, early) for row in pair if row is not None]
    tally = tally_of(machine(), rows, profile("v6.1.192"), [], keep=False)
    assert [d.row for d in tally.differences["get_dev_pagemap"]] == list(range(20))


def test_ranges_of_untruths_do_not_depend_on_the_shares() -> None:
    """Two false pages of one segment, far apart in the trace, one or two ranges as chunks fall."""
    rows = [lookup(0x9F), *(lookup(0x100000) for _ in range(1 << 16)), lookup(0xFF)]
    kernel = profile("v6.1.192")
    whole = tally_of(machine(), rows, kernel, [], keep=False)
    parts = [tally_of(machine(), rows, kernel, [], share=s, keep=False) for s in shares_at([0x8000])]
    assert whole.false_online.total == 2
    assert together(parts) == whole


# Borders --------------------------------------------------------------------------------------------------------------


def sound(pfns: list[int], blockers: list[tuple[int, int]], count: int) -> list[int]:
    named = [Blocker(low, high, f"thing {low:#x}") for low, high in blockers]
    return choose_borders(np.array(sorted(pfns), np.uint64), named, 4, count, "t.arrow")


def test_borders_balance_the_lookups() -> None:
    assert sound(list(range(160)), [], 2) == [0x50]
    assert sound(list(range(160)), [], 5) == [0x20, 0x40, 0x60, 0x80]
    assert sound([0] * 100 + [1000] * 100, [], 2) == [992]


def test_borders_make_way_for_what_would_be_crossed() -> None:
    assert sound(list(range(160)), [(0x48, 0x52)], 2) == [0x40]
    assert sound(list(range(160)), [(0x50, 0x5F)], 2) == [0x50]  # it begins at the border, and does not cross it
    assert sound(list(range(160)), [(0x20, 0x5A)], 2) == [0x60]


def test_what_leaves_no_border_is_named() -> None:
    with pytest.raises(UsageError, match=r"t.arrow: cannot be cut into 2 shares.* thing 0x5 crosses it"):
        sound(list(range(160)), [(5, 155)], 2)
    with pytest.raises(UsageError, match=r"too many of the lookups are in the one of pfn 0x3"):
        sound([3] * 10, [], 2)
    with pytest.raises(UsageError, match="too many"):
        sound([], [], 2)


@given(
    pfns=st.lists(st.one_of(st.integers(0, 400), st.integers(0, TOP)), max_size=40),
    blockers=st.lists(st.tuples(st.integers(0, 420), st.integers(0, 60)), max_size=5),
    count=st.integers(2, 4),
)
def test_borders_are_never_crossed(pfns: list[int], blockers: list[tuple[int, int]], count: int) -> None:
    extents = Extents(4)
    rows: list[Row] = [lookup(pfn) for pfn in pfns]
    rows += [lookup(low, nr_pages=size + 1) for low, size in blockers]
    if not rows:
        return
    extents.add(as_batch(rows))
    try:
        borders = choose_borders(extents.pfns(), extents.blockers(), 4, count, "t.arrow")
    except UsageError:
        return
    assert len(borders) == count - 1
    assert all(border % 16 == 0 for border in borders)
    assert not any(crosses(row, border) for row in rows for border in borders)
    parts = [sum(share.first <= row["pfn"] <= share.last for row in rows) for share in shares_at(borders)]
    assert sum(parts) == len(rows)
    assert all(parts)


MAPPING = {"kind": EventKind.MAP_PAGES, "task": 7, "nr_pages": 1, "vaddr": 0x7000000, "map_shift": 12}


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([lookup(0x140000, nr_pages=0x9000)], "the run of row 20"),
        ([lookup(0x148FFF, nr_pages=0x9000, stride=-1)], "the run of row 20"),
        (
            [
                {"kind": EventKind.MEMREMAP_PAGES, "pfn": 0x140000, "nr_pages": 0x10000, "pgmap": 3, "pgmap_type": 3},
            ],
            r"pagemap 3 \(row 20\)",
        ),
        (
            [
                {"kind": EventKind.PGMAP_RANGE, "pfn": 0x150000, "nr_pages": 0x200, "pgmap": 4},
                {"kind": EventKind.MEMREMAP_PAGES, "pfn": 0x140000, "nr_pages": 0x200, "pgmap": 4, "pgmap_type": 3},
            ],
            r"pagemap 4 \(row 20\)",
        ),
        (
            [{"kind": EventKind.TASK_STATE, "task": 7, "flags": 0}]
            + [{**MAPPING, "pfn": pfn, "vaddr": pfn << 12} for pfn in (0x140000, 0x148000)],
            r"task 7 \(row 21\)",
        ),
        (
            [{"kind": EventKind.PAGE_STATE, "pfn": 0x140000, "nr_pages": 1 << 16, "page_kind": 2, "order": 16}],
            "the folios of row 20",
        ),
    ],
    ids=["run", "descending", "pagemap", "ranges", "task", "folio"],
)
def test_runs_pagemaps_tasks_and_folios_lie_in_one_share(tmp_path: Path, rows: list[Row], what: str) -> None:
    """With lookups on both sides, and no other border between them."""
    lookups = [lookup(pfn) for pfn in (0x140010, 0x148010) for _ in range(10)]
    free = write(tmp_path / "free.arrow", *lookups)
    with TraceFile.open(free) as trace:
        assert [share.first for share in cut(trace, 2)] == [0, 0x148000]
    path = write(tmp_path / "crossed.arrow", *lookups, *rows)
    with pytest.raises(UsageError, match=f"{what} crosses it"):
        list(replay.run_sharded(path, shards=2))


# Files ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lookups all over, in runs and one by one, recorded right and wrong, with a change in the middle."""
    rng = np.random.default_rng(1)
    pfns = rng.integers(0x100, 0x150000, 3000).tolist()
    rows = [lookup(pfn & ~7, nr_pages=1 + pfn % 4, recorded_ret=pfn & 1, recorded_slow=0) for pfn in pfns]
    rows += [lookup(0x98, nr_pages=16, recorded_ret=0)]
    rows[1500:1500] = [
        {"kind": EventKind.ADD_MEMORY, "pfn": 0x140000, "nr_pages": 0x8000, "label": 0, "recorded_ret": 0},
        {"kind": EventKind.ONLINE_PAGES, "pfn": 0x140000, "nr_pages": 0x8000, "zone": 2, "recorded_ret": 0},
        {"kind": EventKind.SECTIONS_DUMP, "nr_pages": 13},
    ]
    return write(tmp_path_factory.mktemp("shards") / "large.arrow", *rows, strings=["System RAM"])


@pytest.mark.parametrize(("shards", "workers"), [(1, 1), (2, 1), (5, 1), (3, 2)])
def test_shards_give_what_the_whole_gives(large: Path, shards: int, workers: int) -> None:
    whole = plain([replay.run(large, "v5.11"), replay.run(large)])
    parts = plain(replay.run_sharded(large, ["v5.11", None], shards=shards, workers=workers))
    assert json.dumps(parts) == json.dumps(whole)
    assert parts[0]["truth"]["false_online"] > 0
    assert parts[0]["differences"]["pfn_to_online_page"]


def cut_in_two(path: Path) -> bool:
    with TraceFile.open(path) as trace:
        try:
            return len(cut(trace, 2)) == 2
        except UsageError:
            return False


def test_most_recordings_can_be_cut() -> None:
    paths = sorted(RECORDED.glob("*.arrow"))
    assert len(paths) == 38
    assert [path.stem for path in paths if not cut_in_two(path)] == [
        "5.10.223-s2p-raw",  # a pagemap over half of it
        "6.1.192-s3-hotplug",  # walks over all memory
        "7.2.13-s10-hotplug-rules",
        "7.2.13-s11-dax-ranges",
        "7.2.13-s2a-pmem-collision",
        "7.2.13-s3-hotplug",
        "7.2.13-s8-poison-rules",  # the kernel's own walks over all memory
        "7.2.13-s9-machine-check",
    ]


# Those that are replayed in a moment.
@pytest.mark.parametrize("name", ["5.10.223-s1-walk-boot", "5.10.223-s2a-pmem-collision", "5.10.223-s3-hotplug"])
def test_recorded_traces_are_the_sum_of_their_shares(name: str) -> None:
    path = RECORDED / f"{name}.arrow"
    (parts,) = replay.run_sharded(path, shards=2)
    whole = replay.run(path)
    assert without_ranges(parts.tally) == without_ranges(whole.tally)
    assert parts.agrees


def test_shares_check_a_file_that_is_not_the_one_that_was_cut(
    tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was checked as it was cut is not checked again; any other is."""
    path = tmp_path / "t.arrow"
    path.write_bytes(large.read_bytes())

    def cut_and_damage(trace: TraceFile, count: int) -> list[Share]:
        shares = cut(trace, count)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.unlink()
        path.write_bytes(content)
        return shares

    monkeypatch.setattr(sharding, "cut", cut_and_damage)
    with pytest.raises(TraceError):
        list(replay.run_sharded(path, shards=2))


def test_a_damaged_trace(fleet: list[Path]) -> None:
    with pytest.raises(TraceError):
        list(replay.run_sharded(fleet[2], shards=2))
    with pytest.raises(UsageError, match="0 shards"):
        list(replay.run_sharded(fleet[0], shards=0))
