"""What all calls that change the machine have in common: the request, the verdict, the phases."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np

from replay.kernel.config import KernelConfig
from replay.kernel.decision import Answer, Bools, Check, KernelFunction
from replay.kernel.rules import BUILT_IN, Rules
from replay.machine.machine import Machine
from replay.machine.pagemaps import Altmap
from replay.trace.outcomes import RET_BUG, RET_UNDEFINED

__all__ = ("Call", "Kernel", "Pieces", "Request", "always", "bug", "error", "fact", "ok", "undefined")

F = TypeVar("F", bound=KernelFunction[Any])

_YES, _NO = np.asarray(True), np.asarray(False)
_YES.flags.writeable = _NO.flags.writeable = False

ok = Answer("0", 0)
undefined = Answer("undefined", RET_UNDEFINED)
bug = Answer("BUG", RET_BUG)


def fact(value: object) -> Bools:
    """Return a fact as an array of no dimensions, so that checks read alike for one state and for many."""
    return _YES if value else _NO


def always(_: object) -> Bools:
    """Hold for every state: the condition of a last check."""
    return np.asarray(True)


def error(number: int) -> Answer:
    """Return the answer ``-errno``, named as in C."""
    return Answer(f"-{errno.errorcode[number]}", -number)


@dataclass(frozen=True)
class Kernel:
    """The replayed kernel: its features, its configuration, and what a candidate changed."""

    features: frozenset[str]
    config: KernelConfig
    rules: Rules = BUILT_IN

    def function(self, built_in: F) -> F:
        """Return this kernel's form of a function."""
        return self.rules.function(built_in)

    def has(self, feature: str) -> bool:
        """Return whether the kernel has a feature."""
        return feature in self.features


@dataclass(frozen=True)
class Request:
    """Arguments of a call, pfns ``[start, end)``.

    Attributes:
        start: first pfn.
        end: pfn after the last.
        first_byte: first byte of a resource.
        last_byte: last byte of a resource, inclusive.
        name: resource name.
        flags: AddFlags or ResourceFlags.
        node: NUMA node of added memory; of devices their target node, -1 for unknown.
        key: schema.DaxAction.
        value: number of a region, alignment of a namespace.
        env: negative errno imposed from outside the trace, 0 for none.
        pgmap: pagemap id.
        pgmap_type: schema.PgmapType.
        vmemmap_shift: log2 of the pages of a pagemap's compound pages.
        ranges: all ranges of a pagemap.
        altmap: of the pagemap; of an info block only its base is given, the first page that is mapped.
        map_shift: of an info block log2 of the page size that it says, 0 where it does not.
    """

    start: int = 0
    end: int = 0
    first_byte: int = 0
    last_byte: int = 0
    name: str = ""
    flags: int = 0
    node: int = 0
    key: int = 0
    value: int = 0
    env: int = 0
    pgmap: int = 0
    pgmap_type: int = 0
    vmemmap_shift: int = 0
    ranges: tuple[tuple[int, int], ...] = ()
    altmap: Altmap | None = None
    map_shift: int = 0


@dataclass
class Pieces:
    """Ranges whose effect is still to come; phases take pieces out of them.

    Attributes:
        left: pfn ranges, half open.
        grain: pages in which the effect comes; a piece counts as done rounded out to it.
    """

    left: list[tuple[int, int]] = field(default_factory=list)
    grain: int = 1

    def take(self, start: int, end: int) -> list[tuple[int, int]]:
        """Remove ``[start, end)``, rounded out to the grain, and return what of it was still left."""
        start, end = start // self.grain * self.grain, -(-end // self.grain) * self.grain
        taken, left = [], []
        for low, high in self.left:
            a, b = max(low, start), min(high, end)
            if a >= b:
                left.append((low, high))
                continue
            taken.append((a, b))
            left += [r for r in ((low, a), (b, high)) if r[0] < r[1]]
        self.left = left
        return taken

    def rest(self) -> list[tuple[int, int]]:
        """Remove and return everything left."""
        taken, self.left = self.left, []
        return taken


class Call(ABC):
    """One call under way. ``begin`` decides; the phases apply what a successful call changes.

    Attributes:
        function: the ordered checks, shared by all calls of the kind.
        check: index of the check that decided, after ``begin``.
        ret: return code, after ``begin``.
        pieces: section effects that are still to come.
        toggles: the call changes nothing but flags of the sections and states of the blocks that its range touches, and
            of these looks at no others; everything else that it looks at is changed by other kinds of events only.
    """

    function: ClassVar[KernelFunction[Any]]
    toggles: ClassVar[bool] = False

    def __init__(self, machine: Machine, kernel: Kernel, request: Request) -> None:
        self.machine = machine
        self.kernel = kernel
        self.request = request
        self.check = 0
        self.ret = 0
        self.pieces = Pieces()

    @abstractmethod
    def begin(self) -> None:
        """Make the checks, and the effects that go with them."""

    @abstractmethod
    def apply(self, start: int, end: int) -> None:
        """Apply the section effects of one piece."""

    def decide(self, facts: object) -> Check[Any]:
        """Take the verdict of the first check that holds: an imposed one returns what the request says."""
        function = self.kernel.function(self.function)
        self.check = function.decide(facts, self.kernel.features)
        step = function.checks[self.check]
        self.ret = self.request.env if step.imposed else step.answer.value
        return step

    def sections(self, start: int, end: int) -> None:
        """Apply the section effects of a piece, as far as they have not happened yet."""
        for low, high in self.pieces.take(start, end):
            self.apply(low, high)
            self.happened("sections", low, high)

    @property
    def grain(self) -> int:
        """Pages in which memory comes and goes: a subsection, or a section before there were subsections."""
        g = self.machine.geometry
        return g.pages_per_subsection if self.kernel.has("subsection-hotplug") else g.pages_per_section

    def padded(self, start: int, end: int) -> tuple[int, int]:
        """Return ``[start, end)``, extended to whole sections before there were subsections."""
        return (start, end) if self.kernel.has("subsection-hotplug") else self.machine.whole_sections(start, end)

    def zone(self, start: int, end: int) -> None:  # noqa: B027 - most calls do nothing here
        """Associate the pages of the ranges that ``[start, end)`` touches with their zone."""

    def finish(self) -> None:  # noqa: B027 - most calls have nothing left
        """Make the effects that come last."""

    def done(self) -> None:
        """Apply whatever has not happened yet."""
        for low, high in self.pieces.rest():
            self.apply(low, high)
            self.happened("sections", low, high)
        self.zone(0, 1 << 64)
        self.finish()
        if self.ret == 0:
            self.happened("done", self.request.start, self.request.end)

    def happened(self, phase: str, start: int, end: int) -> None:
        """Tell the hooks of a candidate."""
        self.kernel.rules.happened(self.machine, self.function.name, phase, start, end, self.request.node)
