"""What a kernel makes of the memory that the firmware reports (walk semantics 2.4, 4.2)."""

from __future__ import annotations

from replay.kernel.rules import BUILT_IN, Grain, Rules
from replay.machine.geometry import Geometry
from replay.machine.machine import Machine
from replay.machine.resources import ResourceTree
from replay.trace.header import BootRange, MachineDescription, Resource
from replay.trace.schema import SectionFlags

__all__ = ("boot",)

_NODE_BIT_SEEN_AS_TAINT = 2  # with the node id at bit 3 of the flag word, node bit 1 lands on the taint bit


def boot(description: MachineDescription, features: frozenset[str], rules: Rules = BUILT_IN) -> Machine:
    """Return the machine as a kernel with these features sees it before the first event.

    Args:
        description: geometry, boot memory and resources.
        features: of the kernel.
        rules: what a candidate changed.

    Raises:
        TraceError: the resources do not nest.
    """
    geometry = Geometry.of(description)
    resources = description.resources or _ram_resources(description.memory, geometry.page_shift)
    machine = Machine(geometry, ResourceTree(resources), whole_sections="subsection-hotplug" not in features)
    machine.keep_marks([mark.grain is Grain.SECTION for mark in rules.marks])
    flags = SectionFlags.ONLINE
    if "section-early" in features:
        flags |= SectionFlags.EARLY
    overlap = "taint-zone-device" in features and "section-nid-shift" not in features
    for r in description.memory:
        tainted = overlap and r.node & _NODE_BIT_SEEN_AS_TAINT
        end = min(r.end, geometry.max_pfns)  # what lies above the section table is not taken over
        machine.sections.populate(r.start, end, flags | (SectionFlags.TAINT_ZONE_DEVICE if tainted else 0))
        machine.touch_sections(r.start, end)
        machine.nodes.assign(r.start, end, r.node + 1)
        if not r.nomap:
            machine.memblock.assign(r.start, end, 1)
        for block in machine.block_numbers(r.start, end):
            machine.blocks[block] = True
        machine.raise_max_pfn(r.end)
        rules.happened(machine, "boot", "boot", r.start, end, r.node)
    return machine


def _ram_resources(memory: tuple[BootRange, ...], page_shift: int) -> tuple[Resource, ...]:
    return tuple(
        Resource(r.start << page_shift, (r.end << page_shift) - 1, "System RAM", busy=True, ram=True)
        for r in memory
        if not r.nomap
    )
