"""One trace in shares: each is replayed by a task of its own, and their tallies added up."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from replay.engine.replay import Replayer
from replay.engine.tally import Tally
from replay.errors import InputError, TraceError, UsageError
from replay.fleet.borders import cut
from replay.fleet.places import Place, place_of
from replay.fleet.share import Share
from replay.fleet.tasks import Tell, run_tasks
from replay.kernel.profiles import Profile
from replay.session import Run, named
from replay.trace.reader import TraceFile

__all__ = ("run_sharded",)


def run_sharded(
    path: str | os.PathLike[str],
    profiles: Sequence[str | Profile | None] = (),
    *,
    shards: int,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Tell | None = None,
    open_loop: bool = False,
) -> Iterator[Run]:
    """Replay one trace through some kernels, each in ``shards`` parts that need not wait for each other.

    The trace is read once in front, to check it and to choose the borders.

    Args:
        path: the trace.
        profiles: kernels; none takes the one that the trace was recorded on.
        shards: parts, at least 1.
        workers: as for ``run_many``.
        scheduler: as for ``run_many``.
        progress: is told (done, in all), once the borders are chosen.
        open_loop: as for ``run``.

    Raises:
        TraceError: the trace is damaged.
        UsageError: unknown profile, or something crosses every border that could be chosen.
    """
    if shards < 1:
        raise UsageError(f"{shards} shards; give 1 or more")
    started = time.perf_counter()
    state = _state_of(os.fspath(path))  # taken first: a file that is replaced from here on is another one to the shares
    with TraceFile.open(path) as trace:
        kernels = [named(k or trace.machine.kernel) for k in profiles or (None,)]
        shares = cut(trace, shards)
        digest, events, lost = trace.digest, trace.rows, trace.provenance.lost_events
    tasks = [
        _Task(os.fspath(path), place_of(path, scheduler), digest, state, kernel, share, open_loop)
        for kernel in kernels
        for share in shares
    ]
    results = run_tasks(
        _replay, tasks, workers=workers, scheduler=scheduler, progress=progress, name=lambda task: task.trace
    )
    seconds = {"open": time.perf_counter() - started}
    for kernel in kernels:
        tally = Tally()
        for part in islice(results, shards):
            if isinstance(part, InputError):
                raise part
            tally.merge(part)
        now = time.perf_counter()
        seconds |= {"replay": now - started - seconds["open"], "total": now - started}
        yield Run(os.fspath(path), digest, kernel, "vector", events, tally, seconds, lost)
        started, seconds = time.perf_counter(), {"open": 0.0}


@dataclass(frozen=True)
class _Task:
    """One share through one kernel.

    Attributes:
        trace: path as given.
        place: where a worker finds it.
        digest: identity that the trace must have.
        state: of the file that was checked.
        kernel: profile.
        share: lookups to answer.
        open_loop: as for ``run``.
    """

    trace: str
    place: Place
    digest: str
    state: tuple[int, ...]
    kernel: Profile
    share: Share
    open_loop: bool


def _replay(task: _Task, tell: Tell) -> Tally:
    # The very file that was checked when the borders were chosen need not be checked by every share.
    path = task.place.here()
    verify = not task.state or _state_of(path) != task.state
    with TraceFile.open(path, verify=verify) as trace:
        if trace.digest != task.digest:
            raise TraceError(path, f"a trace with digest {trace.digest}", task.digest, "it changed meanwhile")
        replayer = Replayer(trace.machine, task.kernel, trace.strings, open_loop=task.open_loop, where=str(trace.path))
        for batch in trace.batches():
            replayer.feed(task.share.of(batch))
            tell(batch.row + len(batch), trace.rows)
        tally = replayer.finish()
    task.share.keep_own(tally)
    return tally


def _state_of(path: str) -> tuple[int, ...]:
    """Return what changes when a file is replaced or written; () if it cannot be seen."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
