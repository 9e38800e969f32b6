"""A sparse map from single pfns to small numbers: chunks of neighbours, there only where something was written.

Intervals are the right form for what a trace describes, and the wrong one for what errors leave behind: a million broken
pages anywhere in the machine. Here a page costs one table access, whatever lies around it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ("PfnTable",)

_SHIFT = 8
PAGES = 1 << _SHIFT  # per chunk
_NEAR = 1 << 28  # chunks that the directory may cover (256 TiB of 4 KiB pages); those beyond are kept in a dict

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
Numbers = NDArray[np.unsignedinteger[Any]]


class PfnTable:
    """Numbers of single pfns, 0 where none was written.

    Memory is that of the chunks in which something was written, at one byte a page (two or four when numbers outgrow it).
    The directory in front of them takes memory only where it is used: pages of it that were never written are not there.
    """

    def __init__(self) -> None:
        self._directory = np.zeros(1, np.int32)  # chunk -> slot; slot 0 is a chunk of zeros
        self._far: dict[int, int] = {}
        self._pool: Numbers = np.zeros((1, PAGES), np.uint8)
        self._chunks = np.zeros(1, np.int64)  # slot -> chunk
        self._used = 1

    def get(self, pfn: int) -> int:
        """Return the number of a pfn."""
        chunk = pfn >> _SHIFT
        slot = self._directory[chunk] if chunk < self._directory.size else self._far.get(chunk, 0)
        return int(self._pool[slot, pfn & PAGES - 1])

    def set(self, pfn: int, number: int) -> None:
        """Write the number of a pfn."""
        chunk = pfn >> _SHIFT
        slot = self._directory[chunk] if chunk < self._directory.size else self._far.get(chunk, 0)
        if not slot:
            self._add(np.array([chunk]))
            slot = self._used - 1
        if number > np.iinfo(self._pool.dtype).max:
            self._resize(self._used, np.min_scalar_type(number))
        self._pool[slot, pfn & PAGES - 1] = number

    def at(self, pfns: U64) -> Numbers:
        """Return the numbers of many pfns."""
        return self.read(self.places(pfns))

    def put(self, pfns: U64, numbers: NDArray[np.integer[Any]]) -> None:
        """Write the numbers of many pfns, which ascend."""
        self.write(pfns, self.places(pfns), numbers)

    def places(self, pfns: U64) -> I64:
        """Return where the numbers of many pfns are: for ``read``, and for one ``write``, which brings them up to date."""
        places = self._slots(pfns).astype(np.int64)
        places <<= _SHIFT
        places |= (pfns & np.uint64(PAGES - 1)).view(np.int64)
        return places

    def read(self, places: I64) -> Numbers:
        """Return the numbers at places."""
        return np.take(self._pool.reshape(-1), places)

    def write(self, pfns: U64, places: I64, numbers: NDArray[np.integer[Any]]) -> None:
        """Write the numbers of many pfns, which ascend, given also their places."""
        if not pfns.size:
            return
        highest = int(numbers.max())
        if highest > np.iinfo(self._pool.dtype).max:
            self._resize(self._used, np.min_scalar_type(highest))
        if int(places.min()) < PAGES:
            missing = np.flatnonzero(places < PAGES)
            chunks = (pfns[missing] >> np.uint64(_SHIFT)).view(np.int64)
            self._add(chunks[np.append(True, chunks[1:] != chunks[:-1])])
            places[missing] = self.places(pfns[missing])
        # Converted first, as numpy would do it a buffer at a time, which takes half as long again.
        self._pool.reshape(-1)[places] = numbers.astype(self._pool.dtype, copy=False)

    def within(self, start: int, end: int) -> tuple[U64, Numbers]:
        """Return the pfns of ``[start, end)`` whose numbers are not 0, ascending, and these numbers."""
        slots = self._slots_within(start, end)
        if not slots.size:
            return np.empty(0, np.uint64), np.empty(0, np.uint8)
        numbers = self._pool[slots]
        at, place = np.nonzero(numbers)
        pfns = (self._chunks[slots].astype(np.uint64) << np.uint64(_SHIFT))[at] | place.astype(np.uint64)
        inside = (pfns >= np.uint64(start)) & (pfns <= np.uint64(min(end - 1, (1 << 64) - 1)))
        return pfns[inside], numbers[at, place][inside]

    def erase(self, start: int, end: int) -> None:
        """Write 0 for all pfns of ``[start, end)``."""
        pfns, numbers = self.within(start, end)
        self.put(pfns, np.zeros_like(numbers))

    def _slots(self, pfns: U64) -> NDArray[np.int32]:
        chunks = (pfns >> np.uint64(_SHIFT)).view(np.int64)
        if not chunks.size or int(chunks.max()) < self._directory.size:
            return np.take(self._directory, chunks)
        near = chunks < self._directory.size
        slots = np.zeros(chunks.size, np.int32)
        slots[near] = self._directory[chunks[near]]
        if self._far:
            slots[~near] = [self._far.get(chunk, 0) for chunk in chunks[~near].tolist()]
        return slots

    def _slots_within(self, start: int, end: int) -> I64:
        """Return the slots of the chunks that ``[start, end)`` touches, by ascending chunk."""
        first, last = start >> _SHIFT, end - 1 >> _SHIFT
        if self._used == 1 or end <= start:
            return np.empty(0, np.int64)
        if last - first < self._used and last < self._directory.size:
            slots = self._directory[first : last + 1]
            return np.asarray(slots[slots != 0], np.int64)
        chunks = self._chunks[1 : self._used]
        found = np.flatnonzero((chunks >= first) & (chunks <= min(last, (1 << 63) - 1))) + 1
        return np.take(found, np.argsort(self._chunks[found]))

    def _add(self, chunks: I64) -> None:
        """Make room for chunks that are not there yet."""
        used = self._used + chunks.size
        if used > self._chunks.size:
            self._resize(2 * used, self._pool.dtype)
        slots = np.arange(self._used, used)
        self._chunks[slots] = chunks
        self._used = used
        near = chunks < _NEAR
        self._far.update(zip(chunks[~near].tolist(), slots[~near].tolist(), strict=True))
        if near.any():
            self._cover(int(chunks[near].max()) + 1)
            self._directory[chunks[near]] = slots[near]

    def _resize(self, room: int, dtype: np.dtype[Any]) -> None:
        """Move the chunks to where there is more room; what is not used of it takes no memory yet."""
        room, used = max(room, self._chunks.size), slice(self._used)
        pool, chunks = np.zeros((room, PAGES), dtype), np.zeros(room, np.int64)
        pool[used], chunks[used] = self._pool[used], self._chunks[used]
        self._pool, self._chunks = pool, chunks

    def _cover(self, size: int) -> None:
        """Let the directory reach over that many chunks; only what was written of it is copied."""
        if size > self._directory.size:
            directory = np.zeros(min(max(size, 2 * self._directory.size), _NEAR), np.int32)
            held = np.arange(1, self._used)
            held = held[self._chunks[held] < self._directory.size]
            directory[self._chunks[held]] = self._directory[self._chunks[held]]
            self._directory = directory
