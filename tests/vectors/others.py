"""T90 to T93 (resources), T106 and T107 (/proc/kpageflags), T110 and T111 (geometry)."""

from __future__ import annotations

from replay.trace.schema import ResourceFlags
from tests.vectors.lookups import L1, L3, L4, MAP_L1
from tests.vectors.model import (
    EINVAL,
    RAM,
    UNSPECIFIED,
    Layout,
    Vector,
    iomem,
    kpageflags,
    region_intersects,
    sec,
    sub,
    walk,
    walked_pages,
)

KMEM = Layout(
    memory=((0x100000, 0x140000),),
    resources=(
        iomem(0x100000, 0x140000, "System RAM", RAM),
        iomem(0x140000, 0x150000, "Persistent Memory"),
        iomem(0x148000, 0x150000, "System RAM", RAM),
    ),
)
LOW_RAM = Layout(memory=((0x1, 0x9F),), resources=((0x1000, 0x9FBFF, "System RAM", RAM),))
PPC64_64K = Layout(memory=(), arch="ppc64", page_shift=16, section_size_bits=24, max_physmem_bits=51)
ARM64_64K = Layout(memory=(), arch="aarch64", page_shift=16, section_size_bits=29, max_physmem_bits=48)

INTERSECTS, DISJOINT = 0, 1
NESTED = region_intersects(0x148000 << 12, 0x8000 << 12, int(ResourceFlags.RAM))

VECTORS = (
    Vector("T90", L4, (), (walk(0x200000, 0x200100),), {"A": (-1,), "BCDEF": (-EINVAL,)}),
    Vector(
        "T91",
        KMEM,
        (),
        (walk(0x140000, 0x150000), walked_pages(0x140000, 0x150000)),
        {"A": (-1, 0), "BCDEF": (0, 0x8000)},
    ),
    Vector(
        "T92",
        LOW_RAM,
        (),
        (
            walked_pages(0, 0x100),
            walked_pages(0, 1),
            walked_pages(1, 2),
            walked_pages(0x9E, 0x9F),
            walked_pages(0x9F, 0xA0),
        ),
        {"ABCDEF": (0x9F - 0x1, 0, 1, 1, 0)},
    ),
    Vector(
        "T93",
        KMEM,
        (),
        (NESTED,),
        {"ABCDE": (DISJOINT,), "v6.1": (DISJOINT,), "v6.1.192": (INTERSECTS,), "F": (INTERSECTS,)},
    ),
    Vector(
        "T106",
        L3,
        (),
        (kpageflags(0x17FE00), kpageflags(0x17FE00)),
        {"ABC": (0, "end-of-file"), "D": (1, "flags"), "v7.2": (0, "zero"), "EF": (0, "not-online")},
    ),
    Vector(
        "T107",
        L1,
        (MAP_L1,),
        (kpageflags(0x200000), kpageflags(0x200000)),
        {"AB": UNSPECIFIED, "v5.3": (1, "flags"), "CDE": (0, "not-online"), "F": (0, "end-of-file")},
    ),
    Vector("T110a", L1, (), (sec(0x1FC000), sub(0x1FC000)), {"ABCDEF": (0x3F, 32)}),
    Vector("T110b", PPC64_64K, (), (sec(0x10021), sub(0x10021)), {"CDEF": (0x100, 1)}),
    Vector("T111", ARM64_64K, (), (sec(0x2345), sub(0x2345)), {"EF": (1, 26)}),
)

# Rows of the tables that ask nothing of a machine.
ELSEWHERE: dict[str, str] = {
    "T53": "how nvdimm lays out a namespace; the resulting altmap is what T54 uses",
    "T57": "the cached argument of get_dev_pagemap is not part of a trace; the index answers as in T49",
    "T108": "the memory block size is part of the machine description",
    "T109": "the memory block size is part of the machine description",
}
