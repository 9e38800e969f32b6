"""What earlier calls have left behind at a page: how many references, and whether it is still in a file."""

from __future__ import annotations

from typing import NamedTuple

from replay.kernel.features import FEATURES
from replay.trace.poison import ActionResult

from .calls import Call
from .evidence import Action, Evidence
from .victims import Victim

__all__ = ("Histories", "Leftover", "recorder_has", "version_of")

_UNTOUCHED = ("already poisoned", "dax page", "unsplit thp", "get hwpoison page", "non struct page pfn")
_HELD = ("unmapping failed page", "already truncated LRU page")


class Leftover(NamedTuple):
    """What is left at a page.

    Attributes:
        refs: reference count.
        in_file: its mapping pointer is set.
        in_swap: one of the references is that of the swap cache.
    """

    refs: int = 1
    in_file: bool = False
    in_swap: bool = False


def version_of(kernel: str) -> tuple[int, ...]:
    """Return the first two numbers of a release; (0, 0) when there are none."""
    parts = kernel.split(".")[:2]
    return tuple(int(part) for part in parts) if len(parts) == 2 and all(p.isdigit() for p in parts) else (0, 0)


def recorder_has(kernel: str, feature: str) -> bool:
    """Return whether a release is not older than a feature. Recordings are of any kernel, presets of few."""
    return version_of(kernel) >= version_of(FEATURES[feature].first.removeprefix("v"))


class Histories:
    """Follows the recorded outcomes of calls, pfn by pfn.

    Args:
        kernel: release of the recording kernel.
    """

    def __init__(self, kernel: str) -> None:
        self._keeps_shmem = recorder_has(kernel, "file-thp-split")
        self._left: dict[int, Leftover] = {}

    def left(self, pfn: int) -> Leftover:
        """Return what calls so far have left behind."""
        return self._left.get(pfn, Leftover())

    def add(self, call: Call, evidence: Evidence, victim: Victim | None, hwpoison: int | None) -> None:
        """Take in the outcome of a call, and the HWPoison flag after it."""
        pfn = call.given["pfn"]
        if call.name == "unpoison_memory":
            if call.ret == 0 and not hwpoison:  # old kernels return 0 even when they did nothing
                self._left.pop(pfn, None)
        elif call.name == "soft_offline_page":
            if call.ret == 0:
                self._left.setdefault(pfn, Leftover())
        elif evidence.action is not None:
            self._left[pfn] = self._after(evidence.action, self.left(pfn), victim)

    def _after(self, action: Action, before: Leftover, victim: Victim | None) -> Leftover:
        kind, result = action.page_type, action.result
        if kind in _UNTOUCHED:
            return before
        if kind in _HELD or result == ActionResult.FAILED:
            return Leftover(2)
        if result == ActionResult.IGNORED:
            return before
        if result == ActionResult.DELAYED:
            return Leftover(2, in_swap=True) if "swapcache" in kind else Leftover(0)
        stays = victim is not None and victim.kind.startswith("tmpfs") and self._keeps_shmem
        return Leftover(2, in_file=True) if stays else Leftover(1)
