"""The engine itself: the contender that all others are held against."""

from __future__ import annotations

import inspect

from benchmarks.peers.case import Case
from benchmarks.peers.peer import Pass, Unavailable
from benchmarks.peers.verdicts import Counts, counts_of_tally
from replay.engine.replay import Replayer

__all__ = ("Engine", "EngineThreads")


class Engine:
    """``Replayer.feed`` over the batches.

    Args:
        keep: keep the outcome of every row (dropped after each batch), as a peer that writes a verdict for each does.
    """

    coarse = by_page = False

    def __init__(self, *, keep: bool = False) -> None:
        self.name = "engine-rows" if keep else "engine"
        self.about = "replay's engine, an outcome for every row" if keep else "replay's engine, counts only"
        self._options: dict[str, object] = {"keep": True} if keep else {}

    def refuses(self, workload: str) -> str | None:
        """Refuse nothing."""
        del workload
        return None

    def prepare(self, case: Case) -> Pass:
        """Return a pass: of a fresh engine, or of one that has been used if the rows leave it as it was."""
        return _EnginePass(case, case.start.replayer(self.name, fresh=not case.only_asks, **self._options))


class EngineThreads(Engine):
    """The engine with two threads, once it has them."""

    def __init__(self) -> None:
        super().__init__()
        self.name, self.about = "engine-2", "replay's engine, counts only, two threads"
        self._options = {"threads": 2}

    def prepare(self, case: Case) -> Pass:
        """Return a pass.

        Raises:
            Unavailable: the engine has no threads.
        """
        if "threads" not in inspect.signature(Replayer).parameters:
            raise Unavailable("this version of the engine has one thread")
        return super().prepare(case)


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
