"""Worker processes on this machine: each has a pipe of its own, so it is known which task a lost one had.

``concurrent.futures.ProcessPoolExecutor`` breaks as a whole when one of its processes dies, and does not say which task
that one had (docs/decisions/0006-many-traces.md).

This module is imported by a worker before anything else: it must not load numpy or pyarrow, whose thread pools read
the environment when they are loaded.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from replay.errors import InvariantError, WorkerError
from replay.fleet.tasks import TRIES, UNKNOWN, Function, Reply, lost, reply_of

__all__ = ("replies_of_processes",)

A = TypeVar("A")
R = TypeVar("R")

_GRACE = 5.0  # s until a process that has closed its pipe is killed

# N workers are to use N cores: the libraries' own pools would make it N times as many threads.
_POOLS = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def replies_of_processes(
    function: Function[A, R],
    arguments: Sequence[A],
    workers: int,
    tell: Callable[[int, int, int], None],
    name: Callable[[A], str],
) -> Generator[Reply[R], None, None]:
    """Yield replies as they come; all workers are gone when the iteration ends, however it ends.

    Args:
        function: as for ``run_tasks``.
        arguments: one per task.
        workers: processes, at most one per task.
        tell: is told (task, done, in all).
        name: what to call a task in errors.
    """
    crew = _Crew(function, arguments, workers)
    try:
        while crew.unfinished:
            crew.keep_busy()
            for connection in wait([w.connection for w in crew.workers]):
                worker = next(w for w in crew.workers if w.connection is connection)
                try:
                    message = worker.connection.recv()
                except (EOFError, OSError):
                    given_up = crew.bury(worker)
                    if given_up is not None:
                        number, how = given_up
                        yield Reply(number, lost(name(arguments[number]), TRIES, how))
                    continue
                if isinstance(message, Reply):
                    worker.number = None
                    yield message
                elif message is _READY:
                    worker.ready = True
                else:
                    tell(*message)
    finally:
        crew.stop()


class _Worker:
    """A process, the pipe to it, and the task that it has.

    Attributes:
        number: of the task, None while there is none.
        ready: the process has come up.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs,), daemon=True, name="replay worker")
        with _for_a_child():
            self.process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        self.number: int | None = None
        self.ready = False


class _Crew:
    """The workers, and what is left to do."""

    def __init__(self, function: Function[Any, Any], arguments: Sequence[Any], size: int) -> None:
        self.workers: list[_Worker] = []
        self._function, self._arguments, self._size = function, arguments, size
        self._todo = deque(range(len(arguments)))
        self._losses = [0] * len(arguments)
        self._stillborn = 0

    @property
    def unfinished(self) -> bool:
        return bool(self._todo) or any(w.number is not None for w in self.workers)

    def keep_busy(self) -> None:
        """Hand out tasks to workers that have none, and start workers for the tasks that are left."""
        for worker in self.workers:
            if worker.ready and worker.number is None and self._todo:
                worker.number = self._todo.popleft()
                # A pipe that has ended is found out when it is read.
                with suppress(OSError):
                    worker.connection.send((self._function, worker.number, self._arguments[worker.number]))
        coming = sum(not w.ready for w in self.workers)
        for _ in range(min(self._size - len(self.workers), len(self._todo) - coming)):
            self.workers.append(_Worker())

    def bury(self, worker: _Worker) -> tuple[int, str] | None:
        """Take note of a lost worker; returns the task that is given up for it, and what became of the worker.

        Raises:
            WorkerError: workers are lost before they are ready.
        """
        self.workers.remove(worker)
        how = _end(worker)
        if worker.number is None:
            self._stillborn += not worker.ready
            if self._stillborn == TRIES:
                raise WorkerError(
                    "worker processes",
                    f"{TRIES} that ended before they were ready ({how})",
                    "processes that can import this program",
                    'a program that asks for workers must guard its main part with `if __name__ == "__main__":`',
                )
            return None
        self._losses[worker.number] += 1
        if self._losses[worker.number] == TRIES:
            return worker.number, how
        self._todo.appendleft(worker.number)
        return None

    def stop(self) -> None:
        """End all workers at once, whatever they are doing: they hold nothing that could be left half done."""
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            _end(worker)
        self.workers = []


_READY = None


def work(connection: Connection) -> None:
    """Do tasks until the other end is closed: the life of a worker process."""
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # whoever asked has gone
        connection.send(_READY)
        while True:
            connection.send_bytes(_pickled(_next(connection)))


def _next(connection: Connection) -> Reply[Any]:
    """Wait for the next task, and do it."""
    packed = connection.recv_bytes()
    try:
        function, number, argument = pickle.loads(packed)  # noqa: S301 - from our own parent process
    except Exception as error:
        return Reply(UNKNOWN, error=error)
    return reply_of(function, number, argument, lambda done, total: connection.send((number, done, total)))


def _pickled(reply: Reply[Any]) -> bytes:
    if reply.error is not None:
        trace = "".join(traceback.format_exception(reply.error))
        reply.error.add_note(f"raised in worker process {os.getpid()}:\n{trace}")
    try:
        return pickle.dumps(reply)
    except Exception as error:
        text = f"a worker's answer cannot be sent ({error}): {reply.answer if reply.error is None else reply.error!r}"
        return pickle.dumps(Reply(reply.number, error=InvariantError(text)))


def _end(worker: _Worker) -> str:
    """Wait for the end of a process that has closed its pipe or was killed; returns how it ended."""
    worker.process.join(_GRACE)
    worker.process.kill()
    worker.process.join()
    code = worker.process.exitcode
    worker.connection.close()
    worker.process.close()
    return f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"


@contextmanager
def _for_a_child() -> Iterator[None]:
    """While a process is started: one thread per library, and no Ctrl-C, which the parent alone answers to."""
    before = {name: os.environ.get(name) for name in _POOLS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(dict.fromkeys(_POOLS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
