"""The page types of rasdaemon's memory_failure_event: from its text back to the number, and on to what the kernel meant.

The kernel's event carries a number whose meaning depends on the kernel. rasdaemon turns it into text with a table of its
own, whatever kernel it runs on, and stores only the text. So a text is turned back into the numbers that rasdaemon writes
that text for, and those are read with the layout of the recording kernel. rasdaemon has had two tables, and says "unknown
page" for every number that its table lacks: a text can stand for several numbers, and is not guessed then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum

from replay.errors import UnknownNameError
from replay.kernel.poison_types import ActionType, Layout, layout_named

__all__ = (
    "TABLES",
    "Confidence",
    "Place",
    "Reading",
    "Table",
    "at_place",
    "only_old_texts",
    "read_text",
    "table_named",
)


@dataclass(frozen=True)
class Table:
    """A table of rasdaemon's from numbers to texts.

    Attributes:
        name: the year it came.
        versions: the versions of rasdaemon that have it.
        types: members in order; the position is the number.
    """

    name: str
    versions: str
    types: tuple[ActionType, ...]

    def text(self, number: int) -> str:
        """Return what rasdaemon stores for a number."""
        return (self.types[number] if number < len(self.types) else ActionType.UNKNOWN).display


_CATCH_ALL = ActionType.UNKNOWN.display
# The tables are copies of the kernel's enum at the time they were written.
TABLES = (
    Table("2020", "before 0.8.1", layout_named("unsplit-thp").types),
    Table("2024", "0.8.1 and later", layout_named("pud-huge").types),
)


class Confidence(IntEnum):
    """How sure a reading is; from EXACT to ASSUMED the page type is given, after that it is not."""

    EXACT = 0  # the text stands for one number only
    PLACE = 1  # it stands for several, and only one of them can happen where the page is
    ASSUMED = 2  # one number with the table that rasdaemon most likely had; with the other one it would be another
    AMBIGUOUS = 3  # it stands for several numbers
    CONFLICT = 4  # the page cannot be of that type, or the kernel has no number with that text
    UNREADABLE = 5  # rasdaemon never writes that text

    @property
    def decided(self) -> bool:
        """Whether the page type is given."""
        return self <= Confidence.ASSUMED


class Place(IntEnum):
    """Where a page is, as far as its type depends on it."""

    UNKNOWN = 0
    RAM = 1  # System RAM: never a dax page
    DEVICE = 2  # memory of a device in sections without RAM: no page of the kernel's own


@dataclass(frozen=True)
class Reading:
    """What a text means.

    Attributes:
        text: as rasdaemon stored it.
        numbers: the numbers of the recording kernel that rasdaemon writes this text for.
        types: what the recording kernel means by them, one for each number.
        confidence: how sure it is.
        reason: why, in a sentence.
    """

    text: str
    numbers: tuple[int, ...]
    types: tuple[ActionType, ...]
    confidence: Confidence
    reason: str

    @property
    def type(self) -> ActionType | None:
        """The page type, where it is decided."""
        return self.types[0] if self.confidence.decided else None

    @property
    def meaning(self) -> str:
        """The page type in the kernel's words, or all that it may be."""
        return " or ".join(f'"{action.display}"' for action in self.types) or "nothing"


def table_named(name: str) -> Table:
    """Return the table of that name.

    Raises:
        UnknownNameError: there is none.
    """
    found = next((table for table in TABLES if table.name == name), None)
    if found is None:
        known = " and ".join(f"{table.name} (rasdaemon {table.versions})" for table in TABLES)
        raise UnknownNameError("rasdaemon table", name, [table.name for table in TABLES], f"there are {known}")
    return found


def only_old_texts() -> tuple[str, ...]:
    """Return the texts that only the older table has: where one is stored, that table was in use."""
    old, new = TABLES
    return tuple(action.display for action in old.types if action not in new.types)


def read_text(text: str, layout: Layout, table: Table, *, certain: bool) -> Reading:
    """Turn a text of rasdaemon back into the number, and read it as the kernel meant it.

    Args:
        text: ``page_type``.
        layout: the recording kernel's.
        table: rasdaemon's.
        certain: whether it is known that this table was in use.
    """
    if not any(text == action.display for one in TABLES for action in one.types):
        return Reading(text, (), (), Confidence.UNREADABLE, "rasdaemon never writes that text")
    # The text for all that a table lacks is the one for which it matters most which table it was: never assume there.
    tables = (table,) if certain or text != _CATCH_ALL else TABLES
    numbers = tuple(sorted({number for one in tables for number in _numbers(text, layout, one)}))
    types = tuple(layout.types[number] for number in numbers)
    if not numbers:
        reason = f"no number of the layout {layout.name} gives that text with rasdaemon's table of {table.name}"
        return Reading(text, numbers, types, Confidence.CONFLICT, reason)
    if len(numbers) > 1:
        years = " or ".join(one.name for one in tables)
        reason = f"rasdaemon's table of {years} gives that text for the numbers {_listed(numbers)}"
        return Reading(text, numbers, types, Confidence.AMBIGUOUS, reason)
    others = {_numbers(text, layout, other) for other in TABLES if other is not table}
    if certain or len(tables) > 1 or others == {numbers}:
        return Reading(text, numbers, types, Confidence.EXACT, f"number {numbers[0]} in rasdaemon's table")
    reason = f"number {numbers[0]} if rasdaemon's table was that of {table.name}; with the other it would be another"
    return Reading(text, numbers, types, Confidence.ASSUMED, reason)


def read_at(text: str, layout: Layout, table: Table, place: Place, *, certain: bool) -> Reading:
    """Read a text as ``read_text`` does, with what the place of the page says about the type and about the table."""
    reading = at_place(read_text(text, layout, table, certain=certain), place)
    if reading.confidence is not Confidence.CONFLICT or certain:
        return reading
    for other in TABLES:
        second = at_place(read_text(text, layout, other, certain=True), place)
        if second.confidence.decided:
            reason = (
                f"number {second.numbers[0]} in rasdaemon's table of {other.name}; with the other it cannot be there"
            )
            return replace(second, confidence=Confidence.PLACE, reason=reason)
    return reading


def at_place(reading: Reading, place: Place) -> Reading:
    """Return a reading with what the place of the page says about it."""
    possible = [n for n, action in zip(reading.numbers, reading.types, strict=True) if _fits(action, place)]
    if place is Place.UNKNOWN or not reading.numbers or len(possible) == len(reading.numbers):
        return reading
    where = "in System RAM" if place is Place.RAM else "on a device, in a section without System RAM"
    if not possible:
        reason = f"the page is {where}: is the kernel, the layout or the machine another one?"
        return replace(reading, confidence=Confidence.CONFLICT, reason=reason)
    types = tuple(a for n, a in zip(reading.numbers, reading.types, strict=True) if n in possible)
    confidence = Confidence.PLACE if len(possible) == 1 else Confidence.AMBIGUOUS
    reason = f"one of the numbers {_listed(reading.numbers)}, and the page is {where}"
    return Reading(reading.text, tuple(possible), types, confidence, reason)


def _fits(action: ActionType, place: Place) -> bool:
    """Return whether memory_failure can report a type there: no online page leads to the dax path or to none."""
    if place is Place.RAM:
        return action is not ActionType.DAX
    return place is Place.UNKNOWN or action in {ActionType.DAX, ActionType.PFN_MAP}


def _numbers(text: str, layout: Layout, table: Table) -> tuple[int, ...]:
    return tuple(number for number in range(len(layout.types)) if table.text(number) == text)


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
