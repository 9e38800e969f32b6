"""The columns of an outcomes file: what a replay answered, row by row beside the trace.

Outcomes are plain Arrow, row-aligned with their trace. Counts are in pfns (a lookup run counts each of its pfns).
"""

from __future__ import annotations

import numpy as np

__all__ = (
    "CHECK_NONE",
    "CHECK_SEVERAL",
    "OUTCOME_COLUMNS",
    "POISON_COLUMNS",
    "RET_BUG",
    "RET_UNDEFINED",
    "outcome_dtype",
)

CHECK_SEVERAL = 255  # several checks decided within one run
CHECK_NONE = 254  # the row decides nothing

RET_UNDEFINED = -4096  # the kernel has no check here and runs past a table: what happens is undefined
RET_BUG = -4097  # the kernel stops with a fatal bug

OUTCOME_COLUMNS: dict[str, str] = {
    "pages": "uint64",
    "check": "uint8",
    "ret": "int64",
    "slow_pages": "uint64",
    "truth_pages": "uint64",
    "false_online": "uint64",
    "false_offline": "uint64",
    "match": "uint64",
    "slow_match": "uint64",
    "pgmap_match": "uint64",
    "race": "uint64",
}

POISON_COLUMNS: dict[str, str] = {
    "action": "uint8",  # ActionType, 255 none
    "result": "uint8",  # ActionResult, 255 none
    "poisoned": "uint8",  # HWPoison flag of the pfn afterwards
    "counted": "int64",  # change of the global counter of poisoned pages
    "signals": "uint32",  # tasks signalled
    "poison_check": "uint8",  # deciding check, by its number within the function; 254 none
}


def outcome_dtype(name: str) -> np.dtype[np.generic]:
    """Return the numpy dtype of an outcome column."""
    return np.dtype(OUTCOME_COLUMNS.get(name) or POISON_COLUMNS[name])
