"""A corpus: which traces a path stands for, and all of them through all kernels."""

from __future__ import annotations

import glob
import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

import pyarrow as pa

from replay.errors import InputError, UsageError
from replay.fleet.places import Place, place_of
from replay.fleet.tasks import Tell, run_tasks
from replay.kernel.profiles import Profile
from replay.session import CallLog, Run, run

__all__ = ("Corpus", "find_traces", "run_many")

Path = str | os.PathLike[str]


@dataclass(frozen=True)
class Corpus:
    """What paths stand for.

    Attributes:
        traces: files to be replayed, in the order asked for; those of a folder or pattern sorted.
        passed_over: Arrow files in folders and patterns that are no traces, and what they are.
    """

    traces: list[str] = field(default_factory=list)
    passed_over: dict[str, str] = field(default_factory=dict)


def find_traces(paths: Iterable[Path]) -> Corpus:
    """Return the traces that files, folders (with all below) and patterns (``*``, ``?``, ``[]``, ``**``) stand for.

    A path that names a file, or nothing at all, is taken as it is. In folders, files called ``*.arrow`` count; those
    that say themselves that they are something else are passed over, damaged ones are not.

    Raises:
        InputError: there is no trace in a folder, or no file that a pattern fits.
    """
    corpus = Corpus()
    for path in (os.fspath(p) for p in paths):
        if os.path.isdir(path):
            found, what = _below(path), "a folder without *.arrow files"
        elif os.path.exists(path) or not glob.has_magic(path):
            corpus.traces.append(path)
            continue
        else:
            matches = sorted(glob.glob(path, recursive=True))
            within = (_below(match) if os.path.isdir(match) else [match] for match in matches)
            found, what = list(dict.fromkeys(f for files in within for f in files)), "a pattern that no file fits"
        others = {file: other for file in found if (other := _other_than_a_trace(file))}
        if len(others) == len(found):
            what = "; ".join(f"{file} ({other})" for file, other in others.items()) or what
            raise InputError(path, what, "at least one trace")
        corpus.traces.extend(file for file in found if file not in others)
        corpus.passed_over.update(others)
    return corpus


def run_many(
    paths: Path | Iterable[Path],
    profiles: Sequence[str | Profile | None] = (),
    *,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Tell | None = None,
    engine: str = "vector",
    threads: int = 1,
    open_loop: bool = False,
    outcomes: Path | None = None,
    log: CallLog | None = None,
) -> Generator[Run | InputError, None, None]:
    """Replay every trace through every kernel; yields results trace by trace, in the order of the arguments.

    The results are those of doing one after the other, wherever they are made. A bad trace gives one error in its place, and
    the others are replayed all the same.

    Args:
        paths: trace files; ``find_traces`` finds those of folders and patterns.
        profiles: kernels; none takes the one that each trace was recorded on.
        workers: processes on this machine; 0 for one per core.
        scheduler: address of a Dask scheduler, whose workers are used instead and see the traces under the same path.
        progress: is told (done, in all).
        engine: "vector" or "scalar".
        threads: of each replay.
        open_loop: as for ``run``.
        outcomes: as for ``run``; of one trace and one kernel only, and not on a cluster.
        log: as for ``run``; in this process only.

    Raises:
        UsageError: unknown profile or engine, or a request that cannot be carried out.
    """
    traces = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    kernels = list(profiles) or [None]
    _refuse(len(traces) * len(kernels), workers, scheduler, outcomes, log)
    tasks = [
        _Task(os.fspath(trace), place_of(trace, scheduler), kernel, engine, threads, open_loop, outcomes, log)
        for trace in traces
        for kernel in kernels
    ]
    results = run_tasks(
        _replay, tasks, workers=workers, scheduler=scheduler, progress=progress, name=lambda task: task.trace
    )
    return _one_error_each(results, len(kernels))


@dataclass(frozen=True)
class _Task:
    """One trace through one kernel; ``trace`` is the path as given, ``place`` where a worker finds it."""

    trace: str
    place: Place
    kernel: str | Profile | None
    engine: str
    threads: int
    open_loop: bool
    outcomes: Path | None
    log: CallLog | None


def _replay(task: _Task, tell: Tell) -> Run:
    result = run(
        task.place.here(),
        task.kernel,
        engine=task.engine,
        outcomes=task.outcomes,
        progress=tell,
        threads=task.threads,
        open_loop=task.open_loop,
        log=task.log,
    )
    return replace(result, trace=task.trace)


def _one_error_each(
    results: Generator[Run | InputError, None, None], kernels: int
) -> Generator[Run | InputError, None, None]:
    """Leave out what comes after the error of a trace: it is bad for every kernel."""
    bad = -1
    with closing(results):
        for number, result in enumerate(results):
            if number // kernels == bad:
                continue
            if isinstance(result, InputError):
                bad = number // kernels
            yield result


def _refuse(tasks: int, workers: int, scheduler: str | None, outcomes: Path | None, log: CallLog | None) -> None:
    if outcomes is not None and tasks > 1:
        raise UsageError("outcomes are written of one trace and one profile; several were asked for")
    if outcomes is not None and scheduler is not None:
        raise UsageError("a worker of the cluster would write the outcomes on its own machine; replay the trace here")
    if log is not None and (scheduler is not None or workers != 1):
        raise UsageError("kernel log lines are printed as the trace is replayed; do it without workers")


def _below(folder: str) -> list[str]:
    """Return all ``*.arrow`` files below a folder, sorted; links to folders are not followed."""
    found = [
        os.path.join(place, name) for place, _, names in os.walk(folder) for name in names if name.endswith(".arrow")
    ]
    return sorted(found, key=lambda path: path.split(os.sep))


def _other_than_a_trace(path: str) -> str:
    """Return what an Arrow file is if it is no trace; "" for a trace, and for what nobody can tell."""
    if os.path.exists(path) and not os.path.isfile(path):
        return "no regular file"  # opening a FIFO would wait for somebody to write to it
    try:
        with pa.memory_map(path) as file, pa.ipc.open_file(file) as reader:
            metadata = reader.schema.metadata or {}
    except (pa.ArrowException, OSError, ValueError):
        return ""
    if b"replay.outcomes" in metadata:
        return "outcomes of a replay, not a trace"
    if not any(key.startswith(b"replay.") for key in metadata):
        return "an Arrow file of some other program, not a trace"
    return ""
