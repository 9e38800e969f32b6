"""Marks of the recording tool, and the section table as it was printed between them -> rows."""

from __future__ import annotations

import re
from collections import Counter

from replay.sources.importers.pfns import PFN_LIMIT
from replay.trace.schema import EventKind

from .boot import Boot
from .calls import Tasks
from .dumps import SectionsDump, parse_sections
from .files import Folder
from .ftrace import Events
from .rows import Asked, Order, Row, Strings

__all__ = ("dump_rows", "mark_rows")

_KEPT_MARKS = ("ARMED", "STEP", "WALK")
_KCORE_READER = "(read_kcore"
_STEP = re.compile(r"STEP (\d+) (begin|end) (\S+)")
_STEP_DUMP = re.compile(r"sections-(\d+)-(.+)\.txt")


def mark_rows(events: Events, strings: Strings, used: tuple[str, ...], unused: Counter[str]) -> list[Row]:
    """Return a row per ARMED, STEP and WALK mark, and count the others, except those that something else uses."""
    rows = []
    for at in events.of("tracing_mark_write").tolist():
        text = events.text(at)
        if text.startswith(_KEPT_MARKS):
            rows.append(Row(at, Order.EVENT, EventKind.MARK, {"label": strings.label(text)}))
        elif not text.startswith(used):
            unused[f"mark {text.split(' ', 1)[0]}"] += 1
    return rows


def dump_rows(
    folder: Folder, events: Events, tasks: Tasks, boot: Boot, strings: Strings, changes: list[int], warn: list[str]
) -> list[Row]:
    """Return the dumps of the section table: at boot, after steps, at the end.

    A dump after a step was read at some moment between the mark that ends the step and the next mark that begins one.
    When the machine changed in between, the lookups that reading /proc/kcore makes tell the moment better, if traced.

    Args:
        folder: the recording.
        events: its trace.
        tasks: order of events within each task.
        boot: the machine.
        strings: takes labels.
        changes: events at which the machine changed.
        warn: takes dumps that cannot be used.

    Raises:
        InputError: a dump cannot be read.
    """
    marks = [(int(at), events.text(at)) for at in events.of("tracing_mark_write").tolist()]
    steps = [(at, found) for at, text in marks if (found := _STEP.match(text))]
    begins = [at for at, found in steps if found[2] == "begin"]
    ends = {(int(found[1]), found[3]): at for at, found in steps if found[2] == "end"}
    armed = next((at for at, text in marks if text.startswith("ARMED")), None)
    if armed is None:
        warn.append("no ARMED mark: the section table at boot is taken to be that before the first event")
    rows = _dump("sections", boot.sections, -1 if armed is None else armed, None, boot, strings)
    for name in folder.matching("sections-", ".txt"):
        dump, label = parse_sections(folder.text(name, name), folder.path / name), name.removesuffix(".txt")
        found = _STEP_DUMP.fullmatch(name)
        if label == "sections-end":
            rows += _dump(label, dump, len(events), None, boot, strings)
        elif found is None or (int(found[1]), found[2]) not in ends:
            warn.append(f"{name}: the trace has no mark that ends this step, so the dump is not used")
        else:
            at = ends[int(found[1]), found[2]]
            until = next((begin for begin in begins if begin > at), len(events))
            if any(at < change <= until for change in changes):
                at, until = _read_between(events, tasks, at, until)
            rows += _dump(label, dump, at, until, boot, strings)
    return rows


def _read_between(events: Events, tasks: Tasks, at: int, until: int) -> tuple[int, int]:
    """Return the first lookup that reading /proc/kcore made between two events, and the event after the last."""
    returns = events.of("pfn_to_online_page__return")
    between = returns[(returns > at) & (returns < until)].tolist()
    reads = [index for index in between if events.text(index).startswith(_KCORE_READER)]
    return (reads[0], min(until, tasks.next(reads[-1]))) if reads else (at, until)


def _dump(label: str, dump: SectionsDump, at: int, until: int | None, boot: Boot, strings: Strings) -> list[Row]:
    """Return the rows of one dump, read between the events ``at`` and ``until``; None: exactly at ``at``."""
    values = {"label": strings.label(label), "nr_pages": len(dump.sections)}
    asked = None if until is None else Asked(until, 0, PFN_LIMIT)
    rows = [Row(at, Order.DUMP, EventKind.SECTIONS_DUMP, values, asked=asked)]
    for pfn, flags, bits in dump.sections:
        state = {"pfn": pfn, "recorded_flags": flags, "recorded_bits": bits}
        asked = None if until is None else Asked(until, pfn, pfn + boot.section_pages)
        rows.append(Row(at, Order.DUMP, EventKind.SECTION_STATE, state, asked=asked))
    return rows
