"""The machine of a source that records events only: taken from a file the user gives, or put together from the events.

A reconstructed machine holds the least that explains the events: the architecture's usual layout, and boot memory in the
sections of the pages that the kernel treated as its own. It is marked as reconstructed, and says what it assumes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from replay.errors import InputError, UsageError
from replay.machine.geometry import arch, check_description
from replay.trace.header import BootRange, MachineDescription, Resource
from replay.trace.reader import TraceFile

__all__ = ("RECONSTRUCTED", "MachineSource", "machine_of", "reconstruct")

RECONSTRUCTED = "machine reconstructed from the events"
_DEFAULT_ARCH = "x86_64"


@dataclass(frozen=True)
class MachineSource:
    """A machine, and what is assumed about it.

    Attributes:
        machine: the description.
        notes: assumptions, for the provenance; the first one of a reconstructed machine begins with RECONSTRUCTED.
        given: whether it was given and not reconstructed: then what it does not hold is not there.
    """

    machine: MachineDescription
    notes: tuple[str, ...]
    given: bool


def machine_of(path: str | os.PathLike[str]) -> MachineSource:
    """Return the machine of a trace or machine file (both are traces; a machine file has no rows).

    Raises:
        InputError: it is no trace.
    """
    with TraceFile.open(path) as trace:
        check_description(trace.machine, os.fspath(path))
        return MachineSource(trace.machine, (f"machine of {os.path.basename(os.fspath(path))}, {trace.digest}",), True)


def reconstruct(
    kernel: str, pages: NDArray[np.uint64], *, arch_name: str = _DEFAULT_ARCH, page_shift: int | None = None,
    release: str = "",
) -> MachineSource:  # fmt: skip
    """Return the least machine that explains what happened to some pages.

    Args:
        kernel: version of the recording kernel, without the v.
        pages: pfns that the kernel treated as memory of its own, in any order.
        arch_name: as in uname -m.
        page_shift: log2 of the page size; the architecture's smallest when not given.
        release: uname -r, where it is known.

    Raises:
        UnknownNameError: an architecture whose layouts are not known.
        InputError: a pfn is beyond every address that the architecture has.
    """
    layout = arch(arch_name)
    shift = layout.page_shifts[0] if page_shift is None else page_shift
    if shift not in layout.page_shifts:
        raise UsageError(f"{layout.name} has no pages of {1 << shift} bytes")
    bits = layout.section_size_bits[shift][-1]
    top = (int(pages.max()) + 1 if pages.size else 0) << shift
    physical = next((b for b in sorted(layout.max_physmem_bits) if top <= 1 << b), None)
    if physical is None:
        most = max(layout.max_physmem_bits)
        raise InputError("events", f"pfn {int(pages.max()):#x}", f"pfns below {1 << most - shift:#x} ({layout.name})")
    sections = np.unique(pages >> np.uint64(bits - shift)).tolist()
    memory = _ranges(sections, 1 << bits - shift)
    machine = MachineDescription(
        arch=layout.name, page_shift=shift, section_size_bits=bits, max_physmem_bits=physical,
        memory_block_bytes=max(1 << bits, 128 << 20), kernel=kernel, release=release,
        memory=tuple(BootRange(low, high) for low, high in memory),
        resources=tuple(
            Resource(low << shift, (high << shift) - 1, "System RAM", busy=True, ram=True) for low, high in memory
        ),
    )  # fmt: skip
    notes = (
        f"{RECONSTRUCTED}: {layout.name} with pages of {1 << shift} bytes, sections of {(1 << bits) >> 20} MiB and memory "
        f"blocks of {machine.memory_block_bytes >> 20} MiB, {physical} physical address bits",
        f"{RECONSTRUCTED}: boot memory is the {len(sections)} sections of pages that the kernel treated as its own; one "
        "node; no devices",
    )
    return MachineSource(machine, notes, False)


def _ranges(sections: list[int], pages: int) -> list[tuple[int, int]]:
    """Return runs of sections as ranges of pfns."""
    starts = [s for before, s in pairwise([-2, *sections]) if s != before + 1]
    ends = [s + 1 for s, after in pairwise([*sections, -2]) if after != s + 1]
    return [(low * pages, high * pages) for low, high in zip(starts, ends, strict=True)]
