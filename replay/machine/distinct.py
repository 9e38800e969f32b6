"""The distinct numbers of an array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ("distinct",)


def distinct(numbers: NDArray[Any]) -> NDArray[Any]:
    """Return the numbers that occur, each once, ascending, in the dtype given; any number of them, even none.

    As ``np.unique`` does, which however imports ``numpy.ma`` when it is first used: that takes longer than replaying
    many a trace.
    """
    ordered = np.sort(numbers)
    first = np.ones(ordered.size, np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]
