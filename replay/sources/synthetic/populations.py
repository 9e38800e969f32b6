"""Tasks that share memory, and errors in it: who is told, who dies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from replay.errors import UsageError
from replay.sources.synthetic.machines import SyntheticMachine
from replay.sources.synthetic.places import random_in
from replay.sources.synthetic.rows import Part, Row, repeated
from replay.sources.synthetic.streams import Stream
from replay.trace.poison import MappingClass, MfFlag, PageFlag, PageKind, TaskFlag
from replay.trace.schema import EventKind

__all__ = ("POLICIES", "population")

# Kill policy of a task -> its flags; see PR_MCE_KILL.
POLICIES: dict[str, int] = {
    "default": int(TaskFlag.HAS_DEFAULT | TaskFlag.HANDLER),
    "early": int(TaskFlag.MAIN_PROCESS | TaskFlag.MAIN_EARLY | TaskFlag.ANY_EARLY | TaskFlag.HANDLER),
    "late": int(TaskFlag.MAIN_PROCESS | TaskFlag.HANDLER),
    "default-unhandled": int(TaskFlag.HAS_DEFAULT),
    "early-unhandled": int(TaskFlag.MAIN_PROCESS | TaskFlag.MAIN_EARLY | TaskFlag.ANY_EARLY),
}
_MAPPED = PageFlag.MAPPED | PageFlag.PTE_DIRTY | PageFlag.PTE_WRITE | PageFlag.DIRTY
_SHMEM = _MAPPED | PageFlag.MAPPING_SET
_PAGES: dict[str, Row] = {
    "anonymous": {"page_kind": int(PageKind.LRU), "page_flags": int(_MAPPED | PageFlag.ANON)},
    "shmem": {"page_kind": int(PageKind.LRU), "page_flags": int(_SHMEM), "mapping": int(MappingClass.SHMEM)},
    "cache": {"page_kind": int(PageKind.LRU), "page_flags": int(PageFlag.MAPPED | PageFlag.MAPPING_SET)},
}  # fmt: skip
_FIRST_PID = 1000
_FIRST_ADDRESS = 0x7F00_0000_0000


def population(machine: SyntheticMachine, values: Mapping[str, Any], stream: Stream, slot: tuple[int, int]) -> Part:
    """Return groups of tasks that map the same pages; an error, then all touch the page, then they end.

    Every repetition is a new group on other pages, so the population neither dies out nor grows.
    """
    sharers, pages = values["sharers"], values["pages"]
    spans = [(start, end - pages + 1) for start, end in machine.ram if end - start >= pages]
    if not spans:
        longest = max(end - start for start, end in machine.ram)
        raise UsageError(f"tasks: pages={pages}: needed at most {longest}, the longest range of RAM")
    number, of = slot
    tasks = [_FIRST_PID + number + k * of for k in range(sharers)]
    template = list(_group(machine, values, tasks))
    return repeated("tasks", template, random_in(spans, stream), grows={"task": sharers * of})


def _group(machine: SyntheticMachine, values: Mapping[str, Any], tasks: Sequence[int]) -> Iterator[Row]:
    pages, shift = values["pages"], machine.geometry.page_shift
    use = dict(_PAGES[values["use"]])
    # Each mapping holds a reference, and the page cache one more.
    use["refs"] = len(tasks) + (values["use"] != "anonymous")
    yield {"kind": int(EventKind.PAGE_STATE), "pfn": 0, "nr_pages": pages, **use}
    for k, task in enumerate(tasks):
        policy = values["policies"][k % len(values["policies"])]
        yield {"kind": int(EventKind.TASK_STATE), "task": task, "flags": POLICIES[policy]}
        yield {
            "kind": int(EventKind.MAP_PAGES), "pfn": 0, "nr_pages": pages, "task": task,
            "vaddr": _FIRST_ADDRESS + (k << 32), "map_shift": shift,
        }  # fmt: skip
    broken = pages // 2
    flags = int(MfFlag.ACTION_REQUIRED) if values["consumed"] else 0
    yield {"kind": int(EventKind.MEMORY_FAILURE), "pfn": broken, "flags": flags, "task": tasks[0]}
    for k, task in enumerate(tasks):
        vaddr = _FIRST_ADDRESS + (k << 32) + (broken << shift)
        yield {"kind": int(EventKind.ACCESS), "pfn": broken, "task": task, "vaddr": vaddr}
    for task in tasks:
        yield {"kind": int(EventKind.TASK_STATE), "task": task, "flags": int(TaskFlag.EXITED)}
