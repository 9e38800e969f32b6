"""Which NUMA nodes a region of persistent memory gets (walk semantics 5.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from replay.kernel.calls import Kernel, always, fact
from replay.kernel.decision import Answer, Bools, Check, KernelFunction

__all__ = ("REGION_NODES", "NodeFacts", "NodeSource", "Nodes", "RegionNodes", "region_nodes")


class NodeSource(StrEnum):
    """Who describes a region of persistent memory."""

    NFIT = "nfit"
    E820 = "e820"
    DEVICE_TREE = "device-tree"


@dataclass(frozen=True)
class NodeFacts:
    """What decides about the nodes of a region: booleans, or arrays of them.

    Attributes:
        nfit: described by an NFIT range.
        proximity: which has a valid proximity domain.
        e820: from the e820 map.
    """

    nfit: Bools
    proximity: Bools
    e820: Bools


REGION_NODES: KernelFunction[NodeFacts] = KernelFunction(
    "region_nodes",
    (
        Check("unknown", lambda s: s.nfit & ~s.proximity, Answer("unknown", 0), why="no proximity domain"),
        Check("domain", lambda s: s.nfit, Answer("domain", 1), why="the node of the proximity domain"),
        Check(
            "affinity", lambda s: s.e820, Answer("affinity", 1), needs=("e820-target-affinity",), why="firmware's word"
        ),
        Check("own", always, Answer("own", 1), why="the node of the address or of the device"),
    ),
)


@dataclass
class Nodes:
    """NUMA nodes of a machine.

    Attributes:
        online: nodes with memory or processors in use.
        of_proximity: node of each proximity domain met so far; a new one gets the lowest free number.
        distances: distance of two nodes, 20 where it is not given.
    """

    online: frozenset[int]
    of_proximity: dict[int, int] = field(default_factory=dict)
    distances: Mapping[tuple[int, int], int] = field(default_factory=dict)

    def domain(self, proximity: int) -> int:
        """Return the node of a proximity domain, allocating one if it is new."""
        used = set(self.of_proximity.values())
        free = next(n for n in range(len(used) + 1) if n not in used)
        return self.of_proximity.setdefault(proximity, free)

    def nearest_online(self, node: int) -> int:
        """Return the node itself if online (or -1), else the nearest online one, the lowest of several."""
        if node < 0 or node in self.online or not self.online:
            return node
        return min(sorted(self.online), key=lambda n: self.distances.get((node, n), 20))


@dataclass(frozen=True)
class RegionNodes:
    """The nodes of a region, -1 for unknown.

    Attributes:
        numa_node: an online node near the memory.
        target_node: node of the memory itself, perhaps offline; sysfs hides -1; None: the kernel has no such thing.
    """

    numa_node: int
    target_node: int | None


def region_nodes(
    kernel: Kernel,
    nodes: Nodes,
    source: NodeSource,
    *,
    proximity: int | None = None,
    node: int = -1,
    affinity: int = -1,
) -> RegionNodes:
    """Return the nodes of a region.

    Args:
        kernel: whose rules apply.
        nodes: of the machine; a new proximity domain is added.
        source: who describes the region.
        proximity: proximity domain of an NFIT range, None if not valid.
        node: node of the address (e820) or of the device (device tree), as the running kernel knows it.
        affinity: node of the address in the firmware's memory affinity table (e820).
    """
    facts = NodeFacts(fact(source is NodeSource.NFIT), fact(proximity is not None), fact(source is NodeSource.E820))
    domain = -1 if proximity is None else nodes.domain(proximity)
    found = {"unknown": -1, "domain": domain, "affinity": affinity, "own": node}
    rule = REGION_NODES.checks[REGION_NODES.decide(facts, kernel.features)].id
    numa_node = found[rule] if rule == "own" else nodes.nearest_online(found[rule])
    return RegionNodes(numa_node, found[rule] if kernel.has("dax-target-node") else None)
