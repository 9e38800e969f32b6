"""T01 to T44: lookups and device mappings on x86_64."""

from __future__ import annotations

from tests.vectors.model import (
    E2BIG,
    EEXIST,
    EINVAL,
    ENOMEM,
    ENXIO,
    NOT_APPLICABLE,
    RAM,
    UNDEFINED,
    Layout,
    Vector,
    bits,
    gdp,
    iomem,
    map_dev,
    map_dev_until_sections,
    pv,
    start_unmap,
    taint,
    top,
    unmap_dev,
)

P, NULL = 1, 0  # pfn_to_online_page: page or not

L1 = Layout(
    memory=((0x100000, 0x1FC000),),
    resources=(iomem(0x100000, 0x1FC000, "System RAM", RAM), iomem(0x1FC000, 0x2FC000, "Persistent Memory")),
)
L2 = Layout(memory=((0x100000, 0x101000), (0x103000, 0x140000)))
L3 = Layout(memory=((0x100000, 0x17FD00),))
L3B = Layout(memory=((0x100000, 0x17FF00),))
L4 = Layout(memory=((0x100000, 0x140000),))
L4_PMEM = Layout(
    memory=((0x100000, 0x140000),),
    resources=(iomem(0x100000, 0x140000, "System RAM", RAM), iomem(0x140000, 0x148000, "Persistent Memory")),
)
FIVE_LEVEL = Layout(memory=((0x400000000, 0x400008000),), max_physmem_bits=52)

MAP_L1 = map_dev(1, (0x1FC000, 0x2FC000))
INNER = map_dev(1, (0x148200, 0x148400))
OUTER = map_dev(2, (0x140000, 0x150000))

NA = NOT_APPLICABLE

VECTORS = (
    Vector("T01", L1, (), (MAP_L1,), {"AB": (-ENXIO,), "CDEF": (0,)}),
    Vector("T02", L1, (MAP_L1,), (top(0x1FBFFF),), {"ABCDEF": (P,)}),
    Vector("T03", L1, (MAP_L1,), (top(0x1FC000),), {"ABCD": (P,), "EF": (NULL,)}),
    Vector("T04", L1, (MAP_L1,), (top(0x1FFFFF),), {"ABCD": (P,), "EF": (NULL,)}),
    Vector("T05", L1, (MAP_L1,), (pv(0x1FC000), gdp(0x1FC000)), {"AB": (1, 0), "CDEF": (1, 1)}),
    Vector(
        "T06",
        L1,
        (MAP_L1,),
        (top(0x200000), pv(0x200000), gdp(0x200000)),
        {"AB": (NULL, 0, 0), "CDEF": (NULL, 1, 1)},
    ),
    Vector("T07", L1, (MAP_L1,), (pv(0x2FBFFF),), {"AB": (0,), "CDEF": (1,)}),
    Vector("T08", L1, (MAP_L1,), (pv(0x2FC000), gdp(0x2FC000)), {"ABCDEF": (0, 0)}),
    Vector("T09", L1, (MAP_L1,), (taint(0x3F), taint(0x40), taint(0x5F)), {"ABCD": (0, 0, 0), "EF": (1, 0, 1)}),
    Vector("T10", L1, (), (top(0x1FC000),), {"ABCD": (P,), "EF": (NULL,)}),
    Vector("T11", L1, (MAP_L1, start_unmap(1)), (top(0x1FC000), gdp(0x1FC000)), {"AB": NA, "CDEF": (P, 0)}),
    Vector(
        "T12",
        L1,
        (MAP_L1, unmap_dev(1)),
        (top(0x1FC000), pv(0x1FC000)),
        {"AB": NA, "CD": (P, 1), "EF": (NULL, 1)},
    ),
    Vector("T13", L1, (MAP_L1, unmap_dev(1)), (taint(0x3F),), {"ABCD": (0,), "EF": (1,)}),
    Vector("T14", L1, (MAP_L1, unmap_dev(1)), (pv(0x200000),), {"AB": NA, "CDEF": (0,)}),
    Vector(
        "T15",
        L1,
        (map_dev_until_sections(1, 0x1FC000, 0x2FC000),),
        (top(0x1FC000), gdp(0x1FC000)),
        {"AB": NA, "CDEF": (P, 1)},
    ),
    Vector("T16a", L1, (), (top(0xFFFFF), pv(0xFFFFF)), {"ABCDEF": (NULL, 0)}),
    Vector("T16b", L1, (MAP_L1,), (top(0xFFFFF), pv(0xFFFFF)), {"ABCDEF": (NULL, 0)}),
    Vector("T17", L2, (), (top(0x101000), pv(0x101000)), {"ABCD": (P, 1), "EF": (NULL, 1)}),
    Vector("T18", L2, (), (top(0x102FFF),), {"ABCD": (P,), "EF": (NULL,)}),
    Vector("T19", L2, (), (top(0x103000),), {"ABCDEF": (P,)}),
    Vector("T20", L3, (), (top(0x17FD00),), {"ABCDEF": (P,)}),
    Vector("T21", L3, (), (top(0x17FE00), pv(0x17FE00)), {"ABCD": (P, 1), "EF": (NULL, 1)}),
    Vector("T22", L3B, (), (top(0x17FFFF), pv(0x17FFFF)), {"ABCDEF": (P, 1)}),
    Vector("T23", L3, (), (bits(0x178000),), {"AB": NA, "CDEF": ((1 << 63) - 1,)}),
    Vector("T24", L4, (map_dev(1, (0x144000, 0x148000)),), (pv(0x140000),), {"AB": (1,), "CDEF": (0,)}),
    Vector("T25", L4, (map_dev(1, (0x144000, 0x148000)),), (gdp(0x140000), gdp(0x144000)), {"ABCDEF": (0, 1)}),
    Vector("T26", L4, (map_dev(1, (0x144000, 0x148000)),), (top(0x144000),), {"ABCDEF": (NULL,)}),
    Vector(
        "T27",
        L4,
        (),
        (map_dev(1, (0x140000, 0x142000)), map_dev(2, (0x142000, 0x144000))),
        {"AB": (0, -ENOMEM), "CDEF": (0, 0)},
    ),
    Vector(
        "T28",
        L4,
        (map_dev(1, (0x140000, 0x142000)), map_dev(2, (0x142000, 0x144000)), unmap_dev(1)),
        (pv(0x140000), pv(0x142000), gdp(0x142000)),
        {"AB": NA, "CDEF": (0, 1, 2)},
    ),
    Vector("T29", L4, (INNER,), (OUTER,), {"A": (-EEXIST,), "B": (0,), "CDEF": (-EEXIST,)}),
    Vector("T30", L4, (INNER, OUTER), (gdp(0x148200),), {"A": (1,), "B": (2,), "CDEF": (0,)}),
    Vector("T31", L4, (INNER, OUTER), (pv(0x140000),), {"A": (0,), "BCDEF": (1,)}),
    Vector(
        "T32",
        L4,
        (INNER, OUTER),
        (map_dev(3, (0x140000, 0x148000)),),
        {"A": (0,), "B": (-ENOMEM,), "CDEF": (-EEXIST,)},
    ),
    Vector(
        "T33",
        L4,
        (map_dev(1, (0x140000, 0x148000)),),
        (map_dev(2, (0x147E00, 0x150000)),),
        {"ABCDEF": (-ENOMEM,)},
    ),
    Vector("T34", L4, (), (map_dev(1, (0x110000, 0x118000)),), {"A": (0,), "BCDEF": (-ENXIO,)}),
    Vector("T35", L4, (map_dev(1, (0x110000, 0x118000)),), (gdp(0x110000),), {"ABCDEF": (0,)}),
    Vector("T36", L4, (), (map_dev(1, (0x138000, 0x148000)),), {"A": (0,), "BCDEF": (-ENXIO,)}),
    Vector("T37", L4_PMEM, (), (map_dev(1, (0x138000, 0x148000)),), {"ABCDEF": (-ENXIO,)}),
    Vector("T38", L4, (), (map_dev(1, (0x140100, 0x148100)),), {"AB": (0,), "CDEF": (-EINVAL,)}),
    Vector("T39", L4, (), (map_dev(1, (0x140000, 0x140100)),), {"AB": (0,), "CDEF": (-EINVAL,)}),
    Vector(
        "T40",
        L4,
        (),
        (map_dev(1, (0x140000, 0x148000), altmap=(0x140200, 0, 0)),),
        {"ABCDEF": (-EINVAL,)},
    ),
    Vector(
        "T41",
        L4,
        (),
        (map_dev(1, (0x140000, 0x148000), altmap=(0x140000, 2, 0x7FFF)),),
        {"ABCDEF": (-EINVAL,)},
    ),
    Vector(
        "T42",
        L4,
        (),
        (map_dev(1, (0x3FFFF8000, 0x400008000)),),
        {"ABC": UNDEFINED, "D": (-E2BIG,), "EF": (-EINVAL,)},
    ),
    Vector("T43", L4, (), (top(0x400000000), pv(0x400000000)), {"ABCDEF": (NULL, 0)}),
    Vector("T44", FIVE_LEVEL, (), (top(0x400000000),), {"ABCDEF": (P,)}),
)
