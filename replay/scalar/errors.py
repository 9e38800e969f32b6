"""The calls about poisoned pages: decide, signal, change (poison.md 1, 5 and 6)."""

from __future__ import annotations

from dataclasses import dataclass

from replay.scalar.aftermath import after_memory_failure, after_soft_offline, after_unpoison
from replay.scalar.facts import gather
from replay.scalar.kill import SIGKILL, Signal, accessor, victims
from replay.scalar.offline import decide_soft_offline, decide_unpoison
from replay.scalar.poison import decide_memory_failure
from replay.scalar.ranges import Range
from replay.scalar.state import State
from replay.scalar.verdict import UNDECIDED, Verdict
from replay.trace.outcomes import RET_BUG
from replay.trace.poison import MfFlag, TaskFlag

__all__ = ("ABSENT", "PoisonResult", "clear_error", "memory_failure", "soft_offline_page", "unpoison_memory")

ABSENT = "absent"  # rule of a function that this kernel does not have


@dataclass(frozen=True)
class PoisonResult:
    """What a call did.

    Attributes:
        ret: return code; 0 where nothing is decided, RET_BUG for a panic.
        rule: id of the rule in poison.md that decided; "undecided", "absent".
        action: type of the reported event, as in poison.md ("DIRTY_LRU"), None without an event.
        result: its result letter: R, F, D or I.
        poisoned: the HWPoison flag of the page afterwards.
        counted: change of the global counter.
        signals: signals sent, sorted.
        mappers: the tasks that mapped the page.
    """

    ret: int
    rule: str
    action: str | None
    result: str | None
    poisoned: bool
    counted: int
    signals: tuple[Signal, ...] = ()
    mappers: tuple[int, ...] = ()

    @property
    def undecided(self) -> bool:
        """Whether nothing can be said."""
        return self.rule in (UNDECIDED, ABSENT)


def result_of(
    state: State,
    pfn: int,
    verdict: Verdict,
    before: int,
    signals: set[Signal] | None = None,
    mappers: tuple[int, ...] = (),
) -> PoisonResult:
    """The result of a call whose effects have happened."""
    return PoisonResult(
        verdict.ret,
        verdict.rule,
        verdict.action or None,
        verdict.result or None,
        state.poison.pages.poisoned(pfn),
        state.poison.count - before,
        tuple(sorted(signals or ())),
        mappers,
    )


def memory_failure(
    state: State, pfn: int, flags: int, *, task: int | None, context: int, closed_loop: bool
) -> PoisonResult:
    """memory_failure; ``task`` is the calling task, None where that is nobody's."""
    poison, before = state.poison, state.poison.count
    f = gather(state, pfn, flags=flags, task=task, context=context)
    verdict = decide_memory_failure(f)
    if f.c.c_raw and not flags & MfFlag.SW_SIMULATED and verdict.ret != RET_BUG:
        poison.hardware_seen = True
    mappers = tuple(number for number, _ in poison.tasks.of(pfn))
    if verdict.rule == UNDECIDED:
        return result_of(state, pfn, verdict, before, mappers=mappers)
    collected = victims(state, pfn, f, verdict, task)
    signals = {victim.signal for victim in collected if victim.signal}
    consumer = accessor(state, pfn, f, verdict, task)
    if consumer:
        signals.add(consumer)
    after_memory_failure(state, pfn, f, verdict, collected)
    for signal in signals if closed_loop else ():
        if signal.signal == SIGKILL or not poison.tasks.get(signal.task).is_(TaskFlag.HANDLER):
            poison.tasks.drop(signal.task)
    return result_of(state, pfn, verdict, before, signals, mappers)


def soft_offline_page(state: State, pfn: int, flags: int, value: int) -> PoisonResult:
    """soft_offline_page; ``value`` is what migration returns."""
    before = state.poison.count
    f = gather(state, pfn, flags=flags, value=value)
    verdict = Verdict(ABSENT, 0, num=0) if f.c.v26 else decide_soft_offline(f)
    after_soft_offline(state, pfn, f, verdict)
    return result_of(state, pfn, verdict, before)


def unpoison_memory(state: State, pfn: int) -> PoisonResult:
    """unpoison_memory."""
    before = state.poison.count
    f = gather(state, pfn)
    verdict = Verdict(ABSENT, 0, num=0) if f.c.v26 else decide_unpoison(f)
    after_unpoison(state, pfn, f, verdict)
    return result_of(state, pfn, verdict, before)


def clear_error(state: State, pfns: Range) -> None:
    """A write over bad blocks of a device has succeeded: the mark goes, the counter stays (4.4)."""
    if state.capabilities.dax_clear:
        state.poison.pages.clear(pfns)
