"""The engine: rows in memory, replayed. Time per event and peak memory, per workload and kernel."""

from __future__ import annotations

from typing import Any

from .common import (
    NAMES,
    PROFILES,
    Measured,
    Timed,
    batches,
    chunk_rows,
    kept_replayer,
    needed,
    per_event_timer,
    replayer,
    size,
    workload,
)


class Replay(Timed):
    """``Replayer.feed`` and ``finish`` over rows that are in memory already; the rows in front are not timed."""

    params = (PROFILES, NAMES)
    param_names = ("profile", "workload")

    def setup(self, profile: str, name: str) -> None:
        self.size = size(name)
        self.batches = batches(name, self.size.rows)
        self.engine = (replayer if self.size.changes else kept_replayer)(name, profile)
        self.before = self.engine.tally.events
        self.tally: Any = None
        self.timer = per_event_timer(self.size.events)

    def time_per_event(self, profile: str, name: str) -> None:
        for _ in range(self.size.passes):
            for batch in self.batches:
                self.engine.feed(batch)
        self.tally = self.engine.finish()

    def teardown(self, profile: str, name: str) -> None:
        """A replay that did not take every row was not worth timing."""
        if getattr(self, "tally", None) is not None:
            replayed = self.tally.events - self.before
            if replayed != self.size.events:
                raise AssertionError(f"{name}: {replayed} rows were replayed, not {self.size.events}")


class ReplayMemory(Measured):
    """Peak memory of the process, chunks made as they are replayed: state and temporaries, not the input.

    One kernel: memory goes by the machine and the rows, not by the rules.
    """

    params = (NAMES,)
    param_names = ("workload",)

    def setup(self, name: str) -> None:
        needed("replay.engine.replay", "Replayer")
        workload(name)

    def peakmem_replay(self, name: str) -> None:
        rows = size(name).rows
        engine = replayer(name, "v6.1")
        before = engine.tally.events
        for batch in workload(name).batches(rows, chunk_rows=chunk_rows(rows)):
            engine.feed(batch)
        if engine.finish().events - before != rows:
            raise AssertionError(f"{name}: not every row was replayed")


class Build(Timed):
    """Everything before the first row: booting the machine and evaluating the decision tables."""

    params = (PROFILES,)
    param_names = ("profile",)

    def setup(self, profile: str) -> None:
        replayer("random", profile)  # imports, caches: once per process

    def time_replayer(self, profile: str) -> None:
        replayer("random", profile)
