"""What every row of a trace must satisfy; the reader and the writer ask the same questions.

Whole batches are compared at once; only rows of calls and pagemaps, which are rare, are looked at one by one
(``calls.py``). A violation is reported for its first row.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from replay.errors import TraceError
from replay.trace.batch import Array, Batch
from replay.trace.calls import CallChecker
from replay.trace.devices import check_devices
from replay.trace.header import BootRange, MachineDescription, Resource
from replay.trace.schema import (
    DEVICE_CALLS,
    KINDS,
    LOOKUPS,
    NEEDS,
    POISON_CALLS,
    REQUIRED_COLUMNS,
    TRANSITIONS,
    EventKind,
    PgmapType,
    Phase,
    Zone,
)
from replay.trace.states import StateChecker

__all__ = ("MAX_RUN_PAGES", "RowChecker", "check_machine")

MAX_RUN_PAGES = 1 << 40
_ADDRESS_BITS = 64
_MAX_ERRNO = 4095
_MAX_USUAL = 8  # kinds; comparing with more takes longer than counting all
_EXACT = 2.0**62  # products up to here are computed in int64 without overflow

_ENUMS: dict[str, type[IntEnum]] = {"phase": Phase, "zone": Zone, "pgmap_type": PgmapType}

# Kinds whose pfn may be any that an unsigned long of bytes can address: the kernel must answer those.
_ANY_PFN = LOOKUPS | {k for k in EventKind if EventKind.MEMORY_FAILURE <= k < EventKind.DAX_REGION}
# Kinds whose pfn, if it is a single one, may be any number at all: what kernels are handed there is an unsigned long.
_ANY_NUMBER = POISON_CALLS | {EventKind.PFN_VALID, EventKind.PFN_TO_ONLINE_PAGE}
# Kinds whose pfn and nr_pages are one range, which has no stride.
_RANGES = TRANSITIONS | {EventKind.WALK_SYSTEM_RAM_RANGE}


def _lookup(kinds: Iterable[int]) -> NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[list(kinds)] = True
    return table


_KNOWN = _lookup(KINDS)
_IS_BOUND = _lookup(set(EventKind) - _ANY_PFN)
_IS_NUMBER = _lookup(_ANY_NUMBER)
_IS_RANGE = _lookup(_RANGES)
_CALLS = TRANSITIONS | DEVICE_CALLS
_HAS_PHASES = _lookup(_CALLS)


class RowChecker:
    """Checks the rows of one trace, batch by batch, from the first to the last.

    Args:
        machine: as the header has it, checked.
        strings: number of strings that ``label`` may point to.
        where: the file, for errors.

    Attributes:
        minor: minor version of the format that has all that the rows use.
    """

    def __init__(self, machine: MachineDescription, strings: int, where: str) -> None:
        self._where = where
        self.minor = 0
        self._page_shift = machine.page_shift
        self._time = 0
        self._usual: list[int] = []  # the kinds that most rows of late had
        self._calls = CallChecker(where)
        self._states = StateChecker(where)
        self._end_any = 1 << (_ADDRESS_BITS - machine.page_shift)
        # One bit more than the section table covers: a range that crosses the limit is a request that kernels refuse.
        self._end_bound = 1 << (machine.max_physmem_bits + 1 - machine.page_shift)
        top = self._end_any - 1
        self._bounds: dict[str, tuple[int, int, str]] = {
            "nr_pages": (1, MAX_RUN_PAGES, f"1 to {MAX_RUN_PAGES}"),
            "size": (1, (1 << 64) - 1, "at least 1 byte"),
            "pgmap": (1, (1 << 32) - 1, "a pagemap id, 1 or more"),
            "env": (-_MAX_ERRNO, 0, f"a negative errno, {-_MAX_ERRNO} to -1, or 0"),
            "label": (0, strings - 1, f"an index below {strings}, the number of strings"),
            "altmap_base": (0, top, f"a pfn up to {top:#x}"),
            "altmap_reserve": (0, top, f"up to {top:#x} pages"),
            "altmap_free": (0, top, f"up to {top:#x} pages"),
            "vmemmap_shift": (0, 63, "a shift below 64"),
            "order": (0, 63, "a shift below 64"),
            "map_shift": (0, 63, "a shift below 64"),
            "recorded_slow": (0, 1, "0 or 1"),
            "recorded_result": (0, 3, "0 to 3"),
            **{
                name: (0, max(enum), f"a known {enum.__name__}, 0 to {int(max(enum))}") for name, enum in _ENUMS.items()
            },
        }

    def check(self, batch: Batch) -> Batch:
        """Check the rows that follow those of the last call.

        Returns:
            The same rows, known to hold 0 in null slots.

        Raises:
            TraceError: a row contradicts the format or the rows before it.
        """
        if not len(batch):
            return batch
        self._check_null_slots(batch)
        batch = batch.cleaned()
        self._check_time(batch)
        kinds = self._check_kinds(batch)
        self._check_bounds(batch)
        self._check_needs(batch, kinds)
        self._check_runs(batch, kinds)
        self._check_bytes(batch)
        if any(kind in _CALLS for kind in kinds):
            self._calls.check(batch)
        if any(kind in DEVICE_CALLS for kind in kinds):
            self.minor = max(self.minor, check_devices(batch, self._where, self._page_shift))
        self._states.check(batch, kinds)
        return batch

    def _check_null_slots(self, batch: Batch) -> None:
        # Digests cover the values as stored, so there must be one way to store "nothing".
        for name in batch.stored_names:
            given = batch.given(name)
            if given is True:
                continue
            if name in REQUIRED_COLUMNS:
                self._fail(batch, 0 if given is False else int(np.argmin(given)), name, "null", "a value in every row")
            values = batch.stored(name)
            bad = np.greater(values != 0, given)  # of bools: the one and not the other
            self._refuse(batch, bad, name, "a null whose slot holds {}", "0 in the slots of nulls", values)

    def _check_time(self, batch: Batch) -> None:
        time = batch.column("time")
        first = int(time[0])
        if first < self._time:
            self._fail(batch, 0, "time", f"{first} after {self._time}", "time that never decreases")
        rising = time[1:] >= time[:-1]
        if not rising.all():
            row = int(np.argmin(rising)) + 1
            self._fail(batch, row, "time", f"{time[row]} after {time[row - 1]}", "time that never decreases")
        self._time = int(time[-1])

    def _check_kinds(self, batch: Batch) -> list[EventKind]:
        """Return the kinds that occur."""
        kinds = batch.column("kind")
        present = self._present(kinds)
        if not all(kind in KINDS for kind in present):
            self._refuse(batch, ~_KNOWN[kinds], "kind", "event kind {}", "a known EventKind", kinds)
        return [EventKind(kind) for kind in present]

    def _present(self, kinds: Array) -> list[int]:
        """Return the numbers that occur, ascending."""
        # Traces stay with few kinds for long, and comparing with one of them is far cheaper than counting all.
        left, found = len(kinds), []
        for kind in self._usual:
            if count := int(np.count_nonzero(kinds == kind)):
                found.append(kind)
                left -= count
            if not left:
                return sorted(found)
        counts = np.bincount(kinds, minlength=256)
        found = np.flatnonzero(counts).tolist()
        self._usual = sorted(found, key=lambda kind: -counts[kind])[:_MAX_USUAL]
        return found

    def _check_bounds(self, batch: Batch) -> None:
        for name in batch.stored_names:
            if name not in self._bounds or (given := batch.given(name)) is False:
                continue
            low, high, needed = self._bounds[name]
            values = batch.stored(name)
            limits = np.iinfo(values.dtype)
            if (low > limits.min and values.min() < low) or (high < limits.max and values.max() > high):
                self._refuse(batch, ((values < low) | (values > high)) & given, name, "{}", needed, values)

    def _check_needs(self, batch: Batch, kinds: list[EventKind]) -> None:
        column, phase = batch.column("kind"), batch.column("phase")
        phased = batch.given("phase") is not False and bool(phase.any())
        for kind in kinds:
            for name in NEEDS.get(kind, ()):
                if (given := batch.given(name)) is True:
                    continue
                # The later rows of a call need not repeat its arguments.
                rows = (column == kind) & (phase <= Phase.BEGIN) if phased and kind in _CALLS else column == kind
                self._refuse(batch, rows & np.logical_not(given), name, "null", f"a value in a {KINDS[kind]} row")
        if phased:
            self._check_phases(batch, column, phase)

    def _check_phases(self, batch: Batch, kinds: Array, phase: Array) -> None:
        bad = (phase != 0) & ~_HAS_PHASES[kinds]
        self._refuse(batch, bad, "phase", "phase {} of an event that has none", "0 or null", phase)
        pieces = (phase == Phase.SECTIONS) | (phase == Phase.ZONE)
        for name, rows in (("call", phase != 0), ("pfn", pieces), ("nr_pages", pieces)):
            self._refuse(batch, rows & np.logical_not(batch.given(name)), name, "null in phase {}", "a value", phase)

    def _check_runs(self, batch: Batch, kinds: list[EventKind]) -> None:
        if batch.given("pfn") is False:
            return
        pfn = batch.column("pfn")
        top = int(pfn.max())
        if top >= self._end_any:
            pfn = self._bounded(batch, pfn)
            top = int(pfn.max())
        high = pfn
        if batch.given("nr_pages") is not False:
            if self._surely_inside(batch, kinds, pfn, top):
                return
            extent = batch.column("nr_pages") - np.uint64(1)
            straight = batch.given("stride") is False
            high = pfn + extent if straight else self._strided(batch, pfn, extent)  # below 2**52 + 2**40
            top = int(high.max())
        if top >= self._end_any:
            needed = f"all of the run below {self._end_any:#x}"
            self._refuse(batch, high >= self._end_any, "nr_pages", "a run up to pfn {}", needed, high)
        if top >= self._end_bound and any(_IS_BOUND[kind] for kind in kinds):
            needed = f"a pfn below {self._end_bound:#x}, twice what max_physmem_bits allows"
            bad = (high >= self._end_bound) & _IS_BOUND[batch.column("kind")]
            self._refuse(batch, bad, "pfn", "a range up to pfn {}", needed, high)

    def _bounded(self, batch: Batch, pfn: Array) -> Array:
        """Refuse pfns beyond every address where they are no bare numbers; return the others as they are, those as 0."""
        beyond = pfn >= self._end_any
        number = _IS_NUMBER[batch.column("kind")] & (batch.column("nr_pages") == 1)
        needed = f"a pfn below {self._end_any:#x}; any of 64 bits in a lookup or poison call of a single page"
        self._refuse(batch, beyond & ~number, "pfn", "{}", needed, pfn)
        return np.where(beyond, np.uint64(0), pfn)

    def _surely_inside(self, batch: Batch, kinds: list[EventKind], pfn: Array, top: int) -> bool:
        """Return whether the longest run, with the widest stride, would be fine at every pfn of the batch.

        That takes a fraction of the time of looking at each run, and nearly always says yes.
        """
        reach = max(int(batch.stored("nr_pages").max()), 1) - 1
        descending = False
        if (given := batch.given("stride")) is not False:
            stride = batch.stored("stride")
            zeros = np.count_nonzero(stride) < (len(batch) if given is True else np.count_nonzero(given))
            if zeros or any(_IS_RANGE[kind] for kind in kinds):
                return False
            low, high = int(stride.min()), int(stride.max())
            reach *= max(abs(low), abs(high), 1)
            descending = low < 0
        bound = any(_IS_BOUND[kind] for kind in kinds)
        inside = top + reach < (self._end_bound if bound else self._end_any)
        return inside and not (descending and int(pfn.min()) < reach)

    def _strided(self, batch: Batch, pfn: Array, extent: Array) -> Array:
        """Check runs that have a stride and return the highest pfn of each."""
        stride = batch.column("stride")
        self._refuse(batch, (stride == 0) & (extent != 0), "stride", "0", "another stride in a run of several pages")
        bad = (stride != 1) & _IS_RANGE[batch.column("kind")]
        self._refuse(batch, bad, "stride", "{} in a row that is a range", "1 or null", stride)
        distance = np.abs(stride.astype(np.float64)) * extent.astype(np.float64)
        needed = f"all of the run between 0 and {self._end_any:#x}"
        self._refuse(batch, distance > _EXACT, "stride", "{}, far beyond the limit", needed, stride)
        last = pfn.astype(np.int64) + extent.astype(np.int64) * stride
        self._refuse(batch, last < 0, "stride", "a run down to pfn {}", needed, last)
        return np.maximum(pfn, last.astype(np.uint64))

    def _check_bytes(self, batch: Batch) -> None:
        if batch.given("start") is False or batch.given("size") is False:
            return
        start, size = batch.column("start"), batch.column("size")
        bad = (size > 0) & (start > ~(size - np.uint64(1)))
        self._refuse(batch, bad, "size", "{}, which goes beyond 2**64 bytes", "a resource that ends before", size)

    def _refuse(
        self, batch: Batch, bad: Array, name: str, found: str, needed: str, values: Array | None = None
    ) -> None:
        """Raise for the first bad row; ``{}`` in ``found`` is its value."""
        if bad.any():
            row = int(np.argmax(bad))
            if values is not None:
                pages = name in {"pfn", "nr_pages", "altmap_base"} and values.dtype == np.uint64
                found = found.format(hex(int(values[row])) if pages else int(values[row]))
            self._fail(batch, row, name, found, needed)

    def _fail(self, batch: Batch, row: int, name: str, found: str, needed: str) -> None:
        raise TraceError(f"{self._where}: row {batch.row + row}, column {name}", found, needed)


def check_machine(machine: MachineDescription, where: str) -> None:
    """Check the bounds of a machine description and the order of its memory and resources.

    Whether its architecture allows this geometry is not asked here.

    Raises:
        TraceError: the description contradicts itself.
    """

    def need(condition: bool, name: str, found: object, needed: str) -> None:
        if not condition:
            raise TraceError(f"{where}: replay.machine.{name}", f"{found!r:.120}", needed)

    need(bool(machine.arch), "arch", machine.arch, "the name of an architecture")
    need(12 <= machine.page_shift <= 16, "page_shift", machine.page_shift, "12 to 16")
    section = machine.section_size_bits
    need(machine.page_shift < section <= 40, "section_size_bits", section, "more than page_shift, at most 40")
    bits = machine.max_physmem_bits
    need(section < bits <= 56, "max_physmem_bits", bits, "more than section_size_bits, at most 56")
    block = machine.memory_block_bytes
    fits = block > 0 and not block & (block - 1) and section <= block.bit_length() - 1 <= bits
    need(fits, "memory_block_bytes", block, "a power of two, at least a section")
    _check_memory(machine.memory, 1 << (bits - machine.page_shift), f"{where}: replay.machine.memory")
    _check_resources(machine.resources, f"{where}: replay.machine.resources")


def _check_memory(memory: tuple[BootRange, ...], limit: int, where: str) -> None:
    last = 0
    for number, part in enumerate(memory):
        found = f"[{part.start:#x}, {part.end:#x}) on node {part.node}"
        if not last <= part.start < part.end <= limit:
            raise TraceError(
                f"{where}[{number}]", found, f"a range between {last:#x} and {limit:#x}, ascending, disjoint"
            )
        if part.node < 0:
            raise TraceError(f"{where}[{number}]", found, "a node of 0 or more")
        last = part.end


def _check_resources(resources: tuple[Resource, ...], where: str) -> None:
    above: list[Resource] = []  # the entries that the next one may lie inside of, outermost first
    last = 0
    for number, entry in enumerate(resources):
        found = f"[{entry.start:#x}, {entry.end:#x}] {entry.name[:40]!r}"
        if not last <= entry.start <= entry.end < 1 << 64:
            needed = f"start and end (inclusive) from {last:#x} on, in the order of /proc/iomem"
            raise TraceError(f"{where}[{number}]", found, needed)
        while above and above[-1].end < entry.start:
            above.pop()
        if above and entry.end > above[-1].end:
            parent = above[-1]
            needed = f"an entry within or behind [{parent.start:#x}, {parent.end:#x}] {parent.name[:40]!r}"
            raise TraceError(f"{where}[{number}]", found, needed)
        above.append(entry)
        last = entry.start
