"""Tabulate: a kernel function over the whole state space, as one *class* byte per state code.

A class byte holds everything that is counted about a lookup: which check decided, the answer, whether the slow path was
taken, and whether the pfn truly is online System RAM. So one gather per lookup answers all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from replay.errors import InvariantError
from replay.kernel.calls import Kernel
from replay.kernel.decision import KernelFunction
from replay.kernel.walk import PFN_TO_ONLINE_PAGE, STATE_BITS, WalkState, takes_slow_path, truly_online

__all__ = ("CHECK_MASK", "SLOW", "TRUTH", "UNDECIDED", "YES", "DecisionTable", "tabulate")

CHECK_MASK = 0x0F
YES = 0x10
SLOW = 0x20
TRUTH = 0x40
UNDECIDED = 0xFF  # ask the segments


@dataclass(frozen=True)
class DecisionTable:
    """A lookup function of one kernel over all states.

    Attributes:
        function: the checks.
        classes: class byte per state code, uint8.
    """

    function: KernelFunction[WalkState]
    classes: NDArray[np.uint8]


def tabulate(function: KernelFunction[WalkState], kernel: Kernel) -> DecisionTable:
    """Evaluate the kernel's form of a lookup function once over every state code, marks included."""
    function = kernel.function(function)
    codes = np.arange(1 << STATE_BITS + len(kernel.rules.marks), dtype=np.uint16)
    states = WalkState(codes, kernel.config, kernel.features, kernel.rules)
    decisions = function.tabulate(states, codes.size, kernel.features)
    if len(function.checks) > CHECK_MASK:
        raise InvariantError(f"{function.name} has more checks than a class byte can name")
    classes = decisions.check | np.where(decisions.value == 1, YES, 0).astype(np.uint8)
    classes |= np.where(truly_online(states), TRUTH, 0).astype(np.uint8)
    if function.name == PFN_TO_ONLINE_PAGE.name:
        classes |= np.where(takes_slow_path(function, decisions), SLOW, 0).astype(np.uint8)
    return DecisionTable(function, classes)
