"""How nvdimm lays out fsdax and devdax namespaces (walk semantics 3.4, 3.5).

A namespace starts with an info block (8 KiB, rounded up to a page). In *dev* mode the memmap follows it, within the
namespace (an altmap); in *mem* mode the memmap lives in RAM and the info block counts as data. Addresses and sizes in bytes
unless said, ends exclusive.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from replay.errors import UsageError
from replay.kernel.calls import Kernel, always, error, fact, ok
from replay.kernel.decision import Bools, Check, KernelFunction
from replay.machine.devices import InfoBlock, Mode
from replay.machine.geometry import SUBSECTION_SHIFT, Geometry
from replay.machine.machine import Machine
from replay.machine.pagemaps import Altmap, Pagemap
from replay.machine.resources import Region

__all__ = (
    "ND_PFN_INIT",
    "ND_PFN_VALIDATE",
    "InfoBlock",
    "InitFacts",
    "Layout",
    "Mode",
    "Namespace",
    "ValidateFacts",
    "alignments",
    "attach",
    "create",
    "info_span",
    "unreadable",
)

_INFO_BYTES = 8 << 10
_LABEL_BYTES = 128 << 10
_STRUCT_PAGE_BYTES = 64
_UNIT = 1 << SUBSECTION_SHIFT

Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Namespace:
    """A namespace that is to be used as fsdax or devdax.

    Attributes:
        start: first byte.
        size: bytes.
        mode: where the memmap lives.
        align: alignment of the data.
        devdax: devdax instead of fsdax.

    Raises:
        UsageError: no size, or an alignment that is not a power of two.
    """

    start: int
    size: int
    mode: Mode = Mode.DEV
    align: int = _UNIT
    devdax: bool = False

    def __post_init__(self) -> None:
        if self.size <= 0 or self.align <= 0 or self.align & (self.align - 1):
            raise UsageError(f"namespace: needs a size and a power of two, not {self.size} and {self.align:#x}")

    @property
    def end(self) -> int:
        """Address after the last byte."""
        return self.start + self.size


@dataclass(frozen=True)
class Layout:
    """The pagemap of a namespace, in pfns, as ``memremap_pages`` takes it.

    Attributes:
        ranges: the one range, half open.
        altmap: None in mem mode.
        data: first pfn of the data according to the info block.
    """

    ranges: tuple[tuple[int, int], ...]
    altmap: Altmap | None
    data: int

    @property
    def first_pfn(self) -> int:
        """First pfn that lookups take for data; behind ``data`` where the base of the altmap is not the start."""
        return Pagemap(0, self.ranges, self.altmap).data_spans()[0][0]


@dataclass(frozen=True)
class InitFacts:
    """What making a new info block looks at: booleans, or arrays of them.

    Attributes:
        unaligned: the start is not a multiple of a subsection (or whatever unit the pagemap needs).
        no_metadata: the metadata fills the namespace.
        no_data: nothing is left for data.
    """

    unaligned: Bools
    no_metadata: Bools
    no_data: Bools


_INVALID, _NO_ROOM, _UNSUPPORTED = error(errno.EINVAL), error(errno.ENXIO), error(errno.EOPNOTSUPP)

ND_PFN_INIT: KernelFunction[InitFacts] = KernelFunction(
    "nd_pfn_init",
    (
        Check("start", lambda s: s.unaligned, _INVALID, needs=("namespace-start-aligned",), why="not at a subsection"),
        Check("padded", lambda s: s.no_data, _NO_ROOM, unless=("namespace-subsection-layout",), why="no room for data"),
        Check("metadata", lambda s: s.no_metadata, _NO_ROOM, why="the metadata fills the namespace"),
        Check("data", lambda s: s.no_data, _NO_ROOM, needs=("namespace-needs-data",), why="no room for data"),
        Check("created", always, ok, why="the namespace has room for its metadata"),
    ),
)


@dataclass(frozen=True)
class ValidateFacts:
    """What the validation of an existing info block looks at: booleans, or arrays of them.

    Attributes:
        unreadable: it lies on a bad block.
        page_size: its memmap is for smaller pages than the kernel's.
        unsupported: the alignment of a devdax namespace is none that the kernel maps.
        settings: mode or alignment of the namespace were changed since.
        capacity: the alignment exceeds the namespace.
        beyond: the data would start behind the namespace.
        offset: the data is not aligned.
        edges: the pagemap would not start and end at subsections.
        no_data: nothing is left for data.
    """

    unreadable: Bools
    page_size: Bools
    unsupported: Bools
    settings: Bools
    capacity: Bools
    beyond: Bools
    offset: Bools
    edges: Bools
    no_data: Bools


def _refusal(name: str, number: int, why: str) -> tuple[Check[ValidateFacts], ...]:
    """Return the check of a fact in its two forms: with a code of its own, and with the one code for all."""
    when: Callable[[ValidateFacts], Bools] = attrgetter(name)
    one_code = ("namespace-not-supported",)
    return (
        Check(name, when, error(number), unless=one_code, why=why),
        Check(f"{name}-unsupported", when, _UNSUPPORTED, needs=one_code, why=why),
    )


ND_PFN_VALIDATE: KernelFunction[ValidateFacts] = KernelFunction(
    "nd_pfn_validate",
    (
        Check("unreadable", lambda s: s.unreadable, _NO_ROOM, why="the info block lies on a bad block"),
        Check("page-size", lambda s: s.page_size, _UNSUPPORTED, needs=("namespace-page-size",), why="of larger pages"),
        Check(
            "alignment",
            lambda s: s.unsupported,
            _UNSUPPORTED,
            needs=("namespace-alignments",),
            why="devdax, of an alignment that the kernel does not map",
        ),
        *_refusal("settings", errno.EINVAL, "mode or alignment were changed since"),
        *_refusal("capacity", errno.EINVAL, "the alignment exceeds the namespace"),
        *_refusal("beyond", errno.EBUSY, "the data starts behind the namespace"),
        *_refusal("offset", errno.ENXIO, "the data is not aligned"),
        Check("edges", lambda s: s.edges, _UNSUPPORTED, needs=("namespace-start-aligned",), why="not at subsections"),
        Check("data", lambda s: s.no_data, _UNSUPPORTED, needs=("namespace-needs-data",), why="no room for data"),
        Check("valid", always, ok, why="the info block fits its namespace"),
    ),
)


def create(
    machine: Machine, kernel: Kernel, namespace: Namespace, *, neighbours: Spans = (), unit: int = _UNIT
) -> tuple[int, int, InfoBlock | None]:
    """Make the info block of a new namespace; nothing of the machine changes.

    Args:
        machine: its resources say what shares sections with the namespace.
        kernel: whose rules apply.
        namespace: as the user wants it.
        neighbours: the other nvdimm regions, byte addresses ``[start, end)``.
        unit: what a pagemap has to be aligned to; more than a subsection only on ppc64 with large linear mappings.

    Returns:
        (check index of ``ND_PFN_INIT``, return code, info block or None when refused).
    """
    if kernel.has("namespace-subsection-layout"):
        pad, trunc = 0, namespace.end % max(namespace.align, unit)
    else:
        pad, trunc = _section_padding(machine, kernel, namespace, neighbours)
    dataoff = _dataoff(machine.geometry, kernel, namespace, pad, trunc, unit)
    facts = InitFacts(
        unaligned=fact(namespace.start % unit),
        no_metadata=fact(dataoff >= namespace.size),
        no_data=fact(dataoff + pad + trunc >= namespace.size),
    )
    function = kernel.function(ND_PFN_INIT)
    check = function.decide(facts, kernel.features)
    ret = function.checks[check].answer.value
    minor = 2 + kernel.has("namespace-subsection-layout") + kernel.has("namespace-page-size")
    page_size = 1 << machine.geometry.page_shift if kernel.has("namespace-page-size") else None
    info = InfoBlock(dataoff, pad, trunc, namespace.align, namespace.mode, minor, namespace.devdax, page_size)
    return check, ret, None if ret else info


def _section_padding(machine: Machine, kernel: Kernel, namespace: Namespace, neighbours: Spans) -> tuple[int, int]:
    """Return (bytes to leave out at the start, at the end) so that no section is shared with RAM or another region."""
    section = 1 << machine.geometry.section_size_bits
    low, high = namespace.start // section * section, -(-namespace.end // section) * section
    nested = kernel.has("region-intersects-nested")
    beside = neighbours if kernel.has("namespace-region-padding") else ()

    def shared(start: int, end: int) -> bool:
        found = machine.resources.region_intersects(start, end - 1, busy=False, ram=True, nested=nested)
        return found is Region.MIXED or any(s < end and start < e for s, e in beside)

    pad = -namespace.start % section if shared(low, namespace.end) else 0
    unfit = shared(namespace.start, high) or namespace.end % namespace.align
    return pad, max(namespace.end % section, namespace.end % namespace.align) if unfit else 0


def _dataoff(geometry: Geometry, kernel: Kernel, namespace: Namespace, pad: int, trunc: int, unit: int) -> int:
    """Return the bytes from the padded start of a new namespace to its data."""
    start, size, align = namespace.start + pad, namespace.size, max(namespace.align, unit)
    if kernel.has("namespace-subsection-layout"):
        pages = size - _INFO_BYTES >> geometry.page_shift
    else:
        pages = size - pad - trunc - _INFO_BYTES >> geometry.page_shift
        pages = -(-pages >> geometry.section_shift) << geometry.section_shift
        align = namespace.align if namespace.mode is Mode.MEM else align
    labels = _LABEL_BYTES if namespace.devdax and kernel.has("namespace-label-reserve") else 0
    memmap = pages * _STRUCT_PAGE_BYTES if namespace.mode is Mode.DEV else 0
    return -(-(start + _INFO_BYTES + memmap + labels) // align) * align - start


def attach(
    geometry: Geometry, kernel: Kernel, namespace: Namespace, info: InfoBlock, *, unit: int = _UNIT
) -> tuple[int, int, Layout | None]:
    """Turn an info block into the pagemap that the namespace is mapped with.

    Args:
        geometry: of the machine.
        kernel: whose rules apply.
        namespace: as the user wants it now.
        info: what is on the medium.
        unit: what a pagemap has to be aligned to.

    Returns:
        (check index of ``ND_PFN_VALIDATE``, return code, layout or None when refused).
    """
    start, end, shift = namespace.start + info.start_pad, namespace.end - info.end_trunc, geometry.page_shift
    facts = ValidateFacts(
        unreadable=fact(False),
        page_size=fact(info.mode is Mode.DEV and (info.page_size or 0) > 1 << shift),
        unsupported=fact(info.devdax and info.align not in alignments(geometry)),
        settings=fact((info.align, info.mode) != (namespace.align, namespace.mode)),
        capacity=fact(info.align > namespace.size),
        beyond=fact(info.dataoff >= namespace.size),
        offset=fact((start + info.dataoff) % info.align or info.dataoff % (1 << shift)),
        edges=fact(start % unit or end % unit),
        no_data=fact(info.dataoff >= namespace.size - info.start_pad - info.end_trunc),
    )
    function = kernel.function(ND_PFN_VALIDATE)
    check = function.decide(facts, kernel.features)
    ret = function.checks[check].answer.value
    first, last, dataoff = start >> shift, end >> shift, info.dataoff >> shift
    coarse = not kernel.has("namespace-subsection-layout")
    base = first & -(geometry.pages_per_section if coarse else geometry.pages_per_subsection)
    info_pages = -(-_INFO_BYTES >> shift)
    altmap = Altmap(base, info_pages + first - base, dataoff - info_pages) if info.mode is Mode.DEV else None
    return check, ret, None if ret else Layout(((first, last),), altmap, first + dataoff)


def alignments(geometry: Geometry) -> tuple[int, int, int]:
    """Return what device-dax can map with: a page, and what entries of the next two levels of page tables map."""
    shift = geometry.page_shift
    levels = (shift, 2 * shift - 3, 3 * shift - 6)  # a table is a page of 8-byte entries
    return 1 << levels[0], 1 << levels[1], 1 << levels[2]


def unreadable(kernel: Kernel) -> tuple[int, int]:
    """Return (check index of ``ND_PFN_VALIDATE``, return code) of an info block that lies on a bad block."""
    clear = fact(False)
    facts = ValidateFacts(fact(True), clear, clear, clear, clear, clear, clear, clear, clear)
    function = kernel.function(ND_PFN_VALIDATE)
    check = function.decide(facts, kernel.features)
    return check, function.checks[check].answer.value


def info_span(namespace_start: int) -> tuple[int, int]:
    """Return the bytes ``[start, end)`` of a namespace's info block."""
    return namespace_start + _INFO_BYTES // 2, namespace_start + _INFO_BYTES
