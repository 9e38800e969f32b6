"""replay machine show: the memory of a trace's machine at any row, in words and as JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay.trace.schema import DaxAction, DaxDriver, DaxFlags, EventKind
from tests.trace.build import machine, write

PMEM = (0x140000000, 0x150000000)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A dax device that kmem takes, with one block online."""
    ram = {"start": 0x100000000, "end": 0x13FFFFFFF, "name": "System RAM", "busy": True, "ram": True}
    soft = {"start": PMEM[0], "end": PMEM[1] - 1, "name": "Soft Reserved", "busy": False, "ram": False}
    description = machine(
        memory=[{"start": 0x100000, "end": 0x140000, "node": 0, "nomap": False}],
        resources=[ram, soft],
        max_physmem_bits=46,
    )
    region = {"kind": EventKind.DAX_REGION, "key": DaxAction.CREATE, "value": 3, "node": 1, "flags": DaxFlags.KMEM}
    return write(
        tmp_path / "kmem.arrow",
        {**region, "start": PMEM[0], "size": PMEM[1] - PMEM[0]},
        {"kind": EventKind.MEMORY_BLOCK_ONLINE, "pfn": 0x148000, "nr_pages": 0x8000},
        {"kind": EventKind.DAX_DRIVER, "key": DaxAction.UNBIND, "label": 0, "flags": DaxDriver.KMEM},
        {"kind": EventKind.MARK, "label": 1},
        strings=["dax3.0", "STEP 01 end x"],
        machine=description,
    )


def test_json(replay, trace) -> None:
    data = replay("machine", "show", str(trace), "--profile", "v7.2", "--at", "2", "--json").json["data"]
    assert (data["row"], data["rows"], data["profile"]) == (2, 4, "v7.2")
    names = [(r["depth"], r["name"]) for r in data["resources"]]
    assert names == [(0, "System RAM"), (0, "Soft Reserved"), (1, "dax3.0"), (2, "System RAM (kmem)")]
    states = [(b["first"], b["last"], b["state"], b["node"]) for b in data["blocks"]]
    assert states == [(32, 39, "online", 0), (40, 40, "offline", 1), (41, 41, "online", 1)]
    assert [s["first_pfn"] for s in data["sections"]] == [0x100000, 0x140000, 0x148000]
    assert data["sections"][0]["flags"] == ["present", "mem_map", "online", "early"]
    (device,) = data["dax"]
    assert (device["name"], device["driver"], device["added"]) == ("dax3.0", "kmem", [True])
    assert device["ranges"] == [{"start": PMEM[0], "end": PMEM[1] - 1}]


def test_another_kernel_and_another_moment(replay, trace) -> None:
    """v6.1 gives the device to device_dax, which maps it; nothing has happened yet at row 0."""
    data = replay("machine", "show", str(trace), "-p", "v6.1", "--at", "1", "--json").json["data"]
    (pagemap,) = data["pagemaps"]
    assert pagemap["ranges"] == [{"first_pfn": PMEM[0] >> 12, "end_pfn": PMEM[1] >> 12}]
    assert data["dax"][0]["driver"] == "device_dax"
    assert data["dax"][0]["pagemap"] == pagemap["id"]
    before = replay("machine", "show", str(trace), "-p", "v6.1", "--at", "0", "--json").json["data"]
    assert (before["dax"], before["pagemaps"], len(before["resources"])) == ([], [], 2)


def test_words(replay, trace) -> None:
    answer = replay("machine", "show", str(trace), "--profile", "v7.2")
    assert (answer.code, answer.err) == (0, "")
    for part in (
        "after its last row",
        "140000000-14fffffff : Soft Reserved",
        "    140000000-14fffffff : System RAM (kmem) *",
        "hotremove failed",
        "pagemaps: none",
    ):
        assert part in answer.out, answer.out


@pytest.mark.parametrize("row", ["5", "-1"])
def test_a_row_that_is_not_there(replay, trace, row) -> None:
    answer = replay("machine", "show", str(trace), f"--at={row}")
    assert answer.code == 2
    assert "the trace has 4 rows" in answer.error


def test_no_trace(replay, tmp_path) -> None:
    assert replay("machine", "show", str(tmp_path / "none.arrow")).code == 3


def test_at_a_mark(replay, trace) -> None:
    assert replay("machine", "show", str(trace), "--at", "STEP 01", "--json").json["data"]["row"] == 3
    answer = replay("machine", "show", str(trace), "--at", "STEP 02")
    assert answer.code == 2
    assert "no mark begins with 'STEP 02'" in answer.error


def test_explain_shows_what_a_call_changed(replay, trace) -> None:
    """The part of the resource tree that changed, in words; all of it with --all; every part in JSON."""
    answer = replay("explain", str(trace), "0", "--profile", "v7.2")
    assert (answer.code, answer.err) == (0, "")
    for line in (
        "what it changed, until row 1 is reached",
        "    140000000-14fffffff : Soft Reserved",
        "  +   140000000-14fffffff : dax3.0",
        "  +     140000000-14fffffff : System RAM (kmem) *",
        "    and 1 entry as before; --all shows them",
        "  + blocks 40-41  pfns 0x140000-0x14ffff  state offline  node 1",
        "  + name dax3.0  bytes 0x140000000-0x14fffffff  driver kmem  target node 1  memory 1 of 1 ranges added",
        "  - max_pfn 0x140000",
    ):
        assert line in answer.out.splitlines(), f"{line!r} in {answer.out}"
    assert "    100000000-13fffffff : System RAM *" in replay("explain", str(trace), "0", "-p", "v7.2", "--all").out
    data = replay("explain", str(trace), "0", "--profile", "v7.2", "--json").json["data"]
    change = data["explanations"][0]["change"]
    assert change["until"] == 1
    assert [(r["sign"], r["name"]) for r in change["resources"]][-2:] == [("+", "dax3.0"), ("+", "System RAM (kmem)")]
    assert set(change) == {"until", "resources", "sections", "blocks", "dax", "max_pfn"}


def test_explain_of_what_is_refused(replay, trace) -> None:
    answer = replay("explain", str(trace), "2", "--profile", "v6.1")
    assert "what it changed, until row 3 is reached: nothing" in answer.out.splitlines(), (
        "kmem does not have the device"
    )


def test_media_and_bad_ranges(replay, tmp_path) -> None:
    """What an info block says and which ranges are bad, whether the namespace is in use or not."""
    first = 0x140000000
    info = {"kind": EventKind.NAMESPACE, "key": DaxAction.INFO, "label": 0, "start": first, "size": 1 << 29}
    info |= {"flags": 2, "pfn": (first >> 12) + 0x800, "nr_pages": 0x1F800, "value": 2 << 20, "map_shift": 12}
    found = {"kind": EventKind.BADBLOCKS, "key": 0, "start": first + (1 << 28) + 100, "size": 1000}
    path = write(tmp_path / "media.arrow", info, found, strings=["namespace0.0"])
    data = replay("machine", "show", str(path), "--json").json["data"]
    (block,) = data["info_blocks"]
    assert (block["namespace"], block["namespace_start"], block["kind"], block["memmap"]) == (
        "namespace0.0", first, "devdax", "dev",
    )  # fmt: skip
    assert (block["dataoff"], block["start_pad"], block["end_trunc"], block["minor"]) == (8 << 20, 0, 0, 4)
    assert data["badblocks"] == [{"start": first + (1 << 28), "end": first + (1 << 28) + 1535}]
    words = replay("machine", "show", str(path)).out
    assert "devdax, memmap in the device" in words
    assert "0x150000000-0x1500005ff" in words
    added = replay("explain", str(path), "1").out.splitlines()
    assert "  + bytes 0x150000000-0x1500005ff" in added
