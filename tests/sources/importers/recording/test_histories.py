"""References that calls leave behind, as unpoison_memory finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replay.sources.importers.recording.histories import version_of
from replay.trace.poison import PageFlag, PageKind
from replay.trace.schema import EventKind
from tests.sources.importers.recording.build import FORMAT, Lab, Row

PFN = 0x1005


def unpoisoned(
    tmp_path: Path,
    action: str,
    result: str,
    *,
    name: str = "memory_failure",
    reference: int | None = None,
    **given: Any,
) -> Row:
    """The PAGE_STATE row before unpoison_memory, after a call that reported an action."""
    lab = Lab(tmp_path, kernel=given.pop("kernel", "6.1.192"))
    lab.files["memory_failure_event.format"] = FORMAT
    traced = given.pop("traced", False)
    lab.victim(**given)
    lab.mark("VICTIM id=1 begin kind=x")
    lab.poison(name, PFN, flags="0x0", inside=lambda: lab.action(PFN, action, result) if action else None)
    lab.mark("VICTIM id=1 unpoison begin")
    lab.poison(
        "unpoison_memory", PFN, inside=lambda: reference is None or lab.leave("get_hwpoison_page", 1, ret=reference)
    )
    lab.mark("VICTIM id=1 end")
    if traced:
        lab.poison("unpoison_memory", 1, inside=lambda: lab.leave("get_hwpoison_page", 1, ret=1))
    return lab.rows(EventKind.PAGE_STATE)[-1]


@pytest.mark.parametrize(
    ("kind", "result", "refs"),
    [
        ("dirty LRU page", "Recovered", 1),
        ("dirty LRU page", "Failed", 2),
        ("unmapping failed page", "Ignored", 2),
        ("already truncated LRU page", "Ignored", 2),
        ("already poisoned", "Failed", 1),
        ("dax page", "Failed", 1),
        ("get hwpoison page", "Ignored", 1),
        ("high-order kernel page", "Ignored", 1),
        ("free buddy page", "Recovered", 1),
        ("free buddy page", "Delayed", 0),
        ("dirty swapcache page", "Delayed", 1),  # it has left the swap cache
        ("dirty LRU page", "Postponed", 1),
        ("", "", 1),
    ],
)
def test_references(tmp_path: Path, kind: str, result: str, refs: int) -> None:
    state = unpoisoned(tmp_path, kind, result, kpageflags_after_exit="0x80000")
    assert (state["page_kind"], state.get("refs", 1), state.get("page_flags", 0)) == (PageKind.KERNEL, refs, 0)


def test_a_page_in_the_swap_cache(tmp_path: Path) -> None:
    state = unpoisoned(tmp_path, "dirty swapcache page", "Delayed", kpageflags_after_exit="0x87008")
    assert state["refs"] == 2


@pytest.mark.parametrize(("kernel", "refs", "flags"), [("5.10.223", 1, 0), ("6.1.192", 2, PageFlag.MAPPING_SET)])
def test_a_file_that_is_still_there(tmp_path: Path, kernel: str, refs: int, flags: int) -> None:
    given = {"kind": "tmpfs-file", "kernel": kernel, "kpageflags_after_exit": "0x80000"}
    state = unpoisoned(tmp_path, "dirty LRU page", "Recovered", **given)
    assert (state.get("refs", 1), state.get("page_flags", 0)) == (refs, flags)


@pytest.mark.parametrize(
    ("result", "reference", "traced", "refs"),
    [("Failed", 1, True, 1), ("Failed", 0, True, 0), ("Recovered", None, True, 2), ("Recovered", None, False, 1)],
)
def test_what_the_call_tells(tmp_path: Path, result: str, reference: int | None, traced: bool, refs: int) -> None:
    state = unpoisoned(
        tmp_path, "dirty LRU page", result, reference=reference, traced=traced, kpageflags_after_exit="0x80000"
    )
    assert state.get("refs", 1) == refs


def test_soft_offline_leaves_one_reference(tmp_path: Path) -> None:
    assert unpoisoned(tmp_path, "", "", name="soft_offline_page", kpageflags_after_exit="0x80000").get("refs", 1) == 1


@pytest.mark.parametrize(("after", "refs"), [("0x80000", 2), ("0x0", 1)])
def test_a_return_of_0_need_not_have_done_anything(tmp_path: Path, after: str, refs: int) -> None:
    lab = Lab(tmp_path, kernel="5.10.223")
    for number, name in enumerate(("memory_failure", "unpoison_memory", "unpoison_memory"), 1):
        flags = {"kpageflags_before": "0x80000" if number > 1 else "0x80", "kpageflags_after": after}
        lab.victim(number, action="raw", **flags)
        lab.mark(f"VICTIM id={number} begin raw")
        lab.poison(
            name, PFN, flags="0x0", inside=lambda n=number: n > 1 or lab.action(PFN, "kernel slab page", "Failed")
        )
        lab.mark(f"VICTIM id={number} end")
    assert [row.get("refs", 1) for row in lab.rows(EventKind.PAGE_STATE)] == [1, 2, refs]


def test_versions() -> None:
    assert [version_of(text) for text in ("5.10.223", "6.1", "7", "next.1")] == [(5, 10), (6, 1), (0, 0), (0, 0)]
