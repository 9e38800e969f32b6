"""A shrunk trace as a file."""

from __future__ import annotations

import os

from replay import __version__
from replay.compare.shrink import Shrunk, Target
from replay.trace.header import Provenance
from replay.trace.literals import columns_of
from replay.trace.writer import write_trace

__all__ = ("write_shrunk",)


def write_shrunk(path: str | os.PathLike[str], found: Shrunk, target: Target, command: str) -> None:
    """Write what is left of a trace.

    Args:
        path: the file.
        found: events and machine.
        target: the difference that they show.
        command: a line that makes the file again.

    Raises:
        UsageError: the file cannot be written there.
    """
    provenance = Provenance("shrunk", target.words, tool=f"pfn-replay {__version__}", clock="rows", command=command)
    columns = {name: v if given is True else (v, given) for name, (v, given) in columns_of(found.rows).items()}
    write_trace(path, columns, machine=found.machine, provenance=provenance, strings=found.strings)
