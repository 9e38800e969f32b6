"""What the recording tool knew about a page beyond kpageflags, what it did not do itself, and pagemaps of several ranges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from replay.errors import InputError
from replay.sources.importers.recording.victims import Facts, Filter, Pool, parse_victims
from replay.trace.poison import MappingClass, PageFlag, PageKind
from replay.trace.schema import AddFlags, EventKind
from tests.sources.importers.recording.build import VICTIM, Lab

PFN = 0x1005
HUGE = {"kpageflags_before": "0x20000"}
POOL = {"pages": 512, "free": 3, "reserved": 1}


def page(tmp_path: Path, **given: Any) -> dict[str, int]:
    """The PAGE_STATE row of a memory_failure call on a victim."""
    lab = Lab(tmp_path)
    lab.files["dmesg.txt"] = given.pop("log", "")
    ret, task = given.pop("ret", 0), given.pop("task", 1)
    lab.victim(**given)
    lab.mark("VICTIM id=1 begin kind=anon")
    lab.poison("memory_failure", PFN, task, ret=ret, flags="0x0")
    lab.mark("VICTIM id=1 end")
    rows = lab.rows(EventKind.PAGE_STATE)
    return rows[0] if rows else {}


def test_older_recordings_have_no_facts() -> None:
    assert parse_victims(json.dumps(VICTIM | {"id": 1}), "f")[0].facts == Facts()


def test_all_facts_of_a_line() -> None:
    given = {
        "page_before": {"flags": "0x1", "refcount": 0, "head_refcount": 2}, "page_after": None,
        "page_after_exit": {"refcount": -1}, "filter": {"mask": "0x1000", "value": "0x0"}, "hugetlb": POOL, "pins": 1,
        "mapping": "none", "owner_ret": -117, "inject": "machine check",
    }  # fmt: skip
    facts = parse_victims(json.dumps(VICTIM | {"id": 1} | given), "f")[0].facts
    assert facts == Facts(
        {"before": 2, "after_exit": 0}, Filter(0x1000, 0), Pool(512, 3, 1), 1, MappingClass.NONE, -117, by_machine=True
    )


@pytest.mark.parametrize("bad", [{"mapping": "x"}, {"owner_ret": 5}, {"filter": {}}, {"hugetlb": 1}, {"pins": -1}])
def test_damaged_facts(bad) -> None:
    with pytest.raises(InputError, match="victims:1"):
        parse_victims(json.dumps(VICTIM | {"id": 1} | bad), "victims")


@pytest.mark.parametrize(("mask", "value", "filtered"), [("0x1000", "0x1000", False), ("0x1000", "0x0", True)])
def test_the_filter_compares_kpageflags(tmp_path, mask, value, filtered) -> None:
    """The page is anonymous (bit 12)."""
    row = page(tmp_path, filter={"mask": mask, "value": value})
    assert bool(row["page_flags"] & PageFlag.FILTERED) is filtered


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ({}, PageFlag.HUGE_FREE),  # not mapped, and nothing else is known
        ({"page_before": {"refcount": 0, "head_refcount": 2}}, PageFlag(0)),  # still in a file
        ({"page_before": {"refcount": 0}, "hugetlb": POOL}, PageFlag.HUGE_FREE),
        ({"page_before": {"refcount": 0}, "hugetlb": POOL | {"reserved": 3}},
         PageFlag.HUGE_FREE | PageFlag.NOT_DISSOLVABLE),
        ({"page_before": {"refcount": 1}, "hugetlb": POOL | {"reserved": 3}}, PageFlag(0)),
        ({"page_before": {"refcount": 1}, "hugetlb": POOL | {"filling": False}}, PageFlag(0)),
        ({"page_before": {"refcount": 1}, "hugetlb": POOL | {"filling": True}}, PageFlag.HUGE_BUSY),
        ({"page_before": {"refcount": 0}, "hugetlb": POOL | {"filling": True}}, PageFlag.HUGE_FREE),
    ],
)  # fmt: skip
def test_a_hugetlb_page_is_free_by_its_references_and_promised_by_its_pool(tmp_path, given, flags) -> None:
    asked = PageFlag.HUGE_FREE | PageFlag.HUGE_BUSY | PageFlag.NOT_DISSOLVABLE | PageFlag.PUD
    row = page(tmp_path, kind="hugetlb-unmapped", **HUGE, **given)
    assert PageFlag(row["page_flags"]) & asked == flags
    assert (row["pfn"], row["nr_pages"], row["order"]) == (0x1000, 512, 9)


def test_a_hugetlb_page_of_one_gibibyte(tmp_path) -> None:
    row = page(tmp_path, kind="hugetlb1g-anon", **HUGE, hugetlb=POOL | {"pages": 1 << 18})
    assert row["page_flags"] & PageFlag.PUD
    assert (row["pfn"], row["nr_pages"], row["order"]) == (0, 1 << 18, 18)


def test_pins_mapping_and_owner(tmp_path) -> None:
    row = page(tmp_path, kind="bdev-clean", pins=1, mapping="block-device", owner_ret=-117)
    assert (row["pins"], row["mapping"], row["owner_ret"]) == (1, MappingClass.NO_OPERATION, -117)


def test_the_log_says_that_unmapping_failed(tmp_path) -> None:
    line = f"[   12.3] Memory failure: {PFN:#x}: failed to unmap page (folio mapcount=2)\n"
    assert page(tmp_path / "a", log=line, ret=-16)["page_flags"] & PageFlag.UNMAP_FAILS
    assert not page(tmp_path / "b", log=line)["page_flags"] & PageFlag.UNMAP_FAILS, "the call succeeded"


@pytest.mark.parametrize(("inject", "kind"), [("machine check", PageKind.LRU), ("sysfs", None)])
def test_a_machine_check_is_handled_by_any_task(tmp_path, inject, kind) -> None:
    assert page(tmp_path, task=777, inject=inject).get("page_kind") == kind


@pytest.mark.parametrize(("phase", "refs"), [("before", 1), ("after_exit", 2)])
def test_references_that_were_read_go_before_what_is_deduced(tmp_path, phase, refs) -> None:
    """unpoison looks at the page after the processes have gone."""
    lab = Lab(tmp_path)
    lab.victim(**{f"page_{phase}": {"refcount": 2}}, kpageflags_after_exit="0x80000")
    for mark in ("begin kind=anon", "unpoison begin pfn=0x1005"):
        lab.mark(f"VICTIM id=1 {mark}")
    lab.poison("unpoison_memory", PFN, ret=-16)
    lab.mark("VICTIM id=1 unpoison end ret=-16")
    lab.mark("VICTIM id=1 end")
    (row,) = lab.rows(EventKind.PAGE_STATE)
    assert row.get("refs", 1) == refs


def test_a_pagemap_of_several_ranges(tmp_path) -> None:
    """The further ranges stand before the call, and a lookup in any of them may have come before the index was stored."""
    lab = Lab(tmp_path)
    more = {"nr_range": 2, "range1_start": hex(0x120000 << 12), "range1_end": hex((0x128000 << 12) - 1)}
    lab.map_begin(0xA0, 0x110000, 0x118000, **more)
    lab.pagemap(0x120010, 0xA0, task=300)
    lab.add(0x110000, 0x118000)
    lab.add(0x120000, 0x128000)
    lab.leave("memremap_pages", 200, ret="0xff11000000000000")
    rows = lab.rows(EventKind.PGMAP_RANGE, EventKind.MEMREMAP_PAGES)
    assert [(r["kind"], r.get("phase", 0), r.get("pfn"), r.get("nr_pages")) for r in rows[:2]] == [
        (EventKind.PGMAP_RANGE, 0, 0x120000, 0x8000),
        (EventKind.MEMREMAP_PAGES, 1, 0x110000, 0x8000),
    ]
    assert [r["pfn"] for r in rows if r.get("phase") == 2] == [0x110000, 0x120000]
    (lookup,) = [r for r in lab.rows(EventKind.GET_DEV_PAGEMAP) if r["task"] == 300]
    assert lookup["window"] > 0


def test_each_range_is_stored_after_its_own_checks(tmp_path) -> None:
    """What asks about a further range before that comes before the call; what asks afterwards, after it."""
    lab = Lab(tmp_path)
    more = {"nr_range": 2, "range1_start": hex(0x120000 << 12), "range1_end": hex((0x128000 << 12) - 1)}
    lab.map_begin(0xA0, 0x110000, 0x118000, **more)
    lab.add(0x110000, 0x118000)
    lab.pagemap(0x110000, 0xA0, task=300)
    lab.enter("move_pfn_range_to_zone", 200, zone="0xff01", pfn="0x110000", nr_pages="0x8000")
    lab.pagemap(0x120010, 0, task=301)
    for pfn in (0x120000, 0x127FFF):
        lab.pagemap(pfn, 0, task=200)
    lab.pagemap(0x120010, 0, task=302)
    lab.add(0x120000, 0x128000)
    lab.pagemap(0x120010, 0xA0, task=303)
    lab.enter("move_pfn_range_to_zone", 200, zone="0xff01", pfn="0x120000", nr_pages="0x8000")
    lab.leave("memremap_pages", 200, ret="0xff11000000000000")
    rows = lab.rows()
    (begin,) = [r["row"] for r in rows if r["kind"] == EventKind.MEMREMAP_PAGES and r.get("phase") == 1]
    asked = {r["task"]: r for r in rows if r["kind"] == EventKind.GET_DEV_PAGEMAP}
    checks = [r for r in rows if r["kind"] == EventKind.GET_DEV_PAGEMAP and r["task"] == 200]
    assert [(r["row"] < begin, r["window"]) for r in checks] == [(True, 0)] * len(checks)
    assert [asked[task]["row"] < begin for task in (300, 301, 302, 303)] == [False, True, True, False]
    assert [asked[task]["window"] > 0 for task in (300, 301, 302, 303)] == [False, False, True, False]


def test_more_ranges_than_the_probe_fetches(tmp_path) -> None:
    lab = Lab(tmp_path)
    lab.map_begin(0xA0, 0x110000, 0x118000, nr_range=2)
    lab.leave("memremap_pages", 200, ret=0)
    with pytest.raises(InputError, match="a pagemap of 2 ranges; needed one to 1"):
        lab.read()


def test_memory_that_holds_its_own_memmap(tmp_path) -> None:
    """The request is in the flags of the call, the parameter of the kernel in vmstate.txt."""
    lab = Lab(tmp_path)
    lab.files["vmstate.txt"] = "== start uptime=1.0\nmemory_hotplug.memmap_on_memory=Y\n"
    for flags in ("0x2", "0x0"):
        lab.enter(
            "add_memory_resource", 200, nid=0, start=hex(1 << 33), end=hex((1 << 33) + (128 << 20) - 1), mhp_flags=flags
        )
        lab.leave("add_memory_resource", 200, ret=-22)
    rows, machine, _, _ = lab.read()
    assert [r["flags"] for r in rows if r["kind"] == EventKind.ADD_MEMORY and "flags" in r] == [
        AddFlags.MEMMAP_ON_MEMORY, 0,
    ]  # fmt: skip
    assert machine.config == {"memmap_on_memory": True}


@pytest.mark.parametrize(("probed", "rows"), [(True, 1), (False, 0)])
def test_pfn_valid_is_not_deduced_from_a_probe_that_was_not_armed(tmp_path, probed, rows) -> None:
    """memory_failure returned -ENXIO without asking for a pagemap: that says pfn_valid was 0, if asking would be seen."""
    others = "memory_failure soft_offline_page unpoison_memory"
    lab = Lab(tmp_path, probes=f"{others} get_dev_pagemap" if probed else others)
    lab.poison("memory_failure", 0x200000, ret=-6, flags="0x0")
    assert len(lab.rows(EventKind.PFN_VALID)) == rows
