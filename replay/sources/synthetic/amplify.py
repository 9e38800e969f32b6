"""Traces repeated to any size.

Each repetition happens to memory of its own: all pfns are moved up by the same number of whole sections, all ids to
fresh ones. What a kernel decides about a page depends on the page's section, not on where the section lies, so the
recorded answers hold for every repetition. Where that is not so, the rows say so here: they are left out with a note,
or the trace is refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from replay.errors import UsageError
from replay.kernel.profiles import profile
from replay.machine.geometry import Geometry, check_description, zone_bounds
from replay.sources.synthetic.generator import GENERATOR
from replay.sources.synthetic.parameters import show_bytes
from replay.trace.batch import Batch
from replay.trace.header import BootRange, MachineDescription, Provenance, Resource, to_json
from replay.trace.layout import MAX_METADATA_BYTES, MAX_ROWS
from replay.trace.poison import MfFlag, SysctlKey
from replay.trace.reader import TraceFile
from replay.trace.schema import DEVICE_CALLS, DUMPS, REQUIRED_COLUMNS, EventKind
from replay.trace.writer import TraceWriter, Values

__all__ = ("Amplified", "amplify")

# What a row of these kinds says is about the whole machine, which is another one when there are more of it.
_OF_THE_MACHINE = {
    **dict.fromkeys(DUMPS, "dumps list everything that the machine has"),
    **dict.fromkeys(
        DEVICE_CALLS, "calls about devices name them, and names come once; the calls that they made are kept"
    ),
    EventKind.COUNTERS: "counters are those of the whole machine",
    EventKind.KPAGEFLAGS: "/proc/kpageflags ends with the machine's memory",
}
_OFFLINE = (EventKind.OFFLINE_PAGES, EventKind.MEMORY_BLOCK_OFFLINE)
_IDS = ("call", "pgmap", "task")
_LATCH = "hugetlb-raw-list"  # kernels with it refuse to unpoison once the hardware has reported an error
# Name among the machine's sysctls, value where it is not there.
_SYSCTLS = {
    int(SysctlKey.EARLY_KILL): ("vm.memory_failure_early_kill", 0),
    int(SysctlKey.RECOVERY): ("vm.memory_failure_recovery", 1),
    int(SysctlKey.ENABLE_SOFT_OFFLINE): ("vm.enable_soft_offline", 1),
}
_MAX_ID = (1 << 32) - 1


@dataclass(frozen=True)
class Amplified:
    """What became of a trace.

    Attributes:
        rows: of the new one.
        times: repetitions.
        shift: pfns from one repetition to the next; 0 in place.
        digest: identity of the new one.
        notes: what is not as it was.
    """

    rows: int
    times: int
    shift: int
    digest: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Survey:
    """What a pass over the trace has found."""

    columns: tuple[str, ...]
    rows: int
    kept: int
    left_out: Mapping[str, int]
    span: int
    top: int
    ids: Mapping[str, int]
    crossing: bool
    latched: int
    dropped: NDArray[np.int64]
    sysctls: tuple[int, ...]
    start: int


def amplify(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    times: int,
    *,
    in_place: bool = False,
    compression: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Amplified:
    """Write a trace that repeats another one.

    Args:
        path: the trace.
        output: the new one.
        times: repetitions, 1 or more.
        in_place: repeat on the same memory; each repetition begins with what the last one left, so recorded answers are
            left out.
        compression: None, "lz4" or "zstd".
        progress: is told (rows done, rows in all).

    Raises:
        TraceError: the trace is damaged.
        UsageError: that often it does not fit, or it cannot be moved.
    """
    if times < 1:
        raise UsageError(f"--times {times}; needed 1 or more")
    if os.path.exists(output) and os.path.exists(path) and os.path.samefile(path, output):
        raise UsageError(f"--output {os.fspath(output)} is the trace itself; needed another file")
    with TraceFile.open(path) as trace:
        geometry = check_description(trace.machine, os.fspath(path))
        survey = _look_at(trace, geometry, in_place=in_place)
        _check_size(survey, times)
        shift = 0 if in_place else _shift(trace.machine, survey, geometry, times)
        notes = _notes(survey, times, shift, in_place=in_place)
        machine = trace.machine if in_place else _machine(trace.machine, geometry, times, shift)
        rows = 0
        writer = TraceWriter(
            output,
            machine=machine,
            provenance=_provenance(trace, times, in_place=in_place, notes=notes),
            strings=trace.strings,
            columns=survey.columns,
            compression=compression,
        )
        with writer:
            for turn in range(times):
                if turn and survey.sysctls:
                    writer.write(_defaults(survey, turn, trace.machine))
                for batch in trace.batches():
                    columns = _repetition(batch, survey, turn, shift, geometry, in_place=in_place)
                    if columns is not None:
                        writer.write(columns)
                    if progress:
                        progress(writer.rows, survey.kept * times)
            rows = writer.rows
    return Amplified(rows, times, shift, writer.digest, tuple(notes))


def _look_at(trace: TraceFile, geometry: Geometry, *, in_place: bool) -> _Survey:
    """Pass over a trace once: what can be kept, how far it reaches, which ids it uses."""
    left: dict[str, int] = {}
    ids = dict.fromkeys(_IDS, 0)
    kept = rows = top = latched = 0
    first: int | None = None
    last = 0
    crossing = latch = False
    latches = _may_latch(trace.machine.kernel)
    dropped, sysctls = [], set[int]()
    limit = geometry.max_pfns
    for batch in trace.batches():
        kind, keep = batch.column("kind"), _kept(batch)
        rows, kept = rows + len(batch), kept + int(keep.sum())
        dropped.append(np.flatnonzero(~keep) + batch.row)
        for which, why in _OF_THE_MACHINE.items():
            if number := int((kind == which).sum()):
                left[why] = left.get(why, 0) + number
        pfn = batch.column("pfn")[keep]
        end = pfn + np.maximum(batch.column("nr_pages")[keep], 1).astype(np.uint64)
        inside = end <= limit
        top = max(top, int(end[inside].max(initial=0)), _top_of_resources(batch, geometry))
        for name in _IDS:
            ids[name] = max(ids[name], int(batch.column(name).max(initial=0)))
        ids["pgmap"] = max(ids["pgmap"], int(batch.column("recorded_pgmap").max(initial=0)))
        time = batch.column("time")
        first, last = int(time[0]) if first is None else first, int(time[-1])
        off = np.isin(kind, _OFFLINE)
        crossing |= _crosses(batch, off, geometry)
        hit = (kind == EventKind.MEMORY_FAILURE) & (batch.column("flags") & np.uint64(MfFlag.SW_SIMULATED) == 0)
        sysctls.update(np.unique(batch.column("key")[kind == EventKind.SYSCTL]).tolist())
        if latches and not latch:
            stop = int(np.argmax(hit)) if hit.any() else len(batch)
            latched += int((kind[:stop] == EventKind.UNPOISON_MEMORY).sum())
            latch = bool(hit.any())
    dropped_columns = {"caller"}  # goes with the calls about devices
    names = tuple(n for n in trace.columns if n not in dropped_columns and not (in_place and n.startswith("recorded_")))
    span = last - (first or 0) + 1
    gone = np.concatenate(dropped) if dropped else np.zeros(0, np.int64)
    return _Survey(
        names,
        rows,
        kept,
        left,
        span,
        top,
        ids,
        crossing,
        latched if latch else 0,
        gone,
        tuple(sorted(sysctls)),
        first or 0,
    )


def _may_latch(kernel: str) -> bool:
    """Return whether a kernel may refuse to unpoison after an error; one that is not known may."""
    try:
        return _LATCH in profile(kernel).features
    except UsageError:
        return True


def _kept(batch: Batch) -> NDArray[np.bool_]:
    return ~np.isin(batch.column("kind"), list(_OF_THE_MACHINE))


def _top_of_resources(batch: Batch, geometry: Geometry) -> int:
    """Return the pfn behind the last byte of the rows about resources, as far as they lie in physical addresses."""
    end = batch.column("start") + batch.column("size")
    inside = end <= np.uint64(geometry.max_pfns << geometry.page_shift)
    return -(-int(end[inside].max(initial=0)) >> geometry.page_shift)


def _crosses(batch: Batch, rows: NDArray[np.bool_], geometry: Geometry) -> bool:
    start = batch.column("pfn")[rows]
    end = start + batch.column("nr_pages")[rows]
    return any(bool(((start < bound) & (end > bound)).any()) for bound in zone_bounds(geometry))


def _check_size(survey: _Survey, times: int) -> None:
    if survey.kept * times > MAX_ROWS:
        raise UsageError(
            f"--times {times}: {survey.kept * times:,} rows; needed at most {MAX_ROWS // max(survey.kept, 1):,} times"
        )
    for name, highest in survey.ids.items():
        if highest and (highest + 1) * times > _MAX_ID:
            raise UsageError(
                f"--times {times}: the trace uses {name} up to {highest}; needed at most {_MAX_ID // (highest + 1):,} times"
            )
    if survey.span * times >= 1 << 64:
        raise UsageError(f"--times {times}: the clock has 64 bits; needed at most {(1 << 64) // survey.span:,} times")


def _shift(machine: MachineDescription, survey: _Survey, geometry: Geometry, times: int) -> int:
    """Return the pfns from one repetition to the next: whole blocks, and whole boot zones where there are any."""
    if survey.crossing:
        raise UsageError(
            "the trace takes memory offline across the border of a boot zone, which lies at a fixed address: moved, "
            "it would be decided another way; needed --in-place"
        )
    if survey.latched:
        raise UsageError(
            f"the trace has {survey.latched} unpoison calls before its first error of the hardware: its kernel refuses "
            "them after one, so the second repetition would be decided another way; needed --in-place"
        )
    unit = max(geometry.pages_per_block, *zone_bounds(geometry), 1)
    end = max(survey.top, *(part.end for part in machine.memory), 1)
    shift = -(-end // unit) * unit
    room = MAX_METADATA_BYTES // 2 // len(to_json(machine))  # the header lists the memory of every repetition
    most = min(geometry.max_pfns // shift, room)
    if times > most:
        raise UsageError(
            f"--times {times}: each repetition takes {show_bytes(shift << geometry.page_shift)} of the address space of "
            f"{geometry.max_physmem_bits} bits, and a part of the header; needed at most {most:,} times, or --in-place"
        )
    return shift


def _machine(machine: MachineDescription, geometry: Geometry, times: int, shift: int) -> MachineDescription:
    """Return the machine with all its memory, and what lies in the same place, as often as the trace is repeated."""
    memory = tuple(
        BootRange(part.start + turn * shift, part.end + turn * shift, part.node, part.nomap)
        for turn in range(times)
        for part in machine.memory
    )
    size = shift << geometry.page_shift
    below = [entry for entry in machine.resources if entry.end < size]
    above = [entry for entry in machine.resources if entry.start >= size * times]
    resources = tuple(
        Resource(entry.start + turn * size, entry.end + turn * size, entry.name, entry.busy, entry.ram)
        for turn in range(times)
        for entry in below
    )
    return replace(machine, memory=memory, resources=(*resources, *above))


def _notes(survey: _Survey, times: int, shift: int, *, in_place: bool) -> list[str]:
    notes = [f"left out {number:,} rows of each repetition: {why}" for why, number in survey.left_out.items()]
    if in_place and times > 1:
        notes.append("recorded answers are left out: each repetition begins with what the one before has left")
    if not in_place:
        notes.append(f"each repetition lies {shift:#x} pfns above the one before")
    return notes


def _provenance(trace: TraceFile, times: int, *, in_place: bool, notes: list[str]) -> Provenance:
    mode = " --in-place" if in_place else ""
    return Provenance(
        "synthetic",
        f"{trace.provenance.name} x {times}",
        tool=f"replay generate {GENERATOR}",
        clock=trace.provenance.clock,
        lost_events=trace.provenance.lost_events,
        command=f"replay generate amplify TRACE{mode} --times {times} -o trace.arrow",
        parameters={
            "workload": "amplify",
            "trace": trace.digest,
            "name": trace.provenance.name,
            "times": str(times),
            "in_place": "yes" if in_place else "no",
            "generator": str(GENERATOR),
        },
        notes=(*trace.provenance.notes, f"TRACE is {trace.digest}", *notes),
    )


def _repetition(
    batch: Batch,
    survey: _Survey,
    turn: int,
    shift: int,
    geometry: Geometry,
    *,
    in_place: bool,
) -> dict[str, Values] | None:
    """Return the rows of a batch that are kept, moved in time, memory and ids."""
    keep = _kept(batch)
    if not keep.any():
        return None
    columns: dict[str, Values] = {}
    moved = turn * shift
    size = shift << geometry.page_shift
    for name in survey.columns:
        values, given = batch.stored(name)[keep], batch.given(name)
        mask = np.full(len(values), given) if isinstance(given, bool) else given[keep]
        if name == "time":
            values = values + np.uint64(turn * survey.span)
        elif name in _IDS and not (in_place and name == "task"):
            values = np.where(mask, values + values.dtype.type(turn * (survey.ids[name] + 1)), values)
        elif name == "recorded_pgmap":
            values = np.where(values != 0, values + values.dtype.type(turn * (survey.ids["pgmap"] + 1)), values)
        elif name == "window":
            values = _windows(values, keep, batch.row, survey)
        elif name == "value" and not in_place:
            # The address space of a task is told by a task id.
            own = mask & (batch.column("kind")[keep] == EventKind.TASK_STATE)
            values = np.where(own, values + turn * (survey.ids["task"] + 1), values)
        elif moved and name in {"pfn", "altmap_base"}:
            # What lies beyond the end of physical addresses stays: there is nothing there for any repetition.
            values = np.where(mask & (values < np.uint64(geometry.max_pfns)), values + np.uint64(moved), values)
        elif moved and name == "start":
            reach = np.uint64(geometry.max_pfns << geometry.page_shift)
            values = np.where(mask & (values < reach), values + np.uint64(turn * size), values)
        columns[name] = values if name in REQUIRED_COLUMNS else (values, mask)
    return columns


def _defaults(survey: _Survey, turn: int, machine: MachineDescription) -> dict[str, Values]:
    """Return the rows that put sysctls back to where the first repetition began."""
    values = [machine.sysctls.get(name, default) for name, default in map(_SYSCTLS.__getitem__, survey.sysctls)]
    count = len(values)
    return {
        "time": np.full(count, survey.start + turn * survey.span, np.uint64),
        "kind": np.full(count, EventKind.SYSCTL, np.uint8),
        "key": np.array(survey.sysctls, np.uint8),
        "value": np.array(values, np.int64),
    }


def _windows(values: NDArray[np.uint32], keep: NDArray[np.bool_], row: int, survey: _Survey) -> NDArray[np.uint32]:
    """Return windows without the rows that are left out, and none that reaches into the next repetition."""
    rows = np.flatnonzero(keep) + row
    last = np.minimum(rows + values, survey.rows - 1)
    gone = np.searchsorted(survey.dropped, last, "right") - np.searchsorted(survey.dropped, rows, "right")
    kept: NDArray[np.uint32] = (last - rows - gone).astype(np.uint32)
    return kept
