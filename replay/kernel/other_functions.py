"""Kernel functions whose checks have no number in outcomes: those about poison, and those that no event of a trace asks for.

A room of its own, because a replay has no need of most of them, and importing rules takes time.
"""

from __future__ import annotations

from typing import Any

from replay.kernel.access import ACCESS
from replay.kernel.block_size import MEMORY_BLOCK_SIZE
from replay.kernel.decision import KernelFunction
from replay.kernel.kill import KILL_ACCESSING_PROCESS, KILL_PROCS, KILL_PROCS_2009
from replay.kernel.memory_failure import MEMORY_FAILURE
from replay.kernel.poison_2009 import MEMORY_FAILURE_2009
from replay.kernel.region_nodes import REGION_NODES
from replay.kernel.soft_offline import SOFT_OFFLINE_PAGE
from replay.kernel.unpoison import UNPOISON_MEMORY

__all__ = ("OTHER_FUNCTIONS", "POISON_FUNCTIONS")

POISON_FUNCTIONS: tuple[KernelFunction[Any], ...] = (
    MEMORY_FAILURE,
    MEMORY_FAILURE_2009,
    SOFT_OFFLINE_PAGE,
    UNPOISON_MEMORY,
    KILL_PROCS,
    KILL_PROCS_2009,
    KILL_ACCESSING_PROCESS,
    ACCESS,
)
OTHER_FUNCTIONS: tuple[KernelFunction[Any], ...] = (*POISON_FUNCTIONS, REGION_NODES, MEMORY_BLOCK_SIZE)
