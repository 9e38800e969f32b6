"""When to use compiled loops: on request, or by themselves once a replay has turned out to be long."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from replay.errors import UsageError

__all__ = ("Acceleration",)

_LONG = 1 << 28  # lookups, from which on the loops give back what importing and loading them takes


class Acceleration:
    """Gives the compiled loops, or None as long as arrays do.

    Args:
        wanted: True: from the first lookup on. False: never. None: once a replay is long, if numba is there.

    Raises:
        UsageError: they are wanted, and numba is not installed.
    """

    def __init__(self, wanted: bool | None = None) -> None:
        there = wanted is not False and importlib.util.find_spec("numba") is not None
        if wanted and not there:
            raise UsageError("compiled loops need numba, which is not installed; pip install 'pfn-replay[fast]'")
        self._left = (0 if wanted else _LONG) if there else None
        self._loops: ModuleType | None = None

    def loops(self, rows: int) -> ModuleType | None:
        """Return the module ``replay.engine.loops`` for the next so many lookups (or what is worth as much), or None."""
        if self._loops is None and self._left is not None:
            self._left -= rows
            if self._left < 0:
                self._loops = importlib.import_module("replay.engine.loops")
        return self._loops
