"""victims.jsonl, and which of its lines a traced call belongs to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from replay.errors import InputError
from replay.sources.importers.recording.victims import Sharer, Sigbus, parse_victims
from replay.trace.poison import PageKind
from replay.trace.schema import EventKind
from tests.sources.importers.recording.build import VICTIM, Lab

RAW = {"id": 7, "action": "raw", "kind": "buddy", "pfn": "0x11", "kpageflags_before": "0x400", "kpageflags_after": None}
MF, SOFT, UNPOISON = EventKind.MEMORY_FAILURE, EventKind.SOFT_OFFLINE_PAGE, EventKind.UNPOISON_MEMORY
PFN = 0x1005


def test_a_raw_line() -> None:
    (victim,) = parse_victims(json.dumps(RAW) + "\n\n" + json.dumps(RAW | {"skipped": "in use"}) + "\n", "f")
    assert (victim.number, victim.kind, victim.raw, victim.pfn) == (7, "buddy", True, 0x11)
    assert victim.flags == {"before": 0x400, "after": None}
    assert (victim.sharers, victim.policy, victim.early_kill) == ((), "default", None)


def test_a_line_with_processes() -> None:
    event = {"phase": "inject", "si_code": 4, "si_addr": "0x7f0000005000", "si_addr_lsb": 12}
    sharer = {"pid": 9, "sigbus": [event], "touch": "ok", "died_during_inject": True, "exit": "code"}
    (victim,) = parse_victims(json.dumps(VICTIM | {"id": 1, "sharers": [sharer]}), "f")
    assert victim.sharers == (Sharer(9, (Sigbus("inject", 4, 0x7F0000005000, 12),), "ok", True),)
    assert (victim.vaddr, victim.length, victim.sub, victim.head_offset) == (0x7F0000005000, 65536, 5, 5)
    assert (victim.policy, victim.handler, victim.freed, victim.early_kill) == ("late", True, False, 0)


@pytest.mark.parametrize(
    ("inject", "asked"),
    [
        ("debugfs hwpoison/unpoison-pfn", (1 << 64) - 62),
        ("/sys/devices/system/memory/hard_offline_page", (1 << 52) - 62),  # the file takes an address
        ("/sys/devices/system/memory/soft_offline_page", (1 << 52) - 62),
    ],
)
def test_a_number_that_is_no_pfn(inject: str, asked: int) -> None:
    (victim,) = parse_victims(json.dumps(RAW | {"pfn": "0xffffffffffffffc2", "inject": inject}), "f")
    assert victim.pfn == asked


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"id": 1}', json.dumps(RAW | {"pfn": "x"}), json.dumps(RAW | {"id": None})]
)
def test_damaged_lines(line: str) -> None:
    with pytest.raises(InputError, match="victims:2"):
        parse_victims(json.dumps(RAW) + "\n" + line, "victims")


def kinds(lab: Lab) -> list[tuple[int, int | None]]:
    """The page_kind that is given before each poison call."""
    state, result = None, []
    for row in lab.rows(EventKind.PAGE_STATE, MF, SOFT, UNPOISON):
        if row["kind"] == EventKind.PAGE_STATE:
            state = row["page_kind"]
        else:
            result.append((row["kind"], state))
            state = None
    return result


def test_phases_of_a_victim(tmp_path: Path) -> None:
    """inject looks at `before`, again at `after`, unpoison at `after_exit`."""
    lab = Lab(tmp_path)
    lab.victim(kpageflags_before="0x20000", kpageflags_after="0x80", kpageflags_after_exit="0x400")
    lab.mark("VICTIM id=1 begin kind=anon pid=200 pfn=0x1005 inject=hard")
    lab.poison("memory_failure", PFN, flags="0x0")
    lab.mark("VICTIM id=1 injected ret=0 errno=0")
    lab.mark("VICTIM id=1 again begin")
    lab.poison("memory_failure", PFN, flags="0x0")
    lab.mark("VICTIM id=1 again end ret=0")
    lab.mark("VICTIM id=1 unpoison begin pfn=0x1005")
    lab.poison("unpoison_memory", PFN)
    lab.mark("VICTIM id=1 unpoison end ret=0")
    lab.mark("VICTIM id=1 end")
    assert kinds(lab) == [(MF, PageKind.HUGE), (MF, PageKind.SLAB), (UNPOISON, PageKind.BUDDY)]


@pytest.mark.parametrize(
    ("pfn", "task", "joined"),
    [(PFN, 1, True), (PFN, 200, True), (PFN, 300, False), (PFN + 1, 1, False)],
)
def test_pfn_and_task_have_to_fit(tmp_path: Path, pfn: int, task: int, joined: bool) -> None:
    lab = Lab(tmp_path)
    lab.victim()
    lab.mark("VICTIM id=1 begin kind=anon")
    lab.poison("memory_failure", pfn, task, flags="0x0")
    lab.mark("VICTIM id=1 end")
    assert kinds(lab) == [(MF, PageKind.LRU if joined else None)]
    notes = lab.read()[2].notes
    assert ("1 of 1 poison calls have no line in victims.jsonl: no page is known" in notes) is not joined


def test_a_mark_of_the_same_time_may_stand_after_the_call(tmp_path: Path) -> None:
    for later, expected in ((0, PageKind.LRU), (1, None)):
        lab = Lab(tmp_path)
        lab.victim()
        lab.enter("memory_failure", 200, pfn=hex(PFN), flags="0x1")
        lab.clock -= 1 - later
        lab.mark("VICTIM id=1 begin kind=anon")
        lab.leave("memory_failure", 200, ret=0)
        lab.mark("VICTIM id=1 end")
        assert kinds(lab) == [(MF, expected)]


def test_one_pfn_again_and_again(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    given: list[dict[str, Any]] = [{"kpageflags_before": flags} for flags in ("0x80", "0x400", "0x100000000")]
    for number, flags in enumerate(given, 1):
        lab.victim(number, action="raw", **flags)
        lab.mark(f"VICTIM id={number} begin raw kind=x")
        lab.poison("soft_offline_page", PFN, flags="0x0", ret=-5)
        lab.mark(f"VICTIM id={number} end ret=-5")
    assert [kind for _, kind in kinds(lab)] == [PageKind.SLAB, PageKind.BUDDY, PageKind.RESERVED]


def test_a_victim_without_marks_is_not_used(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.victim()
    lab.mark("VICTIM id=1 begin kind=anon")
    lab.poison("memory_failure", PFN, flags="0x0")
    assert kinds(lab) == [(MF, None)]
    assert lab.read()[2].notes[-1] == "signals not recorded"
