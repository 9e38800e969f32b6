"""What a replay tells whoever wants to know which states were met, not only what was decided."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from replay.engine.poison_call import Decided

__all__ = ("Observer",)


class Observer(Protocol):
    """Is told what decisions were made on. Calls that change the machine tell by themselves (``Rules.functions``)."""

    def lookups(self, function: str, codes: NDArray[np.uint16]) -> None:
        """Take state codes that lookups met, in any order, some perhaps several times."""
        ...

    def metadata(self, facts: set[tuple[bool, bool]]) -> None:
        """Take where pfns that pgmap_pfn_valid was asked about lie: (in the pagemap's ranges, behind its metadata)."""
        ...

    def poison(self, call: Decided, count: int) -> None:
        """Take a poison call, and how many like it there were: of the same state, with the same outcome."""
        ...
