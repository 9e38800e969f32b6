"""Sections: flag bits and subsection maps, kept only for sections that exist."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from replay.machine.geometry import Geometry
from replay.trace.schema import SectionFlags

__all__ = ("Sections",)

_VALID = int(SectionFlags.HAS_MEM_MAP)  # enumerations are slow to calculate with


class Sections:
    """The section table. Ranges are pfns ``[start, end)``.

    Args:
        geometry: sizes.
        whole: sections are populated and emptied as a whole (there is no subsection map yet).
    """

    def __init__(self, geometry: Geometry, *, whole: bool) -> None:
        self.geometry = geometry
        self.whole = whole
        self._flags: dict[int, int] = {}
        self._bits: dict[int, int] = {}  # bit n: subsection n is populated
        self._all = (1 << geometry.subsections_per_section) - 1
        self._sorted: NDArray[np.uint64] | None = None
        self.gone: Callable[[int], None] | None = None  # is told the number of a section that goes

    def __len__(self) -> int:
        return len(self._flags)

    def copy(self) -> Sections:
        """Return an independent copy."""
        twin = Sections(self.geometry, whole=self.whole)
        twin._flags = dict(self._flags)
        twin._bits = dict(self._bits)
        twin.gone = self.gone
        return twin

    def numbers(self) -> NDArray[np.uint64]:
        """Return the numbers of the present sections, ascending."""
        if self._sorted is None:
            self._sorted = np.array(sorted(self._flags), np.uint64)
        return self._sorted

    def flags(self, section: int) -> int:
        """Return the SectionFlags of a section, 0 when it is absent."""
        return self._flags.get(section, 0)

    def bits(self, section: int) -> NDArray[np.bool_]:
        """Return the subsection map of a section (bool, one per subsection), all clear when it is absent."""
        return np.asarray(self._matrix([section])[0])

    def _matrix(self, sections: list[int]) -> NDArray[np.bool_]:
        """Return the subsection maps of sections, one row each."""
        width = self.geometry.subsections_per_section
        size = -(-width // 8)
        packed = b"".join(self._bits.get(section, 0).to_bytes(size, "little") for section in sections)
        rows = np.frombuffer(packed, np.uint8).reshape(-1, size)
        bits = np.unpackbits(rows, axis=1, bitorder="little")[:, :width]
        return np.asarray(bits != 0, np.bool_)

    def table(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]:
        """Return numbers, flags and subsection maps (64 subsections to a word, one row each) of the present sections."""
        numbers = self.numbers()
        words = -(-self.geometry.subsections_per_section // 64)
        ascending = numbers.tolist()
        flags = np.fromiter(map(self._flags.__getitem__, ascending), np.uint64, len(ascending))
        if words == 1:
            maps = np.fromiter(map(self._bits.__getitem__, ascending), np.uint64, len(ascending))
            return numbers, flags, maps.reshape(-1, 1)
        packed = b"".join([self._bits[n].to_bytes(8 * words, "little") for n in ascending])
        return numbers, flags, np.frombuffer(packed, "<u8").reshape(-1, words).astype(np.uint64)

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield (section, first subsection, subsection after the last) of the parts of a range, section by section."""
        g = self.geometry
        for section in range(start >> g.section_shift, (end - 1 >> g.section_shift) + 1 if end > start else 0):
            base = section << g.section_shift
            low = max(start - base, 0) >> g.subsection_shift
            high = (min(end - base, g.pages_per_section) - 1 >> g.subsection_shift) + 1
            yield section, low, high

    def populate(self, start: int, end: int, extra: int = 0) -> None:
        """Make the sections of a range present and valid, set its subsections; new sections get ``extra`` flags too."""
        basic = int(SectionFlags.PRESENT | SectionFlags.HAS_MEM_MAP)
        first, last = start >> self.geometry.section_shift, end - 1 >> self.geometry.section_shift
        whole = range(first + 1, last)
        if whole and self._flags.keys().isdisjoint(whole):
            # Boot memory of terabytes: everything but its ends in one go.
            self._flags.update(dict.fromkeys(whole, basic | int(extra)))
            self._bits.update(dict.fromkeys(whole, self._all))
            self._sorted = None
            bounds = whole.start << self.geometry.section_shift, whole.stop << self.geometry.section_shift
            pieces = itertools.chain(self.pieces(start, bounds[0]), self.pieces(bounds[1], end))
        else:
            pieces = itertools.chain(self.pieces(start, end))
        for section, low, high in pieces:
            if section not in self._flags:
                self._flags[section], self._bits[section] = int(extra), 0
                self._sorted = None
            self._flags[section] |= basic
            self._bits[section] |= self._all if self.whole else _mask(low, high)

    def first_populated(self, start: int, end: int) -> int | None:
        """Return the number of the first section in which a subsection of the range is populated, or None."""
        for section, low, high in self.pieces(start, end):
            if self._bits.get(section, 0) & _mask(low, high):
                return section
        return None

    def depopulate(self, start: int, end: int) -> None:
        """Clear the subsections of a range; a section left with none loses all its flags.

        A piece whose subsections are not all set is left alone, as the kernel does (with a warning).
        """
        for section, low, high in self.pieces(start, end):
            bits = self._bits.get(section)
            if bits is None:
                continue
            mask = _mask(low, high)
            if self.whole:
                bits = 0
            elif bits & mask == mask:
                bits &= ~mask
            if bits:
                self._bits[section] = bits
            else:
                del self._flags[section], self._bits[section]
                self._sorted = None
                if self.gone is not None:
                    self.gone(section)

    def mark(self, start: int, end: int, flag: SectionFlags, *, on: bool) -> None:
        """Set or clear a flag on the valid sections that a range touches (clearing: on every present one)."""
        bit = int(flag)
        for section, _, _ in self.pieces(start, end):
            flags = self._flags.get(section, 0)
            if on and flags & _VALID:
                self._flags[section] = flags | bit
            elif not on and section in self._flags:
                self._flags[section] = flags & ~bit

    def reflag(self, section: int, flags: int) -> None:
        """Give a section that is present other flags."""
        if section in self._flags:
            self._flags[section] = flags

    def all_have(self, start: int, end: int, flags: int) -> bool:
        """Return whether every section that the range touches has all these flags."""
        return all(self.flags(section) & flags == flags for section, _, _ in self.pieces(start, end))

    def any_has(self, start: int, end: int, flags: int) -> bool:
        """Return whether some section that the range touches has any of these flags."""
        return any(self.flags(section) & flags for section, _, _ in self.pieces(start, end))

    def at(self, pfns: NDArray[np.uint64]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return section flags and subsection bit at many pfns (0 and False where the section is absent)."""
        g = self.geometry
        flags = np.zeros(pfns.shape, np.uint8)
        bits = np.zeros(pfns.shape, np.bool_)
        numbers = self.numbers()
        if not numbers.size:
            return flags, bits
        section = pfns >> np.uint64(g.section_shift)
        asked, slot = np.unique(section, return_inverse=True)
        there = np.isin(asked, numbers)
        if not there.any():
            return flags, bits
        present = asked[there].tolist()
        row = (np.cumsum(there) - 1)[slot]
        hit = there[slot]
        sub = (pfns >> np.uint64(g.subsection_shift)) & np.uint64(g.subsections_per_section - 1)
        flags[hit] = np.array([self._flags[n] for n in present], np.uint8)[row[hit]]
        bits[hit] = self._matrix(present)[row[hit], sub[hit].astype(np.int64)]
        return flags, bits

    def edges(self, start: int, end: int) -> list[int]:
        """Return the pfns within ``[start, end]`` at which flags or subsection bits may change."""
        g = self.geometry
        numbers = self.numbers()
        low = int(np.searchsorted(numbers, start >> g.section_shift))
        high = int(np.searchsorted(numbers, (end >> g.section_shift) + 1))
        there = numbers[low:high]
        if not there.size:
            return []
        flags = np.array([self._flags[n] for n in there.tolist()], np.uint8)
        bits = [self._bits[n] for n in there.tolist()]
        uniform = np.array([b in {0, self._all} for b in bits])
        base = there << np.uint64(g.section_shift)
        # Neighbours that are alike all over have no edge between them; terabytes are made of such.
        joined = (there[1:] == there[:-1] + np.uint64(1)) & (flags[1:] == flags[:-1]) & uniform[1:] & uniform[:-1]
        joined &= np.array([a == b for a, b in itertools.pairwise(bits)], np.bool_)
        starts, ends = base[np.append(True, ~joined)], base[np.append(~joined, True)] + np.uint64(g.pages_per_section)
        odd = there[~uniform]
        maps = self._matrix(odd.tolist()) if odd.size else np.zeros((0, 2), np.bool_)
        section, sub = np.nonzero(maps[:, 1:] != maps[:, :-1])
        changes = base[~uniform][section] + ((sub + 1).astype(np.uint64) << np.uint64(g.subsection_shift))
        found = np.concatenate([starts, ends, changes])
        inside: list[int] = found[(found >= start) & (found <= end)].tolist()
        return inside


def _mask(low: int, high: int) -> int:
    """Return bits ``[low, high)``."""
    return (1 << high) - (1 << low)
