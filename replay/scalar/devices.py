"""Namespaces, dax regions and dax devices, and calls about them, which want other calls (walk.md 5)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

from replay.scalar.calls import Call
from replay.scalar.ranges import Range
from replay.scalar.state import Altmap
from replay.trace.schema import DaxDriver, EventKind

__all__ = ("Device", "DeviceCall", "DeviceRequest", "InUse", "Region", "Steps", "Verdict", "Wanted")

Verdict = tuple[int, str]  # return code, function/check


@dataclass
class Wanted:
    """A call that has to be made before the device's call goes on; only what its kind needs is given."""

    kind: EventKind
    pfns: Range = (0, 0)
    name: str = ""
    flags: int = 0
    node: int = 0
    pgmap: int = 0
    ranges: tuple[Range, ...] = ()
    altmap: Altmap | None = None
    pgmap_type: int = 0


Steps = Generator[Wanted, Call, Verdict]


@dataclass
class Region:
    """A dax region; bytes half open."""

    number: int
    node: int
    kmem: bool = False
    dynamic: bool = False
    bytes: Range = (0, 0)
    align: int = 2 << 20


@dataclass(eq=False)
class Device:
    """A dax device; ranges are bytes, half open.

    ``mapped`` is what device_dax maps when that is not the ranges, ``claimed`` what it reserved. A device that is not on the
    bus is one of /sys/class/dax.
    """

    name: str
    region: Region
    ranges: list[Range]
    driver: int = DaxDriver.NONE
    added: list[bool] = field(default_factory=list)
    memmap_on_memory: bool = False
    align: int = 2 << 20
    mapped: tuple[Range, Altmap | None] | None = None
    pgmap: int = 0
    claimed: list[Range] = field(default_factory=list)
    on_bus: bool = True


@dataclass(eq=False)
class InUse:
    """A namespace in use: what it claims, its device or its pagemap."""

    claimed: Range
    device: Device | None = None
    pgmap: int = 0


@dataclass(frozen=True)
class DeviceRequest:
    """What a row about devices asks for; bytes half open; node -1 where nobody says.

    Of an info block: the pages of its data, the first page that is mapped if that is not the namespace's first, and log2 of
    the page size that it says, 0 where it does not.
    """

    key: int
    name: str = ""
    bytes: Range = (0, 0)
    flags: int = 0
    value: int = 0
    node: int = -1
    pfns: Range = (0, 0)
    first_pfn: int | None = None
    page_shift: int = 0


class DeviceCall:
    """A call about devices under way: what it wants next, or its verdict."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.wanted: Wanted | None = None
        self.verdict: Verdict = (0, "")
        self.go(None)

    def go(self, made: Call | None) -> None:
        """Go on, with the call that was wanted."""
        try:
            self.wanted = next(self.steps) if made is None else self.steps.send(made)
        except StopIteration as stop:
            self.wanted, self.verdict = None, stop.value
