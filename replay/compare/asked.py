"""What a kernel function was asked, and which of its checks held: functions that tell when they decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np

from replay.kernel.decision import Check, Decisions, KernelFunction
from replay.kernel.poison_calls import PoisonFunction
from replay.kernel.rules import Mark, Rules

__all__ = ("Asked", "Step", "steps_of", "telling")

Tell = Callable[[KernelFunction[Any], Any], None]


@dataclass(frozen=True)
class Step:
    """One check, as it came to one state.

    Attributes:
        check: the check.
        reads: fields of the state that its condition looks at, with their values.
        holds: the condition is true.
    """

    check: Check[Any]
    reads: Mapping[str, object]
    holds: bool


@dataclass(frozen=True)
class Asked:
    """One decision.

    Attributes:
        function: which function was asked.
        steps: the checks that were made, in order; the last one decided.
    """

    function: str
    steps: tuple[Step, ...]

    @property
    def decided(self) -> Check[Any]:
        """The check that decided."""
        return self.steps[-1].check


def steps_of(function: KernelFunction[Any], state: Any, features: frozenset[str]) -> Asked:  # noqa: ANN401
    """Make the checks of a function on one state, up to the one that decides.

    Args:
        function: with its checks.
        state: fields are scalars, or arrays of one element.
        features: of the kernel.
    """
    steps = []
    for _, check in function.active(features):
        watched, reads = _watched(state)
        holds = bool(np.all(check.when(watched)))
        steps.append(Step(check, {name: _plain(value) for name, value in reads.items()}, holds))
        if holds:
            break
    return Asked(function.name, tuple(steps))


def telling(rules: Rules, functions: Mapping[str, KernelFunction[Any]], tell: Tell) -> Rules:
    """Return the same rules, with functions that tell of every single decision.

    Args:
        rules: of the kernel.
        functions: the built-in functions to listen to.
        tell: is told the function and the state.
    """
    listening = {name: _listening(rules.function(f), tell) for name, f in functions.items()}
    return Rules({**rules.functions, **listening}, rules.marks, rules.hooks, rules.digest)


@dataclass(frozen=True, eq=False)
class _Telling(KernelFunction[Any]):
    tell: Tell

    def decide(self, state: Any, features: frozenset[str]) -> int:  # noqa: ANN401
        self.tell(self, state)
        return super().decide(state, features)

    def tabulate(self, states: Any, count: int, features: frozenset[str]) -> Decisions:  # noqa: ANN401
        self.tell(self, states)
        return super().tabulate(states, count, features)


@dataclass(frozen=True, eq=False)
class _TellingPoison(PoisonFunction):
    tell: Tell

    def decide(self, state: Any, features: frozenset[str]) -> int:  # noqa: ANN401
        self.tell(self, state)
        return super().decide(state, features)


def _listening(function: KernelFunction[Any], tell: Tell) -> KernelFunction[Any]:
    kind = _TellingPoison if isinstance(function, PoisonFunction) else _Telling
    return kind(function.name, function.checks, tell)


def _watched(state: Any) -> tuple[Any, dict[str, object]]:  # noqa: ANN401
    """Return a twin of a state that notes which of its fields are asked for; what fields ask in turn is not noted."""
    reads: dict[str, object] = {}
    kind = type(state)
    names = set(_names(kind))
    depth = [0]

    def look(self: Any, name: str) -> Any:  # noqa: ANN401
        found = object.__getattribute__(self, name) if name not in names else None
        if name == "mark" and found is not None:

            def mark(asked: Mark) -> object:
                return reads.setdefault(asked.name, found(asked))

            return mark
        if name not in names:
            return found
        depth[0] += 1
        try:
            value = object.__getattribute__(self, name)
        finally:
            depth[0] -= 1
        if depth[0] == 0 and not callable(value):
            reads[name] = value
        return value

    twin: Any = object.__new__(type(kind.__name__, (kind,), {"__getattribute__": look}))
    for field in fields(state) if is_dataclass(state) else ():
        object.__setattr__(twin, field.name, getattr(state, field.name))
    return twin, reads


def _names(kind: type) -> Iterator[str]:
    """Yield the fields and properties of a state, without what holds for all states."""
    hidden = {"features", "config", "rules", "code"}
    for field in fields(kind):
        if field.name not in hidden:
            yield field.name
    for name in dir(kind):
        if isinstance(getattr(kind, name, None), property | cached_property):
            yield name


def _plain(value: object) -> object:
    """Return a value as a number or a truth, whatever array it comes in."""
    if is_dataclass(value):
        return type(value).__name__
    found = np.asarray(value).reshape(-1)
    if found.size != 1:
        return str(value)
    item = found[0].item() if hasattr(found[0], "item") else found[0]
    return int(item) if isinstance(item, IntEnum) else item
