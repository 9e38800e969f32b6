"""A candidate: checks, marks and hooks put into a kernel, one change at a time."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

from replay.candidate.conditions import guarded
from replay.errors import CandidateError, ReplayError, did_you_mean
from replay.kernel.decision import Answer, Check, KernelFunction
from replay.kernel.other_functions import POISON_FUNCTIONS
from replay.kernel.poison_calls import PoisonAnswer, PoisonCheck, PoisonFunction
from replay.kernel.profiles import Profile, profile
from replay.kernel.registry import CALLS, DEVICE_FUNCTIONS, FUNCTIONS
from replay.kernel.rules import PHASES, Grain, Hook, Mark, Rules
from replay.kernel.walk import MAX_MARKS

__all__ = ("CHANGEABLE", "Candidate")

Condition: TypeAlias = Callable[[Any], Any]
C = TypeVar("C", bound=Callable[..., Any])

CHANGEABLE: dict[str, KernelFunction[Any]] = {
    function.name: function for function in (*FUNCTIONS.values(), *DEVICE_FUNCTIONS, *POISON_FUNCTIONS)
}
"""The functions that a replay asks for, by the kernel's name."""


class Candidate:
    """A kernel under construction: a base, and what is changed of it.

    Args:
        base: a profile's name (``"v5.11"``, ``"v5.11+taint-zone-device"``), or another candidate, of which this is then
            a further change.

    Raises:
        CandidateError: from any method, naming the file and line that called it.
    """

    def __init__(self, base: str | Candidate) -> None:
        self._functions: dict[str, KernelFunction[Any]] = {}
        self._marks: list[Mark] = []
        self._hooks: dict[tuple[str, str], tuple[Hook, ...]] = {}
        if isinstance(base, Candidate):
            self._base: Profile = base._base
            self._functions |= base._functions
            self._marks += base._marks
            self._hooks |= base._hooks
            return
        try:
            self._base = profile(base)
        except ReplayError as error:
            raise CandidateError(_caller(), str(error)) from error

    def checks(self, function: str) -> tuple[str, ...]:
        """Return the ids of a function's checks, in order."""
        return tuple(check.id for check in self._function(function).checks)

    def insert(
        self,
        function: str,
        *,
        answer: Answer,
        before: str = "",
        after: str = "",
        slow: bool = False,
        page: bool = True,
    ) -> Callable[[C], C]:
        """Put in a check: the decorated function is its condition, its name the check's id, its docstring the reason.

        Args:
            function: the kernel's name of the function that is changed.
            answer: what it answers where the condition holds.
            before: id of the check that comes next; give this or ``after``.
            after: id of the check that comes before.
            slow: a pagemap is looked up for it (counted as the slow path of pfn_to_online_page).
            page: of a poison call: the struct page is looked at, so that nothing can be said of a page that the trace does
                not describe.
        """
        where = _caller()
        if bool(before) == bool(after):
            raise CandidateError(where, "give either before= or after=, the id of a check")

        def put(condition: C) -> C:
            at = self._at(function, before or after, where) + bool(after)
            checks = list(self._function(function).checks)
            new = self._check(function, _id(condition), condition, answer, slow=slow, page=page, where=where)
            self._set(function, [*checks[:at], new, *checks[at:]], where)
            return condition

        return put

    def replace(self, function: str, check: str, *, answer: Answer | None = None) -> Callable[[C], C]:
        """Give a check another condition (the decorated function), and another answer if one is given."""
        where = _caller()

        def put(condition: C) -> C:
            at = self._at(function, check, where)
            checks = list(self._function(function).checks)
            old = checks[at]
            page = getattr(old, "page", True)
            checks[at] = self._check(
                function, check, condition, answer or old.answer, slow=old.slow, page=page, where=where
            )
            self._set(function, checks, where)
            return condition

        return put

    def answer(self, function: str, check: str, answer: Answer) -> None:
        """Let a check answer something else."""
        where = _caller()
        at = self._at(function, check, where)
        checks = list(self._function(function).checks)
        self._fits(function, answer, where)
        checks[at] = replace(checks[at], answer=answer, source=where)
        self._set(function, checks, where)

    def remove(self, function: str, *checks: str) -> None:
        """Take checks out."""
        where = _caller()
        for check in checks:
            self._at(function, check, where)
        self._set(function, [c for c in self._function(function).checks if c.id not in checks], where)

    def move(self, function: str, check: str, *, before: str) -> None:
        """Let a check be made before another one."""
        where = _caller()
        at = self._at(function, check, where)
        checks = list(self._function(function).checks)
        moved = checks.pop(at)
        to = (
            [c.id for c in checks].index(before)
            if before in {c.id for c in checks}
            else self._at(function, before, where)
        )
        self._set(function, [*checks[:to], replace(moved, source=where), *checks[to:]], where)

    def checks_of(self, function: str) -> tuple[Check[Any], ...]:
        """Return a function's checks as they are now, to choose among them by their answers."""
        return self._function(function, _caller()).checks

    def mark(self, name: str, *, grain: str, same_as: str = "") -> Mark:
        """Keep one more bit of state; the result is called with a state in conditions, and set and cleared in hooks.

        Args:
            name: unique within the candidate.
            grain: ``"section"`` (goes when the section goes), ``"subsection"`` or ``"page"``.
            same_as: the state field that it stands for in kernels that have it (``"taint"``), for comparisons.
        """
        where = _caller()
        if grain not in {g.value for g in Grain}:
            raise CandidateError(where, f"unknown grain {grain!r}; needed section, subsection or page")
        if len(self._marks) == MAX_MARKS or any(m.name == name for m in self._marks):
            have = ", ".join(m.name for m in self._marks)
            raise CandidateError(
                where, f"no room for mark {name!r}: there are {have}; needed at most {MAX_MARKS}, by new names"
            )
        mark = Mark(name, Grain(grain), same_as)
        self._marks.append(mark)
        return mark

    def on(self, function: str, phase: str) -> Callable[[Hook], Hook]:
        """Call the decorated function whenever a call reaches a phase.

        Args:
            function: a call that changes the machine (``memremap_pages``, ``add_memory`` …), or ``boot``.
            phase: ``begin``, ``sections``, ``zone`` (memremap_pages), ``done``; ``boot`` for boot.
        """
        where = _caller()
        calls = {f.name for kind, f in FUNCTIONS.items() if kind in CALLS} | {"boot"}
        if function not in calls:
            raise CandidateError(
                where, f"no call {function!r}{did_you_mean(function, calls)}; there are {', '.join(sorted(calls))}"
            )
        if (
            phase not in PHASES
            or (phase == "boot") != (function == "boot")
            or (phase == "zone") > (function == "memremap_pages")
        ):
            raise CandidateError(
                where,
                f"{function} has no phase {phase!r}; needed begin, sections or done (zone of memremap_pages, boot of boot)",
            )

        def put(hook: Hook) -> Hook:
            key = function, phase
            self._hooks[key] = (*self._hooks.get(key, ()), guarded(hook, f"hook on {function}", boolean=False))
            return hook

        return put

    def profile(self, name: str, digest: str) -> Profile:
        """Return the profile that replays this candidate.

        Args:
            name: what it is called in results, such that it can be named again.
            digest: identity of its source.
        """
        base = self._base
        rules = Rules(dict(self._functions), tuple(self._marks), dict(self._hooks), digest)
        return Profile(name, base.features, base.poison_only, rules)

    def _function(self, name: str, where: str = "") -> KernelFunction[Any]:
        """Return a function as it is now: what was changed, or the base's checks."""
        if name in self._functions:
            return self._functions[name]
        if name not in CHANGEABLE:
            hint = did_you_mean(name, CHANGEABLE)
            raise CandidateError(where or _caller(), f"no function {name!r}{hint}; there are {', '.join(CHANGEABLE)}")
        built_in = CHANGEABLE[name]
        active: KernelFunction[Any] = replace(
            built_in, checks=tuple(check for _, check in built_in.active(self._base.features))
        )
        return active

    def _at(self, function: str, check: str, where: str) -> int:
        ids = [c.id for c in self._function(function, where).checks]
        if check not in ids:
            hint = did_you_mean(check, ids)
            raise CandidateError(
                where, f"{function} of {self._base.name} has no check {check!r}{hint}; there are {', '.join(ids)}"
            )
        return ids.index(check)

    def _check(
        self, function: str, id_: str, condition: Condition, answer: Answer, *, slow: bool, page: bool, where: str
    ) -> Check[Any]:
        self._fits(function, answer, where)
        when = guarded(condition, f"check {id_} of {function}")
        why = (inspect.getdoc(condition) or "").partition("\n")[0]
        source = _place(condition.__code__.co_filename, condition.__code__.co_firstlineno)
        if isinstance(CHANGEABLE[function], PoisonFunction):
            return PoisonCheck(id_, when, answer, why=why, slow=slow, source=source, page=page)
        return Check(id_, when, answer, why=why, slow=slow, source=source)

    def _fits(self, function: str, answer: Answer, where: str) -> None:
        """Refuse an answer that the function cannot give."""
        self._function(function, where)
        wants = isinstance(CHANGEABLE[function], PoisonFunction)
        if not isinstance(answer, Answer) or isinstance(answer, PoisonAnswer) != wants:
            needed = "poison_answer(...) or PANIC" if wants else "yes(name), no(name) or returns(errno)"
            raise CandidateError(where, f"{function} cannot answer {answer!r}; needed {needed}")

    def _set(self, function: str, checks: list[Check[Any]], where: str) -> None:
        ids = [c.id for c in checks]
        if twice := [i for i in ids if ids.count(i) > 1]:
            raise CandidateError(where, f"{function} would have two checks {twice[0]!r}; needed a name of its own")
        self._functions[function] = replace(self._function(function, where), checks=tuple(checks))


def _id(condition: Condition) -> str:
    return condition.__name__.strip("_").replace("_", "-")


def _caller() -> str:
    """Return file and line of the candidate's statement that called a method."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return _place(frame.f_code.co_filename, frame.f_lineno)


def _place(file: str, line: int) -> str:
    return f"{os.path.relpath(file) if os.path.isabs(file) else file}:{line}"
