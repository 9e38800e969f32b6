"""The vectors of poison.md, sections 10.1, 10.2, 10.4 and 10.5: every cell."""

from __future__ import annotations

import pytest

from replay.trace.outcomes import RET_BUG
from replay.trace.poison import MapFlag, MfFlag, TaskFlag
from tests.scalar.poison_doc import (
    ALL_FEATURES,
    FEATURES,
    PRESETS,
    VERSIONS,
    Situation,
    built_features,
    ditto,
    profile,
    situation,
    table,
)

# Cells of V418 whose attribute list omits what the text says: a page of a device is a reserved page there
# (check-poison.md, section 1).
RESERVED_IN_418 = {"M81", "M82", "M83", "M84", "M85", "M87", "M88", "M89", "SO02"}

OWN, OTHER = 7, 8
VADDR = 0x7F0000203000


def cells(section: str) -> list[object]:
    return [
        pytest.param(row, version, cell, id=f"{row['id']}-{version}")
        for row in table(section)
        for version, cell in ditto(row).items()
        if cell != "n/a"
    ]


def boot(row: dict[str, str], version: str) -> Situation:
    reserved = " kind=RSVD" if version == "V418" and row["id"] in RESERVED_IN_418 else ""
    return situation(version, row["attributes"] + reserved)


def per_version(row: dict[str, str], column: str, version: str) -> str:
    text = row[column]
    return text if len(text) == 1 else text[VERSIONS.index(version)]


@pytest.mark.parametrize(("row", "version", "cell"), cells("10.1"))
def test_memory_failure(row: dict[str, str], version: str, cell: str) -> None:
    s = boot(row, version)
    assert not s.rest
    before = s.machine.state.poison.pages.poisoned(s.pfn)
    found = s.memory_failure()
    ret, _, event = cell.partition(" ")
    assert found.ret == (RET_BUG if ret == "PANIC" else int(ret))
    assert f"{found.action}:{found.result}" == (event if event != "-" else "None:None")
    assert found.counted == int(per_version(row, "num", version))
    flag = per_version(row, "hwp", version)
    # Rule R37 clears the flag of the folio, and with the list each raw page gets its own: the head was one here.
    moved = found.rule == "R37" and s.machine.state.has("hugetlb-raw-list")
    assert found.poisoned == (before if flag == "=" else flag == "1" or moved)
    assert not found.undecided


@pytest.mark.parametrize(("row", "version", "cell"), cells("10.2"))
def test_signal(row: dict[str, str], version: str, cell: str) -> None:
    s = boot(row, version)
    assert s.rest <= {"own", "main_p", "main_e", "any_e", "!has_def", "!mapped_here", "!addr_ok"}
    policy = TaskFlag.HANDLER if "!has_def" in s.rest else TaskFlag.HANDLER | TaskFlag.HAS_DEFAULT
    names = {"main_p": TaskFlag.MAIN_PROCESS, "main_e": TaskFlag.MAIN_EARLY, "any_e": TaskFlag.ANY_EARLY}
    for name, flag in names.items():
        policy |= flag if name in s.rest else TaskFlag(0)
    mapping = MapFlag.ABSENT if "!mapped_here" in s.rest else MapFlag(0)
    mapping |= MapFlag.NO_ADDRESS if "!addr_ok" in s.rest else MapFlag(0)
    huge = "kind=HUGE" in row["attributes"]
    s.machine.task_state(OWN, int(policy))
    s.machine.map_pages(s.pfn, 1, OWN, VADDR, shift=21 if huge else 12, flags=int(mapping))
    found = s.memory_failure(OWN if "own" in s.rest else OTHER)
    exact = not huge or version in VERSIONS[7:]
    address, lsb = VADDR if exact else VADDR & ~0x1FFFFF, 21 if huge else 12
    expected = {
        "NOSIG": (),
        "BUS_AR": ((OWN, 7, 4, address, lsb),),
        "BUS_AO": ((OWN, 7, 5, address, lsb),),
        "KILL": ((OWN, 9, 0, 0, 0),),
    }
    assert found.signals == expected[cell]
    assert found.mappers == (OWN,)


@pytest.mark.parametrize(("row", "version", "cell"), cells("10.4"))
def test_soft_offline(row: dict[str, str], version: str, cell: str) -> None:
    s = boot(row, version)
    assert not s.rest
    before = s.machine.state.poison.pages.poisoned(s.pfn)
    found = s.soft_offline()
    ret, _, change = cell.partition(" n+")
    assert (found.ret, found.counted) == (int(ret), int(change or 0))
    assert found.poisoned == (before or bool(change))


@pytest.mark.parametrize(("row", "version", "cell"), cells("10.5"))
def test_unpoison(row: dict[str, str], version: str, cell: str) -> None:
    s = boot(row, version)
    assert not s.rest
    before = s.machine.state.poison.pages.poisoned(s.pfn)
    found = s.unpoison()
    ret, _, change = cell.partition(" n-")
    assert (found.ret, found.counted) == (int(ret), -int(change or 0))
    assert found.poisoned == (before and not change)


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_unsplit_thp_by_its_owner(version: str) -> None:
    """M52 with AR, own mm: the last paragraph of 10.2."""
    s = situation(version, "anon large dirty mapped !split AR")
    s.machine.map_pages(s.pfn, 1, OWN, VADDR)
    kills = version in VERSIONS[7:]
    assert s.memory_failure(OWN).signals == (((OWN, 7, 4, VADDR, 21),) if kills else ())


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_else_is_decided_without_the_page(version: str) -> None:
    s = situation(version, "(defaults)")
    pfn = s.pfn + 1
    for found in (s.machine.memory_failure(pfn, MfFlag.SW_SIMULATED), s.machine.soft_offline_page(pfn)):
        assert (found.undecided, found.ret, found.counted, found.poisoned) == (True, 0, 0, False)
    assert s.machine.unpoison_memory(pfn).undecided
    assert s.machine.counters() == situation(version, "(defaults)").machine.counters()


@pytest.mark.parametrize("version", VERSIONS)
def test_presets_have_the_features_of_the_columns(version: str) -> None:
    assert FEATURES[version] & ALL_FEATURES == built_features(version)
    present = profile(PRESETS[version]).features & ALL_FEATURES
    assert present == built_features(version)
