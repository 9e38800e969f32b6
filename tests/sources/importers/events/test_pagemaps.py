"""Pagemaps of events: followed where probes tell of them, assumed where errors imply them, never both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay.session import run
from replay.sources.importers.events.device_ranges import DeviceRange, device_ranges
from replay.sources.importers.events.evidence import insert_rows
from replay.sources.importers.events.machine import MachineSource, Seen, with_memory
from replay.sources.importers.events.pagemaps import ABSENT, UNKNOWN, AssumedRow, PagemapEvidence
from replay.sources.importers.events.text import EventOptions, import_text
from replay.sources.importers.machine.assemble import Given, assemble
from replay.sources.importers.rejects import Rejects
from replay.trace.header import BootRange, MachineDescription, Resource
from replay.trace.reader import TraceFile
from replay.trace.schema import EventKind, PgmapType
from replay.trace.writer import write_trace
from tests.sources.importers.events.imported import data, import_bytes, rows

RECORDED = Path(__file__).parents[4] / "traces" / "recorded"
RAW = Path(__file__).parents[1] / "recording" / "data" / "5.10.223-s2p-raw" / "trace.txt.gz"
MACHINE = Path(__file__).parents[1] / "machine" / "data"
SIZE = 512
X86 = MachineDescription("x86_64", 12, 27, 46, 1 << 27, "6.1.192", memory=(BootRange(0, 0x8000),))
CHANGES = {"memremap_pages", "memunmap_pages"}


def array(*values: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(values, np.int64)


def assumed(*facts: tuple[int, int, int], machine: MachineDescription = X86, **more: Any) -> list[tuple[Any, ...]]:
    evidence = PagemapEvidence(9)
    evidence.add(*(array(*column) for column in zip(*facts, strict=True)))
    found, _ = evidence.rows(machine, more.pop("devices", {}), **more)
    return [
        (r.before, r.kind.name[:6], r.values.get("pfn"), r.values.get("nr_pages"), r.values["pgmap"]) for r in found
    ]


def test_one_pagemap_for_neighbours_from_the_beginning() -> None:
    assert assumed((5, 0x10000, UNKNOWN), (9, 0x10200, UNKNOWN), (7, 0x10700, UNKNOWN)) == [
        (0, "MEMREM", 0x10000, 2 * SIZE, 1), (0, "MEMREM", 0x10600, SIZE, 2),
    ]  # fmt: skip


def test_a_pagemap_ends_where_there_was_none_and_comes_again() -> None:
    facts = [(1, 0x10000, ABSENT), (2, 0x10001, UNKNOWN), (3, 0x10002, UNKNOWN), (4, 0x10000, ABSENT),
             (6, 0x10003, UNKNOWN)]  # fmt: skip
    assert assumed(*facts) == [
        (2, "MEMREM", 0x10000, SIZE, 1), (4, "MEMUNM", None, None, 1), (6, "MEMREM", 0x10000, SIZE, 2),
    ]  # fmt: skip


def test_what_has_an_id_is_one_pagemap_with_all_between() -> None:
    facts = [(1, 0x10000, 3), (2, 0x10E00, 3), (3, 0x10E00, UNKNOWN), (4, 0x20000, UNKNOWN)]
    assert assumed(*facts) == [(0, "MEMREM", 0x10000, 8 * SIZE, 3), (0, "MEMREM", 0x20000, SIZE, 4)]


def test_no_pagemap_in_boot_memory_and_that_is_said() -> None:
    evidence = PagemapEvidence(9)
    evidence.add(array(0, 1), array(0x7FFF, 1 << 35), array(UNKNOWN, UNKNOWN))
    found, note = evidence.rows(X86, {})
    assert not found
    assert note.startswith("for 2 subsections")
    assert PagemapEvidence(9).rows(X86, {}) == ([], "")


def test_all_of_a_device_of_the_machine() -> None:
    """Its front, where the memmap is, is told by the resources; that it is the memmap, by ndctl."""
    given = Given(
        "7.2.13", iomem=MACHINE / "7.2.13-s6-poison-dax" / "iomem-05.txt",
        ndctl=MACHINE / "7.2.13-s6-poison-dax" / "ndctl.txt",
    )  # fmt: skip
    made = assemble(given, Rejects("x"))
    (device,) = device_ranges(made.machine, made.provenance.parameters)
    with TraceFile.open(RECORDED / "7.2.13-s6-poison-dax.arrow") as trace:
        batch = next(trace.batches())
        row = int(np.flatnonzero(batch.column("kind") == EventKind.MEMREMAP_PAGES)[0])
        names = ("pfn", "nr_pages", "pgmap_type", "altmap_base", "altmap_reserve", "altmap_free")
        recorded = {name: int(batch.column(name)[row]) for name in names}
    pfn, pages = recorded.pop("pfn"), recorded.pop("nr_pages")
    assert device == DeviceRange(pfn, pfn + pages, recorded, 0xA00)
    found = assumed(
        (3, 0x161A03, UNKNOWN), (5, 0x160000, ABSENT), machine=made.machine, devices=made.provenance.parameters
    )
    assert found == [(0, "MEMREM", 0x160000, 0x20000, 1)]
    # Data of which there was no pagemap at some moment: no longer is anything known of the rest of the device.
    found = assumed((3, 0x161A03, UNKNOWN), (5, 0x161A03, ABSENT), machine=made.machine)
    assert found == [(0, "MEMREM", 0x161A00, SIZE, 1), (5, "MEMUNM", None, None, 1)]


def test_devices_without_a_pagemap() -> None:
    """A raw namespace has no pages, and a dax device that is memory shows a resource of System RAM inside."""
    tree = (
        Resource(0x140000000, 0x14FFFFFFF, "namespace0.0"),
        Resource(0x150000000, 0x15FFFFFFF, "dax1.0", busy=True),
        Resource(0x150000000, 0x15FFFFFFF, "System RAM (kmem)", busy=True, ram=True),
        Resource(0x160000000, 0x16FFFFFFF, "namespace2.0"),
    )
    machine = MachineDescription("x86_64", 12, 27, 46, 1 << 27, "6.1.192", resources=tree)
    found = device_ranges(machine, {"namespace0.0": "raw, 1 bytes", "namespace2.0": "fsdax, 1 bytes, map=mem"})
    assert found == [DeviceRange(0x160000, 0x170000, {"pgmap_type": PgmapType.FS_DAX})]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("name", "maps"), [("5.10.223-s2p-raw", 4), ("7.2.13-s6-poison-dax", 20)])
def test_real_probes_of_pagemaps_are_followed(tmp_path: Path, name: str, maps: int, known: bool) -> None:
    """Then nothing is assumed, and a replay agrees; also where no machine is given."""
    path, kernel = RAW, name.split("-", maxsplit=1)[0]
    if name.startswith("7"):
        (path := tmp_path / "text").write_bytes(data("7.2.13/trace-dax.txt.gz"))
    source = MachineSource(trace=RECORDED / f"{name}.arrow") if known else MachineSource(kernel=kernel)
    report = import_text(path, tmp_path / "t.arrow", "ftrace", EventOptions(source), Rejects("x", strict=True))
    assert sum(report.events.get(kind, 0) for kind in CHANGES) == maps
    assert not [note for note in report.warnings if "pagemaps are assumed" in note]
    agreement = run(tmp_path / "t.arrow").to_dict()["agreement"]
    assert agreement["memremap_pages"]["agreed"] == report.events["memremap_pages"]
    assert {kind: a["differed"] for kind, a in agreement.items() if a["differed"]} == {}


def test_the_same_pagemaps_as_in_the_recording(tmp_path: Path) -> None:
    def pagemaps(path: Path) -> list[tuple[int, ...]]:
        names = ("pfn", "nr_pages", "pgmap_type", "altmap_base", "altmap_reserve", "altmap_free")
        return [tuple(r.get(n) for n in names) for r in rows(path) if r["kind"] == "memremap_pages" and "pgmap" in r]

    import_bytes(data("7.2.13/trace-dax.txt.gz"), tmp_path / "t.arrow", kernel="7.2.13")
    assert pagemaps(tmp_path / "t.arrow") == pagemaps(RECORDED / "7.2.13-s6-poison-dax.arrow")


def test_blocks_of_any_size_give_the_same_pagemaps(tmp_path: Path) -> None:
    text = data("7.2.13/trace-dax.txt.gz")
    found = []
    for size in (400, 1 << 20):
        import_bytes(text, tmp_path / "t.arrow", kernel="7.2.13", size=size)
        found.append([r for r in rows(tmp_path / "t.arrow", "window") if r["kind"] in CHANGES])
    assert found[0] == found[1]


def line(time: int, name: str, payload: str, task: str = "nd-5") -> bytes:
    return f"  {task}  [000] .....  1.{time:06d}: {name}: (f) {payload}\n".encode()


FULL = "pgmap=0xff10 nid=0 type=1 flags=0x0 nr_range=1 range_start=0x140000000 range_end=0x14fffffff"


def test_what_was_there_before_the_trace_began(tmp_path: Path) -> None:
    """Its removal tells which pages it had."""
    text = (
        line(1, "memory_failure_event", "")[:-5] + b"pfn 0x140005: recovery action for dax page: Failed\n"
        + line(2, "memunmap_pages", "pgmap=0xff10 range_start=0x140000000 range_end=0x14fffffff")
        + line(3, "memunmap_pages__return", "ret=0x0")
        + line(4, "get_dev_pagemap", "pfn=0x140005") + line(5, "get_dev_pagemap__return", "pgmap=0x0")
    )  # fmt: skip
    import_bytes(text, tmp_path / "t.arrow", kernel="6.1.192")
    got = [(r["kind"], r.get("pfn"), r.get("pgmap")) for r in rows(tmp_path / "t.arrow")]
    assert got == [("memremap_pages", 0x140000, 1), ("memory_failure", 0x140005, None), ("memunmap_pages", 0x140000, 1),
                   ("get_dev_pagemap", 0x140005, None)]  # fmt: skip
    assert run(tmp_path / "t.arrow").to_dict()["agreement"]["get_dev_pagemap"]["agreed"] == 1


def test_a_pointer_that_is_used_again_is_another_pagemap(tmp_path: Path) -> None:
    find = line(0, "get_dev_pagemap", "pfn=0x140005") + line(0, "get_dev_pagemap__return", "pgmap=0xff10")
    make = line(0, "memremap_pages", FULL) + line(0, "memremap_pages__return", "ret=0xff00000000000000")
    gone = line(0, "memunmap_pages", "pgmap=0xff10") + line(0, "memunmap_pages__return", "")
    import_bytes(make + find + gone + make + find, tmp_path / "t.arrow", kernel="6.1.192")
    got = rows(tmp_path / "t.arrow")
    assert [r.get("pgmap", r.get("recorded_pgmap")) for r in got] == [1, 1, 1, 2, 2]
    assert run(tmp_path / "t.arrow").to_dict()["agreement"]["get_dev_pagemap"]["agreed"] == 2


@pytest.mark.parametrize(
    ("text", "unused"),
    [
        (line(1, "memremap_pages", "pgmap=0xff10") + line(2, "memremap_pages__return", "ret=0xff00000000000000"),
         {"memremap_pages": 1, "memremap_pages__return": 1}),
        (line(1, "memremap_pages", FULL), {"call that has not returned": 1}),
        (line(1, "memremap_pages", FULL) + line(2, "memremap_pages__return", "ret=-12"),
         {"memremap_pages that failed": 2}),
        (line(1, "memremap_pages", FULL.replace("range=1", "range=2")) + line(2, "memremap_pages__return", "ret=0xff00"),
         {"memremap_pages of unknown result or ranges": 2}),
        (line(1, "memunmap_pages", "pgmap=0xff10") + line(2, "memunmap_pages__return", ""),
         {"memunmap_pages of a pagemap whose range is not known": 2}),
    ],
)  # fmt: skip
def test_what_is_not_told_is_not_followed(tmp_path: Path, text: bytes, unused: dict[str, int]) -> None:
    report = import_bytes(text, tmp_path / "t.arrow", kernel="6.1.192")
    assert report.unused == unused
    assert not rows(tmp_path / "t.arrow")
    failed = "memremap_pages that failed" in unused  # changed nothing
    assert any("were not followed" in note for note in report.warnings) is not failed


@pytest.mark.parametrize(
    ("what", "instead"),
    [("range_end=0x14", "range_end=0x13"), ("range_start=0x140000000", "range_start=0x140000001"),
     ("range_end=0x14fffffff", "range_end=0xffffffffffffffff"), ("nr_range=1", "nr_range=0"), ("pgmap=0xff10", "pgmap=0x0"),
     ("flags=0x0", "flags=0x1 altmap_base_pfn=0x1")],
)  # fmt: skip
def test_a_pagemap_that_cannot_be_is_rejected(tmp_path: Path, what: str, instead: str) -> None:
    table = Rejects("x")
    text = line(1, "memremap_pages", FULL.replace(what, instead))
    import_bytes(text, tmp_path / "t.arrow", kernel="6.1.192", rejects=table)
    assert table.by_reason == {"memremap_pages of a pagemap that cannot be": 1}


def test_rows_come_in_front_of_others_and_windows_grow() -> None:
    given = np.ones(4, bool)
    columns = {
        "time": (array(10, 20, 30, 40), given), "kind": (array(2, 2, 23, 2), given),
        "window": (array(2, 1, 0, 0), given),
    }  # fmt: skip
    new = [AssumedRow(10, EventKind.MEMREMAP_PAGES, {"pfn": 1}), AssumedRow(12, EventKind.MEMREMAP_PAGES, {"pfn": 2})]
    result = insert_rows(columns, new, 10)
    assert result["time"][0].tolist() == [10, 10, 20, 30, 30, 40]
    assert result["kind"][0].tolist() == [22, 2, 2, 22, 23, 2]
    assert result["window"][0].tolist() == [0, 3, 2, 0, 0, 0]
    assert result["pfn"][1].tolist() == [True, False, False, True, False, False]


def test_memory_that_was_added_after_boot_is_memory() -> None:
    seen = Seen()
    seen.add(array(0x9000, 0x7FFF, 0x18001))
    machine, blocks = with_memory(X86, seen, [(0x18200, 0x18400)])
    assert blocks == 2
    assert [(r.start, r.end) for r in machine.memory] == [
        (0, 0x8000), (0x8000, 0x10000), (0x18000, 0x18200), (0x18400, 0x20000),
    ]  # fmt: skip
    inside = Seen()
    inside.add(array(5))
    assert with_memory(X86, inside, []) == (X86, 0)


def test_evidence_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replay.sources.importers.events.pagemaps._MAX_RUNS", 10)
    evidence = PagemapEvidence(9)
    evidence.add(np.arange(50), np.arange(50) * 512 + 0x10000, np.full(50, UNKNOWN))
    found, note = evidence.rows(X86, {})
    assert [row.values["nr_pages"] for row in found] == [10 * SIZE]
    assert "for 40 subsections" in note


def test_a_machine_file_tells_what_its_devices_are(tmp_path: Path) -> None:
    nothing = np.zeros(0, np.uint64)
    given = Given("7.2.13", iomem=MACHINE / "7.2.13-s6-poison-dax" / "iomem-05.txt",
                  ndctl=MACHINE / "7.2.13-s6-poison-dax" / "ndctl.txt")  # fmt: skip
    made = assemble(given, Rejects("x"))
    write_trace(
        tmp_path / "m.arrow", {"time": nothing, "kind": nothing}, machine=made.machine, provenance=made.provenance
    )
    assert "dax0.0" in MachineSource(trace=tmp_path / "m.arrow").devices()
    assert MachineSource(trace=RECORDED / "7.2.13-s6-poison-dax.arrow").devices() == {}
