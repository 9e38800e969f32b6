"""The lookups of a trace, with the machine following its transitions as the replayed kernel makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from replay.compare.native.layout import CHUNK, FUNCTION_OF, Function, Target
from replay.compare.native.pieces import KINDS, Oracle, Piece
from replay.engine.poison_rows import IS_POISON
from replay.engine.replay import Replayer
from replay.errors import InputError
from replay.kernel.profiles import Profile
from replay.machine.geometry import Geometry
from replay.trace.batch import Batch
from replay.trace.reader import TraceFile
from replay.trace.schema import TRANSITIONS

__all__ = ("MAX_LOOKUPS", "TraceLookups")

MAX_LOOKUPS = 1 << 34  # of one stretch; each is a call, so more would take minutes

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

_MOVES = np.isin(np.arange(256), list(TRANSITIONS))
# Poison changes nothing that lookups look at, but some kernels refuse to take poisoned memory off.
_FOLLOWED = _MOVES | IS_POISON


class TraceLookups:
    """The lookups of one trace.

    Rows are asked in the state that the machine has at the row, windows or not.

    Args:
        trace: an open trace.
        profile: the kernel that carries out the transitions, and whose tables say what is right.
        progress: is told (rows done, rows in all).

    Raises:
        UsageError: the profile cannot replay this machine.
    """

    def __init__(self, trace: TraceFile, profile: Profile, progress: Callable[[int, int], None] | None = None) -> None:
        self.name = str(trace.path)
        self.absent = 0
        self._trace, self._profile, self._progress = trace, profile, progress
        self._replayer = self._started()
        geometry = Geometry.of(trace.machine)
        self.target = Target.of(geometry, self._replayer.kernel.config, profile.features)

    def _started(self) -> Replayer:
        return Replayer(self._trace.machine, self._profile, self._trace.strings, compiled=False, where=self.name)

    def pieces(self, functions: frozenset[Function]) -> Iterator[Piece]:
        """Yield the lookups of these functions, stretch by stretch.

        Raises:
            TraceError: the trace is damaged.
            InputError: a stretch has more lookups than can be called one by one.
        """
        self.absent = 0
        replayer = self._replayer = self._started()
        oracle = Oracle(replayer.machine, replayer.index, replayer.kernel)
        wanted = np.zeros(256, np.bool_)
        wanted[[KINDS[f] for f in functions]] = True
        for batch in self._trace.batches():
            kinds = np.asarray(batch.column("kind"), np.uint8)
            followed = np.flatnonzero(_FOLLOWED[kinds])
            at = 0
            for row in [*np.flatnonzero(_MOVES[kinds]).tolist(), len(batch)]:
                rows = np.flatnonzero(wanted[kinds[at:row]]) + at
                if rows.size:
                    low, high = np.searchsorted(followed, [0, at])
                    self._follow(batch, followed[low:high])
                    followed = followed[high:]
                    yield from self._asked(oracle, batch, kinds, rows)
                at = row
            self._follow(batch, followed)
            if self._progress is not None:
                self._progress(batch.row + len(batch), self._trace.rows)

    def _follow(self, batch: Batch, rows: I64) -> None:
        """Let the machine take rows of transitions and poison."""
        if rows.size:
            self._replayer.feed(batch.chosen(rows))
            _ = self._replayer.index  # brings it up to date

    def _asked(self, oracle: Oracle, batch: Batch, kinds: NDArray[np.uint8], rows: I64) -> Iterator[Piece]:
        """Yield the lookups of some rows, between which the machine does not change."""
        for kind in np.unique(kinds[rows]).tolist():
            function = FUNCTION_OF[kind]
            here = rows[kinds[rows] == kind]
            for row, pfns in _expanded(batch, here, self.name):
                pagemaps = None
                if function is Function.PGMAP_PFN_VALID:
                    if not oracle.knows_metadata:
                        self.absent += pfns.size
                        continue
                    pagemaps = batch.column("pgmap")[row].astype(np.uint64)
                yield oracle.piece(function, row + batch.row, pfns, pagemaps)


def _expanded(batch: Batch, rows: I64, where: str) -> Iterator[tuple[I64, U64]]:
    """Yield (row of each pfn, pfns) of runs, at most CHUNK pfns at a time."""
    pfn = np.asarray(batch.column("pfn")[rows], np.uint64)
    if batch.given("nr_pages") is False:
        for low in range(0, rows.size, CHUNK):
            yield rows[low : low + CHUNK], pfn[low : low + CHUNK]
        return
    pages = np.asarray(batch.column("nr_pages")[rows], np.uint64)
    stride = batch.column("stride")[rows].astype(np.int64).view(np.uint64)  # negative ones wrap, as they should
    if float(pages.sum(dtype=np.float64)) > MAX_LOOKUPS:
        most = int(np.argmax(pages))
        found = f"runs of {float(pages.sum(dtype=np.float64)):.3g} lookups from row {batch.row + int(rows[0])} on"
        hint = f"the longest, of {int(pages[most])}, is row {batch.row + int(rows[most])}"
        raise InputError(where, found, f"at most {MAX_LOOKUPS}: a candidate in C is called for each", hint)
    ends = np.cumsum(pages.astype(np.int64))
    starts = ends - pages.astype(np.int64)
    for low in range(0, int(ends[-1]), CHUNK):
        high = min(low + CHUNK, int(ends[-1]))
        first, last = np.searchsorted(ends, low, "right"), np.searchsorted(ends, high, "left") + 1
        lengths = np.minimum(ends[first:last], high) - np.maximum(starts[first:last], low)
        run = np.repeat(np.arange(first, last), lengths)
        within = (np.arange(low, high) - starts[run]).astype(np.uint64)
        yield rows[run], pfn[run] + within * stride[run]
