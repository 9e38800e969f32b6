"""A share of one trace: all rows that change something, and the lookups of some sections.

Every share replays all transitions and all poison, because each may depend on any before it; so each has the whole
machine at every moment, and its lookups get the answers that they get in the whole trace. What is not a lookup is
counted by the first share alone. So the tallies of all shares together are the tally of the trace.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from replay.engine.gather import CHUNK
from replay.engine.tally import SLOW_PATH, Tally
from replay.kernel.registry import FUNCTIONS
from replay.trace.batch import Batch
from replay.trace.schema import DUMPS, EventKind

__all__ = ("SHARED", "Share")

# Lookups at a pfn, which share k answers if the pfn is its own.
SHARED = (
    EventKind.PFN_VALID,
    EventKind.PFN_TO_ONLINE_PAGE,
    EventKind.GET_DEV_PAGEMAP,
    EventKind.PGMAP_PFN_VALID,
    EventKind.KPAGEFLAGS,
)
# Rows that neither change anything nor have a pfn to go by: the first share answers them.
_FIRST = (
    EventKind.REGION_INTERSECTS,
    EventKind.WALK_SYSTEM_RAM_RANGE,
    *DUMPS,
)
_COUNTED_BY_ALL = frozenset(FUNCTIONS[kind].name for kind in SHARED) | {SLOW_PATH}


def _shown_as(first: bool) -> NDArray[np.uint8]:
    """Return what each kind is shown as: at ``kind`` where its pfn is the share's own, at ``256 + kind`` where not."""
    table = np.tile(np.arange(256, dtype=np.uint8), 2)
    table[256 + np.array(SHARED)] = EventKind.MARK
    if not first:
        table[np.add.outer((0, 256), _FIRST)] = EventKind.MARK
    return table


_SHOWN_AS = (_shown_as(first=True), _shown_as(first=False))


@dataclass(frozen=True)
class Share:
    """The lookups of pfns ``[first, last]``, ends inclusive, and everything that changes something.

    Attributes:
        number: 0 for the share that counts all that are no lookups.
        first: lowest pfn, on the border of a section.
        last: highest pfn.
    """

    number: int
    first: int
    last: int

    def of(self, batch: Batch) -> Batch:
        """Return the same rows, those of other shares turned into marks, which mean nothing to a replay.

        Row numbers stay as they are. No run may cross a border: its first pfn stands for it.
        """
        kinds, pfns = np.asarray(batch.column("kind"), np.uint8), np.asarray(batch.column("pfn"), np.uint64)
        first, span = np.uint64(self.first), np.uint64(self.last - self.first)
        shown = np.empty_like(kinds)
        table = _SHOWN_AS[min(self.number, 1)]
        for offset in range(0, kinds.size, CHUNK):  # temporaries stay in the cache, and nothing branches
            part = slice(offset, offset + CHUNK)
            at = (pfns[part] - first > span).astype(np.uint16)  # outside; wraps below first
            at <<= 8
            at |= kinds[part]
            np.take(table, at, out=shown[part], mode="wrap")
        return batch.replaced("kind", shown)

    def keep_own(self, tally: Tally) -> None:
        """Take out of the share's tally what the first share counts too."""
        if self.number == 0:
            return
        tally.events = 0
        tally.counters = {}
        for counts in (tally.outcomes, tally.checks, tally.agreement, tally.differences):
            for name in counts.keys() - _COUNTED_BY_ALL:
                del counts[name]
