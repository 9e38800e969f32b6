"""Past: state codes of pfns at rows between which section flags changed, without a table for every moment.

Where flags change every few rows, one table per moment would cost more than its lookups. So lookups are sorted by section,
together with the changes: each then stands behind the change that it has to see.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.engine.resolve import FLAGS, MIXED, StateIndex
from replay.engine.toggles import Changes
from replay.kernel.walk import Bit

__all__ = ("Past",)

I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U64 = NDArray[np.uint64]

_ROW_BITS = 40


class Past:
    """A stretch of rows in which section flags change.

    Args:
        index: state codes before the first change; must not be refreshed while this object is used.
        changes: of section flags.
    """

    def __init__(self, index: StateIndex, changes: Changes) -> None:
        self._index, self._changes = index, changes
        shift = index.machine.geometry.section_shift
        self._section_shift = np.uint64(shift)
        touched, local = np.unique(changes.sections, return_inverse=True)
        self._touched = touched
        small = touched.size < np.iinfo(np.uint16).max
        self._id: type[np.unsignedinteger] = np.uint16 if small else np.uint32  # 16 bits are sorted twice as fast
        self._untouched = np.iinfo(self._id).max
        self._local = local.astype(self._id)  # by change
        self._numbers = np.full(int(touched[-1]) + 2 if touched.size else 1, self._untouched, self._id)  # by section
        self._numbers[touched] = np.arange(touched.size)
        first = touched.astype(np.uint64) << self._section_shift
        before = index.codes[index.segment_of(first)] & FLAGS
        # Changes by section and row, each section's state before the stretch in front.
        rows = np.concatenate([np.zeros(touched.size, np.int64), changes.rows + 1])
        keys = np.concatenate([np.arange(touched.size), local.astype(np.int64)]) << _ROW_BITS | rows
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._flags = np.concatenate([before, _as_code(changes.flags)])[order]

    def codes(self, pfns: U64, rows: I64) -> U16:
        """Return the state code of each pfn at its row; rows ascend."""
        index = self._index
        subsection = np.minimum(pfns >> index.shift, np.uint64(index.flat.size - 1)).view(np.int64)
        codes: U16 = index.flat[subsection]
        mixed = np.flatnonzero(codes == MIXED)
        if mixed.size:
            codes[mixed] = index.codes[index.segment_of(pfns[mixed])]
        section = np.minimum(pfns >> self._section_shift, np.uint64(self._numbers.size - 1)).view(np.int64)
        local = self._numbers[section]
        hit = np.flatnonzero(local != self._untouched)
        if hit.size:
            codes[hit] = codes[hit] & ~FLAGS | self._flags_at(local[hit], rows[hit])
        return codes

    def count_compiled(self, loops: ModuleType, pfns: U64, rows: I64, table: U8) -> tuple[I64, U8]:
        """Do as ``codes`` does, in a compiled loop, and look up the classes as well.

        Args:
            loops: the module ``loops``.
            pfns: what is looked up, at least one.
            rows: of the lookups, ascending.
            table: class byte by state code.

        Returns:
            How many pfns fall into each of the 256 classes, and the class byte of each.
        """
        index, changes = self._index, self._changes
        low, high = np.searchsorted(changes.rows, [rows[0], rows[-1]])
        kept = np.full(self._touched.size + 1, ~FLAGS)
        kept[-1] = ~np.uint16(0)
        counts, classes = np.zeros(256, np.int64), np.empty(pfns.size, np.uint8)
        loops.count_past(
            pfns,
            np.searchsorted(rows, changes.rows[low:high]),
            self._local[low:high],
            _as_code(changes.flags[low:high]),
            np.append(self._flags_before(rows[0]), np.uint16(0)),
            kept,
            self._numbers,
            self._section_shift,
            index.flat,
            index.shift,
            index.starts,
            index.codes,
            MIXED,
            table,
            counts,
            classes,
        )
        return counts, classes

    def _flags_before(self, row: np.int64) -> U16:
        """Return the flags of the touched sections, by number, that a row sees."""
        every = np.arange(self._touched.size)
        flags: U16 = self._flags[np.searchsorted(self._keys, (every << _ROW_BITS) + row + 1) - 1]
        return flags

    def _flags_at(self, local: NDArray[Any], rows: I64) -> U16:
        """Return the flags, in their place in a state code, of touched sections (by number) at rows."""
        every = np.arange(self._touched.size)
        at_start = self._flags_before(rows[0])
        low, high = np.searchsorted(self._changes.rows, [rows[0], rows[-1]])
        if low == high:
            return np.asarray(at_start[local])
        changed = self._local[low:high]
        behind = np.searchsorted(rows, self._changes.rows[low:high])
        place = np.concatenate([every, every.size + behind + np.arange(behind.size)])
        total = place.size + local.size
        is_lookup = np.ones(total, np.bool_)
        is_lookup[place] = False
        ids = np.empty(total, self._id)
        ids[place] = np.concatenate([every.astype(self._id), changed])
        ids[is_lookup] = local
        order = np.argsort(ids, kind="stable")  # of 16 bits: a radix sort
        latest = np.cumsum(~is_lookup[order]) - 1  # the change that each stands behind
        flags = np.concatenate([at_start, _as_code(self._changes.flags[low:high])])
        by_section = flags[np.argsort(ids[place], kind="stable")]
        found = np.empty(total, np.uint16)
        found[order] = by_section[latest]
        at_rows: U16 = found[is_lookup]
        return at_rows


def _as_code(flags: U8) -> U16:
    return flags.astype(np.uint16) << np.uint16(Bit.PRESENT)
