"""Functions that worker processes run in these tests; they have to be importable there."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from replay.errors import TraceError, UnknownNameError
from replay.fleet.tasks import Tell


def double(number: int, tell: Tell) -> int:
    """Later ones are done sooner, if there are workers enough."""
    tell(1, 2)
    time.sleep(0.02 if number == 0 else 0)
    return 2 * number


def double_or_die(argument: tuple[int, str], tell: Tell) -> int:
    """Kill the worker when task 1 is done for the first time; the mark says that it was."""
    number, mark = argument
    if number == 1:
        try:
            Path(mark).touch(exist_ok=False)
        except FileExistsError:
            return 2
        os.kill(os.getpid(), signal.SIGKILL)
    return double(number, tell)


def deadly(number: int, tell: Tell) -> int:
    """Task 1 kills every worker."""
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return double(number, tell)


def picky(number: int, tell: Tell) -> int:
    """Some numbers are bad input, one is a wrong request, one is a defect."""
    if number == 1:
        raise TraceError("one.arrow", "1", "another number", "take 0")
    if number == 7:
        raise UnknownNameError("number", "seven", ["eleven"])
    if number == 9:
        raise ZeroDivisionError("nine")
    return double(number, tell)


def unpicklable(number: int, tell: Tell) -> object:
    return lambda: (number, tell)


def sleepy(seconds: float, _tell: Tell) -> int:
    time.sleep(seconds)
    return os.getpid()


def pools(_number: int, _tell: Tell) -> tuple[int, int, bool]:
    import polars as pl
    import pyarrow as pa

    return pa.cpu_count(), pl.thread_pool_size(), os.getpid() == os.getppid()
