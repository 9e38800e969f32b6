"""A recording folder -> a trace file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from replay import __version__
from replay.errors import InputError
from replay.trace.header import MachineDescription, Provenance
from replay.trace.schema import LOOKUPS, TRANSITIONS, EventKind, Phase
from replay.trace.writer import write_trace

from .boot import Boot, read_boot
from .calls import CALLS, LOOKUP_EVENTS, POINTS, RETURN, Calls, Tasks, read_calls
from .device_rows import DeviceReader
from .devices import read_devices
from .dumps import armed_probes, kprobe_misses, stats_losses
from .files import Folder
from .ftrace import Events, Ints, read_events
from .lookups import NOT_GIVEN, LookupReader, Lookups
from .machine_dumps import machine_dump_rows
from .oracles import dump_rows, mark_rows
from .pagemaps import Pagemaps
from .poison import PoisonReader
from .rows import Row, Strings
from .steps import NodeDumps
from .table import Column, build_table
from .transitions import TransitionReader, owner_kind

__all__ = ("ImportReport", "Progress", "import_recording", "read_recording")

Progress = Callable[[str, float], None]
_KNOWN = frozenset((*CALLS, *POINTS, *LOOKUP_EVENTS, "pfn_to_online_page_inlined", "tracing_mark_write"))
_USED = _KNOWN | {name + RETURN for name in (*CALLS, *LOOKUP_EVENTS)}


@dataclass(frozen=True)
class ImportReport:
    """What an import made of a recording.

    Attributes:
        rows: rows of the trace.
        lookups: lookups in them (a run counts each of its pfns).
        transitions: calls that may have changed the machine.
        dumps: prints of the section table.
        unused: events that were read and not needed, by kind.
        lost_events: events that the recorder lost.
        warnings: what had to be assumed.
    """

    rows: int
    lookups: int
    transitions: int
    dumps: int
    unused: dict[str, int]
    lost_events: int
    warnings: tuple[str, ...]


def import_recording(
    folder: Path,
    output: Path,
    *,
    allow_loss: bool = False,
    compression: str | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Turn a recording folder into a trace file.

    Args:
        folder: the recording.
        output: the trace file.
        allow_loss: import a recording that lost events; ``lost_events`` in its provenance says how many.
        compression: None, "lz4" or "zstd".
        progress: called with the name of a stage and the part of the work that is done, 0 to 1.

    Raises:
        InputError: a file of the recording is missing or damaged, or events were lost.
    """
    tell = progress or (lambda _stage, _part: None)
    columns, machine, provenance, strings = read_recording(folder, allow_loss=allow_loss, progress=progress)
    tell("writing", 0.9)
    write_trace(output, columns, machine=machine, provenance=provenance, strings=strings, compression=compression)
    tell("done", 1.0)
    return _report(columns, provenance)


def read_recording(
    folder: Path, *, allow_loss: bool = False, progress: Progress | None = None
) -> tuple[dict[str, Column], MachineDescription, Provenance, tuple[str, ...]]:
    """Read a recording folder: columns (values, and a mask of the given ones), machine, provenance, strings.

    Raises:
        InputError: a file of the recording is missing or damaged, or events were lost.
    """
    tell = progress or (lambda _stage, _part: None)
    files, warn, strings, unused = Folder(Path(folder)), list[str](), Strings(), Counter[str]()
    boot = read_boot(files, warn)
    tell("reading the trace", 0.0)
    where = files.find("trace.txt") or files.path / "trace.txt"
    events = read_events(files.data("trace.txt", "ftrace text"), str(where), _KNOWN)
    unused.update(events.unused)
    lost = _losses(files, events, allow_loss)
    tell("pairing calls", 0.4)
    rows, lookups = _rows(files, events, boot, strings, warn, unused, lossy=allow_loss and lost > 0)
    tell("ordering rows", 0.7)
    columns = build_table(events, rows, lookups)
    provenance = Provenance(
        source="recording", name=boot.name, tool=f"pfn-replay {__version__}",
        clock=_clock(files.optional("trace_clock.txt")), lost_events=lost, unused=dict(sorted(unused.items())),
        notes=tuple(warn),
    )  # fmt: skip
    return columns, boot.machine, provenance, strings.texts


def _rows(
    files: Folder, events: Events, boot: Boot, strings: Strings, warn: list[str], unused: Counter[str], *, lossy: bool
) -> tuple[list[Row], Lookups]:
    for kind, count in enumerate(np.bincount(events.kind, minlength=len(events.names)).tolist()):
        if events.names[kind] not in _USED:
            unused[events.names[kind]] += count
    armed = armed_probes(files.optional("kprobe_events.txt")) or frozenset(events.names)
    tasks, calls = Tasks(events), read_calls(events)
    pagemaps = Pagemaps([call for call in calls.calls if call.name == "memremap_pages"], warn)
    ids, owner = _owners(calls)
    reader = LookupReader(events, tasks, calls, owner, pagemaps, boot, armed)
    _check_orphans(events, (*reader.orphans, *calls.orphans), unused, lossy=lossy)
    transitions = TransitionReader(
        events, tasks, calls, ids, pagemaps, reader.direct, boot, armed, strings, lossy=lossy, warn=warn
    )
    lookups = reader.read()
    rows = mark_rows(events, strings, ("VICTIM",) if files.find("victims.jsonl") else (), unused)
    rows += transitions.read()
    drivers = DeviceReader(files, events, calls.calls, ids, boot, strings)
    rows += drivers.read(rows)
    nodes = NodeDumps(files, events, boot.machine.memory_block_bytes >> boot.machine.page_shift)
    devices = read_devices(files, events, calls.calls, pagemaps, boot.machine.page_shift)
    for row in rows:
        if row.kind == EventKind.ADD_MEMORY and "node" in row.values:
            nodes.correct(row)
        elif "pgmap_type" in row.values and (shift := devices.compound_shift(row.values["pgmap"])):
            row.values["vmemmap_shift"] = shift
    rows += PoisonReader(files, events, calls, lookups, ids, devices, boot, unused, warn).read()
    changes = [row.at for row in rows if row.effect is not None]
    rows += dump_rows(files, events, tasks, boot, strings, changes, warn)
    rows += machine_dump_rows(files, events, boot, strings, sorted(changes), warn, lacking=drivers.lacking)
    return rows, lookups


def _owners(calls: Calls) -> tuple[dict[int, int], Ints]:
    """Return the ids of the calls that become rows by entry event, and per call the id that holds inside of it."""
    ids: dict[int, int] = {}
    owner = np.full(len(calls.calls), NOT_GIVEN, np.int64)
    inside: dict[int, int] = {}
    for index, call in enumerate(calls.calls):
        if owner_kind(call) is not None:
            ids[call.begin] = len(ids) + 1
        inside[call.begin] = ids.get(call.begin, inside[call.parent.begin] if call.parent else NOT_GIVEN)
        owner[index] = inside[call.begin]
    return ids, owner


def _check_orphans(events: Events, orphans: Sequence[int], unused: Counter[str], *, lossy: bool) -> None:
    if orphans and not lossy:
        at = min(orphans)
        raise InputError(
            events.at(at), f"{events.names[int(events.kind[at])]}: {events.text(at)[:100]!r}",
            "an entry for every return, and a return before the task's next call of the same function",
            "events are missing although the recorder counted none as lost; record again",
        )  # fmt: skip
    unused.update("half of a call" for _ in orphans)


def _losses(files: Folder, events: Events, allow_loss: bool) -> int:
    """Return the number of lost events, refusing any unless they are allowed."""
    found = {
        "missing from the ring buffer, by the header of trace.txt": events.lost.get("header", 0),
        "in LOST lines of trace.txt": events.lost.get("lines", 0),
        "overrun or dropped, by trace_stats.txt": stats_losses(files.optional("trace_stats.txt")),
        "calls missed by a probe, by kprobe_profile.txt": kprobe_misses(files.optional("kprobe_profile.txt")),
    }
    *buffered, misses = found.values()
    lost = max(buffered) + misses  # the first three count the same events
    if lost and not allow_loss:
        what = ", ".join(f"{count} {name}" for name, count in found.items() if count)
        raise InputError(
            files.path, f"lost events: {what}", "a recording that lost none",
            "record again with a larger buffer; --allow-loss imports it all the same and marks the loss in the trace",
        )  # fmt: skip
    return lost


def _clock(text: str) -> str:
    """Return the selected clock of trace_clock.txt, in which it stands in brackets."""
    found = re.search(r"\[(\w+)\]", text)
    return found[1] if found else ""


def _report(columns: Mapping[str, Column], provenance: Provenance) -> ImportReport:
    kind, _ = columns["kind"]
    length, _ = columns["nr_pages"]
    phase = columns["phase"][0] if "phase" in columns else np.zeros(len(kind), np.uint8)
    lookup = np.isin(kind, list(LOOKUPS))
    call = np.isin(kind, list(TRANSITIONS)) & (phase <= Phase.BEGIN)
    return ImportReport(
        rows=len(kind), lookups=int(length[lookup].sum()), transitions=int(call.sum()),
        dumps=int((kind == EventKind.SECTIONS_DUMP).sum()), unused=dict(provenance.unused),
        lost_events=provenance.lost_events, warnings=provenance.notes,
    )  # fmt: skip
