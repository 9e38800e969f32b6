"""Machines made from a plan: where RAM and devices lie, and what the header says about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from replay.errors import UsageError
from replay.kernel.config import expected_section_bits
from replay.kernel.profiles import profile
from replay.machine.geometry import ARCHES, Geometry, zone_bounds
from replay.sources.synthetic.layout import Device, Memory, check_memory, lay_out
from replay.sources.synthetic.parameters import resolve, show_bytes
from replay.sources.synthetic.plans import PLAN_PARAMETERS, plan
from replay.trace.header import BootRange, MachineDescription, Resource

__all__ = ("Span", "SyntheticMachine", "make_machine")

Span = tuple[int, int]
_BLOCK = 128 << 20  # bytes of a memory block on a machine that is not large
_PERSISTENT = {"fsdax", "devdax", "kmem", "raw"}


@dataclass(frozen=True)
class SyntheticMachine:
    """A machine to generate traces for. Ranges are in pfns, half open.

    Attributes:
        name: of the plan.
        settings: what the user changed of it, as texts.
        geometry: sizes.
        kernel: that the trace claims to be made on.
        memory: boot RAM and devices.
        partial: RAM that the hypervisor adds after boot, whole blocks.
        plugged: subsections of each partial block that are there, the others are not.
    """

    name: str
    settings: Mapping[str, str]
    geometry: Geometry
    kernel: str
    memory: Memory
    partial: tuple[Span, ...] = ()
    plugged: int = 0

    @cached_property
    def ram(self) -> tuple[Span, ...]:
        """Boot RAM, ascending, touching ranges joined."""
        joined: list[Span] = []
        for part in self.memory.ram:
            if joined and joined[-1][1] == part.start:
                joined[-1] = (joined[-1][0], part.end)
            else:
                joined.append((part.start, part.end))
        return tuple(joined)

    @property
    def devices(self) -> tuple[Device, ...]:
        """Device memory, by number."""
        return self.memory.devices

    @cached_property
    def max_pfn(self) -> int:
        """End of the highest boot RAM."""
        return self.ram[-1][1]

    @cached_property
    def nodes(self) -> tuple[Span, ...]:
        """First to last page of boot RAM of each node, holes and devices between them included."""
        spans: dict[int, Span] = {}
        for part in self.memory.ram:
            low, high = spans.get(part.node, (part.start, part.end))
            spans[part.node] = (min(low, part.start), max(high, part.end))
        return tuple(spans[node] for node in sorted(spans))

    @cached_property
    def zones(self) -> tuple[Span, ...]:
        """First to last page of boot RAM of each zone of each node."""
        bounds = (0, *zone_bounds(self.geometry), 1 << 64)
        found: list[Span] = []
        nodes = sorted({part.node for part in self.memory.ram})
        for node in nodes:
            for low, high in pairwise(bounds):
                parts = [
                    (max(p.start, low), min(p.end, high))
                    for p in self.memory.ram
                    if p.node == node and p.start < high and low < p.end
                ]
                if parts:
                    found.append((parts[0][0], parts[-1][1]))
        return tuple(found)

    @cached_property
    def whole_blocks(self) -> tuple[int, ...]:
        """First pfns of the memory blocks that hold nothing but RAM of one node, above boot zones and the first block."""
        pages = self.geometry.pages_per_block
        floor = max((pages, *zone_bounds(self.geometry)))  # in the first block lies the kernel
        found: list[int] = []
        for part in self.memory.ram:
            start = max(-(-part.start // pages) * pages, floor)
            found.extend(range(start, part.end - pages + 1, pages))
        return tuple(found)

    @cached_property
    def strings(self) -> tuple[str, ...]:
        """What the ``label`` column of its traces points into."""
        return ("System RAM", "System RAM (kmem)", "System RAM (virtio_mem)", *(d.name for d in self.devices))

    def label(self, name: str) -> int:
        """Return the index of a string."""
        return self.strings.index(name)

    @cached_property
    def description(self) -> MachineDescription:
        """The header of its traces."""
        g, shift = self.geometry, self.geometry.page_shift
        resources = [Resource(s << shift, (e << shift) - 1, "System RAM", busy=True, ram=True) for s, e in self.ram]
        resources += [
            Resource(d.start << shift, (d.end << shift) - 1, "Persistent Memory")
            for d in self.devices
            if d.mode in _PERSISTENT
        ]
        return MachineDescription(
            arch=g.arch,
            page_shift=shift,
            section_size_bits=g.section_size_bits,
            max_physmem_bits=g.max_physmem_bits,
            memory_block_bytes=g.memory_block_bytes,
            kernel=self.kernel,
            memory=tuple(BootRange(p.start, p.end, p.node) for p in self.memory.ram),
            resources=tuple(sorted(resources, key=lambda r: r.start)),
        )


def make_machine(name: str, given: Mapping[str, str] | None = None) -> SyntheticMachine:
    """Make a machine.

    Args:
        name: of a plan.
        given: parameters that differ from it, as texts.

    Raises:
        UsageError: unknown names, or a machine that cannot be; the message says what would be right.
    """
    chosen = plan(name)
    settings = dict(given or {})
    values = resolve(f"machine {name}", PLAN_PARAMETERS, {**chosen.settings, **settings})
    geometry = _geometry(values)
    memory = lay_out(values, geometry)
    partial, plugged = _partial(values, geometry, memory)
    check_memory(memory, partial, geometry)
    return SyntheticMachine(name, settings, geometry, values["kernel"], memory, partial, plugged)


def _geometry(values: Mapping[str, int]) -> Geometry:
    arch = ARCHES[str(values["arch"])]
    shift = _log2("page", values["page"])
    if shift not in arch.page_shifts:
        _refuse("page", show_bytes(values["page"]), [show_bytes(1 << s) for s in arch.page_shifts], arch.name)
    kernel = str(values["kernel"])
    bare = MachineDescription(arch.name, shift, 0, 0, 0, kernel)
    own = expected_section_bits(bare, profile(f"v{kernel}").features)
    bits = _log2("section", values["section"]) if values["section"] else own or arch.section_size_bits[shift][-1]
    if bits not in arch.section_size_bits[shift]:
        known = [show_bytes(1 << b) for b in arch.section_size_bits[shift]]
        _refuse(
            "section", show_bytes(values["section"]), known, f"{arch.name} with pages of {values['page'] >> 10} KiB"
        )
    if values["physmem"] not in arch.max_physmem_bits:
        _refuse("physmem", str(values["physmem"]), [str(b) for b in arch.max_physmem_bits], arch.name)
    if own and bits != own:
        raise UsageError(
            f"section={show_bytes(1 << bits)}: kernel {kernel} has sections of {show_bytes(1 << own)} on {arch.name}; "
            "needed that, or section=auto"
        )
    block = values["block"] or max(_BLOCK, 1 << bits)
    if block & (block - 1) or block < 1 << bits:
        raise UsageError(
            f"block={show_bytes(block)}: needed a power of two from the section size ({show_bytes(1 << bits)}) on"
        )
    return Geometry(arch.name, shift, bits, int(values["physmem"]), block)


def _log2(name: str, value: int) -> int:
    if value & (value - 1):
        near = 1 << value.bit_length() - 1
        raise UsageError(
            f"{name}={show_bytes(value)}: needed a power of two, as {show_bytes(near)} or {show_bytes(2 * near)}"
        )
    return value.bit_length() - 1


def _refuse(name: str, found: str, known: list[str], where: str) -> None:
    raise UsageError(f"{name}={found}: needed one of {', '.join(known)} ({where})")


def _partial(values: Mapping[str, int], geometry: Geometry, memory: Memory) -> tuple[tuple[Span, ...], int]:
    """Return the blocks that a hypervisor adds, and how many subsections of each are there."""
    size, block = values["partial"], geometry.memory_block_bytes
    if size % block:
        near = -(-size // block) * block
        raise UsageError(
            f"partial={show_bytes(size)}: needed whole memory blocks of {show_bytes(block)}, as {show_bytes(near)}"
        )
    if not size:
        return (), 0
    pages = geometry.pages_per_block
    top = max(memory.ram[-1].end, *(d.end for d in memory.devices), 0)
    start = -(-top // pages) * pages
    per_block = pages // geometry.pages_per_subsection
    return ((start, start + size // block * pages),), int(values["plugged"] * per_block)
