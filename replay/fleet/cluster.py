"""Workers of a Dask cluster; needs the extra ``distributed``.

Dask moves the tasks of a lost worker to another one by itself, and gives one up that was on
``distributed.scheduler.allowed-failures`` lost workers (a setting of the scheduler). It blames all tasks that the worker
had been given, not only the one that it was at; so what it gives up is tried again, each task alone.
"""

from __future__ import annotations

import queue
import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

from replay import __version__
from replay.errors import ReplayError, UsageError, WorkerError
from replay.fleet.tasks import TRIES, Function, Reply, lost, reply_of

__all__ = ("replies_of_cluster",)

A = TypeVar("A")
R = TypeVar("R")

_PATIENCE = 10.0  # s for a scheduler to answer, for a first worker to be there, and between looks whether any is left


def replies_of_cluster(
    function: Function[A, R],
    arguments: Sequence[A],
    address: str,
    tell: Callable[[int, int, int], None],
    name: Callable[[A], str],
) -> Generator[Reply[R], None, None]:
    """Yield replies as they come; what is still to be done when the iteration ends is cancelled.

    Args:
        function: as for ``run_tasks``; its module must be installed where the workers are.
        arguments: one per task.
        address: of the scheduler, such as tcp://host:8786.
        tell: is told (task, done, in all).
        name: what to call a task in errors.

    Raises:
        UsageError: distributed is not installed, or there is nobody at that address.
        WorkerError: all workers are gone.
    """
    with closing(_client(address)) as client:
        done: queue.Queue[tuple[int, Any]] = queue.Queue()
        there = partial(_on_worker, function, __version__)
        futures = client.map(there, range(len(arguments)), arguments, pure=False, retries=TRIES - 1)
        try:
            for number, future in enumerate(futures):
                future.add_done_callback(lambda f, number=number: done.put((number, f)))
            blamed = []
            for _ in arguments:
                number, future = _next_done(done, client, address)
                futures[number] = None  # the cluster may forget it
                if _is_killed(future):
                    blamed.append(number)
                else:
                    yield _reply(number, future, name(arguments[number]))
            for number in sorted(blamed):
                futures[number] = client.submit(there, number, arguments[number], pure=False, retries=TRIES - 1)
                futures[number].add_done_callback(lambda f, number=number: done.put((number, f)))
                yield _reply(*_next_done(done, client, address), name(arguments[number]))
        finally:
            client.cancel([f for f in futures if f is not None])


def _client(address: str) -> Any:  # noqa: ANN401 - a class of an optional package
    try:
        from distributed import Client  # noqa: PLC0415 - an extra that need not be installed
    except ImportError:
        raise UsageError(
            "a scheduler needs the package distributed, which is not installed; pip install 'pfn-replay[distributed]'"
        ) from None
    try:
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(
            f"no Dask scheduler answers at {address} ({reason}); start one with `dask scheduler` and give the address "
            "that it prints, such as tcp://host:8786"
        ) from None
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        client.close()
        raise UsageError(
            f"the Dask scheduler at {address} has no workers; start some with `dask worker {address} --nthreads 1`"
        ) from None
    return client


def _next_done(done: queue.Queue[tuple[int, Any]], client: Any, address: str) -> tuple[int, Any]:  # noqa: ANN401
    while True:
        try:
            return done.get(timeout=_PATIENCE)
        except queue.Empty:
            if not client.scheduler_info()["workers"]:
                raise WorkerError(address, "a cluster whose workers have all gone", "workers that stay") from None


def _is_killed(future: Any) -> bool:  # noqa: ANN401
    from distributed import KilledWorker  # noqa: PLC0415

    return future.status == "error" and isinstance(future.exception(), KilledWorker)


def _reply(number: int, future: Any, where: str) -> Reply[Any]:  # noqa: ANN401
    from distributed import KilledWorker  # noqa: PLC0415

    if future.status == "finished":
        reply: Reply[Any] = future.result()
        return reply
    if future.status in {"cancelled", "lost"}:
        raise WorkerError(where, f"a cluster that dropped the task ({future.status})", "an answer")
    error = future.exception()
    if isinstance(error, KilledWorker):
        return Reply(number, lost(where, error.allowed_failures + 1, "the scheduler says so"))
    if isinstance(error, ImportError):
        text = f"a worker of the cluster cannot import what it needs ({error}); install replay {__version__} there too"
        error = UsageError(text)
    return Reply(number, error=error)


def _on_worker(function: Function[A, R], version: str, number: int, argument: A) -> Reply[R]:
    """Do one task where a worker is. Errors of the machine are raised, so that Dask tries again."""
    if version != __version__:
        host = socket.gethostname()
        text = f"the worker on {host} has replay {__version__}, and is asked by {version}; install the same version"
        return Reply(number, error=UsageError(text))
    reply = reply_of(function, number, argument, lambda _done, _total: None)
    if reply.error is not None and not isinstance(reply.error, ReplayError):
        raise reply.error
    return reply
