"""Lines of text -> events, many at a time.

Tools pad the columns up to the payload, so nearly all lines of a file share a few layouts. A layout is read off one
line by the dialect's regular expression, then all lines that have it are taken apart by column, at once; what has no
such layout goes through the expression line by line. Both give the same events.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from replay.sources.importers.recording.ftrace import Bytes, Events, Ints
from replay.sources.importers.rejects import Rejects
from replay.sources.importers.streaming import Block

from .dialects import Dialect, canonical
from .functions import ACTION_EVENT, INLINED, RETURN

__all__ = ("LineReader",)

_Bools = npt.NDArray[np.bool_]
_Words = npt.NDArray[np.uint64]

_MANY = 256  # lines of one layout that are worth a look at all lines
_LAYOUTS = 8
_NAMES = 64  # event names that are searched for in all lines of a layout
_MAX_KINDS = 1 << 14  # event names that are told apart
_REACH = 160  # bytes of a line up to its payload, at most
_MOST_SECONDS = 1 << 33  # as nanoseconds they fit into 63 bits
_SPACE, _NEWLINE, _RETURN = 32, 10, 13
_NAME = re.compile(rb"[ ]{1,80}(?:\d{1,20}[ ]{1,8})?([\w.]{1,80}(?::[\w.]{1,120})?):(?=[ \n]|$)")
_DIGIT = np.full(256, 255, np.uint8)
_DIGIT[ord("0") : ord("9") + 1] = np.arange(10)
# The character for interrupts: none, soft, hard, both, NMI.
_LEVEL = np.zeros(256, np.int64)
for _level, _character in enumerate(b".shHzZ"):
    _LEVEL[_character] = _level


@dataclass(frozen=True)
class _Layout:
    """Columns of a line, from its start; ``literal`` are the bytes that a line of this layout has for sure."""

    literal: tuple[tuple[int, int], ...]
    pid: tuple[int, int]
    cpu: tuple[int, int] | None
    context: int | None
    seconds: tuple[int, int]
    fraction: tuple[int, int] | None
    name: int  # where the padding before the name begins


@dataclass
class LineReader:
    """Turns blocks of lines into events; remembers layouts and names from block to block.

    Args:
        dialect: of the text.
        functions: whose probes may have other names.
        rejects: takes lines that are no events.

    Attributes:
        lost: events that the tool says were lost, as far as it says how many.
        gaps: places at which it does not say how many.
        cuts: where events are missing in the last block, as the index of the event behind the gap; ascending.
        backward: events whose time had to be raised to that of an earlier line.
        header: lines about the trace as a whole.
        other: lines that are no events and are known not to be, by what they are.
    """

    dialect: Dialect
    functions: frozenset[str]
    rejects: Rejects
    lost: int = 0
    gaps: int = 0
    cuts: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    backward: int = 0
    other: dict[str, int] = field(default_factory=dict)
    header: list[bytes] = field(default_factory=list)
    _layouts: list[_Layout] = field(default_factory=list)
    _names: list[bytes] = field(default_factory=list)
    _time: int = 0
    _kinds: dict[bytes, int] = field(default_factory=dict)  # names of the block: index into its events' names
    _missing: list[int] = field(default_factory=list)  # lines of the last block that say that events are missing

    def read(self, block: Block, over: Sequence[tuple[int, bytes]] = ()) -> Events:
        """Return the events of a block, in the order of their lines; time never decreases from event to event.

        Args:
            block: the lines.
            over: number and text of lines of earlier blocks that are to be read again before these.
        """
        data = b"".join(text for _, text in over) + block.data
        # A margin of blanks lets every line be looked at as far as any layout reaches.
        buffer = np.frombuffer(data + b" " * (_REACH + 8), np.uint8)
        words: _Words = np.ndarray((len(buffer) - 7,), np.dtype("<u8"), buffer, strides=(1,))
        ends = np.flatnonzero(buffer[: len(data)] == _NEWLINE)
        starts = np.concatenate((np.zeros(1, np.int64), ends + 1))[: len(ends)]
        ends = ends - (buffer[ends - 1] == _RETURN) * (ends > starts)
        n = len(starts)
        zero = np.zeros(n, np.int64)
        line = np.concatenate(
            (np.array([number for number, _ in over], np.int64), block.line + np.arange(n - len(over)))
        )
        events = Events(
            self.rejects.source, data, line, zero, zero.copy(), zero.copy(), zero - 1, zero.copy(), ends, []
        )
        self._missing.clear()
        self._kinds.clear()
        left = np.arange(n)
        for layout in self._layouts:
            left = self._by_layout(events, layout, left, starts, buffer, words)
        tried = 0
        while len(left) > _MANY and tried < _LAYOUTS:
            tried += 1
            new = self._new_layout(data, left, starts, ends)
            if new is None:
                break
            before = len(left)
            left = self._by_layout(events, new, left, starts, buffer, words)
            if before - len(left) > _MANY and len(self._layouts) < _LAYOUTS:
                self._layouts.append(new)
        self._by_expression(events, left, starts)
        return self._finished(events, len(over))

    def _new_layout(self, data: bytes, left: Ints, starts: Ints, ends: Ints) -> _Layout | None:
        """Return the layout of one of the first lines that are left."""
        for i in left[:100].tolist():
            found = self.dialect.line.fullmatch(data, int(starts[i]), int(ends[i]))
            if found and (layout := _layout(found)) and layout not in self._layouts:
                return layout
        return None

    def _by_layout(
        self, events: Events, layout: _Layout, left: Ints, starts: Ints, buffer: Bytes, words: _Words
    ) -> Ints:
        """Read the lines that have a layout; return those that are still left."""
        if not len(left):
            return left
        at, good = starts[left], events.end[left] - starts[left] > layout.name
        for column, byte in layout.literal:
            good &= buffer[at + column] == byte
        pid = _number(buffer, at, layout.pid, good, 7)
        time = _number(buffer, at, layout.seconds, good, 15)
        if layout.fraction:
            first, last = layout.fraction
            good &= time < _MOST_SECONDS
            for column in range(first, last):
                digit = _DIGIT[buffer[at + column]]
                good &= digit < 10
                time = time * 10 + digit
            time *= 10 ** (9 - (last - first))
        cpu = _number(buffer, at, layout.cpu, good, 5) if layout.cpu else np.zeros(len(at), np.int64)
        level = _LEVEL[buffer[at + layout.context]] if layout.context is not None else np.zeros(len(at), np.int64)
        rows = np.flatnonzero(good)
        named = self._name_events(events, left[rows], at[rows] + layout.name, words)
        rows = rows[named]
        chosen = left[rows]
        events.time[chosen], events.pid[chosen] = time[rows], pid[rows]
        events.task[chosen] = _task(pid[rows], cpu[rows], level[rows])
        good[:] = True
        good[rows] = False
        return left[good]

    def _name_events(self, events: Events, lines: Ints, name: Ints, words: _Words) -> _Bools:
        """Set kind and payload of lines whose name begins at an offset; return which have a name that can be found."""
        named = np.zeros(len(lines), bool)
        known = iter(list(self._names))
        for _ in range(_NAMES):
            text = next(known, None)
            if text is None:
                rest = np.flatnonzero(~named)
                if not len(rest):
                    break
                found = _NAME.match(events.data, int(name[rest[0]]), int(events.end[lines[rest[0]]]))
                if found is None:
                    break  # whatever it is, the expression decides
                text = found[0]
                if text not in self._names and len(self._names) < _NAMES:
                    self._names.append(text)
            rest = np.flatnonzero(~named) if named.any() else np.arange(len(lines))
            rest = _equal(words, name, rest, text + b" ")
            events.kind[lines[rest]] = self._kind(events, text.strip(b" :"))
            events.payload[lines[rest]] = np.minimum(name[rest] + len(text), events.end[lines[rest]])
            named[rest] = True
        return named

    def _kind(self, events: Events, name: bytes) -> int:
        if name not in self._kinds:
            text = canonical(name.split(b" ")[-1].decode("ascii", "replace"), self.functions)
            used = text.removesuffix(RETURN) in self.functions or text in {ACTION_EVENT, INLINED}
            if len(self._kinds) >= _MAX_KINDS and not used:  # no tool has so many
                name, text = b"", "other events"
                if name in self._kinds:
                    return self._kinds[name]
            self._kinds[name] = len(events.names)
            events.names.append(text)
        return self._kinds[name]

    def _by_expression(self, events: Events, left: Ints, starts: Ints) -> None:
        for i in left.tolist():
            at, end = int(starts[i]), int(events.end[i])
            found = self.dialect.line.fullmatch(events.data, at, end)
            if found is None or (found["frac"] and int(found["secs"]) >= _MOST_SECONDS):
                self._no_event(i, int(events.line[i]), events.data[at:end])
                continue
            groups = found.groupdict()
            cpu, flags = groups["cpu"] or groups.get("cpu2"), groups.get("flags") or groups.get("flags2")
            level = int(_LEVEL[flags[2]]) if flags else 0
            pid = np.array([int(found["pid"])])
            events.kind[i] = self._kind(events, found["name"])
            events.payload[i] = found.start("payload")
            frac = found["frac"]
            events.time[i] = int(found["secs"]) * (10**9 if frac else 1) + int((frac or b"").ljust(9, b"0"))
            events.pid[i] = pid[0]
            events.task[i] = _task(pid, np.array([int(cpu or 0)]), np.array([level]))[0]

    def _no_event(self, index: int, line: int, text: bytes) -> None:
        if found := self.dialect.lost.fullmatch(text):
            self._missing.append(index)
            count = next((int(group) for group in found.groups() if group), 0)
            self.lost += count
            self.gaps += not count
        elif self.dialect.begin.fullmatch(text):
            self._missing.append(index)
        elif self.dialect.header.fullmatch(text):
            if len(self.header) < 100:
                self.header.append(text[:200])
        elif self.dialect.detail.fullmatch(text):
            if text.strip():
                self.other["line that belongs to an event"] = self.other.get("line that belongs to an event", 0) + 1
        else:
            self.rejects.add(line, f"no line of {self.dialect.name}", text)

    def _finished(self, events: Events, over: int) -> Events:
        """Drop the lines that are no events, and keep time from going backward."""
        keep = events.kind >= 0
        self.cuts = np.cumsum(keep, dtype=np.int64)[np.array(self._missing, np.int64)]
        if not keep.all():
            for column in ("line", "time", "pid", "task", "kind", "payload", "end"):
                setattr(events, column, getattr(events, column)[keep])
        if len(events):
            rising = np.maximum(np.maximum.accumulate(events.time), self._time)
            self.backward += int(np.count_nonzero(rising[over:] > events.time[over:]))
            events.time, self._time = rising, int(rising[-1])
        return events


def _layout(found: re.Match[bytes]) -> _Layout | None:
    """Return the layout of a line, or None where its columns do not tell it."""
    base = found.start()
    line = found.string[base : found.end()]
    if found["cpu"] is None or found.groupdict().get("flags2") or found.start("name") - base + 40 > _REACH:
        return None

    def span(group: str) -> tuple[int, int]:
        return found.start(group) - base, found.end(group) - base

    comm, pid, cpu, seconds = span("comm")[1], span("pid"), span("cpu"), span("secs")
    pid_end = line.find(b"(", pid[1], cpu[0]) if b"(" in line[pid[1] : cpu[0]] else cpu[0] - 1
    literal = [(comm, line[comm]), (cpu[0] - 1, ord("[")), (cpu[1], ord("]")), (cpu[1] + 1, _SPACE)]
    literal += [(column, line[column]) for column in range(pid[1], cpu[0]) if line[column] in b"()"]
    flags = span("flags") if found.groupdict().get("flags") else None
    before_time = flags[1] if flags else cpu[1] + 1
    if flags:
        if line.find(b"(", cpu[1], flags[0]) >= 0:
            return None  # a TGID behind the cpu: only kernels before v5.10 print it there
        literal += [(flags[1], _SPACE), (flags[0] - 1, _SPACE)]
    fraction = span("frac") if found["frac"] else None
    colon = (fraction or seconds)[1]
    literal += [(colon, ord(":")), (colon + 1, _SPACE), (pid_end - 1, _SPACE)]
    if fraction:
        literal.append((seconds[1], ord(".")))
    return _Layout(
        literal=tuple(literal), pid=(comm + 1, pid_end), cpu=cpu, context=flags[0] + 2 if flags else None,
        seconds=(before_time, seconds[1]), fraction=fraction, name=colon + 1,
    )  # fmt: skip


def _number(buffer: Bytes, at: Ints, columns: tuple[int, int], good: _Bools, most: int) -> Ints:
    """Read a decimal number with blanks on either side; clears ``good`` where there is none of up to ``most`` digits."""
    value = np.zeros(len(at), np.int64)
    count = np.zeros(len(at), np.int64)
    ended = np.zeros(len(at), bool)
    for column in range(*columns):
        byte = buffer[at + column]
        digit = _DIGIT[byte]
        is_digit = digit < 10
        good &= (is_digit & ~ended) | (byte == _SPACE)
        ended |= (count > 0) & ~is_digit
        count += is_digit
        value = np.where(is_digit, value * 10 + digit, value)
    good &= (count > 0) & (count <= most)
    return value


def _task(pid: Ints, cpu: Ints, level: Ints) -> Ints:
    """Return what nests calls: the pid, or a negative number for idle tasks and interrupts, one per cpu and level."""
    task: Ints = np.where((level == 0) & (pid != 0), pid, -1 - (cpu * 8 + level))
    return task


def _equal(words: _Words, at: Ints, which: Ints, text: bytes) -> Ints:
    """Return those of some rows at whose offset a text stands; a line may end where the text's last blank is."""
    body = text[:-1]
    for k in range(0, len(body), 8):
        part = body[k : k + 8]
        value = np.uint64(int.from_bytes(part, "little"))
        mask = np.uint64((1 << (8 * len(part))) - 1)
        which = which[(words[at[which] + k] & mask) == value]
    last = words[at[which] + len(body)] & np.uint64(0xFF)
    found: Ints = which[(last == _SPACE) | (last == _NEWLINE) | (last == _RETURN)]
    return found
