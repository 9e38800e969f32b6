"""T60 to T82: adding, removing, onlining and offlining RAM on x86_64."""

from __future__ import annotations

from replay.trace.outcomes import RET_BUG
from replay.trace.schema import AddFlags
from tests.vectors.lookups import L1, L2, L4, L4_PMEM, MAP_L1, NULL, P
from tests.vectors.model import (
    E2BIG,
    EBUSY,
    EEXIST,
    EINVAL,
    EPERM,
    NOT_APPLICABLE,
    RAM,
    UNDEFINED,
    UNSPECIFIED,
    Layout,
    Vector,
    add,
    block_offline,
    block_online,
    early,
    iomem,
    map_dev,
    offline,
    online,
    pv,
    remove,
    top,
)

NA = NOT_APPLICABLE

ADD, ONLINE, OFFLINE, REMOVE = (f(0x140000, 0x148000) for f in (add, online, offline, remove))
BOOT_BLOCK = (0x138000, 0x140000)

_RAM = iomem(0x100000, 0x140000, "System RAM", RAM)
L4_BUSY = Layout(L4.memory, (_RAM, iomem(0x140000, 0x148000, "dax0.0", "b")))
L4_PARTIAL = Layout(L4.memory, (_RAM, iomem(0x140000, 0x144000, "Persistent Memory")))
L4_MEMMAP = Layout(L4.memory, config=(("memmap_on_memory", True),))

VECTORS = (
    Vector("T60", L4, (), (ADD, pv(0x140000), top(0x140000)), {"ABCDEF": (0, 1, NULL)}),
    Vector("T61", L4, (ADD,), (ONLINE, top(0x140000), top(0x147FFF)), {"ABCDEF": (0, P, P)}),
    Vector("T62", L4, (ADD, ONLINE), (OFFLINE, pv(0x140000), top(0x140000)), {"ABCDEF": (0, 1, NULL)}),
    Vector("T63", L4, (ADD, ONLINE, OFFLINE), (REMOVE, pv(0x140000), top(0x140000)), {"ABCDEF": (0, 0, NULL)}),
    Vector("T64", L4, (ADD, ONLINE), (REMOVE,), {"AB": (RET_BUG,), "CDEF": (-EBUSY,)}),
    Vector("T65", L4, (), (add(0x140100, 0x148100),), {"ABCDEF": (-EINVAL,)}),
    Vector("T66", L4, (), (add(0x140000, 0x144000),), {"ABCDEF": (-EINVAL,)}),
    Vector("T67", L4, (), (add(0x138000, 0x140000),), {"ABCDEF": (-EEXIST,)}),
    Vector("T68", L4, (), (add(0x138100, 0x140100),), {"ABCDEF": (-EEXIST,)}),
    Vector("T69", L4, (), (offline(*BOOT_BLOCK), pv(0x138000), top(0x138000)), {"ABCDEF": (0, 1, NULL)}),
    Vector(
        "T69b",
        L4,
        (),
        (block_offline(*BOOT_BLOCK), pv(0x138000), top(0x138000)),
        {"ABCDEF": (0, 1, NULL)},
        note="the same through the block device",
    ),
    Vector(
        "T70",
        L4,
        (offline(*BOOT_BLOCK), remove(*BOOT_BLOCK), add(*BOOT_BLOCK)),
        (early(0x27), top(0x138000), block_online(*BOOT_BLOCK), top(0x138000)),
        {"ABCDEF": (0, NULL, 0, P)},
        note="A and B have no early flag: 0",
    ),
    Vector("T71", L4, (map_dev(1, (0x140000, 0x148000)),), (ADD,), {"AB": (0,), "CDEF": (-EEXIST,)}),
    Vector("T72", L4_PMEM, (), (ADD,), {"A": (-EEXIST,), "BCDEF": (0,)}),
    Vector("T73", L4_BUSY, (), (ADD,), {"ABCDEF": (-EEXIST,)}),
    Vector("T74", L4_PARTIAL, (), (ADD,), {"ABCDEF": (-EEXIST,)}),
    Vector(
        "T75",
        L4,
        (),
        (add(0x140000, 0x148000, {"flags": int(AddFlags.DRIVER_MANAGED), "name": "System RAM kmem"}),),
        {"ABC": NA, "DEF": (-EINVAL,)},
    ),
    Vector(
        "T76",
        L4,
        (),
        (add(0x400000000, 0x400008000),),
        {"ABC": UNDEFINED, "DEF": (-E2BIG,)},
    ),
    Vector("T77", L2, (), (offline(0x100000, 0x108000),), {"ABC": UNSPECIFIED, "DEF": (-EINVAL,)}),
    Vector("T78", L1, (MAP_L1,), (offline(0x1F8000, 0x200000),), {"AB": NA, "CDEF": (-EINVAL,)}),
    Vector(
        "T79",
        L4,
        (ADD,),
        (online(0x140200, 0x148000),),
        {"ABC": (0,), "DE": (-EINVAL,), "F": (0,)},
        note="'no check' and 'accepted' read as 0, on a block that was added before",
    ),
    Vector(
        "T80",
        L4,
        (ADD, ONLINE),
        (offline(0x140100, 0x148000),),
        {"A": (-EINVAL,), "BC": (0,), "DEF": (-EINVAL,)},
        note="'no check' read as 0, on a block that was added and onlined before",
    ),
    Vector(
        "T81",
        L4_MEMMAP,
        (),
        (
            add(0x140000, 0x148000, {"flags": int(AddFlags.MEMMAP_ON_MEMORY)}),
            online(0x140000 + 512, 0x140000 + 512 + 32256),
            top(0x140200),
            block_offline(0x140000, 0x148000),
        ),
        {"F": (0, 0, P, 0)},
        note="the numbers are given; that they are accepted, and complete the block, is what a machine can show",
    ),
    Vector(
        "T82",
        L4,
        (ADD,),
        (online(0x140000, 0x148000, {"env": -EPERM}), top(0x140000)),
        {"ABCDEF": (-EPERM, NULL)},
    ),
)
