"""Every state in which two kernels decide differently, found without any trace, and so a proof where there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from replay.compare.diagrams import EMPTY, Function
from replay.compare.diff_answers import PlainAnswers, PoisonAnswers
from replay.compare.diff_functions import Compared, compare_function
from replay.compare.diff_lookups import LookupSpace
from replay.compare.diff_sides import AREAS, DEFAULT_AREAS, SUBJECTS, SWAPS, Side, Subject
from replay.compare.diff_spaces import Space
from replay.compare.diff_states import facts_space, poison_space
from replay.errors import UnknownNameError, UsageError
from replay.kernel.poison_state import PoisonState
from replay.kernel.profiles import Profile
from replay.kernel.walk import WalkState

__all__ = ("DEFAULT_SCOPE", "Difference", "Scope", "Spaces", "diff")

# Functions of which the condition of a check asks others.
_ASKS = {"pfn_to_online_page": ("pfn_valid",), "kpageflags": ("pfn_to_online_page", "pfn_valid")}
_ASKING = ("memory_failure", "soft_offline_page", "unpoison_memory")
_ASKED = ("pfn_valid", "pfn_to_online_page", "pgmap_pfn_valid")


@dataclass(frozen=True)
class Scope:
    """What is asked for.

    Attributes:
        areas: of ``AREAS``.
        functions: names; with any, only these are compared, whatever the areas.
        arch: architecture, "" for all configurations.
    """

    areas: tuple[str, ...] = DEFAULT_AREAS
    functions: tuple[str, ...] = ()
    arch: str = "x86_64"

    def __post_init__(self) -> None:
        for area in self.areas:
            if area not in AREAS:
                raise UnknownNameError("area", area, AREAS, f"there are {', '.join(AREAS)}")
        for name in self.functions:
            if name not in {s.name for s in SUBJECTS}:
                raise UnknownNameError("function", name, [s.name for s in SUBJECTS])

    def has(self, subject: Subject) -> bool:
        """Return whether a function is asked for."""
        return subject.name in self.functions if self.functions else subject.area in self.areas


DEFAULT_SCOPE = Scope()


class Spaces:
    """The state spaces of all functions, made when they are first needed."""

    def __init__(self, sides: Sequence[Side]) -> None:
        self._sides = sides
        self._spaces: dict[type[Any], Space] = {}

    def __getitem__(self, state: type[Any]) -> Space:
        if state not in self._spaces:
            if state is WalkState:
                self._spaces[state] = LookupSpace(self._sides)
            else:
                self._spaces[state] = self._poison() if state is PoisonState else facts_space(state)
        return self._spaces[state]

    def _poison(self) -> Space:
        forms = [s.form(side) for s in SUBJECTS for side in self._sides if s.state is PoisonState]
        answers = [check.answer.value for form in forms if form is not None for check in form.checks]
        return poison_space({value for value in answers if value < 0})

    @property
    def lookups(self) -> LookupSpace:
        """The space of the lookups."""
        space = self[WalkState]
        assert isinstance(space, LookupSpace)
        return space


@dataclass(frozen=True)
class Difference:
    """Two kernels, compared.

    Attributes:
        p: one.
        q: the other.
        scope: what was asked for.
        compared: functions within that.
        outside: the other functions.
        elsewhere: lookups in configurations that were not asked for.
        missing: functions of which nothing is known in one of the kernels, or that it has not.
    """

    p: Side
    q: Side
    scope: Scope
    compared: tuple[Compared, ...]
    outside: tuple[Compared, ...]
    elsewhere: tuple[Compared, ...]
    missing: tuple[str, ...]

    @property
    def equivalent(self) -> bool:
        """Whether nothing that was asked for differs."""
        return not any(c.changes for c in self.compared) and not self.missing

    @cached_property
    def silent(self) -> tuple[str, ...]:
        """Features that one kernel has and the other has not, and that no check depends on."""
        causes = {f for c in self._everything for change in c.changes for f in change.cause.features}
        return tuple(sorted((self.p.features ^ self.q.features) - causes - set(self.asked_besides)))

    @cached_property
    def asked_besides(self) -> tuple[str, ...]:
        """Features of one kernel that conditions ask for, but that are the reason for no difference themselves."""
        causes = {f for c in self._everything for change in c.changes for f in change.cause.features}
        asked = {f for c in self._everything if c.changes for f in c.asked}
        return tuple(sorted((self.p.features ^ self.q.features) & asked - causes))

    @property
    def _everything(self) -> tuple[Compared, ...]:
        return (*self.compared, *self.outside, *self.elsewhere)

    @property
    def follows(self) -> tuple[str, ...]:
        """Lookups that differ, and that poison calls ask: their conditions speak of each kernel's own answers."""
        if not any(c.function in _ASKING for c in self.compared):
            return ()
        here = (*self.compared, *self.outside)
        return tuple(c.function for c in here if c.changes and c.function in _ASKED)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What is taken for granted about the marks and hooks of candidates."""
        said = []
        for side in (self.p, self.q):
            stands = [mark for mark in side.rules.marks if mark.same_as]
            said += [f"the mark {mark.name} of {side.name} is taken for the kernel's {mark.same_as}" for mark in stands]
            if side.rules.hooks:
                said.append(f"what the hooks of {side.name} do is not compared, only what is decided")
        if len(set(self.p.rules.marks) & set(self.q.rules.marks)) and self.p.rules.hooks != self.q.rules.hooks:
            said.append("marks that both have are taken for the same, though their hooks differ")
        return tuple(said)


def diff(p: Profile, q: Profile, scope: Scope = DEFAULT_SCOPE) -> Difference:
    """Compare two kernels in all states.

    Args:
        p: one kernel.
        q: the other.
        scope: functions and configurations that are asked for. The others are compared as well, for a note that they differ.

    Raises:
        UsageError: nothing that was asked for is known of both kernels.
    """
    sides = Side.of(p), Side.of(q)
    spaces = Spaces(sides)
    lookups = spaces.lookups
    possible = lookups.possible
    inside = lookups.diagrams.both(possible, lookups.configuration(scope.arch))
    rest = lookups.diagrams.without(possible, inside)
    found = {c.function: c for c in _compare(sides, spaces, inside)}
    wanted = {s.name for s in SUBJECTS if scope.has(s)}
    if wanted.isdisjoint(found):
        raise UsageError(f"{p.name} and {q.name}: of one of them nothing is known about {', '.join(sorted(wanted))}")
    elsewhere = () if rest == EMPTY else _compare(sides, spaces, rest, only=WalkState)
    return Difference(
        *sides,
        scope,
        compared=tuple(c for name, c in found.items() if name in wanted),
        outside=tuple(c for name, c in found.items() if name not in wanted),
        elsewhere=tuple(elsewhere),
        missing=tuple(s.name for s in SUBJECTS if s.name in wanted and s.name not in found),
    )


def _compare(
    sides: tuple[Side, Side], spaces: Spaces, lookups: Function, only: type[Any] | None = None
) -> Iterator[Compared]:
    """Compare all functions that are known of both kernels, the lookups within some states."""
    found: dict[str, Compared] = {}
    for subject in SUBJECTS:
        forms = [subject.form(side) for side in sides]
        if forms[0] is None or forms[1] is None or (only is not None and subject.state is not only):
            continue
        space = spaces[subject.state]
        answers: PlainAnswers | PoisonAnswers = PlainAnswers(space, subject.name, subject.area)
        if subject.area == "errors":
            answers = PoisonAnswers(space)
        scope = lookups if subject.state is WalkState else space.possible
        follows = [found[name] for name in _ASKS.get(subject.name, ())]
        swapped = frozenset(SWAPS) & (sides[0].features ^ sides[1].features) if subject.before else frozenset()
        found[subject.name] = compare_function(
            subject.name, space, answers, (sides[0], forms[0]), (sides[1], forms[1]), scope, follows, swapped
        )
        yield found[subject.name]
