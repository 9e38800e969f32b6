"""T83 to T87: arm64 with 4K pages; 1 GiB sections up to v5.11, 128 MiB from v5.12 on."""

from __future__ import annotations

from dataclasses import replace

from tests.vectors.lookups import NULL, P
from tests.vectors.model import (
    GROUPS,
    NOT_APPLICABLE,
    Cell,
    Layout,
    Vector,
    map_dev,
    pv,
    section_online,
    top,
)

BIG_SECTIONS = ("A", "B", "C", "D")

BOOT = Layout(memory=((0x40000, 0x60000),), arch="aarch64", section_size_bits=30, max_physmem_bits=48)
NOMAP = replace(BOOT, memory=((0x40000, 0x50000), (0x50000, 0x50001, "nomap"), (0x50001, 0x60000)))
SHARED = replace(BOOT, memory=((0x40000, 0x5C000),))  # the end shares a section of either size

PURE_DEVICE = map_dev(1, (0x80000, 0xC0000))
SHARED_DEVICE = map_dev(1, (0x5C000, 0x5C200))


def _pair(
    vector_id: str, layout: Layout, ops: tuple[object, ...], asks: tuple[object, ...], cells: dict[str, Cell]
) -> tuple[Vector, Vector]:
    """The same question on machines with sections of both sizes, each for the kernels that had them."""
    old = [version for group in BIG_SECTIONS for version in GROUPS[group]]
    by_version = {version: cell for key, cell in cells.items() for version in _versions(key)}
    small = replace(layout, section_size_bits=27)
    first = Vector(f"{vector_id}old", layout, ops, asks, {v: c for v, c in by_version.items() if v in old})  # type: ignore[arg-type]
    second = Vector(f"{vector_id}new", small, ops, asks, {v: c for v, c in by_version.items() if v not in old})  # type: ignore[arg-type]
    return first, second


def _versions(key: str) -> tuple[str, ...]:
    return (key,) if key.startswith("v") else tuple(v for group in key for v in GROUPS[group])


VECTORS = (
    Vector("T83old", BOOT, (), (section_online(1),), {"ABCD": (1,)}, note="section 1 is [0x40000, 0x80000)"),
    Vector("T83new", replace(BOOT, section_size_bits=27), (), (section_online(0xE),), {"EF": (0,)}),
    *_pair("T84", BOOT, (), (top(0x70000), pv(0x70000)), {"A": (P, 0), "BCDEF": (NULL, 0)}),
    *_pair("T85", NOMAP, (), (top(0x50000), pv(0x50000)), {"A": (P, 0), "BCDE": (NULL, 0), "F": (P, 1)}),
    *_pair(
        "T86",
        BOOT,
        (PURE_DEVICE,),
        (pv(0x80000),),
        {"ABCD": (0,), "v5.4.195": (1,), "v5.10.223": (1,), "EF": (1,)},
    ),
    *_pair(
        "T87",
        SHARED,
        (SHARED_DEVICE,),
        (pv(0x5C000), top(0x5C000)),
        {"AB": NOT_APPLICABLE, "CDE": (0, NULL), "F": (1, NULL)},
    ),
)
