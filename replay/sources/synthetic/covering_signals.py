"""Calls that make every decision about who is signalled, and accesses to pages after an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from replay.compare.areas import Area, Around
from replay.compare.collected import DAX_KILLS, PAGE_FACTS, Collected, collected
from replay.compare.diff_spaces import Space
from replay.compare.reach import Reach, Unreachable
from replay.kernel.kill import KILL_PROCS, KillState
from replay.kernel.poison_calls import Kills
from replay.sources.synthetic.covering_calls import CALLER, rows_for
from replay.sources.synthetic.covering_script import Row, Shown, Shows, Unit
from replay.sources.synthetic.covering_states import choose
from replay.trace.poison import MapFlag, PageFlag, PageKind, TaskFlag
from replay.trace.schema import EventKind

__all__ = ("access_units", "signal_units")

_TASK = ("own", "any_e", "has_def", "mapped_here", "addr_ok")
_POLICY = {"any_e": TaskFlag.ANY_EARLY, "has_def": TaskFlag.HAS_DEFAULT}
_VADDR = 0x7F00_0000_0000


@dataclass(frozen=True)
class _Mapper:
    """A task that maps the page.

    Attributes:
        facts: about it.
        shift: of its page table entry.
    """

    facts: dict[str, bool]
    shift: int

    def state(self, pages: Collected, *, sizes: bool) -> tuple[object, ...]:
        """Return the state that is asked about; ``sizes``: the kernel looks at the size of mappings of dax pages."""
        dax = pages.kills in DAX_KILLS
        t, shift = self.facts, self.shift if self.facts["mapped_here"] else 0
        own = (t["own"], False, False, t["any_e"], t["has_def"], t["mapped_here"], True, dax or t["addr_ok"], shift)
        return (*(pages.facts[name] for name in PAGE_FACTS), dax and sizes and shift == 0, *own)


_Choice = tuple[Collected, _Mapper]


def signal_units(
    shows: Shows,
    reach: Reach,
    around: Mapping[Around, Area],
    shown: set[Shown],
    next_tasks: Callable[[int], int],
) -> tuple[list[Unit], list[Unreachable]]:
    """Return calls that show what is not shown yet of a kernel's rules for signals, and what none can show.

    Args:
        shows: of the kernel.
        reach: of the kernel.
        around: areas by what the kernel finds there.
        shown: already.
        next_tasks: gives the first of some new task ids.
    """
    kernel, name = shows.kernel, KILL_PROCS.name
    calls = reach.of("memory_failure")
    pages = collected(calls, reach.limits("memory_failure"), kernel.features)
    sizes = "dax-mapping-size" in kernel.features
    choices = {mapper.state(page, sizes=sizes): (page, mapper) for page in pages for mapper in _mappers(page.kills)}
    mine = reach.of(name)
    wanted = {m.words: mine.notices(m) for m in shows.noticing(name).mutants}
    wanted |= {f"decided {check.id}": mine.decided(check.id) for check in mine.checks}
    left = {words for words in wanted if (kernel.digest, name, words) not in shown}
    found = dict(shows.noticing(name).each(choices, KillState))
    units = []
    while left:
        best = max(found, key=lambda state: len(found[state] & left))
        if not found[best] & left:
            break
        left -= found[best]
        units.append(_unit(*choices[best], calls.space, around, next_tasks(1)))
    return units, reach.unreachable(name, {words: wanted[words] for words in sorted(left)})


def _mappers(kills: Kills) -> Iterator[_Mapper]:
    sizes = (12, 21) if kills in DAX_KILLS else (12,)
    for values in product((False, True), repeat=len(_TASK)):
        for shift in sizes:
            yield _Mapper(dict(zip(_TASK, values, strict=True)), shift)


def _unit(pages: Collected, mapper: _Mapper, space: Space, around: Mapping[Around, Area], task: int) -> Unit:
    call = rows_for(EventKind.MEMORY_FAILURE, choose(space, pages.states), around)
    return Unit((*call.before, *_task(mapper, task), _mapping(mapper, call.pfn, task), call.call, *call.after))


def _task(mapper: _Mapper, task: int) -> list[Row]:
    flags = TaskFlag.HANDLER
    for name, flag in _POLICY.items():
        flags |= flag if mapper.facts[name] else TaskFlag(0)
    mm = CALLER if mapper.facts["own"] else task
    return [{"kind": EventKind.TASK_STATE, "task": task, "flags": int(flags), "value": mm}]


def _mapping(mapper: _Mapper, pfn: int, task: int) -> Row:
    flags = MapFlag(0) if mapper.facts["mapped_here"] else MapFlag.ABSENT
    flags |= MapFlag(0) if mapper.facts["addr_ok"] else MapFlag.NO_ADDRESS
    row: Row = {"kind": EventKind.MAP_PAGES, "pfn": pfn, "task": task, "vaddr": _VADDR + (pfn << 12)}
    return row | {"map_shift": mapper.shift, "flags": int(flags)}


def access_units(area: Area, next_tasks: Callable[[int], int]) -> list[Unit]:
    """Return accesses to pages in every condition that an access looks at."""
    units = []
    for entry, mapped, swap, cache, evictable in product((False, True), repeat=5):
        pfn, task, rows = area.take(1), next_tasks(2), list[Row]()
        page: Row = {"kind": EventKind.PAGE_STATE, "pfn": pfn, "page_kind": PageKind.LRU}
        rows.append(
            {
                "kind": EventKind.TASK_STATE,
                "task": task,
                "value": task,
                "flags": int(TaskFlag.HANDLER | TaskFlag.HAS_DEFAULT),
            }
        )
        here: Row = {"kind": EventKind.MAP_PAGES, "pfn": pfn, "task": task, "map_shift": 12}
        if entry:
            dirty = PageFlag.MAPPED | PageFlag.DIRTY | PageFlag.ANON
            rows.append({**page, "page_flags": int(dirty)})
            rows.append(here | {"vaddr": _VADDR + (pfn << 12)})
            rows.append({"kind": EventKind.MEMORY_FAILURE, "pfn": pfn, "flags": 0})
        if mapped:  # at another place of the same memory, by another thread: a row maps a page to a task once
            thread: Row = {"kind": EventKind.TASK_STATE, "task": task + 1, "value": task, "flags": 0}
            rows += [thread, here | {"task": task + 1, "vaddr": 2 * _VADDR + (pfn << 12)}]
        flags = PageFlag.POISON_GIVEN | PageFlag.HWPOISON
        for has, flag in ((swap, PageFlag.SWAPCACHE), (cache, PageFlag.MAPPING_SET), (evictable, PageFlag.EVICTABLE)):
            flags |= flag if has else PageFlag(0)
        rows.append({**page, "page_flags": int(flags)})
        rows.append({"kind": EventKind.ACCESS, "pfn": pfn, "task": task, "vaddr": _VADDR + (pfn << 12)})
        units.append(Unit(tuple(rows)))
    return units
