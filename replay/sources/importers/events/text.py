"""ftrace, trace-cmd and perf text -> a trace file, block by block."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from replay.errors import InputError
from replay.sources.importers.recording.ftrace import Events
from replay.sources.importers.recording.lookups import Lookups
from replay.sources.importers.recording.rows import Row
from replay.sources.importers.recording.table import build_table
from replay.sources.importers.rejects import Rejects
from replay.sources.importers.streaming import Block, blocks, source_name
from replay.trace.schema import EventKind

from .assembly import Assembly, ImportReport
from .calls import PoisonCalls
from .columns import LineReader
from .dialects import DIALECTS
from .functions import ACTION_EVENT, CALLS, CHANGES, FUNCTIONS, INLINED, LOOKUPS, RETURN
from .lookups import LookupReader
from .machine import MachineSource
from .page_types import PageTypes, layout_named
from .pagemap_calls import PAGEMAP_CALLS, PagemapCalls, PagemapIds

__all__ = ("EventOptions", "import_text", "import_text_blocks")

Progress = Callable[[int], None]
_FOLLOWED = (*CALLS, *LOOKUPS, *PAGEMAP_CALLS)
_USED = frozenset((ACTION_EVENT, INLINED, *_FOLLOWED, *(n + RETURN for n in _FOLLOWED)))
_MAX_KINDS = 1000  # unused events that are told apart
_WRITTEN = re.compile(rb"entries-in-buffer/entries-written:\s*(\d{1,18})/(\d{1,18})")
_RELEASE = re.compile(rb"# os release : (\S{1,64})")


@dataclass(frozen=True)
class EventOptions:
    """What all importers of events take.

    Attributes:
        machine: what the user says about the machine.
        layout: name of the layout that page type numbers in the input are by; None: the kernel's.
        strict: refuse input that cannot be used, and lost events.
        compression: of the trace: None, "lz4" or "zstd".
    """

    machine: MachineSource = field(default_factory=MachineSource)
    layout: str | None = None
    strict: bool = False
    compression: str | None = None

    def types(self, kernel: str) -> PageTypes:
        """Return a decoder of page types.

        Raises:
            UnknownNameError: there is no layout of that name.
        """
        return PageTypes(kernel, layout_named(self.layout) if self.layout else None)


def import_text(
    path: Path | str,
    output: str | os.PathLike[str],
    dialect: str,
    options: EventOptions,
    rejects: Rejects,
    progress: Progress | None = None,
) -> ImportReport:
    """Turn a file of event text into a trace.

    Args:
        path: the file, plain or compressed; ``-`` is standard input.
        output: the trace file.
        dialect: "ftrace" (trace, trace_pipe, trace-cmd report) or "perf" (perf script).
        options: see there.
        rejects: takes what is not used.
        progress: is told bytes of text that were read.

    Raises:
        InputError: the file cannot be read, or holds no event at all.
        UsageError: nobody says which kernel it is of, or the trace cannot be written.
    """
    return import_text_blocks(blocks(path, rejects), source_name(path), output, dialect, options, rejects, progress)


def import_text_blocks(
    pieces: Iterator[Block],
    name: str,
    output: str | os.PathLike[str],
    dialect: str,
    options: EventOptions,
    rejects: Rejects,
    progress: Progress | None = None,
    *,
    source: str = "",
    release: str = "",
) -> ImportReport:
    """Turn blocks of event text into a trace; see ``import_text``.

    Args:
        pieces: the text.
        name: of the input.
        output: the trace file.
        dialect: of the text.
        options: see there.
        rejects: takes what is not used.
        progress: is told bytes of text that were read.
        source: kind of the input, if it is not the dialect's name.
        release: uname -r, where it is known.
    """
    first = next(pieces, Block(b"", 1))
    release = release or _release(first.data)
    machine = options.machine.known()
    kernel = machine.kernel if machine else options.machine.kernel_of(release, name)
    types = options.types(kernel)
    work = _Work(source or dialect, name, dialect, options.machine, types, rejects)
    done = 0
    for block in _with_first(first, pieces):
        work.take(block)
        done += len(block.data)
        if progress:
            progress(done)
    return work.finish(output, kernel, release, strict=options.strict, compression=options.compression)


def _with_first(first: Block, rest: Iterator[Block]) -> Iterator[Block]:
    yield first
    yield from rest


def _release(data: bytes) -> str:
    """Return the kernel that the header of perf script names, or ""."""
    found = _RELEASE.search(data, 0, 1 << 16)
    return found[1].decode("ascii", "replace") if found else ""


class _Work:
    """One import on its way.

    Args:
        source: kind of the input.
        name: of the input.
        dialect: of the text.
        machine: what the user says about the machine.
        types: decodes page types.
        rejects: takes what is not used.
    """

    def __init__(
        self, source: str, name: str, dialect: str, machine: MachineSource, types: PageTypes, rejects: Rejects
    ) -> None:
        self._rejects, self._types = rejects, types
        self._assembly = Assembly(source, name, machine)
        self._lines = LineReader(DIALECTS[dialect], FUNCTIONS, rejects)
        unused = self._assembly.unused
        ids = PagemapIds(name)
        self._calls, self._lookups = PoisonCalls(types, rejects, unused), LookupReader(rejects, unused, ids)
        self._pagemaps = PagemapCalls(types.kernel, machine.page_shift(), ids, rejects, unused)
        self._over: list[tuple[int, bytes]] = []
        self._events = 0
        self._changed = 0

    def take(self, block: Block, *, last: bool = False) -> None:
        """Read a block."""
        events = self._lines.read(block, self._over)
        over = len(self._over)
        self._over = []
        if not len(events):
            return
        self._count(events, over)
        cuts = self._lines.cuts
        rows, changes = self._calls.read(events, cuts)
        rows += self._pagemaps.read(events, cuts)
        lookups, left = self._lookups.read(events, changes, cuts, last=last)
        self._assembly.memory.add(np.array(self._calls.pages, np.int64))
        self._assembly.seen.add(np.array(self._calls.valid, np.int64))
        self._calls.pages.clear()
        self._calls.valid.clear()
        self._over = [(int(events.line[i]), _line(events, i)) for i in left.tolist()]
        self._add(events, rows, lookups)

    def _count(self, events: Events, over: int) -> None:
        self._events += len(events) - over
        unused = self._assembly.unused
        for kind, count in enumerate(np.bincount(events.kind, minlength=len(events.names)).tolist()):
            name = events.names[kind]
            if name not in _USED and count:
                self._changed += count if name.removesuffix(RETURN) in CHANGES else 0
                unused[name if name in unused or len(unused) < _MAX_KINDS else "other events"] += count

    def _add(self, events: Events, rows: list[Row], lookups: Lookups) -> None:
        if rows or len(lookups):
            is_page = (lookups.ret == 1) & np.isin(lookups.kind, (EventKind.PFN_TO_ONLINE_PAGE, EventKind.PFN_VALID))
            self._assembly.seen.add(lookups.pfn[is_page])
            self._assembly.add(build_table(events, rows, lookups))

    def finish(
        self, output: str | os.PathLike[str], kernel: str, release: str, *, strict: bool, compression: str | None
    ) -> ImportReport:
        """Read what was left over, and write the trace."""
        self.take(Block(b"", 0), last=True)
        self._calls.finish()
        self._pagemaps.finish()
        assembly, lines = self._assembly, self._lines
        lost = lines.lost + self._missing()
        if not self._events:
            rejected = "; ".join(self._rejects.summary())
            raise InputError(assembly.name, f"no event{rejected and f' ({rejected})'}",
                             f"{lines.dialect.name} text with events", "give what the tool itself prints")  # fmt: skip
        if strict and (lost or lines.gaps):
            raise InputError(
                assembly.name, f"{lost} lost events and {lines.gaps} more gaps", "none, because of --strict"
            )
        assembly.unused.update(lines.other)
        self._note()
        drop = set() if self._lookups.pagemaps else {"recorded_slow"}
        return assembly.finish(
            output, self._types, self._rejects, kernel=kernel, release=release, lost=lost or lines.gaps,
            patches=self._calls.patches, drop=frozenset(drop), no_actions=not self._calls.actions,
            compression=compression,
        )  # fmt: skip

    def _missing(self) -> int:
        """Return how many events the header of the ring buffer counts beyond those that it holds."""
        found = next(filter(None, map(_WRITTEN.search, self._lines.header)), None)
        if found is None:
            return 0
        held, written = int(found[1]), int(found[2])
        if self._events < held:
            self._assembly.notes.append(
                f"the header counts {held:,} events, the text holds {self._events:,}: it was cut"
            )
        return max(written - min(held, self._events), 0)

    def _note(self) -> None:
        notes, lines = self._assembly.notes, self._lines
        if lines.gaps:
            notes.append(f"events were lost in {lines.gaps:,} places, and the input does not say how many")
        if lines.backward:
            notes.append(
                f"{lines.backward:,} events have a time before that of an earlier line; they got the later one"
            )
        changed = self._changed + self._pagemaps.not_followed
        if changed:
            parts = " (some may be parts of calls that were)" if self._pagemaps.followed else ""
            notes.append(
                f"{changed:,} events of functions that add, remove, online, offline or remap memory were not followed"
                f"{parts}: a replay keeps the machine as it was; `replay import recording` follows such changes"
            )


def _line(events: Events, index: int) -> bytes:
    """Return the whole line of an event, with its end."""
    start = events.data.rfind(b"\n", 0, int(events.payload[index])) + 1
    end = events.data.find(b"\n", int(events.payload[index]))
    return events.data[start:] + b"\n" if end < 0 else events.data[start : end + 1]
