"""Half open ranges ``(start, end)`` of plain ints."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ("Range", "contains", "overlaps", "round_down", "round_out", "round_up", "subtract")

Range = tuple[int, int]


def overlaps(a: Range, b: Range) -> bool:
    """Whether two ranges share a number; an empty range shares nothing."""
    return max(a[0], b[0]) < min(a[1], b[1])


def contains(outer: Range, inner: Range) -> bool:
    """Whether the inner range lies wholly in the outer one."""
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def round_down(number: int, unit: int) -> int:
    """The largest multiple of the unit that is not above the number."""
    return number - number % unit


def round_up(number: int, unit: int) -> int:
    """The smallest multiple of the unit that is not below the number."""
    return number + -number % unit


def round_out(a: Range, unit: int) -> Range:
    """The range, extended at both ends to multiples of the unit."""
    return round_down(a[0], unit), round_up(a[1], unit)


def subtract(a: Range, holes: Iterable[Range]) -> list[Range]:
    """What is left of a range without the holes, in ascending order."""
    left = [a] if a[0] < a[1] else []
    for start, end in holes:
        pieces = []
        for piece in left:
            pieces += [(piece[0], min(piece[1], start)), (max(piece[0], end), piece[1])] if start < end else [piece]
        left = [piece for piece in pieces if piece[0] < piece[1]]
    return left
