"""Memory blocks: /sys/devices/system/memory as a folder, as `grep -r` prints it, or one line for each block."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from replay.errors import InputError
from replay.sources.importers.rejects import Rejects

from .files import read_text

__all__ = ("MemoryBlock", "MemoryBlocks", "block_nodes", "read_blocks")

_FOLDER = "a copy of /sys/devices/system/memory"
_LINE = re.compile(r"memory(\d{1,15})((?: [\w]+=\S*)+)")
_GREP = re.compile(r"(?:(?:[^\s:]*/)?memory(\d{1,15})/)?([^\s:]+):(.*)")
_NAME = re.compile(r"memory(\d{1,15})")
_NODE = re.compile(r"node(\d{1,6})")
_STATES = ("online", "offline", "going-offline")
_ATTRIBUTES = frozenset(("phys_index", "state", "removable", "phys_device", "valid_zones", "online"))
_MAX_NODES = 64  # of one block
_SIZE = "block_size_bytes"


@dataclass(frozen=True)
class MemoryBlock:
    """A memory block.

    Attributes:
        state: online, offline or going-offline.
        nodes: its nodes; none where they are not told.
        where: the file and line that say so.
    """

    state: str
    nodes: tuple[int, ...]
    where: str


@dataclass
class MemoryBlocks:
    """All blocks of a machine.

    Attributes:
        blocks: by number.
        size: bytes of a block; None where it is not told.
    """

    blocks: dict[int, MemoryBlock] = field(default_factory=dict)
    size: int | None = None

    @property
    def nodes(self) -> dict[int, tuple[int, ...]]:
        """The nodes of each block that says."""
        return {number: block.nodes for number, block in self.blocks.items() if block.nodes}


def block_nodes(text: str) -> dict[int, tuple[int, ...]]:
    """Return the nodes of each memory block, by block number, of a print with one line for each block."""
    found = re.findall(r"^memory(\d+) .*\bnode=([\d,]+)", text, re.M)
    return {int(number): tuple(int(node) for node in nodes.split(",") if node) for number, nodes in found}


def read_blocks(path: Path, rejects: Rejects) -> MemoryBlocks:
    """Read memory blocks.

    Args:
        path: folder, or file.
        rejects: takes lines that cannot be used.

    Raises:
        InputError: there is no memory block.
    """
    given: dict[int, dict[str, str]] = {}
    places: dict[int, str] = {}
    size = _read_folder(path, given, places) if path.is_dir() else _read_file(path, given, places, rejects)
    result = MemoryBlocks(size=size)
    for number, values in sorted(given.items()):
        state = values.get("state", "")
        if state not in _STATES:
            rejects.add(places[number], "no state of a memory block", f"memory{number}: state {state!r}")
            continue
        nodes = tuple(sorted({int(n) for n in values.get("node", "").split(",") if n.isdecimal() and len(n) < 7}))
        result.blocks[number] = MemoryBlock(state, nodes, places[number])
    if not result.blocks:
        raise InputError(path, "no memory block", _FOLDER)
    return result


def _read_folder(path: Path, given: dict[int, dict[str, str]], places: dict[int, str]) -> int | None:
    try:
        for entry in path.iterdir():
            found = _NAME.fullmatch(entry.name)
            if found is None or not entry.is_dir():
                continue
            number = int(found[1])
            places[number] = str(entry)
            state = entry / "state"
            values = given.setdefault(number, {})
            if state.is_file():
                values["state"] = state.read_text("utf-8", "replace")[:100].strip()
            nodes = [found[1] for child in entry.iterdir() if (found := _NODE.fullmatch(child.name))]
            values["node"] = ",".join(nodes[:_MAX_NODES])
        size = path / _SIZE
        return _size(size.read_text("utf-8", "replace")[:100], str(size)) if size.is_file() else None
    except OSError as error:
        raise InputError(path, f"a folder that cannot be read ({error})", _FOLDER) from None


def _read_file(
    path: Path, given: dict[int, dict[str, str]], places: dict[int, str], rejects: Rejects
) -> int | None:  # fmt: skip
    size = None
    for line_number, line in enumerate(read_text(path, _FOLDER).splitlines(), 1):
        where = f"{path}:{line_number}"
        if not line.strip() or line.startswith("#"):
            continue
        if found := _LINE.fullmatch(line.rstrip()):
            values = dict(part.split("=", 1) for part in found[2].split())
            given.setdefault(int(found[1]), {}).update(values)
            places.setdefault(int(found[1]), where)
        elif (found := _GREP.fullmatch(line.rstrip())) and found[1]:
            if found[2] in _ATTRIBUTES:
                given.setdefault(int(found[1]), {})[found[2]] = found[3].strip()
                places.setdefault(int(found[1]), where)
        elif found and found[2].rpartition("/")[2] == _SIZE:
            size = _size(found[3], where)
        elif found is None:
            rejects.add(line_number, "no line of a memory block", line)
    return size


def _size(text: str, where: str) -> int:
    """Return the size of a block, which the kernel prints in hexadecimal without 0x."""
    if not re.fullmatch(r"\s*[0-9a-f]{1,12}\s*", text):
        raise InputError(where, repr(text[:80]), "block_size_bytes in hexadecimal")
    return int(text, 16)
