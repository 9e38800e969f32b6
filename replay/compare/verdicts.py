"""From numbers in outcome columns to verdicts in words, for one kernel."""

from __future__ import annotations

from enum import Enum
from typing import Any

from replay.compare.causes import Verdict
from replay.engine.poison_compare import event_text
from replay.engine.poison_verdicts import poison_functions
from replay.kernel.calls import Kernel
from replay.kernel.decision import KernelFunction
from replay.kernel.registry import FUNCTIONS, Numbering
from replay.trace.outcomes import CHECK_NONE
from replay.trace.poison import NO_ACTION
from replay.trace.schema import DEVICE_CALLS, LOOKUPS, POISON_CALLS, EventKind

__all__ = ("KernelWords", "Unproven")

_UNDECIDED = Verdict("undecided", "undecided", "undecided")


class Unproven(Enum):
    """Of which calls a recorded answer proves nothing about a kernel."""

    NONE = "every recorded answer is compared"
    SAME = "the row itself imposed the answer, so being the same is no agreement"
    ALL = "this kernel's answer is not decided, or it has no such function"

    def counted(self, same: int, recorded: int) -> tuple[int, int]:
        """Return how many calls agree, and of how many nothing is proved; ``same``: those answered as recorded."""
        if self is Unproven.ALL:
            return 0, recorded
        return (0, same) if self is Unproven.SAME else (same, 0)


class KernelWords:
    """The functions of one kernel, and what their numbers in outcomes mean.

    Args:
        kernel: the kernel.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._numbers = Numbering.of(kernel.rules)
        self._poison = poison_functions(kernel)
        self._known: dict[tuple[object, ...], Verdict] = {}

    def function(self, kind: EventKind) -> KernelFunction[Any]:
        """Return the function behind rows of a kind."""
        return self.kernel.function(FUNCTIONS[kind])

    def base(self, kind: EventKind) -> int:
        """Return the number of the function's first check in outcomes."""
        return self._numbers.base[FUNCTIONS[kind].name]

    def same_rules(self, other: KernelWords, kind: EventKind) -> bool:
        """Return whether the function behind rows of a kind is the same in another kernel, whatever it is asked about.

        Rules of poison calls look at features too, so kernels with different features are not taken for the same there;
        whether they are in the states at hand, ``Following`` says.
        """
        if kind in DEVICE_CALLS:
            return self.kernel.features == other.kernel.features  # many functions, by feature
        if kind in POISON_CALLS:
            name = kind.name.lower()
            return self.kernel.features == other.kernel.features and self._poison[name] is other._poison[name]
        a, b = (list(words.function(kind).active(words.kernel.features)) for words in (self, other))
        return [check for _, check in a] == [check for _, check in b]

    def lookup(self, kind: EventKind, check: int) -> Verdict:
        """Return the verdict of a lookup that a check (by its number within the function) decided."""
        step = self.function(kind).checks[check]
        return Verdict(step.id, step.answer.name, str(step.answer.value))

    def call(self, kind: EventKind, check: int, ret: int) -> Verdict:
        """Return the verdict of a call; the number of the check is that of outcomes."""
        if check == CHECK_NONE:
            return Verdict("part of a call", "", "")
        step = self._numbers.checks[check]
        # Calls about devices go through several functions: which one refuses is part of the reason.
        name = self._numbers.names[check] if kind in DEVICE_CALLS else step.id
        return Verdict(name, str(ret) if step.imposed else step.answer.name, str(ret))

    def unproven(self, kind: EventKind, check: int) -> Unproven:
        """Return of which calls that a check decided a recorded answer proves nothing, as ``replay run`` has it.

        Args:
            kind: of the rows.
            check: of lookups and poison calls, its number within the function; else that of outcomes.
        """
        if kind in POISON_CALLS:
            return Unproven.ALL if check == CHECK_NONE else Unproven.NONE
        if kind is EventKind.PGMAP_PFN_VALID:
            return Unproven.ALL if self.function(kind).checks[check].id == "absent" else Unproven.NONE
        if kind in LOOKUPS or check == CHECK_NONE:
            return Unproven.NONE
        return Unproven.SAME if self._numbers.checks[check].imposed else Unproven.NONE

    def poison(self, kind: EventKind, values: tuple[int, ...]) -> Verdict:
        """Return the verdict of a poison call.

        Args:
            kind: of the row.
            values: its columns poison_check, ret, action, result, poisoned, counted, signals.
        """
        key = kind, *values
        if key not in self._known:
            self._known[key] = self._poison_verdict(kind, values)
        return self._known[key]

    def _poison_verdict(self, kind: EventKind, values: tuple[int, ...]) -> Verdict:
        check, ret, action, result, poisoned, counted, signals = values
        if check == CHECK_NONE:
            return _UNDECIDED
        step = self._poison[kind.name.lower()].checks[check]
        said = event_text(action, result) if action != NO_ACTION else ""
        name = step.answer.name if ret == step.answer.value else str(ret)
        facts = [said or name] + ([f"returns {name}"] if said else [])
        facts += ["HWPoison"] if poisoned else []
        facts += [f"counted {counted:+}"] if counted else []
        facts += [f"{signals} signalled"] if signals else []
        return Verdict(step.id, facts[0], ", ".join(facts))


def answer_in_full(baseline: Verdict, candidate: Verdict) -> tuple[Verdict, Verdict]:
    """Let the answers say all that they are, if the short form does not tell them apart."""
    if baseline.answer != candidate.answer or baseline.yes == candidate.yes:
        return baseline, candidate
    return baseline._replace(answer=baseline.yes), candidate._replace(answer=candidate.yes)
