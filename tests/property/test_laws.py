"""Laws that hold for any trace: what must not matter, does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from replay.engine.locate import Locator
from replay.engine.replay import Replayer
from replay.engine.resolve import MIXED, StateIndex
from replay.engine.runs import RunCounter, Runs
from replay.kernel.profiles import Profile, profile
from replay.kernel.walk import Bit
from replay.machine.geometry import Geometry
from replay.trace.header import MachineDescription
from replay.trace.schema import EventKind
from tests.property.engines import as_batch, dense, tallied, vector
from tests.property.strategies import LOOKUPS, STRINGS, Case, Row, cases

KERNELS = st.sampled_from(("v4.19", "v5.1", "v5.10.223", "v5.12", "v6.1.192", "v7.2")).map(profile)
X86 = ("x86_64", "riscv64", "ppc64")  # every kernel has the same section size there


@given(case=cases(), kernel=KERNELS, data=st.data())
def test_batches_do_not_matter(case: Case, kernel: Profile, data: st.DataObject) -> None:
    """Cutting a trace into batches anywhere changes no outcome."""
    if case.machine.arch not in X86:
        return
    cuts = data.draw(st.lists(st.integers(0, len(case.rows)), max_size=4))
    assert vector(case.machine, case.rows, kernel) == vector(case.machine, case.rows, kernel, cuts)


@given(case=cases(toggling=True, windows=False, max_events=60), kernel=KERNELS, data=st.data())
def test_dense_stretches_do_not_matter(case: Case, kernel: Profile, data: st.DataObject) -> None:
    """Toggles learned once, and lookups decided by the flags of their row, change no outcome and no count."""
    if case.machine.arch not in X86:
        return
    cuts = data.draw(st.lists(st.integers(0, len(case.rows)), max_size=2))
    with dense(1000):
        expected = vector(case.machine, case.rows, kernel), tallied(case.machine, case.rows, kernel)
    with dense(1):
        assert vector(case.machine, case.rows, kernel, cuts) == expected[0]
        assert tallied(case.machine, case.rows, kernel) == expected[1]


@given(case=cases(), kernel=KERNELS, sections=st.integers(1, 5))
def test_whole_sections_do_not_matter(case: Case, kernel: Profile, sections: int) -> None:
    """Moving everything up by whole memory blocks moves the outcomes with it, and changes nothing else."""
    g = Geometry.of(case.machine)
    if case.machine.arch not in X86 or case.base == 0 or case.base > 1000:
        return  # zones of x86 and the end of the section table stay where they are
    if any(low < 1 << 20 for low in (r.start for r in case.machine.memory)):
        return
    by = sections * g.pages_per_block
    assert vector(_moved(case.machine, by), [_moved_row(r, by, g) for r in case.rows], kernel) == vector(
        case.machine, case.rows, kernel
    )


@given(case=cases(windows=False), kernel=KERNELS)
def test_splitting_runs_does_not_matter(case: Case, kernel: Profile) -> None:
    """A run and its pfns one by one count the same."""
    if case.machine.arch not in X86:
        return
    single: list[Row] = []
    for row in case.rows:
        single += _split(row) if row["kind"] in LOOKUPS else [row]
    assert tallied(case.machine, case.rows, kernel) == tallied(case.machine, single, kernel)


@given(case=cases(windows=False, long_runs=True, max_events=10), kernel=KERNELS, data=st.data())
def test_cutting_long_runs_does_not_matter(case: Case, kernel: Profile, data: st.DataObject) -> None:
    """A run of any length counts the same as its two parts."""
    if case.machine.arch not in X86:
        return
    parts: list[Row] = []
    for row in case.rows:
        if row["kind"] not in LOOKUPS or row["nr_pages"] == 1:
            parts.append(row)
            continue
        at = data.draw(st.integers(1, row["nr_pages"] - 1))
        parts.append(row | {"nr_pages": at})
        parts.append(row | {"pfn": row["pfn"] + at * row["stride"], "nr_pages": row["nr_pages"] - at})
    assert tallied(case.machine, case.rows, kernel) == tallied(case.machine, parts, kernel)


@given(case=cases(), kernel=KERNELS)
def test_kept_outcomes_add_up_to_the_counts(case: Case, kernel: Profile) -> None:
    """Page counts, untruths and matches of the rows are those of the tally."""
    if case.machine.arch not in X86:
        return
    rows = vector(case.machine, case.rows, kernel)
    counted = tallied(case.machine, case.rows, kernel)
    for name in ("false_online", "false_offline"):
        assert sum(r[name] for r in rows) == sum(n for _, _, n in counted[name])
    assert sum(r["slow_pages"] for r in rows) == counted["slow"]
    online = [r for r, e in zip(rows, case.rows, strict=True) if e["kind"] == EventKind.PFN_TO_ONLINE_PAGE]
    answers = counted["outcomes"].get("pfn_to_online_page", {})
    assert sum(r["pages"] for r in online) == answers.get("page", 0)


@given(case=cases(toggling=True), kernel=KERNELS)
def test_incremental_states_are_the_states_resolved_anew(case: Case, kernel: Profile) -> None:
    """After any history, resolving only what was touched gives the same segments as resolving everything."""
    if case.machine.arch not in X86:
        return
    replayer = Replayer(case.machine, kernel, STRINGS)
    with dense(1):
        replayer.feed(as_batch(case.rows))
    index = replayer._index
    index.refresh()
    anew = StateIndex(replayer.machine, section_limit=index.section_limit)
    for name in ("starts", "codes", "pgmaps"):
        np.testing.assert_array_equal(getattr(index, name), getattr(anew, name), name)
    # The table does not shrink, as what was inside once is told there; nor does it grow when flags of sections behind it
    # change: they are found by their segments.
    inside = min(anew.flat.size, index.flat.size) - 1
    np.testing.assert_array_equal(index.flat[:inside], anew.flat[:inside])
    beyond = np.arange(inside, index.flat.size - 1, dtype=np.uint64) << index.shift
    assert index.flat[-1] == MIXED
    np.testing.assert_array_equal(index.flat[inside:-1], index.codes[index.segment_of(beyond)])


@given(data=st.data())
def test_runs_are_counted_as_their_pfns_are(data: st.DataObject) -> None:
    """Counting by segments equals counting pfn by pfn, for any stride."""
    starts = sorted(data.draw(st.sets(st.integers(1, 400), max_size=12)))
    classes = data.draw(st.lists(st.integers(0, 3), min_size=len(starts) + 1, max_size=len(starts) + 1))
    drawn = data.draw(
        st.lists(st.tuples(st.integers(0, 450), st.integers(1, 60), st.integers(1, 40)), min_size=1, max_size=8)
    )
    copies = data.draw(st.sampled_from([1, 50]))  # few pfns are searched for, many go through a table
    far = data.draw(st.sampled_from([0, 1 << 47]))  # where sums of pfns need more than 64 bits
    counter = RunCounter(np.array([0, *(s + far for s in starts)], np.uint64), np.array(classes, np.uint8))
    runs = Runs(*(np.array(column * copies, np.uint64) for column in zip(*drawn, strict=True)))
    runs = Runs(runs.first + np.uint64(far), runs.count, runs.stride)
    placed = counter.place(runs)
    expected = np.zeros((256, len(runs)), np.int64)
    firsts = []
    for i, (first, count, stride) in enumerate(drawn * copies):
        pfns = [first + n * stride for n in range(count)]
        found = [classes[sum(p >= s for s in starts)] for p in pfns]
        firsts.append((found[0], len(set(found)) > 1))
        for label in found:
            expected[label, i] += 1
    assert counter.totals(placed).tolist() == expected.sum(axis=1).tolist()
    which = np.isin(np.arange(256), data.draw(st.sets(st.integers(0, 3))))
    assert counter.pages(placed, which).tolist() == expected[which].sum(axis=0).tolist()
    value, several = counter.several(placed, np.arange(256).astype(np.uint8))
    assert list(zip(value.tolist(), several.tolist(), strict=True)) == firsts


@given(data=st.data())
def test_pfns_are_located_as_by_search(data: st.DataObject) -> None:
    """The coarse table and the search give the same segments, wherever the borders lie."""
    starts = np.array([0, *sorted(data.draw(st.sets(st.integers(1, (1 << 52) - 1), max_size=12)))], np.uint64)
    near = [int(s) + d for s in starts for d in (-1, 0, 1) if int(s) + d >= 0]
    pfns = data.draw(st.lists(st.one_of(st.sampled_from(near), st.integers(0, (1 << 64) - 1)), min_size=1)) * 64
    found = Locator(starts)(np.array(pfns, np.uint64))
    assert found.tolist() == (np.searchsorted(starts, np.array(pfns, np.uint64), "right") - 1).tolist()


def test_the_strategies_reach_what_they_are_for() -> None:
    """Machines with memory, shared sections and pagemaps do occur: otherwise the laws above prove nothing."""
    kernel = profile("v6.1")

    def has_collision(case: Case) -> bool:
        if case.machine.arch != "x86_64":
            return False
        replayer = Replayer(case.machine, kernel, STRINGS)
        replayer.feed(as_batch(case.rows))
        codes = replayer._index.codes
        online, taint, pagemap = (1 << Bit.ONLINE), (1 << Bit.TAINT), (3 << Bit.PAGEMAP)
        return bool(((codes & online != 0) & (codes & taint != 0) & (codes & pagemap != 0)).any())

    first = settings(phases=[Phase.generate], max_examples=2000)  # the smallest one would take minutes to find
    assert find(cases(windows=False), has_collision, settings=first).rows


def _moved(machine: MachineDescription, by: int) -> MachineDescription:
    shift = by << machine.page_shift
    return replace(
        machine,
        memory=tuple(replace(r, start=r.start + by, end=r.end + by) for r in machine.memory),
        resources=tuple(replace(r, start=r.start + shift, end=r.end + shift) for r in machine.resources),
    )


def _moved_row(row: Row, by: int, g: Geometry) -> Row:
    moved = dict(row)
    for column, distance in (("pfn", by), ("altmap_base", by), ("start", by << g.page_shift)):
        if column in moved:
            moved[column] += distance
    return moved


def _split(row: Row) -> list[Row]:
    step = row["stride"]
    return [row | {"pfn": row["pfn"] + n * step, "nr_pages": 1, "stride": 1} for n in range(row["nr_pages"])]
