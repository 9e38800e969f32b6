"""The sequences of poison.md 10.6, the accesses of 10.3, DAX signals of 10.2, and what calls leave behind.

Not expressible: Q12 (a queue of the reporting side), Q13 (a reference count that no decision sees; its return code is
SO02), the last clause of Q07 (onlining a block with poisoned pages: a hotplug check that model.md does not have), and of
10.3 what an access itself does: the model has no accesses, only the entries that they would find.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from replay.scalar import PoisonResult, ScalarMachine
from replay.trace.poison import Counter, MappingClass, MfFlag, PageFlag, PageKind, TaskFlag
from replay.trace.schema import PgmapType
from tests.scalar.poison_doc import DATA, MODERN, NOWHERE, RAM, VERSIONS, add_device, boot, situation, table
from tests.scalar.twin import attach

AR, SIMULATED, COUNT = MfFlag.ACTION_REQUIRED, MfFlag.SW_SIMULATED, MfFlag.COUNT_INCREASED
OLD, NEW = VERSIONS[1:6], VERSIONS[6:]  # V418..V512, V61..V72
OWN, OTHER = 7, 8
VADDR = 0x7F0000203000
EARLY = int(TaskFlag.MAIN_PROCESS | TaskFlag.MAIN_EARLY | TaskFlag.ANY_EARLY | TaskFlag.HANDLER)
HEAD = 0x108200
MAPPED_ANON = "anon dirty mapped"


@pytest.fixture(autouse=True)
def both_engines(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test here finds out about the scalar engine holds for the vector engine as well."""
    twins = attach(monkeypatch)
    yield
    for twin in twins:
        twin.check()


def event(found: PoisonResult) -> str:
    return f"{found.action}:{found.result}" if found.action else "-"


def poisoned_count(machine: ScalarMachine) -> int:
    return machine.counters()[Counter.POISONED, None]


def hugetlb(machine: ScalarMachine, flags: int, mapping: int = MappingClass.HUGETLB, refs: int = 1) -> None:
    machine.page_state(HEAD, 1, PageKind.HUGE, flags=flags, order=9, mapping=mapping, refs=refs)
    machine.page_state(HEAD + 1, 511, PageKind.HUGE, flags=flags | PageFlag.TAIL, order=9, mapping=mapping, refs=refs)


def test_every_sequence_is_here_or_said_to_be_missing() -> None:
    text = (__doc__ or "") + "".join(name for name in globals() if name.startswith("test_q"))
    for row in table("10.6"):
        assert row["id"] in text or row["id"].lower() in text, row["id"]


@pytest.mark.parametrize("version", MODERN)
def test_q01_consumed_again(version: str) -> None:
    s = situation(version, MAPPED_ANON)
    s.machine.map_pages(RAM, 1, OWN, VADDR)
    assert event(s.memory_failure()) == "DIRTY_LRU:R"
    again = s.machine.memory_failure(RAM, AR, task=OWN)
    if version in OLD:
        assert (again.ret, again.signals) == (0, ())
    else:
        assert (again.ret, again.signals) == (-133, ((OWN, 7, 4, VADDR, 12),))
        assert s.machine.memory_failure(RAM, AR, task=OTHER).ret == (-14 if version == "V612m" else 0)


@pytest.mark.parametrize("version", MODERN)
def test_q02_free_page_and_back(version: str) -> None:
    s = situation(version, "kind=BUDDY refs=0")
    pages = s.machine.state.poison.pages
    s.machine.memory_failure(RAM, SIMULATED)
    taken = version not in ("V418", "V419", "V510")
    assert pages.at(RAM).refs == int(taken)
    assert bool(pages.marks_at(RAM) & PageFlag.TAKEN_OFF) == taken
    back = s.unpoison()
    assert (back.ret, back.counted, back.poisoned, poisoned_count(s.machine)) == (0, -1, False, 0)
    assert (pages.at(RAM).kind, pages.at(RAM).refs, pages.marks_at(RAM)) == (PageKind.BUDDY, 0, 0)


@pytest.mark.parametrize("version", MODERN)
def test_q03_hardware_event_disables_unpoison(version: str) -> None:
    s = situation(version, "kind=BUDDY refs=0")
    s.machine.memory_failure(NOWHERE)
    s.machine.memory_failure(RAM, SIMULATED)
    assert s.unpoison().ret == (0 if version in OLD else -95)


@pytest.mark.parametrize("version", MODERN)
def test_q04_soft_offline_twice(version: str) -> None:
    s = situation(version, "anon mapped COUNT")
    first, second = s.soft_offline(), s.soft_offline()
    assert (first.ret, first.counted) == (0, 1)
    assert (second.ret, second.counted) == (-16 if version in ("V418", "V419") else 0, 0)


@pytest.mark.parametrize("version", MODERN)
def test_q05_shmem_stays_in_its_file(version: str) -> None:
    s = situation(version, "map=SHMEM dirty mapped")
    assert event(s.machine.memory_failure(RAM, SIMULATED)) == "DIRTY_LRU:R"
    first = s.unpoison()
    if version in OLD:
        assert (first.ret, first.poisoned) == (0, False)
        return
    assert (first.ret, first.poisoned) == (-16, True)
    s.machine.page_state(RAM, 1, PageKind.KERNEL)  # truncated: the reference of memory_failure is left
    second = s.unpoison()
    assert (second.ret, second.poisoned, poisoned_count(s.machine)) == (0, False, 0)


@pytest.mark.parametrize("version", VERSIONS[2:])
def test_q06_cleared_by_a_write(version: str) -> None:
    machine = boot(version)
    add_device(machine, PgmapType.FS_DAX)
    found = machine.memory_failure(DATA)
    assert (event(found), found.poisoned) == ("DAX:R", True)
    before = poisoned_count(machine)
    machine.clear_error(DATA)
    assert not machine.state.poison.pages.poisoned(DATA)
    assert poisoned_count(machine) == before == int(version in NEW)


@pytest.mark.parametrize("version", MODERN)
def test_q07_removed_with_its_block(version: str) -> None:
    machine = boot(version)
    block = 0x138000
    assert machine.online_pages(block, 0x8000)[0] == 0
    machine.page_state(block, 0x8000, PageKind.BUDDY)
    for pfn in (block, block + 5, RAM):
        machine.page_state(pfn, 1, PageKind.BUDDY)
        machine.memory_failure(pfn)
    assert poisoned_count(machine) == 3
    assert machine.offline_pages(block, 0x8000)[0] == 0
    assert poisoned_count(machine) == 3
    assert machine.remove_memory(block, 0x8000)[0] == 0
    assert poisoned_count(machine) == 1
    assert machine.state.poison.pages.poisoned(RAM)
    assert machine.add_memory(block, 0x8000)[0] == 0
    assert machine.online_pages(block, 0x8000)[0] == 0
    assert not machine.state.poison.pages.poisoned(block)


@pytest.mark.parametrize("version", NEW)
def test_q08_second_subpage(version: str) -> None:
    machine = boot(version)
    hugetlb(machine, PageFlag.MAPPED | PageFlag.DIRTY)
    first = machine.memory_failure(HEAD + 3, SIMULATED)
    second = machine.memory_failure(HEAD + 5, SIMULATED)
    assert (first.ret, event(first)) == (0, "HUGE:R")
    assert (second.ret, event(second)) == (-133, "HUGE:F" if version in ("V612", "V72") else "-")
    assert poisoned_count(machine) == 2
    assert machine.state.poison.pages.raw_pages(HEAD) == 2
    third = machine.memory_failure(HEAD + 5, SIMULATED)
    assert (third.ret, third.counted) == (-133, 0)
    assert machine.unpoison_memory(HEAD + 3).ret == -16  # a tail has no flag of its own
    assert machine.unpoison_memory(HEAD).ret == -16  # still in the file
    hugetlb(machine, PageFlag.HUGE_FREE, refs=0)
    back = machine.unpoison_memory(HEAD)
    assert (back.ret, back.counted, back.poisoned) == (0, -2, False)
    assert not machine.state.poison.pages.poisoned(HEAD + 5)


def test_q09_three_times() -> None:
    for version, count, later in (
        ("V61", 1, "-"),
        ("V612m", 3, "ALREADY_POISONED:F"),
        ("V612", 1, "ALREADY_POISONED:F"),
    ):
        s = situation(version, MAPPED_ANON)
        assert [event(s.memory_failure()) for _ in range(3)] == ["DIRTY_LRU:R", later, later]
        assert poisoned_count(s.machine) == count


@pytest.mark.parametrize("version", VERSIONS[2:])
def test_q10_dax_twice(version: str) -> None:
    machine = boot(version)
    add_device(machine, PgmapType.DEVDAX)
    assert [event(machine.memory_failure(DATA)) for _ in range(2)] == ["DAX:R", "DAX:R"]
    assert poisoned_count(machine) == (0 if version in OLD else 2)


def test_q11_page_table_page() -> None:
    for version, expected, ignored, failed in (
        ("V61", ["UNKNOWN:I", "-"], 1, 0),
        ("V612m", ["GET_HWPOISON:I", "ALREADY_POISONED:F"], 1, 1),
        ("V612", ["GET_HWPOISON:I", "ALREADY_POISONED:F"], 1, 0),
    ):
        s = situation(version, "kind=PGTABLE")
        found = [s.memory_failure(), s.memory_failure()]
        assert [event(each) for each in found] == expected
        assert [each.ret for each in found] == [-16, -133]
        counters = s.machine.counters()
        assert (counters[Counter.IGNORED, 0], counters[Counter.FAILED, 0]) == (ignored, failed)
        assert counters[Counter.TOTAL, 0] == counters[Counter.TOTAL, None] == ignored + failed


@pytest.mark.parametrize("version", VERSIONS[7:])
def test_q14_sysctl_before_the_flag(version: str) -> None:
    assert situation(version, "!softon hwp COUNT").soft_offline().ret == -95


def test_q15_split_fails_twice() -> None:
    for version, expected in (
        ("V418", [(-16, "-"), (-16, "-")]),
        ("V510", [(-16, "UNSPLIT_THP:I"), (0, "-")]),
        ("V612", [(-133, "UNSPLIT_THP:F"), (-133, "ALREADY_POISONED:F")]),
    ):
        s = situation(version, "anon large dirty mapped !split")
        assert [(found.ret, event(found)) for found in (s.memory_failure(), s.memory_failure())] == expected
        assert poisoned_count(s.machine) == (0 if version == "V418" else 1)


def test_q16_tail_of_a_free_hugetlb_page() -> None:
    machine = boot("V512")
    hugetlb(machine, PageFlag.HUGE_FREE, refs=0)
    found = [machine.memory_failure(HEAD + 3), machine.memory_failure(HEAD)]
    assert [(each.ret, event(each), each.counted, each.poisoned) for each in found] == [(0, "-", 0, True)] * 2
    assert machine.state.poison.pages.at(HEAD).kind == PageKind.HUGE


# 10.3: what an access would find.


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("access", "attributes", "found"),
    [
        ("L01", MAPPED_ANON, True),
        ("L02", "mapped", False),
        ("L03", "mapped dirty", True),
        ("L04", "anon swapc dirty mapped", False),  # a swap entry
        ("L08", "anon large dirty mapped !split", True),  # in V418 and V419 not poisoned, later still mapped
    ],
)
def test_entries_left(version: str, access: str, attributes: str, found: bool) -> None:
    if version == "V26" and access == "L08":
        return
    s = situation(version, attributes)
    s.machine.map_pages(RAM, 1, OWN, VADDR)
    s.memory_failure()
    assert (s.machine.state.poison.tasks.entry(OWN, RAM) is not None) == found


@pytest.mark.parametrize("version", MODERN)
def test_l05_hugetlb_entry_covers_the_whole_page(version: str) -> None:
    machine = boot(version)
    hugetlb(machine, PageFlag.ANON | PageFlag.DIRTY | PageFlag.MAPPED)
    machine.map_pages(HEAD, 512, OWN, VADDR & ~0x1FFFFF, shift=21)
    found = machine.memory_failure(HEAD + 3, AR, task=OWN)
    address = VADDR & ~0x1FFFFF
    exact = address + 0x3000 if version in VERSIONS[7:] else address
    assert found.signals == ((OWN, 7, 4, exact, 21),)
    tasks = machine.state.poison.tasks
    assert tasks.of(HEAD + 100) == []
    assert tasks.entry(OWN, HEAD + 100) is not None
    pages = machine.state.poison.pages
    free = (PageKind.BUDDY, 0)
    assert (pages.at(HEAD + 4).kind, pages.at(HEAD + 4).refs, pages.poisoned(HEAD + 4)) == (*free, False)
    held = (PageKind.KERNEL, 1) if version not in ("V418", "V419", "V510") else free
    assert (pages.at(HEAD + 3).kind, pages.at(HEAD + 3).refs, pages.poisoned(HEAD + 3)) == (*held, True)


# DAX: the text below the table of 10.2, and 3.3.


def dax(version: str, kind: PgmapType, *, shift: int = 21, flags: int = 0) -> ScalarMachine:
    machine = boot(version)
    add_device(machine, kind)
    machine.map_pages(DATA & ~0x1FF, 0x200, OWN, VADDR & ~0x1FFFFF, shift=shift, flags=flags)
    return machine


@pytest.mark.parametrize("version", VERSIONS[2:])
def test_dax_consumed_by_its_mapper(version: str) -> None:
    machine = dax(version, PgmapType.DEVDAX)
    machine.map_pages(DATA, 1, OTHER, 0x1000)
    address = VADDR & ~0x1FFFFF | (DATA & 0x1FF) << 12
    if version in NEW:
        address &= ~0x1FFFFF
    own = (OWN, 7, 4, address, 21)
    other = ((OTHER, 7, 5, 0x1000, 12),) if version == "V419" else ()
    assert machine.memory_failure(DATA, AR, task=OWN).signals == (own, *other)
    tasks = machine.state.poison.tasks
    assert all(not mapping.present for pfn in (DATA, DATA + 1) for _, mapping in tasks.of(pfn))
    again = machine.memory_failure(DATA, AR, task=OWN)
    killed = ((OWN, 9, 0, 0, 0), (OTHER, 9, 0, 0, 0))  # the VMAs are still there
    assert (event(again), again.signals) == ("DAX:R", killed if version == "V419" else ())


@pytest.mark.parametrize("version", VERSIONS[2:])
def test_fsdax_address(version: str) -> None:
    large = VADDR & ~0x1FFFFF
    exact = large | (DATA & 0x1FF) << 12
    for shift, head in ((21, version == "V72"), (12, False)):
        machine = dax(version, PgmapType.FS_DAX, shift=shift)
        found = machine.memory_failure(DATA, AR, task=OWN)
        assert found.signals == ((OWN, 7, 4, large if head else exact, shift),)


@pytest.mark.parametrize("version", VERSIONS[2:])
def test_dax_from_a_worker(version: str) -> None:
    machine = dax(version, PgmapType.FS_DAX)
    found = machine.memory_failure(DATA)
    assert [signal.code for signal in found.signals] == ([5] if version == "V419" else [])
    assert machine.state.poison.tasks.of(DATA)[0][1].present == (version != "V419")
    machine = dax(version, PgmapType.FS_DAX)
    machine.task_state(OWN, EARLY)
    found = machine.memory_failure(DATA)
    early = version not in ("V510", "V511")
    assert [signal.code for signal in found.signals] == ([5] if early else [])
    assert machine.state.poison.tasks.of(DATA)[0][1].present != early


@pytest.mark.parametrize("version", VERSIONS[2:])
def test_dax_with_nothing_mapped(version: str) -> None:
    machine = dax(version, PgmapType.FS_DAX, flags=1)  # ABSENT
    found = machine.memory_failure(DATA, AR, task=OWN)
    assert found.signals == (((OWN, 9, 0, 0, 0),) if version == "V419" else ())


def test_registered_pfn_space_is_killed_but_not_unmapped() -> None:
    machine = boot("V72")
    machine.page_state(NOWHERE, 1, PageKind.UNKNOWN, flags=PageFlag.PFN_SPACE)
    machine.map_pages(NOWHERE, 1, OWN, VADDR)
    machine.map_pages(NOWHERE, 1, OTHER, VADDR)
    found = machine.memory_failure(NOWHERE, 0, task=OWN)
    assert (found.rule, found.signals, found.counted) == ("R03", ((OWN, 7, 4, VADDR, 12),), 0)
    assert found.mappers == (OWN, OTHER)
    assert len(machine.state.poison.tasks.of(NOWHERE)) == 2


def test_sgx_page_signals_its_consumer() -> None:
    machine = boot("V61")
    machine.page_state(NOWHERE, 1, PageKind.UNKNOWN, flags=PageFlag.SGX)
    assert machine.memory_failure(NOWHERE, 0, task=OWN).signals == ()
    assert machine.memory_failure(NOWHERE, AR, task=OWN).signals == ((OWN, 7, 128, 0, 0),)
