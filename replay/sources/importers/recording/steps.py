"""Files that were written after a step: to which place of the trace each belongs."""

from __future__ import annotations

import re

from replay.sources.importers.machine.blocks import block_nodes

from .files import Folder
from .ftrace import Events
from .rows import Row

__all__ = ("NodeDumps", "step_files")

_STEP_END = re.compile(r"STEP (\d+) end (\S+)")
_FIRST = -1  # before every event


def step_files(files: Folder, events: Events, prefix: str) -> list[tuple[int, str]]:
    """Return the mark after which each file PREFIX-NN-STEP.txt was written, and its name, in order.

    The file PREFIX.txt was written before the first event.
    """
    ends = {
        (int(found[1]), found[2]): at
        for at in events.of("tracing_mark_write").tolist()
        if (found := _STEP_END.match(events.text(at)))
    }
    result = [(_FIRST, f"{prefix}.txt")] if files.find(f"{prefix}.txt") else []
    for name in files.matching(f"{prefix}-", ".txt"):
        step = re.fullmatch(rf"{prefix}-(\d+)-(.+)\.txt", name)
        if step and (int(step[1]), step[2]) in ends:
            result.append((ends[int(step[1]), step[2]], name))
    return sorted(result)


class NodeDumps:
    """Nodes of memory blocks, as /sys had them after steps.

    Args:
        files: the recording.
        events: its trace.
        block: pages per memory block.
    """

    def __init__(self, files: Folder, events: Events, block: int) -> None:
        self._block = block
        dumps = step_files(files, events, "memory_blocks")
        self._dumps = [(at, block_nodes(files.optional(name))) for at, name in dumps]

    def correct(self, row: Row) -> None:
        """Set the node of an ADD_MEMORY row to what /sys said next: the caller may give a memory group instead."""
        first = row.values["pfn"] // self._block
        for at, nodes in self._dumps:
            if at >= row.at and len(nodes.get(first, ())) == 1:
                row.values["node"] = nodes[first][0]
                return
