"""`lsmem --json` of util-linux: ranges of memory blocks with their state, and nodes where they were asked for."""

from __future__ import annotations

import re
from pathlib import Path

from replay.errors import InputError
from replay.sources.importers.rejects import Rejects

from .blocks import MemoryBlock, MemoryBlocks
from .documents import read_documents

__all__ = ("read_lsmem",)

_WHAT = "the output of `lsmem --json`"
_RANGE = re.compile(r"0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})")
_BLOCKS = re.compile(r"(\d{1,15})(?:-(\d{1,15}))?")
_STATES = {"online": "online", "offline": "offline", "on->off": "going-offline"}
_MAX_BLOCKS = 1 << 22


def read_lsmem(path: Path, rejects: Rejects) -> MemoryBlocks:
    """Read the output of `lsmem --json`, with or without -a, -b and more columns.

    Args:
        path: the file.
        rejects: takes entries that cannot be used.

    Raises:
        InputError: it is something else, or contradicts itself about the size of a block.
    """
    result = MemoryBlocks()
    for document in read_documents(path, _WHAT, rejects):
        entries = document.get("memory") if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise InputError(path, f"JSON without a list `memory` ({str(document)[:60]!r})", _WHAT)
        for number, entry in enumerate(entries):
            if not _take(entry, f"{path}: memory[{number}]", result):
                rejects.add(f"memory[{number}]", "no range, block numbers and state of memory", str(entry))
    if not result.blocks:
        raise InputError(path, "no memory", _WHAT)
    return result


def _take(entry: object, where: str, result: MemoryBlocks) -> bool:
    """Add the blocks of an entry; return whether that could be done."""
    if not isinstance(entry, dict):
        return False
    span, blocks = _RANGE.fullmatch(str(entry.get("range"))), _BLOCKS.fullmatch(str(entry.get("block")))
    state, node = _STATES.get(str(entry.get("state"))), entry.get("node")
    if span is None or blocks is None or state is None:
        return False
    start, end = int(span[1], 16), int(span[2], 16) + 1
    first = int(blocks[1])
    last = int(blocks[2] or first)
    count = last - first + 1
    if end <= start or not 0 < count <= _MAX_BLOCKS - len(result.blocks):
        return False
    size, rest = divmod(end - start, count)
    if rest or start != first * size:
        found = f"bytes {start:#x} to {end - 1:#x} in the blocks {first} to {last}"
        raise InputError(where, found, "blocks of one size from address 0 on")
    if result.size not in {None, size}:
        raise InputError(
            where, f"blocks of {size:#x} bytes", f"blocks of {result.size:#x} bytes as in the entries before"
        )
    result.size = size
    text = str(node)
    nodes = (int(text),) if text.isdecimal() and len(text) < 7 else ()
    result.blocks |= dict.fromkeys(range(first, last + 1), MemoryBlock(state, nodes, where))
    return True
