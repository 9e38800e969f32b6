"""Which checks traces exercise: decided, only passed, or never reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from replay.compare.met import Met
from replay.kernel.decision import Check, KernelFunction
from replay.kernel.poison_calls import PoisonFunction
from replay.kernel.registry import FUNCTIONS
from replay.kernel.walk import LOOKUP_FUNCTIONS, WalkState

__all__ = ("CheckCoverage", "Coverage", "FunctionCoverage", "coverage_of", "functions_of")

_LOOKUPS = {function.name for function in LOOKUP_FUNCTIONS}


class Reached(Enum):
    """How far traces came with a check."""

    DECIDED = "decided"  # it decided some call
    PASSED = "reached"  # it was made, and did not hold
    NEVER = "never"  # something else decided before
    ELSEWHERE = "elsewhere"  # the configuration of these machines rules it out


@dataclass(frozen=True)
class CheckCoverage:
    """One check.

    Attributes:
        check: the check.
        calls: that it decided.
        reached: how far the traces came with it.
    """

    check: Check[Any]
    calls: int
    reached: Reached


@dataclass(frozen=True)
class FunctionCoverage:
    """One function of one kernel.

    Attributes:
        name: under which its calls are counted.
        checks: those that the kernel makes, in order.
        states: different states that it was asked about.
        calls: all calls.
    """

    name: str
    checks: tuple[CheckCoverage, ...]
    states: int
    calls: int

    def count(self, reached: Reached) -> int:
        """Return how many checks were reached so far."""
        return sum(c.reached is reached for c in self.checks)


@dataclass(frozen=True)
class Coverage:
    """What traces exercise of one kernel.

    Attributes:
        profile: name of the kernel.
        functions: those that events of a trace can ask for.
        pages: poison calls by the state of the page, most frequent first.
        traces: how many were replayed.
    """

    profile: str
    functions: tuple[FunctionCoverage, ...]
    pages: Sequence[tuple[str, int]]
    traces: int

    @property
    def missing(self) -> list[tuple[str, CheckCoverage]]:
        """(function, check) of the checks that decided nothing although these machines could have them."""
        return [(f.name, c) for f in self.functions for c in f.checks if c.reached in {Reached.PASSED, Reached.NEVER}]


def coverage_of(met: Met, traces: int) -> Coverage:
    """Return what the traces that were met exercise, function by function."""
    functions = tuple(_function(met, name) for name in functions_of(met))
    return Coverage(met.kernel.name, functions, met.pages.most_common(), traces)


def functions_of(met: Met) -> list[str]:
    """Return the functions of a kernel that events of a trace can ask for, by the names under which calls are counted."""
    old = "poison-2009" in met.kernel.features
    walk = [] if met.kernel.poison_only else [f.name for f in FUNCTIONS.values()]
    calls = ["memory_failure"] if old else ["memory_failure", "soft_offline_page", "unpoison_memory"]
    signals = ["kill_procs_2009"] if old else ["kill_procs", "kill_accessing_process", "access"]
    return [*walk, *calls, *signals]


def _function(met: Met, name: str) -> FunctionCoverage:
    function = met.function(name)
    counts = _counts(met, name, function)
    active = [check for _, check in function.active(met.kernel.features)]
    beyond = sum(counts.values())
    possible = _possible(met, name, function)
    found = []
    for check in active:
        calls = counts.get(check.id, 0)
        if calls:
            reached = Reached.DECIDED
        elif check.id not in possible:
            reached = Reached.ELSEWHERE
        else:
            reached = Reached.PASSED if beyond else Reached.NEVER
        beyond -= calls
        found.append(CheckCoverage(check, calls, reached))
    states = met.states.get(name)
    return FunctionCoverage(name, tuple(found), len(states.rows) if states else 0, sum(counts.values()))


def _counts(met: Met, name: str, function: KernelFunction[Any]) -> Counter[str]:
    """Return calls by check; of functions that only others ask, the states by check."""
    counted = met.decided.get(name)
    if counted is not None and name not in {"kill_procs", "kill_procs_2009", "kill_accessing_process"}:
        return Counter({check: n for check, n in counted.items() if check != "undecided"})
    found: Counter[str] = Counter()
    states = met.states.get(name)
    for group, count in states.groups(met.kernel) if states else ():
        for number in function.tabulate(group, count, met.kernel.features).check.tolist():
            found[function.checks[number].id] += 1
    return found


def _possible(met: Met, name: str, function: KernelFunction[Any]) -> set[str]:
    """Return the checks that can decide at all on machines such as those of the traces."""
    everything = {check.id for check in function.checks}
    if name not in _LOOKUPS or isinstance(function, PoisonFunction):
        return everything
    found: set[str] = set()
    for config in met.configs:
        codes = np.arange(1 << 13 + len(met.kernel.rules.marks), dtype=np.uint16)
        states = WalkState(codes, config, met.kernel.features, met.kernel.rules)
        numbers = np.unique(function.tabulate(states, codes.size, met.kernel.features).check)
        found |= {function.checks[number].id for number in numbers.tolist()}
    return found or everything
