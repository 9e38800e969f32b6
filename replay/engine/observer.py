"""What a replay tells whoever wants to know which states were met, not only what was decided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from replay.engine.poison_call import Decided

__all__ = ("Observer", "PoisonObserver", "with_counts")


def with_counts(calls: Sequence[Decided], like: NDArray[np.int64]) -> Iterator[tuple[Decided, int]]:
    """Yield calls, and how many were like each; the arguments are those of ``PoisonObserver.poison``."""
    counts = [1] if like.size == 1 else np.bincount(like, minlength=len(calls)).tolist()
    return zip(calls, counts, strict=True)


class PoisonObserver(Protocol):
    """Is told of poison calls, and of nothing else: that costs little."""

    def poison(self, calls: Sequence[Decided], rows: NDArray[np.int64], like: NDArray[np.int64]) -> None:
        """Take poison calls that were carried out.

        Args:
            calls: decided calls, of different states.
            rows: indices within the batch, of all calls that were made.
            like: for each of them, the index of the call that it was like: of the same state, with the same outcome.
        """
        ...


class Observer(PoisonObserver, Protocol):
    """Is told what decisions were made on. Calls that change the machine tell by themselves (``Rules.functions``)."""

    def lookups(self, function: str, codes: NDArray[np.uint16]) -> None:
        """Take state codes that lookups met, in any order, some perhaps several times."""
        ...

    def metadata(self, facts: set[tuple[bool, bool]]) -> None:
        """Take where pfns that pgmap_pfn_valid was asked about lie: (in the pagemap's ranges, behind its metadata)."""
        ...
