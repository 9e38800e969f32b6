"""The states that traces meet: what each kernel function was asked about, each state once."""

from __future__ import annotations

import functools
import os
import typing
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.candidate.candidate import CHANGEABLE
from replay.compare.asked import telling
from replay.engine.observer import with_counts
from replay.engine.poison_call import Decided
from replay.engine.poison_verdicts import poison_functions
from replay.engine.replay import Replayer, refuse_mismatch
from replay.errors import InputError, UsageError
from replay.fleet.places import Place, place_of
from replay.fleet.tasks import Tell, run_tasks
from replay.kernel.calls import Kernel
from replay.kernel.config import KernelConfig, config_for
from replay.kernel.decision import KernelFunction
from replay.kernel.kill import KILL_ACCESSING_PROCESS
from replay.kernel.poison_calls import PoisonFunction, Ret
from replay.kernel.poison_state import DEFAULTS, PoisonState
from replay.kernel.profiles import Profile
from replay.kernel.resource_queries import PGMAP_PFN_VALID, MetadataFacts
from replay.kernel.walk import LOOKUP_FUNCTIONS, WalkState
from replay.machine.pages import Page
from replay.session import named
from replay.trace.batch import Batch
from replay.trace.header import MachineDescription
from replay.trace.poison import MappingClass, PageFlag, PageKind
from replay.trace.reader import TraceFile

__all__ = ("Meeting", "Met", "States", "kernels_of", "meet", "meet_many", "misfits", "page_words")

_LOOKUPS = {function.name for function in LOOKUP_FUNCTIONS}
_DERIVED = (PGMAP_PFN_VALID, KILL_ACCESSING_PROCESS)  # are asked about more than the trace asks
_Row = tuple[object, ...]


@dataclass
class States:
    """The states that one function was asked about, under one kernel.

    Attributes:
        kind: class of the states; None for lookups.
        rows: lookups: (configuration, state code); else the values of the fields. With how often they were met, as far
            as that is counted: poison calls are counted one by one, others by trace.
    """

    kind: type | None = None
    rows: Counter[_Row] = field(default_factory=Counter)

    def groups(self, kernel: Profile) -> Iterator[tuple[Any, int]]:
        """Yield (states as arrays, how many): of one configuration each."""
        if self.kind is None:
            by_config: dict[object, list[int]] = {}
            for config, code in self.rows:
                assert isinstance(code, int)
                by_config.setdefault(config, []).append(code)
            for config, codes in by_config.items():
                assert isinstance(config, KernelConfig)
                yield WalkState(np.array(sorted(codes), np.uint16), config, kernel.features, kernel.rules), len(codes)
        elif self.rows:
            columns = [np.array(column) for column in zip(*self.rows, strict=True)]
            yield _built(self.kind, iter(columns), kernel.features), len(self.rows)


@dataclass
class Met:
    """Everything that some traces ask one kernel.

    Attributes:
        kernel: the kernel.
        states: by function.
        pages: poison calls by the state of their page, in words.
        decided: per function and check, calls.
        configs: configurations of the machines.
    """

    kernel: Profile
    states: dict[str, States] = field(default_factory=dict)
    pages: Counter[str] = field(default_factory=Counter)
    decided: dict[str, Counter[str]] = field(default_factory=dict)
    configs: set[KernelConfig] = field(default_factory=set)

    def function(self, name: str) -> KernelFunction[Any]:
        """Return the kernel's form of a function, by the name under which its calls are counted."""
        plain = Kernel(self.kernel.features, KernelConfig(), self.kernel.rules)
        found = poison_functions(plain).get(name)
        return found or self.kernel.rules.function(CHANGEABLE[name])

    def merge(self, other: Met) -> None:
        """Take in what other traces met."""
        for name, states in other.states.items():
            mine = self.states.setdefault(name, States(states.kind))
            mine.rows.update(states.rows)
        self.pages.update(other.pages)
        self.configs |= other.configs
        for name, counts in other.decided.items():
            self.decided.setdefault(name, Counter()).update(counts)


def kernels_of(traces: Sequence[str]) -> list[str]:
    """Return the profiles of the kernels that traces were recorded on, each once."""
    found = []
    for path in traces:
        with TraceFile.open(path, verify=False) as trace:
            found.append(named(trace.machine.kernel).name)
    return list(dict.fromkeys(found))


def misfits(traces: Sequence[str], kernels: Sequence[str]) -> dict[tuple[str, str], str]:
    """Return (kernel, trace) of the traces of machines that a kernel does not run on, and why not.

    Raises:
        UsageError: a kernel runs on none of the machines.
    """
    found: dict[tuple[str, str], str] = {}
    for name in kernels:
        kernel = named(name)
        for path in traces:
            try:
                with TraceFile.open(path, verify=False) as trace:
                    refuse_mismatch(trace.machine, kernel, path)
            except UsageError as error:
                found[name, path] = str(error).removeprefix(f"{path}: ")
            except (InputError, OSError):
                continue  # said when it is replayed
        if traces and all((name, path) in found for path in traces):
            raise UsageError(f"{traces[0]}: {found[name, traces[0]]}")
    return found


def meet(path: str | os.PathLike[str], kernel: Profile) -> Met:
    """Replay a trace through a kernel, and return the states that it meets.

    Raises:
        TraceError: the trace is damaged.
        UsageError: the profile cannot replay this machine.
    """
    with TraceFile.open(path) as trace:
        meeting = Meeting(kernel, trace.machine, trace.strings, os.fspath(path))
        for batch in trace.batches():
            meeting.feed(batch)
        return meeting.finish()


class Meeting:
    """A replay that notes which states it meets.

    Args:
        kernel: the kernel.
        machine: before the first event.
        strings: names that ``label`` refers to.
        where: name of the trace, for errors.

    Raises:
        UsageError: the profile cannot replay this machine.
    """

    def __init__(self, kernel: Profile, machine: MachineDescription, strings: tuple[str, ...], where: str) -> None:
        self._collector = _Collector(kernel, config_for(machine, kernel.features))
        listened = {
            name: function
            for name, function in CHANGEABLE.items()
            if name not in _LOOKUPS and not isinstance(function, PoisonFunction) and function not in _DERIVED
        }
        rules = telling(kernel.rules, listened, self._collector.told)
        listening = Profile(kernel.name, kernel.features, kernel.poison_only, rules)
        self._replayer = Replayer(machine, listening, strings, observer=self._collector, where=where)

    def feed(self, batch: Batch) -> None:
        """Replay the rows of a batch."""
        self._replayer.feed(batch)

    def take(self) -> Met:
        """Return what was met since this was asked last; calls by check are not counted."""
        met = self._collector.met
        self._collector.ask_accessors()
        self._collector.met = Met(met.kernel, configs=set(met.configs))
        return met

    def finish(self) -> Met:
        """Return what was met, with the calls of the whole replay by check."""
        met, tally = self.take(), self._replayer.finish()
        met.decided = {name: Counter(counts) for name, counts in tally.checks.items()}
        return met


class _Collector:
    """Takes what a replay tells."""

    def __init__(self, kernel: Profile, config: KernelConfig) -> None:
        self.met = Met(kernel, configs={config})
        self._config = config

    def told(self, function: KernelFunction[Any], state: Any) -> None:  # noqa: ANN401
        self._states(function.name, type(state)).rows.update(_rows(state))

    def lookups(self, function: str, codes: NDArray[np.uint16]) -> None:
        self._states(function, None).rows.update((self._config, code) for code in codes.tolist())

    def metadata(self, facts: set[tuple[bool, bool]]) -> None:
        self._states(PGMAP_PFN_VALID.name, MetadataFacts).rows.update(facts)

    def poison(self, calls: Sequence[Decided], rows: NDArray[np.int64], like: NDArray[np.int64]) -> None:
        for call, count in with_counts(calls, like):
            self._poison(call, count)

    def _poison(self, call: Decided, count: int) -> None:
        self.met.pages[page_words(call.page)] += count
        if call.undecided:
            return
        values = tuple(_plain(call.attributes.get(name, default)) for name, default in DEFAULTS.items())
        self._states(call.kind.name.lower(), PoisonState).rows[values] += count

    def ask_accessors(self) -> None:
        """Note what killing the accessing process was asked about: pages on which its return code is the answer."""
        met = self.met
        states = met.states.get("memory_failure")
        function = met.function("memory_failure")
        for group, count in states.groups(met.kernel) if states else ():
            decided = function.tabulate(group, count, met.kernel.features).check.tolist()
            asks = [getattr(check.answer, "ret", None) is Ret.ACCESSOR for check in function.checks]
            rows = [row for row, check in zip(states.rows if states else (), decided, strict=True) if asks[check]]
            self._states(KILL_ACCESSING_PROCESS.name, PoisonState).rows.update(rows)

    def _states(self, name: str, kind: type | None) -> States:
        return self.met.states.setdefault(name, States(kind))


def page_words(page: Page) -> str:
    """Return the state of a page in words: kind, flags, mapping."""
    if page.kind == PageKind.UNKNOWN:
        return "not described"
    flags = [flag.name.lower() for flag in PageFlag if page.flags & flag and flag.name]
    size = [f"order {page.order}"] if page.order else []
    mapping = [MappingClass(page.mapping).name.lower()] if page.kind == PageKind.LRU and "anon" not in flags else []
    return " ".join([PageKind(page.kind).name.lower(), *mapping, *size, *flags])


def _rows(state: Any) -> Iterable[_Row]:  # noqa: ANN401
    """Return the values of all fields, nested ones too, one tuple for each state."""
    columns = [np.atleast_1d(np.asarray(value)) for value in _leaves(state)]
    size = max((column.size for column in columns), default=1)
    return zip(*(np.broadcast_to(column, (size,)).tolist() for column in columns), strict=True)


def _leaves(state: Any) -> Iterator[object]:  # noqa: ANN401
    for f in fields(state):
        value = getattr(state, f.name)
        if is_dataclass(value):
            yield from _leaves(value)
        elif f.name != "features":
            yield value


def _built(kind: type, columns: Iterator[NDArray[Any]], features: frozenset[str]) -> Any:  # noqa: ANN401
    """Return a state of arrays, the reverse of ``_leaves``."""
    if kind is PoisonState:
        named = dict(zip(DEFAULTS, columns, strict=True))
        return PoisonState.of(named["kind"].size, features, **named)
    values: dict[str, object] = {}
    for f in fields(kind):
        inner = _nested(kind, f.name)
        values[f.name] = _built(inner, columns, features) if inner is not None else next(columns)
    return kind(**values)


@functools.cache
def _nested(kind: type, name: str) -> type | None:
    """Return the class of a field that is a state itself."""
    found = typing.get_type_hints(kind)[name]
    return found if isinstance(found, type) and is_dataclass(found) else None


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


@dataclass(frozen=True)
class _Task:
    trace: str
    place: Place
    kernel: str | Profile


def meet_many(
    traces: Sequence[str],
    kernels: Sequence[str],
    *,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Tell | None = None,
    without: Container[tuple[str, str]] = (),
) -> Iterator[tuple[str, Met | InputError]]:
    """Yield (kernel, what a trace meets in it) for every trace and kernel, or the error of that trace.

    Args:
        traces: paths.
        kernels: names of profiles or candidates.
        workers: processes.
        scheduler: address of a Dask scheduler.
        progress: is told (done, in all).
        without: (kernel, trace) that are left out.
    """
    tasks = [
        _Task(trace, place_of(trace, scheduler), kernel)
        for kernel in kernels
        for trace in traces
        if (str(kernel), trace) not in without
    ]
    results = run_tasks(_meet, tasks, workers=workers, scheduler=scheduler, progress=progress, name=lambda t: t.trace)
    for task, result in zip(tasks, results, strict=True):
        yield str(task.kernel), result


def _meet(task: _Task, _tell: Tell) -> Met:
    return meet(task.place.here(), named(task.kernel))
