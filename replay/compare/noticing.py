"""Which mistakes a state shows: the answers of a kernel function and of its mutants, over states that were met."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.compare.diff_answers import plain_words
from replay.compare.diff_sides import Side
from replay.compare.met import Met, States
from replay.compare.mutants import Mutant, mutants
from replay.compare.regions import subject_of
from replay.kernel.calls import Kernel
from replay.kernel.config import KernelConfig
from replay.kernel.decision import Bools, KernelFunction
from replay.kernel.kill import KILL_ACCESSING_PROCESS
from replay.kernel.poison_calls import PoisonFunction, verdicts
from replay.kernel.profiles import Profile

__all__ = ("Noticing",)

_SEEN = ("ret", "action", "result", "poison", "counted", "effect", "kills", "unmapped", "entries", "event", "undecided")


class Noticing:
    """One function of one kernel, its mutants, and what can be seen of their answers.

    Args:
        kernel: the kernel.
        name: under which calls of the function are counted.

    Attributes:
        function: the kernel's form.
        mutants: all of them.
    """

    def __init__(self, kernel: Profile, name: str) -> None:
        self.kernel = kernel
        self.function = Met(kernel).function(name)
        self.mutants: tuple[Mutant, ...] = tuple(mutants(self.function, kernel.features))
        subject = subject_of(self.function, Side.of(kernel))
        self._subject = subject.name, subject.area
        self._words: dict[str, int] = {}

    def noticed(self, states: States) -> list[Mutant]:
        """Return the mutants that answer some of these states otherwise."""
        groups = [
            (group, count, self._seen(self.function, group, count)) for group, count in states.groups(self.kernel)
        ]
        return [
            mutant
            for mutant in self.mutants
            if any(
                self._differ(before, self._seen(mutant.function, group, count)).any() for group, count, before in groups
            )
        ]

    def each(
        self, rows: Iterable[tuple[object, ...]], kind: type | None
    ) -> Iterator[tuple[tuple[object, ...], set[str]]]:
        """Yield (state, what it shows): words of the mutants that answer it otherwise, and ``decided`` with a check's id.

        Args:
            rows: states, as ``States`` has them.
            kind: class of the states, None for lookups.
        """
        by_config: dict[object, list[tuple[object, ...]]] = {}
        for row in rows:
            by_config.setdefault(row[0] if kind is None else None, []).append(row)
        for mine in by_config.values():
            ordered = mine if kind is not None else sorted(mine, key=lambda row: int(str(row[1])))
            for group, count in States(kind, Counter(ordered)).groups(self.kernel):
                before = self._seen(self.function, group, count)
                checks = self.function.tabulate(group, count, self.kernel.features).check
                found = [{f"decided {self.function.checks[n].id}"} for n in checks.tolist()]
                for mutant in self.mutants:
                    for n in np.flatnonzero(self._differ(before, self._seen(mutant.function, group, count))).tolist():
                        found[n].add(mutant.words)
                yield from zip(ordered, found, strict=True)

    def _seen(self, function: KernelFunction[Any], group: Any, count: int) -> list[NDArray[Any]]:  # noqa: ANN401
        """Return what can be seen of the answers to states, column by column."""
        features = self.kernel.features
        if isinstance(function, PoisonFunction):
            plain = Kernel(features, KernelConfig(), self.kernel.rules)
            found = verdicts(function, group, count, plain.function(KILL_ACCESSING_PROCESS))
            return [np.broadcast_to(np.asarray(getattr(found, column)), (count,)) for column in _SEEN]
        seen = [plain_words(*self._subject, check) for check in function.checks]
        words = [self._words.setdefault(answer, len(self._words)) for answer in seen]
        return [np.array(words)[function.tabulate(group, count, features).check]]

    @staticmethod
    def _differ(a: list[NDArray[Any]], b: list[NDArray[Any]]) -> Bools:
        return np.asarray(np.logical_or.reduce([x != y for x, y in zip(a, b, strict=True)]))
