"""What a task finds when it touches memory after an error: the page table goes before what is known of the page."""

from __future__ import annotations

import numpy as np
import pytest

from replay.kernel.access import ACCESS, AccessState
from replay.kernel.kill import BUS_AR, NOSIG
from replay.kernel.profiles import profile

NAMES = ("entry", "mapped", "swap", "cache", "evictable")


@pytest.mark.parametrize(
    ("holds", "check", "signal"),
    [
        ({"entry", "swap"}, "hwpoison-entry", BUS_AR),
        ({"entry", "mapped"}, "hwpoison-entry", BUS_AR),
        ({"mapped", "swap"}, "still-mapped", NOSIG),  # it could not be unmapped: no fault
        ({"mapped", "cache"}, "still-mapped", NOSIG),
        ({"swap"}, "swap-cache", BUS_AR),
        ({"cache"}, "page-cache", BUS_AR),
        ({"cache", "evictable"}, "dropped", NOSIG),
        (set(), "good-page", NOSIG),
    ],
)
def test_what_an_access_finds(holds: set[str], check: str, signal: object) -> None:
    state = AccessState(**{name: np.array(name in holds) for name in NAMES})
    found = ACCESS.checks[ACCESS.decide(state, profile("v6.12.107").features)]
    assert (found.id, found.answer) == (check, signal)
