"""Threads over parts of a batch: arrays are worked on without the interpreter's lock, so they do run side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = ("ONE_THREAD", "Threads")


class Threads:
    """Runs jobs side by side.

    Args:
        count: how many at a time, at least 1; the calling thread counts as one.
    """

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self._pool: ThreadPoolExecutor | None = None

    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Run all jobs; an error in one of them is raised when all have ended, that of the first in order."""
        if self._pool is None and self.count > 1:
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - most replays have one thread

            self._pool = ThreadPoolExecutor(self.count - 1, "replay")
        others = [] if self._pool is None else [self._pool.submit(job) for job in jobs[1:]]
        try:
            for job in jobs[:1] if others else jobs:
                job()
        finally:
            errors = [future.exception() for future in others]
        for error in errors:
            if error is not None:
                raise error

    def close(self) -> None:
        """Let the threads end."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


ONE_THREAD = Threads()
