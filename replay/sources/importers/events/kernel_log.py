"""Kernel logs (dmesg, syslog, journald exports) -> a trace file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np

from replay.errors import InputError, UsageError
from replay.kernel.poison_types import ActionType
from replay.sources.importers.pfns import PFN_LIMIT
from replay.sources.importers.recording.table import Column
from replay.sources.importers.rejects import Rejects
from replay.sources.importers.streaming import Block, blocks_of, look_ahead, open_input, source_name
from replay.trace.poison import NO_ACTION
from replay.trace.schema import COLUMNS, EventKind

from .assembly import Assembly, ImportReport
from .calls import RESULTS
from .journal import export_entries, json_entries
from .log_forms import Form, Role, form_of
from .log_lines import BOOT, CALENDAR, Entry, read_line
from .page_types import NO_MEMORY, PageTypes
from .text import EventOptions

__all__ = ("FORMATS", "import_log")

FORMATS = ("auto", "text", "export", "json")
_WORDS = re.compile(
    rb"[mM]emory [fF]ailure|memory failure|[sS]oft[ _]offlin|Unpoison|MCE 0x|MCE [0-9a-f]+: |MCE: Killing|Linux version "
    rb"|callbacks suppressed|[mM]issed \d+ kernel messages|kmsg buffer overrun"
)
# What a message begins with that should be in the table of forms.
_OURS = re.compile(r"Memory [fF]ailure: |[sS]oft[ _]offline|Unpoison: |MCE 0x")
_BEGIN = 1 << 16  # bytes that tell format and kernel
_HELD, _FLUSH = 1 << 10, 1 << 14
_CALL_TAKES = 10 * 10**9  # ns from a call's first line to its last, at most
_DEBIAN = re.compile(r"#\d.*? Debian (\d+\.\d+\.\d+)-")


@dataclass
class _Row:
    time: int
    kind: EventKind
    values: dict[str, int]
    announced: bool = False  # nothing but its beginning was told yet
    already: bool = False  # its line says that the page was poisoned already, and nothing else


@dataclass
class _Log:
    """One import on its way."""

    assembly: Assembly
    types: PageTypes
    rejects: Rejects
    boot: int | None
    lost: int = 0
    release: str = ""
    boots: int = 0
    backward: int = 0
    calls: int = 0
    clocks: set[str] = field(default_factory=set)
    _rows: list[_Row] = field(default_factory=list)
    _last: dict[tuple[EventKind, int], _Row] = field(default_factory=dict)
    _pages: list[int] = field(default_factory=list)
    _boot_id: str = ""
    _headless: bool = False
    _time: int = 0

    @property
    def _already_poisoned(self) -> int | None:
        return self.types.number(ActionType.ALREADY_POISONED)

    def take(self, entry: Entry) -> None:
        """Read one message of the kernel."""
        message = entry.message.rstrip()
        known = form_of(message)
        self._follow_boots(entry, known[0] if known else None)
        if self.boot not in (None, max(self.boots, 1)):
            self.assembly.unused["line of another boot"] += 1
            return
        if known is None:
            if _OURS.match(message):
                self.rejects.add(entry.line, "a line about memory errors in a form that is not known", message)
            else:
                self.assembly.unused["other line"] += 1
            return
        form, found = known
        if form.role is Role.DETAIL:
            self.assembly.unused["line that tells more about a call"] += 1
        elif form.role is Role.LOSS:
            self.lost += int(found.groupdict().get("count") or 1)
        elif form.role is Role.KERNEL:
            self.release = self.release or found["release"]
        else:
            self._call(entry, form, found, message)

    def _follow_boots(self, entry: Entry, form: Form | None) -> None:
        if entry.boot:
            new = entry.boot != self._boot_id
            self._boot_id = entry.boot
        else:
            new = form is not None and form.role is Role.KERNEL
        if new:
            # Lines before the first that names the kernel are of a boot whose beginning is not in the log.
            self.boots = 2 if self._headless and not self.boots else self.boots + 1
        elif not self.boots and form is not None:
            self._headless = True
        if self.boots > 1 and self.boot is None:
            raise InputError(
                f"{self.assembly.name}:{entry.line}", "the beginning of another boot", "a log of one boot",
                "--boot 1 takes the first, --boot 2 the second, and so on",
            )  # fmt: skip

    def _call(self, entry: Entry, form: Form, found: re.Match[str], message: str) -> None:
        assert form.kind is not None
        pfn = int(found["pfn"], 16)
        values = self._values(form, found) if pfn < PFN_LIMIT else None
        if values is None:
            self.rejects.add(entry.line, "a pfn, page type or result that is not known", message)
            return
        key = form.kind, pfn
        last = self._last.get(key)
        already = form.no_action and form.ret is None  # some kernels say so and report the action as well
        time = self._at(entry)
        if form.role is Role.END and last is not None and time - last.time <= _CALL_TAKES:
            again = last.already and values.get("recorded_type") == self._already_poisoned
            if last.announced or again:
                last.values |= values
                last.announced, last.already = False, already
                return
        self.calls += 1
        row = _Row(time, form.kind, {"pfn": pfn, **values}, form.role is Role.BEGIN, already)
        self._rows.append(row)
        self._last[key] = row
        if len(self._rows) >= _FLUSH:
            self.flush(_HELD)

    def _values(self, form: Form, found: re.Match[str]) -> dict[str, int] | None:
        """Return the columns that a line tells, None where it tells something that does not exist."""
        groups, values = found.groupdict(), dict[str, int]()
        if form.ret is not None:
            values["recorded_ret"] = form.ret
        if form.no_action:
            values["recorded_type"] = NO_ACTION
        if (migration := groups.get("value")) is not None:
            values["value"] = int(migration)
            returned = int(migration) if int(migration) < 0 else form.moved
            if returned is not None:
                values["recorded_ret"] = returned
        if "result" not in groups:
            return values
        result = RESULTS.get(groups["result"])
        decoded = self.types.read(groups["type"]) if result is not None else None
        if decoded is None or result is None or not decoded.types:
            return None
        if NO_MEMORY.isdisjoint(decoded.types):
            self._pages.append(int(found["pfn"], 16))
        values["recorded_result"] = result
        if decoded.stored is not None:
            values["recorded_type"] = decoded.stored
        return values

    def _at(self, entry: Entry) -> int:
        if entry.time is not None:
            self.clocks.add(entry.clock)
            self.backward += entry.time < self._time
            self._time = max(self._time, entry.time)
        return self._time

    def flush(self, held: int = 0) -> None:
        """Give rows to the assembly, all but the last few, which a later line may complete."""
        ready, self._rows = self._rows[: len(self._rows) - held], self._rows[len(self._rows) - held :]
        if held:
            self._last = {(row.kind, row.values["pfn"]): row for row in self._rows}
        self.assembly.memory.add(np.array(self._pages, np.int64))
        self._pages.clear()
        if ready:
            self.assembly.add(_columns(ready))


def import_log(
    path: Path | str,
    output: str | os.PathLike[str],
    options: EventOptions,
    rejects: Rejects,
    *,
    form: str = "auto",
    boot: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Turn a kernel log into a trace.

    Args:
        path: the log, plain or compressed; ``-`` is standard input.
        output: the trace file.
        options: see there.
        rejects: takes what is not used.
        form: "text" (dmesg and syslog), "export" or "json" (journalctl -o, dmesg -J); "auto" looks at the beginning.
        boot: which boot of a log that holds several, from 1.
        progress: is told bytes of text that were read.

    Raises:
        InputError: the file cannot be read, or holds several boots and none is chosen.
        UsageError: nobody says which kernel it is of, or the trace cannot be written.
    """
    name = source_name(path)
    if form not in FORMATS:
        raise UsageError(f"unknown format {form!r}; there are {', '.join(FORMATS)}")
    with open_input(path) as opened:
        begin, file = look_ahead(opened, _BEGIN)
        form = _form_of(begin) if form == "auto" else form
        machine = options.machine.known()
        # The first kernel that is named need not be that of the boot that was chosen.
        found = _kernel_of(begin.decode("utf-8", "replace")) if boot is None else ""
        kernel = machine.kernel if machine else options.machine.kernel_of(found, name)
        log = _Log(Assembly("dmesg", name, options.machine), options.types(kernel), rejects, boot)
        entries: Iterator[Entry | None]
        if form == "export":
            entries = export_entries(file, rejects)
        else:
            pieces = _watched(blocks_of(file, rejects), progress)
            entries = json_entries(pieces, rejects) if form == "json" else _text_entries(pieces, log)
        for entry in entries:
            if entry is None:
                log.assembly.unused["entry that is not of the kernel"] += 1
            else:
                log.take(entry)
    if form == "text" and not log.calls and rejects.count and not +log.assembly.unused:
        raise InputError(name, "; ".join(rejects.summary()), "a kernel log")
    return _finish(log, output, kernel, machine is None and options.machine.kernel is None, options)


def _finish(
    log: _Log, output: str | os.PathLike[str], kernel: str, guessed: bool, options: EventOptions
) -> ImportReport:
    log.flush()
    notes = log.assembly.notes
    if guessed:
        notes.append(f"the kernel is {kernel}, by the log itself")
    if len(log.clocks) > 1:
        notes.append("some lines have the time since boot, others calendar time: their times do not compare")
    if log.backward:
        notes.append(f"{log.backward:,} lines have a time before that of an earlier one; they got the later one")
    if not log.clocks and log.calls:
        notes.append("the log has no times: rows are in its order, all at time 0")
    notes.append("a log tells of no soft offline that went well, and of no lookup")
    if options.strict and log.lost:
        raise InputError(log.assembly.name, f"{log.lost} lines that were not printed", "none, because of --strict")
    clock = "printk" if log.clocks == {BOOT} else "realtime" if log.clocks == {CALENDAR} else ""
    return log.assembly.finish(
        output, log.types, log.rejects, kernel=kernel, release=log.release, clock=clock, lost=log.lost,
        compression=options.compression,
    )  # fmt: skip


def _form_of(begin: bytes) -> str:
    """Return the format of a log by how it begins."""
    head = begin.lstrip(b"\x1e \r\n")
    if head.startswith(b"__CURSOR=") or re.match(rb"[A-Z_]{2,64}=", head):
        return "export"
    return "json" if re.match(rb'\{\s*"[A-Z_]', head) else "text"


def _kernel_of(text: str) -> str:
    """Return the version of the kernel that a log's first lines name, or ""."""
    line = re.search(r"Linux version (\d+\.\d+[^\s]{0,60}) .*", text)
    if line is None:
        return ""
    debian = _DEBIAN.search(line[0])  # its releases do not say the patch level
    release = re.match(r"\d+\.\d+(?:\.\d+)?", line[1])
    return debian[1] if debian else release[0] if release else ""


def _watched(pieces: Iterator[Block], progress: Callable[[int], None] | None) -> Iterator[Block]:
    done = 0
    for block in pieces:
        yield block
        done += len(block.data)
        if progress:
            progress(done)


def _text_entries(pieces: Iterator[Block], log: _Log) -> Iterator[Entry]:
    """Yield the lines that may be about memory errors, and count the others."""
    dmesg_json, time = False, cast("int | None", None)
    for block in pieces:
        data, line, counted, taken = block.data, block.line, 0, -1
        dmesg_json = dmesg_json or (block.line == 1 and data.lstrip().startswith(b'{\n   "dmesg"'))
        if dmesg_json:
            time = yield from _dmesg_json(block, time)
            continue
        used = 0
        for found in _WORDS.finditer(data):
            start = data.rfind(b"\n", 0, found.start()) + 1
            if start == taken:
                continue
            taken = start
            end = data.index(b"\n", start)
            line += data.count(b"\n", counted, start)
            counted = start
            used += 1
            yield read_line(line, data[start:end].decode("utf-8", "replace"))
        log.assembly.unused["other line"] += data.count(b"\n") - used


_JSON_TIME = re.compile(rb'\s*"time":\s*(\d{1,12})\.(\d{6}),?')
_JSON_MESSAGE = re.compile(rb'\s*"msg":\s*(".*")')


def _dmesg_json(block: Block, time: int | None) -> Generator[Entry, None, int | None]:
    """Yield the messages of ``dmesg -J``, which prints one member per line; returns the last time."""
    for number, text in enumerate(block.data.split(b"\n")[:-1], block.line):
        if found := _JSON_TIME.match(text):
            time = int(found[1]) * 10**9 + int(found[2]) * 1000
        elif found := _JSON_MESSAGE.match(text):
            try:
                message = str(json.loads(found[1].decode("utf-8", "replace"), strict=False))
            except ValueError:
                message = found[1].decode("utf-8", "replace")
            yield Entry(number, time, BOOT if time is not None else "", message)
    return time


def _columns(rows: list[_Row]) -> dict[str, Column]:
    count = len(rows)
    columns: dict[str, Column] = {
        "time": (np.array([row.time for row in rows], np.uint64), np.ones(count, bool)),
        "kind": (np.array([row.kind for row in rows], np.uint8), np.ones(count, bool)),
    }
    for name in COLUMNS:
        given = np.array([name in row.values for row in rows], bool)
        if given.any():
            values = np.array([row.values.get(name, 0) for row in rows], COLUMNS[name].numpy)
            columns[name] = values, given
    return columns
