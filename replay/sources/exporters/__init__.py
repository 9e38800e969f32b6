"""Traces in other formats: tables that come back the same, and views for other tools."""

from __future__ import annotations

__all__ = ()
