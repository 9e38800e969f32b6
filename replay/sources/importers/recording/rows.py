"""What becomes a row: where it stands in the order of the trace, and how well its moment is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from replay.trace.schema import EventKind

__all__ = ("Asked", "Effect", "Later", "Order", "Row", "Strings")


class Order(IntEnum):
    """The order of rows that stand at the same event."""

    EFFECT = 0  # has happened by the time of the event
    DONE = 1
    STATE = 2  # what a call at the event looks at
    EVENT = 3  # the event itself
    LOOKUP = 4
    DUMP = 5  # read after the event


@dataclass(frozen=True)
class Later:
    """A part of a change that was made after the event that its row stands at.

    Attributes:
        since: event index after which it was made.
        until: event index by which it was.
        low: first pfn whose lookups it may change.
        high: pfn after the last.
    """

    since: int
    until: int
    low: int
    high: int


@dataclass(frozen=True)
class Effect:
    """A change that happened at some moment between the event ``since`` and the event its row stands at.

    Attributes:
        since: event index.
        low: first pfn whose lookups it may change.
        high: pfn after the last.
        sections: whether it changes the section table, so that dumps of it may differ as well.
        later: parts that were made after that.
    """

    since: int
    low: int
    high: int
    sections: bool
    later: tuple[Later, ...] = ()


@dataclass(frozen=True)
class Asked:
    """An answer that was given at some moment between the event its row stands at and the event ``until``."""

    until: int
    low: int
    high: int


@dataclass
class Row:
    """A row of the trace that is no lookup.

    Attributes:
        at: event index; the number of events means after the last.
        order: among the rows that stand there.
        kind: EventKind.
        values: column values.
        effect: set when the row says that something has changed by now, and the moment is not known exactly.
        asked: set when the row is an oracle that was read at a moment not known exactly.
    """

    at: int
    order: Order
    kind: EventKind
    values: dict[str, int] = field(default_factory=dict)
    effect: Effect | None = None
    asked: Asked | None = None

    @property
    def key(self) -> tuple[int, int]:
        """What rows are sorted by."""
        return self.at, self.order


class Strings:
    """The texts that ``label`` points to, in the order of their first use."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}

    def label(self, text: str) -> int:
        """Return the index of a text."""
        return self._index.setdefault(text, len(self._index))

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts by index."""
        return tuple(self._index)
