"""Addresses and sizes in signals, on machines whose pages are not 4 KiB."""

from __future__ import annotations

import pytest

from replay.engine.poison_call import Decided
from replay.engine.replay import Replayer
from replay.kernel.profiles import profile
from replay.trace.header import BootRange, MachineDescription
from replay.trace.poison import MfFlag, PageFlag, PageKind, TaskFlag
from replay.trace.schema import EventKind
from tests.property.engines import as_batch
from tests.property.strategies import STRINGS

VADDR = 0xFFFF00000000


def told(page_shift: int, page: dict[str, int], pfn: int, map_shift: int = 0) -> tuple[int, int]:
    """Return si_addr and si_addr_lsb that the only mapper of 16 pages around pfn 0x40000 gets."""
    section = 27 if page_shift < 16 else 29
    machine = MachineDescription(
        "aarch64", page_shift, section, 48, 1 << section, "6.12", memory=(BootRange(0x40000, 0x48000, 0),)
    )
    found: list[Decided] = []
    replayer = Replayer(machine, profile("v6.12"), STRINGS, log=found.append)
    mapping = {"kind": EventKind.MAP_PAGES, "pfn": 0x40000, "nr_pages": 1 << 13, "task": 1, "vaddr": VADDR}
    rows = [
        {"kind": EventKind.TASK_STATE, "task": 1, "flags": int(TaskFlag.HANDLER | TaskFlag.HAS_DEFAULT)},
        {"kind": EventKind.PAGE_STATE, "pfn": 0x40000, "nr_pages": 1 << 13, **page},
        {**mapping, "map_shift": map_shift} if map_shift else mapping,
        {"kind": EventKind.MEMORY_FAILURE, "pfn": pfn, "task": 1, "flags": int(MfFlag.ACTION_REQUIRED)},
    ]
    replayer.feed(as_batch([{**row, "time": i} for i, row in enumerate(rows)]))
    replayer.finish()
    (signal,) = found[0].signals
    assert (signal.signal, signal.code) == (7, 4)
    return signal.addr, signal.lsb


@pytest.mark.parametrize("page_shift", [14, 16])
def test_a_page_is_a_page_of_the_machine(page_shift: int) -> None:
    page = {"page_kind": PageKind.LRU, "page_flags": int(PageFlag.ANON | PageFlag.DIRTY | PageFlag.MAPPED)}
    assert told(page_shift, page, 0x40005) == (VADDR + (5 << page_shift), page_shift)


@pytest.mark.parametrize(("page_shift", "order"), [(14, 11), (16, 13)])
def test_huge_pages(page_shift: int, order: int) -> None:
    """PMD-sized: 32 MiB of 16 KiB pages, 512 MiB of 64 KiB pages; the exact page of a hugetlb folio, the whole of a THP."""
    flags = int(PageFlag.ANON | PageFlag.DIRTY | PageFlag.MAPPED)
    hugetlb = {"page_kind": PageKind.HUGE, "page_flags": flags, "order": order}
    size = page_shift + order
    assert told(page_shift, hugetlb, 0x40005, size) == (VADDR + (5 << page_shift), size)
    unsplit = int(PageFlag.LARGE | PageFlag.UNSPLITTABLE)
    thp = {"page_kind": PageKind.LRU, "page_flags": flags | unsplit, "order": order}
    assert told(page_shift, thp, 0x40005) == (VADDR + (5 << page_shift), size)
