"""The same function over many arguments: here, in worker processes, or on a Dask cluster; answers in the order asked.

    for answer in run_tasks(function, arguments, workers=2): ...

A function is called as ``function(argument, tell)``. Where workers are processes, function, arguments and answers are
pickled between processes of this package; nothing is ever unpickled from a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from replay.errors import InputError, UsageError, WorkerError

__all__ = ("TRIES", "UNKNOWN", "Answer", "Function", "Reply", "Tell", "cores", "lost", "reply_of", "run_tasks")

TRIES = 3  # workers that a task may lose before it is given up
UNKNOWN = -1  # number of a task that a worker could not even read

A = TypeVar("A")
R = TypeVar("R")

Tell: TypeAlias = Callable[[int, int], None]  # (done, in all)
Function: TypeAlias = Callable[[A, Tell], R]
Answer: TypeAlias = R | InputError

_PARTS = 1000  # of a task, in which progress is told


@dataclass(frozen=True)
class Reply(Generic[R]):
    """What became of one task.

    Attributes:
        number: of the task.
        answer: what the function returned, or the error that concerns this task alone.
        error: anything else that was raised; it ends the whole.
    """

    number: int
    answer: Answer[R] | None = None
    error: BaseException | None = None


def run_tasks(
    function: Function[A, R],
    arguments: Sequence[A],
    *,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Tell | None = None,
    name: Callable[[A], str] = str,
) -> Generator[Answer[R], None, None]:
    """Yield one answer for each argument, in their order, whoever is done first.

    An ``InputError`` is the answer of that task. Every other error is raised when the turn of its task comes, and what
    has not been done by then is dropped. A task whose worker is lost (killed, out of memory) is given to another one,
    ``TRIES`` times in all; then its answer is a ``WorkerError``.

    Args:
        function: of a module that workers can import.
        arguments: one per task.
        workers: processes; with 1 (or a single task) everything is done in this one; 0 for as many as there are cores.
        scheduler: address of a Dask scheduler whose workers are used instead.
        progress: is told (done, in all) over all tasks.
        name: what to call a task in errors.

    Raises:
        UsageError: no such number of workers, or no such scheduler.
    """
    if workers < 0:
        raise UsageError(f"{workers} workers; give 1 or more, or 0 for one per core")
    if scheduler is not None and workers != 1:
        raise UsageError("workers are local processes, and a scheduler has workers of its own; give one of them")
    workers = min(workers or cores(), len(arguments))
    gauge = _Gauge(len(arguments), progress)
    replies: Generator[Reply[R], None, None]
    if scheduler is not None:
        from replay.fleet.cluster import replies_of_cluster  # noqa: PLC0415 - an extra that need not be installed

        replies = replies_of_cluster(function, arguments, scheduler, gauge.tell, name)
    elif workers > 1:
        from replay.fleet.processes import replies_of_processes  # noqa: PLC0415 - only when asked for

        replies = replies_of_processes(function, arguments, workers, gauge.tell, name)
    else:
        replies = (reply_of(function, number, a, gauge.of(number)) for number, a in enumerate(arguments))
    return _in_order(replies, gauge)


def reply_of(function: Function[A, R], number: int, argument: A, tell: Tell) -> Reply[R]:
    """Return what a function makes of an argument."""
    try:
        return Reply(number, function(argument, tell))
    except InputError as error:
        return Reply(number, error)
    except Exception as error:
        return Reply(number, error=error)


def lost(where: str, times: int, how: str) -> WorkerError:
    """Return the answer of a task that no worker survives."""
    return WorkerError(
        where,
        f"{times} workers lost one after the other while they replayed it ({how})",
        "one that comes to its end",
        "if memory is short, fewer workers at a time may help",
    )


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def _in_order(replies: Generator[Reply[R], None, None], gauge: _Gauge) -> Generator[Answer[R], None, None]:
    waiting: dict[int, Reply[R]] = {}
    turn = 0
    with closing(replies):  # an error, or nobody who wants more, ends the workers at once
        for reply in replies:
            if reply.number == UNKNOWN and reply.error is not None:
                raise reply.error
            gauge.tell(reply.number, 1, 1)
            waiting[reply.number] = reply
            while turn in waiting:
                following = waiting.pop(turn)
                if following.error is not None:
                    raise following.error
                yield following.answer  # type: ignore[misc]  # None is an answer if R has it
                turn += 1


class _Gauge:
    """Adds up the progress of all tasks."""

    def __init__(self, tasks: int, progress: Tell | None) -> None:
        self._parts = [0] * tasks
        self._done = 0
        self._progress = progress

    def tell(self, number: int, done: int, total: int) -> None:
        parts = _PARTS * done // max(total, 1)
        self._done += parts - self._parts[number]
        self._parts[number] = parts
        if self._progress is not None:
            self._progress(self._done, _PARTS * len(self._parts))

    def of(self, number: int) -> Tell:
        return lambda done, total: self.tell(number, done, total)
