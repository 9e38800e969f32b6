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

__all__ = ("CODES", "SIGBUS", "SIGKILL", "SI_KERNEL", "Broken", "Mapper", "Sent", "Signals")

SIGBUS, SIGKILL = 7, 9
SI_KERNEL = 128
_FACTS = ("own", "main_p", "main_e", "any_e", "has_def", "mapped_here", "addr_ok", "shift")
_POLICY = [int(flag) for flag in (TaskFlag.MAIN_PROCESS, TaskFlag.MAIN_EARLY, TaskFlag.ANY_EARLY, TaskFlag.HAS_DEFAULT)]
_ABSENT, _NO_ADDRESS = int(MapFlag.ABSENT), int(MapFlag.NO_ADDRESS)
_MAX = 1 << 16  # decisions remembered
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
        attributes: what the rules look at.
        page: its description.
        pfn: its number.
    """

    attributes: dict[str, object]
    page: Page
    pfn: int


class Signals:
    """Who is signalled by one kernel; what was decided about a kind of mapper and page is remembered.

    Args:
        kernel: whose rules apply.
        page_shift: log2 of the page size.
    """

    def __init__(self, kernel: Kernel, page_shift: int) -> None:
        self._kernel, self._page_shift = kernel, page_shift
        self._known: dict[tuple[object, ...], int] = {}

    def to_mappers(self, broken: Broken, kills: Kills, mappers: Sequence[Mapper], current: Task | None) -> list[Sent]:
        """Return the signals to the tasks that map a page, one per task.

        Args:
            broken: the page.
            kills: the rule that the verdict names.
            mappers: its mappings, hwpoison entries left out.
            current: the calling task, None for a worker.
        """
        sent: dict[int, Sent] = {}
        for mapper, value in zip(mappers, self._decide(broken, kills, mappers, current), strict=True):
            if value == Signal.NOSIG or mapper.task.pid in sent:
                continue
            if value == Signal.KILL:
                sent[mapper.task.pid] = Sent(mapper.task.pid, SIGKILL)
            else:
                addr, lsb = self._address(broken, kills, mapper.mapping)
                # A consumed error goes to the caller, which may be another task of that mm.
                receiver = current.pid if value == Signal.BUS_AR and current is not None else mapper.task.pid
                sent[mapper.task.pid] = Sent(receiver, SIGBUS, CODES[Signal(value)], addr, lsb)
        return list(sent.values())

    def to_accessor(self, broken: Broken, mappers: Sequence[Mapper], current: Task) -> list[Sent]:
        """Return the signal to the task that consumed an already poisoned page."""
        if not bool(accessor_signals(self._state(broken))):
            return []
        own = [m for m in mappers if m.task.mm == current.mm]
        addr, lsb = 0, self._page_shift + (broken.page.order if broken.page.kind == PageKind.HUGE else 0)
        if own:
            addr, lsb = self._address(broken, Kills.ACCESSOR, own[0].mapping)
        return [Sent(current.pid, SIGBUS, CODES[Signal.BUS_AR], addr, lsb)]

    def _decide(self, broken: Broken, kills: Kills, mappers: Sequence[Mapper], current: Task | None) -> list[int]:
        """Return the Signal for each mapper."""
        if not mappers:
            return []
        page = (kills, *broken.attributes.values())
        facts = [_facts(mapper, current) for mapper in mappers]
        if any((*page, *fact) not in self._known for fact in facts):
            columns = zip(_FACTS, zip(*facts, strict=True), strict=True)
            make = {Kills.UNSPLIT: KillState.unsplit, Kills.DAX: KillState.dax, Kills.PFN_SPACE: KillState.dax}
            state = make.get(kills, KillState.of)(
                self._state(broken), MappingFacts.of(**{name: list(values) for name, values in columns})
            )
            function = self._kernel.function(KILL_PROCS_2009 if self._kernel.has("poison-2009") else KILL_PROCS)
            decided = function.tabulate(state, len(mappers), self._kernel.features).value
            if len(self._known) > _MAX:
                self._known = {}
            self._known.update(zip(((*page, *fact) for fact in facts), decided.tolist(), strict=True))
        return [self._known[*page, *fact] for fact in facts]

    def _state(self, broken: Broken) -> PoisonState:
        return PoisonState.of(None, self._kernel.features, **broken.attributes)

    def _address(self, broken: Broken, kills: Kills, mapping: Mapping) -> tuple[int, int]:
        """Return si_addr and si_addr_lsb (poison semantics 3.3)."""
        kernel, pfn, order, page_shift = self._kernel, broken.pfn, broken.page.order, self._page_shift
        lsb = page_shift
        if kills is Kills.DAX:
            by_head = {int(PgmapType.GENERIC): "device-dax-compound", int(PgmapType.FS_DAX): "fsdax-large-folios"}
            if kernel.has(by_head.get(int(str(broken.attributes["pgmap"])), "")):
                pfn = pfn >> mapping.shift - page_shift << mapping.shift - page_shift
            lsb = mapping.shift if kernel.has("dax-mapping-size") else page_shift
        elif broken.page.kind == PageKind.HUGE:
            if not kernel.has("hugetlb-exact-address"):
                pfn = pfn >> order << order
            lsb = max(mapping.shift, page_shift)
        elif kills is Kills.UNSPLIT:
            lsb = page_shift + order
        return mapping.address(pfn, page_shift), lsb


def _facts(mapper: Mapper, current: Task | None) -> tuple[object, ...]:
    """Return what a mapper adds to the state of the page, in the order of _FACTS."""
    task, flags = int(mapper.task.flags), int(mapper.mapping.flags)
    absent = bool(flags & _ABSENT)
    return (
        current is not None and mapper.task.mm == current.mm,
        *(bool(task & flag) for flag in _POLICY),
        not absent,
        not flags & _NO_ADDRESS,
        0 if absent else mapper.mapping.shift,
    )
