"""Parts of the engine, by names that are its own affair: what goes with a part is deleted with it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.workloads import SERVER, WORKLOADS
from replay.engine.acceleration import Acceleration
from replay.engine.gather import CHUNK, Scratch, SingleLookup
from replay.engine.resolve import StateIndex
from replay.engine.runs import RunCounter, Runs
from replay.engine.tabulate import YES, tabulate
from replay.kernel.boot import boot
from replay.kernel.calls import Kernel
from replay.kernel.config import config_for
from replay.kernel.memory_failure import MEMORY_FAILURE
from replay.kernel.poison_calls import verdicts
from replay.kernel.poison_state import PoisonState
from replay.kernel.profiles import profile
from replay.kernel.walk import LOOKUP_FUNCTIONS, PFN_TO_ONLINE_PAGE
from replay.trace.poison import PageKind
from tests.benchmarks.conftest import KERNEL

KERNEL_OBJECT = Kernel(profile(KERNEL).features, config_for(SERVER, profile(KERNEL).features))


@pytest.fixture
def index() -> StateIndex:
    return StateIndex(boot(SERVER, profile(KERNEL).features), section_limit=False)


@pytest.fixture
def pfns(rows):
    (batch,) = WORKLOADS["random"].batches(rows(1 << 20), chunk_rows=rows(1 << 20))
    return batch.column("pfn")


@pytest.mark.parametrize("function", LOOKUP_FUNCTIONS, ids=lambda f: f.name)
def test_tabulate(benchmark, note, function) -> None:
    """One class byte for every state."""
    table = benchmark(lambda: tabulate(function, KERNEL_OBJECT))
    assert table.classes.dtype == np.uint8
    assert 0 < np.count_nonzero(table.classes & YES) < table.classes.size
    note(table.classes.size, table.classes.tobytes().hex())


def test_single_lookups(benchmark, note, index: StateIndex, pfns) -> None:
    """Answers are memory or not, as the machine's description has it: no device shares a section here yet."""
    single = SingleLookup(index, tabulate(PFN_TO_ONLINE_PAGE, KERNEL_OBJECT))
    scratch = Scratch()
    yes = benchmark(lambda: sum(int(np.count_nonzero(c & YES)) for _, c in single.chunks(pfns, scratch)))
    wide = pfns.astype(np.int64)
    memory = sum(int(((wide >= m.start) & (wide < m.end)).sum()) for m in SERVER.memory)
    sections = np.unique(np.concatenate([np.arange(m.start >> 15, (m.end - 1 >> 15) + 1) for m in SERVER.memory]))
    assert memory <= yes == int(np.isin(wide >> 15, sections).sum())
    note(pfns.size, yes)


@pytest.mark.parametrize("stride", [1, 3])
def test_run_counter(benchmark, note, index: StateIndex, pfns, stride: int) -> None:
    """Every pfn of every run falls into one class."""
    counter = RunCounter(index.starts, tabulate(PFN_TO_ONLINE_PAGE, KERNEL_OBJECT).classes[index.codes])
    runs = Runs.of(pfns, np.full(pfns.size, 1000, np.uint64), np.full(pfns.size, stride, np.int64))
    step = min(counter.step(runs), 1 << 14)
    parts = [runs.part(slice(at, at + step)) for at in range(0, pfns.size, step)]
    counts = benchmark(lambda: sum(counter.totals(counter.place(part)) for part in parts))
    assert counts.sum() == 1000 * pfns.size
    note(pfns.size, counts.tolist())


@pytest.mark.parametrize("order", ["random", "ascending"])
def test_counting_single_lookups(benchmark, note, index: StateIndex, pfns, order: str) -> None:
    """Counted by class, gathered or by the borders crossed: what looking each up gives."""
    single = SingleLookup(index, tabulate(PFN_TO_ONLINE_PAGE, KERNEL_OBJECT))
    parts = np.split(np.sort(pfns) if order == "ascending" else pfns, range(CHUNK, pfns.size, CHUNK))
    scratch = Scratch()
    counts = benchmark(lambda: sum(single.count(part, scratch) for part in parts))
    assert counts.tolist() == np.bincount(single.by_segment[index.segment_of(pfns)], minlength=256).tolist()
    note(pfns.size, counts.tolist())


def test_compiled_loops(benchmark, note, index: StateIndex, pfns) -> None:
    """The same counts in one pass."""
    pytest.importorskip("numba", reason="the extra 'fast' is not installed")
    loops = Acceleration(wanted=True).loops(1)
    single = SingleLookup(index, tabulate(PFN_TO_ONLINE_PAGE, KERNEL_OBJECT))
    watched, scratch = np.zeros(256, np.bool_), Scratch()
    counts, _, _ = benchmark(lambda: single.count_compiled(loops, pfns, watched, scratch))
    assert counts.tolist() == np.bincount(single.by_segment[index.segment_of(pfns)], minlength=256).tolist()
    note(pfns.size, counts.tolist())


def test_state_index(benchmark, note, index: StateIndex) -> None:
    """Computing everything anew gives what is there."""
    before = index.codes.copy()

    def refreshed() -> int:
        index.machine.touched = [(0, 1 << 64)]
        index.refresh()
        return index.version

    assert benchmark(refreshed) > 1
    np.testing.assert_array_equal(index.codes, before)
    note(index.codes.size, before.tolist())


def test_poison_verdicts(benchmark, rows, note) -> None:
    """Many calls at once are decided as each is alone."""
    count = rows(1 << 16)
    kinds = (PageKind.BUDDY, PageKind.KERNEL, PageKind.LRU, PageKind.SLAB)
    features = profile(KERNEL).features
    states = PoisonState.of(count, features, kind=np.resize([int(k) for k in kinds], count))
    found = benchmark(lambda: verdicts(MEMORY_FAILURE, states, count))
    for number, kind in enumerate(kinds):
        alone = verdicts(MEMORY_FAILURE, PoisonState.of(None, features, kind=int(kind)), 1)
        assert set(found.check[number :: len(kinds)].tolist()) == {int(alone.check[0])}
    note(count, found.check.tolist()[:8])
