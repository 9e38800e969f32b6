"""Processes of victims, the signals they got, and what touching the page showed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replay.trace.poison import CallContext, PageFlag, PageKind, TaskFlag
from replay.trace.schema import EventKind as K
from tests.sources.importers.recording.build import Lab, Row

PFN, VADDR = 0x1005, 0x7F0000005000
DAX, MAP = 0x110205, 0xFF00_1000
EARLY = TaskFlag.MAIN_PROCESS | TaskFlag.MAIN_EARLY | TaskFlag.ANY_EARLY


def poisoned(tmp_path: Path, *events: Any, pfn: int = PFN, **given: Any) -> Lab:
    """A victim that is poisoned by the tool, touched, and gone; each event is written where its name says."""
    lab = Lab(tmp_path)
    lab.victim(**{"pfn": hex(pfn)} | given)
    lab.mark("VICTIM id=1 begin kind=x")
    lab.poison(
        "memory_failure", pfn, flags="0x0", inside=lambda: [write(lab) for where, write in events if where == "in"]
    )
    lab.mark("VICTIM id=1 injected ret=0 errno=0")
    lab.mark("VICTIM id=1 touch")
    for where, write in events:
        if where == "touch":
            write(lab)
    lab.mark("VICTIM id=1 unpoison begin pfn=0x1005")
    lab.mark("VICTIM id=1 end")
    return lab


@pytest.mark.parametrize(
    ("policy", "handler", "flags"),
    [
        ("late", True, [TaskFlag.MAIN_PROCESS | TaskFlag.HANDLER] * 3),
        ("early", False, [EARLY] * 3),
        ("default", False, [TaskFlag.HAS_DEFAULT] * 3),
        ("even=late,odd=early", False, [TaskFlag.MAIN_PROCESS, EARLY, TaskFlag.MAIN_PROCESS]),
    ],
)
def test_policies(tmp_path: Path, policy: str, handler: bool, flags: list[TaskFlag]) -> None:
    lab = poisoned(tmp_path, pids=(200, 201, 202), early_kill_prctl=policy, sigbus_handler=handler)
    rows = lab.rows(K.TASK_STATE, K.MEMORY_FAILURE)
    assert [row["kind"] for row in rows] == [K.TASK_STATE] * 3 + [K.MEMORY_FAILURE] + [K.TASK_STATE] * 3
    assert [(row["task"], row["flags"], row["value"]) for row in rows[:3]] == list(
        zip((200, 201, 202), flags, (200, 201, 202), strict=True)
    )
    assert [(row["task"], row["flags"]) for row in rows[4:]] == [(pid, TaskFlag.EXITED) for pid in (200, 201, 202)]


def maps(lab: Lab) -> list[Row]:
    return [{k: row[k] for k in ("pfn", "nr_pages", "task", "vaddr", "map_shift")} for row in lab.rows(K.MAP_PAGES)]


SMALL = {"pfn": PFN, "nr_pages": 1, "vaddr": VADDR, "map_shift": 12}
LARGE = {"pfn": 0x1000, "nr_pages": 512, "vaddr": VADDR - 0x5000, "map_shift": 21}


@pytest.mark.parametrize(
    ("kind", "flags", "expected"),
    [
        ("anon", "0x5828", SMALL),
        ("anon-thp", "0x415828", LARGE),
        ("hugetlb-shared", "0x20800", LARGE),
        ("hugezero", "0x1400000", LARGE),
        ("ksm", "0x205828", SMALL | {"vaddr": VADDR + 10 * 4096}),  # the last of 16 pages
    ],
)
def test_mappings(tmp_path: Path, kind: str, flags: str, expected: Row) -> None:
    lab = poisoned(tmp_path, kind=kind, kpageflags_before=flags, pids=(200, 201))
    assert maps(lab) == [expected | {"task": 200}, expected | {"task": 201}]


def test_an_address_that_does_not_fit_is_mapped_by_pages(tmp_path: Path) -> None:
    lab = poisoned(tmp_path, kind="anon-thp", kpageflags_before="0x415828", vaddr=hex(VADDR + 0x1000))
    assert maps(lab) == [SMALL | {"task": 200, "vaddr": VADDR + 0x1000}]


@pytest.mark.parametrize(
    ("given", "tasks"),
    [
        ({"kind": "file-unmapped"}, []),
        ({"kind": "anon", "freed_before_inject": True}, []),
        ({"kind": "anon-mlocked"}, [200]),
        ({"kind": "shmem-mlocked"}, [200, 201]),
    ],
)
def test_who_maps(tmp_path: Path, given: dict[str, Any], tasks: list[int]) -> None:
    lab = poisoned(tmp_path, pids=(200, 201), **given)
    assert [row["task"] for row in lab.rows(K.MAP_PAGES)] == tasks
    assert bool(lab.rows(K.TASK_STATE)) is not given.get("freed_before_inject", False)


def dax(tmp_path: Path, align: int, kind: str, path: str = "/dev/dax0.0") -> Lab:
    """A victim of a page that a pagemap holds; kpageflags has no entry for it."""
    lab = Lab(tmp_path)
    lab.mark("STEP 01 begin ns")
    lab.map(MAP, 0x110000, 0x118000, flags="0x1", altmap_reserve=2, altmap_free="0x1fe")
    lab.mark("STEP 01 end ns rc=0")
    other = "[/sys/bus/nd/devices/dax0.0]\nresource=0x110000000\nalign=7\n[/sys/bus/dax/devices/dax1.0]\nalign=7\n"
    device = f"[/sys/bus/dax/devices/dax0.0]\nresource=0x110200000\nalign={align}\n"
    lab.files["dax-01-ns.txt"] = f"{other}{device}[ndctl list]\nalign=9\n"
    lab.victim(kind=kind, path=path, pfn=hex(DAX), kpageflags_before=None, kpageflags_after=None)
    lab.mark("VICTIM id=1 begin kind=x")
    lab.poison("memory_failure", DAX, flags="0x0")
    lab.mark("VICTIM id=1 end")
    for number, pfn in enumerate((0x110204, 0x110400, 0x110001), 2):
        lab.victim(number, action="raw", pfn=hex(pfn), kpageflags_before=None, kpageflags_after="0x100000")
        lab.mark(f"VICTIM id={number} begin raw")
        lab.poison("memory_failure", pfn, flags="0x0", ret=-16)
        lab.mark(f"VICTIM id={number} end")
    return lab


@pytest.mark.parametrize(
    ("kind", "align", "shift", "entries"),
    [
        ("devdax", 2 << 20, 21, (True, True, False, False)),
        ("devdax", 4096, 12, (True, False, False, False)),
        ("fsdax-pmd", 0, 21, (True, False, False, False)),
        ("fsdax-pte", 0, 12, (True, False, False, False)),
    ],
)
def test_dax(tmp_path: Path, kind: str, align: int, shift: int, entries: tuple[bool, ...]) -> None:
    """A page has an entry when a process has touched it; the pages of the metadata are not described."""
    lab = dax(tmp_path, align, kind)
    assert [row["map_shift"] for row in lab.rows(K.MAP_PAGES)] == [shift]
    assert lab.rows(K.MEMREMAP_PAGES)[0].get("vmemmap_shift", 0) == (9 if align > 4096 else 0)
    rows = lab.rows(K.PAGE_STATE)
    assert [not row.get("page_flags", 0) & PageFlag.NO_DAX_ENTRY for row in rows] == list(entries)
    assert [row["page_kind"] for row in rows] == [PageKind.RESERVED] * 3 + [PageKind.UNKNOWN]
    assert all("recorded_hwpoison" not in row for row in lab.rows(K.MEMORY_FAILURE))


def test_the_mapping_pointer_of_a_dax_page_stays(tmp_path: Path) -> None:
    lab = dax(tmp_path, 4096, "devdax")
    for number, pfn in ((5, DAX), (6, DAX + 1)):
        lab.victim(number, action="raw", pfn=hex(pfn), kpageflags_before="0x100000")
        lab.mark(f"VICTIM id={number} begin raw")
        lab.poison("unpoison_memory", pfn)
        lab.mark(f"VICTIM id={number} end")
    states = lab.rows(K.PAGE_STATE)[-2:]
    assert [state["page_flags"] for state in states] == [PageFlag.MAPPING_SET, PageFlag.NO_DAX_ENTRY]


def test_the_calling_process_holds_the_page(tmp_path: Path) -> None:
    for pagemap, context in ((1 << 63 | PFN, CallContext.HAS_ENTRY), (PFN, None), (1 << 63 | 1, None)):
        lab = Lab(tmp_path)
        lab.victim(pagemap=hex(pagemap))
        lab.mark("VICTIM id=1 begin kind=x")
        lab.poison("memory_failure", PFN, 200, flags="0x23")
        lab.mark("VICTIM id=1 end")
        (row,) = lab.rows(K.MEMORY_FAILURE)
        assert row.get("context") == context


def shown(row: Row) -> tuple[int | None, ...]:
    return tuple(row.get(k) for k in ("task", "signal", "recorded_code", "recorded_addr", "recorded_lsb"))


def test_signals_and_touches(tmp_path: Path) -> None:
    """A signal of the call may have been delivered so late that the handler filed it under the touch."""
    seen = [("touch", 5, VADDR, 12), ("touch", 4, VADDR + 1, 12)]
    lab = poisoned(
        tmp_path, ("in", lambda lab: lab.signal(200, 5)), ("touch", lambda lab: lab.signal(200, 4, task=200)),
        ("touch", lambda lab: lab.signal(999, 4)), sigbus=seen, pids=(200, 201),
    )  # fmt: skip
    call, early, access, other, late = lab.rows(K.MEMORY_FAILURE, K.SIGNAL, K.ACCESS)
    assert (early["call"], shown(early)) == (call["call"], (200, 7, 5, VADDR, 12))
    assert [row["kind"] for row in (access, other)] == [K.ACCESS] * 2
    assert [(row["task"], row["pfn"], row["vaddr"]) for row in (access, other)] == [
        (200, PFN, VADDR),
        (201, PFN, VADDR),
    ]
    assert (late["call"], shown(late)) == (access["call"], (200, 7, 4, VADDR + 1, 12))
    assert len({call["call"], access["call"], other["call"]}) == 3
    assert lab.read()[2].unused == {"signal_generate": 1}


def test_a_signal_that_no_handler_saw(tmp_path: Path) -> None:
    lab = poisoned(tmp_path, ("in", lambda lab: lab.signal(200, 128, sig=9)))
    assert [shown(row) for row in lab.rows(K.SIGNAL)] == [(200, 9, 128, None, None)]


def test_signals_without_the_tracepoint(tmp_path: Path) -> None:
    lab = poisoned(tmp_path, sigbus=[("inject", 4, VADDR, 12), ("touch", 2, VADDR, 0)])
    first, second = lab.rows(K.SIGNAL)
    call, access = lab.rows(K.MEMORY_FAILURE, K.ACCESS)
    assert (first["call"], shown(first)) == (call["call"], (200, 7, 4, VADDR, 12))
    assert (second["call"], shown(second)) == (access["call"], (200, 7, 2, VADDR, 0))


def test_who_died_touches_nothing(tmp_path: Path) -> None:
    lab = poisoned(tmp_path)
    text = lab.files["victims.jsonl"].replace('"died_during_inject": false', '"died_during_inject": true')
    lab.files["victims.jsonl"] = text
    rows = lab.rows(K.MEMORY_FAILURE, K.TASK_STATE, K.ACCESS)
    assert [row["kind"] for row in rows] == [K.TASK_STATE, K.MEMORY_FAILURE, K.TASK_STATE]


@pytest.mark.parametrize(("late", "touches"), [(False, []), (True, [PFN])])
def test_who_is_dying_touches_nothing(tmp_path: Path, late: bool, touches: list[int]) -> None:
    """A process that the injection kills may take a while; only a signal at the touch says that it got there."""
    events = [("in", lambda lab: lab.signal(200, 5))]
    events += [("touch", lambda lab: lab.signal(200, 4, task=200))] if late else []
    lab = poisoned(tmp_path, *events, touch="none", sigbus_handler=False)
    assert [row["pfn"] for row in lab.rows(K.ACCESS)] == touches
