"""/proc/iomem, the memory blocks and the dax bus, as they were printed after steps -> rows to compare a replay with."""

from __future__ import annotations

import re
from bisect import bisect_right

from replay.sources.importers.machine.iomem import parse_iomem
from replay.sources.importers.pfns import PFN_LIMIT
from replay.trace.schema import EventKind, SectionFlags

from .boot import Boot
from .files import Folder
from .ftrace import Events
from .nd_dumps import read_nd
from .rows import Asked, Order, Row, Strings
from .steps import step_files

__all__ = ("machine_dump_rows",)

_BLOCK = re.compile(r"^memory(\d+) .*\bstate=(\S+)", re.M)


def machine_dump_rows(
    folder: Folder,
    events: Events,
    boot: Boot,
    strings: Strings,
    changes: list[int],
    warn: list[str],
    *,
    lacking: str = "",
) -> list[Row]:
    """Return the dumps of resources, memory blocks and dax devices: at boot (not of resources), after steps, at the end.

    They were read at some moment between the mark that ends a step and the next mark that begins one.

    Args:
        folder: the recording.
        events: its trace.
        boot: the machine.
        strings: takes labels.
        changes: events at which the machine changed, ascending.
        warn: takes dumps that cannot be used.
        lacking: why it is not known what drivers claimed, if so: only memory blocks can be compared then.

    Raises:
        InputError: a dump cannot be read.
    """
    marks = [(int(at), events.text(at)) for at in events.of("tracing_mark_write").tolist()]
    begins = [at for at, text in marks if re.match(r"STEP \d+ begin ", text)]
    readers = {"iomem": _resources, "memory_blocks": _blocks, "dax": _daxes}
    if lacking:
        readers = {"memory_blocks": _blocks}
        if any(folder.matching(f"{prefix}-", ".txt") for prefix in ("iomem", "dax")):
            warn.append(f"{lacking}: what drivers claimed is not known; /proc/iomem and the dax bus are not compared")
    rows: list[Row] = []
    for prefix, read in readers.items():
        for at, name in (*step_files(folder, events, prefix), (len(events), f"{prefix}-end.txt")):
            if folder.find(name) is None or name == "iomem.txt":
                continue  # /proc/iomem at boot is the trace's own description of the machine: it agrees with itself
            until = next((begin for begin in begins if begin > at), len(events))
            if at >= 0 and bisect_right(changes, until) > bisect_right(changes, at):
                # Something changed after the step had ended: the moment of the print is not known well enough.
                asked = Asked(until, 0, PFN_LIMIT)
            else:
                asked = None
            rows += read(folder, name, at, asked, boot, strings, warn)
    return rows


def _row(kind: EventKind, at: int, asked: Asked | None, values: dict[str, int]) -> Row:
    return Row(at, Order.DUMP, kind, values, asked=asked)


def _resources(
    folder: Folder, name: str, at: int, asked: Asked | None, boot: Boot, strings: Strings, warn: list[str]
) -> list[Row]:
    entries = parse_iomem(folder.text(name, "/proc/iomem"), folder.path / name)
    label = strings.label(name.removesuffix(".txt"))
    rows = [_row(EventKind.RESOURCES_DUMP, at, asked, {"label": label, "value": len(entries)})]
    for e in entries:
        values = {"start": e.start, "size": e.end - e.start + 1, "label": strings.label(e.name), "value": e.depth}
        rows.append(_row(EventKind.RESOURCE_STATE, at, asked, values))
    return rows


def _blocks(
    folder: Folder, name: str, at: int, asked: Asked | None, boot: Boot, strings: Strings, warn: list[str]
) -> list[Row]:
    found = _BLOCK.findall(folder.text(name, "the memory blocks"))
    pages = boot.machine.memory_block_bytes >> boot.machine.page_shift
    label = strings.label(name.removesuffix(".txt"))
    rows = [_row(EventKind.BLOCKS_DUMP, at, asked, {"label": label, "value": len(found)})]
    for number, state in sorted((int(number), state) for number, state in found):
        if state not in {"online", "offline"}:
            warn.append(f"{name}: memory{number} is {state}; such a block is neither, and is not compared")
            continue
        values = {"pfn": number * pages, "nr_pages": pages}
        values["recorded_flags"] = int(SectionFlags.ONLINE) if state == "online" else 0
        rows.append(_row(EventKind.BLOCK_STATE, at, asked, values))
    return rows


def _daxes(
    folder: Folder, name: str, at: int, asked: Asked | None, boot: Boot, strings: Strings, warn: list[str]
) -> list[Row]:
    found = read_nd(folder.text(name, "the dax bus")).daxes
    label = strings.label(name.removesuffix(".txt"))
    rows = [_row(EventKind.DAX_DUMP, at, asked, {"label": label, "value": len(found)})]
    for device, shown in found.items():
        values = {"label": strings.label(device), "recorded_flags": int(shown.driver)}
        if shown.start is not None:
            values |= {"start": shown.start, "size": shown.size}
        if shown.node is not None:
            values["node"] = shown.node
        rows.append(_row(EventKind.DAX_STATE, at, asked, values))
    return rows
