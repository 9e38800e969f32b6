"""Run a trace through a kernel: the one entry that the command line and other programs use."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from replay import __version__
from replay.candidate.named import named
from replay.engine.poison_call import Decided
from replay.engine.poison_verdicts import poison_functions
from replay.engine.replay import Replay, Replayer, replay_trace
from replay.engine.tally import Tally
from replay.errors import UsageError
from replay.kernel.calls import Kernel
from replay.kernel.config import KernelConfig
from replay.kernel.profiles import Profile
from replay.kernel.registry import Numbering
from replay.kernel.rules import BUILT_IN
from replay.machine.machine import Machine
from replay.trace.outcome_file import OutcomeWriter
from replay.trace.reader import TraceFile
from replay.trace.schema import LOOKUPS, EventKind

__all__ = ("ENGINES", "CallLog", "CheckNames", "Moment", "Run", "check_names", "machine_at", "named", "run")

ENGINES = ("vector", "scalar")

CallLog: TypeAlias = Callable[[Profile, Sequence[str], Decided], None]


@dataclass(frozen=True)
class Run:
    """What one replay of one trace by one kernel gave.

    Attributes:
        trace: path as given.
        digest: identity of the trace.
        profile: the kernel.
        engine: "vector" or "scalar".
        events: rows replayed.
        tally: everything counted.
        seconds: wall clock by part: "open", "replay", "total".
        lost_events: events that the recorder lost; anything but 0 taints the verdicts.
    """

    trace: str
    digest: str
    profile: Profile
    engine: str
    events: int
    tally: Tally
    seconds: dict[str, float]
    lost_events: int = 0

    @property
    def agrees(self) -> bool:
        """Whether nothing that was compared differs."""
        return not any(a.differed for a in self.tally.agreement.values())

    @property
    def reproduce(self) -> str:
        """A line that gives the same result again."""
        engine = "" if self.engine == "vector" else f" --engine {self.engine}"
        return f"replay run {self.trace} --profile {self.profile.name}{engine}"

    def to_dict(self) -> dict[str, object]:
        """Return plain values: one element of ``runs`` in ``replay run --json``."""
        t = self.tally
        return {
            "trace": self.trace,
            "digest": self.digest,
            "profile": self.profile.name,
            "features": self.profile.digest,
            "engine": self.engine,
            "tool": __version__,
            "events": self.events,
            "pages": t.pages,
            "lost_events": self.lost_events,
            "seconds": {name: round(value, 6) for name, value in self.seconds.items()},
            "outcomes": {name: dict(sorted(counts.items())) for name, counts in sorted(t.outcomes.items())},
            "checks": {name: dict(sorted(counts.items())) for name, counts in sorted(t.checks.items())},
            "agreement": {name: a.to_dict() for name, a in sorted(t.agreement.items())},
            "differences": {name: [vars(d) for d in rows] for name, rows in sorted(t.differences.items())},
            "truth": {
                "false_online": t.false_online.total,
                "false_offline": t.false_offline.total,
                "false_online_ranges": [
                    {"first": low, "last": high, "lookups": n} for low, high, n in t.false_online.merged()
                ],
                "false_offline_ranges": [
                    {"first": low, "last": high, "lookups": n} for low, high, n in t.false_offline.merged()
                ],
            },
            "slow_path": t.slow,
            "counters": dict(t.counters),
            "reproduce": self.reproduce,
        }


def run(
    path: str | os.PathLike[str],
    kernel: str | Profile | None = None,
    *,
    engine: str = "vector",
    outcomes: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    threads: int = 1,
    open_loop: bool = False,
    log: CallLog | None = None,
) -> Run:
    """Replay a trace through one kernel.

    Args:
        path: the trace.
        kernel: profile or its name; None takes the kernel that the trace was recorded on.
        engine: "vector", or "scalar" for the slow reference.
        outcomes: write the outcome of every row to this Arrow file.
        progress: is told (rows done, rows in all).
        threads: of the vector engine; results do not depend on it.
        open_loop: tasks do not die of signals; mappings change by the trace only (vector engine only).
        log: is told the kernel, the trace's strings and the call, for every poison call (vector engine only).

    Raises:
        TraceError: the trace is damaged, or makes no sense.
        UsageError: unknown profile or engine, or a profile that cannot replay this machine.
    """
    if engine not in ENGINES:
        raise UsageError(f"unknown engine {engine!r}; there are {' and '.join(ENGINES)}")
    if threads < 1:
        raise UsageError(f"{threads} threads; give 1 or more")
    started = time.perf_counter()
    with TraceFile.open(path) as trace:
        chosen = named(kernel or trace.machine.kernel)
        opened = time.perf_counter()
        if engine != "vector" and chosen.rules is not BUILT_IN:
            raise UsageError(f"{chosen.name} is a candidate, and the scalar reference knows released kernels only")
        options: dict[str, Any] = {"progress": progress}
        if engine == "vector":
            options["threads"] = threads
        if open_loop or log is not None:
            if engine != "vector":
                raise UsageError("open loop and kernel log lines are made by the vector engine")
            hook = None if log is None else functools.partial(log, chosen, trace.strings)
            options |= {"open_loop": open_loop, "log": hook}
        if outcomes is None:
            replay = _engine(engine)(trace, chosen, sink=None, **options)
        else:
            tool = f"pfn-replay {__version__}"
            names = check_names(chosen)
            with OutcomeWriter(
                outcomes,
                trace=trace.digest,
                profile=chosen.name,
                checks=names.checks,
                poison_checks=names.poison_checks,
                tool=tool,
            ) as writer:
                replay = _engine(engine)(trace, chosen, sink=writer.write, **options)
        seconds = {"open": opened - started, "replay": replay.seconds["replay"]}
        seconds["total"] = time.perf_counter() - started
        lost = trace.provenance.lost_events
        return Run(os.fspath(path), trace.digest, chosen, engine, trace.rows, replay.tally, seconds, lost)


class CheckNames(NamedTuple):
    """What the check columns of outcomes number: ``check``, and ``poison_check`` by kind of call."""

    checks: tuple[str, ...]
    poison_checks: dict[str, tuple[str, ...]]


def check_names(kernel: Profile) -> CheckNames:
    """Return the names of a kernel's checks, by their numbers in outcomes."""
    functions = poison_functions(Kernel(kernel.features, KernelConfig(), kernel.rules))
    poison = {kind: tuple(check.id for check in function.checks) for kind, function in functions.items()}
    return CheckNames(Numbering.of(kernel.rules).names, poison)


def _engine(name: str) -> Callable[..., Replay]:
    if name == "vector":
        return replay_trace
    from replay.compare.reference import replay_trace as reference  # noqa: PLC0415 - only when asked for

    return reference


@dataclass(frozen=True)
class Moment:
    """The machine at one moment of a replay.

    Attributes:
        trace: path as given.
        digest: identity of the trace.
        profile: the kernel.
        row: the row that is about to come; the number of rows at the end.
        rows: of the trace.
        machine: the memory.
    """

    trace: str
    digest: str
    profile: Profile
    row: int
    rows: int
    machine: Machine


def machine_at(
    path: str | os.PathLike[str],
    kernel: str | Profile | None = None,
    at: int | str | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Moment:
    """Replay a trace up to a row, and return the machine as it is then.

    Args:
        path: the trace.
        kernel: profile or its name; None takes the kernel that the trace was recorded on.
        at: the first row that is not carried out; or how a mark begins, for the row of the first such mark; None: all are
            carried out.
        progress: is told (rows done, rows in all).

    Raises:
        TraceError: the trace is damaged, or makes no sense.
        UsageError: unknown profile, a profile that cannot replay this machine, or a row or mark that is not there.
    """
    with TraceFile.open(path) as trace:
        chosen = named(kernel or trace.machine.kernel)
        stop = _row_of_mark(trace, at) if isinstance(at, str) else trace.rows if at is None else at
        if not 0 <= stop <= trace.rows:
            raise UsageError(f"{path}: row {stop}; the trace has {trace.rows} rows, give 0 to {trace.rows}")
        replayer = Replayer(trace.machine, chosen, trace.strings, where=str(path))
        for batch in trace.batches():
            if batch.row >= stop:
                break
            part = batch.part(0, min(len(batch), stop - batch.row))
            # Lookups change nothing, and take most of the time.
            kinds = np.asarray(part.column("kind"), np.uint8)
            replayer.feed(part.replaced("kind", np.where(_IS_LOOKUP[kinds], np.uint8(EventKind.MARK), kinds)))
            if progress is not None:
                progress(part.row + len(part), stop)
        return Moment(str(path), trace.digest, chosen, stop, trace.rows, replayer.machine)


def _row_of_mark(trace: TraceFile, text: str) -> int:
    """Return the row of the first mark whose text begins so."""
    wanted = [number for number, string in enumerate(trace.strings) if string.startswith(text)]
    for batch in trace.batches(columns=("kind", "label")):
        found = (batch.column("kind") == EventKind.MARK) & np.isin(batch.column("label"), wanted) & batch.given("label")
        if found.any():
            return batch.row + int(np.argmax(found))
    raise UsageError(f"{trace.path}: no mark begins with {text!r}; give a row number, or the beginning of a mark")


_IS_LOOKUP = np.isin(np.arange(256), list(LOOKUPS))
