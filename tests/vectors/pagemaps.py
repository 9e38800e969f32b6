"""T45 to T58: data and metadata of pagemaps, several ranges."""

from __future__ import annotations

from tests.vectors.lookups import L4
from tests.vectors.model import (
    EINVAL,
    ENXIO,
    Skip,
    Vector,
    dat,
    gdp,
    map_dev,
    pv,
    start_unmap,
)

NO_FUNCTION = Skip("pgmap_pfn_valid is absent there")
ONE_RANGE = Skip("pagemaps of several ranges came with D")

T45_MAP = map_dev(1, (0x140000, 0x148000), altmap=(0x140000, 2, 0x1FE))
T48_MAP = map_dev(1, (0x140000, 0x148000), (0x150000, 0x158000))
T53_MAP = map_dev(1, (0x140000, 0x180000), altmap=(0x140000, 2, 4606))


def _data(*answers: int) -> dict[str, tuple[int | str, ...] | Skip]:
    return {"v5.10.223": answers, "ABCD": NO_FUNCTION, "EF": answers}


VECTORS = (
    Vector("T45a", L4, (T45_MAP,), (dat(1, 0x140000), dat(1, 0x140001), dat(1, 0x1401FF)), _data(0, 0, 0)),
    Vector("T45b", L4, (T45_MAP,), (gdp(0x140000), gdp(0x140001), gdp(0x1401FF)), {"ABCDEF": (1, 1, 1)}),
    Vector("T46", L4, (T45_MAP,), (dat(1, 0x140200), dat(1, 0x147FFF), dat(1, 0x148000)), _data(1, 1, 0)),
    Vector("T47", L4, (map_dev(1, (0x140000, 0x148000)),), (dat(1, 0x140000),), _data(1)),
    Vector("T48a", L4, (T48_MAP,), (dat(1, 0x150000), dat(1, 0x14FFFF)), _data(1, 0)),
    Vector("T48b", L4, (T48_MAP,), (gdp(0x14FFFF),), {"ABC": ONE_RANGE, "DEF": (0,)}),
    Vector("T49", L4, (T48_MAP,), (gdp(0x150000), gdp(0x140000)), {"ABC": ONE_RANGE, "DEF": (1, 1)}),
    Vector(
        "T50",
        L4,
        (),
        (map_dev(1, (0x140000, 0x148000), (0x150000, 0x158000), altmap=(0x140000, 2, 0x1FE)), pv(0x140000)),
        {"ABC": ONE_RANGE, "DEF": (-EINVAL, 0)},
    ),
    Vector(
        "T51",
        L4,
        (),
        (map_dev(1, (0x140000, 0x148000), (0x110000, 0x118000)), pv(0x140000), gdp(0x140000)),
        {"ABC": ONE_RANGE, "DEF": (-ENXIO, 0, 0)},
    ),
    Vector(
        "T52",
        L4,
        (),
        (map_dev(1, (0x140000, 0x148000), (0x150000, 0x150100)), pv(0x140000), gdp(0x140000)),
        {"ABC": ONE_RANGE, "DEF": (-EINVAL, 0, 0)},
    ),
    Vector("T54", L4, (T53_MAP,), (dat(1, 0x1411FF), dat(1, 0x141200)), _data(0, 1)),
    Vector("T55", L4, (map_dev(1, (0x140000, 0x180000)),), (dat(1, 0x140000),), _data(1)),
    Vector(
        "T56",
        L4,
        (T45_MAP, start_unmap(1)),
        (gdp(0x140200), gdp(0x140200)),
        {"ABCDEF": (0, "dying")},
        note="that the index entry is still there shows in the check: dying, not not-indexed",
    ),
    Vector("T58", L4, (T45_MAP,), (dat(1, 0x140200), dat(1, 0x140200)), {"v5.11": (0, "absent")}),
)
