"""ftrace text -> events: one entry per line, in the order of the ring buffer.

A line is ``TASK-PID [CPU] flags SECONDS.FRACTION: event: payload``. The kernel pads the columns up to the payload, so
almost every line of a file has the same layout: those are taken apart by column, all at once. A line that is laid out
otherwise (a long pid, a day-old clock, a TGID column) goes through a regular expression, one at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from replay.errors import InputError

__all__ = ("Bytes", "Events", "Ints", "Words", "read_events")

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
_Bools = npt.NDArray[np.bool_]
_Reader = Callable[[bytes], "int | None"]

_LINE = re.compile(
    rb"\s*(?P<comm>.+?)-(?P<pid>\d+)\s+(?:\(\s*[-\d]+\)\s+)?\[(?P<cpu>\d+)\]\s+(?:\(\s*[-\d]+\)\s+)?(?P<flags>\S{4,6})"
    rb"\s+(?P<secs>\d+)\.(?P<frac>\d{6}|\d{9}):\s(?P<name>[\w.]+):(?P<payload> ?.*)"
)
_NAME = re.compile(rb"([\w.]+):")
_WRITTEN = re.compile(rb"entries-in-buffer/entries-written:\s*(\d+)/(\d+)")
_LOST = re.compile(rb"\[LOST (\d+) EVENTS\]")
_DIGITS = np.full(256, 255, np.uint8)
_DIGITS[ord("0") : ord("9") + 1] = np.arange(10)
_HEX = _DIGITS.copy()
_HEX[ord("a") : ord("f") + 1] = np.arange(10, 16)

_DASH, _CPU = 16, 25  # columns of the standard layout: `%16s-%-7d [%03d] `
_CHUNK = 1 << 20  # bytes that fit into a cache
_NAME_WORDS = 5  # no event name of interest is longer than 40 bytes
_MIX = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5, 0x85EBCA77C2B2AE63)


@dataclass
class Events:
    """The events of a trace file; an event's index is its position in the order that everything else refers to.

    Attributes:
        where: the file, for errors.
        data: its bytes.
        line: line number in the file, from 1.
        time: ns, as written; never decreases.
        pid: process id.
        task: what nests calls: the pid, or a negative number for idle tasks and interrupts, one per cpu.
        kind: index into ``names``.
        payload: offset of the payload in ``data``.
        end: offset after its last byte.
        names: event names.
        unused: lines that are no events, by what they look like.
        lost: events that were lost, by who says so: the ``header`` (written, but not in the file) or ``lines``.
    """

    where: str
    data: bytes
    line: Ints
    time: Ints
    pid: Ints
    task: Ints
    kind: Ints
    payload: Ints
    end: Ints
    names: list[str]
    unused: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.line)

    def at(self, index: int) -> str:
        """Return file and line of an event, for errors."""
        return f"{self.where}:{int(self.line[index])}"

    def text(self, index: int) -> str:
        """Return the payload of an event."""
        return self.data[int(self.payload[index]) : int(self.end[index])].decode("utf-8", "replace").strip()

    def of(self, *names: str) -> Ints:
        """Return the indices of all events of these names, ascending."""
        wanted = np.array([name in names for name in self.names], bool)
        return np.flatnonzero(wanted[self.kind]) if len(self.names) else np.empty(0, np.int64)

    def numbers(self, index: Ints, prefix: bytes, end: Ints | None = None) -> tuple[Words, Ints]:
        """Read a hexadecimal field of many events.

        Args:
            index: the events.
            prefix: what stands before the digits; at most 8 bytes.
            end: offsets after the last digit; default the ends of the lines.

        Returns:
            The values, and the offsets of the prefixes.

        Raises:
            InputError: an event does not end in such a field.
        """
        buffer = np.frombuffer(self.data, np.uint8)
        stop = (self.end[index] if end is None else end).copy()
        value, count = np.zeros(len(index), np.uint64), np.zeros(len(index), np.int64)
        active = np.ones(len(index), bool)
        for place in range(17):
            nibble = _HEX[buffer[stop - 1 - place]]
            active &= nibble < 16
            if not active.any():
                break
            if place < 16:
                value |= np.where(active, nibble, 0).astype(np.uint64) << np.uint64(4 * place)
            count += active
        begin = stop - count - len(prefix)
        good = (count > 0) & (count <= 16)
        for place, byte in enumerate(prefix):
            good &= buffer[begin + place] == byte
        if not good.all():
            bad = int(index[int(np.flatnonzero(~good)[0])])
            raise InputError(
                self.at(bad),
                f"{self.names[int(self.kind[bad])]}: {self.text(bad)[:100]!r}",
                f"a field {prefix.decode().strip(') ')}… at its end",
                "the line is damaged, or the probe was defined otherwise",
            )
        return value, begin


def read_events(data: bytes, where: str, known: frozenset[str]) -> Events:
    """Read the text of a trace file.

    Args:
        data: the file.
        where: its name, for errors.
        known: names of the events that must not be lost to a line that cannot be read.

    Raises:
        InputError: the file is empty or cut, or a line holds an event of ``known`` but cannot be read.
    """
    if not data or data.isspace():
        raise InputError(where, "an empty file", "ftrace text", "record again, or give the whole recording")
    if not data.endswith(b"\n"):
        raise InputError(where, "a last line that does not end", "a whole trace file", "copy the recording again")
    buffer = np.frombuffer(data, np.uint8)
    chunks = range(0, len(data), _CHUNK)
    ends = np.concatenate([np.flatnonzero(buffer[i : i + _CHUNK] == ord("\n")) + i for i in chunks])
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1] + 1))
    comment = buffer[starts] == ord("#")
    header = b"\n".join(data[starts[i] : ends[i]] for i in np.flatnonzero(comment).tolist())
    line = np.flatnonzero(~comment)
    events = _by_column(data, where, starts[line], ends[line], line + 1)
    if found := _WRITTEN.search(header):
        events.lost["header"] = int(found[2]) - int(found[1])
        _expect_all(events, int(found[1]), where)
    _by_expression(events, starts, ends, known)
    if not len(events):
        raise InputError(where, "no event", "events", "the probes were not armed, or tracing was off; record again")
    events.time = np.maximum.accumulate(events.time)
    return events


def _expect_all(events: Events, written: int, where: str) -> None:
    if len(events) < written:
        raise InputError(
            where, f"{len(events)} lines for {written} events", "every event that the header counts",
            "the file was cut; copy the recording again",
        )  # fmt: skip


def _by_column(data: bytes, where: str, starts: Ints, ends: Ints, line: Ints) -> Events:
    """Read the lines that have the layout of the first event; the others get kind -1."""
    n = len(starts)
    buffer = np.frombuffer(data, np.uint8)
    none = np.zeros(n, np.int64)
    events = Events(where, data, line, none, none.copy(), none.copy(), none - 1, starts.copy(), ends, [])
    first = next(filter(None, (_LINE.match(data, int(starts[i]), int(ends[i])) for i in range(min(n, 100)))), None)
    if first is None:
        return events
    base = first.start()
    dot, name = first.end("secs") - base, first.start("name") - base
    flags, flags_end = first.start("flags") - base, first.end("flags") - base
    if first.start("pid") - base != _DASH + 1 or first.start("cpu") - base != _CPU + 1 or flags != _CPU + 6:
        return events
    # The last line may end before the 40 bytes that are looked at from the name on; it is read the other way.
    room = len(data) - name - 8 * _NAME_WORDS
    if room < 0:
        return events
    words: Words = np.ndarray((len(data) - 7,), np.dtype("<u8"), data, strides=(1,))
    good = (ends - starts > name) & (starts <= room)
    starts = np.minimum(starts, room)
    for column, byte in ((_DASH, "-"), (_CPU, "["), (_CPU + 4, "]"), (_CPU + 5, " "), (flags_end, " "), (dot, "."),
                         (name - 2, ":"), (name - 1, " ")):  # fmt: skip
        good &= buffer[starts + column] == ord(byte)
    events.time = np.zeros(n, np.int64)
    for column in (*range(flags_end + 1, dot), *range(dot + 1, name - 2)):
        byte = buffer[starts + column]
        digit = _DIGITS[byte]
        good &= (digit < 10) | ((byte == ord(" ")) & (column < dot - 1))
        events.time = events.time * 10 + np.where(digit < 10, digit, 0)
    events.time *= 10 ** (9 - (name - 3 - dot))
    events.pid, pid_good = _each_word(words[starts + _DASH + 1], _pid_of)
    context, context_good = _each_word(words[starts + _CPU + 1], _context_of)
    events.task = np.where((context >= 0) & (events.pid != 0), events.pid, -1 - np.abs(context))
    good &= pid_good & context_good
    _name_events(events, starts + name, words, good)
    return events


def _each_word(words: Words, read: _Reader) -> tuple[Ints, _Bools]:
    """Apply a function to every distinct 8-byte word."""
    distinct, inverse = np.unique(words, return_inverse=True)
    values = [read(int(word).to_bytes(8, "little")) for word in distinct]
    return (
        np.array([0 if v is None else v for v in values], np.int64)[inverse],
        np.array([v is not None for v in values], bool)[inverse],
    )


def _pid_of(word: bytes) -> int | None:
    """Read ``%-7d`` and the space after it."""
    digits = word.rstrip(b" ")
    return int(digits) if digits.isdigit() and len(digits) < 8 else None


def _context_of(word: bytes) -> int | None:
    """Read cpu and interrupt state from ``001] d.h``: >= 0 in task context; below that in an interrupt."""
    return _context(int(word[:3]), word[7:8]) if word[:3].isdigit() else None


def _context(cpu: int, interrupt: bytes) -> int:
    level = b".shHzZ".find(interrupt)
    return cpu * 8 if level <= 0 else -(cpu * 8 + level)


def _name_events(events: Events, name: Ints, words: Words, good: _Bools) -> None:
    """Set kind and payload of the good lines, by the 40 bytes from the name on."""
    rows = np.flatnonzero(good)
    name = name[rows]
    hashed = np.zeros(len(rows), np.uint64)
    for k in range(_NAME_WORDS):
        hashed = (hashed ^ words[name + 8 * k]) * np.uint64(_MIX[k])
        hashed ^= hashed >> np.uint64(29)
    _, where, inverse = np.unique(hashed, return_index=True, return_inverse=True)
    kinds, lengths = np.full(len(where), -1, np.int64), np.zeros(len(where), np.int64)
    numbers: dict[bytes, int] = {}
    for i, at in enumerate(name[where].tolist()):
        found = _NAME.match(events.data, at, at + 8 * _NAME_WORDS)
        if found:
            kinds[i] = numbers.setdefault(found[1], len(numbers))
            lengths[i] = found.end() - at
    events.kind[rows] = kinds[inverse]
    events.payload[rows] = np.minimum(name + lengths[inverse], events.end[rows])
    events.names = [n.decode() for n in numbers]


def _by_expression(events: Events, starts: Ints, ends: Ints, known: frozenset[str]) -> None:
    """Read the lines that have another layout; drop those that are no events."""
    alarm = re.compile(rb"(?:^|[ :])(" + b"|".join(sorted(re.escape(k.encode()) for k in known)) + rb")(?:__return)?: ")
    numbers = {name: i for i, name in enumerate(events.names)}
    for i in np.flatnonzero(events.kind < 0).tolist():
        at, end = int(starts[events.line[i] - 1]), int(ends[events.line[i] - 1])
        found = _LINE.fullmatch(events.data, at, end)
        if found is None:
            _no_event(events, i, events.data[at:end], alarm)
            continue
        name = found["name"].decode()
        events.kind[i] = numbers.setdefault(name, len(numbers))
        events.payload[i] = found.start("payload")
        events.time[i] = int(found["secs"]) * 10**9 + int(found["frac"].ljust(9, b"0"))
        events.pid[i] = int(found["pid"])
        context = _context(int(found["cpu"]), found["flags"][2:3])
        events.task[i] = events.pid[i] if context >= 0 and events.pid[i] else -1 - abs(context)
    events.names = list(numbers)
    keep = events.kind >= 0
    if not keep.all():
        for column in ("line", "time", "pid", "task", "kind", "payload", "end"):
            setattr(events, column, getattr(events, column)[keep])


def _no_event(events: Events, index: int, text: bytes, alarm: re.Pattern[bytes]) -> None:
    if lost := _LOST.search(text):
        events.lost["lines"] = events.lost.get("lines", 0) + int(lost[1])
        return
    if alarm.search(text):
        raise InputError(
            events.at(index), f"{text[:120].decode('utf-8', 'replace')!r}",
            "a line `TASK-PID [CPU] flags TIME: event: payload`", "the line is damaged; copy the recording again",
        )  # fmt: skip
    if text.strip():
        events.unused["line that is no event"] = events.unused.get("line that is no event", 0) + 1
