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
