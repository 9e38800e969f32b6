"""Pairs of kernels to compare, and their comparisons, made once."""

from __future__ import annotations

from functools import cache

from replay.compare.diff import Difference, Scope, diff
from replay.compare.diff_sides import AREAS
from replay.kernel.profiles import PRESETS, profile

EVERYTHING = Scope(tuple(AREAS), (), "")

# Every preset and the one it is written down as a difference to, and a few that lie further apart.
ADJACENT = tuple((p.after, p.name) for p in PRESETS.values() if p.after)
FAR = (("v4.18", "v7.2"), ("v5.12", "v5.10.223"), ("v7.2", "v6.1"), ("v5.11+taint-zone-device", "v5.12"))
PAIRS = (*ADJACENT, *FAR)


@cache
def compared(p: str, q: str, scope: Scope = EVERYTHING) -> Difference:
    """Return the difference of two profiles."""
    return diff(profile(p), profile(q), scope)
