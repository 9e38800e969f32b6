"""The engine itself: the contender that all others are held against."""

from __future__ import annotations

import importlib.util

from benchmarks.peers.case import Case
from benchmarks.peers.peer import Pass, Unavailable
from benchmarks.peers.verdicts import Counts, counts_of_tally
from replay.engine.replay import Replayer

__all__ = ("Engine",)


class Engine:
    """``Replayer.feed`` over the batches.

    Args:
        keep: keep the outcome of every row (dropped after each batch), as a peer that writes a verdict for each does.
        compiled: count in compiled loops.
        threads: how many.
    """

    coarse = by_page = False

    def __init__(self, *, keep: bool = False, compiled: bool = True, threads: int = 1) -> None:
        self.name = "engine-rows" if keep else "engine-arrays" if not compiled else "engine"
        self.about = "replay's engine, an outcome for every row" if keep else "replay's engine, counts only"
        if not compiled:
            self.about += ", without compiled loops"
        if threads > 1:
            self.name, self.about = f"{self.name}-{threads}", f"{self.about}, {threads} threads"
        self._options: dict[str, object] = {"keep": keep, "compiled": compiled, "threads": threads}

    def refuses(self, workload: str) -> str | None:
        """Refuse nothing."""
        del workload
        return None

    def prepare(self, case: Case) -> Pass:
        """Return a pass: of a fresh engine, or of one that has been used if the rows leave it as it was.

        Raises:
            Unavailable: no numba.
        """
        if self._options["compiled"] and importlib.util.find_spec("numba") is None:
            raise Unavailable("numba is not installed")
        return _EnginePass(case, case.start.replayer(self.name, fresh=not case.only_asks, **self._options))


class _EnginePass:
    seconds = None

    def __init__(self, case: Case, replayer: Replayer) -> None:
        self._batches, self._replayer = case.batches, replayer
        self._before = counts_of_tally(replayer.tally)

    def run(self) -> None:
        replayer = self._replayer
        for batch in self._batches:
            replayer.feed(batch)
            for _ in replayer.finished():
                pass
        replayer.finish()  # rows that are decided together may still be waiting
        for _ in replayer.finished():
            pass

    def counts(self) -> Counts:
        return counts_of_tally(self._replayer.tally) - self._before
