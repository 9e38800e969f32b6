"""Pagemaps that must have been there: the kernel reports a dax page only for a page of one, and nobody tells which."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from replay.machine.geometry import Geometry
from replay.trace.header import MachineDescription
from replay.trace.schema import EventKind

from .pieces import Piece

__all__ = ("dax_pagemaps",)

_MAX_PAGEMAPS = 1 << 16


def dax_pagemaps(pages: Iterable[NDArray[np.uint64]], machine: MachineDescription, time: int) -> tuple[Piece, str]:
    """Return a pagemap for each run of subsections that hold dax pages, made before the first event.

    Without it a replay would find nothing at these pfns, and differ from what the kernel reported.

    Args:
        pages: pfns that the kernel reported as dax pages.
        machine: the machine; its boot memory is no pagemap's.
        time: of the first event, ns.

    Returns:
        The rows, and a note about what is assumed; "" when there is nothing to assume.
    """
    geometry = Geometry.of(machine)
    shift = geometry.subsection_shift
    found = [np.unique(pfn >> np.uint64(shift)) for pfn in pages]
    numbers = np.unique(np.concatenate(found)).astype(np.int64) if found else np.zeros(0, np.int64)
    size = 1 << shift
    usable = numbers < geometry.max_pfns >> shift
    for part in machine.memory:
        usable &= ((numbers + 1) * size <= part.start) | (numbers * size >= part.end)
    chosen = numbers[usable]
    starts = chosen[np.diff(chosen, prepend=-2) != 1]
    ends = chosen[np.diff(chosen, append=np.iinfo(np.int64).max) != 1] + 1
    left_out = len(numbers) - len(chosen)
    if len(starts) > _MAX_PAGEMAPS:
        starts, ends, left_out = starts[:0], ends[:0], len(numbers)
    piece = Piece(np.full(len(starts), EventKind.MEMREMAP_PAGES, np.uint8))
    piece.put("time", np.full(len(starts), time))
    piece.put("pfn", starts * size)
    piece.put("nr_pages", (ends - starts) * size)
    piece.put("pgmap", np.arange(1, len(starts) + 1))
    notes = []
    if len(starts):
        notes.append(f"{len(starts):,} pagemaps are assumed around pages that the kernel reported as dax pages (whole "
                     f"subsections of {size} pages, of no known type)")  # fmt: skip
    if left_out:
        notes.append(
            f"for {left_out:,} subsections with dax pages no pagemap can be assumed: a replay finds none there"
        )
    return piece, "; ".join(notes)
