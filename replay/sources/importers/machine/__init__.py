"""Machine descriptions from what tools and /proc and /sys say about a machine."""

from __future__ import annotations

__all__ = ()
