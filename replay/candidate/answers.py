"""Answers that a candidate's checks give, by the words that people use for them."""

from __future__ import annotations

import errno

from replay.kernel.decision import Answer
from replay.kernel.poison_calls import Counts, Kills, PageEffect, PoisonAnswer
from replay.kernel.poison_types import ActionType
from replay.trace.outcomes import RET_BUG
from replay.trace.poison import ActionResult

__all__ = ("PANIC", "no", "poison_answer", "returns", "yes")

_MAX_ERRNO = 4095

PANIC = PoisonAnswer("panic", RET_BUG)
"""The kernel stops."""


def yes(name: str) -> Answer:
    """Return a lookup's yes (a page, valid, data), shown under this name."""
    return Answer(name, 1)


def no(name: str) -> Answer:
    """Return a lookup's no (NULL, invalid, metadata), shown under this name."""
    return Answer(name, 0)


def returns(value: int) -> Answer:
    """Return a call's return code: 0, or a negative errno, shown as in C.

    Raises:
        ValueError: it is neither; a kernel's EBUSY is -16.
    """
    if not -_MAX_ERRNO <= value <= 0:
        raise ValueError(f"return code {value}; needed 0 or a negative errno, such as -errno.EBUSY")
    if value == 0:
        return Answer("0", 0)
    return Answer(f"-{errno.errorcode.get(-value, -value)}", value)


def poison_answer(
    ret: int,
    action: ActionType | None = None,
    result: ActionResult | None = None,
    *,
    sets_poison: bool = True,
    effect: PageEffect = PageEffect.UNCHANGED,
    kills: Kills = Kills.NOBODY,
    counts: Counts = Counts.STANDARD,
) -> PoisonAnswer:
    """Return what a poison call answers.

    Args:
        ret: return code, 0 or a negative errno.
        action: type reported, None for no report.
        result: what came of it.
        sets_poison: HWPoison is set.
        effect: what becomes of the page.
        kills: who may be signalled.
        counts: what is added to the number of poisoned pages.
    """
    return PoisonAnswer(
        returns(ret).name,
        ret,
        action=action,
        result=result,
        poison=1 if sets_poison else None,
        counts=counts,
        effect=effect,
        kills=kills,
    )
