"""Devices that own memory: namespaces of persistent memory, dax regions, dax devices, and what drivers were told."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from replay.trace.schema import DaxDriver

__all__ = ("Claim", "DaxDevice", "DaxRegion", "Devices", "Driver", "InfoBlock", "Mode", "NamespaceState")

Spans = tuple[tuple[int, int], ...]


class Driver(StrEnum):
    """Drivers of the dax bus."""

    DEVICE = "device_dax"
    KMEM = "kmem"

    @property
    def number(self) -> DaxDriver:
        """What traces call it."""
        return DaxDriver.KMEM if self is Driver.KMEM else DaxDriver.DEVICE_DAX


class Mode(StrEnum):
    """Where the memmap of a namespace lives, in the words of ndctl."""

    DEV = "dev"
    MEM = "mem"


@dataclass(frozen=True)
class InfoBlock:
    """What the info block on the medium of a namespace says.

    Attributes:
        dataoff: bytes from the padded start to the data.
        start_pad: bytes left out at the start.
        end_trunc: bytes left out at the end.
        align: alignment of the data.
        mode: where the memmap lives.
        minor: minor version.
        devdax: devdax instead of fsdax.
        page_size: bytes, as the block says it (from minor version 4 on); None where it does not.
    """

    dataoff: int
    start_pad: int
    end_trunc: int
    align: int
    mode: Mode
    minor: int
    devdax: bool = False
    page_size: int | None = None


@dataclass(frozen=True)
class DaxRegion:
    """Where devices come from.

    Attributes:
        id: number in the devices' names.
        target_node: node of the memory, -1 for unknown (``namespace.region_nodes``).
        kmem: flagged as memory for kmem (hmem, cxl), not persistent memory.
        dynamic: devices can be made, resized and deleted; otherwise it has exactly one.
        span: (first byte, last byte inclusive) of all its memory, None where nobody said.
        align: what sizes and addresses of its devices are multiples of, bytes.
    """

    id: int = 0
    target_node: int = 0
    kmem: bool = False
    dynamic: bool = False
    span: tuple[int, int] | None = None
    align: int = 2 << 20


@dataclass(frozen=True)
class Claim:
    """How device_dax maps a static device: metadata and data together, in pfns.

    Attributes:
        ranges: of the pagemap, half open.
        altmap: (base pfn, reserved pages, pages for the memmap), None when the memmap lives in RAM.
    """

    ranges: Spans
    altmap: tuple[int, int, int] | None


@dataclass(eq=False)
class DaxDevice:
    """A device of the dax bus.

    Attributes:
        region: where it comes from.
        ranges: (first byte, last byte inclusive) of its memory.
        index: number within the region.
        memmap_on_memory: its memmap is to live in the added memory, where the kernel can do that.
        driver: bound to, None for no driver.
        added: for each range whether kmem added it.
        hotremove_failed: kmem could not take everything back.
        align: alignment of what it maps, bytes.
        claim: what device_dax maps, None for the ranges themselves.
        pgmap: pagemap that device_dax mapped, 0 for none.
        held: ranges that device_dax claimed; the device may have got more since.
        on_bus: drivers can be bound and unbound; not so a device of the class /sys/class/dax.
    """

    region: DaxRegion
    ranges: Spans
    index: int = 0
    memmap_on_memory: bool = False
    driver: Driver | None = None
    added: list[bool] = field(default_factory=list)
    hotremove_failed: bool = False
    align: int = 2 << 20
    claim: Claim | None = None
    pgmap: int = 0
    held: Spans = ()
    on_bus: bool = True

    @property
    def name(self) -> str:
        """``dax<region>.<index>``."""
        return f"dax{self.region.id}.{self.index}"


@dataclass(eq=False)
class NamespaceState:
    """A namespace in use.

    Attributes:
        reserved: (first byte, last byte inclusive) that it claims for itself.
        device: dax device on it, None for raw and fsdax.
        pgmap: pagemap of raw and fsdax namespaces, 0 for none.
    """

    reserved: tuple[int, int]
    device: DaxDevice | None = None
    pgmap: int = 0


class Devices:
    """Everything on the dax bus, and the namespaces in use.

    Attributes:
        regions: by id.
        daxes: devices by name.
        namespaces: by name.
        ids: names that each driver was told, in the order in which drivers are asked.
        infos: info blocks on the medium, by name and first byte of their namespace; they outlive its use.
    """

    def __init__(self) -> None:
        self.regions: dict[int, DaxRegion] = {}
        self.daxes: dict[str, DaxDevice] = {}
        self.namespaces: dict[str, NamespaceState] = {}
        self.ids: dict[Driver, set[str]] = {driver: set() for driver in Driver}
        self.infos: dict[tuple[str, int], InfoBlock] = {}
