"""What a walker is: the type of the rows of ``walkers.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from replay.errors import UsageError
from replay.sources.synthetic.parameters import Parameter
from replay.trace.schema import EventKind

__all__ = ("KERNEL_LINES", "Look", "Looks", "Units", "Walker", "line_of", "lines")

# The kernels that section 6 tells apart, oldest first, and the presets of each.
KERNEL_LINES: Mapping[str, tuple[str, ...]] = {
    "4.18": ("4.18",),
    "4.19": ("4.19",),
    "5.1": ("5.1",),
    "5.3": ("5.3",),
    "5.4": ("5.4", "5.4.195"),
    "5.10": ("5.10", "5.10.223"),
    "5.11": ("5.11",),
    "5.12": ("5.12", "5.12.9"),
    "6.1": ("6.1", "6.1.192"),
    "6.12": ("6.12", "6.12.107"),
    "7.2": ("7.2", "7.2.13"),
}
_LINES = tuple(KERNEL_LINES)


def line_of(kernel: str) -> str:
    """Return the line that a kernel belongs to."""
    return next(line for line, presets in KERNEL_LINES.items() if kernel in presets)


def lines(first: str, last: str = _LINES[-1]) -> tuple[str, ...]:
    """Return the lines of kernels from ``first`` to ``last``, both included."""
    return _LINES[_LINES.index(first) : _LINES.index(last) + 1]


@dataclass(frozen=True)
class Units:
    """Sizes in pages.

    Attributes:
        pageblock: unit of isolation and of compaction.
        buddy: largest block of the page allocator.
        section: section.
        subsection: 2 MiB.
        block: memory block device.
        run: the walker's parameter ``run``, 1 if it has none.
    """

    pageblock: int
    buddy: int
    section: int
    subsection: int
    block: int
    run: int = 1


@dataclass(frozen=True)
class Look:
    """Lookups at a stop.

    Attributes:
        kind: the function.
        at: pfns from the stop to the first.
        pages: how many.
        stride: pfns from one to the next.
        partner: at a random pfn of the span instead of near the stop.
    """

    kind: EventKind
    at: int = 0
    pages: int = 1
    stride: int = 1
    partner: bool = False


Looks = Callable[[Units], tuple[Look, ...]]


@dataclass(frozen=True)
class Walker:
    """A walker.

    Attributes:
        name: as on the command line.
        about: what it is in the kernel.
        over: spans: "zones", "nodes", "zones-or-nodes", "pfns" (0 to the end of memory), "blocks", "ram" (System RAM
            ranges), "ram-span", "zone-head" (zones, up to the first missing section), "windows" (zones, whole runs),
            and others of ``walks.spans_of``.
        step: unit between stops ("page", "pageblock", "buddy", "section", "subsection", "block", "run"), by line if it
            differs.
        order: "up", "down", "meet" (from both ends by turns), "random", "sampled" (DAMON), by line if it differs.
        looks: lines of kernels -> the lookups of a stop.
        parameters: what can be set, besides ``rate``.
        arches: only on these, if not empty.
        note: what a reader should know.
    """

    name: str
    about: str
    over: str
    step: str | Mapping[tuple[str, ...], str]
    order: str | Mapping[tuple[str, ...], str]
    looks: Mapping[tuple[str, ...], Looks]
    parameters: tuple[Parameter, ...] = ()
    arches: tuple[str, ...] = ()
    note: str = ""

    @property
    def kernels(self) -> tuple[str, ...]:
        """The lines on which it looks anything up."""
        return tuple(line for line in _LINES if any(line in some for some in self.looks))

    def looks_of(self, kernel: str) -> Looks:
        """Return the lookups of a stop for a kernel.

        Raises:
            UsageError: there are none.
        """
        line = line_of(kernel)
        for some, looks in self.looks.items():
            if line in some:
                return looks
        raise UsageError(
            f"walker {self.name} asks nothing of a kernel {kernel} (it takes the page as it is, or does not exist there); "
            f"needed kernel={', '.join(self.kernels)}"
        )

    def step_of(self, kernel: str) -> str:
        """Return the unit between stops for a kernel."""
        if isinstance(self.step, str):
            return self.step
        return next(step for some, step in self.step.items() if line_of(kernel) in some)

    def order_of(self, kernel: str) -> str:
        """Return the order of the stops for a kernel."""
        if isinstance(self.order, str):
            return self.order
        return next(order for some, order in self.order.items() if line_of(kernel) in some)
