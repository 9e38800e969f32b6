"""Calls that make every decision about who is signalled, and accesses to pages after an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from replay.compare.diagrams import EMPTY, EVERY, Function
from replay.compare.diff_spaces import Space
from replay.compare.regions import FunctionRegions, Regions
from replay.kernel.kill import KILL_PROCS, KillState
from replay.kernel.poison_calls import Kills
from replay.kernel.poison_state import PoisonState
from replay.sources.synthetic.covering_areas import Area, Around
from replay.sources.synthetic.covering_calls import CALLER, rows_for
from replay.sources.synthetic.covering_script import Row, Shown, Shows, Unit
from replay.sources.synthetic.covering_states import Limit, Unreachable, choose, reasons
from replay.trace.poison import MapFlag, PageFlag, PageKind, TaskFlag
from replay.trace.schema import EventKind

__all__ = ("access_units", "signal_units")

_PAGE = ("AR", "es", "mp", "anon", "ksm", "drop", "forced", "ufail")
_FIXED: dict[Kills, dict[str, bool]] = {
    Kills.MAPPERS: {},
    Kills.UNSPLIT: {"forced": True, "ufail": False},
    Kills.DAX: {"AR": True, "mp": True, "anon": False, "ksm": False, "drop": False, "forced": True, "ufail": False},
}
_FIXED[Kills.PFN_SPACE] = _FIXED[Kills.DAX]
_TASK = ("own", "any_e", "has_def", "mapped_here", "addr_ok")
_POLICY = {"any_e": TaskFlag.ANY_EARLY, "has_def": TaskFlag.HAS_DEFAULT}
_VADDR = 0x7F00_0000_0000


@dataclass(frozen=True)
class _Pages:
    """Pages on which tasks are collected.

    Attributes:
        kills: by which rule.
        facts: what collecting looks at.
        states: of the calls.
    """

    kills: Kills
    facts: dict[str, bool]
    states: Function


@dataclass(frozen=True)
class _Mapper:
    """A task that maps the page.

    Attributes:
        facts: about it.
        shift: of its page table entry.
    """

    facts: dict[str, bool]
    shift: int

    def state(self, pages: _Pages, *, sizes: bool) -> tuple[object, ...]:
        """Return the state that is asked about; ``sizes``: the kernel looks at the size of mappings of dax pages."""
        dax = pages.kills in {Kills.DAX, Kills.PFN_SPACE}
        t, shift = self.facts, self.shift if self.facts["mapped_here"] else 0
        own = (t["own"], False, False, t["any_e"], t["has_def"], t["mapped_here"], True, dax or t["addr_ok"], shift)
        return (*(pages.facts[name] for name in _PAGE), dax and sizes and shift == 0, *own)


_Choice = tuple[_Pages, _Mapper]


def signal_units(
    shows: Shows,
    regions: Regions,
    bounds: Sequence[Limit],
    around: Mapping[Around, Area],
    shown: set[Shown],
    next_tasks: Callable[[int], int],
) -> tuple[list[Unit], list[Unreachable]]:
    """Return calls that show what is not shown yet of a kernel's rules for signals, and what none can show.

    Args:
        shows: of the kernel.
        regions: of its functions.
        bounds: limits of memory_failure calls.
        around: areas by what the kernel finds there.
        shown: already.
        next_tasks: gives the first of some new task ids.
    """
    kernel, name = shows.kernel, KILL_PROCS.name
    calls = regions.of(shows.noticing("memory_failure").function)
    pages = list(_collected(calls, bounds, kernel.features))
    sizes = "dax-mapping-size" in kernel.features
    choices = {mapper.state(page, sizes=sizes): (page, mapper) for page in pages for mapper in _mappers(page.kills)}
    mine = regions.of(shows.noticing(name).function)
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
    bounds_here = _limits(mine.space, pages)
    missing = [_missing(kernel.name, name, words, wanted[words], mine.space, bounds_here) for words in sorted(left)]
    return units, [one for one in missing if one is not None]


def _collected(calls: FunctionRegions, bounds: Sequence[Limit], features: frozenset[str]) -> Iterator[_Pages]:
    """Yield what pages on which tasks are collected can be like."""
    d = calls.space.diagrams
    for kills, fixed in _FIXED.items():
        states = EMPTY
        for check in calls.checks:
            if getattr(check.answer, "kills", Kills.NOBODY) is kills:
                states = d.either(states, calls.decided(check.id))
        for limit in bounds:
            states = d.both(limit.states, states)
        yield from _split(calls.space, _Pages(kills, dict(fixed), states), features)


def _split(space: Space, pages: _Pages, features: frozenset[str]) -> Iterator[_Pages]:
    if pages.states == EMPTY:
        return
    name = next((n for n in _PAGE if n not in pages.facts), None)
    if name is None:
        yield pages
        return
    holds, _ = space.condition(_CONDITIONS[name], features)
    for value, states in ((True, holds), (False, space.diagrams.without(EVERY, holds))):
        here = _Pages(pages.kills, {**pages.facts, name: value}, space.diagrams.both(states, pages.states))
        yield from _split(space, here, features)


_CONDITIONS: dict[str, Callable[[PoisonState], object]] = {
    "AR": lambda s: s.AR,
    "es": lambda s: s.es,
    "mp": lambda s: s.mp,
    "anon": lambda s: s.anon,
    "ksm": lambda s: s.ksm,
    "drop": lambda s: s.drop,
    "forced": lambda s: s.dirty2 | s.MUST,
    "ufail": lambda s: s.ufail,
}


def _mappers(kills: Kills) -> Iterator[_Mapper]:
    sizes = (12, 21) if kills in {Kills.DAX, Kills.PFN_SPACE} else (12,)
    for values in product((False, True), repeat=len(_TASK)):
        for shift in sizes:
            yield _Mapper(dict(zip(_TASK, values, strict=True)), shift)


def _unit(pages: _Pages, mapper: _Mapper, space: Space, around: Mapping[Around, Area], task: int) -> Unit:
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


def _limits(space: Space, pages: Sequence[_Pages]) -> list[Limit]:
    """Return the limits of what collecting tasks can be asked about."""
    d, sets = space.diagrams, EMPTY
    for page in pages:
        here = EVERY
        for name, value in page.facts.items():
            here = d.both(space.literal(name, [int(value)]), here)
        if page.kills not in {Kills.DAX, Kills.PFN_SPACE}:
            here = d.both(space.literal("unmapped_dax", [0]), here)
        sets = d.either(sets, here)
    return [
        Limit(
            space.literal("task.covers", [1]), "who maps a page has a VMA over it: a trace knows tasks by what they map"
        ),
        Limit(sets, "no call of memory_failure collects tasks for such a page"),
    ]


def _missing(
    profile: str, name: str, words: str, states: Function, space: Space, bounds: Sequence[Limit]
) -> Unreachable | None:
    """Return why a mistake or a check cannot be shown; None if it just was not, or cannot be by any state."""
    if states == EMPTY:
        dead = Unreachable(profile, name, words, "earlier checks decide all its states")
        return dead if words.startswith("decided ") else None
    within = states
    for limit in bounds:
        within = space.diagrams.both(limit.states, within)
    return None if within != EMPTY else Unreachable(profile, name, words, reasons(space, states, bounds))


def access_units(area: Area, next_tasks: Callable[[int], int]) -> list[Unit]:
    """Return accesses to pages in every condition that an access looks at."""
    units = []
    for entry, swap, cache, evictable in product((False, True), repeat=4):
        pfn, task, rows = area.take(1), next_tasks(1), list[Row]()
        page: Row = {"kind": EventKind.PAGE_STATE, "pfn": pfn, "page_kind": PageKind.LRU}
        rows.append({"kind": EventKind.TASK_STATE, "task": task, "flags": int(TaskFlag.HANDLER | TaskFlag.HAS_DEFAULT)})
        if entry:
            dirty = PageFlag.MAPPED | PageFlag.DIRTY | PageFlag.ANON
            rows.append({**page, "page_flags": int(dirty)})
            rows.append(
                {"kind": EventKind.MAP_PAGES, "pfn": pfn, "task": task, "vaddr": _VADDR + (pfn << 12), "map_shift": 12}
            )
            rows.append({"kind": EventKind.MEMORY_FAILURE, "pfn": pfn, "flags": 0})
        flags = PageFlag.POISON_GIVEN | PageFlag.HWPOISON
        for has, flag in ((swap, PageFlag.SWAPCACHE), (cache, PageFlag.MAPPING_SET), (evictable, PageFlag.EVICTABLE)):
            flags |= flag if has else PageFlag(0)
        rows.append({**page, "page_flags": int(flags)})
        rows.append({"kind": EventKind.ACCESS, "pfn": pfn, "task": task, "vaddr": _VADDR + (pfn << 12)})
        units.append(Unit(tuple(rows)))
    return units
