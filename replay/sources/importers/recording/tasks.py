"""Processes of victims -> rows: their kill policy, what they map where, and when they are gone."""

from __future__ import annotations

from replay.trace.poison import PageKind, TaskFlag
from replay.trace.schema import EventKind

from .devices import Devices
from .pages import is_readable, read_page
from .rows import Order, Row
from .victims import Victim
from .visits import Visit

__all__ = ("DaxFiles", "mapping", "policy_flags", "task_rows")

_BASE_SHIFT, _HUGE_SHIFT = 12, 21
_POLICIES = {
    # the last one alternates by the index of the process
    "late": (TaskFlag.MAIN_PROCESS,),
    "early": (TaskFlag.MAIN_PROCESS | TaskFlag.MAIN_EARLY | TaskFlag.ANY_EARLY,),
    "default": (TaskFlag.HAS_DEFAULT,),
    "even=late,odd=early": (
        TaskFlag.MAIN_PROCESS,
        TaskFlag.MAIN_PROCESS | TaskFlag.MAIN_EARLY | TaskFlag.ANY_EARLY,
    ),
}


def policy_flags(victim: Victim, index: int) -> int:
    """Return the flags of the TASK_STATE row of a process."""
    choices = _POLICIES.get(victim.policy, _POLICIES["default"])
    return choices[index % len(choices)] | (TaskFlag.HANDLER if victim.handler else 0)


class DaxFiles:
    """The parts of files on dax that kernels map in single pages.

    A page that was faulted by itself keeps an entry of its own in the page cache of its file; a fault of 2 MiB around it
    finds that and falls back to single pages, until the file is gone.
    """

    def __init__(self) -> None:
        self._single: set[tuple[int, str, int]] = set()

    def maps_huge(self, pagemap: int, victim: Victim, *, wanted: bool) -> bool:
        """Return whether a victim's fault maps 2 MiB, if it wants to; victims have to be asked about in their order."""
        part = pagemap, victim.path, victim.pfn >> (_HUGE_SHIFT - _BASE_SHIFT)
        if not wanted:
            self._single.add(part)
        return part not in self._single


def mapping(victim: Victim, devices: Devices, files: DaxFiles, at: int) -> dict[str, int]:
    """Return pfn, nr_pages, vaddr and map_shift of what a process of a victim maps.

    A huge mapping needs a page that lies as far from the start of its 2 MiB (1 GiB) as its address does.
    """
    pool = victim.facts.pool
    pages = pool.pages if pool else 1 << (_HUGE_SHIFT - _BASE_SHIFT)
    head = victim.pfn % pages
    huge = (victim.vaddr >> _BASE_SHIFT) % pages == head and _wants_huge(victim, devices, at)
    span = devices.pagemap(victim.pfn, at) if victim.kind.startswith("fsdax") else None
    if files.maps_huge(span.pagemap, victim, wanted=huge) if span else huge:
        start, shift = victim.vaddr - (head << _BASE_SHIFT), _BASE_SHIFT + pages.bit_length() - 1
        return {"pfn": victim.pfn - head, "nr_pages": pages, "vaddr": start, "map_shift": shift}
    vaddr = victim.vaddr
    if victim.kind == "ksm":  # every page of the mapping is this one; the reverse map begins with the youngest
        vaddr += victim.length - ((victim.sub + 1) << _BASE_SHIFT)
    return {"pfn": victim.pfn, "nr_pages": 1, "vaddr": vaddr, "map_shift": _BASE_SHIFT}


def _wants_huge(victim: Victim, devices: Devices, at: int) -> bool:
    flags = victim.flags.get("before")
    view = read_page(flags, victim.head_offset) if flags is not None and is_readable(flags) else None
    if view is not None and view.kind in (PageKind.HUGE, PageKind.LRU, PageKind.HUGE_ZERO):
        return bool(view.order)
    if victim.kind == "devdax":
        return devices.alignment(victim.path, at) >= 1 << _HUGE_SHIFT
    return victim.kind.startswith("fsdax") and "pte" not in victim.kind


def _mappers(victim: Victim) -> int:
    """Return how many of the processes map the page: mlock in a child breaks copy-on-write."""
    if victim.freed or "unmapped" in victim.kind:
        return 0
    return 1 if victim.kind == "anon-mlocked" else len(victim.sharers)


def task_rows(visit: Visit, devices: Devices, files: DaxFiles) -> list[Row]:
    """Return the TASK_STATE and MAP_PAGES rows of a victim: where it begins, and where its processes are gone."""
    victim, rows = visit.victim, list[Row]()
    if victim.raw:
        return rows
    start, where = visit.start, mapping(victim, devices, files, visit.start)
    if victim.freed:
        return rows
    for index, sharer in enumerate(victim.sharers):
        state = {"task": sharer.pid, "flags": policy_flags(victim, index), "value": sharer.pid}
        rows.append(Row(start, Order.STATE, EventKind.TASK_STATE, state))
        if index < _mappers(victim):
            rows.append(Row(start, Order.STATE, EventKind.MAP_PAGES, {"task": sharer.pid, **where}))
        gone = visit.marks.get("injected", visit.gone) if sharer.died else visit.gone
        rows.append(Row(gone, Order.STATE, EventKind.TASK_STATE, {"task": sharer.pid, "flags": TaskFlag.EXITED}))
    return rows
