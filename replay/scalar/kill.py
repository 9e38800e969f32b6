"""Who is signalled (poison.md 3.3, 3.5 and 8.5)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from replay.scalar.capabilities import Capabilities
from replay.scalar.facts import Facts
from replay.scalar.ranges import round_down
from replay.scalar.tasks import Mapping, Task
from replay.scalar.verdict import Verdict
from replay.trace.poison import MapFlag, TaskFlag
from replay.trace.schema import PgmapType

if TYPE_CHECKING:
    from replay.scalar.state import State

__all__ = ("Signal", "Victim", "accessor", "victims")

SIGBUS, SIGKILL = 7, 9
BUS_AR, BUS_AO, SI_KERNEL = 4, 5, 128
NOSIG, KILL = "NOSIG", "KILL"

HUGETLB = ("R40", "R41", "R42", "R43", "R44", "R45", "R46")
LRU = ("R80", "R81", "R82", "R83", "R84", "R85", "R86", "R87", "R90", "R91")
LRU_2009 = ("Z7", "Z8", "Z9", "Z10", "Z11")
POISONED = ("R30", "R31", "R32", "R33", "R34", "R51", "R52", "R53")


class Signal(NamedTuple):
    """A signal; SIGKILL has no code, address and lsb."""

    task: int
    signal: int
    code: int
    addr: int
    lsb: int


@dataclass(frozen=True)
class Victim:
    """A collected task: its mapping of the page, and its signal if it gets one."""

    task: int
    mapping: Mapping
    signal: Signal | None


@dataclass(frozen=True)
class Situation:
    """The columns of 8.5 that do not depend on the task."""

    ar: bool
    es: bool
    anon: bool
    mp: bool
    drop: bool
    ksm: bool
    ufail: bool
    forcek: bool


def situation(f: Facts, rule: str) -> Situation | None:
    """What the kill decision of a rule sees; None where nobody is collected."""
    found = Situation(f.ar, f.es, f.anon, f.mp, f.drop, f.ksm, f.ufail, f.forcek)
    if rule in HUGETLB + LRU:
        return found
    if rule in LRU_2009:
        return replace(found, forcek=f.dirty2)
    if rule == "R63" and f.c.c_thp == 2:
        return replace(found, forcek=True, ufail=False)
    if rule in ("R11", "R19", "R03"):  # AR and MUST_KILL are forced
        return Situation(True, f.es, anon=False, mp=True, drop=False, ksm=False, ufail=False, forcek=True)
    return None


def victims(state: State, pfn: int, f: Facts, verdict: Verdict, current: int | None) -> list[Victim]:
    """The tasks that a call collects."""
    s = situation(f, verdict.rule)
    found = []
    for task, mapping in state.poison.tasks.of(pfn) if s else ():
        assert s is not None
        what = decide(state, f, s, verdict.rule, task, mapping, current)
        if what is None:
            continue
        signal = None
        if what == KILL:
            signal = Signal(task, SIGKILL, 0, 0, 0)
        elif what != NOSIG:
            addr, lsb = place(state, pfn, f, verdict.rule, mapping)
            code = BUS_AR if what == "BUS_AR" else BUS_AO
            receiver = current if code == BUS_AR and current is not None else task
            signal = Signal(receiver, SIGBUS, code, addr, lsb)
        found.append(Victim(task, mapping, signal))
    return found


def decide(
    state: State, f: Facts, s: Situation, rule: str, number: int, mapping: Mapping, current: int | None
) -> str | None:
    """The column ``sig`` for one task, None for a task that is not collected (``coll`` is false)."""
    c, tasks = f.c, state.poison.tasks
    task = tasks.get(number)
    own = current is not None and not f.nomm and tasks.get(current).space == task.space
    here = mapping.present if s.anon else True
    addr_ok = not mapping.flags & MapFlag.NO_ADDRESS
    if rule in ("R11", "R19"):
        if not entry_shift(mapping):
            here, addr_ok = bool(c.dax_kill0), False
        else:
            here, addr_ok = True, True
    if c.v26:
        policy = task.is_(TaskFlag.MAIN_EARLY) if task.is_(TaskFlag.MAIN_PROCESS) else s.es
        if not (s.mp and here and policy) or s.drop or s.ksm:
            return None
        if not s.forcek:
            return NOSIG
        return KILL if s.ufail or not addr_ok else "BUS_AO"
    if not (s.mp and here and early(c, s, task, own=own)):
        return None
    if (s.drop and c.c_nocc) or (c.c_ctk and not addr_ok) or (s.ksm and not c.c_ksm):
        return None
    if not s.forcek:
        return NOSIG
    if (s.ufail and c.c_ukill) or not addr_ok:
        return KILL
    return "BUS_AR" if s.ar and (own or c.c_pol == 1) else "BUS_AO"


def early(c: Capabilities, s: Situation, task: Task, *, own: bool) -> bool:
    """The column ``pol``."""
    any_early = task.is_(TaskFlag.ANY_EARLY)
    if c.c_pol == 0:
        return s.ar or any_early or s.es
    by_thread = any_early or (s.es and task.is_(TaskFlag.HAS_DEFAULT))
    if c.c_pol == 1:
        return own if s.ar else by_thread
    return (s.ar and own) or by_thread


def entry_shift(mapping: Mapping) -> int:
    """The shift of the page table level that maps the page, 0 where nothing does."""
    return mapping.shift if mapping.present else 0


def place(state: State, pfn: int, f: Facts, rule: str, mapping: Mapping) -> tuple[int, int]:
    """Address and lsb of a SIGBUS (3.3)."""
    page_shift = state.geometry.page_shift
    addr = mapping.address(pfn, page_shift)
    if rule in ("R11", "R19"):
        head = {PgmapType.GENERIC: f.c.devdax_head, PgmapType.FS_DAX: f.c.fsdax_head}.get(f.pgmap, 0)
        lsb = mapping.shift if f.c.dax_size else page_shift
        return round_down(addr, 1 << mapping.shift) if head else addr, lsb
    if f.hg:
        return addr if f.c.huge_exact else round_down(addr, 1 << mapping.shift), mapping.shift
    return addr, page_shift + f.page.order if rule == "R63" else page_shift


def accessor(state: State, pfn: int, f: Facts, verdict: Verdict, current: int | None) -> Signal | None:
    """The signal to the task that consumed the poison, outside of the kill decision: 3.5, and SGX."""
    if current is None or not f.ar:
        return None
    if verdict.rule == "R02":
        return Signal(current, SIGBUS, SI_KERNEL, 0, 0)
    if verdict.rule not in POISONED or f.nomm or not f.curpt:
        return None
    mapping = state.poison.tasks.entry(current, pfn)
    if mapping is None:  # known from the context alone
        page_shift = state.geometry.page_shift
        return Signal(current, SIGBUS, BUS_AR, 0, page_shift + f.page.order if f.hg else page_shift)
    return Signal(current, SIGBUS, BUS_AR, *place(state, pfn, f, verdict.rule, mapping))
