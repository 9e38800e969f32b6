"""Checks of the rows that describe pages, tasks, mappings and sysctls, and of the poison calls on them.

A bit that this version does not know would be ignored in silence, so it is refused; so is a mapping of a task that no row
has introduced, or that has exited. Page states may overlap: the later row wins, whatever its range.
"""

from __future__ import annotations

from functools import reduce
from operator import or_

import numpy as np

from replay.errors import TraceError
from replay.trace.batch import Array, Batch
from replay.trace.poison import (
    CallContext,
    Counter,
    MapFlag,
    MappingClass,
    MfFlag,
    PageFlag,
    PageKind,
    SysctlKey,
    TaskFlag,
)
from replay.trace.schema import KINDS, EventKind

__all__ = ("StateChecker",)

# (kind, column): the bits it may hold.
_BITS = {
    (EventKind.PAGE_STATE, "page_flags"): PageFlag,
    (EventKind.TASK_STATE, "flags"): TaskFlag,
    (EventKind.MAP_PAGES, "flags"): MapFlag,
    (EventKind.MEMORY_FAILURE, "flags"): MfFlag,
    (EventKind.SOFT_OFFLINE_PAGE, "flags"): MfFlag,
    (EventKind.MEMORY_FAILURE, "context"): CallContext,
}
# (kind, column): the values it may have.
_VALUES = {
    (EventKind.PAGE_STATE, "page_kind"): PageKind,
    (EventKind.PAGE_STATE, "mapping"): MappingClass,
    (EventKind.SYSCTL, "key"): SysctlKey,
    (EventKind.COUNTERS, "key"): Counter,
}


class StateChecker:
    """Follows the tasks of one trace.

    Args:
        where: the file, for errors.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._alive: set[int] = set()
        self._exited: set[int] = set()

    def check(self, batch: Batch, kinds: list[EventKind]) -> None:
        """Check the rows of a batch that passed the other checks; ``kinds`` are those that occur in it.

        Raises:
            TraceError: a row holds an unknown bit or value, or maps pages to a task that is not there.
        """
        column = batch.column("kind")
        for (kind, name), flags in _BITS.items():
            if kind in kinds and batch.given(name) is not False:
                known = reduce(or_, (int(flag) for flag in flags))
                values = batch.column(name).astype(np.uint64)
                unknown = values & np.uint64(~known & (1 << 64) - 1)
                bad = (column == kind) & (unknown != 0)
                if bad.any():
                    found = f"bits {int(unknown[int(np.argmax(bad))]):#x}"
                    self._fail(batch, bad, name, found, f"bits of {flags.__name__}, {known:#x}")
        for (kind, name), enum in _VALUES.items():
            if kind in kinds and batch.given(name) is not False:
                values = batch.column(name)
                bad = (column == kind) & batch.given(name) & ~np.isin(values, [int(value) for value in enum])
                if bad.any():
                    low, high = int(min(enum)), int(max(enum))
                    found = str(int(values[int(np.argmax(bad))]))
                    self._fail(batch, bad, name, found, f"a known {enum.__name__}, {low} to {high}")
        if EventKind.MAP_PAGES in kinds or EventKind.TASK_STATE in kinds:
            self._check_tasks(batch)

    def _check_tasks(self, batch: Batch) -> None:
        kinds = batch.column("kind")
        rows = np.flatnonzero((kinds == EventKind.TASK_STATE) | (kinds == EventKind.MAP_PAGES))
        fields = (kinds[rows], batch.column("task")[rows], batch.column("flags")[rows])
        for row, kind, task, flags in zip(rows.tolist(), *(field.tolist() for field in fields), strict=True):
            if kind == EventKind.TASK_STATE:
                gone = bool(flags & TaskFlag.EXITED)
                (self._exited if gone else self._alive).add(task)
                (self._alive if gone else self._exited).discard(task)
            elif task not in self._alive:
                what = "has exited" if task in self._exited else "no row has introduced"
                where = f"{self._where}: row {batch.row + row}, column task"
                needed = f"a {KINDS[EventKind.TASK_STATE]} row of that task before its {KINDS[EventKind.MAP_PAGES]} row"
                raise TraceError(where, f"task {task}, which {what}", needed)

    def _fail(self, batch: Batch, bad: Array, name: str, found: str, needed: str) -> None:
        row = batch.row + int(np.argmax(bad))
        raise TraceError(f"{self._where}: row {row}, column {name}", found, needed)
