"""Importer of recording folders (ftrace text, kprobe arguments and returns, /proc and /sys dumps)."""

from __future__ import annotations

from .convert import ImportReport, import_recording, read_recording

__all__ = ("ImportReport", "import_recording", "read_recording")
