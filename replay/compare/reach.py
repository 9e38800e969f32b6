"""What no trace can show of a kernel, and why: checks and mistakes that only states out of reach would show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from replay.compare.areas import Areas, Around
from replay.compare.collected import collected, signal_limits
from replay.compare.diagrams import EMPTY, Function
from replay.compare.limits import Limit, fact_limits, poison_limits, reasons, within
from replay.compare.met import Met
from replay.compare.regions import FunctionRegions, Regions, subject_of
from replay.kernel.kill import KILL_ACCESSING_PROCESS, KILL_PROCS
from replay.kernel.poison_calls import Ret
from replay.kernel.profiles import Profile
from replay.trace.schema import POISON_CALLS

__all__ = ("Reach", "Unreachable")

_CALLS = {kind.name.lower(): kind for kind in POISON_CALLS}


@dataclass(frozen=True)
class Unreachable:
    """What no trace can show of a kernel.

    Attributes:
        profile: name of the kernel.
        function: name of the kernel function.
        what: words of a mutant, or ``decided`` with the id of a check.
        reason: why not.
    """

    profile: str
    function: str
    what: str
    reason: str


class Reach:
    """The states that traces can lead a kernel's functions to.

    Args:
        kernel: the kernel.
        around: what it finds around some pfn; by default, on the machine of ``Areas``.
    """

    def __init__(self, kernel: Profile, around: Sequence[Around] | None = None) -> None:
        self.kernel = kernel
        self.regions = Regions(kernel)
        self._around = around
        self._limits: dict[str, list[Limit]] = {}

    def of(self, name: str) -> FunctionRegions:
        """Return the regions of a function, by the name under which its calls are counted."""
        return self.regions.of(Met(self.kernel).function(name))

    def limits(self, name: str) -> Sequence[Limit]:
        """Return the limits of what a function is asked about."""
        if name not in self._limits:
            self._limits[name] = self._found(name)
        return self._limits[name]

    def within(self, name: str, states: Function) -> Function:
        """Return the states, out of some of a function, that a trace can lead to."""
        return within(self.of(name).space, states, self.limits(name))

    def unreachable(self, name: str, wanted: Mapping[str, Function]) -> list[Unreachable]:
        """Return what no trace can show.

        Args:
            name: of the function.
            wanted: by words of a mutant, or ``decided`` with the id of a check, the states that show it. A mutant that
                none shows is equivalent: of it nothing is said.
        """
        found = []
        for words, states in wanted.items():
            if states == EMPTY:
                reason = "earlier checks decide all its states" if words.startswith("decided ") else ""
            elif self.within(name, states) == EMPTY:
                reason = reasons(self.of(name).space, states, self.limits(name))
            else:
                reason = ""
            if reason:
                found.append(Unreachable(self.kernel.name, name, words, reason))
        return found

    def _found(self, name: str) -> list[Limit]:
        mine = self.of(name)
        if name in _CALLS:
            return poison_limits(mine.space, _CALLS[name], self._places(), self.kernel.features)
        if name == KILL_ACCESSING_PROCESS.name:
            return [self._asked(), *self.limits("memory_failure")]
        if name == KILL_PROCS.name:
            pages = collected(self.of("memory_failure"), self.limits("memory_failure"), self.kernel.features)
            return signal_limits(mine.space, list(pages))
        return fact_limits(mine.space, subject_of(mine.function, self.regions.side).state)

    def _places(self) -> Sequence[Around]:
        if self._around is None:
            self._around = list(Areas().around(self.kernel))
        return self._around

    def _asked(self) -> Limit:
        """Return the states in which memory_failure asks what killing the accessing process returns."""
        mine, states = self.of("memory_failure"), EMPTY
        for check in mine.checks:
            if getattr(check.answer, "ret", None) is Ret.ACCESSOR:
                states = mine.space.diagrams.either(states, mine.decided(check.id))
        return Limit(
            states, "memory_failure asks it only about pages that are poisoned already, and in some kernels never"
        )
