"""Test vectors of docs/semantics/walk.md, section 8 (see ``model.py``)."""

from __future__ import annotations

from tests.vectors import arm64, hotplug, lookups, others, pagemaps
from tests.vectors.model import Vector

VECTORS: tuple[Vector, ...] = (
    *lookups.VECTORS,
    *pagemaps.VECTORS,
    *hotplug.VECTORS,
    *arm64.VECTORS,
    *others.VECTORS,
)
ELSEWHERE = others.ELSEWHERE
