"""A call that changes the machine: its answer, and its effects, handed out at the rows that tell when they happened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from replay.scalar.ranges import Range, overlaps, round_out, subtract

__all__ = ("Call",)


def _nothing(_: Range) -> None:
    pass


def _nothing_at_all() -> None:
    pass


@dataclass
class Call:
    """One call after its checks; a refused one has no ranges and no effects left.

    Attributes:
        ret: return code.
        check: id of the check that decided.
        ranges: the ranges whose sections it changes.
        grain: pages of the unit in which it changes them.
        change: its effect on the sections of a piece.
        changed: its effect once the sections of all ranges have changed; it may come again.
        associate: its effect when the pages of a range are associated with their zone.
        finish: everything else.
        pgmap: of a memremap_pages call that a driver made.
    """

    ret: int
    check: str
    ranges: Sequence[Range] = ()
    grain: int = 1
    change: Callable[[Range], None] = _nothing
    changed: Callable[[], None] = _nothing_at_all
    associate: Callable[[Range], None] = _nothing
    finish: Callable[[], None] = _nothing_at_all
    pgmap: int = 0
    _changed: list[Range] = field(default_factory=list)
    _associated: list[Range] = field(default_factory=list)

    def sections(self, pfn: int, nr_pages: int) -> None:
        """The sections of this piece have changed by now."""
        piece = round_out((pfn, pfn + nr_pages), self.grain)
        for whole in self.ranges:
            inside = (max(whole[0], piece[0]), min(whole[1], piece[1]))
            for part in subtract(inside, self._changed) if inside[0] < inside[1] else ():
                self.change(part)
        self._changed.append(piece)
        if not any(subtract(whole, self._changed) for whole in self.ranges):
            self.changed()

    def zone(self, pfn: int, nr_pages: int) -> None:
        """The pages of the ranges that this piece belongs to are in their zone by now."""
        for whole in self.ranges:
            if overlaps(whole, (pfn, pfn + nr_pages)) and whole not in self._associated:
                self.associate(whole)
                self._associated.append(whole)

    def done(self) -> tuple[int, str]:
        """Whatever has not happened yet has happened by now."""
        for whole in self.ranges:
            for piece in subtract(whole, self._changed):
                self.change(piece)
        self.changed()
        for whole in self.ranges:
            self.zone(whole[0], whole[1] - whole[0])
        self.finish()
        return self.ret, self.check
