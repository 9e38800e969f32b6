"""Dumps of /proc/kpageflags and lists of page-types: for which pfns the kernel had a page, and which are poisoned."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from replay.errors import InputError
from replay.sources.importers.pfns import PFN_LIMIT
from replay.sources.importers.rejects import Rejects

from .files import read_lines, read_pieces

__all__ = ("CHUNK", "Kpf", "PageFlags", "read_kpageflags", "read_page_types")

_DUMP = "a copy of /proc/kpageflags: 8 bytes for each pfn from 0 on, little endian"
_LIST = "the output of `page-types -l` or `page-types -L`"


class Kpf(IntEnum):
    """Bits of /proc/kpageflags."""

    UPTODATE = 1 << 3
    DIRTY = 1 << 4
    LRU = 1 << 5
    SLAB = 1 << 7
    WRITEBACK = 1 << 8
    BUDDY = 1 << 10
    MMAP = 1 << 11
    ANON = 1 << 12
    SWAPCACHE = 1 << 13
    HEAD = 1 << 15
    TAIL = 1 << 16
    HUGE = 1 << 17
    UNEVICTABLE = 1 << 18
    HWPOISON = 1 << 19
    NOPAGE = 1 << 20
    KSM = 1 << 21
    THP = 1 << 22
    OFFLINE = 1 << 23
    ZERO = 1 << 24
    PGTABLE = 1 << 26
    RESERVED = 1 << 32
    MLOCKED = 1 << 33


# One letter for each bit in its order; where the letter is not there stands "_". Later bits differ between versions of the
# tool, so only these, which are the same in all of them, are looked at.
_LETTERS = "LERUDlASWIBMasbHTGuXnxtoz"
_NOPAGE, _HWPOISON = _LETTERS.index("n"), _LETTERS.index("X")
_SYMBOLS = re.compile("".join(f"[{letter}_]" for letter in _LETTERS) + r"[\w]*")
CHUNK = 256  # pages; the smallest sections are 16 MiB of 64 KiB pages
_MAX_RUNS = 1 << 22


@dataclass
class PageFlags:
    """What is known about pfns.

    An entry without any flag says nothing: it is a page that is free or the kernel's own, and in later kernels also one
    that does not exist.

    Attributes:
        absent: ascending runs [first, end) of pfns that have no page for sure.
        chunks: ascending numbers of those chunks of CHUNK pfns in which some page is there for sure.
        poisoned: pages with the HWPoison flag.
        end: pfn after the last one that the source speaks of.
    """

    absent: list[tuple[int, int]] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)
    poisoned: int = 0
    end: int = 0

    def add_absent(self, first: int, end: int) -> None:
        """Add a run of pfns without a page; runs come in ascending order."""
        if self.absent and self.absent[-1][1] == first:
            self.absent[-1] = self.absent[-1][0], end
        else:
            self.absent.append((first, end))

    def sections(self, pages: int) -> list[tuple[int, int]]:
        """Return the sections of so many pages (a multiple of CHUNK) in which some page is there, as runs of pfns."""
        runs: list[tuple[int, int]] = []
        for number in sorted({chunk * CHUNK // pages for chunk in self.chunks}):
            if runs and runs[-1][1] == number * pages:
                runs[-1] = runs[-1][0], (number + 1) * pages
            else:
                runs.append((number * pages, (number + 1) * pages))
        return runs


def read_kpageflags(path: Path) -> PageFlags:
    """Read a dump of /proc/kpageflags.

    Raises:
        InputError: it is no such dump.
    """
    result, rest = PageFlags(), b""
    for piece in read_pieces(path, _DUMP):
        data = rest + piece
        whole = len(data) // (8 * CHUNK) * (8 * CHUNK)
        rest = data[whole:]
        _take(np.frombuffer(data[:whole], "<u8"), result, path)
    size = result.end * 8 + len(rest)
    if len(rest) % 8 or not size:
        raise InputError(path, f"{size} bytes", _DUMP)
    _take(np.frombuffer(rest, "<u8"), result, path)
    if not result.chunks:
        raise InputError(path, "not one page", _DUMP, "read /proc/kpageflags as root")
    return result


def _take(flags: NDArray[np.uint64], result: PageFlags, path: Path) -> None:
    """Add entries; those before them were a multiple of CHUNK."""
    absent = (flags & np.uint64(Kpf.NOPAGE)) != 0
    steps = np.flatnonzero(np.diff(absent, prepend=False, append=False)).reshape(-1, 2) + result.end
    if len(result.absent) + len(steps) > _MAX_RUNS or result.end + len(flags) > PFN_LIMIT:
        raise InputError(path, f"more than {_MAX_RUNS} holes", _DUMP)
    for first, end in steps.tolist():
        result.add_absent(first, end)
    there = np.flatnonzero((flags != 0) & ~absent)
    result.chunks += np.unique((there + result.end) // CHUNK).tolist()
    result.poisoned += int(((flags & np.uint64(Kpf.HWPOISON)) != 0).sum())
    result.end += len(flags)


def read_page_types(path: Path, rejects: Rejects) -> PageFlags:
    """Read the list of `page-types -l` (runs) or `page-types -L` (single pages); the summary below it is passed over.

    Args:
        path: the file.
        rejects: takes lines that cannot be used.

    Raises:
        InputError: there is no list of physical pages, or it is not in order.
    """
    result = PageFlags()
    for number, first, length, symbols in _lines(path, rejects):
        end = first + length
        if first < result.end or end > PFN_LIMIT:
            raise InputError(f"{path}:{number}", f"pfn {first:#x} after {result.end:#x}", "pfns in ascending order")
        result.end = end
        if symbols[_NOPAGE] == "n":
            result.add_absent(first, end)
        elif symbols.strip("_"):
            known = result.chunks[-1] + 1 if result.chunks else 0
            chunks = range(max(first // CHUNK, known), (end - 1) // CHUNK + 1)
            if len(result.chunks) + len(chunks) > _MAX_RUNS:
                raise InputError(f"{path}:{number}", f"{length} pages", f"at most {_MAX_RUNS * CHUNK} in all")
            result.chunks.extend(chunks)
        if symbols[_HWPOISON] == "X":
            result.poisoned += length
    if not result.chunks:
        raise InputError(path, "no page", _LIST, "a summary alone does not say where the pages are")
    return result


def _lines(path: Path, rejects: Rejects) -> Iterator[tuple[int, int, int, str]]:
    """Yield line number, first pfn, length and flags of every line of the list."""
    columns: list[str] = []
    for number, line in enumerate(read_lines(path, _LIST), 1):
        fields = line.split()
        if "offset" in fields and "flags" in fields:
            columns = fields
            if "voffset" in columns or "foffset" in columns:
                raise InputError(f"{path}:{number}", "a list of virtual pages", _LIST, "without -p and -f")
            continue
        if not fields or fields[0] in {"flags", "total"} or fields[0].startswith("0x"):
            if columns and fields:
                return  # the summary
            continue
        values = dict(zip(columns, fields, strict=False))
        first, length = _hexadecimal(values.get("offset")), _hexadecimal(values.get("len", "1"))
        symbols = values.get("flags", "")
        if first is None or not length or not _SYMBOLS.fullmatch(symbols) or len(fields) != len(columns):
            rejects.add(number, "no line of page-types", line)
            continue
        yield number, first, length, symbols


def _hexadecimal(text: str | None) -> int | None:
    return int(text, 16) if text and re.fullmatch(r"[0-9a-f]{1,13}", text) else None
