"""Memory of 16 dax devices taken off and on, against memory of the machine: ``python -m benchmarks.kmem [ROWS]``.

Once kmem has added the memory of a device, its blocks are blocks like others: ten rows with one flip take as long as in
``mixed-10``. Devices that come and go themselves are compared with ``pagemaps``, which come and go as often.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks.workloads import SERVER, WORKLOADS, Columns, Workload
from replay.engine.replay import Replayer
from replay.kernel.profiles import profile
from replay.trace.schema import DaxAction, DaxFlags, EventKind

DEVICES = 16
KERNEL = "v7.2"  # gives devices of such regions to kmem by itself
_BYTES = 4 << 30  # of a device
_FIRST = 0x4000000 << 12  # behind all other memory
_BLOCK = 1 << 15  # pages


def _regions(action: np.ndarray, number: np.ndarray) -> Columns:
    values: dict[str, np.ndarray] = {
        "kind": np.full(number.size, EventKind.DAX_REGION, np.uint8),
        "key": action.astype(np.uint8),
        "value": number.astype(np.int64),
        "start": _FIRST + number.astype(np.uint64) * np.uint64(_BYTES),
        "size": np.full(number.size, _BYTES, np.uint64),
        "node": np.ones(number.size, np.int32),
        "flags": np.full(number.size, int(DaxFlags.KMEM), np.uint64),
    }
    return {name: (value, None) for name, value in values.items()}


def _prologue() -> Columns:
    return _regions(np.full(DEVICES, DaxAction.CREATE), np.arange(DEVICES))


def _spread(columns: Columns, at: np.ndarray, rows: Columns) -> Columns:
    """Put rows into others at these places."""
    count = len(columns["kind"][0])
    given = np.zeros(count, np.bool_)
    given[at] = True
    result = dict(columns)
    for name, (values, _) in rows.items():
        whole = columns[name][0].copy() if name in columns else np.zeros(count, values.dtype)
        whole[at] = values
        result[name] = (whole, None if name in columns else given)
    return result


def _lookups(generator: np.random.Generator, count: int) -> Columns:
    top = max(part.end for part in SERVER.memory)
    pfn = generator.integers(0, top, count, dtype=np.uint64)
    return {"kind": (np.full(count, EventKind.PFN_TO_ONLINE_PAGE, np.uint8), None), "pfn": (pfn, None)}


def _flips(generator: np.random.Generator, _first: int, count: int, state: dict[str, np.ndarray]) -> Columns:
    """Random lookups; one row in ten takes a block of a device on, or off again."""
    blocks = DEVICES * _BYTES // (_BLOCK << 12)
    online = state.setdefault("online", np.zeros(blocks, np.bool_))
    at = np.arange(9, count, 10)
    number = generator.integers(0, blocks, at.size)
    kind = np.empty(at.size, np.uint8)
    for i, block in enumerate(number.tolist()):
        kind[i] = EventKind.MEMORY_BLOCK_OFFLINE if online[block] else EventKind.MEMORY_BLOCK_ONLINE
        online[block] = not online[block]
    columns = {**_lookups(generator, count), "nr_pages": (np.ones(count, np.uint64), None)}
    pfn = np.uint64(_FIRST >> 12) + number.astype(np.uint64) * np.uint64(_BLOCK)
    pages = np.full(at.size, _BLOCK, np.uint64)
    return _spread(columns, at, {"kind": (kind, None), "pfn": (pfn, None), "nr_pages": (pages, None)})


def _churn(generator: np.random.Generator, _first: int, count: int, state: dict[str, np.ndarray]) -> Columns:
    """Random lookups; one row in a hundred deletes a region with its device and its memory, or makes it again."""
    at = np.arange(99, count, 100)
    done = state.setdefault("done", np.zeros(1, np.int64))
    number = np.arange(int(done[0]), int(done[0]) + at.size)
    done += at.size
    action = np.where(number // DEVICES % 2 == 0, int(DaxAction.DELETE), int(DaxAction.CREATE))
    return _spread(_lookups(generator, count), at, _regions(action, number % DEVICES))


def _seconds(workload: Workload, rows: int) -> float:
    """Return the faster of two replays, without the rows in front."""

    def once() -> float:
        replayer = Replayer(workload.machine, profile(KERNEL))
        replayer.feed(workload.setup())
        batches = list(workload.batches(rows))
        start = time.perf_counter()
        for batch in batches:
            replayer.feed(batch)
        replayer.finish()
        return time.perf_counter() - start

    return min(once(), once())


def main(rows: int) -> None:
    """Print nanoseconds per row of each, side by side."""
    mixed, pagemaps = WORKLOADS["mixed-10"], WORKLOADS["pagemaps"]
    pairs: tuple[tuple[Workload, str, Callable[..., Columns], int], ...] = (
        (mixed, "16 kmem devices, 1 row in 10 flips a block", _flips, rows),
        (pagemaps, "16 kmem devices, 1 row in 100 makes or deletes one", _churn, max(1000, rows // 20)),
    )
    for known, about, make, count in pairs:
        own = replace(known, name="kmem", about=about, prologue=_prologue, rows=make)
        for workload, name in ((known, known.name), (own, about)):
            sys.stdout.write(f"{_seconds(workload, count) / count * 1e9:10.0f} ns a row  {name} ({count:,} rows)\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
