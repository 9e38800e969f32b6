"""What the benchmarks share: kernels, sizes, and time per event.

Nothing of ``replay`` is imported before ``setup`` runs, so that the suite can be listed with any commit installed; a commit
that lacks what a benchmark needs is skipped there, not failed.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

PROFILES = ("v4.18", "v5.10", "v6.1", "v7.2")

MAX_ROWS = "REPLAY_BENCH_MAX_ROWS"  # environment variable: no benchmark has more rows (for smoke runs)
SMOKE = bool(int(os.environ.get(MAX_ROWS, "0")))  # nothing is timed: each benchmark is to run once, and soon


@dataclass(frozen=True)
class Size:
    """How much of a workload is replayed.

    Attributes:
        rows: rows kept in memory.
        passes: how often they are replayed; more than once only where no row changes the machine.
        changes: some rows change the machine, so that every sample needs a new one.
    """

    rows: int
    passes: int = 1
    changes: bool = False

    @property
    def events(self) -> int:
        """Rows replayed."""
        return self.rows * self.passes


_MI = 1 << 20
# One table for all: >= 100 ms and < 2 s per benchmark, with an engine that takes 1 to 20 ns for a lookup, 20 to 200 ns
# for a row that changes the machine or breaks a page. Shorter is noise, longer wastes the night. Tune here.
SIZES = {
    "random": Size(4 * _MI, 8),
    "sequential": Size(4 * _MI, 8),
    "runs-1e3": Size(_MI, 4),
    "runs-1e6": Size(_MI, 4),
    "runs-1e9": Size(_MI, 4),
    "mixed-1": Size(4 * _MI, changes=True),
    "mixed-10": Size(2 * _MI, changes=True),
    "pagemaps": Size(_MI // 8, changes=True),
    "storm": Size(2 * _MI, changes=True),
    "hot": Size(2 * _MI, changes=True),
    "production": Size(4 * _MI, changes=True),
}
NAMES = tuple(SIZES)


def size(name: str) -> Size:
    """Return the size of a workload, cut down if the environment says so."""
    wanted, limit = SIZES[name], int(os.environ.get(MAX_ROWS, "0"))
    return replace(wanted, rows=min(wanted.rows, limit), passes=1) if limit else wanted


def needed(module: str, name: str) -> Any:
    """Return a name of the package under test; the benchmark is skipped where a commit does not have it."""
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise NotImplementedError(f"this commit has no {module}.{name} ({error})") from error


def workload(name: str) -> Any:
    """Return a workload; one that this commit cannot describe is skipped."""
    return needed("benchmarks.workloads", "WORKLOADS")[name]


def chunk_rows(rows: int) -> int:
    """Return the chunk size for so many rows; small runs make no more than they need."""
    return min(rows, needed("benchmarks.workloads", "CHUNK_ROWS"))


@cache
def batches(name: str, rows: int) -> tuple[Any, ...]:
    """Return rows of a workload, made once per process, every page of them read once."""
    made = tuple(workload(name).batches(rows, chunk_rows=chunk_rows(rows)))
    for batch in made:
        for column in ("time", "kind", "pfn", "nr_pages", "flags", "pgmap"):
            batch.column(column).sum()
    return made


def replayer(name: str, kernel: str) -> Any:
    """Return a kernel on the workload's machine, with the rows in front replayed."""
    chosen = needed("replay.kernel.profiles", "profile")(kernel)
    engine = needed("replay.engine.replay", "Replayer")(workload(name).machine, chosen)
    engine.feed(workload(name).setup())
    return engine


kept_replayer = cache(
    replayer
)  # for rows that change nothing: booting a large machine takes longer than replaying them


def per_event_timer(events: int) -> Callable[[], float]:
    """Return a clock that runs slower by the number of events: asv then reports seconds per event."""

    def clock() -> float:
        return time.perf_counter() / events

    return clock


class Measured:
    """Attributes of every benchmark.

    ``version`` is set by hand: asv would otherwise take a hash of the source, and an edited comment would end the history.
    Raise it when what is measured changes.
    """

    version = "1"
    timeout = 300.0


class Timed(Measured):
    """Attributes of what is timed.

    Four rounds (processes) of two or three samples, so 8 at least: fewer than 6 cannot be significant at p < 0.002.
    """

    rounds = 4
    repeat = (2, 3, 3.0)
    number = 1
    warmup_time = 0.1


if SMOKE:
    for _module in ("benchmarks.workloads", "replay.session"):
        importlib.import_module(_module)
