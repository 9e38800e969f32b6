"""The bytes of a file, mapped into memory, and the pages that may go again once they were used.

Pages of a mapping count as memory of the process until they are given back, although the system could read them again
at any time. Whoever reads a file from one end to the other gives back what lies behind, so that the memory in use
does not grow with the file.
"""

from __future__ import annotations

import mmap
import os
import stat

import pyarrow as pa

from replay.errors import TraceError, did_you_mean_file
from replay.trace.batch import Array

__all__ = ("MappedFile",)

_GIVE_BACK: int | None = getattr(mmap, "MADV_DONTNEED", None)  # not everywhere; there, pages stay until the end


class MappedFile:
    """A regular file's content, mapped read-only.

    Args:
        path: the file.

    Attributes:
        data: the whole content.

    Raises:
        TraceError: it is missing, empty or no regular file.
    """

    def __init__(self, path: str) -> None:
        self._map = _map(path)
        self.data: pa.Buffer = pa.py_buffer(self._map)

    def span(self, view: Array) -> tuple[int, int] | None:
        """Return the offsets in the file of a contiguous view of it, or None for an array that lies elsewhere."""
        start: int = view.__array_interface__["data"][0] - self.data.address
        end = start + view.nbytes
        return (start, end) if 0 <= start <= end <= len(self._map) else None

    def give_back(self, start: int, end: int) -> None:
        """Let go of the pages that lie wholly within ``[start, end)`` bytes of the file.

        Views of them stay valid: what is looked at again is mapped again.
        """
        first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        length = end // mmap.PAGESIZE * mmap.PAGESIZE - first
        if _GIVE_BACK is not None and length > 0:
            self._map.madvise(_GIVE_BACK, first, length)


def _map(path: str) -> mmap.mmap:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not block
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise TraceError(path, "no regular file", "a trace file")
            if not status.st_size:
                raise TraceError(path, "an empty file", "a trace file")
            return mmap.mmap(descriptor, status.st_size, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = did_you_mean_file(path) if isinstance(error, FileNotFoundError) else ""
        raise TraceError(path, f"a file that cannot be opened ({reason})", "a trace file", hint) from None
