"""The task runner: order, errors, lost workers, an end at once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from replay.errors import InputError, InvariantError, TraceError, UnknownNameError, UsageError, WorkerError
from replay.fleet.tasks import TRIES, cores, run_tasks
from tests.fleet import tasks
from tests.fleet.conftest import alive


@pytest.mark.parametrize("workers", [1, 2])
def test_answers_come_in_the_order_asked(workers: int) -> None:
    told: list[tuple[int, int]] = []
    answers = run_tasks(tasks.double, range(6), workers=workers, progress=lambda *p: told.append(p))
    assert list(answers) == [0, 2, 4, 6, 8, 10]
    assert told == sorted(told)
    assert told[-1] == (6000, 6000)
    assert alive() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_input_is_the_answer_of_its_task(workers: int) -> None:
    zero, bad, four = run_tasks(tasks.picky, [0, 1, 2], workers=workers)
    assert (zero, four) == (0, 4)
    assert isinstance(bad, TraceError)
    assert (bad.where, bad.found, bad.needed, bad.hint) == ("one.arrow", "1", "another number", "take 0")
    assert str(bad) == str(TraceError("one.arrow", "1", "another number", "take 0"))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("number", "kind"), [(7, UnknownNameError), (9, ZeroDivisionError)])
def test_any_other_error_is_raised_in_its_turn(workers: int, number: int, kind: type[Exception]) -> None:
    answers = run_tasks(tasks.picky, [0, 2, number, 3], workers=workers)
    assert next(answers) == 0
    assert next(answers) == 4
    with pytest.raises(kind) as raised:
        next(answers)
    assert alive() == []
    if workers > 1:
        assert "in picky" in "".join(raised.value.__notes__)


def test_a_task_whose_worker_is_killed_is_done_again(tmp_path: Path) -> None:
    arguments = [(number, str(tmp_path / "killed")) for number in range(6)]
    assert list(run_tasks(tasks.double_or_die, arguments, workers=2)) == [0, 2, 4, 6, 8, 10]
    assert (tmp_path / "killed").exists()


def test_a_task_that_kills_every_worker_is_given_up() -> None:
    zero, lost, *others = run_tasks(tasks.deadly, range(4), workers=2, name=lambda n: f"task {n}")
    assert (zero, others) == (0, [4, 6])
    assert isinstance(lost, WorkerError)
    assert lost.where == "task 1"
    assert f"{TRIES} workers lost" in str(lost)
    assert "signal 9" in str(lost)


def test_what_cannot_be_sent_says_so() -> None:
    with pytest.raises(InvariantError, match="cannot be sent"):
        list(run_tasks(tasks.unpicklable, [1, 2], workers=2))


def test_a_function_that_workers_cannot_have() -> None:
    with pytest.raises(Exception, match="pickle"):
        list(run_tasks(lambda number, tell: number, [1, 2], workers=2))
    assert alive() == []


def test_workers_end_at_once_when_nobody_wants_answers() -> None:
    """As after Ctrl-C: nothing waits for what a worker is doing."""
    answers = run_tasks(tasks.sleepy, [0.0, 600.0, 600.0], workers=2)
    first = next(answers)
    assert isinstance(first, int)
    started = time.monotonic()
    answers.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 60
    assert alive() == []


def test_ctrl_c_is_the_business_of_the_parent() -> None:
    """A terminal sends it to every process; the workers must not print tracebacks of their own."""

    def interrupt(done: int, _total: int) -> None:
        if done == 1000:
            for child in alive():
                os.kill(child.pid or 0, signal.SIGINT)

    answers = list(run_tasks(tasks.double, range(6), workers=2, progress=interrupt))
    assert answers == [0, 2, 4, 6, 8, 10]


def test_workers_keep_to_one_thread() -> None:
    before = dict(os.environ)
    assert set(run_tasks(tasks.pools, [1, 2], workers=2)) == {(1, 1, False)}
    assert dict(os.environ) == before


def test_numbers_of_workers() -> None:
    assert list(run_tasks(tasks.double, [], workers=0)) == []
    assert list(run_tasks(tasks.double, [4], workers=0)) == [8]
    assert cores() >= 1
    with pytest.raises(UsageError, match="-1 workers"):
        run_tasks(tasks.double, [1], workers=-1)
    with pytest.raises(UsageError, match="give one of them"):
        run_tasks(tasks.double, [1], workers=2, scheduler="tcp://127.0.0.1:1")


def test_errors_survive_the_way_between_processes() -> None:
    import pickle

    for error in (InputError("here", "a", "b"), UnknownNameError("thing", "x", ["y"], "look"), UsageError("no")):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert (str(again), vars(again)) == (str(error), vars(error))
