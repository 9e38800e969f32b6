"""Threads and compiled loops change no result."""

from __future__ import annotations

import sys
import threading
from typing import Any
from unittest import mock

import numpy as np
import pytest

from benchmarks.workloads import WORKLOADS, Workload
from replay.engine.acceleration import Acceleration
from replay.engine.gather import Scratch, SingleLookup
from replay.engine.locate import Locator
from replay.engine.past import Past
from replay.engine.replay import Replayer
from replay.engine.resolve import MIXED
from replay.engine.runs import RunCounter, Runs
from replay.engine.threads import Threads
from replay.engine.toggles import Changes
from replay.errors import UsageError
from replay.kernel.profiles import profile
from replay.trace.batch import Batch, Slot

ROWS = 5000
STATIC = ("random", "sequential", "runs-1e3", "runs-1e6")


def replayed(made: Workload, batches: list[Batch], kernel: str, **options: Any) -> tuple[Any, ...]:
    replayer = Replayer(made.machine, profile(kernel), **options)
    replayer.feed(made.setup())
    for batch in batches:
        replayer.feed(batch)
    tally = replayer.finish()
    kept = [{name: values.tolist() for name, values in o.items()} for o in replayer.finished()]
    return tally, kept


def with_records(columns: Batch) -> Batch:
    """The same rows with recorded answers, right and wrong ones."""
    slots = {name: Slot(columns.stored(name), columns.given(name)) for name in columns.stored_names}
    rows = np.arange(len(columns))
    slots["recorded_ret"] = Slot((rows % 7 > 0).astype(np.int64), rows % 3 > 0)
    slots["recorded_slow"] = Slot(np.zeros(len(columns), np.uint8))
    slots["recorded_pgmap"] = Slot((rows % 2).astype(np.uint32))
    return Batch(columns.row, len(columns), slots)


@pytest.mark.parametrize("name", [*STATIC, "mixed-10", "production"])
@pytest.mark.parametrize("records", [False, True], ids=["counted", "compared"])
def test_threads(name: str, records: bool) -> None:
    """One, two or five threads: the same counts, differences, ranges and outcomes."""
    made = WORKLOADS[name]
    batches = list(made.batches(ROWS, chunk_rows=2000))
    if records:
        batches = [with_records(b) for b in batches]
    results = [
        replayed(made, batches, "v5.11", threads=threads, keep=keep) for keep in (False, True) for threads in (1, 2, 5)
    ]
    assert results[0][0].pages
    for result in results[1:3]:
        assert result == results[0]
    for result in results[3:]:
        assert result == results[3]


@pytest.mark.parametrize("name", [*STATIC, "mixed-10"])
@pytest.mark.parametrize("kernel", ["v4.19", "v5.11", "v6.1"])
def test_compiled(name: str, kernel: str) -> None:
    """Compiled loops count what arrays count: checks, untruths and their ranges."""
    pytest.importorskip("numba", reason="the extra 'fast' is not installed")
    made = WORKLOADS[name]
    batches = list(made.batches(ROWS, chunk_rows=2000))
    expected = replayed(made, batches, kernel, compiled=False)
    assert expected[0].pages
    assert replayed(made, batches, kernel, compiled=True) == expected
    assert replayed(made, batches, kernel, compiled=True, threads=3) == expected


def test_compiled_singles_at_every_edge() -> None:
    """Pfns of every block of the loop, of subsections that are not uniform, and beyond the table."""
    pytest.importorskip("numba", reason="the extra 'fast' is not installed")
    from replay.engine import loops

    made = WORKLOADS["random"]
    replayer = Replayer(made.machine, profile("v5.11"))
    replayer.feed(made.setup())
    single: SingleLookup = replayer._engine(2).single  # type: ignore[arg-type]
    borders = single.index.starts.tolist()
    edges = np.array([b + d for b in borders for d in (-1, 0, 1) if 0 <= b + d < 1 << 64], np.uint64)
    for size in (0, 1, 3, 4, 4095, 4096, 4097, 9000):
        pfns = np.resize(edges, size)
        classes = single.by_segment[single.index.segment_of(pfns)]
        watched = np.isin(np.arange(256), single.labels[:2])
        counts, picked, found = single.count_compiled(loops, pfns, watched, Scratch())
        assert counts.tolist() == np.bincount(classes, minlength=256).tolist()
        hit = watched[found]
        assert sorted(picked[hit].tolist()) == sorted(pfns[watched[classes]].tolist())


def test_compiled_runs_of_any_shape() -> None:
    """Many small segments, so that cells are torn; runs within one, over some, and behind all."""
    pytest.importorskip("numba", reason="the extra 'fast' is not installed")
    from replay.engine import loops

    draw = np.random.default_rng(7)
    starts = np.concatenate([[0], np.sort(draw.choice(1 << 20, 300, replace=False) + 1)]).astype(np.uint64)
    classes = draw.integers(0, 4, starts.size).astype(np.uint8)
    counter = RunCounter(starts, classes)
    assert (Locator(starts).cells < 0).any()
    first = draw.integers(0, 1 << 21, 4000).astype(np.uint64)
    count = np.where(draw.random(4000) < 0.5, draw.integers(1, 50, 4000), draw.integers(1, 1 << 20, 4000)).astype(
        np.uint64
    )
    runs = Runs(first, count, np.ones(4000, np.uint64))
    placed = counter.place(runs)
    for labels in ([], [1], [0, 3]):
        watched = np.isin(np.arange(256), labels)
        counts, pieces = counter.count_compiled(loops, runs, watched)
        assert counts.tolist() == counter.totals(placed).tolist()
        assert _covered(pieces) == _covered(counter.pieces(placed, watched))


def test_compiled_lookups_between_changes() -> None:
    """Every border, in sections that change and in others, beyond all tables; before, between and behind the changes."""
    pytest.importorskip("numba", reason="the extra 'fast' is not installed")
    from replay.engine import loops

    made = WORKLOADS["random"]
    replayer = Replayer(made.machine, profile("v6.1"))
    replayer.feed(made.setup())
    table = replayer._engine(2).single.table.classes  # type: ignore[arg-type]
    index, draw = replayer._index, np.random.default_rng(3)
    edges = np.array([b + d for b in index.starts.tolist() for d in (-1, 0, 1) if 0 <= b + d < 1 << 64], np.uint64)
    inside = edges[edges < 1 << 27]  # of which there is memory
    pfns = np.concatenate([edges, draw.choice(inside, 5000) + draw.integers(0, 1 << 14, 5000).astype(np.uint64)])
    pfns = draw.permutation(pfns)
    sections = np.unique(inside >> np.uint64(made.machine.section_size_bits - made.machine.page_shift)).astype(np.int64)
    rows = np.sort(draw.choice(4 * pfns.size, pfns.size + 300, replace=False))
    is_change = draw.permutation(np.arange(rows.size) < 300)
    changes = Changes(rows[is_change], draw.choice(sections[::2], 300), draw.integers(0, 32, 300).astype(np.uint8))
    past, rows = Past(index, changes), rows[~is_change]
    assert (index.flat[np.minimum(pfns >> index.shift, np.uint64(index.flat.size - 1)).astype(np.int64)] == MIXED).any()
    for part in (slice(None), slice(0, 1), slice(2000, 2500), slice(-9, None)):
        expected = table[past.codes(pfns[part], rows[part])]
        counts, classes = past.count_compiled(loops, pfns[part], rows[part], table)
        assert classes.tolist() == expected.tolist()
        assert counts.tolist() == np.bincount(expected, minlength=256).tolist()
    assert np.unique(table[past.codes(pfns, rows)]).size > 3


def _covered(pieces: tuple[Any, Any, Any]) -> tuple[int, list[tuple[int, int]]]:
    """Pfns of all pieces, and the pieces that are there at all."""
    first, last, count = pieces
    return int(count.sum()), sorted(set(zip(first.tolist(), last.tolist(), strict=True)))


def test_long_replays_are_accelerated_by_themselves() -> None:
    pytest.importorskip("numba", reason="the extra 'fast' is not installed")
    with mock.patch("replay.engine.acceleration._LONG", 100):
        by_itself = Acceleration()
    assert by_itself.loops(60) is None
    assert by_itself.loops(60) is not None
    assert by_itself.loops(1) is not None
    assert Acceleration(wanted=True).loops(1) is not None
    assert Acceleration(wanted=False).loops(1 << 60) is None


def test_without_numba() -> None:
    """Nothing is compiled; who insists is told what to install."""
    with mock.patch.dict(sys.modules, {"numba": None}), mock.patch("importlib.util.find_spec", return_value=None):
        assert Acceleration().loops(1 << 60) is None
        with pytest.raises(UsageError, match=r"pip install 'pfn-replay\[fast\]'"):
            Acceleration(wanted=True)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_all_jobs_are_done(count: int) -> None:
    """More jobs than may be at hand: by the other threads, and by the one that starts them."""
    threads, done = Threads(count), list[int]()
    for number in range(20):
        threads.start(lambda n=number: done.append(n))  # type: ignore[misc]
    threads.wait()
    assert sorted(done) == list(range(20))
    threads.wait()
    threads.close()


def test_an_error_in_a_thread_is_raised() -> None:
    """That of the first job that failed; the others have ended by then."""
    done, begin = list[int](), threading.Event()

    def job(number: int) -> None:
        begin.wait(5)
        done.append(number)
        if number:
            raise ValueError(str(number))

    threads = Threads(4)
    for number in range(3):
        threads.start(lambda n=number: job(n))  # type: ignore[misc]
    begin.set()
    with pytest.raises(ValueError, match="1"):
        threads.wait()
    assert sorted(done) == [0, 1, 2]
    threads.close()


def test_batches_beside_transitions() -> None:
    """Lookups before and behind a transition meet the machine as it was at their row, whatever thread counts them."""
    made = WORKLOADS["random"]
    lookups = list(made.batches(64 * 400, chunk_rows=400))
    changing = list(WORKLOADS["mixed-10"].batches(2000, chunk_rows=100))
    mixed = [
        batch for pair in zip(lookups, [*changing, *changing, *changing, *changing], strict=False) for batch in pair
    ]
    for at, batch in enumerate(mixed):
        batch.row = at * 400
    expected = replayed(made, mixed, "v6.1")
    assert expected[0].checks["pfn_to_online_page"].total() > 20_000
    for _ in range(3):
        assert replayed(made, mixed, "v6.1", threads=3) == expected
