"""Building blocks of memory_failure's checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from replay.kernel.decision import Bools
from replay.kernel.poison_calls import Counts, Kills, PageEffect, PoisonAnswer, PoisonCheck, Ret
from replay.kernel.poison_state import PoisonState
from replay.kernel.poison_types import ActionType
from replay.trace.poison import ActionResult

__all__ = ("NOT_GOT", "STILL_MAPPED", "already", "check", "event", "kept", "listed", "mapped", "silent")

_NAMES = {0: "0", -5: "-EIO", -6: "-ENXIO", -16: "-EBUSY", -95: "-EOPNOTSUPP", -133: "-EHWPOISON"}


def silent(value: int, poison: int | None = None) -> PoisonAnswer:
    """Return an answer without an event."""
    return PoisonAnswer(_NAMES[value], value, poison=poison)


def event(
    value: int,
    action: ActionType,
    result: ActionResult,
    effect: PageEffect = PageEffect.UNCHANGED,
    kills: Kills = Kills.NOBODY,
) -> PoisonAnswer:
    """Return an answer with an event: HWPoison is set, and the event counts as usual."""
    return PoisonAnswer(_NAMES[value], value, action, result, 1, Counts.STANDARD, effect, kills)


def kept(answer: PoisonAnswer) -> PoisonAnswer:
    """Return the answer without HWPoison being set."""
    return replace(answer, poison=None)


def mapped(answer: PoisonAnswer) -> PoisonAnswer:
    """Return the answer after the user-mapping step: mappers may be signalled, mappings go."""
    return replace(answer, kills=Kills.MAPPERS, unmaps=True)


def already(
    action: ActionType | None = None, result: ActionResult | None = None, counts: Counts = Counts.NONE
) -> PoisonAnswer:
    """Return the answer for a page that is poisoned already: the return code says whether the consumer was signalled."""
    return PoisonAnswer("-EHWPOISON", -133, action, result, counts=counts, kills=Kills.ACCESSOR, ret=Ret.ACCESSOR)


def listed(answer: PoisonAnswer) -> PoisonAnswer:
    """Return the answer with the subpage put on the list of raw poisoned pages."""
    return replace(answer, effect=PageEffect.RAW_ADDED)


def check(
    rule: str,
    id_: str,
    when: Callable[[PoisonState], Bools],
    answer: PoisonAnswer,
    why: str,
    *,
    needs: tuple[str, ...] = (),
    unless: tuple[str, ...] = (),
    page: bool = True,
) -> PoisonCheck:
    """Return a check; ``id_`` and the features it needs, or must not have, are as in ``Check``."""
    return PoisonCheck(id_, when, answer, needs, unless, why, rule=rule, page=page)


_T, _I, _F = ActionType, ActionResult.IGNORED, ActionResult.FAILED

# Before and after the types of v6.10.
NOT_GOT = (event(-16, _T.UNKNOWN, _I), event(-16, _T.GET_HWPOISON, _I))
STILL_MAPPED = (
    mapped(event(-16, _T.UNMAP_FAILED, _I, PageEffect.HELD)),
    mapped(event(-16, _T.UNMAP_FAILED, _F, PageEffect.HELD)),
)
