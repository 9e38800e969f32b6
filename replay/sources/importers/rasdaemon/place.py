"""Which pfns are System RAM and which belong to a device alone: what a memory error there can be reported as."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from replay.trace.header import MachineDescription

from .decoder import Place

__all__ = ("Places",)

_DEVICE = re.compile(r"Persistent Memory(?: \(legacy\))?|Soft Reserved|namespace\d+\.\d+|dax\d+\.\d+|CXL Window \d+")


class Places:
    """The places of a machine's pages.

    A page of a device that shares a section with RAM has no place here: kernels differ in whether they take it for RAM.

    Args:
        machine: the description; None where it says nothing about the places of pages.
    """

    def __init__(self, machine: MachineDescription | None) -> None:
        ram, device, self._section_shift = [], [], 0
        if machine is not None:
            shift, self._section_shift = machine.page_shift, machine.section_size_bits - machine.page_shift
            ram = [(r.start, r.end) for r in machine.memory]
            ram += [(r.start >> shift, (r.end >> shift) + 1) for r in machine.resources if r.ram]
            device = [
                (r.start >> shift, (r.end >> shift) + 1) for r in machine.resources if _DEVICE.fullmatch(r.name)
            ]  # fmt: skip
        self._ram, self._device = _union(ram), _union(device)
        cut = self._section_shift
        self._ram_sections = _union([(low >> cut, ((high - 1) >> cut) + 1) for low, high in ram if low < high])

    def of(self, pfns: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """Return the Place of every pfn."""
        result = np.full(len(pfns), Place.UNKNOWN, np.uint8)
        alone = ~_inside(pfns >> np.uint64(self._section_shift), self._ram_sections)
        result[_inside(pfns, self._device) & alone] = Place.DEVICE
        result[_inside(pfns, self._ram)] = Place.RAM
        return result


def _union(ranges: list[tuple[int, int]]) -> NDArray[np.uint64]:
    """Return the borders of the union of ranges, ascending: inside begins at even indexes, ends at odd ones."""
    borders: list[int] = []
    for low, high in sorted(ranges):
        if low >= high:
            continue
        if borders and low <= borders[-1]:
            borders[-1] = max(borders[-1], high)
        else:
            borders += [low, high]
    return np.array(borders, np.uint64)


def _inside(values: NDArray[np.uint64], borders: NDArray[np.uint64]) -> NDArray[np.bool_]:
    return (np.searchsorted(borders, values, "right") & 1).astype(np.bool_)
