"""The whole state space of the lookups, and tables over it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from replay.engine.tabulate import CHECK_MASK, SLOW, TRUTH, YES, tabulate
from replay.kernel.calls import Kernel
from replay.kernel.config import KernelConfig
from replay.kernel.decision import KernelFunction
from replay.kernel.profiles import Profile, profile
from replay.kernel.walk import STATE_BITS, Bit, PgmapState, WalkState

Bools = NDArray[np.bool_]

CODES = np.arange(1 << STATE_BITS, dtype=np.uint16)
X86 = KernelConfig()


def bit(which: Bit) -> Bools:
    """Where a field of one bit is set."""
    return (CODES >> which & 1).astype(bool)


BEYOND, HIGH, PRESENT, VALID, ONLINE, EARLY, TAINT, SUBSECTION, MEMBLOCK, RAM, LIMIT = (
    bit(b) for b in Bit if b is not Bit.PAGEMAP
)
PAGEMAP = CODES >> Bit.PAGEMAP & 3
LIVE = PAGEMAP == PgmapState.LIVE
DYING = PAGEMAP == PgmapState.DYING

# Sections that can exist: flags and subsections only where a section is present, nothing beyond the table.
CAN_BE = (
    (PRESENT | ~(VALID | ONLINE | EARLY | TAINT | SUBSECTION)) & (~BEYOND | ~PRESENT) & (~HIGH | BEYOND) & (PAGEMAP < 3)
)


@dataclass(frozen=True)
class Table:
    """A function over all codes.

    Attributes:
        yes: the answer.
        check: index of the check that decides.
        slow: the slow path is taken.
        truth: truly online System RAM.
    """

    yes: Bools
    check: NDArray[np.uint8]
    slow: Bools
    truth: Bools


def table(function: KernelFunction[WalkState], kernel: str | Profile, config: KernelConfig = X86) -> Table:
    """Return a function's table as the engine uses it."""
    features = (kernel if isinstance(kernel, Profile) else profile(kernel)).features
    classes = tabulate(function, Kernel(features, config)).classes
    return Table(classes & YES != 0, classes & CHECK_MASK, classes & SLOW != 0, classes & TRUTH != 0)
