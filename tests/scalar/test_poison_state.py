"""State rows, what calls leave behind, loops, counters of nodes, and the outcome columns of poison rows."""

from __future__ import annotations

from typing import Any

import pytest

from replay.scalar import PoisonResult, ScalarMachine, replay_poison_rows, replay_rows
from replay.trace.header import BootRange, MachineDescription
from replay.trace.outcomes import OUTCOME_COLUMNS
from replay.trace.poison import (
    CallContext,
    Counter,
    MapFlag,
    MappingClass,
    MfFlag,
    PageFlag,
    PageKind,
    SysctlKey,
    TaskFlag,
)
from replay.trace.schema import EventKind
from tests.scalar.build import picked, row
from tests.scalar.poison_doc import FEATURES, LAYOUT, RAM, boot, situation

K = EventKind
AR, SIMULATED = MfFlag.ACTION_REQUIRED, MfFlag.SW_SIMULATED
OWN, OTHER = 7, 8
VADDR = 0x7F0000203000
ANON = int(PageFlag.ANON | PageFlag.DIRTY | PageFlag.MAPPED)


def event(found: PoisonResult) -> str:
    return f"{found.action}:{found.result}"


# Pages.


def test_later_descriptions_win_and_marks_stay() -> None:
    machine = boot("V61")
    pages = machine.state.poison.pages
    machine.page_state(RAM, 0x100, PageKind.LRU, flags=ANON)
    machine.memory_failure(RAM + 5)
    machine.page_state(RAM + 4, 3, PageKind.SLAB, flags=PageFlag.HWPOISON)  # not given
    assert [pages.at(RAM + n).kind for n in (3, 4, 6, 7)] == [PageKind.LRU, PageKind.SLAB, PageKind.SLAB, PageKind.LRU]
    assert [pages.poisoned(RAM + n) for n in (3, 4, 5, 6)] == [False, False, True, False]
    machine.page_state(RAM + 4, 1, PageKind.SLAB, flags=PageFlag.HWPOISON | PageFlag.POISON_GIVEN)
    machine.page_state(RAM + 5, 1, PageKind.SLAB, flags=PageFlag.POISON_GIVEN)
    assert [pages.poisoned(RAM + n) for n in (3, 4, 5, 6)] == [False, True, False, False]
    assert len(pages.described.pieces) < 8


def test_a_hugetlb_page_is_poisoned_as_a_whole_while_it_is_one() -> None:
    machine = boot("V61")
    head = RAM & ~0x1FF
    machine.page_state(head, 512, PageKind.HUGE, order=9, flags=PageFlag.ANON, pins=1)
    found = machine.memory_failure(head + 3)
    assert event(found) == "HUGE:F"
    pages = machine.state.poison.pages
    assert pages.poisoned(head)
    assert pages.poisoned(head + 511)
    assert not pages.poisoned(head + 512)
    machine.page_state(head, 512, PageKind.BUDDY)
    assert [pages.poisoned(head + n) for n in (0, 3, 511)] == [False, True, False]


def test_given_raw_entries_count_page_by_page() -> None:
    """A description lists the pages that it covers: here three of a folio."""
    machine = boot("V61")
    head = RAM & ~0x1FF
    machine.page_state(head, 512, PageKind.HUGE, order=9, flags=PageFlag.POISON_GIVEN | PageFlag.HWPOISON, refs=0)
    listed = PageFlag.POISON_GIVEN | PageFlag.HWPOISON | PageFlag.RAW_LISTED
    machine.page_state(head + 5, 3, PageKind.HUGE, order=9, flags=listed, refs=0)
    back = machine.unpoison_memory(head)
    assert (back.ret, back.counted, back.poisoned) == (0, -3, False)


@pytest.mark.parametrize(
    ("version", "attributes", "kind", "refs", "mapped", "mapping_set"),
    [
        ("V61", "anon dirty mapped", PageKind.KERNEL, 1, False, False),
        ("V61", "map=SHMEM dirty mapped", PageKind.KERNEL, 2, False, True),
        ("V512", "map=SHMEM dirty mapped", PageKind.KERNEL, 1, False, False),
        ("V61", "anon swapc dirty mapped refs=3", PageKind.LRU, 2, False, False),
        ("V61", "anon swapc pins=1 mapped", PageKind.LRU, 2, False, False),
        ("V61", "anon dirty mapped !unmap", PageKind.LRU, 2, True, False),
        ("V61", "anon ksm dirty mapped refs=4", PageKind.LRU, 4, True, False),
        ("V61", "map=NONE mapped", PageKind.LRU, 2, False, False),
        ("V510", "kind=BUDDY", PageKind.BUDDY, 0, False, False),
        ("V510", "kind=RSVD", PageKind.RESERVED, 2, False, False),
        ("V61", "kind=RSVD", PageKind.RESERVED, 1, False, False),
        ("V61", "kind=KTAIL refs=0", PageKind.KERNEL_TAIL, 0, False, False),
        ("V612", "anon large mapped !split", PageKind.LRU, 1, True, False),
        ("V61", "kind=HUGE map=HTLB mapped", PageKind.HUGE, 2, False, True),
        ("V512", "kind=HUGE map=HTLB mapped", PageKind.HUGE, 1, False, False),
        ("V510", "kind=HUGE ht=FREE !dissolv", PageKind.HUGE, 0, False, False),
        ("V510", "kind=HUGE anon mapped pins=1", PageKind.HUGE, 0, False, False),
        ("V61", "large map=SHMEM dirty mapped pins=1", PageKind.LRU, 2, False, False),
        ("V26", "anon swapc dirty mapped", PageKind.LRU, 2, False, False),
        ("V26", "anon dirty mapped !unmap", PageKind.KERNEL, 1, False, False),
    ],
)
def test_page_afterwards(
    version: str, attributes: str, kind: PageKind, refs: int, mapped: bool, mapping_set: bool
) -> None:
    s = situation(version, attributes)
    s.machine.map_pages(s.pfn, 1, OWN, VADDR)
    assert s.memory_failure().poisoned
    page = s.machine.state.poison.pages.at(s.pfn)
    assert (page.kind, page.refs) == (kind, refs)
    assert bool(page.flags & PageFlag.MAPPED) == mapped
    assert bool(page.flags & PageFlag.MAPPING_SET) == mapping_set
    if "mapped" in attributes.split() and version != "V26":
        assert bool(s.machine.state.poison.tasks.of(s.pfn)) == mapped


def test_a_file_thp_loses_its_mappings_by_the_split() -> None:
    s = situation("V612", "large map=SHMEM dirty mapped")
    s.machine.map_pages(s.pfn, 1, OWN, VADDR)
    assert s.machine.memory_failure(RAM, AR, task=OWN).signals == ()
    again = s.machine.memory_failure(RAM, AR, task=OWN)
    assert (again.ret, again.signals) == (0, ())  # nothing of its page tables holds the page


def test_soft_offline_unmaps_without_entries() -> None:
    for version, refs in (("V418", 0), ("V61", 1)):
        s = situation(version, "anon mapped COUNT")
        s.machine.map_pages(s.pfn, 1, OWN, VADDR)
        assert s.soft_offline().poisoned
        page = s.machine.state.poison.pages.at(RAM)
        assert (page.kind, page.refs) == (PageKind.KERNEL, refs)
        assert s.machine.state.poison.tasks.entry(OWN, RAM) is None


def test_soft_offline_of_hugetlb() -> None:
    pages = situation("V61", "(defaults)").machine.state.poison.pages
    for version, attributes, poisoned in (
        ("V61", "kind=HUGE ht=FREE", [True, False]),
        ("V418", "kind=HUGE ht=FREE !dissolv", [True, True]),
    ):
        s = situation(version, attributes)
        s.machine.page_state(s.pfn + 1, 1, PageKind.HUGE, order=9)
        assert s.soft_offline().counted == 1
        pages = s.machine.state.poison.pages
        assert [pages.poisoned(s.pfn), pages.poisoned(s.pfn + 1)] == poisoned
        assert pages.at(s.pfn).kind == (PageKind.HUGE if version == "V418" else PageKind.KERNEL)


def test_unpoisoned_hugetlb_page_is_free_again() -> None:
    s = situation("V512", "kind=HUGE hwp")
    assert (s.unpoison().ret, s.memory_failure().action) == (0, "FREE_HUGE")


def test_functions_that_2_6_32_does_not_have() -> None:
    s = situation("V26", "hwp")
    for found in (s.soft_offline(), s.unpoison()):
        assert (found.rule, found.undecided, found.poisoned) == ("absent", True, True)


def test_writeback_off_the_lru() -> None:
    for version, expected in (("V510", "CLEAN_LRU:R"), ("V512", "UNKNOWN:F")):
        s = situation(version, "kind=ISOL")
        page = s.machine.state.poison.pages.at(RAM)
        s.machine.page_state(RAM, 1, page.kind, flags=page.flags | PageFlag.WRITEBACK)
        assert event(s.memory_failure()) == expected


# Tasks.


def test_tasks_and_address_spaces() -> None:
    s = situation("V61", "anon dirty mapped AR")
    s.machine.task_state(OWN, int(TaskFlag.HANDLER), 100)
    s.machine.task_state(OTHER, int(TaskFlag.HANDLER), 100)
    s.machine.map_pages(RAM - 1, 4, OWN, VADDR)
    found = s.memory_failure(OTHER)  # the caller shares the address space: it is the one that is signalled
    assert found.signals == ((OTHER, 7, 4, VADDR + 0x1000, 12),)
    assert s.machine.state.poison.tasks.entry(OWN, RAM) is not None
    s.machine.task_state(OWN, int(TaskFlag.EXITED))
    assert s.machine.state.poison.tasks.entry(OWN, RAM) is None
    assert s.machine.state.poison.tasks.of(RAM - 1) == []


def test_unmap_and_context() -> None:
    for context, ret in ((0, 0), (CallContext.HAS_ENTRY, -133), (CallContext.NO_MM, -14)):
        s = situation("V612", "hwp AR")
        s.machine.map_pages(RAM, 1, OWN, VADDR)
        s.machine.unmap_pages(RAM, 1, OWN)
        s.context = context
        found = s.memory_failure(OWN)
        assert (found.ret, bool(found.signals)) == (ret, ret == -133)
    s = situation("V612", "hwp AR")
    s.machine.map_pages(RAM, 1, OWN, VADDR, flags=MapFlag.ABSENT)
    assert s.memory_failure(OWN).ret == 0
    s.machine.map_pages(RAM, 1, OWN, VADDR)
    assert s.memory_failure(OWN).signals == ((OWN, 7, 4, VADDR, 12),)
    s.context = CallContext.NO_ENTRY
    assert s.memory_failure(OWN).ret == 0
    s.context = CallContext.HAS_ENTRY
    assert s.memory_failure().signals == ()  # of nobody's


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("handler", [True, False])
def test_loops(closed: bool, handler: bool) -> None:
    machine = ScalarMachine(LAYOUT.description(), FEATURES["V61"], closed_loop=closed)
    machine.page_state(RAM, 2, PageKind.LRU, flags=ANON)
    machine.task_state(OWN, int(TaskFlag.HANDLER) if handler else 0)
    machine.map_pages(RAM, 2, OWN, VADDR)
    assert machine.memory_failure(RAM, AR, task=OWN).signals == ((OWN, 7, 4, VADDR, 12),)
    alive = handler or not closed
    assert bool(machine.state.poison.tasks.of(RAM + 1)) == alive
    assert (machine.memory_failure(RAM, AR, task=OWN).ret == -133) == alive


def test_sigkill_ends_a_task_with_a_handler() -> None:
    s = situation("V61", "anon dirty mapped !unmap es")
    s.machine.map_pages(RAM, 1, OWN, VADDR)
    assert s.memory_failure().signals == ((OWN, 9, 0, 0, 0),)
    assert s.machine.state.poison.tasks.of(RAM) == []


# Global state.


def test_sysctls_at_the_start() -> None:
    plain = LAYOUT.description()
    description = MachineDescription(
        **{**plain.__dict__, "sysctls": {"vm.memory_failure_early_kill": 1, "vm.enable_soft_offline": 0}}
    )
    machine = ScalarMachine(description, FEATURES["V612"])
    machine.page_state(RAM, 1, PageKind.LRU, flags=ANON)
    machine.map_pages(RAM, 1, OWN, VADDR)
    assert machine.soft_offline_page(RAM).ret == -95
    assert [signal.code for signal in machine.memory_failure(RAM).signals] == [5]
    machine.sysctl(SysctlKey.RECOVERY, 0)
    seen = machine.state.poison.hardware_seen
    assert (machine.memory_failure(RAM + 1).rule, machine.state.poison.hardware_seen) == ("R01", seen)


def test_an_undecided_hardware_event_latches() -> None:
    machine = boot("V61")
    assert machine.memory_failure(RAM).undecided
    assert machine.unpoison_memory(RAM).ret == -95


def test_counters_of_nodes() -> None:
    plain = LAYOUT.description()
    memory = (BootRange(0x100000, 0x120000, 0), BootRange(0x120000, 0x140000, 1))
    machine = ScalarMachine(MachineDescription(**{**plain.__dict__, "memory": memory}), FEATURES["V612"])
    block = 0x180000
    assert machine.add_memory(block, 0x8000, node=2)[0] == 0
    assert machine.online_pages(block, 0x8000)[0] == 0
    for pfn in (RAM, 0x128000, 0x128001, block + 1):
        machine.page_state(pfn, 1, PageKind.BUDDY, flags=PageFlag.NO_TAKE_OFF if pfn & 1 else 0)
        machine.memory_failure(pfn)
    counters = machine.counters()
    assert counters[Counter.POISONED, None] == counters[Counter.TOTAL, None] == 4
    assert [counters[Counter.FAILED, node] for node in (0, 1, 2)] == [1, 1, 1]
    assert [counters[Counter.RECOVERED, node] for node in (0, 1, 2)] == [0, 1, 0]
    assert counters[Counter.IGNORED, None] == counters[Counter.DELAYED, 1] == 0
    assert machine.offline_pages(block, 0x8000)[0] == 0
    assert machine.remove_memory(block, 0x8000)[0] == 0
    counters = machine.counters()
    assert (counters[Counter.POISONED, None], counters[Counter.TOTAL, None]) == (3, 4)
    assert machine.add_memory(block, 0x8000, node=2)[0] == 0
    assert machine.online_pages(block, 0x8000)[0] == 0
    machine.page_state(block + 1, 1, PageKind.BUDDY)
    machine.memory_failure(block + 1)
    counters = machine.counters()
    assert counters[Counter.POISONED, None] == 4
    assert [counters[key, 2] for key in (Counter.TOTAL, Counter.FAILED, Counter.RECOVERED)] == [
        2,
        1,
        1,
    ]  # they were kept


# Rows.


def replay(version: str, *rows: dict[str, Any], **options: bool) -> list[dict[str, Any]]:
    return replay_poison_rows(LAYOUT.description(), rows, FEATURES[version], **options)


PAGE = row(K.PAGE_STATE, RAM, 2, page_kind=PageKind.LRU, page_flags=ANON, mapping=MappingClass.SHMEM)
MAP = row(K.MAP_PAGES, RAM, 2, task=OWN, vaddr=VADDR)
FAIL = row(K.MEMORY_FAILURE, RAM, flags=int(AR | SIMULATED), task=OWN, call=1, recorded_ret=0)
SIGNAL = row(K.SIGNAL, task=OWN, signal=7, call=1, recorded_code=4, recorded_addr=VADDR, recorded_lsb=12)


def test_columns_of_a_call() -> None:
    found = replay("V612", PAGE, MAP, FAIL, SIGNAL, {**FAIL, "call": 2, "recorded_ret": 0})
    assert picked(found[2], "ret", "match", "action", "result", "rule") == (0, 1, "DIRTY_LRU", "R", "R90")
    assert picked(found[2], "poisoned", "counted", "undecided") == (1, 1, False)
    assert found[2]["signals"] == ((OWN, 7, 4, VADDR, 12),)
    assert picked(found[2], "signals_compared", "signals_matched") == (1, 1)
    assert picked(found[4], "ret", "match", "rule", "counted") == (-133, 0, "R52", 0)
    assert found[3]["match"] == 1
    assert {outcome["rule"] for outcome in (found[0], found[1], found[3])} == {""}
    plain = replay_rows(LAYOUT.description(), [PAGE, MAP, FAIL, SIGNAL], FEATURES["V612"])
    assert [list(outcome) for outcome in plain] == [list(OUTCOME_COLUMNS)] * 4
    assert [{name: outcome[name] for name in OUTCOME_COLUMNS} for outcome in found[:4]] == plain


@pytest.mark.parametrize(
    ("change", "match", "compared", "matched"),
    [
        ({}, 1, 1, 1),
        ({"recorded_addr": None, "recorded_lsb": None}, 1, 1, 1),
        ({"recorded_code": 5}, 0, 1, 0),
        ({"recorded_addr": VADDR + 1}, 0, 1, 0),
        ({"recorded_lsb": 21}, 0, 1, 0),
        ({"signal": 9}, 0, 1, 0),
        ({"task": OTHER}, 0, 2, 0),
        ({"call": None}, 1, 1, 1),
        ({"call": 99}, 0, 1, 0),
    ],
)
def test_recorded_signals(change: dict[str, Any], match: int, compared: int, matched: int) -> None:
    *_, call, signal = replay("V612", PAGE, MAP, FAIL, {**SIGNAL, **change})
    assert signal["match"] == match
    assert picked(call, "signals_compared", "signals_matched") == (compared, matched)


def test_a_task_without_a_signal_row_got_none() -> None:
    for rows, expected in (((), (2, 1)), ((SIGNAL,), (2, 2))):
        found = replay("V612", PAGE, MAP, {**MAP, "task": OTHER}, FAIL, *rows)
        assert picked(found[3], "signals_compared", "signals_matched") == expected
    found = replay("V612", PAGE, MAP, FAIL, signals_recorded=False)
    assert found[2]["signals_compared"] == 0


def test_sigkill_is_compared_by_its_number() -> None:
    page = {**PAGE, "page_flags": ANON | PageFlag.UNMAP_FAILS}
    killed = row(K.SIGNAL, task=OWN, signal=9, recorded_code=128, recorded_addr=5)
    assert replay("V61", page, MAP, FAIL, killed)[3]["match"] == 1


def test_undecided_calls_compare_nothing() -> None:
    found = replay("V612", MAP, FAIL, SIGNAL, row(K.SOFT_OFFLINE_PAGE, RAM), row(K.UNPOISON_MEMORY, RAM))
    assert [outcome["undecided"] for outcome in found] == [False, True, False, True, True]
    assert picked(found[1], "match", "signals_compared", "action") == (0, 0, "")


def test_counters_and_other_rows() -> None:
    found = replay(
        "V612",
        row(K.SYSCTL, key=int(SysctlKey.EARLY_KILL), value=1),
        row(K.TASK_STATE, task=OWN, flags=int(TaskFlag.HANDLER), value=3),
        PAGE,
        row(K.UNMAP_PAGES, RAM, 2, task=OWN),
        row(K.SOFT_OFFLINE_PAGE, RAM, value=-12, recorded_ret=-12),
        row(K.SOFT_OFFLINE_PAGE, RAM, recorded_ret=0),
        row(K.UNPOISON_MEMORY, RAM, recorded_ret=0),
        {**FAIL, "pfn": RAM + 1, "call": None, "task": None},
        row(K.COUNTERS, key=int(Counter.POISONED), value=1),
        row(K.COUNTERS, key=int(Counter.RECOVERED), value=1, node=0),
        row(K.COUNTERS, key=int(Counter.RECOVERED), value=1, node=5),
        row(K.COUNTERS, key=200, value=1),
        row(K.CLEAR_ERROR, RAM + 1),
        row(K.SIGNAL, task=OWN, signal=7),
    )
    assert [outcome["match"] for outcome in found[4:7]] == [1, 1, 1]
    assert [outcome["counted"] for outcome in found[4:8]] == [0, 1, -1, 1]
    assert [outcome["match"] for outcome in found[8:12]] == [1, 1, 0, 0]
    assert replay("V612", row(K.SIGNAL, task=OWN, signal=7))[0]["match"] == 0
