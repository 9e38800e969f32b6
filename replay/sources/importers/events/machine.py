"""The machine of a trace that is made of events alone: that of another trace, or one put together from the events."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from replay.errors import InputError, UsageError
from replay.kernel.poison_types import kernel_version
from replay.kernel.profiles import PRESETS
from replay.machine.geometry import arch as known_arch
from replay.trace.header import BootRange, MachineDescription
from replay.trace.reader import TraceFile

__all__ = ("MAX_SECTIONS", "PIECE", "MachineSource", "Seen", "kernel_note", "with_memory")

PIECE = 8  # log2 of the pages of a piece; the smallest sections are 16 MiB of 64 KiB pages
_MAX_PIECES = 1 << 22

MAX_SECTIONS = 1 << 15  # more are not put together from events: 4 TiB of x86 memory, if all were touched
# The first kernel with the later of the section sizes that the architecture has had (walk semantics, section 7).
_LATER_SECTIONS: dict[str, tuple[int, int]] = {"aarch64": (5, 12), "s390x": (7, 2)}
_RELEASE = re.compile(r"\d+\.\d+(?:\.\d+)?")
_USUAL_PAGE_SHIFT = {"ppc64": 16, "loongarch64": 14}


@dataclass(frozen=True)
class MachineSource:
    """What the user says about the machine.

    Attributes:
        trace: a trace whose machine it is.
        kernel: version of the kernel; of the trace's machine, unless given.
        arch: architecture of a machine without a trace.
    """

    trace: str | os.PathLike[str] | None = None
    kernel: str | None = None
    arch: str = "x86_64"

    def known(self) -> MachineDescription | None:
        """Return the machine of the trace, with the kernel that the user says; None without a trace.

        Raises:
            TraceError: the trace cannot be read.
            UsageError: the kernel is not a version.
        """
        if self.trace is None:
            return None
        with TraceFile.open(self.trace) as trace:
            machine = trace.machine
        if self.kernel is None:
            return machine
        return dataclasses.replace(machine, kernel=_version(self.kernel), release="")

    def devices(self) -> Mapping[str, str]:
        """Return what ndctl and daxctl said of the machine's devices, by name: that only a machine's own file holds."""
        if self.trace is None:
            return {}
        with TraceFile.open(self.trace) as trace:
            return trace.provenance.parameters if trace.provenance.source == "machine" else {}

    def kernel_of(self, found: str, where: str) -> str:
        """Return the kernel's version.

        Args:
            found: the release that the input names itself; "" if none. Its patch level may be the distribution's.
            where: the input, for the error.

        Raises:
            UsageError: nobody says which it is.
        """
        if self.kernel is not None:
            return _version(self.kernel)
        if version := _RELEASE.match(found):
            return version[0]
        raise UsageError(
            f"{where}: does not say which kernel it is of, and the numbers of page types mean nothing without; give "
            "--kernel VERSION (such as 6.1.192), or --machine with a trace of that machine"
        )

    def page_shift(self) -> int:
        """Return log2 of the page size: of the trace's machine, else the usual one of the architecture."""
        machine = self.known()
        if machine is not None:
            return machine.page_shift
        arch = known_arch(self.arch)
        return _USUAL_PAGE_SHIFT.get(arch.name, arch.page_shifts[0])

    def put_together(
        self, kernel: str, release: str, seen: Seen, where: str, without: Sequence[tuple[int, int]] = ()
    ) -> MachineDescription:
        """Return a machine whose memory is the sections in which the events saw pages.

        Args:
            kernel: its version.
            release: uname -r, where it is known.
            seen: where there were pages.
            where: the input, for errors.
            without: ranges of pfns in these sections that are no memory, ascending.

        Raises:
            UsageError: the architecture is not known.
            InputError: there are too many sections.
        """
        arch, shift = known_arch(self.arch), self.page_shift()
        later = _LATER_SECTIONS.get(arch.name)
        sizes = arch.section_size_bits[shift]
        section = sizes[later is not None and kernel_version(kernel)[:2] >= later]
        numbers = seen.sections(section - shift, where)
        top = int(numbers[-1] + 1) << section if len(numbers) else 0
        bits = next((bits for bits in arch.max_physmem_bits if top <= 1 << bits), None)
        if bits is None:
            raise InputError(where, f"a page at byte {top:#x}", f"one that {arch.name} can address")
        pages = section - shift
        memory = [(first << pages, (last + 1) << pages) for first, last in _runs(numbers)]
        return MachineDescription(
            arch=arch.name, page_shift=shift, section_size_bits=section, max_physmem_bits=bits,
            memory_block_bytes=1 << section, kernel=kernel, release=release,
            memory=tuple(BootRange(low, high) for low, high in _cut(memory, without)),
        )  # fmt: skip


def with_memory(
    machine: MachineDescription, seen: Seen, without: Sequence[tuple[int, int]]
) -> tuple[MachineDescription, int]:
    """Return a machine that also has the memory in which events saw pages of memory, and how many blocks that adds.

    Args:
        machine: of another trace; memory that was added after its boot is not in it.
        seen: where there were pages of memory.
        without: ranges of pfns that are no memory, ascending.
    """
    shift = (machine.memory_block_bytes >> machine.page_shift).bit_length() - 1
    numbers = seen.beyond(machine).blocks(shift)
    if not len(numbers) or len(numbers) > MAX_SECTIONS:
        return machine, 0
    known = sorted([*((part.start, part.end) for part in machine.memory), *without])
    blocks = [(first << shift, (last + 1) << shift) for first, last in _runs(numbers)]
    added = tuple(BootRange(low, high) for low, high in _cut(blocks, known))
    memory = tuple(sorted((*machine.memory, *added), key=lambda part: part.start))
    return dataclasses.replace(machine, memory=memory), len(numbers)


def _runs(numbers: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return first and last of each run of numbers that follow each other."""
    if not len(numbers):
        return []
    edges = np.flatnonzero(np.diff(numbers) != 1)
    first, last = numbers[np.concatenate(([0], edges + 1))], numbers[np.concatenate((edges, [len(numbers) - 1]))]
    return list(zip(first.tolist(), last.tolist(), strict=True))


def _cut(ranges: list[tuple[int, int]], without: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the parts of ranges that are outside of others; both ascending and half open, the others may overlap."""
    result, at, reached = [], 0, 0
    for low, high in ranges:
        start = max(low, reached)
        while at < len(without) and without[at][0] < high:
            first, end = without[at]
            if first > start:
                result.append((start, first))
            reached = max(reached, end)
            start = max(start, reached)
            at += 1
        if start < high:
            result.append((start, high))
    return result


def kernel_note(kernel: str) -> str | None:
    """Return what to tell the user about a kernel that has no profile."""
    if f"v{kernel.removeprefix('v')}" in PRESETS:
        return None
    return f"there is no profile of kernel {kernel}: replay the trace with --profile (`replay profiles` lists them)"


@dataclass
class Seen:
    """Where the events saw pages, in pieces of which every section is a multiple."""

    _pieces: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, pfn: npt.NDArray[np.integer[Any]]) -> None:
        """Take the pfns of pages."""
        pieces = (pfn >> PIECE).astype(np.int64)
        new = np.unique(pieces[np.flatnonzero(np.diff(pieces, prepend=-1))])  # neighbours mostly are of one piece
        if len(new) and len(self._pieces) <= _MAX_PIECES:  # more are too many for a machine, see `sections`
            self._pieces = np.union1d(self._pieces, new)

    def union(self, other: Seen) -> Seen:
        """Return where either saw pages."""
        return Seen(np.union1d(self._pieces, other._pieces))

    def meets(self, start: int, end: int) -> bool:
        """Return whether there were pages in ``[start, end)``, or within a few of it."""
        low, high = np.searchsorted(self._pieces, (start >> PIECE, -(-end >> PIECE)))
        return bool(low < high)

    def apart_from(self, spans: Sequence[tuple[int, int]]) -> Seen:
        """Return what is not in these ranges of pfns; they are ascending, and may overlap."""
        starts = np.array([start for start, _ in spans], np.int64)
        ends = np.maximum.accumulate(np.array([0, *(end for _, end in spans)], np.int64))
        pfn = self._pieces << PIECE
        return Seen(self._pieces[pfn >= ends[np.searchsorted(starts, pfn, "right")]])

    def beyond(self, machine: MachineDescription) -> Seen:
        """Return what is not in the machine's boot memory."""
        first, last = self._pieces << PIECE, ((self._pieces + 1) << PIECE) - 1
        starts = np.array([r.start for r in machine.memory], np.int64)
        ends = np.array([r.end for r in machine.memory], np.int64)
        # Memory may begin or end within a piece: one end of it inside is enough.
        inside = np.zeros(len(first), bool)
        if len(starts):
            for pfn in (first, last):
                at = np.searchsorted(starts, pfn, "right") - 1
                inside |= (at >= 0) & (pfn < ends[at])
        return Seen(self._pieces[~inside])

    def outside(self, machine: MachineDescription) -> int | None:
        """Return a pfn near which there were pages although the machine has no memory there, None if there is none."""
        pieces = self.beyond(machine)._pieces
        return int(pieces[0]) << PIECE if len(pieces) else None

    def blocks(self, shift: int) -> npt.NDArray[np.int64]:
        """Return the numbers of the blocks of that many pages (log2), ascending."""
        return np.unique(self._pieces >> (shift - PIECE))

    def sections(self, pages_shift: int, where: str) -> npt.NDArray[np.int64]:
        """Return the numbers of the sections of that size, ascending.

        Raises:
            InputError: there are too many.
        """
        numbers = self.blocks(pages_shift)
        if len(numbers) > MAX_SECTIONS or len(self._pieces) > _MAX_PIECES:
            raise InputError(where, f"pages in {len(numbers)} sections or more", f"at most {MAX_SECTIONS} to put a "
                             "machine together from", "give the machine: --machine FILE")  # fmt: skip
        return numbers


def _version(kernel: str) -> str:
    kernel_version(kernel)
    return kernel.removeprefix("v")
