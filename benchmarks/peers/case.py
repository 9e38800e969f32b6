"""A case: rows of one workload as columns in memory, the memory they start from, and what the engine says of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.memory import Memory
from benchmarks.peers.verdicts import Counts, counts_of_tally
from benchmarks.workloads import CHUNK_ROWS, Workload
from replay.engine.replay import Replayer
from replay.kernel.profiles import Profile, profile
from replay.trace.batch import Batch
from replay.trace.schema import EventKind

__all__ = ("Case", "Start")

COLUMNS = ("kind", "pfn", "nr_pages", "flags", "pgmap")  # what deciding these workloads needs; not the times
_READ_ONLY = (EventKind.PFN_TO_ONLINE_PAGE,)


@dataclass(frozen=True)
class Start:
    """Where a workload starts.

    Attributes:
        workload: the workload.
        setup: its rows in front.
        profile: the kernel.
        memory: the memory after the rows in front.
        chunk_rows: rows of a batch.
        used: engines by who uses them, for rows that leave them as they were (the largest memory takes seconds to set up).
    """

    workload: Workload
    setup: Batch
    profile: Profile
    memory: Memory
    chunk_rows: int
    used: dict[str, Replayer] = field(default_factory=dict)

    @classmethod
    def of(cls, workload: Workload, *, chunk_rows: int = CHUNK_ROWS) -> Start:
        """Return the start of a workload."""
        setup, kernel = workload.setup(), profile(workload.machine.kernel)
        replayer = Replayer(workload.machine, kernel)
        replayer.feed(setup)
        return cls(workload, setup, kernel, Memory.of(replayer.machine, setup), chunk_rows)

    def of_another(self, workload: Workload) -> Start:
        """Return the start of a workload; this one with its engines if both start from the same memory."""
        same = (workload.machine, workload.prologue) == (self.workload.machine, self.workload.prologue)
        return replace(self, workload=workload) if same else Start.of(workload, chunk_rows=self.chunk_rows)

    def replayer(self, user: str, *, fresh: bool, **options: object) -> Replayer:
        """Return an engine that has seen the rows in front; a ``fresh`` one has seen no others."""
        if not fresh and user in self.used:
            return self.used[user]
        replayer = Replayer(self.workload.machine, self.profile, **options)  # type: ignore[arg-type]
        replayer.feed(self.setup)
        if not fresh:
            self.used[user] = replayer
        return replayer

    def case(self, rows: int) -> Case:
        """Return the first rows of the workload."""
        return Case(self, rows, tuple(self.workload.batches(rows, chunk_rows=self.chunk_rows)))


@dataclass(frozen=True)
class Case:
    """Rows to replay.

    Attributes:
        start: where they start.
        rows: how many there are.
        batches: the rows.
    """

    start: Start
    rows: int
    batches: tuple[Batch, ...]

    @property
    def workload(self) -> Workload:
        """The workload."""
        return self.start.workload

    @cached_property
    def columns(self) -> tuple[dict[str, NDArray[np.generic]], ...]:
        """The stored columns that decide, batch by batch, by name; null is 0."""
        return tuple({n: b.column(n) for n in COLUMNS if n in b.stored_names} for b in self.batches)

    @cached_property
    def pages(self) -> int:
        """Pfns looked up."""
        return sum(int(count[kind == EventKind.PFN_TO_ONLINE_PAGE].sum()) for kind, count in self._kind_and_count())

    @cached_property
    def kinds(self) -> frozenset[EventKind]:
        """The kinds of the rows."""
        return frozenset(EventKind(kind) for c in self.columns for kind in np.unique(c["kind"]).tolist())

    @cached_property
    def only_asks(self) -> bool:
        """Whether no row changes the machine."""
        return self.kinds <= set(_READ_ONLY)

    @cached_property
    def only_singles(self) -> bool:
        """Whether every row looks up one pfn."""
        return self.only_asks and self.pages == self.rows

    @cached_property
    def expected(self) -> Counts:
        """What the engine says, rows in front not counted."""
        replayer = self.start.replayer("expected", fresh=not self.only_asks)
        before = counts_of_tally(replayer.tally)
        for batch in self.batches:
            replayer.feed(batch)
        return counts_of_tally(replayer.finish()) - before

    def joined(self, name: str) -> NDArray[np.generic]:
        """Return a column of all rows as one array."""
        return np.concatenate([c[name] for c in self.columns])

    def _kind_and_count(self) -> Iterator[tuple[NDArray[np.generic], NDArray[np.generic]]]:
        for c in self.columns:
            yield c["kind"], c.get("nr_pages", np.ones(c["kind"].size, np.uint64))
