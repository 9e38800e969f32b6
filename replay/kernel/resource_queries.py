"""region_intersects, walk_system_ram_range and pgmap_pfn_valid: queries that are not a matter of a pfn's state code."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from replay.kernel.calls import Kernel, always, error, fact
from replay.kernel.decision import Answer, Bools, Check, KernelFunction
from replay.machine.machine import Machine
from replay.machine.resources import Region
from replay.trace.schema import ResourceFlags

__all__ = (
    "PGMAP_PFN_VALID",
    "REGION_INTERSECTS",
    "WALK_SYSTEM_RAM_RANGE",
    "MetadataFacts",
    "RegionFacts",
    "WalkFacts",
    "region_intersects",
    "walk_system_ram_range",
    "within_is_data",
)


@dataclass(frozen=True)
class RegionFacts:
    """How a range relates to the resources asked for.

    Attributes:
        of_type: some entry in the range is of the type.
        other: some entry in the range is not.
    """

    of_type: Bools
    other: Bools


REGION_INTERSECTS: KernelFunction[RegionFacts] = KernelFunction(
    "region_intersects",
    (
        Check("disjoint", lambda s: ~s.of_type, Answer("DISJOINT", Region.DISJOINT), why="nothing of the type there"),
        Check("mixed", lambda s: s.other, Answer("MIXED", Region.MIXED), why="of the type, and something else"),
        Check("intersects", always, Answer("INTERSECTS", Region.INTERSECTS), why="only of the type"),
    ),
)


@dataclass(frozen=True)
class WalkFacts:
    """Whether a walk of the System RAM entries finds any."""

    found: Bools


WALK_SYSTEM_RAM_RANGE: KernelFunction[WalkFacts] = KernelFunction(
    "walk_system_ram_range",
    (
        Check("visited", lambda s: s.found, Answer("0", 0), why="System RAM was visited"),
        Check(
            "nothing",
            lambda s: ~s.found,
            error(errno.EINVAL),
            needs=("walk-ram-error-codes",),
            why="no System RAM in the range",
        ),
        Check("nothing-minus-one", always, Answer("-1", -1), why="no System RAM in the range"),
    ),
)


@dataclass(frozen=True)
class MetadataFacts:
    """Where a pfn lies in a pagemap.

    Attributes:
        inside: in one of its ranges.
        data: behind the metadata.
    """

    inside: Bools
    data: Bools


PGMAP_PFN_VALID: KernelFunction[MetadataFacts] = KernelFunction(
    "pgmap_pfn_valid",
    (
        Check("absent", always, Answer("absent", 0), unless=("pgmap-pfn-valid",), why="there is no such function"),
        Check("outside", lambda s: ~s.inside, Answer("outside", 0), why="not in the pagemap's ranges"),
        Check("metadata", lambda s: ~s.data, Answer("metadata", 0), why="the pagemap's own metadata"),
        Check("data", always, Answer("data", 1), why="data of the pagemap"),
    ),
)


def within_is_data(kernel: Kernel, *, data: bool) -> bool:
    """Return what pgmap_pfn_valid says of a pfn in the pagemap's ranges, behind its metadata (``data``) or in it.

    A kernel without the function asks no such question; the fact itself is returned.
    """
    function = kernel.function(PGMAP_PFN_VALID)
    check = function.checks[function.decide(MetadataFacts(fact(True), fact(data)), kernel.features)]
    return data if check.id == "absent" else check.answer.value == 1


def region_intersects(machine: Machine, kernel: Kernel, start: int, size: int, flags: int) -> tuple[int, int]:
    """Return (check index, Region) for bytes ``[start, start + size)`` and the ResourceFlags asked for."""
    region = machine.resources.region_intersects(
        start,
        start + size - 1,
        busy=bool(flags & ResourceFlags.BUSY),
        ram=bool(flags & ResourceFlags.RAM),
        nested=kernel.has("region-intersects-nested"),
    )
    facts = RegionFacts(fact(region is not Region.DISJOINT), fact(region is Region.MIXED))
    function = kernel.function(REGION_INTERSECTS)
    check = function.decide(facts, kernel.features)
    return check, function.checks[check].answer.value


def walk_system_ram_range(machine: Machine, kernel: Kernel, start: int, end: int) -> tuple[int, int, int]:
    """Return (check index, return code, pages visited) for a walk of pfns ``[start, end)``."""
    shift = machine.geometry.page_shift
    ranges = machine.resources.ram_ranges(start, end, shift, children=kernel.has("walk-ram-children"))
    function = kernel.function(WALK_SYSTEM_RAM_RANGE)
    check = function.decide(WalkFacts(fact(ranges)), kernel.features)
    return check, function.checks[check].answer.value, sum(high - low for low, high in ranges)
