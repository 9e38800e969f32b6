"""A poison call: what it is about, what was found there, and what was decided."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from replay.engine.poison_signals import Mapper, Sent
from replay.engine.transitions import Cell
from replay.kernel.poison_calls import Kills, PageEffect, PoisonCheck, PoisonFunction, Verdicts
from replay.machine.pages import Page
from replay.trace.outcomes import CHECK_NONE
from replay.trace.poison import NO_ACTION
from replay.trace.schema import EventKind

__all__ = ("Answered", "Decided", "Surroundings", "Verdict")


@dataclass(frozen=True)
class Surroundings:
    """What the walk functions of the same kernel say about a pfn.

    Attributes:
        valid: pfn_valid.
        online: pfn_to_online_page gives a page.
        pgmap: id of the live pagemap, 0 for none.
        metadata: in that pagemap's metadata.
    """

    valid: bool
    online: bool
    pgmap: int
    metadata: bool


@dataclass(frozen=True)
class Verdict:
    """What follows from a decided call.

    Attributes:
        poison: 1 if HWPoison is set, 0 if cleared, KEEP.
        kills: who may be signalled.
        effect: what becomes of the page.
        unmapped: its mappings go.
        entries: and leave hwpoison entries behind.
        event: the node counts it.
    """

    poison: int
    kills: Kills
    effect: PageEffect
    unmapped: bool
    entries: bool
    event: bool


class Answered(NamedTuple):
    """What was decided about a call; the fields are those of ``Decided``."""

    check: PoisonCheck | None
    number: int
    undecided: bool
    verdict: Verdict | None
    ret: int
    action: int
    result: int
    counted: int


@dataclass
class Decided:
    """A call and its verdict.

    Attributes:
        kind: which call.
        row: row number in the trace.
        at: index within its batch.
        pfn: the page.
        task: pid of the caller, None where it is not given.
        cell: gives a column of the row.
        attributes: what the rules look at, by their names in the semantics document.
        page: description of the page when the call was made.
        mappers: who mapped it then.
        surroundings: what the walk functions said.
        undecided: the state of the page is not in the trace.
        check: the deciding check.
        number: its number within the function, CHECK_NONE while undecided.
        verdict: what follows from it, None while undecided.
        ret: return code.
        action: ActionType or NO_ACTION.
        result: ActionResult or NO_ACTION.
        counted: change of the global counter.
        poisoned: HWPoison of the page afterwards.
        signals: who got what.
        names: label of each task that got something.
    """

    kind: EventKind
    row: int
    at: int
    pfn: int
    task: int | None
    cell: Cell
    attributes: dict[str, object]
    page: Page
    mappers: list[Mapper]
    surroundings: Surroundings
    undecided: bool = False
    check: PoisonCheck | None = None
    number: int = CHECK_NONE
    verdict: Verdict | None = None
    ret: int = 0
    action: int = NO_ACTION
    result: int = NO_ACTION
    counted: int = 0
    poisoned: bool = False
    signals: list[Sent] = field(default_factory=list)
    names: dict[int, int | None] = field(default_factory=dict)

    def take(self, function: PoisonFunction, found: Verdicts, i: int) -> None:
        """Take over what was decided as number ``i`` of several."""
        check = function.checks[int(found.check[i])]
        assert isinstance(check, PoisonCheck)
        self.check, self.undecided = check, bool(found.undecided[i])
        if self.undecided:
            return
        self.number = int(found.check[i])
        self.ret, self.counted = int(found.ret[i]), int(found.counted[i])
        self.action, self.result = int(found.action[i]), int(found.result[i])
        self.verdict = Verdict(
            poison=int(found.poison[i]),
            kills=Kills(found.kills[i]),
            effect=PageEffect(found.effect[i]),
            unmapped=bool(found.unmapped[i]),
            entries=bool(found.entries[i]),
            event=bool(found.event[i]),
        )

    def answered(self) -> Answered:
        """Return what was decided."""
        return Answered(**{name: getattr(self, name) for name in Answered._fields})

    def take_over(self, known: Answered) -> None:
        """Take over what was decided about another call of the same state."""
        for name, value in zip(Answered._fields, known, strict=True):
            setattr(self, name, value)
