"""What happens when a task touches memory after an error (poison semantics 3.4), and when an error is cleared (4.4)."""

from __future__ import annotations

from dataclasses import dataclass

from replay.kernel.calls import always
from replay.kernel.decision import Bools, Check, KernelFunction
from replay.kernel.kill import BUS_AR, NOSIG

__all__ = ("ACCESS", "AccessState")


@dataclass(frozen=True)
class AccessState:
    """A task, and the page that it expects at the address; booleans or arrays of them.

    Attributes:
        entry: its page table holds a hwpoison entry there.
        mapped: its page table still maps the page there: it could not be unmapped.
        swap: the page is poisoned and still in the swap cache.
        cache: the page is poisoned and still in the page cache.
        evictable: that page is clean and can be dropped.
    """

    entry: Bools
    mapped: Bools
    swap: Bools
    cache: Bools
    evictable: Bools


ACCESS: KernelFunction[AccessState] = KernelFunction(
    "access",
    (
        Check("hwpoison-entry", lambda s: s.entry, BUS_AR, why="the page table entry says that the page is poisoned"),
        Check(
            "still-mapped", lambda s: s.mapped, NOSIG, why="the page is still mapped: no fault, the hardware would tell"
        ),
        Check("swap-cache", lambda s: s.swap, BUS_AR, why="the page is found poisoned in the swap cache"),
        Check(
            "dropped",
            lambda s: s.cache & s.evictable,
            NOSIG,
            needs=("poisoned-cache-dropped",),
            why="the poisoned page-cache page is clean: it is dropped and read again",
        ),
        Check("page-cache", lambda s: s.cache, BUS_AR, why="the page is found poisoned in the page cache"),
        Check("good-page", always, NOSIG, why="the task finds a good page, an old one or one read again"),
    ),
)
