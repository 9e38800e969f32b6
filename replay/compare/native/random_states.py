"""Random machines: sections with any flags and maps, pagemaps anywhere, memblock anywhere; more states than traces show.

What cannot be is left out: a section that is not present has no other flag and no subsection, none is beyond the table.
Everything else occurs, whether or not calls could bring it about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from replay.compare.native.layout import CHUNK, Function, Target
from replay.compare.native.pieces import Oracle, Piece
from replay.engine.resolve import StateIndex
from replay.kernel.calls import Kernel
from replay.kernel.config import config_for
from replay.kernel.profiles import Profile
from replay.machine.geometry import Geometry
from replay.machine.machine import Machine
from replay.machine.pagemaps import Altmap, Pagemap
from replay.machine.resources import ResourceTree
from replay.trace.header import MachineDescription
from replay.trace.schema import PgmapType, SectionFlags

__all__ = ("X86_64", "RandomStates")

_SUBSECTIONS = 8192  # of one machine, roughly
_PAGEMAPS = 24
_FLAGS = int(SectionFlags.HAS_MEM_MAP | SectionFlags.ONLINE | SectionFlags.EARLY | SectionFlags.TAINT_ZONE_DEVICE)

X86_64 = MachineDescription("x86_64", 12, 27, 46, 1 << 27, "6.1")

U64 = NDArray[np.uint64]


class RandomStates:
    """Lookups on random machines.

    Args:
        kernel: whose tables say what is right.
        count: lookups of each function.
        seed: the same seed, kernel and description give the same lookups.
        description: geometry and configuration; memory and resources are not looked at.
        progress: is told (lookups done, lookups in all).

    Attributes:
        codes: state codes that the lookups met.
    """

    def __init__(
        self,
        kernel: Profile,
        count: int,
        *,
        seed: int = 1,
        description: MachineDescription = X86_64,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.name = f"--states {count} --seed {seed}"
        self.absent = 0
        self.codes: set[int] = set()
        self._count, self._seed, self._progress = count, seed, progress
        self._kernel = Kernel(kernel.features, config_for(description, kernel.features))
        self._geometry = Geometry.of(description)
        self.target = Target.of(self._geometry, self._kernel.config, kernel.features)

    def pieces(self, functions: frozenset[Function]) -> Iterator[Piece]:
        """Yield lookups, a machine for every CHUNK of them."""
        generator = np.random.Generator(np.random.Philox(self._seed))
        for first in range(0, self._count, CHUNK):
            size = min(CHUNK, self._count - first)
            machine, places = self._machine(generator)
            index = StateIndex(machine, section_limit=False)
            oracle = Oracle(machine, index, self._kernel)
            rows = np.arange(first, first + size)
            pfns = self._pfns(generator, places, size)
            self.codes.update(np.unique(index.codes[index.segment_of(pfns)]).tolist())
            for function in sorted(functions):
                pagemaps = None
                if function is Function.PGMAP_PFN_VALID:
                    if not oracle.knows_metadata:
                        self.absent += size
                        continue
                    pagemaps = generator.integers(1, _PAGEMAPS + 2, size, np.uint64)  # the last one does not exist
                yield oracle.piece(function, rows, pfns, pagemaps)
            if self._progress is not None:
                self._progress(first + size, self._count)

    def _machine(self, generator: np.random.Generator) -> tuple[Machine, U64]:
        """Return a machine, and the pfns at which something may change."""
        g = self._geometry
        machine = Machine(g, ResourceTree(), whole_sections=not self._kernel.has("subsection-hotplug"))
        numbers = self._section_numbers(generator)
        for number in numbers.tolist():
            self._add_section(generator, machine, number)
        places = [numbers << np.uint64(g.section_shift)]
        places += [self._add_pagemap(generator, machine, numbers, pgmap) for pgmap in range(1, _PAGEMAPS + 1)]
        for _ in range(_PAGEMAPS):
            start, end = self._range(generator, numbers)
            machine.memblock.assign(start, end, 1)
            places.append(np.array([start, end], np.uint64))
        return machine, np.concatenate(places)

    def _section_numbers(self, generator: np.random.Generator) -> U64:
        """Return numbers of sections: some side by side, some anywhere, some at the end of the table."""
        count = max(_SUBSECTIONS // self._geometry.subsections_per_section, 16)
        last = self._geometry.nr_sections
        anywhere = generator.integers(0, last, count // 4, np.uint64)
        together = int(generator.integers(0, last - count)) + np.arange(count // 2, dtype=np.uint64)
        return np.unique(np.concatenate([anywhere, together, np.arange(last - count // 8, last, dtype=np.uint64)]))

    def _add_section(self, generator: np.random.Generator, machine: Machine, number: int) -> None:
        g, sections = self._geometry, machine.sections
        base, size = number << g.section_shift, g.pages_per_subsection
        each = g.subsections_per_section
        bits = generator.random(each) < generator.choice([0.1, 0.5, 0.9, 1.0])
        bits[generator.integers(each)] = True  # a section without any would not be there
        edges = np.flatnonzero(np.diff(bits, prepend=False, append=False))
        for low, high in edges.reshape(-1, 2).tolist():
            sections.populate(base + low * size, base + high * size)
        sections.reflag(number, int(SectionFlags.PRESENT) | int(generator.integers(32)) & _FLAGS)
        machine.touch_sections(base, base + 1)

    def _add_pagemap(self, generator: np.random.Generator, machine: Machine, numbers: U64, pgmap: int) -> U64:
        """Map some ranges, as far as they are free; return their ends."""
        ranges: list[tuple[int, int]] = []
        for _ in range(int(generator.choice([1, 1, 2, 3]))):
            start, end = self._range(generator, numbers)
            if not machine.pagemaps.index.overlaps(start, end):
                ranges.append((start, end))
                machine.pagemaps.index.assign(start, end, pgmap)
                machine.touch(start, end)
        if not ranges:
            return np.empty(0, np.uint64)
        altmap = None
        if generator.integers(2):
            reserve, free = generator.integers(0, 2 * (ranges[0][1] - ranges[0][0]), 2).tolist()
            altmap = Altmap(ranges[0][0], reserve // 2, free // 2)
        kind, dying = int(generator.integers(len(PgmapType))), bool(generator.integers(2))
        machine.pagemaps.by_id[pgmap] = Pagemap(pgmap, tuple(ranges), altmap, kind, dying=dying, gone=False)
        return np.array(ranges, np.uint64).reshape(-1)

    def _range(self, generator: np.random.Generator, numbers: U64) -> tuple[int, int]:
        """Return a range that begins in one of the sections: whole subsections, or of any pages."""
        g = self._geometry
        unit = int(generator.choice([1, g.pages_per_subsection, g.pages_per_section]))
        start = (int(generator.choice(numbers)) << g.section_shift) + int(generator.integers(g.pages_per_section))
        pages = int(generator.integers(1, 3 * g.pages_per_section))
        start = start // unit * unit
        return start, min(start + -(-pages // unit) * unit, g.max_pfns)

    def _pfns(self, generator: np.random.Generator, places: U64, size: int) -> U64:
        """Return pfns: most about where something changes, some at the end of the table, some anywhere at all."""
        g = self._geometry
        chosen = generator.choice(places, size)
        spread = generator.integers(-4 * g.pages_per_section, 4 * g.pages_per_section, size) >> generator.integers(
            0, g.section_shift + 3, size
        )
        pfns = chosen + spread.astype(np.uint64)  # wraps, and is then a pfn that no machine has
        few = max(size // 64, 1)
        pfns[:few] = generator.integers(0, 1 << 64, few, np.uint64, endpoint=False)
        about_the_end = generator.integers(g.max_pfns - 2, g.max_pfns + 2, few, np.uint64)
        pfns[few : 2 * few] = about_the_end[: pfns[few : 2 * few].size]
        generator.shuffle(pfns)
        return pfns
