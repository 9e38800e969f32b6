"""The same on a Dask cluster: same results, lost workers and wrong addresses included."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import replay
from replay.errors import InputError, UnknownNameError, UsageError, WorkerError
from replay.fleet import cluster
from replay.fleet.tasks import run_tasks
from tests.fleet import tasks
from tests.fleet.conftest import plain

distributed = pytest.importorskip("distributed", reason="the extra 'distributed' is not installed")


@pytest.fixture(scope="module")
def dask() -> Iterator[Any]:
    """Two workers in processes of their own, with a nanny each that replaces a lost one."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as cluster:
        yield cluster


def test_a_cluster_gives_what_one_process_gives(dask: Any, fleet: list[Path], sequential: list[Any]) -> None:
    together = plain(replay.run_many(fleet, ["v5.11", "v6.1"], scheduler=dask.scheduler_address))
    assert json.dumps(together) == json.dumps(sequential)


def test_paths_are_as_given(
    dask: Any, fleet: list[Path], sequential: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker has another working directory; what is shown is what was asked for."""
    monkeypatch.chdir(fleet[0].parent)
    (run,) = replay.run_many("0.arrow", ["v5.11"], scheduler=dask.scheduler_address)
    assert isinstance(run, replay.Run)
    assert run.trace == "0.arrow"
    assert run.tally == replay.run(fleet[0], "v5.11").tally


def test_a_worker_killed_in_the_middle_changes_nothing(dask: Any, tmp_path: Path) -> None:
    arguments = [(number, str(tmp_path / "killed")) for number in range(6)]
    assert list(run_tasks(tasks.double_or_die, arguments, scheduler=dask.scheduler_address)) == [0, 2, 4, 6, 8, 10]
    assert (tmp_path / "killed").exists()


def test_a_task_that_kills_every_worker_is_given_up(dask: Any) -> None:
    zero, lost, *others = run_tasks(tasks.deadly, range(4), scheduler=dask.scheduler_address)
    assert (zero, others) == (0, [4, 6])
    assert isinstance(lost, WorkerError)


def test_errors_are_those_of_the_task(dask: Any) -> None:
    zero, bad, four = run_tasks(tasks.picky, [0, 1, 2], scheduler=dask.scheduler_address)
    assert (zero, four) == (0, 4)
    assert isinstance(bad, InputError)
    assert str(bad) == "one.arrow: found 1; needed another number; take 0"
    for number, kind in ((7, UnknownNameError), (9, ZeroDivisionError)):
        with pytest.raises(kind):
            list(run_tasks(tasks.picky, [number], scheduler=dask.scheduler_address))


def test_a_worker_that_cannot_read_a_trace_says_so(dask: Any, tmp_path: Path) -> None:
    (answer,) = replay.run_many(tmp_path / "none.arrow", scheduler=dask.scheduler_address)
    assert isinstance(answer, InputError)
    assert answer.where == str(tmp_path / "none.arrow")
    assert "nothing that the worker on" in str(answer)
    assert "the same path on all machines" in str(answer)


def test_another_version_on_the_workers_is_refused(dask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results carry the version that was asked; another one may decide otherwise."""
    monkeypatch.setattr(cluster, "__version__", "0.0.0")
    with pytest.raises(UsageError, match=r"is asked by 0\.0\.0; install the same version"):
        list(run_tasks(tasks.double, [1], scheduler=dask.scheduler_address))


def test_nobody_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_PATIENCE", 0.3)
    for address in ("tcp://127.0.0.1:1", "nonsense://", "127.0.0.1"):
        with pytest.raises(UsageError, match="start one with `dask scheduler`"):
            list(run_tasks(tasks.double, [1], scheduler=address))


def test_a_scheduler_without_workers() -> None:
    """In processes of their own: a cluster or client in this one would share the event loop of an earlier one."""
    code = (
        "import sys, distributed\n"
        "with distributed.LocalCluster(n_workers=0, dashboard_address=':0', silence_logs=50) as empty:\n"
        "    print(empty.scheduler_address, flush=True)\n"
        "    sys.stdin.read()"
    )
    ask = (
        "import sys\n"
        "from replay.errors import UsageError\n"
        "from replay.fleet import cluster\n"
        "from replay.fleet.tasks import run_tasks\n"
        "cluster._PATIENCE = 2.0\n"
        "try:\n"
        "    list(run_tasks(divmod, [1], scheduler=sys.argv[1]))\n"
        "except UsageError as error:\n"
        "    print(error)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as empty:
        assert empty.stdout is not None
        address = empty.stdout.readline().strip()
        asked = subprocess.run([sys.executable, "-c", ask, address], capture_output=True, text=True, check=False)
        empty.communicate()
    assert "has no workers; start some with `dask worker tcp" in asked.stdout, asked.stderr


def test_without_distributed_the_extra_is_named() -> None:
    """In a process of its own, where the package cannot be imported."""
    code = (
        "import sys; sys.modules['distributed'] = None\n"
        "from replay.cli.main import main\n"
        "main(['run', 'x.arrow', '--scheduler', 'tcp://127.0.0.1:1'])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "pip install 'pfn-replay[distributed]'" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
