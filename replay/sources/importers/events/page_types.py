"""The page type of a memory error: from what an input says to the number that the trace holds.

The tracepoint's number means something else from kernel to kernel (eight layouts), and the text is only printed where
the tool knew the layout; so a type is decoded first, and numbered by the layout of the trace's kernel after that.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from replay.errors import UsageError
from replay.kernel.poison_lines import types_2009
from replay.kernel.poison_types import ActionType, Layout, layout_named, layout_of

__all__ = ("NO_MEMORY", "Decoded", "PageTypes", "layout_named")

# Types of what is no memory that the kernel booted with or was given.
NO_MEMORY = frozenset((ActionType.DAX, ActionType.PFN_MAP, ActionType.OUTSIDE_CONTROL))

_TEXTS: dict[str, ActionType] = {
    **{kind.display: kind for kind in ActionType},
    "already poisoned page": ActionType.ALREADY_POISONED,  # how the log of v6.12.107 and later puts it
}
_NUMBER = re.compile(r"0x[0-9a-fA-F]{1,8}|\d{1,9}")


class Decoded(NamedTuple):
    """What an input's word for a page type means.

    Attributes:
        types: the type; several where the word does not tell them apart, none where it means nothing.
        stored: its number in the trace, None where there is none.
        sure: how sure that is.
    """

    types: tuple[ActionType, ...]
    stored: int | None
    sure: str


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
    _decoded: dict[str, Decoded] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            self._own: Layout | None = layout_of(self.kernel)
        except UsageError:
            self._own = None

    def read(self, text: str) -> Decoded:
        """Return what a text or number stands for, and count it."""
        found = self._decoded.get(text) or self._decode(text)
        if found.types:
            self._decoded[text] = found
            self.counts[text] += 1
        return found

    def number(self, kind: ActionType) -> int | None:
        """Return the number of a type in the trace, None where its kernel has none."""
        return self._own.types.index(kind) if self._own is not None and kind in self._own.types else None

    def met(self, kind: ActionType) -> bool:
        """Return whether some event was of that type."""
        return any(kind in self._decoded[text].types for text in self.counts)

    def _decode(self, text: str) -> Decoded:
        layout = self.layout or self._own
        types: tuple[ActionType, ...] = ()
        if text in _TEXTS:
            types, sure = (_TEXTS[text],), "exact: the kernel's own text"
        elif _NUMBER.fullmatch(text):
            number = int(text, 0) if text.startswith("0x") else int(text)
            types = layout.types[number : number + 1] if layout else ()
            sure = f"as sure as that the number is of layout {layout.name if layout else '?'}"
        else:
            types, sure = types_2009(text.removeprefix("dirty ")), "exact: the text of v2.6.32"
        if len(types) > 1:
            return Decoded(types, None, "ambiguous: the text stands for each of them")
        return Decoded(types, self.number(types[0]) if types else None, sure)

    def table(self) -> dict[str, str]:
        """Return how every type was understood: what the input says, what it means, how sure that is, how often."""
        result = {}
        for text, count in sorted(self.counts.items()):
            types, stored, sure = self._decoded[text]
            number = "no number in this trace" if stored is None else f"number {stored}"
            result[f"page type {text!r}"] = f"{' or '.join(t.name for t in types)}, {number}; {sure}; {count} events"
        return result

    def notes(self) -> list[str]:
        """Return what a reader of the trace must know."""
        if not self.counts:
            return []
        if self._own is None:
            return [f"the action type numbers of kernel {self.kernel} are not known: the trace has no recorded_type"]
        strange = [
            text
            for text in sorted(self.counts)
            if len(d := self._decoded[text].types) == 1 and d[0] not in self._own.types
        ]
        if not strange:
            return []
        return [
            f"kernel {self.kernel} has no action type {', '.join(map(repr, strange))}: the input is of another kernel, "
            "give its --kernel"
        ]
