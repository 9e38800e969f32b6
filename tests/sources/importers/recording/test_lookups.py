"""What lookups answered, and the pfn_valid that only their callers' behaviour tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replay.errors import InputError
from replay.trace.schema import EventKind
from tests.sources.importers.recording.build import PROBES, Lab, Row

PFN, MAP = 0x10C000, 0xFF11000000001000
OLD = PROBES.replace("pfn_to_online_page ", "pfn_to_online_page_inlined ")


def answers(rows: list[Row]) -> list[tuple[int | None, ...]]:
    return [tuple(r.get(f"recorded_{name}") for name in ("ret", "slow", "pgmap")) for r in rows]


def test_pfn_to_online_page(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.online(PFN)
    lab.mark("STEP 01 begin a")
    lab.online(PFN, page=False)
    lab.mark("STEP 01 end a")
    lab.online(PFN, page=False, pgmap=MAP)
    lab.mark("STEP 02 begin a")
    lab.online(PFN, page=True, pgmap=0)
    lab.mark("STEP 02 end a")
    lab.online_enter(PFN)
    rows = lab.rows(EventKind.PFN_TO_ONLINE_PAGE, EventKind.GET_DEV_PAGEMAP)
    assert answers(rows) == [(1, 0, None), (0, 0, None), (0, 1, 1), (1, 1, 0), (None, None, None)]
    assert {r["task"] for r in rows} == {100}


def test_slow_is_not_known_without_the_probe(tmp_path: Path) -> None:
    lab = Lab(tmp_path, probes="pfn_to_online_page memory_failure")
    lab.online(PFN)
    assert answers(lab.rows(EventKind.PFN_TO_ONLINE_PAGE)) == [(1, None, None)]


def test_the_inlined_lookup(tmp_path: Path) -> None:
    lab = Lab(tmp_path, OLD, kernel="5.10.223")
    for pfn, page in ((PFN, "0x0"), (PFN + 1, hex(0xFF00000000000000 + 64 * (PFN + 1)))):
        lab.line("pfn_to_online_page_inlined", f"(stable_page_flags+0x0/0x420) pfn={pfn:#x} page={page}")
    assert answers(lab.rows(EventKind.PFN_TO_ONLINE_PAGE)) == [(0, None, None), (1, None, None)]


def test_the_filter_of_errors_is_no_lookup(tmp_path: Path) -> None:
    """It calls the probed function, too, where the register holds anything."""
    lab = Lab(tmp_path, OLD, kernel="5.10.223")
    probe = lambda: lab.line("pfn_to_online_page_inlined", f"(f+0x0/0x420) pfn=0x7 page={PFN:#x}")  # noqa: E731
    lab.poison("memory_failure", PFN, task=100, inside=probe, flags="0x0")
    lab.poison("memory_failure", PFN, task=100, flags="0x0")
    assert lab.rows(EventKind.PFN_TO_ONLINE_PAGE) == []


@pytest.mark.parametrize("event", ["pfn_to_online_page__return", "pfn_to_online_page_inlined"])
def test_the_page_of_another_pfn_is_refused(tmp_path: Path, event: str) -> None:
    lab = Lab(tmp_path)
    lab.online_enter(PFN)
    lab.line(event, f"(a <- b) pfn={PFN:#x} page=0xff00000000000040")
    with pytest.raises(InputError, match="page 0xff00000000000040 for pfn 0x10c000"):
        lab.read()


def test_a_pfn_beyond_every_address_is_refused(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.enter("memory_failure", pfn="0xffffffffffffffff", flags="0x0")
    with pytest.raises(InputError, match="a pfn below"):
        lab.read()
    lab.lines.pop()
    lab.enter("pfn_to_online_page", pfn="0xffffffffffffffff")
    with pytest.raises(InputError, match="a pfn below"):
        lab.read()


def test_pgmap_pfn_valid(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.map(MAP, PFN, 0x110000)
    for offset, ret in ((0, 0), (0x200, 1)):
        lab.enter("memory_failure", pfn=hex(PFN + offset), flags="0x0")
        lab.online(PFN + offset, page=False, pgmap=MAP)
        lab.pagemap(PFN + offset, MAP)
        lab.enter("pgmap_pfn_valid", pgmap=hex(MAP), pfn=hex(PFN + offset))
        lab.leave("pgmap_pfn_valid", ret=ret)
        lab.leave("memory_failure", ret=-6)
    rows = lab.rows(EventKind.PGMAP_PFN_VALID)
    assert [(r["pfn"], r["pgmap"], r["recorded_ret"], r["call"]) for r in rows] == [
        (PFN, 1, 0, 2), (PFN + 0x200, 1, 1, 3)
    ]  # fmt: skip


def failure(lab: Lab, name: str, online: bool | None, asked: int | None, ret: int | None) -> None:
    """A poison call that looks up its pfn (None: it does not), asks for its pagemap, and returns."""
    lab.enter(name, pfn=hex(PFN), flags="0x20")
    if online is not None:
        lab.online(PFN, page=online)
    if asked is not None:
        lab.pagemap(PFN, asked)
    if ret is not None:
        lab.leave(name, ret=ret)


@pytest.mark.parametrize(
    ("probes", "name", "online", "asked", "ret", "valid"),
    [
        (PROBES, "memory_failure", False, MAP, -6, 1),
        (PROBES, "memory_failure", False, 0, -6, 1),
        (PROBES, "memory_failure", False, MAP, None, 1),
        (PROBES, "memory_failure", False, None, -16, 0),
        (PROBES, "memory_failure", False, None, None, None),
        (PROBES, "memory_failure", True, None, 0, None),
        (PROBES, "memory_failure", None, None, -95, None),
        (PROBES, "soft_offline_page", True, None, 0, 1),
        (PROBES, "soft_offline_page", False, None, -5, 1),
        (PROBES, "soft_offline_page", None, None, -6, 0),
        (PROBES, "soft_offline_page", None, None, -95, 1),
        (PROBES, "soft_offline_page", None, None, None, None),
        (OLD, "memory_failure", None, MAP, -6, 1),
        (OLD, "memory_failure", None, None, -6, 0),
        (OLD, "memory_failure", None, None, 0, None),
        (OLD, "soft_offline_page", None, None, -6, 0),
        (OLD, "soft_offline_page", None, None, -5, 1),
    ],
)
def test_pfn_valid_is_deduced(
    tmp_path: Path, probes: str, name: str, online: bool | None, asked: int | None, ret: int | None, valid: int | None
) -> None:
    lab = Lab(tmp_path, probes)
    failure(lab, name, online, asked, ret)
    rows = lab.rows()
    caller = next(r for r in rows if r["kind"] in (EventKind.MEMORY_FAILURE, EventKind.SOFT_OFFLINE_PAGE))
    found = [r for r in rows if r["kind"] == EventKind.PFN_VALID]
    assert [(r["pfn"], r["recorded_ret"], r["call"], r["task"]) for r in found] == (
        [] if valid is None else [(PFN, valid, caller["call"], 100)]
    )
    assert caller.get("recorded_ret") == ret
    assert all(caller["row"] < r["row"] for r in found)


@pytest.mark.parametrize(
    ("kind", "returned", "expected"),
    [("dax page", "Failed", (17, 1)), ("some new page", "Recovered", (None, 3)), ("dax page", "Postponed", (17, None))],
)
def test_actions(tmp_path: Path, kind: str, returned: str, expected: tuple[Any, ...]) -> None:
    lab = Lab(tmp_path)
    lab.files["memory_failure_event.format"] = '__print_symbolic(REC->type, { 17, "dax page" })'
    lab.enter("memory_failure", pfn=hex(PFN), flags="0x20")
    lab.line("memory_failure_event", f"pfn {PFN:#x}: recovery action for {kind}: {returned}")
    lab.leave("memory_failure", ret=-6)
    lab.line("memory_failure_event", f"pfn {PFN:#x}: recovery action for dax page: Failed")
    rows, _, provenance, _ = lab.read()
    (row,) = (r for r in rows if r["kind"] == EventKind.MEMORY_FAILURE)
    assert (row.get("recorded_type"), row.get("recorded_result")) == expected
    assert (row["pfn"], row["flags"], row["recorded_ret"]) == (PFN, 0x20, -6)
    assert provenance.unused == {"memory_failure_event": 1}


def test_calls_nest(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.enter("unpoison_memory", 100, pfn=hex(PFN))
    lab.enter("memory_failure", 101, pfn=hex(PFN + 1), flags="0x0")
    lab.online(PFN, task=100)
    lab.online(PFN + 1, task=101)
    lab.online(PFN + 2, task=102)
    lab.leave("unpoison_memory", 100, ret=-5)
    lab.leave("memory_failure", 101, ret=0)
    lab.online(PFN + 3, task=100)
    rows = lab.rows(EventKind.PFN_TO_ONLINE_PAGE)
    assert [(r["pfn"], r.get("call")) for r in rows] == [(PFN, 1), (PFN + 1, 2), (PFN + 2, None), (PFN + 3, None)]


@pytest.mark.parametrize(
    "lines",
    [
        lambda lab: lab.online_leave(PFN, page=True),
        lambda lab: (lab.online_enter(PFN), lab.online(PFN)),
        lambda lab: lab.leave("memory_failure", ret=0),
        lambda lab: (
            lab.enter("online_pages", pfn="0x1", nr_pages="0x1"),
            lab.enter("memory_failure", pfn="0x1", flags="0x0"),
            lab.leave("online_pages", ret=0),
        ),
    ],
)
def test_halves_of_calls(tmp_path: Path, lines: Any) -> None:
    """Only lost events can leave them, so they are refused unless the recording is known to have lost some."""
    lab = Lab(tmp_path)
    lines(lab)
    with pytest.raises(InputError, match="an entry for every return"):
        lab.read()
    lab.files["kprobe_profile.txt"] = "  memory_failure   5   1\n"
    _, _, provenance, _ = lab.read(allow_loss=True)
    assert provenance.unused == {"half of a call": 1}
