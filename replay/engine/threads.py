"""Threads, one for each job at a time: arrays and compiled loops are worked on without the interpreter's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ("Threads",)

_AHEAD = 2  # jobs for each other thread: one under way, and one at hand when that is done


class Threads:
    """Runs jobs side by side.

    Args:
        count: how many at a time, at least 1; the thread that starts them counts as one.
    """

    def __init__(self, count: int) -> None:
        self._others = count - 1
        self._pool: ThreadPoolExecutor | None = None
        self._jobs: deque[tuple[Future[None], Callable[[], None]]] = deque()

    def start(self, job: Callable[[], None]) -> None:
        """Give a job to another thread, or do it here and now if all of them have enough to do.

        Raises:
            Exception: of this job, or of one that was started before.
        """
        while self._jobs and self._jobs[0][0].done():
            self._jobs.popleft()[0].result()
        if len(self._jobs) >= _AHEAD * self._others:
            job()
            return
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - most replays have one thread

            self._pool = ThreadPoolExecutor(self._others, "replay")
        self._jobs.append((self._pool.submit(job), job))

    def wait(self) -> None:
        """Wait until all jobs have ended; raise the error of the first, in the order of their start, that failed."""
        jobs, self._jobs = self._jobs, deque()
        for future, job in reversed(jobs):
            if future.cancel():  # nobody has begun it
                job()
        errors = [future.exception() for future, _ in jobs if not future.cancelled()]
        for error in errors:
            if error is not None:
                raise error

    def close(self) -> None:
        """Let the threads end, after the jobs under way; those that nobody has begun are dropped."""
        self._jobs.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
