"""Calls that change the machine: arguments, pieces, return codes, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replay.errors import InputError
from replay.sources.importers.recording.pagemaps import pagemap_type
from replay.trace.schema import AddFlags, EventKind, PgmapType, Phase
from tests.sources.importers.recording.build import PROBES, Lab, Row

LOW, HIGH, MAP = 0x10C000, 0x110000, 0xFF11000000001000


def shape(rows: list[Row]) -> list[tuple[Any, ...]]:
    return [(EventKind(r["kind"]).name, Phase(r["phase"]).name, r["call"]) for r in rows if r["kind"] < EventKind.MARK]


def test_memremap(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.map(MAP, LOW, HIGH, flags="0x1", altmap_base_pfn=hex(LOW), altmap_reserve="0x2", altmap_free="0x1fe")
    rows = lab.rows(EventKind.MEMREMAP_PAGES, EventKind.GET_DEV_PAGEMAP)
    names = "MEMREMAP_PAGES"
    assert shape(rows) == [
        ("GET_DEV_PAGEMAP", "WHOLE", 1), (names, "BEGIN", 1), (names, "SECTIONS", 1), (names, "ZONE", 1), (names, "DONE", 1)
    ]  # fmt: skip
    checks, begin, sections, zone, done = rows
    assert (checks["pfn"], checks["nr_pages"], checks["stride"], checks["recorded_pgmap"]) == (LOW, 2, 0x3FFF, 0)
    assert {k: begin[k] for k in ("pfn", "nr_pages", "pgmap", "pgmap_type", "node", "recorded_ret", "task")} == {
        "pfn": LOW, "nr_pages": 0x4000, "pgmap": 1, "pgmap_type": PgmapType.FS_DAX, "node": 0, "recorded_ret": 0, "task": 200
    }  # fmt: skip
    assert (begin["altmap_base"], begin["altmap_reserve"], begin["altmap_free"]) == (LOW, 2, 0x1FE)
    assert (sections["pfn"], sections["nr_pages"]) == (zone["pfn"], zone["nr_pages"]) == (LOW, 0x4000)
    assert "pfn" not in done


def test_altmap_fields_are_garbage_without_the_flag(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.map(MAP, LOW, HIGH, altmap_reserve="0xdeadbeef")
    assert all("altmap_base" not in r for r in lab.rows())


def test_pieces_per_section_where_that_is_traced(tmp_path: Path) -> None:
    lab = Lab(tmp_path, probes=PROBES + " sparse_add_section")
    lab.map_begin(MAP, LOW, 0x118000)
    lab.enter("arch_add_memory", 200, nid=0, start=hex(LOW << 12), size="0xc000000")
    lab.enter("__add_pages", 200, nid=0, pfn=hex(LOW), nr_pages="0xc000")
    for pfn, pages, ret in ((LOW, 0x4000, 0), (0x110000, 0x8000, -12)):
        lab.enter("sparse_add_section", 200, nid=0, pfn=hex(pfn), nr_pages=hex(pages))
        if ret:
            lab.enter("section_deactivate", 200, pfn=hex(pfn), nr_pages=hex(pages))
        lab.leave("sparse_add_section", 200, ret=ret)
    lab.leave("__add_pages", 200, ret=-12)
    lab.leave("arch_add_memory", 200, ret=-12)
    lab.enter("memunmap_pages", 200, pgmap=hex(MAP), range_start=hex(LOW << 12), range_end="0x117ffffff")
    lab.leave("memunmap_pages", 200)
    lab.leave("memremap_pages", 200, ret=hex((1 << 64) - 12))
    begin, sections, done = lab.rows(EventKind.MEMREMAP_PAGES, EventKind.MEMUNMAP_PAGES)
    assert (begin["recorded_ret"], begin["env"], begin["phase"]) == (-12, -12, Phase.BEGIN)
    assert (sections["pfn"], sections["nr_pages"], sections["phase"]) == (LOW, 0x4000, Phase.SECTIONS)
    assert done["phase"] == Phase.DONE


def test_a_conflict_that_the_trace_shows_is_no_act_of_the_environment(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.map(MAP, LOW, HIGH)
    lab.enter("memremap_pages", 200, pgmap=hex(MAP + 64), nid=0, type=3, flags="0x0", nr_range=1,
              range_start=hex(LOW << 12), range_end=hex((HIGH << 12) - 1))  # fmt: skip
    lab.pagemap(LOW, MAP, 200)
    lab.leave("memremap_pages", 200, ret=hex((1 << 64) - 12))
    begin = next(r for r in lab.rows(EventKind.MEMREMAP_PAGES) if r.get("pgmap") == 2)
    assert begin["recorded_ret"] == -12
    assert "env" not in begin


def test_pointers_are_reused(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.map(MAP, LOW, HIGH)
    lab.pagemap(LOW, MAP)
    lab.unmap(MAP, LOW, HIGH)
    lab.map(MAP, LOW, HIGH)
    lab.pagemap(LOW + 7, MAP)
    lab.enter("pgmap_pfn_valid", pgmap=hex(MAP), pfn=hex(LOW))
    lab.leave("pgmap_pfn_valid", ret=1)
    rows = lab.rows()
    assert [r["recorded_pgmap"] for r in rows if r["kind"] == EventKind.GET_DEV_PAGEMAP and "call" not in r] == [1, 2]
    assert [r["pgmap"] for r in rows if r["kind"] == EventKind.PGMAP_PFN_VALID] == [2]
    assert [r["pgmap"] for r in rows if "pgmap_type" in r] == [1, 2]
    assert [r["pgmap"] for r in rows if r["kind"] == EventKind.MEMUNMAP_PAGES and "pgmap" in r] == [1]


def test_a_pagemap_from_before_the_recording(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.pagemap(LOW, MAP)
    lab.pagemap(LOW + 1, MAP)
    lab.map(MAP, LOW, HIGH)
    lab.pagemap(LOW + 2, MAP)
    rows, _, provenance, _ = lab.read()
    found = [(r["recorded_pgmap"], r["nr_pages"]) for r in rows if r["kind"] == EventKind.GET_DEV_PAGEMAP]
    assert found == [(2, 2), (0, 2), (1, 1)]
    assert len(provenance.notes) == 1
    assert "before the recording began" in provenance.notes[0]


@pytest.mark.parametrize(
    ("fields", "found"),
    [({"nr_range": 2}, "2 ranges"), ({"type": 9}, "pagemap type 9"), ({"range_end": "0x0"}, "a pagemap of")],
)
def test_pagemaps_that_are_refused(tmp_path: Path, fields: dict[str, Any], found: str) -> None:
    lab = Lab(tmp_path)
    lab.map(MAP, LOW, HIGH, **fields)
    with pytest.raises(InputError, match=found):
        lab.read()


def test_pagemap_types() -> None:
    old, new = ([pagemap_type(kernel, n, "x") for n in (1, 2, 3, 4)] for kernel in ("5.10.223", "6.1.192"))
    assert old == [PgmapType.PRIVATE, PgmapType.FS_DAX, PgmapType.GENERIC, PgmapType.PCI_P2PDMA]
    assert new == [PgmapType.PRIVATE, PgmapType.COHERENT, PgmapType.FS_DAX, PgmapType.GENERIC]
    for kernel in ("5.4.1", "mainline"):
        with pytest.raises(InputError):
            pagemap_type(kernel, 1, "x")


@pytest.mark.parametrize("outer", ["__add_memory", "add_memory_driver_managed", "add_memory_resource"])
def test_add_memory_with_automatic_onlining(tmp_path: Path, outer: str) -> None:
    lab = Lab(tmp_path)
    if outer != "add_memory_resource":
        lab.enter(outer, 200, nid=1, start="0x118000000", size="0x8000000")
    lab.enter("add_memory_resource", 200, nid=1, start="0x118000000", end="0x11fffffff")
    lab.add(0x118000, 0x120000)
    lab.enter("online_pages", 200, pfn="0x118000", nr_pages="0x8000", arg3="0xff01")
    lab.enter("move_pfn_range_to_zone", 200, zone="0xff01", pfn="0x118000", nr_pages="0x8000")
    lab.enter("online_mem_sections", 200, start_pfn="0x118000", end_pfn="0x120000")
    lab.leave("online_pages", 200, ret=0)
    lab.leave("add_memory_resource", 200, ret=0)
    if outer != "add_memory_resource":
        lab.leave(outer, 200, ret=0)
    rows, _, _, strings = lab.read()
    rows = [r for r in rows if r["kind"] in (EventKind.ADD_MEMORY, EventKind.ONLINE_PAGES)]
    assert shape(rows) == [
        ("ADD_MEMORY", "BEGIN", 1), ("ADD_MEMORY", "SECTIONS", 1), ("ONLINE_PAGES", "BEGIN", 2),
        ("ONLINE_PAGES", "SECTIONS", 2), ("ONLINE_PAGES", "DONE", 2), ("ADD_MEMORY", "DONE", 1),
    ]  # fmt: skip
    begin, managed = rows[0], outer == "add_memory_driver_managed"
    assert (begin["pfn"], begin["nr_pages"], begin["node"], begin["recorded_ret"]) == (0x118000, 0x8000, 1, 0)
    assert begin["flags"] == (AddFlags.DRIVER_MANAGED if managed else 0)
    assert strings[begin["label"]] == ("System RAM (kmem)" if managed else "System RAM")


def test_remove_memory(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.enter("try_remove_memory", 200, nid=0, start="0x118000000", size="0x8000000")
    lab.enter("section_deactivate", 200, pfn="0x118000", nr_pages="0x8000")
    lab.leave("try_remove_memory", 200, ret=0)
    lab.enter("try_remove_memory", 200, start="0x118000000", size="0x8000000")
    lab.leave("try_remove_memory", 200, ret=-16)
    rows = lab.rows(EventKind.REMOVE_MEMORY)
    assert [r["phase"] for r in rows] == [Phase.BEGIN, Phase.SECTIONS, Phase.DONE, Phase.BEGIN, Phase.DONE]
    assert [r["recorded_ret"] for r in rows if r["phase"] == Phase.BEGIN] == [0, -16]


ADD = {"nid": 0, "start": "0x118000000", "size": "0x8000000"}
RANGE = {"pfn": "0x118000", "nr_pages": "0x8000"}


@pytest.mark.parametrize(
    ("name", "fields", "ret", "env"),
    [
        ("offline_pages", RANGE, -16, -16), ("offline_pages", RANGE, -4, -4), ("offline_pages", RANGE, -22, None),
        ("online_pages", RANGE, -16, None), ("online_pages", RANGE, -12, -12), ("online_pages", RANGE, -11, -11),
        ("__add_memory", ADD, -12, -12), ("__add_memory", ADD, -22, None), ("__add_memory", ADD, -17, None),
        ("__add_memory", ADD, -7, None), ("try_remove_memory", ADD, -16, None), ("__add_memory", ADD, 0, None),
    ],
)  # fmt: skip
def test_causes_outside_of_the_trace(
    tmp_path: Path, name: str, fields: dict[str, Any], ret: int, env: int | None
) -> None:
    lab = Lab(tmp_path)
    lab.enter(name, 200, **fields)
    lab.leave(name, 200, ret=ret)
    begin = next(r for r in lab.rows() if r.get("phase") == Phase.BEGIN)
    assert (begin["recorded_ret"], begin.get("env")) == (ret, env)


@pytest.mark.parametrize(
    ("name", "fields", "parents"),
    [
        ("arch_add_memory", ADD, "add_memory_resource.*memremap_pages"),
        ("__add_pages", RANGE, "memremap_pages"),
        ("section_deactivate", RANGE, "memunmap_pages, try_remove_memory"),
        ("online_mem_sections", {"start_pfn": "0x118000", "end_pfn": "0x120000"}, "online_pages"),
        ("offline_mem_sections", {"start_pfn": "0x118000", "end_pfn": "0x120000"}, "offline_pages"),
    ],
)
def test_a_change_by_an_unknown_caller_is_refused(
    tmp_path: Path, name: str, fields: dict[str, Any], parents: str
) -> None:
    lab = Lab(tmp_path)
    lab.enter(name, 200, **fields)
    with pytest.raises(InputError, match=f"{name} in no traced call; needed it in one of .*{parents}"):
        lab.read()
    lab.enter("memory_failure", 200, pfn="0x1", flags="0x0")
    lab.lines.append(lab.lines.pop(1))
    with pytest.raises(InputError, match=f"{name} in memory_failure"):
        lab.read()


@pytest.mark.parametrize(("start", "size"), [("0x118000800", "0x8000000"), ("0x118000000", "0x0")])
def test_memory_that_is_no_pages(tmp_path: Path, start: str, size: str) -> None:
    lab = Lab(tmp_path)
    lab.enter("__add_memory", 200, nid=0, start=start, size=size)
    with pytest.raises(InputError, match="whole pages"):
        lab.read()


def test_what_no_probe_shows_has_happened_by_the_return(tmp_path: Path) -> None:
    """Where the functions inside could not be probed, the whole call is the interval."""
    lab = Lab(tmp_path)
    lab.enter("online_pages", 200, **RANGE)
    lab.online(0x118000, task=300)
    lab.leave("online_pages", 200, ret=0)
    rows = lab.rows()
    lookup = next(r for r in rows if r["kind"] == EventKind.PFN_TO_ONLINE_PAGE)
    target = rows[lookup["row"] + lookup["window"]]
    assert (target["kind"], target["phase"]) == (EventKind.ONLINE_PAGES, Phase.DONE)
