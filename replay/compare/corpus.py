"""Two kernels over many traces, here, in worker processes or on a cluster; and what that costs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from replay.compare.kernels import Comparison, compare_trace
from replay.compare.timing import Timing, measure
from replay.engine.replay import replay_trace
from replay.errors import InputError
from replay.fleet.places import Place, place_of
from replay.fleet.tasks import Tell, run_tasks
from replay.kernel.profiles import Profile
from replay.session import named
from replay.trace.reader import TraceFile

__all__ = ("compare_many", "time_traces")


@dataclass(frozen=True)
class _Task:
    trace: str
    place: Place
    baseline: str | Profile
    candidate: str | Profile
    open_loop: bool


def compare_many(
    traces: Sequence[str],
    baseline: str | Profile,
    candidate: str | Profile,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Tell | None = None,
    open_loop: bool = False,
) -> Iterator[Comparison | InputError]:
    """Yield one comparison, or the error of that trace, for each trace, in their order.

    Args:
        traces: paths.
        baseline: kernel, or its name; the name of a candidate is its file.
        candidate: the other kernel.
        workers: processes.
        scheduler: address of a Dask scheduler.
        progress: is told (done, in all).
        open_loop: tasks do not die of signals.

    Raises:
        UsageError: an unknown kernel, or one that cannot replay a trace's machine.
    """
    tasks = [_Task(trace, place_of(trace, scheduler), baseline, candidate, open_loop) for trace in traces]
    return run_tasks(_compare, tasks, workers=workers, scheduler=scheduler, progress=progress, name=lambda t: t.trace)


def _compare(task: _Task, tell: Tell) -> Comparison:
    with TraceFile.open(task.place.here()) as trace:
        found = compare_trace(
            trace, named(task.baseline), named(task.candidate), open_loop=task.open_loop, progress=tell
        )
    return replace(found, trace=task.trace)


def time_traces(
    traces: Sequence[str | os.PathLike[str]],
    baseline: Profile,
    candidate: Profile,
    *,
    pairs: int,
    progress: Tell | None = None,
) -> Timing:
    """Measure how long each kernel takes to replay all of these traces, by turns; the files are opened before."""
    with ExitStack() as stack:
        opened = [stack.enter_context(TraceFile.open(path)) for path in traces]

        def through(kernel: Profile) -> None:
            for trace in opened:
                replay_trace(trace, kernel)

        return measure(lambda: through(baseline), lambda: through(candidate), pairs=pairs, progress=progress)
