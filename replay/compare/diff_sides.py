"""What is compared: a kernel with its form of every function, and the rooms that functions belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from replay.kernel.access import ACCESS, AccessState
from replay.kernel.badblocks import BADBLOCKS, BadblocksFacts
from replay.kernel.block_size import MEMORY_BLOCK_SIZE, BlockSizeFacts
from replay.kernel.dax_rules import (
    DAX_DRIVER,
    DAX_ID,
    DAX_MATCH,
    DAX_PROBE,
    DEVICE_DAX_PROBE,
    KMEM_ADD,
    KMEM_RELEASE,
    KMEM_REMOVE,
    KMEM_RESERVE,
    DeviceFacts,
    DriverFacts,
    IdFacts,
    MatchFacts,
    ProbeFacts,
    RangeFacts,
)
from replay.kernel.dax_rules import RemoveFacts as TakeBackFacts
from replay.kernel.dax_sizes import DAX_DEVICE, SizeFacts
from replay.kernel.decision import KernelFunction
from replay.kernel.device_calls import DAX_REGION
from replay.kernel.device_calls import RegionFacts as DaxRegionFacts
from replay.kernel.hotplug import ADD_MEMORY, REMOVE_MEMORY, AddFacts, RemoveFacts
from replay.kernel.kill import KILL_ACCESSING_PROCESS, KILL_PROCS, KILL_PROCS_2009, KillState
from replay.kernel.memory_failure import MEMORY_FAILURE
from replay.kernel.memremap import MEMREMAP_PAGES, MEMUNMAP_PAGES, MapFacts, UnmapFacts
from replay.kernel.namespace import ND_PFN_INIT, ND_PFN_VALIDATE, InitFacts, ValidateFacts
from replay.kernel.namespace_calls import NAMESPACE, NamespaceFacts
from replay.kernel.online import MEMORY_BLOCK_OFFLINE, MEMORY_BLOCK_ONLINE, OFFLINE_PAGES, ONLINE_PAGES, BlockFacts
from replay.kernel.poison_2009 import MEMORY_FAILURE_2009
from replay.kernel.poison_state import PoisonState
from replay.kernel.profiles import Profile
from replay.kernel.region_nodes import REGION_NODES, NodeFacts
from replay.kernel.reserve import RESOURCE_INSERT, RESOURCE_REMOVE, ReserveFacts
from replay.kernel.resource_queries import (
    PGMAP_PFN_VALID,
    REGION_INTERSECTS,
    WALK_SYSTEM_RAM_RANGE,
    MetadataFacts,
    RegionFacts,
    WalkFacts,
)
from replay.kernel.rules import Rules
from replay.kernel.soft_offline import SOFT_OFFLINE_PAGE
from replay.kernel.unpoison import UNPOISON_MEMORY
from replay.kernel.walk import LOOKUP_FUNCTIONS, WalkState

__all__ = ("AREAS", "DEFAULT_AREAS", "SUBJECTS", "SWAPS", "Side", "Subject")

SWAPS = frozenset({"poison-2009"})  # with it functions are others altogether, or not there
DEFAULT_AREAS = ("lookups", "errors")
AREAS = {
    "lookups": "lookups of pfns",
    "errors": "poison calls",
    "signals": "signals",
    "hotplug": "hotplug and mapping",
    "devices": "dax, namespaces and block size",
}
"""Rooms of functions, and what to call them."""


@dataclass(frozen=True)
class Side:
    """One of the kernels that are compared."""

    name: str
    features: frozenset[str]
    rules: Rules
    poison_only: bool = False

    @classmethod
    def of(cls, profile: Profile) -> Side:
        """Return a profile as a side."""
        return cls(profile.name, profile.features, profile.rules, profile.poison_only)


@dataclass(frozen=True)
class Subject:
    """A function of the kernel, whatever form a kernel has of it.

    Attributes:
        area: of ``AREAS``.
        function: the built-in form.
        state: class of the states that it decides on.
        before: form of kernels with a feature of ``SWAPS``, if it is another one.
    """

    area: str
    function: KernelFunction[Any]
    state: type[Any]
    before: KernelFunction[Any] | None = None

    @property
    def name(self) -> str:
        """The kernel's name of it."""
        return self.function.name

    def form(self, side: Side) -> KernelFunction[Any] | None:
        """Return a kernel's form of the function, None where nothing is known of it."""
        if SWAPS.isdisjoint(side.features):
            return side.rules.function(self.function)
        return None if self.before is None else side.rules.function(self.before)


def _subjects(area: str, rows: dict[type[Any], tuple[KernelFunction[Any], ...]]) -> list[Subject]:
    return [Subject(area, function, state) for state, functions in rows.items() for function in functions]


SUBJECTS: tuple[Subject, ...] = (
    *_subjects("lookups", {WalkState: LOOKUP_FUNCTIONS, MetadataFacts: (PGMAP_PFN_VALID,)}),
    Subject("errors", MEMORY_FAILURE, PoisonState, before=MEMORY_FAILURE_2009),
    *_subjects("errors", {PoisonState: (SOFT_OFFLINE_PAGE, UNPOISON_MEMORY)}),
    Subject("signals", KILL_PROCS, KillState, before=KILL_PROCS_2009),
    *_subjects("signals", {PoisonState: (KILL_ACCESSING_PROCESS,), AccessState: (ACCESS,)}),
    *_subjects(
        "hotplug",
        {
            AddFacts: (ADD_MEMORY,),
            RemoveFacts: (REMOVE_MEMORY,),
            BlockFacts: (ONLINE_PAGES, OFFLINE_PAGES, MEMORY_BLOCK_ONLINE, MEMORY_BLOCK_OFFLINE),
            MapFacts: (MEMREMAP_PAGES,),
            UnmapFacts: (MEMUNMAP_PAGES,),
            ReserveFacts: (RESOURCE_INSERT, RESOURCE_REMOVE),
            RegionFacts: (REGION_INTERSECTS,),
            WalkFacts: (WALK_SYSTEM_RAM_RANGE,),
        },
    ),
    *_subjects(
        "devices",
        {
            ProbeFacts: (DAX_PROBE,),
            MatchFacts: (DAX_MATCH,),
            IdFacts: (DAX_ID,),
            DriverFacts: (DAX_DRIVER,),
            DeviceFacts: (DEVICE_DAX_PROBE,),
            DaxRegionFacts: (DAX_REGION,),
            SizeFacts: (DAX_DEVICE,),
            NamespaceFacts: (NAMESPACE,),
            RangeFacts: (KMEM_RESERVE, KMEM_ADD, KMEM_RELEASE),
            TakeBackFacts: (KMEM_REMOVE,),
            InitFacts: (ND_PFN_INIT,),
            ValidateFacts: (ND_PFN_VALIDATE,),
            NodeFacts: (REGION_NODES,),
            BadblocksFacts: (BADBLOCKS,),
            BlockSizeFacts: (MEMORY_BLOCK_SIZE,),
        },
    ),
)
