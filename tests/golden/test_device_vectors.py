"""Vectors T90 to T105 of walk.md as rows of a trace, through both engines, for every kernel."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import pytest

from replay.kernel.calls import Kernel
from replay.kernel.config import KernelConfig
from replay.kernel.profiles import profile
from replay.kernel.region_nodes import Nodes, NodeSource, RegionNodes, region_nodes
from replay.trace.header import BootRange, MachineDescription, Resource
from replay.trace.schema import DaxAction, DaxDriver, EventKind, ResourceFlags, SectionFlags
from tests.kernel.test_dax import COLUMN, cell
from tests.property.engines import scalar, vector
from tests.property.strategies import STRINGS, Row

T = TypeVar("T")

L4 = (0x100000000, 0x140000000)  # boot RAM of the layout L4, bytes
PMEM = (0x140000000, 0x160000000)
BLOCK = 0x8000  # pages
KMEM, DEVICE = int(DaxDriver.KMEM), int(DaxDriver.DEVICE_DAX)
NODEV, INVALID, BUSY = -errno.ENODEV, -errno.EINVAL, -errno.EBUSY
REGION_INTERSECTS, DISJOINT = 0, 1

every_kernel = pytest.mark.parametrize("name", COLUMN)


def machine(*resources: Resource) -> MachineDescription:
    ram = Resource(L4[0], L4[1] - 1, "System RAM", busy=True, ram=True)
    pmem = Resource(PMEM[0], PMEM[1] - 1, "Persistent Memory")
    return MachineDescription(
        arch="x86_64",
        page_shift=12,
        section_size_bits=27,
        max_physmem_bits=46,
        memory_block_bytes=128 << 20,
        kernel="",
        memory=(BootRange(L4[0] >> 12, L4[1] >> 12),),
        resources=(ram, pmem, *resources),
    )


def play(name: str, rows: Sequence[Row], *resources: Resource) -> list[dict[str, Any]]:
    """Replay rows with both engines, which must say the same, and return the outcomes."""
    timed = [{**row, "time": i} for i, row in enumerate(rows)]
    kernel = profile(name)
    got = vector(machine(*resources), timed, kernel)
    assert got == scalar(machine(*resources), timed, kernel), name
    return got


def telling(name: str) -> str:
    """The kernel, but a write to bind tells the probe's code, as kernels do from v5.14 on."""
    told = "bind-returns-probe-code" in profile(name).features or COLUMN[name] == "A"
    return name if told else f"{name}+bind-returns-probe-code"


def region(start: int, end: int, node: int | None = 0) -> Row:
    """A region of the dax bus with the one device dax0.0 over bytes [start, end)."""
    row: Row = {"kind": EventKind.DAX_REGION, "key": DaxAction.CREATE, "value": 0, "start": start, "size": end - start}
    return row if node is None else row | {"node": node}


def write(key: DaxAction, driver: int, text: str = "dax0.0") -> Row:
    return {"kind": EventKind.DAX_DRIVER, "key": key, "label": STRINGS.index(text), "flags": driver}


def pfn_valid(pfn: int) -> Row:
    return {"kind": EventKind.PFN_VALID, "pfn": pfn}


def walk(start: int, end: int) -> Row:
    return {"kind": EventKind.WALK_SYSTEM_RAM_RANGE, "pfn": start >> 12, "nr_pages": end - start >> 12}


def entry(start: int, end: int, text: str, depth: int) -> Row:
    """Whether the resource tree has that entry: match says so."""
    state: Row = {"kind": EventKind.RESOURCE_STATE, "start": start, "size": end - start}
    return state | {"label": STRINGS.index(text), "value": depth}


def last(outcomes: Sequence[Mapping[str, Any]], column: str, count: int = 1) -> list[int]:
    return [int(o[column]) for o in outcomes[-count:]]


@every_kernel
def test_t90_walk_over_nothing(name: str) -> None:
    found = play(name, [walk(0x200000000, 0x210000000)])
    assert last(found, "ret") == [cell({"A": -1, "BCDEFG": INVALID}, name)]


@every_kernel
def test_t91_t93_kmem_memory_below_persistent_memory(name: str) -> None:
    start, end = 0x140000000, 0x150000000
    asked = {"kind": EventKind.REGION_INTERSECTS, "start": start, "size": end - start, "flags": int(ResourceFlags.RAM)}
    rows = [region(start, end), write(DaxAction.UNBIND, DEVICE), write(DaxAction.NEW_ID, KMEM)]
    found = play(name, [*rows, walk(start, end), asked])
    pages = cell({"A": 0, "BCDEFG": 0x10000}, name)
    assert found[-2]["pages"] == pages, f"T91 {name}"
    nested = name not in {"v6.1"} and COLUMN[name] in "FG"
    assert found[-1]["ret"] == (REGION_INTERSECTS if nested else DISJOINT), f"T93 {name}"


@every_kernel
def test_t92_walked_pages_are_rounded_inward(name: str) -> None:
    low = Resource(0x1000, 0x9FBFF, "System RAM", busy=True, ram=True)
    description = machine()
    rows: list[Row] = [{**walk(0, 0x100000), "time": 0}]
    whole = MachineDescription(**{**vars(description), "resources": (low, *description.resources)})
    [outcome] = vector(whole, rows, profile(name))
    assert outcome["pages"] == 0x9F - 0x1, f"T92 {name}"


PROBES: dict[str, tuple[tuple[int, int], dict[str, tuple[int, int]]]] = {
    # bytes of the device; code, pages added
    "T94": ((0x140200000, 0x150200000), {"A": (NODEV, 0), "BCDEFG": (0, 0x8000)}),
    "T95": (
        (0x141000000, 0x141000000 + (100 << 20)),
        {"A": (NODEV, 0), "BC": (BUSY, 0), "DE": (0, 0), "FG": (INVALID, 0)},
    ),
    "T96": (
        (0x140000000, 0x140000000 + (64 << 20)),
        {"A": (NODEV, 0), "BC": (BUSY, 0), "DE": (0, 0), "FG": (INVALID, 0)},
    ),
}


@every_kernel
@pytest.mark.parametrize("vector_id", PROBES)
def test_t94_to_t96_probe(vector_id: str, name: str) -> None:
    (start, end), row = PROBES[vector_id]
    rows = [region(start, end), write(DaxAction.UNBIND, DEVICE), write(DaxAction.NEW_ID, KMEM)]
    found = play(name, [*rows, walk(*PMEM)])
    code, pages = cell(row, name)
    assert last(found, "pages") == [pages], f"{vector_id} {name}"
    # new_id hides the code of the probe; bind tells it, where the first one failed.
    if code:
        bind = [*rows, write(DaxAction.BIND, KMEM)]
        assert last(play(telling(name), bind), "ret") == [code], f"{vector_id} {name}"
        assert last(play(name, bind), "ret") == [code if COLUMN[name] in "FG" else NODEV], f"{vector_id} {name}"
    else:
        gone = play(name, [*rows, write(DaxAction.UNBIND, KMEM)])
        assert last(gone, "ret") == [0], f"{vector_id} {name}: it was bound"


@every_kernel
def test_t97_no_target_node(name: str) -> None:
    rows = [region(PMEM[0], 0x150000000, None), write(DaxAction.UNBIND, DEVICE), write(DaxAction.NEW_ID, KMEM)]
    found = play(telling(name), [*rows, write(DaxAction.BIND, KMEM)])
    assert last(found, "ret") == [cell({"A": NODEV, "BCDEFG": INVALID}, name)]


@every_kernel
def test_t98_region_is_busy(name: str) -> None:
    somebody = Resource(0x148000000, 0x148FFFFFF, "somebody", busy=True)
    rows = [region(PMEM[0], 0x150000000), write(DaxAction.NEW_ID, KMEM), write(DaxAction.BIND, KMEM)]
    found = play(telling(name), rows, somebody)
    assert last(found, "ret") == [cell({"A": NODEV, "BCDEFG": BUSY}, name)]


@every_kernel
def test_t99_resource_names(name: str) -> None:
    rows = [region(PMEM[0], 0x150000000), write(DaxAction.UNBIND, DEVICE), write(DaxAction.NEW_ID, KMEM)]
    entries = [entry(PMEM[0], 0x150000000, text, depth) for text, depth in (
        ("dax0.0", 1), ("System RAM", 2), ("System RAM (kmem)", 2)
    )]  # fmt: skip
    found = play(name, [*rows, *entries])
    assert last(found, "match", 3) == cell({"A": [0, 0, 0], "BC": [1, 1, 0], "DEFG": [1, 0, 1]}, name)


@every_kernel
def test_t100_unbind_with_all_blocks_offline(name: str) -> None:
    rows = [region(PMEM[0], 0x150000000), write(DaxAction.UNBIND, DEVICE), write(DaxAction.NEW_ID, KMEM)]
    found = play(name, [*rows, pfn_valid(0x140000), write(DaxAction.UNBIND, KMEM), pfn_valid(0x140000)])
    assert last(found, "pages", 3)[::2] == cell({"A": [0, 0], "B": [1, 1], "CDEFG": [1, 0]}, name)
    assert found[-2]["ret"] == cell({"A": NODEV, "BCDEFG": 0}, name)


@every_kernel
def test_t101_unbind_with_one_block_online_then_bind(name: str) -> None:
    online: Row = {"kind": EventKind.MEMORY_BLOCK_ONLINE, "pfn": 0x140000, "nr_pages": BLOCK}
    state: Row = {"kind": EventKind.BLOCK_STATE, "pfn": 0x140000, "recorded_flags": int(SectionFlags.ONLINE)}
    rows = [region(PMEM[0], 0x150000000), write(DaxAction.UNBIND, DEVICE), write(DaxAction.NEW_ID, KMEM), online]
    found = play(telling(name), [*rows, write(DaxAction.UNBIND, KMEM), state, write(DaxAction.BIND, KMEM)])
    assert [found[-3]["ret"], found[-1]["ret"]] == cell({"A": [NODEV, NODEV], "BCDEFG": [0, BUSY]}, name)
    assert found[-2]["match"] == cell({"A": 0, "BCDEFG": 1}, name)


@every_kernel
def test_t102_new_id_while_bound(name: str) -> None:
    rows = [region(PMEM[0], 0x150000000), write(DaxAction.NEW_ID, KMEM)]
    bound: Row = {"kind": EventKind.DAX_STATE, "label": STRINGS.index("dax0.0"), "recorded_flags": DEVICE}
    bound |= {"start": PMEM[0], "size": 0x10000000, "node": 0}
    found = play(name, [*rows, bound])
    assert last(found, "ret", 2)[:1] == [cell({"A": NODEV, "BCDEFG": 0}, name)]
    assert last(found, "match") == [cell({"A": 0, "BCDEFG": 1}, name)]


@every_kernel
@pytest.mark.parametrize("text", ["dax0", "dax0x"])
def test_t103_malformed_ids(text: str, name: str) -> None:
    rows = [write(key, KMEM, "dax0") for key in (DaxAction.NEW_ID, DaxAction.REMOVE_ID)]
    expected = cell({"A": NODEV, "BCDEFG": INVALID}, name)
    assert last(play(name, rows), "ret", 2) == [expected, expected], text


def nodes_of(name: str, proximity: int | None) -> RegionNodes:
    """Nodes of a region as the firmware's tables tell: nodes 0 and 1 are online, 2 is not, and 1 is nearer to it."""
    nodes = Nodes(frozenset({0, 1}), {10: 0, 11: 1, 12: 2}, {(2, 0): 40, (2, 1): 20})
    kernel = Kernel(profile(name).features, KernelConfig())
    return region_nodes(kernel, nodes, NodeSource.NFIT, proximity=proximity)


@every_kernel
def test_t104_range_without_proximity(name: str) -> None:
    found = nodes_of(name, None)
    assert found.numa_node == -1
    assert found.target_node == cell({"A": None, "BCDEFG": -1}, name)
    if found.target_node is not None:
        hidden: Row = {"kind": EventKind.DAX_STATE, "label": STRINGS.index("dax0.0"), "recorded_flags": DEVICE}
        rows = [region(PMEM[0], 0x150000000, found.target_node), hidden, write(DaxAction.UNBIND, DEVICE)]
        outcomes = play(telling(name), [*rows, write(DaxAction.NEW_ID, KMEM), write(DaxAction.BIND, KMEM)])
        assert outcomes[1]["match"] == 1, f"{name}: the attribute is hidden"
        assert outcomes[-1]["ret"] == INVALID, name


@every_kernel
def test_t105_proximity_of_an_offline_node(name: str) -> None:
    found = nodes_of(name, 12)
    assert (found.numa_node, found.target_node) == cell({"A": (1, None), "BCDEFG": (1, 2)}, name)
    if found.target_node is not None:
        shown: Row = {
            "kind": EventKind.DAX_STATE,
            "label": STRINGS.index("dax0.0"),
            "recorded_flags": DEVICE,
            "node": 2,
        }
        assert last(play(name, [region(PMEM[0], 0x150000000, found.target_node), shown]), "match") == [1], name
