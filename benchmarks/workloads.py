"""The workloads that every benchmark uses: same name, seed and size, same rows.

A workload is a machine, some rows in front (pagemaps, page descriptions: replayed, not timed) and then any number of rows
of one character. Rows come in chunks, so that a thousand million of them need no more memory than one chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TypeAlias

import numpy as np

from replay.trace.batch import Batch, Slot
from replay.trace.header import BootRange, MachineDescription, Provenance
from replay.trace.poison import MfFlag, PageFlag, PageKind, SysctlKey
from replay.trace.schema import COLUMNS, EventKind, PgmapType
from replay.trace.writer import TraceWriter

__all__ = ("BIG", "CHUNK_ROWS", "SERVER", "WORKLOADS", "Columns", "Workload")

Columns: TypeAlias = dict[
    str, tuple[np.ndarray, np.ndarray | None]
]  # values, and where they are given (None: everywhere)

CHUNK_ROWS = 1 << 20
_SECTION = 1 << 15  # pages
_SUBSECTION = 1 << 9
_TICK_NS = 100  # between rows

# 256 GiB: two nodes, a pmem namespace in a section that node 0 ends in, and a device-dax one behind node 1.
_PMEM = (0x1F84000, 0x2000000)
_DEVDAX = (0x3F00000, 0x4000000)
_PLUGGABLE = (0x2000000, 0x3F00000)  # node 1: what memory hotplug takes off and on
SERVER = MachineDescription(
    arch="x86_64",
    page_shift=12,
    section_size_bits=27,
    max_physmem_bits=46,
    memory_block_bytes=1 << 27,
    kernel="6.1",
    memory=(
        BootRange(0x1, 0x9F),
        BootRange(0x100, 0x80000),
        BootRange(0x100000, _PMEM[0]),
        BootRange(*_PLUGGABLE, node=1),
    ),
)
# 64 TiB in eight nodes, with a hole of 1 TiB in front of each but the first.
_TIB = 1 << 28
BIG = MachineDescription(
    arch="x86_64",
    page_shift=12,
    section_size_bits=27,
    max_physmem_bits=46,
    memory_block_bytes=1 << 31,
    kernel="6.1",
    memory=tuple(BootRange(max(8 * n + bool(n), 0) * _TIB + 0x100, 8 * (n + 1) * _TIB, node=n) for n in range(8)),
)


@dataclass(frozen=True)
class Workload:
    """Rows of one character.

    Attributes:
        name: short name, used in results.
        about: one line.
        machine: the memory.
        prologue: rows in front.
        rows: makes ``count`` rows; takes (generator, first row of the chunk, count, state kept from chunk to chunk).
    """

    name: str
    about: str
    machine: MachineDescription
    prologue: Callable[[], Columns]
    rows: Callable[[np.random.Generator, int, int, dict[str, np.ndarray]], Columns]

    def chunks(self, count: int, *, seed: int = 1, chunk_rows: int = CHUNK_ROWS) -> Iterator[Columns]:
        """Yield the columns of ``count`` rows, without the prologue, at most ``chunk_rows`` at a time.

        The same seed gives the same rows whatever ``count`` is, as far as they go, for one size of the chunks.
        """
        generator = np.random.Generator(np.random.Philox(seed))
        state: dict[str, np.ndarray] = {}
        for first in range(0, count, chunk_rows):
            rows = min(chunk_rows, count - first)
            full = self.rows(generator, first, chunk_rows, state)
            columns = {name: (v[:rows], None if given is None else given[:rows]) for name, (v, given) in full.items()}
            yield {"time": (_times(first + _PROLOGUE_ROWS, rows), None), **columns}

    def setup(self) -> Batch:
        """Return the rows in front as a batch."""
        columns = self.prologue()
        rows = len(columns["kind"][0])
        return _batch({"time": (_times(0, rows), None), **columns}, 0)

    def batches(self, count: int, *, seed: int = 1, chunk_rows: int = CHUNK_ROWS) -> Iterator[Batch]:
        """Yield the same rows as batches, as the engine takes them; feed ``setup()`` first."""
        row = len(self.setup())
        for columns in self.chunks(count, seed=seed, chunk_rows=chunk_rows):
            batch = _batch(columns, row)
            yield batch
            row += len(batch)

    def write(
        self, path: str, count: int, *, seed: int = 1, compression: str | None = None, prologue: bool = True
    ) -> None:
        """Write the prologue, unless it is not wanted, and ``count`` rows to a trace file."""
        front = [{"time": (_times(0, len(self.setup())), None), **self.prologue()}] if prologue else []
        names = {name for columns in (*front, *self.chunks(1, seed=seed)) for name in columns}
        provenance = Provenance("synthetic", self.name, clock="generated", seed=seed, parameters={"rows": str(count)})
        with TraceWriter(
            path, machine=self.machine, provenance=provenance, columns=sorted(names), compression=compression
        ) as writer:
            for columns in chain(front, self.chunks(count, seed=seed)):
                writer.write(
                    {name: values if given is None else (values, given) for name, (values, given) in columns.items()}
                )


_PROLOGUE_ROWS = 1 << 20  # times of the rows proper start behind this many


def _times(first: int, rows: int) -> np.ndarray:
    return np.arange(first, first + rows, dtype=np.uint64) * np.uint64(_TICK_NS)


def _batch(columns: Mapping[str, tuple[np.ndarray, np.ndarray | None]], row: int) -> Batch:
    slots = {}
    for name, (values, given) in columns.items():
        array = np.ascontiguousarray(values, COLUMNS[name].numpy)
        slots[name] = Slot(array, True if given is None else given)
    return Batch(row, len(columns["kind"][0]), slots, clean=True)


def _table(rows: list[dict[str, int]]) -> Columns:
    """Return rows given one by one as columns."""
    columns: Columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        given = np.array([name in row for row in rows])
        values = np.array([row.get(name, 0) for row in rows], COLUMNS[name].numpy)
        columns[name] = (values, None if given.all() else given)
    return columns


# Rows in front.


def _pagemaps() -> list[dict[str, int]]:
    rows = []
    for pgmap, (start, end), kind in ((1, _PMEM, PgmapType.FS_DAX), (2, _DEVDAX, PgmapType.GENERIC)):
        pages = end - start
        row = {"kind": EventKind.MEMREMAP_PAGES, "pfn": start, "nr_pages": pages, "pgmap": pgmap, "pgmap_type": kind}
        memmap = pages // 64 + 64 & ~511
        row |= {"altmap_base": start, "altmap_reserve": 2, "altmap_free": memmap, "node": 0}
        rows.append({name: int(value) for name, value in row.items()})
    return rows


def _plain_prologue() -> Columns:
    return _table(_pagemaps())


def _no_device_prologue() -> Columns:
    return _table([{"kind": int(EventKind.SYSCTL), "key": int(SysctlKey.EARLY_KILL), "value": 0}])


_POISON_RANGES = 1024
_LRU = PageFlag.MAPPING_SET | PageFlag.EVICTABLE
_KINDS: tuple[dict[str, int], ...] = (
    {"page_kind": PageKind.BUDDY, "refs": 0},
    {"page_kind": PageKind.KERNEL},
    {"page_kind": PageKind.LRU, "page_flags": int(_LRU | PageFlag.DIRTY), "refs": 2},
    {"page_kind": PageKind.LRU, "page_flags": int(_LRU), "refs": 2},
    {"page_kind": PageKind.LRU, "page_flags": int(PageFlag.ANON), "refs": 1},
)


def _poison_prologue() -> Columns:
    """Pagemaps, and 1,024 ranges of pages of five kinds all over the RAM."""
    rows = _pagemaps()
    for low, high in ((0x100000, _PMEM[0]), _PLUGGABLE):
        edges = np.linspace(low, high, _POISON_RANGES // 2 + 1).astype(np.int64) & ~(_SUBSECTION - 1)
        for number, (start, end) in enumerate(pairwise(edges.tolist())):
            row = {"kind": int(EventKind.PAGE_STATE), "pfn": start, "nr_pages": end - start}
            rows.append(row | {name: int(value) for name, value in _KINDS[number % len(_KINDS)].items()})
    return _table(rows)


# Rows.


def _lookups(pfn: np.ndarray) -> Columns:
    kind = np.full(pfn.size, EventKind.PFN_TO_ONLINE_PAGE, np.uint8)
    return {"kind": (kind, None), "pfn": (pfn, None)}


def _span(machine: MachineDescription) -> int:
    return max(machine.memory[-1].end, _DEVDAX[1])


def _random_pfns(generator: np.random.Generator, count: int, machine: MachineDescription = SERVER) -> np.ndarray:
    return generator.integers(0, _span(machine), count, dtype=np.uint64)


def _random(generator: np.random.Generator, _first: int, count: int, _state: dict[str, np.ndarray]) -> Columns:
    return _lookups(_random_pfns(generator, count))


def _sequential(_generator: np.random.Generator, first: int, count: int, _state: dict[str, np.ndarray]) -> Columns:
    return _lookups((np.arange(first, first + count) % _span(SERVER)).astype(np.uint64))


def _runs(pages: int) -> Callable[..., Columns]:
    def rows(generator: np.random.Generator, _first: int, count: int, _state: dict[str, np.ndarray]) -> Columns:
        length = generator.integers(pages - pages // 8, pages + pages // 8, count, dtype=np.uint64)
        start = generator.integers(0, _span(BIG) - 2 * pages, count, dtype=np.uint64)
        return {**_lookups(start), "nr_pages": (length, None)}

    return rows


def _mixed(every: int) -> Callable[..., Columns]:
    """Random lookups; one row in ``every`` takes a memory block of node 1 offline, or online again."""

    def rows(generator: np.random.Generator, _first: int, count: int, state: dict[str, np.ndarray]) -> Columns:
        columns = _lookups(_random_pfns(generator, count))
        kind, pfn = columns["kind"][0], columns["pfn"][0]
        at = np.arange(every - 1, count, every)
        _toggle_blocks(generator, kind, pfn, at, state)
        pages = np.ones(count, np.uint64)
        pages[at] = _SECTION
        return {**columns, "nr_pages": (pages, None)}

    return rows


def _toggle_blocks(
    generator: np.random.Generator, kind: np.ndarray, pfn: np.ndarray, at: np.ndarray, state: dict[str, np.ndarray]
) -> None:
    first, last = (pfn >> 15 for pfn in _PLUGGABLE)
    offline = state.setdefault("offline", np.zeros(last - first, np.bool_))
    block = generator.integers(0, last - first, at.size)
    order = np.argsort(block, kind="stable")
    same = block[order]
    starts = np.flatnonzero(np.append(True, same[1:] != same[:-1]))
    rank = np.arange(at.size) - np.repeat(starts, np.diff(np.append(starts, at.size)))
    was_offline = np.empty(at.size, np.bool_)
    was_offline[order] = (rank & 1).astype(np.bool_) ^ offline[same]
    kind[at] = np.where(was_offline, EventKind.MEMORY_BLOCK_ONLINE, EventKind.MEMORY_BLOCK_OFFLINE)
    pfn[at] = (block.astype(np.uint64) + np.uint64(first)) << np.uint64(15)
    offline ^= (np.bincount(block, minlength=offline.size) & 1).astype(np.bool_)


def _storm(generator: np.random.Generator, first: int, count: int, _state: dict[str, np.ndarray]) -> Columns:
    """Errors on distinct pages of node 1, in no order."""
    low, high = _PLUGGABLE
    pages = high - low
    # Multiplying by an odd number walks through all pages of a power of two once; those beyond the end start again.
    number = (np.arange(first, first + count, dtype=np.uint64) * np.uint64(0x9E3779B1)) & np.uint64((1 << 25) - 1)
    pfn = number % np.uint64(pages) + np.uint64(low)
    kind = np.full(count, EventKind.MEMORY_FAILURE, np.uint8)
    del generator
    return {"kind": (kind, None), "pfn": (pfn, None)}


_HOT_PAGES = 4096


def _hot(generator: np.random.Generator, _first: int, count: int, state: dict[str, np.ndarray]) -> Columns:
    """Errors and unpoisonings on 4,096 pages, each page by turns."""
    low, high = _PLUGGABLE
    pages = low + np.arange(_HOT_PAGES, dtype=np.uint64) * np.uint64((high - low) // _HOT_PAGES)
    broken = state.setdefault("broken", np.zeros(_HOT_PAGES, np.bool_))
    which = generator.integers(0, _HOT_PAGES, count)
    order = np.argsort(which, kind="stable")
    same = which[order]
    starts = np.flatnonzero(np.append(True, same[1:] != same[:-1]))
    rank = np.arange(count) - np.repeat(starts, np.diff(np.append(starts, count)))
    was_broken = np.empty(count, np.bool_)
    was_broken[order] = (rank & 1).astype(np.bool_) ^ broken[same]
    broken ^= (np.bincount(which, minlength=_HOT_PAGES) & 1).astype(np.bool_)
    kind = np.where(was_broken, EventKind.UNPOISON_MEMORY, EventKind.MEMORY_FAILURE).astype(np.uint8)
    # Simulated: kernels that have seen a hardware error refuse to unpoison.
    flags = np.where(was_broken, np.uint64(0), np.uint64(MfFlag.SW_SIMULATED))
    return {"kind": (kind, None), "pfn": (pages[which], None), "flags": (flags, ~was_broken)}


def _production(generator: np.random.Generator, _first: int, count: int, state: dict[str, np.ndarray]) -> Columns:
    """Walkers' runs of 1 to 32,768 pages and single lookups by turns; rarely a block changes or a page breaks."""
    columns = _lookups(_random_pfns(generator, count))
    kind, pfn = columns["kind"][0], columns["pfn"][0]
    pages = np.ones(count, np.uint64)
    walk = generator.random(count) < 0.25
    pages[walk] = np.uint64(1) << generator.integers(0, 16, int(walk.sum()), dtype=np.uint64)
    broken = np.arange(9_999, count, 10_000)
    kind[broken] = EventKind.MEMORY_FAILURE
    pages[broken] = 1
    blocks = np.arange(4_999, count, 10_000)
    _toggle_blocks(generator, kind, pfn, blocks, state)
    pages[blocks] = _SECTION
    return {**columns, "nr_pages": (pages, None)}


def _pagemap_churn(generator: np.random.Generator, first: int, count: int, state: dict[str, np.ndarray]) -> Columns:
    """Random lookups; one row in a hundred maps the device-dax range again, or takes it away."""
    columns = _lookups(_random_pfns(generator, count))
    kind, pfn = columns["kind"][0], columns["pfn"][0]
    at = np.arange(99, count, 100)
    done = int(state.setdefault("churned", np.zeros(1, np.int64))[0])
    number = np.arange(done, done + at.size)
    kind[at] = np.where(number % 2 == 0, EventKind.MEMUNMAP_PAGES, EventKind.MEMREMAP_PAGES)
    pfn[at] = _DEVDAX[0]
    pages = np.ones(count, np.uint64)
    pages[at] = _DEVDAX[1] - _DEVDAX[0]
    pgmap = np.zeros(count, np.uint32)
    pgmap[at] = 2 + (number + 1) // 2  # 2 is the one of the prologue; ids are never used again
    state["churned"][0] = done + at.size
    is_at = np.zeros(count, np.bool_)
    is_at[at] = True
    return {**columns, "nr_pages": (pages, None), "pgmap": (pgmap, is_at)}


_ALL = (
    Workload("random", "single lookups of random pfns", SERVER, _plain_prologue, _random),
    Workload("sequential", "single lookups of pfn after pfn", SERVER, _plain_prologue, _sequential),
    Workload("runs-1e3", "runs of about 10^3 pages, 64 TiB", BIG, _no_device_prologue, _runs(10**3)),
    Workload("runs-1e6", "runs of about 10^6 pages, 64 TiB", BIG, _no_device_prologue, _runs(10**6)),
    Workload("runs-1e9", "runs of about 10^9 pages, 64 TiB", BIG, _no_device_prologue, _runs(10**9)),
    Workload("mixed-1", "1 % of the rows take memory blocks off and on", SERVER, _plain_prologue, _mixed(100)),
    Workload("mixed-10", "10 % of the rows take memory blocks off and on", SERVER, _plain_prologue, _mixed(10)),
    Workload("pagemaps", "1 % of the rows map or unmap a pagemap", SERVER, _plain_prologue, _pagemap_churn),
    Workload("storm", "errors on distinct pages", SERVER, _poison_prologue, _storm),
    Workload("hot", "errors and unpoisonings on 4,096 pages", SERVER, _poison_prologue, _hot),
    Workload("production", "walks, lookups, hotplug and errors by turns", SERVER, _poison_prologue, _production),
)  # fmt: skip
WORKLOADS = {w.name: w for w in _ALL}
