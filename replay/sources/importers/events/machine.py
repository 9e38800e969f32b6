"""The machine of a trace that is made of events alone: that of another trace, or one put together from the events."""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from replay.errors import InputError, UsageError
from replay.kernel.poison_types import kernel_version
from replay.kernel.profiles import PRESETS
from replay.machine.geometry import arch as known_arch
from replay.trace.header import BootRange, MachineDescription
from replay.trace.reader import TraceFile

__all__ = ("MAX_SECTIONS", "PIECE", "MachineSource", "Seen", "kernel_note")

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

    def put_together(self, kernel: str, release: str, seen: Seen, where: str) -> MachineDescription:
        """Return a machine whose memory is the sections in which the events saw pages.

        Raises:
            UsageError: the architecture is not known.
            InputError: there are too many sections.
        """
        arch = known_arch(self.arch)
        later = _LATER_SECTIONS.get(arch.name)
        shift = _USUAL_PAGE_SHIFT.get(arch.name, arch.page_shifts[0])
        sizes = arch.section_size_bits[shift]
        section = sizes[later is not None and kernel_version(kernel)[:2] >= later]
        numbers = seen.sections(section - shift, where)
        top = int(numbers[-1] + 1) << section if len(numbers) else 0
        bits = next((bits for bits in arch.max_physmem_bits if top <= 1 << bits), None)
        if bits is None:
            raise InputError(where, f"a page at byte {top:#x}", f"one that {arch.name} can address")
        edges = np.flatnonzero(np.diff(numbers) != 1)
        first = numbers[np.concatenate(([0], edges + 1))] if len(numbers) else numbers
        last = numbers[np.concatenate((edges, [len(numbers) - 1]))] if len(numbers) else numbers
        pages = section - shift
        return MachineDescription(
            arch=arch.name, page_shift=shift, section_size_bits=section, max_physmem_bits=bits,
            memory_block_bytes=1 << section, kernel=kernel, release=release,
            memory=tuple(
                BootRange(int(a) << pages, int(b + 1) << pages) for a, b in zip(first.tolist(), last.tolist(), strict=True)
            ),
        )  # fmt: skip


def kernel_note(kernel: str) -> str | None:
    """Return what to tell the user about a kernel that has no profile."""
    if f"v{kernel.removeprefix('v')}" in PRESETS:
        return None
    return f"there is no profile of kernel {kernel}: replay the trace with --profile (`replay profiles` lists them)"


@dataclass
class Seen:
    """Where the events saw pages, in pieces of which every section is a multiple."""

    _pieces: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, pfn: npt.NDArray[np.int64]) -> None:
        """Take the pfns of pages."""
        pieces = pfn >> PIECE
        new = np.unique(pieces[np.flatnonzero(np.diff(pieces, prepend=-1))])  # neighbours mostly are of one piece
        if len(new) and len(self._pieces) <= _MAX_PIECES:  # more are too many for a machine, see `sections`
            self._pieces = np.union1d(self._pieces, new)

    def outside(self, machine: MachineDescription) -> int | None:
        """Return a pfn near which there were pages although the machine has no memory there, None if there is none."""
        first, last = self._pieces << PIECE, ((self._pieces + 1) << PIECE) - 1
        starts = np.array([r.start for r in machine.memory], np.int64)
        ends = np.array([r.end for r in machine.memory], np.int64)
        # Memory may begin or end within a piece: one end of it inside is enough.
        inside = np.zeros(len(first), bool)
        if len(starts):
            for pfn in (first, last):
                at = np.searchsorted(starts, pfn, "right") - 1
                inside |= (at >= 0) & (pfn < ends[at])
        return None if inside.all() else int(first[np.argmin(inside)])

    def sections(self, pages_shift: int, where: str) -> npt.NDArray[np.int64]:
        """Return the numbers of the sections of that size, ascending.

        Raises:
            InputError: there are too many.
        """
        numbers = np.unique(self._pieces >> (pages_shift - PIECE))
        if len(numbers) > MAX_SECTIONS or len(self._pieces) > _MAX_PIECES:
            raise InputError(where, f"pages in {len(numbers)} sections or more", f"at most {MAX_SECTIONS} to put a "
                             "machine together from", "give the machine: --machine FILE")  # fmt: skip
        return numbers


def _version(kernel: str) -> str:
    kernel_version(kernel)
    return kernel.removeprefix("v")
