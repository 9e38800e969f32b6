"""Pieces of lookups, with the verdicts of the tables and the machine that they are asked of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from replay.compare.native.image import Image, image_of
from replay.compare.native.layout import CHUNK, FUNCTION_OF, Function, Target
from replay.engine.gather import Scratch, SingleLookup
from replay.engine.queries import metadata_pieces
from replay.engine.resolve import StateIndex
from replay.engine.tabulate import CHECK_MASK, YES, tabulate
from replay.kernel.calls import Kernel
from replay.kernel.decision import KernelFunction
from replay.kernel.registry import FUNCTIONS
from replay.kernel.resource_queries import PGMAP_PFN_VALID
from replay.kernel.walk import PFN_TO_ONLINE_PAGE, PFN_VALID
from replay.machine.machine import Machine

__all__ = ("KINDS", "Oracle", "Piece", "Source", "kernel_function")

I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]

KINDS = {function: kind for kind, function in FUNCTION_OF.items()}


def kernel_function(function: Function) -> KernelFunction[object]:
    """Return the table's side of a function."""
    found: KernelFunction[object] = FUNCTIONS[KINDS[function]]
    return found


@dataclass(frozen=True)
class Piece:
    """At most CHUNK lookups of one function, on one state of the machine.

    Attributes:
        function: which one.
        rows: row of the trace of each lookup (of random states: their number).
        pfns: of each lookup.
        pagemaps: id of the pagemap that each lookup names, None where the function takes none.
        check: index of the check of the table that decides each.
        yes: whether the table answers with a page (valid, data), 0 or 1.
        image: the machine.
        places: returns, of pfns, where the state of each begins; to be asked before the next piece is.
    """

    function: Function
    rows: I64
    pfns: U64
    pagemaps: U64 | None
    check: U8
    yes: U8
    image: Image
    places: Callable[[U64], U64]

    def __len__(self) -> int:
        return self.pfns.size

    @property
    def positions(self) -> U64 | None:
        """The pagemaps by their position in the image."""
        if self.pagemaps is None:
            return None
        ids, slot = np.unique(self.pagemaps, return_inverse=True)
        return np.array([self.image.position[n] for n in ids.tolist()], np.uint64)[slot]


def _subsection_of(pfns: U64) -> U64:
    """Return where the 2 MiB (of 4 KiB pages) begin that each pfn is in: metadata has no state of its own."""
    return pfns >> np.uint64(9) << np.uint64(9)


class Source(Protocol):
    """Lookups to check a candidate with.

    Attributes:
        name: where they come from, as one would type it.
        target: machine and kernel to compile for.
        absent: calls of functions that the kernel does not have; the table says nothing of them.
    """

    name: str
    target: Target
    absent: int

    def pieces(self, functions: frozenset[Function]) -> Iterator[Piece]:
        """Yield the lookups of these functions, in order."""
        ...


class Oracle:
    """What the tables of one kernel say about one machine, and its image.

    Args:
        machine: that the lookups are asked of.
        index: its state codes, always up to date.
        kernel: whose tables.
    """

    def __init__(self, machine: Machine, index: StateIndex, kernel: Kernel) -> None:
        self._machine, self._index, self._kernel = machine, index, kernel
        functions = {Function.PFN_TO_ONLINE_PAGE: PFN_TO_ONLINE_PAGE, Function.PFN_VALID: PFN_VALID}
        self._lookups = {name: SingleLookup(index, tabulate(f, kernel)) for name, f in functions.items()}
        self._scratch = Scratch()
        self._image = image_of(machine)
        self._version = index.version

    @property
    def knows_metadata(self) -> bool:
        """Whether the kernel has pgmap_pfn_valid."""
        return self._kernel.has("pgmap-pfn-valid")

    def piece(self, function: Function, rows: I64, pfns: U64, pagemaps: U64 | None) -> Piece:
        """Return lookups, at most CHUNK, with their verdicts."""
        assert pfns.size <= CHUNK
        if pagemaps is None:
            lookup = self._lookups[function]
            lookup.sync()
            classes = lookup.classes(pfns, self._scratch)
            check = (classes & CHECK_MASK).astype(np.uint8)
            yes = (classes & YES != 0).astype(np.uint8)
            places = self._index.place_of
        else:
            check = self._metadata(pfns, pagemaps)
            places = _subsection_of
            yes = np.array([c.answer.value for c in PGMAP_PFN_VALID.checks], np.uint8)[check]
        return Piece(function, rows, pfns, pagemaps, check, yes, self._current(pagemaps), places)

    def _metadata(self, pfns: U64, pagemaps: U64) -> U8:
        check = np.empty(pfns.size, np.uint8)
        for pgmap in np.unique(pagemaps).tolist():
            borders, checks = metadata_pieces(self._machine, self._kernel, pgmap)
            here = pagemaps == pgmap
            check[here] = checks[np.searchsorted(borders, pfns[here], "right") - 1]
        return check

    def _current(self, pagemaps: U64 | None) -> Image:
        asked = frozenset() if pagemaps is None else frozenset(np.unique(pagemaps).tolist())
        if self._version != self._index.version or not self._image.position.keys() >= asked:
            self._version, self._image = self._index.version, image_of(self._machine, asked)
        return self._image
