"""Single lookups by the flat table: chunks, mixed subsections, and pfns beyond everything."""

from __future__ import annotations

import numpy as np
import pytest

from replay.engine.gather import CHUNK, Scratch, SingleLookup
from replay.engine.lookups import LookupEngine
from replay.engine.resolve import MIXED, StateIndex
from replay.engine.rows import Lookups, Recorded
from replay.engine.runs import MAX_PAIRS, Runs
from replay.engine.tabulate import CHECK_MASK, YES, tabulate
from replay.engine.tally import Tally
from replay.kernel.boot import boot
from replay.kernel.calls import Kernel
from replay.kernel.config import config_for
from replay.kernel.profiles import profile
from replay.kernel.walk import GET_DEV_PAGEMAP, LOOKUP_FUNCTIONS, PFN_TO_ONLINE_PAGE, PFN_VALID
from tests.golden.engine_machine import EngineMachine
from tests.vectors.lookups import L1, L3
from tests.vectors.model import Layout

EDGES = [0, 1, 0xFFFFF, 0x100000, 0x17FCFF, 0x17FD00, 0x17FDFF, 0x17FE00, 0x17FFFF, 0x180000, (1 << 34) - 1, 1 << 34,
         (1 << 52) - 1, 1 << 52, (1 << 64) - 1]  # fmt: skip


def index_of(layout: Layout, kernel: str) -> tuple[StateIndex, Kernel]:
    features = profile(kernel).features
    description = layout.description()
    return (
        StateIndex(boot(description, features), section_limit="kpageflags-section-limit" in features),
        Kernel(features, config_for(description, features)),
    )


@pytest.mark.parametrize("kernel", ["v4.19", "v5.11", "v6.1"])
@pytest.mark.parametrize("function", LOOKUP_FUNCTIONS, ids=lambda f: f.name)
def test_chunks(function, kernel: str) -> None:
    """Any number of pfns gives what each gives alone: over chunk borders, at every edge, up to the last pfn of 64 bits."""
    index, own = index_of(L3, kernel)
    single = SingleLookup(index, tabulate(function, own))
    pfns = np.concatenate([np.array(EDGES, np.uint64), np.arange(0x17F000, 0x17F000 + 2 * CHUNK + 7, dtype=np.uint64)])
    scratch = Scratch()
    found = np.concatenate([classes.copy() for _, classes in single.chunks(pfns, scratch)])
    assert [offset for offset, _ in single.chunks(pfns, scratch)] == list(range(0, pfns.size, CHUNK))
    np.testing.assert_array_equal(found, single.by_segment[index.segment_of(pfns)])


@pytest.mark.parametrize("order", ["as they come", "ascending", "descending", "ascending but one"])
@pytest.mark.parametrize("function", LOOKUP_FUNCTIONS, ids=lambda f: f.name)
def test_counts(function, order: str) -> None:
    """Counting classes gives the same whether the pfns are gathered or, being in order, counted by borders."""
    index, own = index_of(L3, "v6.1")
    single = SingleLookup(index, tabulate(function, own))
    pfns = np.concatenate([np.arange(0x17F000, 0x17F000 + CHUNK, dtype=np.uint64), np.array(EDGES * 40, np.uint64)])
    if order != "as they come":
        pfns = np.sort(pfns)[:: -1 if order == "descending" else 1]
    if order == "ascending but one":
        pfns[[1000, -1]] = pfns[[-1, 1000]]
    for part in np.split(np.ascontiguousarray(pfns), range(CHUNK, pfns.size, CHUNK)):
        expected = np.bincount(single.by_segment[index.segment_of(part)], minlength=256)
        assert single.count(part, Scratch()).tolist() == expected.tolist()


def test_the_flat_table_marks_subsections_that_are_not_uniform() -> None:
    """RAM that ends within a subsection: that one is mixed, its neighbours are not."""
    index, _ = index_of(L3, "v6.1")
    sub = 0x17FD00 >> 9
    assert index.flat[sub] == MIXED
    assert index.flat[sub - 1] != MIXED
    assert index.flat[sub + 1] != MIXED
    assert index.flat[-1] == MIXED  # all beyond asks the segments


def test_a_machine_whose_span_is_too_large_for_a_flat_table() -> None:
    """Every lookup asks the segments, with the same answers."""
    far = 1 << 39
    layout = Layout(((0x100000, 0x108000), (far, far + 0x8000)), max_physmem_bits=52)
    index, kernel = index_of(layout, "v6.1")
    assert index.flat.size == 1
    single = SingleLookup(index, tabulate(PFN_TO_ONLINE_PAGE, kernel))
    pfns = np.array([0xFFFFF, 0x100000, 0x107FFF, 0x108000, far - 1, far, far + 0x7FFF, far + 0x8000], np.uint64)
    assert (single.classes(pfns, Scratch()) & YES != 0).tolist() == [False, True, True, False] * 2


def test_changes_are_seen() -> None:
    """A mapping changes the answers and the version; looking again without a change does not."""
    machine = EngineMachine(L1.description(), profile("v6.1"))
    pfns = np.array([0x1FBFFF, 0x1FC000, 0x200000], np.uint64)

    def answers(function) -> list[int]:
        machine.index.refresh()
        return LookupEngine(machine.index, tabulate(function, machine.kernel), Tally()).answers(pfns).tolist()

    before = machine.index.version
    assert (answers(PFN_VALID), answers(GET_DEV_PAGEMAP)) == ([1, 1, 0], [0, 0, 0])
    assert machine.index.version == before
    assert machine.memremap_pages(3, [(0x1FC000, 0x100000)]) == (0, "mapped")
    assert (answers(PFN_VALID), answers(GET_DEV_PAGEMAP)) == ([1, 1, 1], [0, 1, 1])
    assert machine.index.version == before + 1
    engine = LookupEngine(machine.index, tabulate(GET_DEV_PAGEMAP, machine.kernel), Tally())
    assert engine.pagemaps(pfns).tolist() == [0, 3, 3]
    online = LookupEngine(machine.index, tabulate(PFN_TO_ONLINE_PAGE, machine.kernel), Tally())
    assert online.pagemaps(pfns).tolist() == [0, 3, -1]  # -1: pfn_to_online_page does not ask there
    assert online.slow(pfns).tolist() == [1, 1, 0]


def test_the_class_byte_has_room_for_every_check() -> None:
    for function in LOOKUP_FUNCTIONS:
        assert len(function.checks) <= CHECK_MASK


def test_strided_runs_take_bounded_memory() -> None:
    """Many runs that each cross thousands of segments are placed some at a time, and all are counted."""
    machine = EngineMachine(L1.description(), profile("v6.1"))
    engine = LookupEngine(machine.index, tabulate(PFN_VALID, machine.kernel), Tally())
    engine.index.starts = np.arange(4096, dtype=np.uint64) * np.uint64(16)
    engine.single.by_segment = np.where(np.arange(4096) % 2, np.uint8(YES), np.uint8(0))
    many = MAX_PAIRS // 4096 + 1
    runs = Runs(*(np.full(many, value, np.uint64) for value in (0, 4096 * 8, 2)))
    assert engine.counter.step(runs) < many
    nothing = Recorded(np.zeros(many, np.int64), False)
    engine.replay(Lookups(slice(0, many), runs.first, runs, nothing, nothing, nothing), 0, None)
    assert engine.tally.pages == many * 4096 * 8
