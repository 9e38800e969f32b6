"""The recorded traces, replayed once per process and kernel."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from replay.engine.tally import BLOCKS, DAXES, DRIVER_CALLS, DUMP, RESOURCES, SLOW_PATH
from replay.session import run
from replay.trace.schema import KINDS, LOOKUPS, TRANSITIONS

# Aspects of the walk and of hotplug; whatever else is compared is about poison.
DUMPED = frozenset((RESOURCES, BLOCKS, DAXES))
WALK = frozenset(KINDS[kind] for kind in LOOKUPS | TRANSITIONS) | {DUMP, SLOW_PATH, DRIVER_CALLS} | DUMPED
FOLDER = Path(__file__).parents[2] / "traces" / "recorded"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.arrow")))


@cache
def replayed(name: str, kernel: str | None = None, engine: str = "vector") -> dict[str, Any]:
    """Return what ``replay run --json`` says about one trace; the kernel is the trace's own unless given."""
    return run(FOLDER / f"{name}.arrow", kernel, engine=engine).to_dict()


def walk(result: dict[str, Any]) -> dict[str, Any]:
    """Return the agreement of what this folder's numbers are about: lookups, calls on memory, section dumps."""
    return {aspect: a for aspect, a in result["agreement"].items() if aspect in WALK}


def differing(result: dict[str, Any]) -> dict[str, int]:
    """Return the aspects of the walk that differ, with how many calls."""
    return {aspect: a["differed"] for aspect, a in walk(result).items() if a["differed"]}
