"""The vector engine behind the interface of the test vectors (``tests.vectors.model.Machine``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from replay.engine.gather import Scratch
from replay.engine.lookups import LookupEngine
from replay.engine.queries import metadata_counts, metadata_pieces, resource_query
from replay.engine.resolve import StateIndex
from replay.engine.runs import Runs
from replay.engine.tabulate import CHECK_MASK, tabulate
from replay.engine.tally import Tally
from replay.engine.transitions import Transitions
from replay.kernel.boot import boot
from replay.kernel.calls import Call, Kernel
from replay.kernel.config import config_for
from replay.kernel.profiles import Profile
from replay.kernel.registry import FUNCTIONS
from replay.machine.geometry import check_description
from replay.trace.header import MachineDescription
from replay.trace.schema import EventKind, Phase

Altmap = tuple[int, int, int]


class EngineMachine:
    """One machine under one kernel: states resolved, looked up in tables, changed by the rows of calls.

    Every pfn is decided in each of the ways the engine has (flat table, segments, runs), which must agree.
    """

    def __init__(self, description: MachineDescription, profile: Profile) -> None:
        check_description(description, "test")
        self.kernel = Kernel(profile.features, config_for(description, profile.features))
        self.machine = boot(description, profile.features)
        self.index = StateIndex(self.machine, section_limit=self.kernel.has("kpageflags-section-limit"))
        self.strings: list[str] = []
        self.transitions = Transitions(self.machine, self.kernel, self.strings)
        self.calls = 0

    # Lookups.

    def lookup(self, kind: EventKind, pfn: int) -> tuple[int, str]:
        self.index.refresh()
        function = FUNCTIONS[kind]
        engine = LookupEngine(self.index, tabulate(function, self.kernel), Tally())
        pfns = np.array([pfn], np.uint64)
        label = int(engine.single.classes(pfns, Scratch())[0])
        assert label == engine.single.by_segment[self.index.segment_of(pfns)[0]], "flat table and segments differ"
        counts = engine.counter.totals(engine.counter.place(_one(pfn)))
        assert counts.sum() == 1
        assert counts.argmax() == label, "run counter and flat table differ"
        answer = int((engine.pagemaps if kind is EventKind.GET_DEV_PAGEMAP else engine.answers)(pfns)[0])
        return answer, function.checks[label & CHECK_MASK].id

    def pfn_valid(self, pfn: int) -> tuple[int, str]:
        return self.lookup(EventKind.PFN_VALID, pfn)

    def pfn_to_online_page(self, pfn: int) -> tuple[int, str]:
        return self.lookup(EventKind.PFN_TO_ONLINE_PAGE, pfn)

    def get_dev_pagemap(self, pfn: int) -> tuple[int, str]:
        return self.lookup(EventKind.GET_DEV_PAGEMAP, pfn)

    def kpageflags(self, pfn: int) -> tuple[int, str]:
        return self.lookup(EventKind.KPAGEFLAGS, pfn)

    def pgmap_pfn_valid(self, pgmap: int, pfn: int) -> tuple[int, str]:
        ((check, pages),) = metadata_counts(metadata_pieces(self.machine, self.kernel, pgmap), _one(pfn))
        assert pages == 1
        step = FUNCTIONS[EventKind.PGMAP_PFN_VALID].checks[check]
        return step.answer.value, step.id

    def region_intersects(self, start: int, size: int, flags: int) -> tuple[int, str]:
        return self._query(EventKind.REGION_INTERSECTS, start=start, size=size, flags=flags)[:2]

    def walk_system_ram_range(self, pfn: int, nr_pages: int) -> tuple[int, str, int]:
        return self._query(EventKind.WALK_SYSTEM_RAM_RANGE, pfn=pfn, nr_pages=nr_pages)

    def _query(self, kind: EventKind, **cells: int) -> tuple[int, str, int]:
        check, ret, pages = resource_query(self.machine, self.kernel, kind, cells.get)
        return ret, FUNCTIONS[kind].checks[check].id, pages

    # Facts.

    def section_flags(self, section: int) -> int:
        return self.machine.sections.flags(section)

    def subsection_bits(self, pfn: int) -> int:
        g = self.machine.geometry
        section = pfn >> g.section_shift
        first = (pfn - (section << g.section_shift)) >> g.subsection_shift
        bits = self.machine.sections.bits(section)[first : first + 64]
        return sum(1 << n for n, bit in enumerate(bits.tolist()) if bit)

    def present_sections(self) -> list[int]:
        return [int(number) for number in self.machine.sections.numbers()]

    def state(self) -> tuple[Any, ...]:
        """Everything lookups can see, to tell whether a call changed anything."""
        self.index.refresh()
        parts = (self.index.starts, self.index.codes, self.index.pgmaps)
        tree = [(d, n.start, n.end, n.name) for d, n in self.machine.resources.walk()]
        return (*(p.tolist() for p in parts), tree, dict(self.machine.blocks), self.machine.max_pfn)

    # Calls.

    def row(self, kind: EventKind, **cells: int | None) -> tuple[int, str]:
        """Carry out a call of one row."""
        call = self.transitions.carry_out(kind, cells.get)
        assert call is not None
        return verdict(call)

    def _add_name(self, name: str) -> int:
        self.strings.append(name)
        return len(self.strings) - 1

    def add_memory(
        self, pfn: int, nr_pages: int, *, flags: int = 0, name: str = "System RAM", env: int = 0
    ) -> tuple[int, str]:
        label = self._add_name(name)
        return self.row(EventKind.ADD_MEMORY, pfn=pfn, nr_pages=nr_pages, flags=flags, label=label, env=env)

    def remove_memory(self, pfn: int, nr_pages: int) -> tuple[int, str]:
        return self.row(EventKind.REMOVE_MEMORY, pfn=pfn, nr_pages=nr_pages)

    def online_pages(self, pfn: int, nr_pages: int, *, env: int = 0) -> tuple[int, str]:
        return self.row(EventKind.ONLINE_PAGES, pfn=pfn, nr_pages=nr_pages, env=env)

    def offline_pages(self, pfn: int, nr_pages: int, *, env: int = 0) -> tuple[int, str]:
        return self.row(EventKind.OFFLINE_PAGES, pfn=pfn, nr_pages=nr_pages, env=env)

    def memory_block_online(self, pfn: int, nr_pages: int, *, env: int = 0) -> tuple[int, str]:
        return self.row(EventKind.MEMORY_BLOCK_ONLINE, pfn=pfn, nr_pages=nr_pages, env=env)

    def memory_block_offline(self, pfn: int, nr_pages: int, *, env: int = 0) -> tuple[int, str]:
        return self.row(EventKind.MEMORY_BLOCK_OFFLINE, pfn=pfn, nr_pages=nr_pages, env=env)

    def memremap_pages(
        self, pgmap: int, ranges: Sequence[tuple[int, int]], *, altmap: Altmap | None = None, env: int = 0
    ) -> tuple[int, str]:
        return self.row(EventKind.MEMREMAP_PAGES, **self._map_cells(pgmap, ranges, altmap), env=env)

    def memunmap_pages(self, pgmap: int) -> tuple[int, str]:
        return self.row(EventKind.MEMUNMAP_PAGES, pgmap=pgmap)

    def begin_memremap_pages(
        self, pgmap: int, ranges: Sequence[tuple[int, int]], *, altmap: Altmap | None = None
    ) -> UnderWay:
        return UnderWay(self, EventKind.MEMREMAP_PAGES, self._map_cells(pgmap, ranges, altmap))

    def begin_memunmap_pages(self, pgmap: int) -> UnderWay:
        return UnderWay(self, EventKind.MEMUNMAP_PAGES, {"pgmap": pgmap})

    def _map_cells(self, pgmap: int, ranges: Sequence[tuple[int, int]], altmap: Altmap | None) -> dict[str, int | None]:
        for pfn, nr_pages in ranges[1:]:
            more: dict[str, int | None] = {"pgmap": pgmap, "pfn": pfn, "nr_pages": nr_pages}
            assert self.transitions.carry_out(EventKind.PGMAP_RANGE, more.get) is None
        base, reserve, free = altmap or (None, None, None)
        cells = {"altmap_base": base, "altmap_reserve": reserve, "altmap_free": free}
        return {"pgmap": pgmap, "pfn": ranges[0][0], "nr_pages": ranges[0][1], **cells}


class UnderWay:
    """A call in phases: the rows after its BEGIN row."""

    def __init__(self, machine: EngineMachine, kind: EventKind, cells: dict[str, int | None]) -> None:
        self.machine, self.kind = machine, kind
        machine.calls += 1
        self.number = machine.calls
        first = {**cells, "phase": int(Phase.BEGIN), "call": self.number}
        call = machine.transitions.carry_out(kind, first.get)
        assert call is not None
        self.verdict = verdict(call)

    def _phase(self, phase: Phase, **cells: int | None) -> None:
        row = {**cells, "phase": int(phase), "call": self.number}
        assert self.machine.transitions.carry_out(self.kind, row.get) is None

    def sections(self, pfn: int, nr_pages: int) -> None:
        self._phase(Phase.SECTIONS, pfn=pfn, nr_pages=nr_pages)

    def zone(self, pfn: int, nr_pages: int) -> None:
        self._phase(Phase.ZONE, pfn=pfn, nr_pages=nr_pages)

    def done(self) -> tuple[int, str]:
        self._phase(Phase.DONE)
        return self.verdict


def verdict(call: Call) -> tuple[int, str]:
    return call.ret, call.function.checks[call.check].id


def _one(pfn: int) -> Runs:
    return Runs(np.array([pfn], np.uint64), np.ones(1, np.uint64), np.ones(1, np.uint64))
