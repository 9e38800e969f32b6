"""The vectors of docs/semantics/walk.md, section 8, on the vector engine, for every preset.

No cell is skipped: where the tables say "n/a", "undefined" or "unspecified", what the model does instead is stated here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from replay.kernel.config import expected_section_bits
from replay.kernel.profiles import PRESETS, profile
from replay.trace.outcomes import RET_UNDEFINED
from tests.golden.engine_machine import EngineMachine
from tests.vectors import VECTORS
from tests.vectors.lookups import L1, L4, MAP_L1
from tests.vectors.model import (
    EINVAL,
    ENOMEM,
    ENXIO,
    GROUP_OF,
    GROUPS,
    NOT_APPLICABLE,
    RAM,
    UNDEFINED,
    UNSPECIFIED,
    VERSIONS,
    Layout,
    Skip,
    Vector,
    check_vector,
    iomem,
    perform,
)
from tests.vectors.pagemaps import NO_FUNCTION, ONE_RANGE, T48_MAP

TESTS = Path(__file__).parents[1]
WALK = TESTS.parent / "docs" / "semantics" / "walk.md"

# Presets that the tables have no column of their own for, and the version whose column is theirs.
LIKE = {"v5.12.9": "v5.12", "v6.12.107": "v6.12", "v7.2.13": "v7.2"}
KERNELS = [name for name, preset in PRESETS.items() if not preset.poison_only]


def column(kernel: str) -> str:
    return LIKE.get(kernel, kernel)


def machine_for(vector: Vector, kernel: str) -> EngineMachine:
    return EngineMachine(vector.layout.description(kernel[1:]), profile(kernel))


CASES = [(v, k) for v in VECTORS for k in KERNELS if v.cell(column(k)) is not None]
ANSWERED = [pytest.param(v, k, id=f"{v.id}-{k}") for v, k in CASES if not isinstance(v.cell(column(k)), Skip)]
SILENT = [pytest.param(v, k, id=f"{v.id}-{k}") for v, k in CASES if isinstance(v.cell(column(k)), Skip)]


def test_every_preset_has_a_column() -> None:
    assert {column(kernel) for kernel in KERNELS} == set(VERSIONS)
    for kernel, like in LIKE.items():
        assert kernel.startswith(like)


@pytest.mark.parametrize(("vector", "kernel"), ANSWERED)
def test_vector(vector: Vector, kernel: str) -> None:
    """The engine gives every answer of the tables."""
    description = vector.layout.description()
    assert expected_section_bits(description, profile(kernel).features) in {None, description.section_size_bits}
    check_vector(vector, machine_for(vector, kernel), column(kernel))


# Cells without an answer ----------------------------------------------------------------------------------------------


def _last(vector: Vector, machine: EngineMachine) -> list[tuple[int, str]]:
    """Carry a vector out; return the answers to its questions."""
    for op in vector.ops:
        perform(machine, vector.layout, op)
    return [perform(machine, vector.layout, ask) for ask in vector.asks]


def undefined(vector: Vector, kernel: str) -> None:
    """The kernel runs past its section table: the model says so, and changes nothing."""
    machine = machine_for(vector, kernel)
    before = machine.state()
    ((ret, check),) = _last(vector, machine)
    assert (ret, check) in {(RET_UNDEFINED, "range-unchecked"), (RET_UNDEFINED, "bounds-unchecked")}
    assert machine.state() == before


def no_function(vector: Vector, kernel: str) -> None:
    """Without pgmap_pfn_valid there is no answer: no pfn gets a yes, by a check that says why."""
    assert _last(vector, machine_for(vector, kernel)) == [(0, "absent")] * len(vector.asks)


def one_range(vector: Vector, kernel: str) -> None:
    """A pagemap of several ranges cannot be asked for: undefined, without effect."""
    machine = machine_for(vector, kernel)
    before = machine.state()
    (mapping,) = (op for op in (*vector.ops, *vector.asks) if op[0] == "memremap_pages")
    assert perform(machine, vector.layout, mapping) == (RET_UNDEFINED, "ranges")
    assert machine.state() == before


def refused_mapping(ret: int, check: str) -> Callable[[Vector, str], None]:
    """The mapping that the row starts from is refused, so there is nothing to ask."""

    def refuse(vector: Vector, kernel: str) -> None:
        machine = machine_for(vector, kernel)
        before = machine.state()
        mappings = [op for op in vector.ops if op[0] in {"memremap_pages", "map_until_sections"}]
        *first, last = mappings
        for op in first:
            assert perform(machine, vector.layout, op) == (0, "mapped")
            before = machine.state()
        if last[0] == "map_until_sections":
            _, pgmap, pfn, pages = last
            begun = machine.begin_memremap_pages(pgmap, [(pfn, pages)])
            begun.sections(pfn, pages)
            assert begun.done() == (ret, check)
        else:
            assert perform(machine, vector.layout, last) == (ret, check)
        assert machine.state() == before

    return refuse


def whole_sections(vector: Vector, kernel: str) -> None:
    """Without subsections a section is populated all over."""
    assert _last(vector, machine_for(vector, kernel)) == [((1 << 64) - 1, "")]


def answers(*expected: tuple[int, str]) -> Callable[[Vector, str], None]:
    """What model.md makes of it."""

    def check(vector: Vector, kernel: str) -> None:
        assert _last(vector, machine_for(vector, kernel)) == list(expected)

    return check


no_mixing = refused_mapping(-ENXIO, "system-ram")
INSTEAD: dict[tuple[str, str], Callable[[Vector, str], None]] = {
    ("T11", "AB"): no_mixing,
    ("T12", "AB"): no_mixing,
    ("T14", "AB"): no_mixing,
    ("T15", "AB"): no_mixing,
    ("T23", "AB"): whole_sections,
    ("T28", "AB"): refused_mapping(-ENOMEM, "live-pagemap"),
    # DRIVER_MANAGED means nothing there, and so does the name.
    ("T75", "ABC"): answers((0, "added")),
    # model.md: nothing there asks for holes, zones end only at their fixed borders, and RAM reaches the end.
    ("T77", "ABC"): answers((0, "offlined")),
    ("T78", "AB"): no_mixing,
    # The padded range is RAM and nothing else: a silent success before v4.20, an error after.
    ("T87", "A"): refused_mapping(0, "ram-only"),
    ("T87", "B"): no_mixing,
    # The mapping fails, so max_pfn stays where RAM ends.
    ("T107", "AB"): answers((0, "end-of-file"), (0, "end-of-file")),
}
BY_REASON = {UNDEFINED: undefined, NO_FUNCTION: no_function, ONE_RANGE: one_range}


@pytest.mark.parametrize(("vector", "kernel"), SILENT)
def test_cell_without_an_answer(vector: Vector, kernel: str) -> None:
    """Undefined, absent and not applicable cells do what model.md says, explicitly."""
    cell = vector.cell(column(kernel))
    assert isinstance(cell, Skip)
    if cell in BY_REASON:
        BY_REASON[cell](vector, kernel)
        return
    assert cell in {NOT_APPLICABLE, UNSPECIFIED}
    number = re.match(r"T\d+", vector.id)
    assert number
    group = GROUP_OF[column(kernel)]
    (instead,) = (f for (row, groups), f in INSTEAD.items() if row == number[0] and group in groups)
    instead(vector, kernel)


def test_nothing_is_said_about_cells_that_have_an_answer() -> None:
    """INSTEAD holds exactly the n/a and unspecified cells."""
    silent = {
        (vector.id.removesuffix("old").removesuffix("new"), group)
        for vector in VECTORS
        for group, versions in GROUPS.items()
        for version in versions
        if vector.cell(version) in {NOT_APPLICABLE, UNSPECIFIED}
    }
    assert silent == {(row, group) for row, groups in INSTEAD for group in groups}


# Rows that are no vectors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [k for k in KERNELS if GROUP_OF[column(k)] in "DEF" and not k.startswith("v7")])
def test_the_cached_pagemap_changes_no_answer(kernel: str) -> None:
    """T57: what get_dev_pagemap returns for its cached argument is what the index gives, for every pfn.

    The comparison with the cached pagemap covers range 0 only; the second range is answered by the index.
    """
    machine = EngineMachine(L4.description(), profile(kernel))
    assert perform(machine, L4, T48_MAP) == (0, "mapped")
    first_range = range(0x140000, 0x148000)
    for pfn in (0x13FFFF, 0x140000, 0x147FFF, 0x148000, 0x14FFFF, 0x150000, 0x157FFF, 0x158000):
        index = machine.get_dev_pagemap(pfn)[0]
        cached = 1 if pfn in first_range else index
        assert index == cached == int(pfn in first_range or pfn in range(0x150000, 0x158000))


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_the_first_vector_leaves(kernel: str) -> None:
    """T01: a refused mapping changes nothing; an accepted one is undone by its unmapping, except for the taint."""
    machine = EngineMachine(L1.description(), profile(kernel))
    before = machine.state()
    ret, _ = perform(machine, L1, MAP_L1)
    if ret:
        assert machine.state() == before
        return
    assert machine.state() != before
    assert perform(machine, L1, ("memunmap_pages", 1)) == (0, "unmapped")
    assert machine.section_flags(0x40) == 0
    assert machine.present_sections() == list(range(0x20, 0x40))
    assert perform(machine, L1, MAP_L1) == (0, "mapped")


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_altmap_with_several_ranges(kernel: str) -> None:
    """T50, the code by version: no such pagemap before v5.10, -EINVAL from then on."""
    machine = EngineMachine(L4.description(), profile(kernel))
    ranges = [(0x140000, 0x8000), (0x150000, 0x8000)]
    found = machine.memremap_pages(1, ranges, altmap=(0x140000, 2, 0x1FE))
    several = GROUP_OF[column(kernel)] in "DEF"
    assert found == ((-EINVAL, "altmap-ranges") if several else (RET_UNDEFINED, "ranges"))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("low", "high"),
    [(0x140000, 0x150000), (0x148000, 0x158000), (0x148000, 0x150000)],
    ids=["last-page", "first-page", "whole"],
)
def test_a_live_pagemap_at_either_end(kernel: str, low: int, high: int) -> None:
    """Section 4.6, check 2: a live pagemap at the first or the last pfn is -ENOMEM, and changes nothing (see T33, T29)."""
    machine = EngineMachine(L4.description(), profile(kernel))
    assert machine.memremap_pages(1, [(0x148000, 0x8000)]) == (0, "mapped")
    before = machine.state()
    assert machine.memremap_pages(2, [(low, high - low)]) == (-ENOMEM, "live-pagemap")
    assert machine.state() == before


@pytest.mark.parametrize("kernel", KERNELS)
def test_blocks_of_several_zones(kernel: str) -> None:
    """Section 4.4: a block with a zone border inside, or with device pages, cannot be offlined (see T78)."""
    dma = Layout(memory=((0, 0x8000), (0x100000, 0x140000)))
    machine = EngineMachine(dma.description(), profile(kernel))
    assert machine.offline_pages(0, 0x8000) == (-EINVAL, "zones")
    assert machine.offline_pages(0x100000, 0x8000) == (0, "offlined")  # the border is its start
    if GROUP_OF[column(kernel)] in "AB":
        return  # devices and RAM share no section
    pmem = iomem(0x11C000, 0x120000, "Persistent Memory")
    ram = [iomem(*r, "System RAM", RAM) for r in ((0x100000, 0x11C000), (0x120000, 0x140000))]
    between = Layout(memory=((0x100000, 0x11C000), (0x120000, 0x140000)), resources=(ram[0], pmem, ram[1]))
    machine = EngineMachine(between.description(), profile(kernel))
    assert machine.memremap_pages(1, [(0x11C000, 0x4000)]) == (0, "mapped")
    check = "zones" if GROUP_OF[column(kernel)] == "C" else "holes"
    assert machine.offline_pages(0x118000, 0x8000) == (-EINVAL, check)
    assert machine.offline_pages(0x120000, 0x8000) == (0, "offlined")


# Coverage -------------------------------------------------------------------------------------------------------------


def _ids_in(path: Path) -> set[int]:
    """Row numbers that a test file names: in a string, a docstring or the name of a test."""
    found: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        texts: list[str] = []
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            texts.append(node.name.upper().replace("_", " "))
        for text in texts:
            for low, high in re.findall(r"\bT(\d{2,3})(?:[a-z]?\b)(?: to T(\d{2,3}))?", text):
                found.update(range(int(low), int(high or low) + 1))
    return found


def test_the_golden_tests_cover_every_row_of_the_document() -> None:
    """T01 to T58, T60 to T87, T90 to T111 (there is no T59, T88, T89): each is tested somewhere, none is made up."""
    rows = {int(n) for n in re.findall(r"^\| T(\d+)", WALK.read_text(), re.MULTILINE)}
    assert rows == {*range(1, 59), *range(60, 88), *range(90, 112)}
    covered = {int(found[0]) for v in VECTORS if (found := re.findall(r"^T(\d+)", v.id))}
    covered.add(57)  # test_the_cached_pagemap_changes_no_answer
    for name in ("test_dax", "test_namespace", "test_block_size"):
        named = _ids_in(TESTS / "kernel" / f"{name}.py")
        assert named <= rows, name
        covered |= named
    assert sorted(rows - covered) == []
    assert sorted(covered - rows) == []
