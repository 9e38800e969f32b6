"""All kernel functions, by the event kind that asks for them, and the numbering of their checks in outcomes."""

from __future__ import annotations

from typing import Any

from replay.kernel.calls import Call
from replay.kernel.dax_rules import DAX_FUNCTIONS
from replay.kernel.dax_sizes import DAX_DEVICE, SizeCall
from replay.kernel.decision import KernelFunction
from replay.kernel.device_calls import DAX_REGION, NAMESPACE, DeviceCall, DriverCall, NamespaceCall, RegionCall
from replay.kernel.hotplug import AddMemory, RemoveMemory
from replay.kernel.memremap import MemremapPages, MemunmapPages
from replay.kernel.namespace import ND_PFN_INIT, ND_PFN_VALIDATE
from replay.kernel.online import MemoryBlockOffline, MemoryBlockOnline, OfflinePages, OnlinePages
from replay.kernel.reserve import ResourceInsert, ResourceRemove
from replay.kernel.resource_queries import PGMAP_PFN_VALID, REGION_INTERSECTS, WALK_SYSTEM_RAM_RANGE
from replay.kernel.walk import GET_DEV_PAGEMAP, KPAGEFLAGS, LOOKUP_FUNCTIONS, PFN_TO_ONLINE_PAGE, PFN_VALID
from replay.trace.schema import EventKind

__all__ = ("CALLS", "CHECK_NAMES", "DEVICE_CALL_TYPES", "DEVICE_FUNCTIONS", "FUNCTIONS", "STATE_LOOKUPS", "check_base")

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
}
DEVICE_FUNCTIONS: tuple[KernelFunction[Any], ...] = (
    DAX_REGION,
    DAX_DEVICE,
    NAMESPACE,
    ND_PFN_INIT,
    ND_PFN_VALIDATE,
    *DAX_FUNCTIONS,
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
CHECK_NAMES: tuple[str, ...] = tuple(f"{f.name}/{check.id}" for f in _NUMBERED for check in f.checks)
_BASE: dict[str, int] = {}
for _function in _NUMBERED:
    _BASE[_function.name] = sum(len(f.checks) for f in _NUMBERED[: len(_BASE)])
assert len(CHECK_NAMES) < 250, "checks are numbered in one byte"


def check_base(function: KernelFunction[Any]) -> int:
    """Return the number of a function's first check in ``CHECK_NAMES``."""
    return _BASE[function.name]
