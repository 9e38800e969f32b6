"""A value for each pfn of some ranges; later values win."""

from __future__ import annotations

from typing import Generic, TypeVar

from replay.scalar.ranges import Range, overlaps, subtract

__all__ = ("Spans",)

T = TypeVar("T")


class Spans(Generic[T]):
    """Ranges that do not overlap, each with a value."""

    def __init__(self) -> None:
        self.pieces: list[tuple[Range, T]] = []

    def at(self, pfn: int) -> T | None:
        """The value of a pfn."""
        for (start, end), value in self.pieces:
            if start <= pfn < end:
                return value
        return None

    def inside(self, pfns: Range) -> list[tuple[Range, T]]:
        """What lies in a range, ascending, clipped to it."""
        found = [(piece, value) for piece, value in self.pieces if overlaps(piece, pfns)]
        clipped = [((max(a, pfns[0]), min(b, pfns[1])), value) for (a, b), value in found]
        return sorted(clipped, key=lambda piece: piece[0])

    def put(self, pfns: Range, value: T) -> None:
        """Every pfn of the range has this value from now on."""
        self.erase(pfns)
        if pfns[0] < pfns[1]:
            self.pieces.append((pfns, value))

    def erase(self, pfns: Range) -> None:
        """No pfn of the range has a value any more."""
        self.pieces = [(left, value) for piece, value in self.pieces for left in subtract(piece, [pfns])]
