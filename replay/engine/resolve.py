"""Resolve: the machine as a piecewise constant function from pfn to state code.

The function is kept as *segments* (sorted start pfns with their codes, the last one open-ended) and, for lookups of single
pfns, as a *flat* table of one code per subsection. A subsection that a segment border falls into is marked MIXED there and
looked up in the segments. Only ranges that a transition touched are resolved again, and those who keep tables of their own
made from the flat one are told which parts of it changed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from replay.kernel.walk import STATE_BITS, Bit, PgmapState
from replay.machine.distinct import distinct
from replay.machine.machine import Machine

__all__ = ("FLAGS", "MIXED", "StateIndex")

MIXED = np.uint16(0x8000)
FLAGS = np.uint16(31 << Bit.PRESENT)  # SectionFlags within a state code
_MAX_FLAT = 1 << 26  # subsections; 128 TiB of span, 128 MiB of table. Beyond, lookups search the segments.
_REMEMBERED = 64  # changes; who is further behind starts anew

U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]


class StateIndex:
    """State codes of every pfn.

    Args:
        machine: to resolve; its ``touched`` list is consumed by ``refresh``.
        section_limit: /proc/kpageflags ends at a section border.

    Attributes:
        starts: first pfn of each segment, uint64, starting with 0.
        codes: state code of each segment, uint16.
        pgmaps: pagemap id of each segment's index entry, uint32, 0 for none.
        flat: code per subsection, uint16, MIXED where the segments have to be asked; its last entry stands for all beyond.
        version: grows whenever something changed.
    """

    def __init__(self, machine: Machine, *, section_limit: bool) -> None:
        self.machine = machine
        self.section_limit = section_limit
        self.shift = np.uint64(machine.geometry.subsection_shift)
        self.starts: U64 = np.zeros(1, np.uint64)
        self.codes: U16 = np.zeros(1, np.uint16)
        self.pgmaps: U32 = np.zeros(1, np.uint32)
        self.flat: U16 = np.full(1, MIXED)
        self.version = 0
        self._changes: list[list[tuple[int, int]] | None] = []  # of the last versions, None: everything
        machine.touched = [(0, 1 << 64)]
        self.refresh()

    def refresh(self) -> None:
        """Bring the tables up to date with the machine."""
        if not self.machine.touched:
            return
        touched = _union(self.machine.touched)
        for low, high in touched:
            self._resolve(low, high)
        self.machine.touched = []
        self._changes = [*self._changes[1 - _REMEMBERED :], self._flatten(touched)]
        self.version += 1

    def changed_since(self, version: int) -> list[tuple[int, int]] | None:
        """Return which entries ``[low, high)`` of ``flat`` changed since a version; None when all may have."""
        behind = self.version - version
        if version < 0 or behind > len(self._changes):
            return None
        changed: list[tuple[int, int]] = []
        for spans in self._changes[len(self._changes) - behind :]:
            if spans is None:
                return None
            changed += spans
        return changed

    def reflag(self, sections: NDArray[np.int64], flags: NDArray[np.uint8]) -> None:
        """Take over new flags of sections (ascending, distinct), about which nothing else changed."""
        if not sections.size:
            return
        size = self.machine.geometry.section_shift
        first = sections.astype(np.uint64) << np.uint64(size)
        self._split(np.union1d(first, first + np.uint64(1 << size)))
        number = (self.starts >> np.uint64(size)).astype(np.int64)
        slot = np.minimum(np.searchsorted(sections, number), sections.size - 1)
        hit = sections[slot] == number
        here = flags[slot[hit]].astype(np.uint16) << np.uint16(Bit.PRESENT)
        self.codes[hit] = self.codes[hit] & ~FLAGS | here
        self._merge()
        self._changes = [*self._changes[1 - _REMEMBERED :], self._reflag_flat(sections, flags)]
        self.version += 1

    def _split(self, borders: U64) -> None:
        """Let segments start at these pfns too."""
        starts = np.union1d(self.starts, borders)
        segment = np.searchsorted(self.starts, starts, "right") - 1
        self.starts, self.codes, self.pgmaps = starts, self.codes[segment], self.pgmaps[segment]

    def _reflag_flat(self, sections: NDArray[np.int64], flags: NDArray[np.uint8]) -> list[tuple[int, int]] | None:
        """Bring the flat table up to date; return what changed of it."""
        each = self.machine.geometry.subsections_per_section
        count = self.flat.size - 1
        inside = sections * each < count
        rows = (sections[inside] * each)[:, None] + np.arange(each)
        codes = self.flat[np.minimum(rows, count)]
        here = flags[inside].astype(np.uint16)[:, None] << np.uint16(Bit.PRESENT)
        keep = (codes != MIXED) & (rows < count)
        self.flat[rows[keep]] = (codes & ~FLAGS | here)[keep]
        if not rows.size:
            return []
        return [(int(rows[0, 0]), min(int(rows[-1, -1]) + 1, count))]

    def place_of(self, pfns: U64) -> U64:
        """Return where the state of each pfn begins: within its section, or at the start of that."""
        size = np.uint64(self.machine.geometry.section_shift)
        return np.asarray(np.maximum(self.starts[self.segment_of(pfns)], pfns >> size << size), np.uint64)

    def segment_of(self, pfns: U64) -> NDArray[np.int64]:
        """Return the index of the segment that holds each pfn."""
        return np.asarray(np.searchsorted(self.starts, pfns, "right") - 1, np.int64)

    def _resolve(self, low: int, high: int) -> None:
        """Compute the segments of ``[low, high)`` anew and splice them in."""
        m, g = self.machine, self.machine.geometry
        top = min(high, (1 << 64) - 1)
        edges = {low, *m.sections.edges(low, top), *m.pagemaps.index.edges(low, top)}
        edges.update(m.memblock.edges(low, top), m.ram.edges(low, top), m.marks.edges(low, top))
        fixed = (self._limit(), g.max_pfns, 1 << 64 - g.page_shift)
        edges.update(p for p in fixed if low <= p < high)
        if high < 1 << 64:
            edges.add(high)  # what follows keeps its code
        starts = np.array(sorted(edges), np.uint64)
        codes, pgmaps = self._codes_at(starts)
        first, last = np.searchsorted(self.starts, [np.uint64(low), np.uint64(top)])
        if high >= 1 << 64:
            last = self.starts.size
        self.starts = np.concatenate([self.starts[:first], starts, self.starts[last:]])
        self.codes = np.concatenate([self.codes[:first], codes, self.codes[last:]])
        self.pgmaps = np.concatenate([self.pgmaps[:first], pgmaps, self.pgmaps[last:]])
        self._merge()

    def _merge(self) -> None:
        """Join neighbours that are alike, and drop borders given twice."""
        twice = np.zeros(self.starts.size, np.bool_)
        twice[:-1] = self.starts[1:] == self.starts[:-1]
        keep = ~twice
        self.starts, self.codes, self.pgmaps = self.starts[keep], self.codes[keep], self.pgmaps[keep]
        change = np.ones(self.starts.size, np.bool_)
        change[1:] = (self.codes[1:] != self.codes[:-1]) | (self.pgmaps[1:] != self.pgmaps[:-1])
        self.starts, self.codes, self.pgmaps = self.starts[change], self.codes[change], self.pgmaps[change]

    def _codes_at(self, pfns: U64) -> tuple[U16, U32]:
        m, g = self.machine, self.machine.geometry
        flags, bits = m.sections.at(pfns)
        pgmaps = m.pagemaps.index.at(pfns)
        dying = [n for n in distinct(pgmaps).tolist() if n and m.pagemaps.by_id[n].dying]
        state = np.where(
            pgmaps == 0, PgmapState.NONE, np.where(np.isin(pgmaps, dying), PgmapState.DYING, PgmapState.LIVE)
        )
        code = flags.astype(np.uint16) << Bit.PRESENT  # SectionFlags stand in the order of the bits
        code |= bits.astype(np.uint16) << Bit.SUBSECTION
        code |= state.astype(np.uint16) << Bit.PAGEMAP
        code |= (m.memblock.at(pfns) != 0).astype(np.uint16) << Bit.MEMBLOCK
        code |= (m.ram.at(pfns) != 0).astype(np.uint16) << Bit.RAM
        code |= (pfns >= self._limit()).astype(np.uint16) << Bit.LIMIT
        code |= (pfns >= g.max_pfns).astype(np.uint16) << Bit.BEYOND
        code |= (pfns >= 1 << 64 - g.page_shift).astype(np.uint16) << Bit.HIGH
        if len(m.marks):
            code |= m.marks.at(pfns) << np.uint16(STATE_BITS)
        return np.asarray(code, np.uint16), pgmaps

    def _limit(self) -> int:
        limit = self.machine.max_pfn
        return self.machine.whole_sections(0, limit)[1] if self.section_limit else limit

    def _flatten(self, touched: list[tuple[int, int]]) -> list[tuple[int, int]] | None:
        """Fill the table of subsections from the segments; return the entries that were filled, None for all of them."""
        shift, pages = int(self.shift), 1 << int(self.shift)
        borders = self.starts[: np.searchsorted(self.starts, np.uint64(self.machine.geometry.max_pfns))]
        count = int(borders[-1]) + pages - 1 >> shift if borders.size else 0
        if count > _MAX_FLAT:
            count = 0
        if count >= self.flat.size:
            self.flat = np.full(count + 1, MIXED)
            self._fill(0, count)
            return None
        count = self.flat.size - 1  # a device at the end that comes and goes does not make it shrink and grow
        spans = [(min(low >> shift, count), min(high + pages - 1 >> shift, count)) for low, high in touched]
        spans = [(low, high) for low, high in spans if low < high]
        for low, high in spans:
            self._fill(low, high)
        return spans

    def _fill(self, low: int, high: int) -> None:
        """Fill entries ``[low, high)`` of the flat table."""
        shift = self.shift
        first = int(np.searchsorted(self.starts, np.uint64(low) << shift, "right")) - 1
        end = int(np.searchsorted(self.starts, np.uint64(high) << shift))
        if end - first == 1:
            self.flat[low:high] = self.codes[first]
            return
        starts = self.starts[first:end]
        inside = np.uint64((1 << int(shift)) - 1)
        whole = np.clip((starts + inside) >> shift, low, high).astype(np.int64)  # first entry wholly in or behind it
        self.flat[low:high] = np.repeat(self.codes[first:end], np.diff(np.append(whole, high)))
        torn = starts[(starts & inside) != 0] >> shift
        self.flat[torn[torn >= low].astype(np.int64)] = MIXED


def _union(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return disjoint ranges that cover the given ones."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        elif low < high:
            merged.append((low, high))
    return merged
