"""What a candidate changes of a kernel: functions with other checks, and state of its own.

A built-in kernel is its features; ``BUILT_IN`` changes nothing. A *mark* is one bit of state for each section, subsection or
page, set and cleared by *hooks* on what calls do, as a series that adds a section flag would do it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol, TypeAlias, TypeVar

from replay.kernel.decision import Bools, KernelFunction
from replay.machine.geometry import Geometry
from replay.machine.machine import Machine

__all__ = ("BUILT_IN", "PHASES", "Grain", "Happening", "Hook", "Mark", "Rules")

F = TypeVar("F", bound=KernelFunction[Any])

PHASES = ("begin", "sections", "zone", "done", "boot")
"""When hooks are called: a call was accepted; section effects of a piece were made; pages of a range were associated with
their zone (memremap_pages); a call is done; and for each range of boot memory (function ``boot``)."""


class Grain(Enum):
    """What one bit of a mark stands for."""

    SECTION = "section"  # gone when the section is gone
    SUBSECTION = "subsection"
    PAGE = "page"


@dataclass(frozen=True)
class Mark:
    """State of a candidate's own.

    Attributes:
        name: unique within the candidate.
        grain: what one bit stands for.
        same_as: name of a state field that it is meant to stand for (``taint``), so that kernels which keep it themselves
            can be compared with it; "" for none.
    """

    name: str
    grain: Grain
    same_as: str = ""

    def __call__(self, state: _Marked) -> Bools:
        """Return where the mark is set: a mark can stand in a condition like a field."""
        return state.mark(self)


class _Marked(Protocol):
    def mark(self, mark: Mark) -> Bools: ...


@dataclass(frozen=True)
class Happening:
    """What a hook is told.

    Attributes:
        function: the call, by the kernel's name.
        phase: one of PHASES.
        start: first pfn.
        end: pfn after the last.
        node: NUMA node, where the call names one.
        geometry: sizes.
        machine: state at this moment.
        marks: of the candidate.
    """

    function: str
    phase: str
    start: int
    end: int
    node: int
    geometry: Geometry
    machine: Machine
    marks: tuple[Mark, ...]

    def set(self, mark: Mark, start: int, end: int) -> None:
        """Set a mark on pfns ``[start, end)``, rounded out to its grain; on none if that is empty.

        Raises:
            ValueError: the range starts below 0, or ends before it starts.
        """
        self._assign(mark, start, end, on=True)

    def clear(self, mark: Mark, start: int, end: int) -> None:
        """Clear a mark on pfns ``[start, end)``, rounded out to its grain; as in ``set``."""
        self._assign(mark, start, end, on=False)

    def _assign(self, mark: Mark, start: int, end: int, *, on: bool) -> None:
        g = self.geometry
        if not 0 <= start <= end:
            raise ValueError(f"mark {mark.name!r} on pfns {start:#x} to {end:#x}; needed 0 <= start <= end")
        end = min(end, g.max_pfns)  # old kernels map devices across the physical limit; no lookup has state there
        if start >= end:
            return
        pages = {Grain.SECTION: g.pages_per_section, Grain.SUBSECTION: g.pages_per_subsection, Grain.PAGE: 1}[
            mark.grain
        ]
        low, high = start // pages * pages, -(-end // pages) * pages
        self.machine.marks.assign(self.marks.index(mark), low, high, on=on)
        self.machine.touch(low, high)


Hook: TypeAlias = Callable[[Happening], None]


@dataclass(frozen=True)
class Rules:
    """What differs from the rules that ship with this package.

    Attributes:
        functions: by the kernel's name, with other checks.
        marks: state of the candidate's own.
        hooks: by (function, phase).
        digest: of the candidate's source, "" without one.
    """

    functions: Mapping[str, KernelFunction[Any]] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    hooks: Mapping[tuple[str, str], tuple[Hook, ...]] = field(default_factory=dict)
    digest: str = ""

    def function(self, built_in: F) -> F:
        """Return the candidate's form of a function, or the one that was given."""
        changed = self.functions.get(built_in.name)
        return built_in if changed is None else changed  # type: ignore[return-value]  # of the same kind, see the candidate

    def happened(self, machine: Machine, function: str, phase: str, start: int, end: int, node: int = 0) -> None:
        """Tell the hooks."""
        for hook in self.hooks.get((function, phase), ()):
            hook(Happening(function, phase, start, end, node, machine.geometry, machine, self.marks))


BUILT_IN = Rules()
