"""The columns and event kinds of trace format version 1; ``docs/trace-format.md`` tells the same in prose.

One flat table, one row per event. ``time`` and ``kind`` are always there; a file holds only the columns that its events
use, and an absent column reads as all null. Units: pfn in pages of the machine's page size, ``start``/``size`` in
bytes, ``time`` in nanoseconds. Ranges ``[pfn, pfn + nr_pages)`` are half open. This module knows bytes, not
what Linux does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

import numpy as np

__all__ = (
    "COLUMNS",
    "DEVICE_CALLS",
    "DUMPS",
    "FORMAT_MAJOR",
    "FORMAT_MINOR",
    "KINDS",
    "LOOKUPS",
    "NEEDS",
    "POISON_CALLS",
    "POISON_STATES",
    "REQUIRED_COLUMNS",
    "TRANSITIONS",
    "AddFlags",
    "BadblocksAction",
    "Column",
    "DaxAction",
    "DaxDriver",
    "DaxFlags",
    "EventKind",
    "NamespaceFlags",
    "PgmapType",
    "Phase",
    "ResourceFlags",
    "SectionFlags",
    "Zone",
)

FORMAT_MAJOR = 1
FORMAT_MINOR = 1  # the newest that is read; files are written with the lowest that has all they use (devices.py)


class EventKind(IntEnum):
    """What a row is. Numbers are part of the format and are never reused."""

    # Lookups: read the machine, change nothing. pfn/nr_pages/stride make a run.
    PFN_VALID = 1
    PFN_TO_ONLINE_PAGE = 2
    GET_DEV_PAGEMAP = 3
    PGMAP_PFN_VALID = 4  # of pagemap `pgmap`
    REGION_INTERSECTS = 5  # bytes [start, start + size)
    WALK_SYSTEM_RAM_RANGE = 6  # pfns [pfn, pfn + nr_pages)
    KPAGEFLAGS = 7  # a read of /proc/kpageflags (kpagecount, kpagecgroup)

    # Transitions: calls that may change the machine, decided by the kernel being replayed.
    ADD_MEMORY = 16  # pages [pfn, pfn + nr_pages); label = resource name; flags = AddFlags
    REMOVE_MEMORY = 17
    ONLINE_PAGES = 18  # the mm function; zone says where the pages go
    OFFLINE_PAGES = 19
    MEMORY_BLOCK_ONLINE = 20  # the block device layer around it (a write to memoryN/state)
    MEMORY_BLOCK_OFFLINE = 21
    MEMREMAP_PAGES = 22  # range 0 of pagemap `pgmap`; altmap_* set when it carries an altmap
    MEMUNMAP_PAGES = 23
    PGMAP_RANGE = 24  # a further range of pagemap `pgmap`; rows stand before its MEMREMAP_PAGES row
    RESOURCE_INSERT = 25  # bytes [start, start + size) named label; flags = ResourceFlags
    RESOURCE_REMOVE = 26

    # State that decisions about poison look at (pages, tasks, mappings, sysctls).
    PAGE_STATE = 40
    TASK_STATE = 41
    MAP_PAGES = 42
    UNMAP_PAGES = 43
    SYSCTL = 44

    # Errors and what is done about them.
    MEMORY_FAILURE = 56  # flags = MF_* of the recording kernel
    SOFT_OFFLINE_PAGE = 57
    UNPOISON_MEMORY = 58
    CLEAR_ERROR = 59
    ACCESS = 60
    SIGNAL = 61

    # device-dax and namespaces: calls too, decided by the kernel being replayed; `key` is a DaxAction, `label` names.
    DAX_REGION = 72  # bytes [start, start + size), value = id, node = target node, flags = DaxFlags
    DAX_DEVICE = 73  # bytes [start, start + size) of device `label`
    DAX_DRIVER = 74  # flags = DaxDriver
    NAMESPACE = 75  # bytes [start, start + size), value = alignment, node = target node, flags = NamespaceFlags
    BADBLOCKS = 76  # bytes [start, start + size); key = BadblocksAction

    # Marks and oracles: what a recording says about the machine at that moment.
    MARK = 96  # label
    SECTIONS_DUMP = 97  # nr_pages = number of SECTION_STATE rows that follow: every present section
    SECTION_STATE = 98  # pfn = first pfn of 64 subsections; recorded_flags, recorded_bits
    BLOCK_STATE = 99  # pfn = first pfn of a memory block; recorded_flags: 4 online
    COUNTERS = 100
    RESOURCES_DUMP = 101  # value = number of RESOURCE_STATE rows that follow: all of /proc/iomem
    RESOURCE_STATE = 102  # bytes [start, start + size) named label, value = depth below the top level
    BLOCKS_DUMP = 103  # value = number of BLOCK_STATE rows that follow: every memory block device
    DAX_DUMP = 104  # value = number of DAX_STATE rows that follow: every device of the dax bus
    DAX_STATE = 105  # device label, bytes [start, start + size); recorded_flags = DaxDriver, node = target node


KINDS: dict[int, str] = {int(kind): kind.name.lower() for kind in EventKind}
LOOKUPS = frozenset(k for k in EventKind if k < EventKind.ADD_MEMORY)
TRANSITIONS = frozenset(k for k in EventKind if EventKind.ADD_MEMORY <= k < EventKind.PAGE_STATE)
POISON_CALLS = frozenset((EventKind.MEMORY_FAILURE, EventKind.SOFT_OFFLINE_PAGE, EventKind.UNPOISON_MEMORY))
# Calls of the dax bus and of namespaces. Those of drivers make other calls, whose rows stand between BEGIN and DONE.
DEVICE_CALLS = frozenset(
    (EventKind.DAX_REGION, EventKind.DAX_DEVICE, EventKind.DAX_DRIVER, EventKind.NAMESPACE, EventKind.BADBLOCKS)
)
# What a recording says about the whole machine at a moment; compared with the replay, changes nothing.
DUMPS = frozenset(
    (
        EventKind.SECTIONS_DUMP,
        EventKind.SECTION_STATE,
        EventKind.RESOURCES_DUMP,
        EventKind.RESOURCE_STATE,
        EventKind.BLOCKS_DUMP,
        EventKind.BLOCK_STATE,
        EventKind.DAX_DUMP,
        EventKind.DAX_STATE,
    )
)
# Rows that describe pages, tasks, mappings and sysctls, or change them without a call.
POISON_STATES = frozenset(
    (
        EventKind.PAGE_STATE,
        EventKind.TASK_STATE,
        EventKind.MAP_PAGES,
        EventKind.UNMAP_PAGES,
        EventKind.SYSCTL,
        EventKind.CLEAR_ERROR,
    )
)


class Phase(IntEnum):
    """How far a transition has come by this row; rows of one call share ``call``.

    A call that no other event falls into is one row with ``WHOLE``. Otherwise its ``BEGIN`` row carries the arguments
    and the recorded return; later rows say by which moment a part of its effects had happened, ``DONE`` that all had.
    """

    WHOLE = 0
    BEGIN = 1  # checks are made here; memremap: index stored; memunmap: reference killed
    SECTIONS = 2  # section flags and subsection bits of [pfn, pfn + nr_pages) changed
    ZONE = 3  # pages associated with their zone (this is where sections get tainted)
    DONE = 4


class Zone(IntEnum):
    """Zones that pages are associated with."""

    DMA = 0
    DMA32 = 1
    NORMAL = 2
    MOVABLE = 3
    DEVICE = 4


class PgmapType(IntEnum):
    """Pagemap types, in the format's own numbering (kernels renumber theirs)."""

    NONE = 0
    PRIVATE = 1
    COHERENT = 2
    FS_DAX = 3
    GENERIC = 4
    PCI_P2PDMA = 5
    PUBLIC = 6
    DEVDAX = 7


class AddFlags(IntFlag):
    """``flags`` of an ADD_MEMORY row."""

    DRIVER_MANAGED = 1
    MEMMAP_ON_MEMORY = 2


class ResourceFlags(IntFlag):
    """``flags`` of a RESOURCE_INSERT row; REGION_INTERSECTS asks for entries with these."""

    BUSY = 1
    RAM = 2


class DaxAction(IntEnum):
    """``key`` of rows about dax regions, devices, drivers and namespaces."""

    CREATE = 0  # a region, device or namespace appears; a device is offered to the drivers
    DELETE = 1
    SIZE = 2  # a device of a dynamic region gets another size
    ALIGN = 3  # value = new alignment
    MAPPING = 4  # a device of a dynamic region gets one more range
    BIND = 5
    UNBIND = 6
    NEW_ID = 7  # label is the text that is written
    REMOVE_ID = 8
    INFO = 9  # of a namespace: the info block that its medium holds


class BadblocksAction(IntEnum):
    """``key`` of BADBLOCKS rows: what became known or was done about bytes ``[start, start + size)``."""

    FOUND = 0  # a scan, or the firmware's list, names them
    REPORTED = 1  # an uncorrected error at `start` was reported at run time, with `size` as its granularity
    WRITTEN = 2  # they were written to through the block device
    CLEARED = 3  # a clear-error command was carried out on them


class DaxDriver(IntEnum):
    """``flags`` of a DAX_DRIVER row, ``recorded_flags`` of a DAX_STATE row."""

    NONE = 0
    DEVICE_DAX = 1
    KMEM = 2


class DaxFlags(IntFlag):
    """``flags`` of a DAX_REGION row (KMEM, DYNAMIC) and of a DAX_DEVICE row (MEMMAP_ON_MEMORY)."""

    KMEM = 1
    DYNAMIC = 2
    MEMMAP_ON_MEMORY = 4


class NamespaceFlags(IntFlag):
    """``flags`` of a NAMESPACE row: fsdax or devdax, none of them for raw; where the memmap lives; what is on the medium."""

    FSDAX = 1
    DEVDAX = 2
    MAP_MEM = 4
    LEGACY = 8  # of a region that the firmware's e820 map reports
    KEEP = 16  # put to use as it was before: an info block on its medium decides


class SectionFlags(IntFlag):
    """``recorded_flags`` of a SECTION_STATE row."""

    PRESENT = 1
    HAS_MEM_MAP = 2
    ONLINE = 4
    EARLY = 8
    TAINT_ZONE_DEVICE = 16


@dataclass(frozen=True)
class Column:
    """A column of the format.

    Attributes:
        name: column name.
        dtype: numpy dtype name; Arrow uses the type of the same name.
        doc: meaning and unit.
        default: what null means to a replay, or None when null means "not given".
    """

    name: str
    dtype: str
    doc: str
    default: int | None = None

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The numpy dtype."""
        return np.dtype(self.dtype)

    @property
    def nullable(self) -> bool:
        """Whether a row may leave it out (only ``time`` and ``kind`` may not)."""
        return self.name not in REQUIRED_COLUMNS


REQUIRED_COLUMNS = ("time", "kind")

_COLUMNS = (
    Column("time", "uint64", "ns on the clock named in the provenance; never decreases"),
    Column("kind", "uint8", "EventKind"),
    Column("pfn", "uint64", "first pfn of the range or run"),
    Column("nr_pages", "uint64", "pfns in the range or run", 1),
    Column("stride", "int64", "pfns from one lookup of a run to the next; negative runs descend", 1),
    Column("phase", "uint8", "Phase of a transition", 0),
    Column("call", "uint32", "id shared by the rows of one call; a lookup made inside a call carries that call's id"),
    Column("caller", "uint32", "id of the driver's call that made this call"),
    Column("window", "uint32", "the event was answered not at this row exactly, but somewhere between it and this many "
           "rows later", 0),
    Column("task", "uint32", "pid of the calling task"),
    Column("node", "int32", "NUMA node given by the caller"),
    Column("zone", "uint8", "Zone that pages are onlined to"),
    Column("flags", "uint64", "request flags; the meaning depends on kind"),
    Column("env", "int32", "negative errno that parts of the kernel outside the trace imposed (an unmovable page, a "
           "pending signal, no memory); null or 0: nothing in the way", 0),
    Column("label", "uint32", "index into the replay.strings list of the metadata"),
    Column("start", "uint64", "first byte of a resource"),
    Column("size", "uint64", "bytes of a resource"),
    # Pagemaps.
    Column("pgmap", "uint32", "pagemap id, given by the trace, >= 1, never reused; 0 in recorded_pgmap is NULL"),
    Column("pgmap_type", "uint8", "PgmapType"),
    Column("altmap_base", "uint64", "altmap base pfn"),
    Column("altmap_reserve", "uint64", "altmap pages kept free in front of the memmap"),
    Column("altmap_free", "uint64", "altmap pages that hold the memmap"),
    Column("vmemmap_shift", "uint8", "log2 of the compound page size in pages", 0),
    # Pages, tasks, mappings, sysctls.
    Column("page_kind", "uint8", "PageKind"),
    Column("page_flags", "uint64", "PageFlag bits", 0),
    Column("mapping", "uint8", "MappingClass", 0),
    Column("pins", "uint8", "foreign references to the page (GUP, pipe)", 0),
    Column("owner_ret", "int32", "what the owner handler of a dax page returns; -95: there is none, or it declines", -95),
    Column("order", "uint8", "folio order", 0),
    Column("refs", "int32", "reference count of the page (of its head)", 1),
    Column("context", "uint8", "CallContext bits", 0),
    Column("key", "uint8", "SysctlKey, Counter, DaxAction, or BadblocksAction"),
    Column("value", "int64", "new value; SOFT_OFFLINE_PAGE: what migration returned"),
    Column("vaddr", "uint64", "virtual address, bytes"),
    Column("map_shift", "uint8", "log2 of the bytes one page table entry maps"),
    Column("signal", "uint8", "signal number"),
    # What the real kernel did. Never overwritten by a replay.
    Column("recorded_ret", "int64", "return value; pfn lookups: 1 page (of that very pfn), 0 NULL"),
    Column("recorded_pgmap", "uint32", "pagemap id that get_dev_pagemap returned, here or inside the lookup; 0 NULL"),
    Column("recorded_slow", "uint8", "pfn_to_online_page called get_dev_pagemap (1) or did not (0)"),
    Column("recorded_flags", "uint32", "section flags: 1 present, 2 has mem_map, 4 online, 8 early, 16 taint; a dax driver"),
    Column("recorded_bits", "uint64", "bit n: subsection n of the section's 64 from pfn on is populated"),
    Column("recorded_type", "uint8", "action page type, the recording kernel's own number; 255 when it reported no action"),
    Column("recorded_result", "uint8", "action result: 0 ignored, 1 failed, 2 delayed, 3 recovered"),
    Column("recorded_hwpoison", "uint8", "HWPoison flag of the page after the call"),
    Column("recorded_code", "int32", "si_code of a signal"),
    Column("recorded_addr", "uint64", "si_addr of a signal, bytes"),
    Column("recorded_lsb", "uint8", "si_addr_lsb of a signal"),
)  # fmt: skip

COLUMNS: dict[str, Column] = {column.name: column for column in _COLUMNS}

_RANGE = ("pfn",)
_PGMAP = ("pfn", "pgmap")
NEEDS: dict[EventKind, tuple[str, ...]] = {
    EventKind.PFN_VALID: _RANGE,
    EventKind.PFN_TO_ONLINE_PAGE: _RANGE,
    EventKind.GET_DEV_PAGEMAP: _RANGE,
    EventKind.PGMAP_PFN_VALID: _PGMAP,
    EventKind.REGION_INTERSECTS: ("start", "size"),
    EventKind.WALK_SYSTEM_RAM_RANGE: ("pfn", "nr_pages"),
    EventKind.KPAGEFLAGS: _RANGE,
    EventKind.ADD_MEMORY: ("pfn", "nr_pages"),
    EventKind.REMOVE_MEMORY: ("pfn", "nr_pages"),
    EventKind.ONLINE_PAGES: ("pfn", "nr_pages"),
    EventKind.OFFLINE_PAGES: ("pfn", "nr_pages"),
    EventKind.MEMORY_BLOCK_ONLINE: ("pfn", "nr_pages"),
    EventKind.MEMORY_BLOCK_OFFLINE: ("pfn", "nr_pages"),
    EventKind.MEMREMAP_PAGES: (*_PGMAP, "nr_pages"),
    EventKind.MEMUNMAP_PAGES: ("pgmap",),
    EventKind.PGMAP_RANGE: (*_PGMAP, "nr_pages"),
    EventKind.RESOURCE_INSERT: ("start", "size", "label"),
    EventKind.RESOURCE_REMOVE: ("start", "size"),
    EventKind.PAGE_STATE: ("pfn", "page_kind"),
    EventKind.MAP_PAGES: ("pfn", "task", "vaddr"),
    EventKind.UNMAP_PAGES: ("pfn", "task"),
    EventKind.TASK_STATE: ("task",),
    EventKind.SYSCTL: ("key", "value"),
    EventKind.MEMORY_FAILURE: _RANGE,
    EventKind.SOFT_OFFLINE_PAGE: _RANGE,
    EventKind.UNPOISON_MEMORY: _RANGE,
    EventKind.CLEAR_ERROR: _RANGE,
    EventKind.ACCESS: ("pfn", "task"),
    EventKind.SIGNAL: ("task", "signal"),
    EventKind.COUNTERS: ("key", "value"),
    EventKind.MARK: ("label",),
    EventKind.SECTIONS_DUMP: ("nr_pages",),
    EventKind.SECTION_STATE: ("pfn", "recorded_flags", "recorded_bits"),
    EventKind.BLOCK_STATE: ("pfn", "recorded_flags"),
    EventKind.RESOURCES_DUMP: ("value",),
    EventKind.RESOURCE_STATE: ("start", "size", "label", "value"),
    EventKind.BLOCKS_DUMP: ("value",),
    EventKind.DAX_DUMP: ("value",),
    EventKind.DAX_STATE: ("label", "recorded_flags"),
    EventKind.DAX_REGION: ("key", "value"),
    EventKind.DAX_DEVICE: ("key", "label"),
    EventKind.DAX_DRIVER: ("key", "label", "flags"),
    EventKind.NAMESPACE: ("key", "label"),
}
