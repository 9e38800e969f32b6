"""Checks and digests of a trace's rows, in windows that stay in the processor's cache.

Every check and every digest passes over its columns once more. Over whole batches each pass would fetch the columns from
memory again, which takes longer than the work itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from replay.trace.batch import Batch
from replay.trace.digest import Digester
from replay.trace.header import MachineDescription
from replay.trace.validate import RowChecker

__all__ = ("WINDOW_ROWS", "Inspection")

WINDOW_ROWS = 1 << 17  # a multiple of 8, for validity bits


class Inspection:
    """Checks and digests the rows of one trace, from the first to the last.

    Args:
        machine: as the header has it, checked.
        strings: number of strings that ``label`` may point to.
        columns: names of the columns that are stored.
        where: the file, for errors.
    """

    def __init__(self, machine: MachineDescription, strings: int, columns: Iterable[str], where: str) -> None:
        self._checker = RowChecker(machine, strings, where)
        self._digester = Digester(columns)

    def take(self, batch: Batch, start: int, end: int) -> int:
        """Take the windows of a batch that begin in its rows ``[start, end)``, which follow those taken before.

        Args:
            batch: the rows, and maybe some before and after.
            start: where the last call stopped, or 0 for a new batch.
            end: the row up to which all must have been taken.

        Returns:
            Where it stopped, at ``end`` or behind.

        Raises:
            TraceError: a row contradicts the format or the rows before it.
        """
        # Windows begin at the same rows whatever the ends asked for, so that errors do not depend on these.
        while start < end:
            stop = min(start + WINDOW_ROWS, len(batch))
            self._digester.update(self._checker.check(batch.part(start, stop)))
            start = stop
        return start

    @property
    def minor(self) -> int:
        """Minor version of the format that has all that the rows use."""
        return self._checker.minor

    def hexdigests(self) -> dict[str, str]:
        """Return the digest of every column by name."""
        return self._digester.hexdigests()
