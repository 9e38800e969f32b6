"""Pagemap pointers -> ids. The kernel reuses addresses; every memremap_pages call makes a new pagemap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from replay.errors import InputError
from replay.trace.schema import PgmapType

from .calls import Call
from .ftrace import Ints

__all__ = ("Pagemaps", "pagemap_type")

# enum memory_type by the first version that has it, oldest first; MEMORY_DEVICE_COHERENT came with v6.0 (f25cbb7a95a2).
_TYPES: tuple[tuple[tuple[int, int], dict[int, PgmapType]], ...] = (
    ((5, 10), {0: PgmapType.NONE, 1: PgmapType.PRIVATE, 2: PgmapType.FS_DAX, 3: PgmapType.GENERIC,
               4: PgmapType.PCI_P2PDMA}),
    ((6, 0), {0: PgmapType.NONE, 1: PgmapType.PRIVATE, 2: PgmapType.COHERENT, 3: PgmapType.FS_DAX,
              4: PgmapType.GENERIC, 5: PgmapType.PCI_P2PDMA}),
)  # fmt: skip


def pagemap_type(kernel: str, value: int, where: str) -> PgmapType:
    """Return the format's name for a kernel's number of a pagemap type.

    Raises:
        InputError: the numbering of that kernel, or the number, is not known.
    """
    try:
        version = tuple(int(part) for part in kernel.split(".")[:2])
        types = [table for first, table in _TYPES if first <= version][-1]
        return types[value]
    except (ValueError, IndexError, KeyError):
        known = "the numbering of v5.10 or later, and a type in it"
        raise InputError(where, f"pagemap type {value} of kernel {kernel!r}", known) from None


class Pagemaps:
    """Gives every pagemap an id: 1, 2, 3 … in the order of the memremap_pages calls.

    Args:
        calls: the memremap_pages calls, in order.
        warn: takes a line for every pointer that no call in the trace has made.
    """

    def __init__(self, calls: list[Call], warn: list[str]) -> None:
        self._warn = warn
        self._made: dict[int, tuple[list[int], list[int]]] = {}  # pointer -> event indices, ids
        self.count = len(calls)
        self.id_of: dict[int, int] = {}  # entry event of a memremap_pages call -> id
        for number, call in enumerate(calls, 1):
            at, ids = self._made.setdefault(call.given["pgmap"], ([], []))
            at.append(call.begin)
            ids.append(number)
            self.id_of[call.begin] = number

    def ids(self, pointers: npt.NDArray[np.uint64], at: Ints) -> Ints:
        """Return the ids that pointers stood for at these events; 0 for NULL."""
        result = np.zeros(len(pointers), np.int64)
        for pointer in np.unique(pointers).tolist():
            if pointer == 0:
                continue
            rows = np.flatnonzero(pointers == pointer)
            begins, ids = self._made.get(pointer, ([], []))
            which = np.searchsorted(np.array(begins, np.int64), at[rows]) - 1
            known = which >= 0
            result[rows[known]] = np.array(ids, np.int64)[which[known]]
            if not known.all():
                result[rows[~known]] = self._unknown(pointer)
        return result

    def id(self, pointer: int, at: int) -> int:
        """Return the id that one pointer stood for at an event."""
        return int(self.ids(np.array([pointer], np.uint64), np.array([at], np.int64))[0])

    def _unknown(self, pointer: int) -> int:
        self.count += 1
        self._warn.append(
            f"pagemap {self.count} (pointer {pointer:#x}) was made before the recording began: its range is not known"
        )
        # From now on this is what the pointer stands for before the first memremap_pages that reuses it.
        begins, ids = self._made.setdefault(pointer, ([], []))
        begins.insert(0, -1)
        ids.insert(0, self.count)
        return self.count
