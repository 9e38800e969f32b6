"""What may stand where a recorded event or a dump names a pfn."""

from __future__ import annotations

__all__ = ("NUMBERS", "PFN_LIMIT")

PFN_LIMIT = 1 << 52  # what fits into 64 bits of bytes, with 4 KiB pages
NUMBERS = 1 << 64  # what pfn_valid, pfn_to_online_page and poison calls are handed: whatever somebody wrote to a file
