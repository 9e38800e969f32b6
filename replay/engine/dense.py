"""Dense: stretches in which toggles stand so close together that bringing the tables up to date for each would not pay.

The toggles of such a stretch are carried out first, by steps learned once (``toggles``); then its lookups are decided all
together, each by the section flags of its row (``past``).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from replay.engine.rows import ColumnSource
from replay.engine.runs import Runs
from replay.engine.toggles import TOGGLES
from replay.kernel.registry import STATE_LOOKUPS
from replay.machine.geometry import Geometry

__all__ = ("Stretch", "dense_stretches")

I64 = NDArray[np.int64]

_FEWEST = 16  # toggles
_SPARSE = (
    4096  # rows per toggle, from which on tables for every moment cost less; measured with benchmarks/crossover.py
)

_IS_TOGGLE = np.isin(np.arange(256), list(TOGGLES))
_IS_LOOKUP = np.isin(np.arange(256), STATE_LOOKUPS)


@dataclass(frozen=True)
class Stretch:
    """Rows from the first to the last of some toggles.

    Attributes:
        toggles: rows of the toggles within the batch, ascending.
        several: lookups of several pfns in the batch, here or elsewhere, ascending.
    """

    toggles: I64
    several: I64

    @property
    def first(self) -> int:
        """First row."""
        return int(self.toggles[0])

    @property
    def end(self) -> int:
        """Row behind the last."""
        return int(self.toggles[-1]) + 1

    def parted(self, rows: I64) -> tuple[I64, I64]:
        """Part some lookups, by ascending row within the batch, into those of a single pfn and those of several."""
        if not self.several.size:
            return rows, self.several
        several = np.intersect1d(rows, self.several, assume_unique=True)
        return np.delete(rows, np.searchsorted(rows, several)), several


def dense_stretches(
    batch: ColumnSource, kinds: NDArray[np.uint8], special: I64, breaks: I64, geometry: Geometry
) -> list[Stretch]:
    """Return the stretches of a batch that are worth it, in order.

    Args:
        batch: the rows.
        kinds: of the rows.
        special: rows that change the machine or are answered one by one, ascending.
        breaks: rows that have to see the machine as it is then, besides the special ones, ascending.
        geometry: of the machine.
    """
    toggle = _IS_TOGGLE[kinds[special]]
    if batch.given("phase") is not False:
        toggle &= batch.column("phase")[special] == 0
    made = batch.given("caller")  # a driver decides whether these are made
    toggle &= np.logical_not(made if isinstance(made, bool) else made[special])
    toggles = special[toggle]
    if toggles.size < _FEWEST:
        return []
    stops = np.union1d(special[~toggle], breaks)
    several = _several(batch, kinds)
    runs = _runs_over_toggles(batch, several, toggles, geometry)
    stops = np.union1d(stops, runs) if runs.size else stops
    group = np.searchsorted(stops, toggles)
    cuts = np.flatnonzero(np.diff(group)) + 1
    parts = [toggles[low:high] for low, high in itertools.pairwise([0, *cuts.tolist(), toggles.size])]
    return [Stretch(t, several) for t in parts if t.size >= _FEWEST and int(t[-1] - t[0]) < _SPARSE * t.size]


def _several(batch: ColumnSource, kinds: NDArray[np.uint8]) -> I64:
    """Return the lookups of several pfns, ascending."""
    if batch.given("nr_pages") is False:
        return np.empty(0, np.int64)
    rows = np.flatnonzero(batch.column("nr_pages") != 1)  # next to none but toggles, mostly
    return rows[_IS_LOOKUP[kinds[rows]]]


def _runs_over_toggles(batch: ColumnSource, rows: I64, toggles: I64, geometry: Geometry) -> I64:
    """Return those of the lookups of several pfns that may reach into sections that toggles change."""
    if not rows.size:
        return rows
    pfn, pages = np.asarray(batch.column("pfn"), np.uint64), np.asarray(batch.column("nr_pages"), np.uint64)
    # Toggled ranges out to whole blocks, as section numbers; how many of them begin before and end behind a section.
    block, section = np.uint64(geometry.pages_per_block - 1), np.uint64(geometry.section_shift)
    low = np.sort((pfn[toggles] & ~block) >> section)
    high = np.sort((pfn[toggles] + pages[toggles] | block) >> section)
    runs = Runs.of(pfn[rows], pages[rows], batch.column("stride")[rows].astype(np.int64))
    first, last = runs.first >> section, runs.last >> section
    begun = np.searchsorted(low, last, "right")
    ended = np.searchsorted(high, first, "left")
    return rows[begun > ended]
