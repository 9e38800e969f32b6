"""Whole batches of nothing but lookups, side by side: none of them changes the machine, so they need no order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from replay.engine.gather import Scratch
from replay.engine.lookups import LookupEngine, replay_lookups
from replay.engine.rows import ColumnSource
from replay.engine.tally import Tally
from replay.engine.threads import Threads

__all__ = ("SideBySide",)


@dataclass
class _Desk:
    """What a thread works with, alone."""

    scratch: Scratch = field(default_factory=Scratch)
    tally: Tally = field(default_factory=Tally)


class SideBySide:
    """Counts lookups in threads. Nothing but counts comes of it: outcomes of rows and observers need one after the other.

    A batch is handed over as a whole: to share out its parts costs more than working on one of them.

    Args:
        threads: how many.
        tally: where the counts go, once ``wait`` was called.
    """

    def __init__(self, threads: int, tally: Tally) -> None:
        self._threads, self._tally = Threads(threads), tally
        self._desks = [_Desk() for _ in range(threads)]
        self._free: SimpleQueue[_Desk] = SimpleQueue()
        for desk in self._desks:
            self._free.put(desk)

    def start(self, batch: ColumnSource, kinds: NDArray[np.uint8], engines: Mapping[int, LookupEngine]) -> None:
        """Count the lookups of a batch soon; the machine must stay as it is until ``wait`` has been called.

        Args:
            batch: its rows are lookups.
            kinds: of its rows.
            engines: for each kind that occurs, in step with the machine.
        """
        for engine in engines.values():
            engine.prepare()
        self._threads.start(partial(self._work, batch, kinds, engines))

    def _work(self, batch: ColumnSource, kinds: NDArray[np.uint8], engines: Mapping[int, LookupEngine]) -> None:
        desk = self._free.get()
        try:
            own = {kind: engine.beside(desk.tally, desk.scratch) for kind, engine in engines.items()}
            replay_lookups(batch, kinds, 0, list(own), own.__getitem__)
        finally:
            self._free.put(desk)

    def wait(self) -> None:
        """Wait until all lookups are counted; raise the first error, if there was one."""
        self._threads.wait()
        for desk in self._desks:
            self._tally.merge(desk.tally)
            desk.tally = Tally()

    def close(self) -> None:
        """Let the threads end."""
        self._threads.close()
