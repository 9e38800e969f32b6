"""nvdimm namespaces: vectors T53 to T55 of walk.md, the recorded layouts of its section 3.4, T104 and T105 (nodes)."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import pytest

from replay.errors import UsageError
from replay.kernel.boot import boot
from replay.kernel.calls import Kernel, Request, fact
from replay.kernel.config import config_for
from replay.kernel.dax import DaxDevice, DaxRegion, Driver, dax_probe
from replay.kernel.features import FEATURES
from replay.kernel.memremap import MEMREMAP_PAGES, MemremapPages
from replay.kernel.namespace import (
    ND_PFN_INIT,
    ND_PFN_VALIDATE,
    InfoBlock,
    Layout,
    Mode,
    Namespace,
    attach,
    create,
)
from replay.kernel.profiles import profile
from replay.kernel.region_nodes import REGION_NODES, Nodes, NodeSource, RegionNodes, region_nodes
from replay.kernel.resource_queries import PGMAP_PFN_VALID, MetadataFacts
from replay.machine.machine import Machine
from replay.machine.pagemaps import Altmap, Pagemap
from replay.machine.resources import Node
from replay.trace.header import BootRange, MachineDescription
from tests.kernel.test_dax import GOOD, cell, every_kernel, system

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
INVALID, BUSY, NO_ROOM, UNSUPPORTED = -errno.EINVAL, -errno.EBUSY, -errno.ENXIO, -errno.EOPNOTSUPP
ABSENT = "absent"


def empty(name: str, *memory: BootRange) -> tuple[Machine, Kernel]:
    """A machine with this boot RAM and nothing else."""
    features = profile(name).features
    description = MachineDescription("x86_64", 12, 27, 46, 128 * MIB, "", memory=memory)
    return boot(description, features), Kernel(features, config_for(description, features))


def laid_out(machine: Machine, kernel: Kernel, namespace: Namespace, **more: Any) -> tuple[InfoBlock, Layout]:
    """Info block and layout of a new namespace, which nobody refuses."""
    _, ret, info = create(machine, kernel, namespace, **more)
    assert ret == 0
    assert info is not None
    _, ret, layout = attach(machine.geometry, kernel, namespace, info)
    assert ret == 0
    assert layout is not None
    return info, layout


def mapped(machine: Machine, kernel: Kernel, layout: Layout) -> str:
    """The check that decides when the layout is mapped."""
    call = MemremapPages(machine, kernel, Request(pgmap=1, ranges=layout.ranges, altmap=layout.altmap))
    call.begin()
    call.done()
    return MEMREMAP_PAGES.checks[call.check].id


def dat(kernel: Kernel, layout: Layout, pfn: int) -> int | str:
    """pgmap_pfn_valid."""
    pagemap = Pagemap(1, layout.ranges, layout.altmap)
    inside = any(start <= pfn < end for start, end in pagemap.ranges)
    data = any(start <= pfn < end for start, end in pagemap.data_spans())
    check = PGMAP_PFN_VALID.checks[PGMAP_PFN_VALID.decide(MetadataFacts(fact(inside), fact(data)), kernel.features)]
    return ABSENT if check.id == "absent" else check.answer.value


def test_checks_name_features_that_exist() -> None:
    for function in (ND_PFN_INIT, ND_PFN_VALIDATE, REGION_NODES):
        assert len({check.id for check in function.checks}) == len(function.checks), function.name
        for check in function.checks:
            assert not {*check.needs, *check.unless} - set(FEATURES), f"{function.name}/{check.id}"


T53 = Namespace(0x140000000, GIB)
# T54 and T55 ask pgmap_pfn_valid, which only some kernels have.
PFN_VALID_EXISTS = {
    "ABC": ABSENT,
    "v5.10": ABSENT,
    "v5.10.223": "there",
    "v5.11": ABSENT,
    "EFG": "there",
}


@every_kernel
def test_t53_layout(name: str) -> None:
    machine, kernel = empty(name)
    info, layout = laid_out(machine, kernel, T53)
    # The vector speaks of D and later; the formulas of A to C give the same for a start that is section aligned.
    assert info.dataoff == 18 * MIB, f"T53 {name}"
    assert layout.altmap == Altmap(0x140000, 2, 4606), f"T53 {name}"
    assert (layout.first_pfn, layout.data) == (0x141200, 0x141200), f"T53 {name}"
    assert layout.ranges == ((0x140000, 0x180000),), f"T53 {name}"
    assert mapped(machine, kernel, layout) == "mapped", f"T53 {name}"


@every_kernel
def test_t54_metadata_and_data(name: str) -> None:
    machine, kernel = empty(name)
    _, layout = laid_out(machine, kernel, T53)
    answers = (dat(kernel, layout, 0x1411FF), dat(kernel, layout, 0x141200))
    expected = (0, 1) if cell(PFN_VALID_EXISTS, name) == "there" else (ABSENT, ABSENT)
    assert answers == expected, f"T54 {name}"


@every_kernel
def test_t55_mem_mode(name: str) -> None:
    machine, kernel = empty(name)
    info, layout = laid_out(machine, kernel, replace(T53, mode=Mode.MEM))
    assert (info.dataoff, layout.altmap) == (2 * MIB, None), f"T55 {name}"
    assert layout.first_pfn == 0x140000, f"T55 {name}: the info block counts as data"
    assert dat(kernel, layout, 0x140000) == (1 if cell(PFN_VALID_EXISTS, name) == "there" else ABSENT), f"T55 {name}"


# Recorded on 5.10.223, 6.1.192, 7.2.13: reserve and free by size. A and B round the page count up to sections.
RECORDED: dict[int, dict[str, tuple[int, int]]] = {
    16: {"AB": (2, 0x3FE), "CDEFG": (2, 0x1FE)},
    32: {"AB": (2, 0x3FE), "CDEFG": (2, 0x1FE)},
    64: {"AB": (2, 0x3FE), "CDEFG": (2, 0x1FE)},
    96: {"AB": (2, 0x3FE), "CDEFG": (2, 0x1FE)},
    160: {"AB": (2, 0x5FE), "CDEFG": (2, 0x3FE)},
    512: {"AB": (2, 0x9FE), "CDEFG": (2, 0x9FE)},
}


@every_kernel
@pytest.mark.parametrize("size", RECORDED)
@pytest.mark.parametrize("devdax", [False, True])
def test_recorded_layouts(size: int, name: str, *, devdax: bool) -> None:
    machine, kernel = empty(name)
    _, layout = laid_out(machine, kernel, Namespace(0x140000000, size * MIB, devdax=devdax))
    assert layout.altmap is not None
    what = f"recorded layout of {size} MiB {name} devdax {devdax}"
    assert (layout.altmap.reserve, layout.altmap.free) == cell(RECORDED[size], name), what
    assert layout.altmap.base == layout.ranges[0][0] == 0x140000, what
    assert mapped(machine, kernel, layout) == "mapped", what


@every_kernel
def test_start_within_a_section(name: str) -> None:
    machine, kernel = empty(name)
    _, layout = laid_out(machine, kernel, Namespace(0x144000000, GIB))
    first = 0x144000
    assert layout.altmap is not None
    base, reserve = cell({"AB": (0x140000, 0x4002), "CDEFG": (first, 2)}, name)
    assert (layout.altmap.base, layout.altmap.reserve) == (base, reserve), f"3.4 {name}"
    assert layout.data == first + 0x1200, f"3.4 {name}"
    assert layout.first_pfn == cell({"AB": first + 0x5200, "CDEFG": first + 0x1200}, name), f"3.4 {name}: overshoot"
    assert mapped(machine, kernel, layout) == "mapped", f"3.4 {name}"


@every_kernel
def test_section_shared_with_ram(name: str) -> None:
    # L1 of walk.md: the namespace starts in the middle of a section that starts with RAM.
    machine, kernel = empty(name, BootRange(0x100000, 0x1FC000))
    machine.resources.place(Node(0x1FC000000, 0x2FBFFFFFF, "Persistent Memory"))
    info, layout = laid_out(machine, kernel, Namespace(0x1FC000000, GIB))
    pad, trunc = cell({"AB": (64 * MIB, 0), "CDEFG": (0, 0)}, name)
    assert (info.start_pad, info.end_trunc) == (pad, trunc), f"3.4 {name}"
    assert layout.ranges == ((0x1FC000 + (pad >> 12), 0x23C000),), f"3.4 {name}"
    assert mapped(machine, kernel, layout) == "mapped", f"3.4 {name}: padded away from RAM, or subsections"


@every_kernel
def test_section_shared_with_another_region(name: str) -> None:
    machine, kernel = empty(name)
    before, behind = (0x140000000, 0x144000000), (0x184000000, 0x190000000)
    info, _ = laid_out(machine, kernel, Namespace(0x144000000, GIB), neighbours=(before, behind))
    row = {"A": (0, 0), "B": (64 * MIB, 64 * MIB), "CDEFG": (0, 0)}
    assert (info.start_pad, info.end_trunc) == cell(row, name), f"3.4 {name}"


@every_kernel
def test_minor_version(name: str) -> None:
    info, _ = laid_out(*empty(name), T53)
    row = {"AB": 2, "v5.3": 3, "v5.4": 4, "v5.4.195": 4, "DEFG": 4}
    assert info.minor == cell(row, name), f"3.4 {name}"


@every_kernel
def test_labels_of_devdax(name: str) -> None:
    small = Namespace(0x140000000, 64 * MIB, Mode.MEM, 4 * KIB, devdax=True)
    row = {"A": 136 * KIB, "B": 8 * KIB, "CDEFG": 2 * MIB}
    assert laid_out(*empty(name), small)[0].dataoff == cell(row, name), f"3.4 {name}"
    assert laid_out(*empty(name), replace(small, devdax=False))[0].dataoff == cell(
        {"AB": 8 * KIB, "CDEFG": 2 * MIB}, name
    )


# Return codes for new namespaces, and end_trunc where they are accepted.
NEW: dict[str, tuple[Namespace, dict[str, tuple[int, int | None]]]] = {
    "start at 1 MiB": (Namespace(0x140100000, GIB), {"AB": (0, MIB), "C": (0, MIB), "DEFG": (INVALID, None)}),
    "end at 1 MiB": (Namespace(0x140000000, GIB + MIB), {"AB": (0, MIB), "CDEFG": (0, MIB)}),
    "align 1 GiB": (
        Namespace(0x140000000, 2 * GIB + 512 * MIB, align=GIB),
        {"AB": (0, 512 * MIB), "CDEFG": (0, 512 * MIB)},
    ),
    "align 4 KiB, end at 64 MiB": (
        Namespace(0x140000000, GIB + 64 * MIB, align=4 * KIB),
        {"AB": (0, 0), "CDEFG": (0, 0)},
    ),
    "only metadata": (Namespace(0x140000000, 2 * MIB), {"ABCDEFG": (NO_ROOM, None)}),
    "no data behind the metadata": (
        Namespace(0x140000000, 3 * MIB),
        {"AB": (NO_ROOM, None), "CDEF": (0, MIB), "G": (NO_ROOM, None)},
    ),
}


@every_kernel
@pytest.mark.parametrize("case", NEW)
def test_new_namespace(case: str, name: str) -> None:
    namespace, row = NEW[case]
    check, ret, info = create(*empty(name), namespace)
    expected = cell(row, name)
    what = f"3.4 {case} {name}: {ND_PFN_INIT.checks[check].id} {info}"
    assert (ret, info.end_trunc if info else None) == expected, what


INFO = InfoBlock(18 * MIB, 0, 0, 2 * MIB, Mode.DEV, 4)
OLD: dict[str, tuple[Namespace, InfoBlock, dict[str, int]]] = {
    "fits": (T53, INFO, {"ABCDEFG": 0}),
    "mode changed": (replace(T53, mode=Mode.MEM), INFO, {"ABC": INVALID, "DEFG": UNSUPPORTED}),
    "align changed": (replace(T53, align=4 * KIB), INFO, {"ABC": INVALID, "DEFG": UNSUPPORTED}),
    "align exceeds": (
        replace(T53, align=2 * GIB),
        replace(INFO, align=2 * GIB),
        {"ABC": INVALID, "DEFG": UNSUPPORTED},
    ),
    "namespace shrunk": (replace(T53, size=16 * MIB), INFO, {"ABC": BUSY, "DEFG": UNSUPPORTED}),
    "data not aligned": (replace(T53, start=0x140100000), INFO, {"ABC": NO_ROOM, "DEFG": UNSUPPORTED}),
    "dataoff within a page": (
        replace(T53, align=1 * KIB),
        replace(INFO, dataoff=17 * KIB, align=1 * KIB),
        {"ABC": NO_ROOM, "DEFG": UNSUPPORTED},
    ),
    "end not aligned": (replace(T53, size=GIB + MIB), INFO, {"ABC": 0, "DEFG": UNSUPPORTED}),
    "no data": (replace(T53, size=20 * MIB), replace(INFO, end_trunc=2 * MIB), {"ABCDEF": 0, "G": UNSUPPORTED}),
    "padded long ago": (T53, replace(INFO, start_pad=64 * MIB, minor=2), {"ABCDEFG": 0}),
}


@every_kernel
@pytest.mark.parametrize("case", OLD)
def test_info_block_on_the_medium(case: str, name: str) -> None:
    namespace, info, row = OLD[case]
    machine, kernel = empty(name)
    check, ret, layout = attach(machine.geometry, kernel, namespace, info)
    assert ret == cell(row, name), f"3.4 {case} {name}: {ND_PFN_VALIDATE.checks[check].id}"
    assert (layout is None) == bool(ret), f"3.4 {case} {name}"


@pytest.mark.parametrize(("size", "align"), [(0, MIB), (-1, MIB), (MIB, 0), (MIB, 3 * MIB), (MIB, -MIB)])
def test_impossible_namespaces(size: int, align: int) -> None:
    with pytest.raises(UsageError, match="namespace"):
        Namespace(0, size, align=align)


@every_kernel
def test_t104_range_without_proximity(name: str) -> None:
    machine, kernel = system(name)
    found = region_nodes(kernel, Nodes(frozenset({0})), NodeSource.NFIT)
    assert found.numa_node == -1, f"T104 {name}"
    assert found.target_node == cell({"A": None, "BCDEFG": -1}, name), f"T104 {name}: hidden, or not there at all"
    dax = DaxDevice(DaxRegion(0, -1), ((GOOD[0], GOOD[1] - 1),))
    outcome = dax_probe(machine, kernel, Driver.KMEM, dax)
    assert outcome.ret == cell({"A": -errno.ENODEV, "BCDEFG": INVALID}, name), f"T104 {name}"
    assert outcome.applicable == cell({"A": False, "BCDEFG": True}, name), f"T104 {name}"


@every_kernel
def test_t105_proximity_of_an_offline_node(name: str) -> None:
    _, kernel = system(name)
    nodes = Nodes(frozenset({0, 1}), {0: 0, 1: 1, 7: 2}, {(2, 0): 30, (2, 1): 17})
    found = region_nodes(kernel, nodes, NodeSource.NFIT, proximity=7)
    assert found == RegionNodes(1, cell({"A": None, "BCDEFG": 2}, name)), f"T105 {name}"


@every_kernel
def test_new_proximity_domains_get_nodes(name: str) -> None:
    _, kernel = system(name)
    nodes = Nodes(frozenset({0}), {0: 0, 5: 2})
    found = [region_nodes(kernel, nodes, NodeSource.NFIT, proximity=p) for p in (9, 9, 8)]
    targets = cell({"A": [None] * 3, "BCDEFG": [1, 1, 3]}, name)
    assert found == [RegionNodes(0, target) for target in targets], f"5.2 {name}"
    assert nodes.of_proximity == {0: 0, 5: 2, 9: 1, 8: 3}, f"5.2 {name}"


@every_kernel
def test_regions_of_other_sources(name: str) -> None:
    _, kernel = system(name)
    nodes = Nodes(frozenset({0, 1}), {}, {(3, 0): 40, (3, 1): 30})
    e820 = region_nodes(kernel, nodes, NodeSource.E820, node=0, affinity=3)
    row = {"A": RegionNodes(0, None), "BC": RegionNodes(0, 0), "DEFG": RegionNodes(1, 3)}
    assert e820 == cell(row, name), f"5.2 {name} e820"
    tree = region_nodes(kernel, nodes, NodeSource.DEVICE_TREE, node=1)
    assert tree == cell({"A": RegionNodes(1, None), "BCDEFG": RegionNodes(1, 1)}, name), f"5.2 {name} device tree"


def test_nearest_online_node() -> None:
    nodes = Nodes(frozenset({4, 2, 3}), {}, {(9, 4): 15})
    assert [nodes.nearest_online(n) for n in (-1, 3, 9, 8)] == [-1, 3, 4, 2]
    assert Nodes(frozenset()).nearest_online(5) == 5
