"""Lookups as requests of a cache simulator: oracleGeneral of libCacheSim, 24 packed bytes for each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from replay.errors import InputError
from replay.trace.reader import TraceFile
from replay.trace.schema import EventKind

from .output import complete_file

__all__ = ("RECORD", "write_oracle")

# next_access_vtime counts requests from 1; -1: the object is not asked for again.
RECORD = np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])
_LOOKUPS = (
    EventKind.PFN_VALID, EventKind.PFN_TO_ONLINE_PAGE, EventKind.GET_DEV_PAGEMAP, EventKind.PGMAP_PFN_VALID,
    EventKind.KPAGEFLAGS,
)  # fmt: skip
_MAX_REQUESTS = 1 << 27  # about 4 GiB of memory: what comes next is known only when all is there
_NONE = -1
_SECOND = 1_000_000_000
_COLUMNS = ("time", "kind", "pfn", "nr_pages", "stride")


def write_oracle(trace: TraceFile, output: str, progress: Callable[[int, int], None] | None = None) -> int:
    """Write the lookups of a trace, a request for every pfn; returns how many.

    Raises:
        InputError: more lookups than can be held at once.
    """
    times: list[NDArray[np.uint64]] = []
    pfns: list[NDArray[np.uint64]] = []
    first, total = None, 0
    for batch in trace.batches(_COLUMNS):
        time = batch.column("time")
        first = int(time[0]) if first is None and len(batch) else first
        rows = np.flatnonzero(np.isin(batch.column("kind"), _LOOKUPS))
        length = batch.column("nr_pages")[rows].astype(np.int64)
        total += int(length.sum()) if length.max(initial=0) <= _MAX_REQUESTS else _MAX_REQUESTS + 1
        if total > _MAX_REQUESTS:
            raise InputError(trace.path, "more lookups", f"at most {_MAX_REQUESTS:,}", "cut the trace")
        step = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
        stride = batch.column("stride")[rows].astype(np.int64)
        offset = (np.repeat(stride, length) * step).astype(np.uint64)  # wraps, as the addition does
        pfns.append(np.repeat(batch.column("pfn")[rows].astype(np.uint64), length) + offset)
        times.append(np.repeat((time[rows] - np.uint64(first or 0)) // np.uint64(_SECOND), length))
        if progress is not None:
            progress(batch.row + len(batch), trace.rows)
    ids = np.concatenate(pfns) if pfns else np.zeros(0, np.uint64)
    records = np.zeros(total, RECORD)
    seconds = np.concatenate(times) if times else np.zeros(0, np.uint64)
    if seconds.size and int(seconds[-1]) >= 1 << 32:
        raise InputError(trace.path, f"{int(seconds[-1])} seconds", "at most 2**32, the room that the format has")
    records["time"], records["id"], records["size"] = seconds, ids, 1 << trace.machine.page_shift
    records["next"] = _next_requests(ids)
    with complete_file(output) as temporary, open(temporary, "wb") as file:
        file.write(records.data)
    return total


def _next_requests(ids: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return for every request the number, from 1, of the next one of the same object."""
    following = np.full(len(ids), _NONE, np.int64)
    order = np.argsort(ids, kind="stable")
    same = np.flatnonzero(ids[order[1:]] == ids[order[:-1]])
    following[order[same]] = order[same + 1] + 1
    return following
