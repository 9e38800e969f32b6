"""Random machines and event sequences: small enough for the scalar engine, crowded enough that things collide."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from replay.machine.geometry import Geometry
from replay.trace.header import BootRange, MachineDescription, Resource
from replay.trace.schema import AddFlags, EventKind, Phase, ResourceFlags, SectionFlags

Row = dict[str, int]

STRINGS = (
    *("System RAM", "System RAM (kmem)", "System RAM kmem", "pmem"),
    *("namespace0.0", "namespace0.1", "namespace1.0"),
    *("dax0.0", "dax0.1", "dax1.0", "dax2.0", "dax3.0", "dax3.1", "dax0", "dax3.1\n"),
)
SECTIONS = 6  # sections that a case plays in

# (arch, page_shift, section bits, physical bits): coarse and fine ones, so that every ratio of sizes occurs.
LAYOUTS = (
    ("x86_64", 12, 27, 46),
    ("aarch64", 16, 0, 48),  # section size by kernel
    ("ppc64", 16, 24, 51),
    ("riscv64", 12, 27, 56),
)
LOOKUPS = (
    EventKind.PFN_VALID,
    EventKind.PFN_TO_ONLINE_PAGE,
    EventKind.GET_DEV_PAGEMAP,
    EventKind.PGMAP_PFN_VALID,
    EventKind.KPAGEFLAGS,
)


@dataclass
class Case:
    """A machine and the events on it.

    Attributes:
        machine: description.
        rows: events, one dict of given columns each.
        base: first section of the play area.
    """

    machine: MachineDescription
    rows: list[Row] = field(default_factory=list)
    base: int = 0


@st.composite
def machines(draw: st.DrawFn, features: frozenset[str]) -> tuple[MachineDescription, int]:
    """A machine with a few boot ranges in the play area, which starts at a random section or ends at the limit."""
    arch, shift, bits, phys = draw(st.sampled_from(LAYOUTS))
    bits = bits or (29 if "arm64-small-sections" in features else 30)
    geometry = Geometry(arch, shift, bits, phys, 1 << bits)
    base = draw(st.sampled_from((0, 1, 32, geometry.nr_sections - SECTIONS + 1)))
    start = base << geometry.section_shift
    unit = geometry.pages_per_subsection
    cuts = sorted(draw(st.lists(_offsets(geometry), min_size=0, max_size=5, unique=True)))
    cuts += [SECTIONS << geometry.section_shift] if len(cuts) % 2 else []
    memory = [
        BootRange(start + a, start + b, draw(st.integers(0, 3)), draw(st.booleans()) if arch == "aarch64" else False)
        for a, b in zip(cuts[::2], cuts[1::2], strict=False)
        if a < b and start + b <= geometry.max_pfns
    ]
    resources: list[Resource] = []
    if memory and draw(st.booleans()):
        resources = [
            Resource(r.start << shift, (r.end << shift) - 1, "System RAM", True, True) for r in memory if not r.nomap
        ]
        free = max(r.end for r in memory)
        low, high = free + unit, free + 3 * unit
        if draw(st.booleans()):
            resources.append(Resource(low << shift, (high << shift) - 1, "pmem", draw(st.booleans())))
    config = {"memmap_on_memory": True} if draw(st.booleans()) else {}
    config |= {"BUFFER_HEAD": False} if draw(st.booleans()) else {}
    block = 1 << bits + draw(st.integers(0, 1))
    description = MachineDescription(
        arch, shift, bits, phys, block, "6.1", config=config, memory=tuple(memory), resources=tuple(resources)
    )
    return description, base


def _offsets(g: Geometry) -> st.SearchStrategy[int]:
    """Pfns within the play area: on borders of sections and subsections, next to them, and anywhere."""
    top = SECTIONS << g.section_shift
    subsections = SECTIONS * g.subsections_per_section
    on_section = st.integers(0, SECTIONS).map(lambda n: n << g.section_shift)
    on_subsection = st.integers(0, subsections).map(lambda n: n << g.subsection_shift)
    near = st.tuples(st.one_of(on_section, on_subsection), st.integers(-2, 2)).map(lambda t: t[0] + t[1])
    return st.one_of(on_section, on_subsection, near.map(lambda p: min(max(p, 0), top)), st.integers(0, top))


@st.composite
def cases(
    draw: st.DrawFn,
    features: frozenset[str] = frozenset(),
    *,
    windows: bool = True,
    max_events: int = 25,
    long_runs: bool = False,
    toggling: bool = False,
) -> Case:
    """A machine that a kernel with these features can run on, and up to ``max_events`` events.

    Transitions come in one row or in phases. ``toggling``: most of them take memory off and on, in one row.
    """
    machine, base = draw(machines(features))
    if toggling and draw(st.integers(0, 3)):
        machine = _of_whole_blocks(machine, base)
    case = Case(machine, base=base)
    maker = _Events(draw, case, windows=windows, long_runs=long_runs)
    for _ in range(draw(st.integers(1, max_events))):
        if toggling and draw(st.integers(0, 15)):
            draw(st.sampled_from([maker.look, maker.toggle]))()
        else:
            maker.step()
    for i, row in enumerate(case.rows):
        row["time"] = i
    return case


def _of_whole_blocks(machine: MachineDescription, base: int) -> MachineDescription:
    """Let the play area be one range of memory: only memory without holes is taken offline."""
    g = Geometry.of(machine)
    start = base << g.section_shift
    start = -(-start // g.pages_per_block) * g.pages_per_block
    end = min(start + SECTIONS // 2 * g.pages_per_block, g.max_pfns)
    if start >= end:
        return machine
    return replace(machine, memory=(BootRange(start, end),), resources=())


class _Events:
    def __init__(self, draw: Any, case: Case, *, windows: bool, long_runs: bool) -> None:
        self.draw, self.case, self.windows, self.long_runs = draw, case, windows, long_runs
        self.g = Geometry.of(case.machine)
        self.start = case.base << self.g.section_shift
        self.pgmaps = 0
        self.calls = 0
        self.open: list[Row] = []

    def step(self) -> None:
        actions = [self.lookup, self.lookup, self.transition, self.query, self.dump]
        if self.open:
            actions += [self.advance, self.advance]
        self.draw(st.sampled_from(actions))()

    def pfn(self) -> int:
        return int(self.start + self.draw(_offsets(self.g)))

    def span(self) -> tuple[int, int]:
        """A range for a transition: beside boot memory, whole blocks, whole sections, whole subsections, or odd."""
        g, draw = self.g, self.draw
        memory = self.case.machine.memory
        if memory and draw(st.booleans()):
            # What this project is about: a device that shares a section with RAM.
            beside = draw(st.sampled_from(memory)).end + g.pages_per_subsection - 1 >> g.subsection_shift
            return beside << g.subsection_shift, draw(st.integers(1, 4)) << g.subsection_shift
        unit = draw(st.sampled_from((g.pages_per_block, g.pages_per_section, g.pages_per_subsection, 3)))
        first = self.pfn() // unit * unit
        pages = draw(st.integers(1, max(1, 3 * g.pages_per_section // unit))) * unit
        # A request may cross the physical limit once; beyond twice the limit the trace itself is refused.
        return first, min(pages, 4 * g.pages_per_section)

    def lookup(self) -> None:
        draw, g = self.draw, self.g
        kind = draw(st.sampled_from(LOOKUPS))
        count = draw(st.sampled_from((1, 1, 1, 2, 5, 40)))
        stride = draw(st.sampled_from((1, 1, 2, 7, g.pages_per_subsection, -1, -3, -g.pages_per_subsection)))
        if self.long_runs:
            count = draw(st.integers(1, 4 * g.pages_per_section))
            stride = draw(st.sampled_from((1, 1, 1, 3, -1, -5)))
        pfn = self.pfn()
        if stride < 0 and pfn + (count - 1) * stride < 0:
            stride = -stride
        numbers = (EventKind.PFN_VALID, EventKind.PFN_TO_ONLINE_PAGE)
        if count == 1 and kind in numbers and draw(st.integers(0, 5)) == 0:
            pfn = draw(st.sampled_from((pfn | 1 << 64 - g.page_shift, pfn | 1 << 63, (1 << 64) - 2, (1 << 64) - 1)))
        row = {"kind": kind, "pfn": pfn, "nr_pages": count, "stride": stride if count > 1 else 1}
        if kind is EventKind.PGMAP_PFN_VALID:
            row["pgmap"] = draw(st.integers(1, self.pgmaps + 1))
        for column, values in (("recorded_ret", 1), ("recorded_slow", 1), ("recorded_pgmap", max(1, self.pgmaps))):
            if draw(st.booleans()):
                row[column] = draw(st.integers(0, values))
        if self.windows and kind is not EventKind.PGMAP_PFN_VALID and not self.long_runs:
            window = draw(st.sampled_from((0, 0, 0, 1, 3, 8)))
            if window:
                row["window"] = window
        self.case.rows.append(row)

    def transition(self) -> None:
        draw = self.draw
        kinds = [k for k in EventKind if EventKind.ADD_MEMORY <= k <= EventKind.MEMREMAP_PAGES]
        kind = draw(st.sampled_from([*kinds, EventKind.MEMREMAP_PAGES, EventKind.MEMREMAP_PAGES]))
        if self.pgmaps and draw(st.integers(0, 3)) == 0:
            kind = EventKind.MEMUNMAP_PAGES
        first, pages = self.span()
        row: Row = {"kind": kind, "pfn": first, "nr_pages": pages}
        if kind in {EventKind.MEMORY_BLOCK_ONLINE, EventKind.MEMORY_BLOCK_OFFLINE}:
            block = self.g.pages_per_block
            row |= {"pfn": first // block * block, "nr_pages": block}
        if kind is EventKind.ADD_MEMORY:
            row |= {"label": draw(st.integers(0, 2)), "flags": draw(st.sampled_from((0, 0, *map(int, AddFlags), 3)))}
        if kind is EventKind.MEMREMAP_PAGES:
            self.memremap(row)
        if kind is EventKind.MEMUNMAP_PAGES:
            row = {"kind": kind, "pgmap": draw(st.integers(1, self.pgmaps))}
        if draw(st.integers(0, 5)) == 0:
            row["env"] = draw(st.sampled_from((-4, -12, -16)))
        if draw(st.booleans()):
            row["recorded_ret"] = draw(st.sampled_from((0, -12, -16, -17, -22)))
        if draw(st.integers(0, 2)) == 0:
            self.calls += 1
            row |= {"phase": Phase.BEGIN, "call": self.calls}
            self.open.append(row)
        self.case.rows.append(row)

    def look(self) -> None:
        """Look up one pfn of what ``toggle`` takes off and on."""
        kind = self.draw(st.sampled_from((EventKind.PFN_TO_ONLINE_PAGE, EventKind.KPAGEFLAGS)))
        pfn = self.block() + self.draw(st.sampled_from((0, 1, self.g.pages_per_block - 1)))
        self.case.rows.append({"kind": kind, "pfn": pfn, "nr_pages": 1, "stride": 1})

    def block(self) -> int:
        first = -(-self.start // self.g.pages_per_block)
        return (first + self.draw(st.integers(0, 1))) * self.g.pages_per_block

    def toggle(self) -> None:
        draw = self.draw
        kind = draw(st.sampled_from([k for k in EventKind if EventKind.REMOVE_MEMORY < k < EventKind.MEMREMAP_PAGES]))
        row: Row = {"kind": kind, "pfn": self.block(), "nr_pages": self.g.pages_per_block}
        if not draw(st.integers(0, 7)):
            row["nr_pages"] = draw(st.sampled_from((2 * self.g.pages_per_block, self.g.pages_per_section, 512)))
        if draw(st.integers(0, 5)) == 0:
            row["env"] = -16
        if draw(st.booleans()):
            row["recorded_ret"] = draw(st.sampled_from((0, -16, -22)))
        self.case.rows.append(row)

    def memremap(self, row: Row) -> None:
        draw = self.draw
        self.pgmaps += 1
        row["pgmap"] = self.pgmaps
        if draw(st.integers(0, 3)) == 0:
            reserve, free = draw(st.integers(0, 8)), draw(st.integers(0, 600))
            off = draw(st.sampled_from((0, 0, 0, 5)))
            row |= {"altmap_base": row["pfn"] + off, "altmap_reserve": reserve, "altmap_free": free}
        if draw(st.integers(0, 3)) == 0:
            first, pages = self.span()
            apart = first >= row["pfn"] + row["nr_pages"] or first + pages <= row["pfn"]
            if apart:
                extra = {"kind": EventKind.PGMAP_RANGE, "pfn": first, "nr_pages": pages, "pgmap": self.pgmaps}
                self.case.rows.append(extra)

    def advance(self) -> None:
        draw = self.draw
        call = draw(st.sampled_from(self.open))
        phase = draw(st.sampled_from((Phase.SECTIONS, Phase.SECTIONS, Phase.ZONE, Phase.DONE)))
        row: Row = {"kind": call["kind"], "phase": phase, "call": call["call"]}
        first, pages = (call["pfn"], call["nr_pages"]) if "pfn" in call and draw(st.booleans()) else self.span()
        row |= {"pfn": first, "nr_pages": pages}
        if "pgmap" in call:
            row["pgmap"] = call["pgmap"]
        if phase is Phase.DONE:
            self.open.remove(call)
        self.case.rows.append(row)

    def query(self) -> None:
        draw, shift = self.draw, self.g.page_shift
        if draw(st.booleans()):
            first, pages = self.span()
            row: Row = {"kind": EventKind.WALK_SYSTEM_RAM_RANGE, "pfn": first, "nr_pages": pages}
        else:
            first, pages = self.span()
            flags = draw(
                st.sampled_from((ResourceFlags.RAM, ResourceFlags.BUSY, ResourceFlags.RAM | ResourceFlags.BUSY))
            )
            row = {
                "kind": EventKind.REGION_INTERSECTS,
                "start": first << shift,
                "size": pages << shift,
                "flags": int(flags),
            }
        if draw(st.booleans()):
            row["recorded_ret"] = draw(st.sampled_from((0, 1, 2, -22)))
        self.case.rows.append(row)

    def dump(self) -> None:
        draw, g = self.draw, self.g
        if draw(st.booleans()):
            row: Row = {"kind": EventKind.SECTIONS_DUMP, "nr_pages": draw(st.integers(1, SECTIONS))}
        else:
            pfn = (self.pfn() >> g.section_shift) << g.section_shift
            flags = draw(st.sampled_from((0, 3, 7, 15, 31, int(SectionFlags.PRESENT))))
            row = {"kind": EventKind.SECTION_STATE, "pfn": pfn, "recorded_flags": flags}
            row["recorded_bits"] = draw(st.sampled_from((0, (1 << min(64, g.subsections_per_section)) - 1, 1)))
        if self.windows and draw(st.integers(0, 3)) == 0:
            row["window"] = draw(st.integers(1, 6))
        self.case.rows.append(row)
