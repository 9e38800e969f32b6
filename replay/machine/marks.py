"""Marks: bits of state that a candidate keeps beside the kernel's own, by pfn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from replay.machine.intervals import IntervalMap

__all__ = ("Marks",)


class Marks:
    """Any number of marks, each a set of pfns.

    Args:
        with_section: for each mark, whether it goes when its section goes.
    """

    def __init__(self, with_section: Sequence[bool] = ()) -> None:
        self._with_section = tuple(with_section)
        self._sets = tuple(IntervalMap() for _ in self._with_section)

    def __len__(self) -> int:
        return len(self._sets)

    def assign(self, mark: int, start: int, end: int, *, on: bool) -> None:
        """Set or clear a mark on pfns ``[start, end)``."""
        if on:
            self._sets[mark].assign(start, end, 1)
        else:
            self._sets[mark].clear(start, end)

    def section_gone(self, start: int, end: int) -> None:
        """Clear what goes with the section ``[start, end)``."""
        for here, goes in zip(self._sets, self._with_section, strict=True):
            if goes:
                here.clear(start, end)

    def at(self, pfns: NDArray[np.uint64]) -> NDArray[np.uint16]:
        """Return the marks of pfns, mark n in bit n."""
        found = np.zeros(pfns.shape, np.uint16)
        for n, here in enumerate(self._sets):
            found |= (here.at(pfns) != 0).astype(np.uint16) << np.uint16(n)
        return found

    def edges(self, start: int, end: int) -> list[int]:
        """Return the pfns within ``[start, end]`` at which a mark may change."""
        return [edge for here in self._sets for edge in here.edges(start, end)]
