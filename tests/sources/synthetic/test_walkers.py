"""Walkers: the rows of the table, literally, on machines small enough to list what they ask."""

from __future__ import annotations

import pytest

from replay.errors import UsageError
from replay.kernel.profiles import PRESETS
from replay.sources.synthetic.machines import SyntheticMachine, make_machine
from replay.sources.synthetic.parameters import resolve
from replay.sources.synthetic.streams import Stream
from replay.sources.synthetic.walker import KERNEL_LINES, line_of
from replay.sources.synthetic.walkers import WALKERS
from replay.sources.synthetic.walks import walk
from replay.trace.schema import EventKind

V, O = EventKind.PFN_VALID, EventKind.PFN_TO_ONLINE_PAGE  # noqa: E741
PB, BLK = 512, 1 << 15


def asked(name: str, machine: SyntheticMachine, rows: int, first: int = 0, **given: str) -> list[tuple[int, ...]]:
    """Return (kind, pfn, pages, stride) of some rows."""
    walker = WALKERS[name]
    part = walk(walker, machine, resolve(name, walker.parameters, given), Stream(1, name))
    columns = part.rows(first, rows)
    found = []
    for row in range(rows):
        cells = [int(columns["kind"][0][row]), int(columns["pfn"][0][row])]
        for column in ("nr_pages", "stride"):
            values, mask = columns.get(column, (None, None))
            cells.append(1 if values is None or (mask is not None and not mask[row]) else int(values[row]))
        found.append(tuple(cells))
    return found


def machine(kernel: str, ram: str = "4G+256M", **more: str) -> SyntheticMachine:
    return make_machine("plain", {"ram": ram, "kernel": kernel, **more})


BASE = 1 << 20  # pfn of 4 GiB


def test_every_preset_has_one_line() -> None:
    presets = [preset for line in KERNEL_LINES.values() for preset in line]
    assert sorted(presets) == sorted(n.removeprefix("v") for n, p in PRESETS.items() if not p.poison_only)
    assert line_of("6.1.192") == "6.1"


# What walk.md section 6 says about the lookup, by kernel: V pfn_valid, O pfn_to_online_page, - none.
LOOKUPS = {
    #                        4.18  4.19  5.1   5.3   5.4   5.10  5.11  5.12  6.1   6.12  7.2
    "compaction-migrate":   "VVO   VVO   VVO   VVO   VVO   VVO   VVO   VVO   VVO   VO    VO",
    "compaction-free":      "VVO   VVO   VVO   VVO   VVO   VVO   VVO   VVO   VVO   VO    VO",
    "compaction-reset":     "O     O     OOO   OOO   OOO   OOO   OOO   OOO   OOO   OOO   OOO",
    "pageblock-contiguity": "OV    OV    OV    OV    OV    OV    OV    OV    OV    OV    OV",
    "pagetypeinfo":         "O     O     O     O     O     O     O     O     O     O     O",
    "pagetypeinfo-mixed":   "V     V     V     V     O     O     O     O     O     O     O",
    "page-owner":           "V     V     V     V     V     V     V     V     V     V     V",
    "kpageflags":           "V     V     V     V     O     O     O     O     O     O     O",
    "page-idle":            "V     V     V     V     O     O     O     O     O     O     O",
    "kmemleak":             "V     V     O     O     O     O     O     O     O     O     O",
    "hibernation":          "V     V     VO    VO    VO    VO    VO    VO    VO    VO    VO",
    "split-huge-pages":     "-     -     -     -     -     -     -     -     O     O     O",
    "contiguous-alloc":     "O     O     O     O     O     O     O     O     O     O     O",
    "kcore":                "-     -     -     -     -     -     -     -     O     O     O",
    "damon":                "-     -     -     -     -     -     -     -     O     O     O",
    "damon-action":         "-     -     -     -     -     -     -     -     O     O     O",
    "zone-shrink":          "V     V     V     V     O     O     O     O     O     O     O",
    "zone-shrink-end":      "V     V     V     V     O     O     O     O     O     O     O",
    "shuffle":              "-     -     -     OO    OO    OO    OO    OO    OO    OO    OO",
    "error-injection":      "V     V     V     V     O     O     O     O     O     O     O",
}  # fmt: skip


@pytest.mark.parametrize("name", LOOKUPS)
def test_lookups_by_kernel(name: str) -> None:
    for line, expected in zip(KERNEL_LINES, LOOKUPS[name].split(), strict=True):
        if expected == "-":
            with pytest.raises(UsageError, match=rf"walker {name} asks nothing of a kernel {line} .*needed kernel="):
                asked(name, machine(line), 1)
        else:
            kinds = [row[0] for row in asked(name, machine(line), len(expected))]
            assert kinds == [V if letter == "V" else O for letter in expected], line


def test_compaction_scanners_meet() -> None:
    """One upwards, one downwards, a pageblock each by turns."""
    pages = (2 * BLK) // PB
    rows = asked("compaction", machine("7.2"), 2 * pages)
    starts = [pfn for kind, pfn, _, _ in rows if kind == O]
    ups, downs = starts[0::2], starts[1::2]
    assert ups == [BASE + k * PB for k in range(pages // 2)]
    assert downs == [BASE + (pages - 1 - k) * PB for k in range(pages // 2)]
    assert [pfn for kind, pfn, _, _ in rows if kind == V] == [start + PB - 1 for start in starts]


def test_one_cursor_resets_compaction_before_5_1() -> None:
    assert [row[1] for row in asked("compaction-reset", machine("4.19"), 3)] == [BASE, BASE + PB, BASE + 2 * PB]
    assert [row[1] for row in asked("compaction-reset", machine("5.1"), 4)] == [
        BASE, BASE, BASE + PB - 1, BASE + 2 * BLK - PB,
    ]  # fmt: skip


def test_isolation_and_offline() -> None:
    """The phases of one block: neighbours, edge, start, test, first page; the undoing of isolation; no scan since 6.1."""
    inner, every = (O, BASE + PB, 62, PB), (O, BASE, 64, PB)
    before = [(O, BASE - 1, 1, 1), (O, BASE + BLK, 1, 1)]
    edges = [(O, BASE + BLK - 1024, 1, 1), (O, BASE + BLK - PB, 1, 1)]
    phases = [inner, every, (O, BASE, 1, 1)]
    assert asked("isolation", machine("6.1"), 7) == [*before, edges[0], *phases, every]
    assert asked("isolation", machine("7.2"), 8) == [*before, *edges, *phases, every]
    assert asked("offline", machine("6.12"), 8) == [*before, *edges, *phases, (O, BASE + BLK - 1, 1, 1)]
    assert asked("offline", machine("5.12"), 4) == [every, (V, BASE, BLK, 1), every, (O, BASE + BLK, 64, PB)]


def test_kpageflags_ends_where_the_file_does() -> None:
    """At max_pfn up to 5.4, then at the end of its section; runs do not go beyond."""
    ram = "0x0+1M"  # 256 pages
    assert asked("kpageflags", machine("5.4", ram), 2) == [(O, 0, 256, 1), (O, 0, 256, 1)]
    rows = asked("kpageflags", machine("5.10", ram), BLK // 512 + 1)
    assert rows[-2:] == [(O, BLK - 512, 512, 1), (O, 0, 512, 1)]


def test_hibernation_goes_over_all_zones_twice() -> None:
    both = machine("6.1", "1M+1M,4G+1M")  # one zone each
    rows = asked("hibernation", both, 9, run="128")
    first = [(kind, pfn, 128, 1) for pfn in (256, 384) for kind in (V, O)]
    second = [(kind, pfn, 128, 1) for pfn in (BASE, BASE + 128) for kind in (V, O)]
    assert rows == [*first, *second, first[0]]


def test_zone_starts_are_kept() -> None:
    """The first pageblock of a zone that begins within it: asked from the start of the zone on."""
    assert asked("compaction-migrate", machine("6.12", "0x1000+4M"), 3) == [
        (V, 511, 1, 1),
        (O, 1, 1, 1),
        (V, 1023, 1, 1),
    ]
    last = asked("compaction-migrate", machine("6.12", "0x0+3M"), 4)[2:]
    assert last == [(V, 767, 1, 1), (O, 512, 1, 1)]


def test_contiguity_ends_at_the_first_hole() -> None:
    rows = asked("pageblock-contiguity", machine("6.1", "4G+128M,0x110000000+128M"), 2 * 65 + 1)
    stops = [pfn for kind, pfn, _, _ in rows if kind == O]
    assert stops == [*range(BASE, BASE + BLK + PB, PB), BASE]


def test_windows_of_contiguous_alloc_are_whole() -> None:
    rows = asked("contiguous-alloc", machine("6.1", "0x1000+128M"), 4, run="8192")
    assert rows == [(O, start, 8192, 1) for start in (8192, 16384, 24576, 8192)]
    with pytest.raises(UsageError, match="no range of 1,048,576 pages in a zone"):
        asked("contiguous-alloc", machine("6.1"), 1, run="1048576")


def test_zone_shrink_by_version() -> None:
    """By sections to 5.1, then by subsections; from above the last pfn of each."""
    assert [r[1] for r in asked("zone-shrink", machine("5.1"), 2)] == [BASE, BASE + BLK]
    assert [r[1] for r in asked("zone-shrink", machine("5.3"), 2)] == [BASE, BASE + 512]
    assert [r[1] for r in asked("zone-shrink-end", machine("6.1"), 2)] == [BASE + 2 * BLK - 1, BASE + 2 * BLK - 513]


def test_damon_asks_three_times() -> None:
    """Old addresses, the same again, new ones; each time upwards, one in each region."""
    count = 30
    rows = [row[1] for row in asked("damon", machine("7.2", "4G+1G"), 6 * count)]
    passes = [rows[at : at + count] for at in range(0, len(rows), count)]
    assert passes[0] == passes[1]
    assert passes[2] == passes[3] == passes[4]
    assert passes[0] != passes[2]
    assert all(one == sorted(one) and len(set(one)) == count for one in passes)
    assert all(BASE <= pfn < BASE + (1 << 18) for pfn in rows)


def test_damon_takes_the_largest_range_before_7_2() -> None:
    ram = "1M+1G,4G+2G"
    low = {k: min(row[1] for row in asked("damon", machine(k, ram), 90)) for k in ("6.1", "7.2")}
    assert low["6.1"] >= BASE > low["7.2"]


def test_damon_needs_pairs_of_regions() -> None:
    with pytest.raises(UsageError, match="regions=7: needed an even number up to 13106, as 6"):
        asked("damon", machine("7.2"), 1, regions="7")


def test_shuffle_takes_partners_from_the_zone() -> None:
    rows = asked("shuffle", machine("6.1"), 100)
    assert [row[1] for row in rows[0::2]] == [BASE + (k % 64) * 1024 for k in range(50)]
    partners = [row[1] for row in rows[1::2]]
    assert all(BASE <= pfn < BASE + 2 * BLK for pfn in partners)
    assert len(set(partners)) > 40
    assert asked("shuffle", machine("6.1"), 33, first=7) == rows[7:40]


def test_zones_are_tested_where_they_can_have_holes() -> None:
    with pytest.raises(UsageError, match="asks nothing on x86_64; needed aarch64"):
        asked("test-zone", machine("5.4"), 1)
    arm = make_machine("arm64", {"kernel": "5.4"})
    assert [row[0] for row in asked("test-zone", arm, 2)] == [V, V]
