# mypy: disable-error-code="untyped-decorator"
"""The hottest loops, compiled by numba: the same answers as the arrays of ``gather``, ``runs`` and ``past``, in one pass.

Imported only through ``acceleration``: numba is an extra, and importing it takes longer than a small replay. The loops
hold no lock of the interpreter, so threads do run side by side.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ("count_past", "count_runs", "count_singles")

_BLOCK = 4096  # pfns

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]


@njit(nogil=True, cache=True)
def count_singles(pfns: U64, shift: np.uint64, flat: U8, special: U8, counts: I64, picked: U64) -> int:
    """Count the classes of single pfns.

    Args:
        pfns: what is looked up.
        shift: from pfn to entry of the flat table; the last entry stands for all beyond.
        flat: class byte per subsection.
        special: classes that are rare and whose pfns are wanted.
        counts: int64, 256 of them, added to.
        picked: gets the pfns of special classes; as long as ``pfns``.

    Returns:
        How many were picked.
    """
    last = np.uint64(flat.size - 1)
    lanes = np.zeros((4, 256), np.int64)  # a row for each of four pfns, so that they need not wait for each other
    found, before = 0, 0
    for start in range(0, pfns.size, _BLOCK):
        part = pfns[start : start + _BLOCK]
        whole = part.size // 4 * 4
        for i in range(0, whole, 4):
            lanes[0, flat[min(part[i] >> shift, last)]] += 1
            lanes[1, flat[min(part[i + 1] >> shift, last)]] += 1
            lanes[2, flat[min(part[i + 2] >> shift, last)]] += 1
            lanes[3, flat[min(part[i + 3] >> shift, last)]] += 1
        for i in range(whole, part.size):
            lanes[0, flat[min(part[i] >> shift, last)]] += 1
        now = 0
        for label in special:
            now += lanes[0, label] + lanes[1, label] + lanes[2, label] + lanes[3, label]
        if now != before:  # most blocks have none, so asking each pfn would cost more than going over some again
            before = now
            for pfn in part:
                mine = flat[min(pfn >> shift, last)]
                for label in special:
                    if mine == label:
                        picked[found] = pfn
                        found += 1
    for label in range(256):
        counts[label] += lanes[0, label] + lanes[1, label] + lanes[2, label] + lanes[3, label]
    return found


@njit(nogil=True, cache=True)
def count_runs(
    first: U64, count: U64, starts: U64, cells: I64, shift: np.uint64, special: Bools, ends: I64, sums: U64, picked: I64
) -> int:
    """Count where runs of stride one begin and end.

    Args:
        first: first pfn of each run.
        count: pfns of each run.
        starts: first pfn of each segment.
        cells: segment per coarse cell, -1 where there are several; the last stands for all beyond.
        shift: from pfn to cell.
        special: segments; a run that begins or ends in one is not counted but picked.
        ends: int64, three rows with an entry per segment, added to: runs that begin in it, that end in it, that do both.
        sums: uint64, two rows: sum of the first pfns, and of the pfns behind the last, modulo 2**64.
        picked: gets the numbers of such runs; as long as ``first``.

    Returns:
        How many were picked.
    """
    last = np.uint64(cells.size - 1)
    found = 0
    for i in range(first.size):
        begin, end = first[i], first[i] + count[i]
        low, high = cells[min(begin >> shift, last)], cells[min(end >> shift, last)]
        if end == 0:  # behind the last number that there is; sums are modulo 2**64 as well
            high = starts.size - 1
        if low < 0:
            low = np.searchsorted(starts, begin, side="right") - 1
        if high < 0:
            high = np.searchsorted(starts, end, side="right") - 1
        if special[low] or special[high]:
            picked[found] = i
            found += 1
            continue
        ends[0, low] += 1
        ends[1, high] += 1
        sums[0, low] += begin
        sums[1, high] += end
        if low == high:
            ends[2, low] += 1
    return found


@njit(nogil=True, cache=True)
def count_past(
    pfns: U64,
    behind: I64,
    change_local: NDArray[np.unsignedinteger],
    change_flags: U16,
    flags: U16,
    kept: U16,
    numbers: NDArray[np.unsignedinteger],
    section_shift: np.uint64,
    flat: U16,
    shift: np.uint64,
    starts: U64,
    codes: U16,
    mixed: np.uint16,
    table: U8,
    counts: I64,
    classes: U8,
) -> None:
    """Count the classes of single pfns, looked up while section flags change.

    Args:
        pfns: what is looked up, in the order of the rows.
        behind: for each change, in their order, how many of the lookups come before it.
        change_local: number of the section that each changes.
        change_flags: its flags from then on, in their place in a state code.
        flags: of the sections that change, by number, before the first of the changes; changed here. The last entry, 0,
            stands for all sections that do not change.
        kept: bits of a state code that are not taken from ``flags``, by the same numbers.
        numbers: by section, its number, or a larger one if it does not change; the last stands for all sections beyond.
        section_shift: from pfn to section.
        flat: state code per subsection, without the changes; the last stands for all beyond.
        shift: from pfn to subsection.
        starts: first pfn of each segment.
        codes: state code of each segment.
        mixed: what ``flat`` says where the segments have to be asked.
        table: class byte by state code.
        counts: int64, 256 of them, added to.
        classes: gets the class byte of each pfn.
    """
    last, end, unchanged = np.uint64(flat.size - 1), np.uint64(numbers.size - 1), np.uint64(flags.size - 1)
    i = 0
    for change in range(behind.size + 1):
        stop = behind[change] if change < behind.size else pfns.size
        while i < stop:
            pfn = pfns[i]
            code = flat[min(pfn >> shift, last)]
            if code == mixed:
                code = codes[np.searchsorted(starts, pfn, side="right") - 1]
            # No branch: which sections change cannot be guessed.
            local = min(np.uint64(numbers[min(pfn >> section_shift, end)]), unchanged)
            classes[i] = table[(code & kept[local]) | flags[local]]
            i += 1
        if change < behind.size:
            flags[change_local[change]] = change_flags[change]
    for label in classes:  # apart from the above, since each would have to wait for the one before
        counts[label] += 1
