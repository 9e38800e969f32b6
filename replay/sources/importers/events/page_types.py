"""The page type of a memory error: from what an input says to the number that the trace holds.

The tracepoint's number means something else from kernel to kernel (eight layouts), and the text is only printed where
the tool knew the layout; so a type is decoded first, and numbered by the layout of the trace's kernel after that.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from replay.errors import UnknownNameError, UsageError
from replay.kernel.poison_types import LAYOUTS, ActionType, Layout, layout_of

__all__ = ("NO_MEMORY", "PageTypes", "layout_named")

# Types of what is no memory that the kernel booted with or was given.
NO_MEMORY = frozenset((ActionType.DAX, ActionType.PFN_MAP, ActionType.OUTSIDE_CONTROL))

_TEXTS: dict[str, ActionType] = {
    **{kind.display: kind for kind in ActionType},
    "already poisoned page": ActionType.ALREADY_POISONED,  # how the log of v6.12.107 and later puts it
}
_NUMBER = re.compile(r"0x[0-9a-fA-F]{1,8}|\d{1,9}")


def layout_named(name: str) -> Layout:
    """Return a layout by its name.

    Raises:
        UnknownNameError: there is none of that name.
    """
    for layout in LAYOUTS:
        if layout.name == name:
            return layout
    raise UnknownNameError("layout", name, [layout.name for layout in LAYOUTS])


@dataclass
class PageTypes:
    """Decodes the page types of one input, and remembers how.

    Args:
        kernel: that the trace is of; numbers in the trace are by its layout.
        layout: that numbers in the input are by; None: the same.

    Attributes:
        counts: events by what the input says of the type.
    """

    kernel: str
    layout: Layout | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        try:
            self._own: Layout | None = layout_of(self.kernel)
        except UsageError:
            self._own = None
        self._read: dict[str, tuple[ActionType | None, int | None]] = {}

    def read(self, text: str) -> tuple[ActionType | None, int | None]:
        """Return the type that a text or number stands for, and its number in the trace; None where there is none."""
        if text not in self._read and len(self._read) < 1000:
            self._read[text] = self._decode(text)
        found = self._read.get(text) or self._decode(text)
        if found[0] is not None:
            self.counts[text] += 1
        return found

    def _decode(self, text: str) -> tuple[ActionType | None, int | None]:
        kind = _TEXTS.get(text)
        if kind is None and _NUMBER.fullmatch(text):
            layout = self.layout or self._own
            number = int(text, 0) if text.startswith("0x") else int(text)
            kind = layout.types[number] if layout and number < len(layout.types) else None
        stored = self._own.types.index(kind) if self._own and kind in self._own.types else None
        return kind, stored

    def table(self) -> dict[str, str]:
        """Return how every type was understood: what the input says, what it means, how sure that is, how often."""
        result = {}
        for text, count in sorted(self.counts.items()):
            kind, stored = self._decode(text)
            assert kind is not None
            layout = self.layout or self._own
            sure = "exact: the kernel's own text" if text in _TEXTS else (
                f"as sure as the layout is: {layout.name if layout else '?'}"
            )  # fmt: skip
            number = "no number in this trace" if stored is None else f"number {stored}"
            result[f"page type {text!r}"] = f"{kind.name}, {number}; {sure}; {count} events"
        return result

    def notes(self) -> list[str]:
        """Return what a reader of the trace must know."""
        notes = []
        if self._own is None and self.counts:
            notes.append(f"the action type numbers of kernel {self.kernel} are not known: the trace has no recorded_type")
        elif missing := [text for text in sorted(self.counts) if self._decode(text)[1] is None]:
            notes.append(
                f"kernel {self.kernel} has no action type {', '.join(map(repr, missing))}, so the input is of another "
                "kernel: give the right --kernel"
            )
        return notes
