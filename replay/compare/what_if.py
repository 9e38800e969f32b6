"""Poison history under other kernels: what would have become of the pages, and of the tasks that had them?"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from replay.engine.observer import with_counts
from replay.engine.poison_call import Decided
from replay.engine.poison_signals import CODES, SIGKILL
from replay.engine.replay import Replayer
from replay.errors import InputError
from replay.fleet.places import Place, place_of
from replay.fleet.tasks import Tell, run_tasks
from replay.kernel.kill import Signal
from replay.kernel.poison_types import ActionType
from replay.kernel.profiles import Profile
from replay.session import named
from replay.trace.outcomes import RET_BUG
from replay.trace.poison import NO_ACTION, ActionResult
from replay.trace.reader import TraceFile
from replay.trace.schema import EventKind

__all__ = ("History", "history_of", "what_if")

_EARLY = CODES[Signal.BUS_AO]


@dataclass
class History:
    """What one kernel makes of the poison events of traces.

    Attributes:
        events: memory_failure calls.
        results: of these, by what was reported: recovered, failed, delayed, ignored.
        silent: calls that reported nothing, by return code; panics apart.
        panics: calls that stop the kernel. The replay goes on, as if the machine had been started again with its memory
            as it was.
        undecided: calls of any kind about whose page the trace says too little.
        killed: signals that nothing can handle (SIGKILL).
        early: SIGBUS before the task touched the page.
        consumed: SIGBUS to the task that consumed the error.
        late: SIGBUS when a task touched a page that had been poisoned before.
        spared: touches of a poisoned page's address that found a good page.
        soft_offlined: pages that soft offline took out of use.
        soft_failed: soft offline calls that failed.
        unpoisoned: unpoison calls that succeeded.
        lost_bytes: pages that stay poisoned at the end, in bytes.
        types: events by type and result, in words.
    """

    events: int = 0
    results: Counter[str] = field(default_factory=Counter)
    silent: Counter[int] = field(default_factory=Counter)
    panics: int = 0
    undecided: int = 0
    killed: int = 0
    early: int = 0
    consumed: int = 0
    late: int = 0
    spared: int = 0
    soft_offlined: int = 0
    soft_failed: int = 0
    unpoisoned: int = 0
    lost_bytes: int = 0
    types: Counter[str] = field(default_factory=Counter)

    def merge(self, other: History) -> None:
        """Add the events of other traces."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(mine, Counter):
                mine.update(value)
            else:
                setattr(self, name, mine + value)

    def poison(self, calls: Sequence[Decided], rows: NDArray[np.int64], like: NDArray[np.int64]) -> None:
        """Take calls, see ``PoisonObserver``."""
        for call, count in with_counts(calls, like):
            self._take(call, count)

    def _take(self, call: Decided, count: int) -> None:
        if call.undecided:
            self.undecided += count
        elif call.kind is EventKind.SOFT_OFFLINE_PAGE:
            self.soft_offlined += count * (call.ret == 0 and call.poisoned)
            self.soft_failed += count * (call.ret < 0)
        elif call.kind is EventKind.UNPOISON_MEMORY:
            self.unpoisoned += count * (call.ret == 0 and call.counted < 0)
        self._signals(call, count)
        if call.kind is EventKind.MEMORY_FAILURE:
            self.events += count
            if not call.undecided:
                self._report(call, count)

    def _report(self, call: Decided, count: int) -> None:
        if call.ret == RET_BUG:
            self.panics += count
        elif call.action == NO_ACTION:
            self.silent[call.ret] += count
        else:
            result = ActionResult(call.result).name.lower()
            self.results[result] += count
            self.types[f"{_type(call.action)}: {result}"] += count

    def _signals(self, call: Decided, count: int) -> None:
        for sent in call.signals:
            if sent.signal == SIGKILL:
                self.killed += count
            elif sent.code == _EARLY:
                self.early += count
            else:
                self.consumed += count


def _type(number: int) -> str:
    return ActionType(number).display


def history_of(path: str | os.PathLike[str], kernel: Profile, *, open_loop: bool = False) -> History:
    """Replay the poison events of a trace through a kernel.

    Raises:
        TraceError: the trace is damaged.
        UsageError: the profile cannot replay this machine.
    """
    found = History()
    with TraceFile.open(path) as trace:
        replayer = Replayer(
            trace.machine, kernel, trace.strings, poison_observer=found, open_loop=open_loop, where=os.fspath(path)
        )
        for batch in trace.batches():
            replayer.feed(batch)
        tally = replayer.finish()
        found.lost_bytes = max(tally.counters.get("poisoned pages", 0), 0) << trace.machine.page_shift
    touches = tally.outcomes.get("access", Counter())
    found.late, found.spared = touches["SIGBUS"], touches["no signal"]
    return found


@dataclass(frozen=True)
class _Task:
    trace: str
    place: Place
    kernel: str
    open_loop: bool


def what_if(
    traces: Sequence[str],
    kernels: Sequence[str],
    *,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Tell | None = None,
    open_loop: bool = False,
) -> Iterator[tuple[str, str, History | InputError]]:
    """Yield (trace, kernel, what it makes of the trace, or the error of that trace).

    Args:
        traces: paths.
        kernels: names of profiles or candidates.
        workers: processes.
        scheduler: address of a Dask scheduler.
        progress: is told (done, in all).
        open_loop: tasks do not die of signals.
    """
    tasks = [_Task(trace, place_of(trace, scheduler), kernel, open_loop) for trace in traces for kernel in kernels]
    results = run_tasks(
        _history, tasks, workers=workers, scheduler=scheduler, progress=progress, name=lambda t: t.trace
    )
    for task, result in zip(tasks, results, strict=True):
        yield task.trace, task.kernel, result


def _history(task: _Task, _tell: Tell) -> History:
    return history_of(task.place.here(), named(task.kernel), open_loop=task.open_loop)
