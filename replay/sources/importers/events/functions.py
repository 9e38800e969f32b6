"""Which events are used: functions with the fields of their probes, as a table."""

from __future__ import annotations

import re
from dataclasses import dataclass

from replay.trace.schema import EventKind

__all__ = (
    "ACTION_EVENT",
    "CALLS",
    "CHANGES",
    "FUNCTIONS",
    "INLINED",
    "LOOKUPS",
    "PAGEMAP_LOOKUP",
    "RETURN",
    "Function",
    "fields",
)

RETURN = "__return"
ACTION_EVENT = "memory_failure_event"
INLINED = "pfn_to_online_page_inlined"  # a probe behind the inlined lookup: argument and answer in one event


@dataclass(frozen=True)
class Function:
    """A function whose entry and return are probed.

    Attributes:
        kind: of the row that a call becomes.
        pfn: names that the field with the pfn may have, at the entry.
        answer: names that the field with the returned value may have, at the return.
        flags: whether a field ``flags`` at the entry is taken over.
    """

    kind: EventKind
    pfn: tuple[str, ...] = ("pfn", "arg1")
    answer: tuple[str, ...] = ("ret", "arg1", "retval")
    flags: bool = False


PAGEMAP_LOOKUP = "get_dev_pagemap"
LOOKUPS: dict[str, Function] = {
    "pfn_valid": Function(EventKind.PFN_VALID),
    "pfn_to_online_page": Function(EventKind.PFN_TO_ONLINE_PAGE, answer=("page", "ret", "arg1", "retval")),
    PAGEMAP_LOOKUP: Function(EventKind.GET_DEV_PAGEMAP, answer=("pgmap", "ret", "arg1", "retval")),
}
CALLS: dict[str, Function] = {
    "memory_failure": Function(EventKind.MEMORY_FAILURE, flags=True),
    "soft_offline_page": Function(EventKind.SOFT_OFFLINE_PAGE, flags=True),
    "unpoison_memory": Function(EventKind.UNPOISON_MEMORY),
}
# Functions that change what lookups find. Recordings hold enough to follow them, bare events do so for pagemaps only.
CHANGES = frozenset(
    (
        "memremap_pages", "memunmap_pages", "add_memory_resource", "__add_memory", "add_memory_driver_managed",
        "try_remove_memory", "online_pages", "offline_pages", "arch_add_memory", "__add_pages", "sparse_add_section",
        "section_deactivate",
    )
)  # fmt: skip
FUNCTIONS = frozenset((*LOOKUPS, *CALLS, *CHANGES))

_FIELD = re.compile(rb"(?:^|[ (])(\w{1,64})=(-?(?:0x[0-9a-f]{1,16}|\d{1,20}))(?=[ )]|$)", re.IGNORECASE)


def fields(payload: bytes) -> dict[str, int]:
    """Return the numeric fields of a payload; of a name that occurs twice, the first."""
    result: dict[str, int] = {}
    for name, value in _FIELD.findall(payload):
        number = int(value, 16) if b"x" in value.lower() else int(value)
        result.setdefault(name.decode("ascii", "replace"), number)
    return result
