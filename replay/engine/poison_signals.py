"""Who is signalled for a broken page, with which address: from mappings and verdicts to signals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from replay.kernel.calls import Kernel
from replay.kernel.kill import KILL_PROCS, KILL_PROCS_2009, KillState, MappingFacts, Signal, accessor_signals
from replay.kernel.poison_calls import Kills
from replay.kernel.poison_state import PoisonState
from replay.machine.mappings import Mapping
from replay.machine.pages import Page
from replay.machine.tasks import Task
from replay.trace.poison import MapFlag, PageKind, TaskFlag
from replay.trace.schema import PgmapType

__all__ = ("CODES", "SIGBUS", "SIGKILL", "SI_KERNEL", "Broken", "Mapper", "Sent", "accessor_signal", "mapper_signals")

SIGBUS, SIGKILL = 7, 9
SI_KERNEL = 128
CODES = {Signal.BUS_AR: 4, Signal.BUS_AO: 5}


@dataclass(frozen=True)
class Sent:
    """A signal.

    Attributes:
        task: pid of the receiver.
        signal: number.
        code: si_code, 0 for SIGKILL.
        addr: si_addr, bytes; 0 for SIGKILL.
        lsb: si_addr_lsb; 0 for SIGKILL.
    """

    task: int
    signal: int
    code: int = 0
    addr: int = 0
    lsb: int = 0


@dataclass(frozen=True)
class Mapper:
    """A mapping of the page, and whose it is."""

    mapping: Mapping
    task: Task


@dataclass(frozen=True)
class Broken:
    """A broken page, as those who are told about it need to know it.

    Attributes:
        kernel: whose rules apply.
        state: what the rules look at, a single state.
        page: its description.
        pfn: its number.
        page_shift: log2 of the page size.
    """

    kernel: Kernel
    state: PoisonState
    page: Page
    pfn: int
    page_shift: int


def mapper_signals(broken: Broken, kills: Kills, mappers: Sequence[Mapper], current: Task | None) -> list[Sent]:
    """Return the signals to the tasks that map a page, one per task.

    Args:
        broken: the page.
        kills: the rule that the verdict names.
        mappers: its mappings, hwpoison entries left out.
        current: the calling task, None for a worker.
    """
    if not mappers:
        return []
    facts = MappingFacts.of(
        own=[current is not None and m.task.mm == current.mm for m in mappers],
        main_p=[bool(m.task.flags & TaskFlag.MAIN_PROCESS) for m in mappers],
        main_e=[bool(m.task.flags & TaskFlag.MAIN_EARLY) for m in mappers],
        any_e=[bool(m.task.flags & TaskFlag.ANY_EARLY) for m in mappers],
        has_def=[bool(m.task.flags & TaskFlag.HAS_DEFAULT) for m in mappers],
        mapped_here=[not m.mapping.flags & MapFlag.ABSENT for m in mappers],
        addr_ok=[not m.mapping.flags & MapFlag.NO_ADDRESS for m in mappers],
        shift=[0 if m.mapping.flags & MapFlag.ABSENT else m.mapping.shift for m in mappers],
    )
    make = {Kills.UNSPLIT: KillState.unsplit, Kills.DAX: KillState.dax, Kills.PFN_SPACE: KillState.dax}
    kill_state = make.get(kills, KillState.of)(broken.state, facts)
    function = KILL_PROCS_2009 if broken.kernel.has("poison-2009") else KILL_PROCS
    decided = function.tabulate(kill_state, len(mappers), broken.kernel.features).value
    sent: dict[int, Sent] = {}
    for mapper, value in zip(mappers, decided.tolist(), strict=True):
        if value == Signal.NOSIG or mapper.task.pid in sent:
            continue
        if value == Signal.KILL:
            sent[mapper.task.pid] = Sent(mapper.task.pid, SIGKILL)
        else:
            addr, lsb = _address(broken, kills, mapper.mapping)
            # A consumed error goes to the caller, which may be another task of that mm.
            receiver = current.pid if value == Signal.BUS_AR and current is not None else mapper.task.pid
            sent[mapper.task.pid] = Sent(receiver, SIGBUS, CODES[Signal(value)], addr, lsb)
    return list(sent.values())


def accessor_signal(broken: Broken, mappers: Sequence[Mapper], current: Task) -> list[Sent]:
    """Return the signal to the task that consumed an already poisoned page."""
    if not bool(accessor_signals(broken.state)):
        return []
    own = [m for m in mappers if m.task.mm == current.mm]
    addr, lsb = 0, broken.page_shift + (broken.page.order if broken.page.kind == PageKind.HUGE else 0)
    if own:
        addr, lsb = _address(broken, Kills.ACCESSOR, own[0].mapping)
    return [Sent(current.pid, SIGBUS, CODES[Signal.BUS_AR], addr, lsb)]


def _address(broken: Broken, kills: Kills, mapping: Mapping) -> tuple[int, int]:
    """Return si_addr and si_addr_lsb (poison semantics 3.3)."""
    kernel, pfn, order, page_shift = broken.kernel, broken.pfn, broken.page.order, broken.page_shift
    lsb = page_shift
    if kills is Kills.DAX:
        by_head = {int(PgmapType.GENERIC): "device-dax-compound", int(PgmapType.FS_DAX): "fsdax-large-folios"}
        if kernel.has(by_head.get(int(broken.state.pgmap), "")):
            pfn = pfn >> mapping.shift - page_shift << mapping.shift - page_shift
        lsb = mapping.shift if kernel.has("dax-mapping-size") else page_shift
    elif broken.page.kind == PageKind.HUGE:
        if not kernel.has("hugetlb-exact-address"):
            pfn = pfn >> order << order
        lsb = max(mapping.shift, page_shift)
    elif kills is Kills.UNSPLIT:
        lsb = page_shift + order
    return mapping.address(pfn, page_shift), lsb
