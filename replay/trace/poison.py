"""Enumerations of the poison columns: pages, tasks, mappings, sysctls, counters. Numbers are part of the format.

Page flags are chosen so that 0 means the ordinary case: a clean, unmapped page-cache page of a regular file that can be
unmapped, split, released and isolated.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

__all__ = (
    "MARKS",
    "NO_ACTION",
    "ActionResult",
    "CallContext",
    "Counter",
    "MapFlag",
    "MappingClass",
    "MfFlag",
    "PageFlag",
    "PageKind",
    "SysctlKey",
    "TaskFlag",
)

NO_ACTION = 255  # recorded_type of a call that reported no action


class PageKind(IntEnum):
    """``page_kind``: what a page is, as far as the memory error code tells apart."""

    UNKNOWN = 0  # not described; nothing about it can be decided
    LRU = 1
    BUDDY = 2
    PCP = 3  # free, on a per-CPU list
    HUGE = 4  # hugetlb
    ISOLATED = 5  # user page off the LRU for reclaim or migration
    SLAB = 6
    SLAB_COMPOUND = 7
    PAGE_TABLE = 8
    RESERVED = 9
    HUGE_ZERO = 10
    KERNEL_TAIL = 11  # refcount 0 and not free
    KERNEL = 12
    MOVABLE = 13  # movable_ops page
    OFFLINE = 14


class MappingClass(IntEnum):
    """``mapping``: what a page-cache page belongs to; ignored for anonymous pages."""

    REGULAR = 0
    NONE = 1  # truncated
    NOT_REGULAR = 2  # directory and the like
    BLOCK_DEVICE = 3
    NO_OPERATION = 4  # no error-remove operation
    SHMEM = 5
    HUGETLB = 6


class PageFlag(IntFlag):
    """``page_flags``."""

    HWPOISON = 1 << 0
    TAKEN_OFF = 1 << 1  # marked as taken off the buddy lists
    RAW_LISTED = 1 << 2  # this subpage is in the folio's list of raw poisoned pages
    RAW_UNRELIABLE = 1 << 3
    NO_TAKE_OFF = 1 << 4  # taking it off the buddy lists would fail
    NOT_BLOCK_HEAD = 1 << 5  # not the first page of its free block
    HUGE_FREE = 1 << 6
    HUGE_BUSY = 1 << 7  # neither free nor migratable
    TAIL = 1 << 8
    PUD = 1 << 9  # larger than a PMD
    NOT_DISSOLVABLE = 1 << 10
    LARGE = 1 << 11  # part of a large folio
    ANON = 1 << 12
    UNSPLITTABLE = 1 << 13
    MIN_ORDER = 1 << 14  # the file mapping has a minimum folio order
    KSM = 1 << 15
    SWAPCACHE = 1 << 16
    DIRTY = 1 << 17
    MLOCKED = 1 << 18  # still mlocked after unmapping
    UNEVICTABLE = 1 << 19  # for another reason than mlock
    WRITEBACK = 1 << 20
    MAPPED = 1 << 21
    UNMAP_FAILS = 1 << 22
    PTE_DIRTY = 1 << 23
    PTE_WRITE = 1 << 24
    NOT_RELEASABLE = 1 << 25  # truncating or evicting it would fail
    NO_WRITEBACK_MAPPING = 1 << 26  # the mapping does not support writeback
    EVICTABLE = 1 << 27  # soft offline would find it clean and unmapped, and drop it
    NOT_ISOLATABLE = 1 << 28
    NO_DAX_ENTRY = 1 << 29  # the dax mapping entry cannot be locked
    MAPPING_SET = 1 << 30  # the mapping pointer is set (matters to unpoison)
    FILTERED = 1 << 31
    PLATFORM = 1 << 32
    SGX = 1 << 33
    PFN_SPACE = 1 << 34  # registered pfn space without struct pages
    POISON_GIVEN = 1 << 35  # the row gives bits 0 to 3; otherwise what replayed calls left there stays


# What errors leave on a page; everything else describes it.
MARKS = PageFlag.HWPOISON | PageFlag.TAKEN_OFF | PageFlag.RAW_LISTED | PageFlag.RAW_UNRELIABLE


class MfFlag(IntFlag):
    """``flags`` of MEMORY_FAILURE and SOFT_OFFLINE_PAGE: the kernel's own bits, the same in all versions."""

    COUNT_INCREASED = 1
    ACTION_REQUIRED = 2
    MUST_KILL = 4
    SOFT_OFFLINE = 8
    UNPOISON = 16
    SW_SIMULATED = 32
    NO_RETRY = 64
    MEM_PRE_REMOVE = 128


class CallContext(IntFlag):
    """``context`` of a MEMORY_FAILURE row: facts about the calling task that its mappings do not tell."""

    NO_MM = 1
    HAS_ENTRY = 2  # its page tables hold a present or hwpoison entry for the pfn
    NO_ENTRY = 4  # they do not, whatever the mappings say


class TaskFlag(IntFlag):
    """``flags`` of a TASK_STATE row."""

    MAIN_PROCESS = 1  # the main thread has PF_MCE_PROCESS
    MAIN_EARLY = 2  # and PF_MCE_EARLY
    ANY_EARLY = 4  # some thread has both
    HAS_DEFAULT = 8  # some thread has no policy of its own
    HANDLER = 16  # it handles SIGBUS
    EXITED = 32


class MapFlag(IntFlag):
    """``flags`` of a MAP_PAGES row."""

    ABSENT = 1  # the VMA covers the page, no page table entry does
    NO_ADDRESS = 2  # the address cannot be computed


class SysctlKey(IntEnum):
    """``key`` of a SYSCTL row."""

    EARLY_KILL = 1
    RECOVERY = 2
    ENABLE_SOFT_OFFLINE = 3


class Counter(IntEnum):
    """``key`` of a COUNTERS row; ``value`` is the recorded count, ``node`` says of which node (null: global)."""

    POISONED = 1  # pages; HardwareCorrupted
    TOTAL = 2
    IGNORED = 3
    FAILED = 4
    DELAYED = 5
    RECOVERED = 6


class ActionResult(IntEnum):
    """``recorded_result``."""

    IGNORED = 0
    FAILED = 1
    DELAYED = 2
    RECOVERED = 3
