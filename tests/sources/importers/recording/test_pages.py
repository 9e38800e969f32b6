"""The page of a poison call: from kpageflags, the kind of victim, and what the call did."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from replay.sources.importers.recording.pages import is_readable, read_page
from replay.trace.poison import MappingClass, PageFlag, PageKind
from replay.trace.schema import EventKind
from tests.sources.importers.recording.build import FORMAT, Lab, Row

PFN = 0x1005
F = PageFlag
USER = F.ANON | F.MAPPED
WRITTEN = F.PTE_DIRTY | F.PTE_WRITE


@pytest.mark.parametrize(
    ("flags", "kind", "page_flags", "order"),
    [
        (0x2000005828, PageKind.LRU, F.ANON | F.MAPPED, 0),  # anonymous
        (0x4028, PageKind.LRU, 0, 0),  # clean page of a file
        (0x4938, PageKind.LRU, F.DIRTY | F.WRITEBACK | F.MAPPED, 0),
        (0x7828, PageKind.LRU, F.ANON | F.MAPPED | F.SWAPCACHE, 0),
        (0x6028, PageKind.LRU, 0, 0),  # bit 13 means something else without ANON
        (0x205828, PageKind.LRU, F.ANON | F.MAPPED | F.KSM, 0),
        (0x415828, PageKind.LRU, F.ANON | F.MAPPED | F.LARGE, 9),
        (0x44028, PageKind.LRU, F.UNEVICTABLE, 0),
        (0x200044028, PageKind.LRU, 0, 0),  # mlocked
        (0x8, PageKind.LRU, 0, 0),  # on its way to the LRU
        (0x80008, PageKind.UNKNOWN, 0, 0),  # taken off by an earlier call
        (0x8500C, PageKind.LRU, F.ANON, 0),
        (0x8400C, PageKind.UNKNOWN, 0, 0),
        (0x800, PageKind.KERNEL, 0, 0),  # mapped, and never a user page
        (0x400, PageKind.BUDDY, 0, 0),
        (0x80, PageKind.SLAB, 0, 0),
        (0x8080, PageKind.SLAB_COMPOUND, 0, 0),
        (0x10080, PageKind.SLAB_COMPOUND, 0, 0),
        (0x4000000, PageKind.PAGE_TABLE, 0, 0),
        (0x800000, PageKind.OFFLINE, 0, 0),
        (0x1410000, PageKind.HUGE_ZERO, 0, 9),
        (0x1000000, PageKind.RESERVED, 0, 0),  # zero page
        (0x100000000, PageKind.RESERVED, 0, 0),
        (0x28808, PageKind.HUGE, F.MAPPED | F.TAIL, 9),
        (0x21800, PageKind.HUGE, F.MAPPED | F.ANON | F.TAIL, 9),
        (0x20000, PageKind.HUGE, F.HUGE_FREE | F.TAIL, 9),
        (0x0, PageKind.UNKNOWN, 0, 0),
        (0x10000, PageKind.UNKNOWN, 0, 0),
    ],
)
def test_flags(flags: int, kind: PageKind, page_flags: int, order: int) -> None:
    view = read_page(flags, 5)
    assert (view.kind, view.flags, view.order) == (kind, page_flags, order)
    assert view.compound == (flags == 0x10000)
    assert view.poisoned == bool(flags & 0x80000)


def test_the_head_of_a_hugetlb_page() -> None:
    assert read_page(0x20000, 0).flags == F.HUGE_FREE


def test_readable() -> None:
    assert [is_readable(flags) for flags in (None, 1 << 20, 0, 0x400)] == [False, False, True, True]


def described(
    tmp_path: Path,
    name: str = "memory_failure",
    inside: Callable[[Lab], None] | None = None,
    ret: int = 0,
    **given: Any,
) -> tuple[Row, Row]:
    """One call of a victim: its PAGE_STATE row, and its own."""
    lab = Lab(tmp_path, kernel=given.pop("kernel", "6.1.192"))
    lab.files["memory_failure_event.format"] = FORMAT
    lab.files["dmesg.txt"] = given.pop("log", "")
    lab.victim(**given)
    lab.mark("VICTIM id=1 begin kind=x")
    pfn = int(given.get("pfn", hex(PFN)), 16)
    lab.poison(name, pfn, flags="0x0", ret=ret, inside=(lambda: inside(lab)) if inside else None)
    lab.mark("VICTIM id=1 end")
    state, call = lab.rows(EventKind.PAGE_STATE, EventKind[name.upper()])
    assert state["row"] < call["row"]
    return state, call


@pytest.mark.parametrize(
    ("kind", "flags", "page_flags", "mapping", "pins"),
    [
        ("anon", 0x5828, USER | WRITTEN, 0, 0),
        ("anon-mlocked", 0x45828, USER | WRITTEN, 0, 0),
        ("anon-pinned", 0x5828, USER | WRITTEN, 0, 1),
        ("anon-swapcache", 0x7828, USER | F.SWAPCACHE, 0, 0),
        ("anon-swapcache-dirty", 0x7828, USER | F.SWAPCACHE | WRITTEN, 0, 0),
        ("anon", 0x1008, F.ANON, 0, 0),  # not mapped
        ("shmem", 0x4838, F.DIRTY | F.MAPPED | WRITTEN, MappingClass.SHMEM, 0),
        ("tmpfs-file", 0x4828, F.MAPPED, MappingClass.SHMEM, 0),
        ("tmpfs-dirty", 0x4838, F.DIRTY | F.MAPPED | WRITTEN, MappingClass.SHMEM, 0),
        ("shmem-thp", 0x414828, F.LARGE | F.DIRTY | F.MAPPED | WRITTEN, MappingClass.SHMEM, 0),
        ("file-clean", 0x828, F.MAPPED, 0, 0),
        ("file-dirty", 0x828, F.MAPPED | WRITTEN, 0, 0),
        ("file-mlocked", 0x40828, F.MAPPED, 0, 0),
        ("file-unmapped", 0x28, F.EVICTABLE, 0, 0),
    ],
)
def test_what_kpageflags_does_not_show(
    tmp_path: Path, kind: str, flags: int, page_flags: int, mapping: int, pins: int
) -> None:
    state, _ = described(tmp_path, kind=kind, kpageflags_before=hex(flags))
    assert (state["pfn"], state["nr_pages"], state["page_kind"]) == (PFN, 1, PageKind.LRU)
    assert (state.get("page_flags", 0), state.get("mapping", 0), state.get("pins", 0)) == (page_flags, mapping, pins)
    assert "refs" not in state


def test_a_hugetlb_page_is_described_as_a_whole(tmp_path: Path) -> None:
    state, call = described(tmp_path, kind="hugetlb-anon", kpageflags_before="0x20800", kpageflags_after="0x20800")
    assert (state["pfn"], state["nr_pages"], state["order"], state["page_kind"]) == (0x1000, 512, 9, PageKind.HUGE)
    assert state["page_flags"] == USER | F.TAIL | WRITTEN
    assert state["mapping"] == MappingClass.HUGETLB
    assert "recorded_hwpoison" not in call  # the mark may be on the head alone


def reference(ret: int) -> Callable[[Lab], None]:
    return lambda lab: lab.leave("get_hwpoison_page", 1, ret=ret)


def take_off(lab: Lab) -> None:
    lab.leave("take_page_off_buddy", 1, ret=1)


@pytest.mark.parametrize(
    ("kernel", "flags", "inside", "kind"),
    [
        ("6.1.192", 0x0, take_off, PageKind.PCP),
        ("6.1.192", 0x1008, take_off, PageKind.PCP),  # freed, and still with the flags of its last use
        ("6.1.192", 0x400, take_off, PageKind.BUDDY),
        ("6.1.192", 0x20000, take_off, PageKind.HUGE),
        ("6.1.192", 0x0, reference(-5), PageKind.KERNEL),
        ("6.1.192", 0x400, reference(-5), PageKind.KERNEL),  # allocated in between
        ("6.1.192", 0x5828, reference(-5), PageKind.ISOLATED),
        ("6.1.192", 0x80, reference(-5), PageKind.SLAB),
        ("6.1.192", 0x10000, None, PageKind.KERNEL),
        ("6.1.192", 0x80000, None, PageKind.KERNEL),
        ("5.10.223", 0x10000, None, PageKind.SLAB_COMPOUND),
        ("5.10.223", 0x0, reference(0), PageKind.KERNEL_TAIL),
        ("5.10.223", 0x0, reference(1), PageKind.KERNEL),
        ("5.10.223", 0x100000000, reference(0), PageKind.KERNEL_TAIL),
        ("5.10.223", 0x100000000, reference(1), PageKind.RESERVED),
        ("5.10.223", 0x1008, reference(0), PageKind.PCP),
        ("5.10.223", 0x414828, reference(0), PageKind.LRU),
    ],
)
def test_what_the_call_tells(
    tmp_path: Path, kernel: str, flags: int, inside: Callable[[Lab], None] | None, kind: PageKind
) -> None:
    state, _ = described(
        tmp_path, inside=inside, kernel=kernel, action="raw", kind="x", kpageflags_before=hex(flags), pids=()
    )
    assert state["page_kind"] == kind


def test_pins_from_the_log(tmp_path: Path) -> None:
    log = f"[ 1.0] Memory failure: {PFN:#x}: dirty LRU page still referenced by 1 users\n"
    state, call = described(tmp_path, inside=lambda lab: lab.action(PFN, "dirty LRU page", "Failed"), ret=-16, log=log)
    assert (state["pins"], call["recorded_type"], call["recorded_result"]) == (1, 13, 1)


def test_migration_from_the_log(tmp_path: Path) -> None:
    log = f"[ 1.0] soft offline: {PFN:#x}: page migration failed 1, type 17ffff(x)\n"
    _, call = described(tmp_path, "soft_offline_page", ret=-16, log=log)
    assert (call["value"], call["recorded_type"]) == (1, 255)
    _, call = described(tmp_path, "soft_offline_page", ret=0, log=log)
    assert "value" not in call


@pytest.mark.parametrize(
    ("before", "after", "given", "hwpoison"),
    [
        ("0x5828", "0x80000", 0, 1),
        ("0x5828", "0x100000", 0, None),
        ("0x5828", None, 0, None),
        ("0x85828", "0x5828", F.POISON_GIVEN | F.HWPOISON, 0),
    ],
)
def test_the_mark(tmp_path: Path, before: str, after: str | None, given: int, hwpoison: int | None) -> None:
    state, call = described(tmp_path, kpageflags_before=before, kpageflags_after=after)
    assert state["page_flags"] & ~(USER | WRITTEN) == given
    assert call.get("recorded_hwpoison") == hwpoison


def test_zero_is_no_page_where_the_lookup_says_so(tmp_path: Path) -> None:
    for page, expected in ((True, 0), (False, None)):
        lab = Lab(tmp_path)
        lab.victim(action="raw", kpageflags_before="0x0", kpageflags_after="0x0")
        lab.mark("VICTIM id=1 begin raw")
        lab.poison("soft_offline_page", PFN, ret=-5, flags="0x0", inside=partial(lab.online, PFN, page, 1))
        lab.mark("VICTIM id=1 end")
        rows = lab.rows(EventKind.PAGE_STATE, EventKind.SOFT_OFFLINE_PAGE)
        assert len(rows) == 1 + page
        assert rows[-1].get("recorded_hwpoison") == expected


def test_a_mark_that_changed_by_itself(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    for number, (before, after) in enumerate((("0x400", "0x80400"), ("0x80400", "0x80400"), ("0x400", "0x400")), 1):
        lab.victim(number, action="raw", kpageflags_before=before, kpageflags_after=after)
        lab.mark(f"VICTIM id={number} begin raw")
        lab.poison("memory_failure", PFN, flags="0x0")
        lab.mark(f"VICTIM id={number} end")
    states = lab.rows(EventKind.PAGE_STATE)
    assert [state.get("page_flags", 0) for state in states] == [0, 0, F.POISON_GIVEN]
    assert "the HWPoison flag of the page of 1 of 3 poison calls was changed by something else before" in (
        lab.read()[2].notes
    )
