"""All kernel functions, by the event kind that asks for them, and the numbering of their checks in outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from replay.errors import UsageError
from replay.kernel.badblocks import BADBLOCKS, BadblocksCall
from replay.kernel.calls import Call
from replay.kernel.dax_rules import DAX_FUNCTIONS
from replay.kernel.dax_sizes import DAX_DEVICE, SizeCall
from replay.kernel.decision import Check, KernelFunction
from replay.kernel.device_calls import DAX_REGION, DeviceCall, DriverCall, RegionCall
from replay.kernel.hotplug import AddMemory, RemoveMemory
from replay.kernel.memremap import MemremapPages, MemunmapPages
from replay.kernel.namespace import ND_PFN_INIT, ND_PFN_VALIDATE
from replay.kernel.namespace_calls import NAMESPACE, NamespaceCall
from replay.kernel.online import MemoryBlockOffline, MemoryBlockOnline, OfflinePages, OnlinePages
from replay.kernel.reserve import ResourceInsert, ResourceRemove
from replay.kernel.resource_queries import PGMAP_PFN_VALID, REGION_INTERSECTS, WALK_SYSTEM_RAM_RANGE
from replay.kernel.rules import BUILT_IN, Rules
from replay.kernel.walk import GET_DEV_PAGEMAP, KPAGEFLAGS, LOOKUP_FUNCTIONS, PFN_TO_ONLINE_PAGE, PFN_VALID
from replay.trace.schema import EventKind

__all__ = (
    "CALLS",
    "CHECK_NAMES",
    "DEVICE_CALL_TYPES",
    "DEVICE_FUNCTIONS",
    "FUNCTIONS",
    "STATE_LOOKUPS",
    "Numbering",
    "check_base",
)

CALLS: dict[EventKind, type[Call]] = {
    EventKind.ADD_MEMORY: AddMemory,
    EventKind.REMOVE_MEMORY: RemoveMemory,
    EventKind.ONLINE_PAGES: OnlinePages,
    EventKind.OFFLINE_PAGES: OfflinePages,
    EventKind.MEMORY_BLOCK_ONLINE: MemoryBlockOnline,
    EventKind.MEMORY_BLOCK_OFFLINE: MemoryBlockOffline,
    EventKind.MEMREMAP_PAGES: MemremapPages,
    EventKind.MEMUNMAP_PAGES: MemunmapPages,
    EventKind.RESOURCE_INSERT: ResourceInsert,
    EventKind.RESOURCE_REMOVE: ResourceRemove,
}

# Calls that make other calls. Which of these functions decides is a matter of the call.
DEVICE_CALL_TYPES: dict[EventKind, type[DeviceCall]] = {
    EventKind.DAX_REGION: RegionCall,
    EventKind.DAX_DEVICE: SizeCall,
    EventKind.DAX_DRIVER: DriverCall,
    EventKind.NAMESPACE: NamespaceCall,
    EventKind.BADBLOCKS: BadblocksCall,
}
DEVICE_FUNCTIONS: tuple[KernelFunction[Any], ...] = (
    DAX_REGION,
    DAX_DEVICE,
    NAMESPACE,
    ND_PFN_INIT,
    ND_PFN_VALIDATE,
    *DAX_FUNCTIONS,
    BADBLOCKS,
)

FUNCTIONS: dict[EventKind, KernelFunction[Any]] = {
    EventKind.PFN_VALID: PFN_VALID,
    EventKind.PFN_TO_ONLINE_PAGE: PFN_TO_ONLINE_PAGE,
    EventKind.GET_DEV_PAGEMAP: GET_DEV_PAGEMAP,
    EventKind.PGMAP_PFN_VALID: PGMAP_PFN_VALID,
    EventKind.KPAGEFLAGS: KPAGEFLAGS,
    EventKind.REGION_INTERSECTS: REGION_INTERSECTS,
    EventKind.WALK_SYSTEM_RAM_RANGE: WALK_SYSTEM_RAM_RANGE,
    **{kind: call.function for kind, call in CALLS.items()},
}

# Kinds that are answered from the state code of a pfn alone.
STATE_LOOKUPS = tuple(kind for kind, function in FUNCTIONS.items() if function in LOOKUP_FUNCTIONS)

_NUMBERED = (*FUNCTIONS.values(), *DEVICE_FUNCTIONS)
_MOST = 250  # checks are numbered in one byte, of which some values mean something else


@dataclass(frozen=True)
class Numbering:
    """The numbers that the checks of one kernel have in outcomes.

    Attributes:
        names: "function/check" by number.
        base: number of each function's first check, by the function's name.
        checks: by number.
    """

    names: tuple[str, ...]
    base: Mapping[str, int]
    checks: tuple[Check[Any], ...]

    @classmethod
    def of(cls, rules: Rules) -> Numbering:
        """Number the checks of the built-in functions, or of a candidate's form of them.

        Raises:
            UsageError: they are more than outcomes have numbers for.
        """
        functions = [rules.function(function) for function in _NUMBERED]
        names = tuple(f"{f.name}/{check.id}" for f in functions for check in f.checks)
        if len(names) >= _MOST:
            raise UsageError(f"the candidate's functions have {len(names)} checks together; needed fewer than {_MOST}")
        sizes = [len(f.checks) for f in functions]
        starts = accumulate(sizes, initial=0)
        base = {f.name: start for f, start in zip(functions, starts, strict=False)}
        return cls(names, base, tuple(check for f in functions for check in f.checks))


_BUILT_IN = Numbering.of(BUILT_IN)
CHECK_NAMES = _BUILT_IN.names


def check_base(function: KernelFunction[Any]) -> int:
    """Return the number of a built-in function's first check in ``CHECK_NAMES``."""
    return _BUILT_IN.base[function.name]
