"""The same loops in numba. Imported only when the peer is asked for: the decorators need the package."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmarks.peers.memory import (
    BLOCK_OFFLINE,
    BLOCK_ONLINE,
    MAX_PAGEMAPS,
    PAGE_BUDDY,
    PAGE_FILE,
    PAGE_KERNEL,
    PAGE_POISONED,
)
from benchmarks.peers.verdicts import WALK, number
from replay.trace.poison import MfFlag
from replay.trace.schema import EventKind, SectionFlags

__all__ = ("SECTION_SHIFT", "SUBSECTION_SHIFT", "events", "walk_singles")

SECTION_SHIFT, SUBSECTION_SHIFT = 15, 9  # constants when it is compiled, as in C; the caller checks that they are right
_S, _SUB, _ONE, _LOW6 = np.uint64(SECTION_SHIFT), np.uint64(SUBSECTION_SHIFT), np.uint64(1), np.uint64(63)
_ALL = np.uint64((1 << 64) - 1)
_PAGES = 1 << SECTION_SHIFT

_PRESENT, _VALID, _ONLINE, _EARLY, _TAINT = (
    np.uint8(f)
    for f in (
        SectionFlags.PRESENT,
        SectionFlags.HAS_MEM_MAP,
        SectionFlags.ONLINE,
        SectionFlags.EARLY,
        SectionFlags.TAINT_ZONE_DEVICE,
    )
)
_OFF = np.uint8(255 - _ONLINE)
_SIMULATED = np.uint64(MfFlag.SW_SIMULATED)
_POISONED_KERNEL, _POISON = np.uint8(PAGE_KERNEL | PAGE_POISONED), np.uint8(PAGE_POISONED)

_NUMBER, _ABSENT, _OFFLINE, _HOLE, _USUAL, _DEVICE, _TAINTED = (
    number(WALK, check)
    for check in (
        "section-number",
        "section-present",
        "section-online",
        "subsection",
        "untainted",
        "pagemap",
        "tainted-page",
    )
)
_OFF_STATE, _OFF_HOLES, _OFF_DONE = (number("memory_block_offline", c) for c in ("state", "holes", "offlined"))
_ON_STATE, _ON_DONE = (number("memory_block_online", c) for c in ("state", "onlined"))
_MAP_LIVE, _MAP_ALIGNMENT, _MAP_POPULATED, _MAPPED = (
    number("memremap_pages", c) for c in ("live-pagemap", "alignment", "populated", "mapped")
)
_UNKNOWN, _UNMAPPED = (number("memunmap_pages", c) for c in ("unknown", "unmapped"))
_MF_OFFLINE, _MF_METADATA, _MF_UNDECIDED, _MF_ALREADY, _MF_BUDDY, _MF_KERNEL, _MF_ANON, _MF_FILE = (
    number("memory_failure", c)
    for c in (
        "not-online",
        "pagemap-metadata",
        "undecided",
        "already-error",
        "buddy",
        "not-handlable-unknown",
        "anon",
        "file",
    )
)
_UN_OFFLINE, _UN_SEEN, _UN_CLEAN, _UN_DONE = (
    number("unpoison_memory", c) for c in ("not-online", "hardware-error-seen", "not-poisoned", "unpoisoned")
)
_K_WALK, _K_ON, _K_OFF, _K_MAP, _K_UNMAP, _K_MF, _K_UN = (
    int(kind)
    for kind in (
        EventKind.PFN_TO_ONLINE_PAGE,
        EventKind.MEMORY_BLOCK_ONLINE,
        EventKind.MEMORY_BLOCK_OFFLINE,
        EventKind.MEMREMAP_PAGES,
        EventKind.MEMUNMAP_PAGES,
        EventKind.MEMORY_FAILURE,
        EventKind.UNPOISON_MEMORY,
    )
)

# ``pagemaps`` is (start, end, data, id), uint64 of shape (4, MAX_PAGEMAPS); ``scalars`` as in Memory.


@njit
def _find(pagemaps: NDArray[Any], scalars: NDArray[Any], pfn: int) -> int:
    for at in range(scalars[0]):
        if pagemaps[0, at] <= pfn < pagemaps[1, at]:
            return at
    return -1


@njit
def _lookup(flags: NDArray[Any], maps: NDArray[Any], pagemaps: NDArray[Any], scalars: NDArray[Any], pfn: int) -> int:
    section = pfn >> _S
    if section >= np.uint64(flags.size):  # both unsigned: mixed signs would be compared as floats
        return _NUMBER
    flag = flags[section]
    if not flag & _PRESENT:
        return _ABSENT
    if not flag & _ONLINE:
        return _OFFLINE
    if not maps[section] >> (pfn >> _SUB & _LOW6) & _ONE:
        return _HOLE
    if not flag & _TAINT:
        return _USUAL
    return _DEVICE if _find(pagemaps, scalars, pfn) >= 0 else _TAINTED


@njit
def walk_singles(
    flags: NDArray[Any],
    maps: NDArray[Any],
    pagemaps: NDArray[Any],
    scalars: NDArray[Any],
    pfns: NDArray[Any],
    out: NDArray[Any],
    counts: NDArray[Any],
) -> None:
    """Write a verdict per pfn, and count them."""
    usual = 0
    for i in range(pfns.size):
        verdict = _lookup(flags, maps, pagemaps, scalars, pfns[i])
        out[i] = verdict
        if verdict == _USUAL:
            usual += 1
        else:
            counts[verdict] += 1
    counts[_USUAL] += usual


@njit
def _run(
    flags: NDArray[Any],
    maps: NDArray[Any],
    pagemaps: NDArray[Any],
    scalars: NDArray[Any],
    pfn: int,
    pages: int,
    counts: NDArray[Any],
) -> int:
    usual = tainted = 0
    for offset in range(pages):
        verdict = _lookup(flags, maps, pagemaps, scalars, pfn + np.uint64(offset))
        if verdict == _USUAL:
            usual += 1
        else:
            counts[verdict] += 1
            tainted += verdict == _TAINTED
    counts[_USUAL] += usual
    return usual + tainted


@njit
def _block(
    flags: NDArray[Any], maps: NDArray[Any], blocks: NDArray[Any], block_shift: int, start: int, end: int, online: bool
) -> int:
    first, last = start >> block_shift, end >> block_shift
    for block in range(first, last):
        if blocks[block] != (BLOCK_OFFLINE if online else BLOCK_ONLINE):
            return _ON_STATE if online else _OFF_STATE
    sections = range(start >> SECTION_SHIFT, end >> SECTION_SHIFT)
    for section in sections:
        if not online and maps[section] != _ALL:
            return _OFF_HOLES
    for section in sections:
        flags[section] = flags[section] | _ONLINE if online else flags[section] & _OFF
    for block in range(first, last):
        blocks[block] = BLOCK_ONLINE if online else BLOCK_OFFLINE
    return _ON_DONE if online else _OFF_DONE


@njit
def _mask(section: int, start: int, end: int) -> int:
    base = section << SECTION_SHIFT
    low = (start - base) >> SUBSECTION_SHIFT if start > base else 0
    high = (end - base) >> SUBSECTION_SHIFT if end < base + _PAGES else 64
    mask = _ALL if high == 64 else (_ONE << np.uint64(high)) - _ONE
    return mask & (_ALL << np.uint64(low))


@njit
def _map(
    flags: NDArray[Any],
    maps: NDArray[Any],
    pagemaps: NDArray[Any],
    scalars: NDArray[Any],
    start: int,
    end: int,
    number_: int,
) -> int:
    if _find(pagemaps, scalars, start) >= 0 or _find(pagemaps, scalars, end - 1) >= 0:
        return _MAP_LIVE
    if (start | end) & ((1 << SUBSECTION_SHIFT) - 1):
        return _MAP_ALIGNMENT
    first, last = start >> SECTION_SHIFT, (end - 1) >> SECTION_SHIFT
    for section in range(first, last + 1):
        if maps[section] & _mask(section, start, end):
            return _MAP_POPULATED
    at = scalars[0]
    if at == MAX_PAGEMAPS:
        return _MAP_POPULATED  # no room; the counts will not agree
    while at > 0 and pagemaps[0, at - 1] > start:
        pagemaps[:, at] = pagemaps[:, at - 1]
        at -= 1
    pagemaps[0, at], pagemaps[1, at], pagemaps[2, at], pagemaps[3, at] = start, end, start, number_
    scalars[0] += 1
    for section in range(first, last + 1):
        flags[section] |= _PRESENT | _VALID
        maps[section] |= _mask(section, start, end)
    if start % _PAGES:
        flags[first] |= _TAINT
    if end % _PAGES:
        flags[last] |= _TAINT
    return _MAPPED


@njit
def _unmap(flags: NDArray[Any], maps: NDArray[Any], pagemaps: NDArray[Any], scalars: NDArray[Any], number_: int) -> int:
    count, at = scalars[0], 0
    while at < count and pagemaps[3, at] != number_:
        at += 1
    if at == count:
        return _UNKNOWN
    start, end = np.int64(pagemaps[0, at]), np.int64(pagemaps[1, at])
    for after in range(at, count - 1):
        pagemaps[:, after] = pagemaps[:, after + 1]
    scalars[0] -= 1
    for section in range(start >> SECTION_SHIFT, ((end - 1) >> SECTION_SHIFT) + 1):
        mask = _mask(section, start, end)
        if maps[section] & mask == mask:
            maps[section] &= ~mask
        if not maps[section]:
            flags[section] = 0
    return _UNMAPPED


@njit
def _memory_failure(
    flags: NDArray[Any],
    maps: NDArray[Any],
    pagemaps: NDArray[Any],
    scalars: NDArray[Any],
    pages: NDArray[Any],
    pfn: int,
    request: int,
) -> int:
    if not request & _SIMULATED:
        scalars[1] = 1
    verdict = _lookup(flags, maps, pagemaps, scalars, pfn)
    if verdict not in (_USUAL, _TAINTED):
        at, section = _find(pagemaps, scalars, pfn), pfn >> _S
        valid = section < np.uint64(flags.size) and flags[section] & _VALID != 0
        valid = valid and (flags[section] & _EARLY != 0 or maps[section] >> (pfn >> _SUB & _LOW6) & _ONE != 0)
        if at < 0 or not valid:
            return _MF_OFFLINE
        return _MF_METADATA if pfn < pagemaps[2, at] else _MF_UNDECIDED
    page = pages[pfn]
    if page & _POISON:
        return _MF_ALREADY
    if page == 0:
        return _MF_UNDECIDED
    pages[pfn] = _POISONED_KERNEL
    scalars[2] += 1
    if page == PAGE_BUDDY:
        return _MF_BUDDY
    if page == PAGE_KERNEL:
        return _MF_KERNEL
    return _MF_FILE if page == PAGE_FILE else _MF_ANON


@njit
def _unpoison_memory(
    flags: NDArray[Any],
    maps: NDArray[Any],
    pagemaps: NDArray[Any],
    scalars: NDArray[Any],
    pages: NDArray[Any],
    pfn: int,
) -> int:
    verdict = _lookup(flags, maps, pagemaps, scalars, pfn)
    if verdict not in (_USUAL, _TAINTED):
        return _UN_OFFLINE
    if scalars[1]:
        return _UN_SEEN
    if not pages[pfn] & _POISON:
        return _UN_CLEAN
    pages[pfn] = PAGE_BUDDY
    scalars[2] -= 1
    return _UN_DONE


@njit
def events(
    flags: NDArray[Any],
    maps: NDArray[Any],
    blocks: NDArray[Any],
    pagemaps: NDArray[Any],
    pages: NDArray[Any],
    scalars: NDArray[Any],
    block_shift: int,
    kinds: NDArray[Any],
    pfns: NDArray[Any],
    nr_pages: NDArray[Any],
    requests: NDArray[Any],
    ids: NDArray[Any],
    out: NDArray[Any],
    counts: NDArray[Any],
) -> int:
    """Answer rows of all kinds as walk.c does. A column that the rows do not have is of size 0."""
    for i in range(kinds.size):
        kind, pfn = kinds[i], pfns[i]
        count = nr_pages[i] if nr_pages.size else _ONE
        if kind == _K_WALK:
            out[i] = _run(flags, maps, pagemaps, scalars, pfn, np.int64(count), counts)
            continue
        start, end = np.int64(pfn), np.int64(pfn + count)
        if kind in (_K_ON, _K_OFF):
            verdict = _block(flags, maps, blocks, block_shift, start, end, kind == _K_ON)
        elif kind == _K_MAP:
            verdict = _map(flags, maps, pagemaps, scalars, start, end, np.int64(ids[i]))
        elif kind == _K_UNMAP:
            verdict = _unmap(flags, maps, pagemaps, scalars, np.int64(ids[i]))
        elif kind == _K_MF:
            request = requests[i] if requests.size else np.uint64(0)
            verdict = _memory_failure(flags, maps, pagemaps, scalars, pages, pfn, request)
        elif kind == _K_UN:
            verdict = _unpoison_memory(flags, maps, pagemaps, scalars, pages, pfn)
        else:
            return kind
        out[i] = verdict
        counts[verdict] += 1
    return 0
