"""What stays on the medium of a namespace, bad ranges, the dax class, ranges of one's own choice (walk.md 3.5, 5.7 to 5.9).

Rows of a trace through both engines, for every kernel.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from replay.engine.replay import Replayer
from replay.kernel.profiles import profile
from replay.machine.machine import Machine
from replay.trace.header import MachineDescription
from replay.trace.literals import batch_of
from replay.trace.outcomes import RET_UNDEFINED
from replay.trace.schema import BadblocksAction, DaxAction, DaxDriver, DaxFlags, EventKind, NamespaceFlags
from tests.golden.test_device_vectors import BLOCK, DEVICE, KMEM, NODEV, PMEM, machine, telling, write
from tests.kernel.test_dax import COLUMN, cell
from tests.property.engines import scalar, vector
from tests.property.strategies import STRINGS, Row

MIB, GIB = 1 << 20, 1 << 30
NAME = STRINGS.index("namespace0.0")
FSDAX, DEVDAX, KEEP, MEM = (
    int(NamespaceFlags.FSDAX), int(NamespaceFlags.DEVDAX), int(NamespaceFlags.KEEP), int(NamespaceFlags.MAP_MEM)
)  # fmt: skip
UNSUPPORTED, INVALID, NO_ROOM = -errno.EOPNOTSUPP, -errno.EINVAL, -errno.ENXIO
GIVE_UP: Row = {"kind": EventKind.NAMESPACE, "key": DaxAction.DELETE, "label": NAME}

every_kernel = pytest.mark.parametrize("name", COLUMN)


def use(flags: int, *, start: int = PMEM[0], size: int = 512 * MIB, **more: Any) -> Row:
    row: Row = {"kind": EventKind.NAMESPACE, "key": DaxAction.CREATE, "label": NAME, "node": 0}
    return row | {"start": start, "size": size, "flags": flags, **more}


def holds(dataoff: int, flags: int, *, pad: int = 0, trunc: int = 0, size: int = 512 * MIB, **more: Any) -> Row:
    """The medium has an info block with these offsets in bytes."""
    data = PMEM[0] + pad + dataoff
    row: Row = {"kind": EventKind.NAMESPACE, "key": DaxAction.INFO, "label": NAME, "start": PMEM[0], "size": size}
    row |= {"flags": flags, "pfn": data >> 12, "nr_pages": PMEM[0] + size - trunc - data >> 12, **more}
    return row | ({"altmap_base": PMEM[0] + pad >> 12} if pad else {})


def bad(action: BadblocksAction, start: int, size: int) -> Row:
    return {"kind": EventKind.BADBLOCKS, "key": int(action), "start": start, "size": size}


def play(
    name: str, rows: Sequence[Row], description: MachineDescription | None = None
) -> tuple[list[dict[str, Any]], Machine]:
    """Replay rows with both engines, which must say the same; return the outcomes and the machine of the vector engine."""
    timed = [{**row, "time": i} for i, row in enumerate(rows)]
    kernel, one = profile(name), description or machine()
    got = vector(one, timed, kernel)
    assert got == scalar(one, timed, kernel), name
    replayer = Replayer(one, kernel, STRINGS)
    if timed:
        replayer.feed(batch_of(timed, 0))
    return got, replayer.machine


def verdict(found: Sequence[dict[str, Any]], at: int = -1) -> tuple[int, str]:
    return found[at]["ret"], found[at]["check"]


def mapped(m: Machine) -> list[tuple[Any, ...]]:
    live = [p for p in m.pagemaps.by_id.values() if not p.gone]
    return [(p.ranges, p.altmap and (p.altmap.base, p.altmap.reserve, p.altmap.free)) for p in live]


@every_kernel
@pytest.mark.parametrize("flags", [FSDAX, FSDAX | MEM, DEVDAX, DEVDAX | MEM])
def test_a_namespace_is_what_it_was(name: str, flags: int) -> None:
    """Given up and put to use as it was, nobody says as what: the layout is the same."""
    _, before = play(name, [use(flags)])
    found, after = play(name, [use(flags), GIVE_UP, use(KEEP)])
    assert verdict(found) == (0, "namespace/changed"), name
    assert mapped(after) == mapped(before), name
    claims = [[(n.start, n.end, n.name) for _, n in m.resources.walk()] for m in (before, after)]
    assert claims[0] == claims[1], name


@every_kernel
def test_a_new_use_writes_a_new_block_and_raw_leaves_the_old_one(name: str) -> None:
    rows = [use(FSDAX), GIVE_UP, use(DEVDAX), GIVE_UP, use(0), GIVE_UP, use(KEEP)]
    _, m = play(name, rows)
    assert list(m.devices.daxes) == ["dax0.0"], name


@every_kernel
def test_a_block_of_another_kernel_decides_where_the_data_are(name: str) -> None:
    """v4.18 reserved 128 KiB for labels, and padded to sections: its offsets hold in every kernel."""
    rows = [holds(10 * MIB, DEVDAX, pad=64 * MIB, trunc=2 * MIB, value=2 * MIB), use(KEEP)]
    found, m = play(name, rows)
    assert verdict(found) == (0, "namespace/changed"), name
    device = m.devices.daxes["dax0.0"]
    assert device.ranges == ((PMEM[0] + 74 * MIB, PMEM[0] + 510 * MIB - 1),), name
    (ranges, altmap), = mapped(m)  # fmt: skip
    assert ranges == ((0x144000, 0x15FE00),), name
    base, reserve = cell({"AB": (0x140000, 0x4002), "CDEFG": (0x144000, 2)}, name)
    assert altmap == (base, reserve, 10 * MIB // 4096 - 2), name


@every_kernel
def test_settings_that_differ_from_the_block(name: str) -> None:
    rows = [use(DEVDAX), GIVE_UP]
    refused = cell({"ABC": INVALID, "DEFG": UNSUPPORTED}, name)
    for asked in (use(DEVDAX | KEEP | MEM), use(DEVDAX | KEEP, value=4096)):
        found, m = play(name, [*rows, asked])
        assert found[-1]["ret"] == refused, name
        assert not m.devices.namespaces, name
    # Without the same identity a new block is written, of whatever settings.
    found, _ = play(name, [*rows, use(DEVDAX | MEM)])
    assert found[-1]["ret"] == 0, name


# What becomes of a namespace that nobody says a use of, by what its medium holds: code, whether it is raw.
BLOCKS: dict[str, tuple[Row, dict[str, tuple[int, bool]]]] = {
    "fits": (holds(2 * MIB, FSDAX | MEM, value=2 * MIB), {"ABCDEFG": (0, False)}),
    "larger pages, memmap in the device": (
        holds(10 * MIB, FSDAX, value=2 * MIB, map_shift=16),
        {"AB": (0, False), "v5.3": (0, False), "C": (UNSUPPORTED, False), "DEFG": (UNSUPPORTED, False)},
    ),
    "larger pages, memmap in RAM": (holds(2 * MIB, FSDAX | MEM, value=2 * MIB, map_shift=16), {"ABCDEFG": (0, False)}),
    "devdax, 16 MiB": (
        holds(16 * MIB, DEVDAX, value=16 * MIB),
        {"AB": (0, False), "v5.3": (0, False), "C": (UNSUPPORTED, False), "DEFG": (UNSUPPORTED, False)},
    ),
    "fsdax, 16 MiB": (holds(16 * MIB, FSDAX, value=16 * MIB), {"ABCDEFG": (0, False)}),
    "no alignment, version 1": (holds(16 * MIB, FSDAX), {"ABCDEFG": (0, False)}),
    "data not aligned": (holds(3 * MIB, FSDAX, value=2 * MIB), {"ABC": (0, True), "DEFG": (UNSUPPORTED, False)}),
    "end not at a subsection": (
        holds(10 * MIB, FSDAX, value=2 * MIB, trunc=MIB), {"ABC": (0, False), "DEFG": (UNSUPPORTED, False)}
    ),
}  # fmt: skip


@every_kernel
@pytest.mark.parametrize("case", BLOCKS)
def test_a_block_that_a_kernel_does_not_take(case: str, name: str) -> None:
    """Up to v5.7 a namespace whose block is not taken is raw; then it is not put to use."""
    row, expected = BLOCKS[case]
    code, raw = cell(expected, name)
    found, m = play(name, [row, use(KEEP)])
    if COLUMN[name] == "C" and case == "end not at a subsection":
        assert found[-1]["ret"] == INVALID, f"{name}: memremap_pages refuses it"
        return
    assert found[-1]["ret"] == code, f"{case} {name}: {found[-1]['check']}"
    used = m.devices.namespaces.get("namespace0.0")
    assert (used is not None) is (code == 0), f"{case} {name}"
    if used is not None:
        assert (used.device is None and not used.pgmap) is raw, f"{case} {name}"


@every_kernel
def test_a_bad_block_in_the_info_block(name: str) -> None:
    """It cannot be read: neither taken nor replaced. Nobody asking for more, the namespace is raw."""
    spoiled = bad(BadblocksAction.FOUND, PMEM[0] + 5000, 1)
    for asked in (use(FSDAX), use(DEVDAX | KEEP)):
        found, m = play(name, [use(FSDAX), GIVE_UP, spoiled, asked])
        assert verdict(found) == (NO_ROOM, "nd_pfn_validate/unreadable"), name
        assert not m.devices.namespaces, name
    found, m = play(name, [use(FSDAX), GIVE_UP, spoiled, use(KEEP)])
    assert verdict(found) == (0, "namespace/changed"), name
    assert mapped(m) == [], f"{name}: raw, of an NFIT region"
    # Cleared, it is what it was.
    mended = bad(BadblocksAction.CLEARED, PMEM[0] + 4096, 4096)
    _, m = play(name, [use(FSDAX), GIVE_UP, spoiled, mended, use(KEEP)])
    assert len(mapped(m)) == 1, name


@every_kernel
@pytest.mark.parametrize(("flags", "left"), [(FSDAX, 1), (FSDAX | MEM, 2), (0, 2)])
def test_errors_below_the_memmap_are_cleared_when_it_is_made(name: str, flags: int, left: int) -> None:
    found = [bad(BadblocksAction.FOUND, PMEM[0] + at, 512) for at in (MIB, 256 * MIB)]
    _, m = play(name, [*found, use(flags)])
    assert len(list(m.badblocks)) == left, name


@every_kernel
def test_drivers_do_not_look_at_bad_ranges(name: str) -> None:
    """kmem, device_dax and memremap_pages do the same with bad ranges in the data and without."""
    life = [
        use(DEVDAX), write(DaxAction.UNBIND, DEVICE), write(DaxAction.NEW_ID, KMEM),
        {"kind": EventKind.MEMORY_BLOCK_ONLINE, "pfn": PMEM[0] // 4096 + BLOCK, "nr_pages": BLOCK},
        {"kind": EventKind.PFN_TO_ONLINE_PAGE, "pfn": PMEM[0] // 4096 + BLOCK, "nr_pages": 64},
        write(DaxAction.UNBIND, KMEM), GIVE_UP,
    ]  # fmt: skip
    spoiled = [bad(BadblocksAction.FOUND, PMEM[0] + n * 64 * MIB, 4096) for n in range(1, 8)]
    plain, _ = play(name, life)
    found, m = play(name, [*spoiled, *life])
    assert found[len(spoiled) :] == plain, name
    assert len(list(m.badblocks)) == len(spoiled), name


@every_kernel
def test_an_error_that_is_reported(name: str) -> None:
    """A cache line makes one sector bad, the hardware's word maybe more; regions that are not of the NFIT are not known."""
    at = PMEM[0] + 64 * MIB + 0x1234
    found, m = play(name, [bad(BadblocksAction.REPORTED, at, 4096)])
    sector = (PMEM[0] + 64 * MIB + 0x1000) // 512
    expected = cell({"ABCDE": [(sector + 1, sector + 2, 1)], "FG": [(sector, sector + 8, 1)]}, name)
    assert list(m.badblocks) == expected, name
    found, m = play(name, [bad(BadblocksAction.REPORTED, 0x110000000, 4096)])
    assert verdict(found) == (0, "badblocks/elsewhere"), name
    assert list(m.badblocks) == [], name


def test_a_row_without_a_place_does_nothing() -> None:
    """As in traces of format 1.0."""
    found, m = play("v6.1", [{"kind": EventKind.BADBLOCKS}])
    assert verdict(found) == (0, "badblocks/nowhere")
    assert list(m.badblocks) == []


# The class /sys/class/dax.


@every_kernel
def test_a_device_of_the_class_is_on_no_bus(name: str) -> None:
    """With the compat driver a devdax namespace is mapped at once, and no driver of the bus ever gets it."""
    compat = replace(machine(), config={"DEV_DAX_PMEM_COMPAT": True})
    dump: Row = {"kind": EventKind.DAX_DUMP, "value": 0}
    writes = [write(DaxAction.NEW_ID, KMEM), write(DaxAction.UNBIND, DEVICE), write(DaxAction.BIND, KMEM)]
    found, m = play(name, [use(DEVDAX), *writes, dump, GIVE_UP], compat)
    codes = [outcome["ret"] for outcome in found[1:4]]
    assert codes == cell({"A": [NODEV] * 3, "BCDE": [0, NODEV, NODEV], "FG": [0, 0, 0]}, name)
    assert found[4]["match"] == cell({"ABCDE": 1, "FG": 0}, name)
    assert found[5]["ret"] == 0, name
    assert [node.name for _, node in m.resources.walk()][2:] == [], name
    _, m = play(name, [use(DEVDAX), *writes], compat)
    assert m.devices.daxes["dax0.0"].driver == cell({"ABCDE": "device_dax", "FG": "kmem"}, name)


@pytest.mark.parametrize("name", ["v5.1", "v5.12"])
def test_a_device_of_the_class_that_cannot_be_mapped(name: str) -> None:
    """Its claim fails, so the namespace is not put to use, and nothing is left of it."""
    compat = replace(machine(), config={"DEV_DAX_PMEM_COMPAT": True})
    somebody = {"kind": EventKind.RESOURCE_INSERT, "start": PMEM[0] + 256 * MIB, "size": 4096, "label": 3, "flags": 1}
    found, m = play(name, [somebody, use(DEVDAX)], compat)
    assert verdict(found) == (-errno.EBUSY, "device_dax_probe/claimed")
    assert (m.devices.daxes, m.devices.regions, m.devices.namespaces) == ({}, {}, {})


# Ranges of one's own choice.

REGION: Row = {"kind": EventKind.DAX_REGION, "key": DaxAction.CREATE, "value": 3, "start": PMEM[0], "size": 512 * MIB}
DYNAMIC: Row = {**REGION, "node": 0, "flags": int(DaxFlags.DYNAMIC)}


def of_device(key: DaxAction, device: str = "dax3.0", **more: Any) -> Row:
    return {"kind": EventKind.DAX_DEVICE, "key": key, "label": STRINGS.index(device), **more}


def mapping(start: int, size: int, device: str = "dax3.0") -> Row:
    return of_device(DaxAction.MAPPING, device, start=PMEM[0] + start, size=size)


@pytest.mark.parametrize("name", [name for name in COLUMN if COLUMN[name] in "DEFG"])
def test_kmem_adds_every_range_of_a_device(name: str) -> None:
    rows = [
        DYNAMIC, of_device(DaxAction.CREATE), mapping(256 * MIB, 128 * MIB), mapping(0, 128 * MIB),
        write(DaxAction.NEW_ID, KMEM, "dax3.0"),
    ]  # fmt: skip
    found, m = play(name, rows)
    assert [outcome["ret"] for outcome in found] == [0] * 5, name
    device = m.devices.daxes["dax3.0"]
    assert device.ranges == (
        (PMEM[0] + 256 * MIB, PMEM[0] + 384 * MIB - 1), (PMEM[0], PMEM[0] + 128 * MIB - 1),
    ), name  # fmt: skip
    assert device.added == [True, True], name
    assert m.resources.ram_ranges(0x140000, 0x160000, 12, children=True) == [(0x140000, 0x148000), (0x150000, 0x158000)]
    # A third range comes while kmem has the device; kmem does not know of it, and what unbinding does is anybody's guess.
    found, _ = play(name, [*rows, mapping(384 * MIB, 128 * MIB), write(DaxAction.UNBIND, KMEM, "dax3.0")])
    assert [outcome["ret"] for outcome in found[-2:]] == [0, RET_UNDEFINED], name
    # device_dax gives back what it claimed, no more.
    bound = [*rows[:-1], write(DaxAction.BIND, DEVICE, "dax3.0")]
    found, m = play(telling(name), [*bound, mapping(384 * MIB, 128 * MIB), write(DaxAction.UNBIND, DEVICE, "dax3.0")])
    assert [outcome["ret"] for outcome in found[-3:]] == [0, 0, 0], name
    assert [node.name for _, node in m.resources.walk()] == ["System RAM", "Persistent Memory"], name


WRITES: dict[str, tuple[list[Row], dict[str, int]]] = {
    "not free": ([mapping(0, 2 * MIB), mapping(0, 2 * MIB)], {"DEFG": -errno.ENOMEM}),
    "outside": ([mapping(510 * MIB, 4 * MIB)], {"DEFG": -errno.ENOMEM}),
    "misaligned size": ([mapping(0, MIB)], {"DEF": NO_ROOM, "G": 0}),
    "a start that cannot be mapped": ([mapping(MIB, 2 * MIB)], {"DEFG": 0}),
    "of nobody": ([mapping(0, 2 * MIB, "dax3.1")], {"DEFG": -errno.ENOENT}),
    "size below a subsection": (
        [of_device(DaxAction.ALIGN, value=4096), of_device(DaxAction.SIZE, start=0, size=4096)], {"DEFG": INVALID}
    ),
    "no such alignment": ([of_device(DaxAction.ALIGN, value=16 * MIB)], {"DEFG": INVALID}),
    "a range that does not fit the alignment": (
        [mapping(0, 512 * MIB), of_device(DaxAction.ALIGN, value=GIB)], {"DEFG": INVALID}
    ),
    "delete the first": ([of_device(DaxAction.DELETE)], {"DEFG": -errno.EBUSY}),
    "delete nobody": ([of_device(DaxAction.DELETE, "dax3.1")], {"DEFG": NO_ROOM}),
    "delete another": ([of_device(DaxAction.CREATE, "dax3.1"), of_device(DaxAction.DELETE, "dax3.1")], {"DEFG": 0}),
    "bind, nothing in it": ([write(DaxAction.BIND, DaxDriver.DEVICE_DAX, "dax3.0")], {"DE": NODEV, "FG": NO_ROOM}),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in COLUMN if COLUMN[name] in "DEFG"])
@pytest.mark.parametrize("case", WRITES)
def test_writes_to_files_of_a_dynamic_region(case: str, name: str) -> None:
    rows, expected = WRITES[case]
    found, m = play(name, [DYNAMIC, of_device(DaxAction.CREATE), *rows])
    assert found[-1]["ret"] == cell(expected, name), f"{case} {name}: {found[-1]['check']}"
    if case == "misaligned size":
        assert m.devices.daxes["dax3.0"].ranges == (), name


@pytest.mark.parametrize(
    ("key", "more", "code"),
    [
        (DaxAction.MAPPING, {"start": PMEM[0], "size": 2 * MIB}, -errno.ENOENT),
        (DaxAction.CREATE, {}, -errno.ENOENT),
        (DaxAction.SIZE, {"start": 0, "size": 2 * MIB}, -errno.EACCES),
        (DaxAction.ALIGN, {"value": 4096}, -errno.EACCES),
    ],
)
def test_files_of_a_static_region(key: DaxAction, more: Row, code: int) -> None:
    found, _ = play("v6.1", [{**REGION, "node": 0}, of_device(key, **more)])
    assert found[-1]["ret"] == code
