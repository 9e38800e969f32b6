"""The engine on every workload, and what surrounds it: how long, and that the counts are right."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from benchmarks.workloads import WORKLOADS
from replay.engine.replay import Replayer, replay_trace
from replay.engine.tally import RangeCount, Tally
from replay.kernel.profiles import profile
from replay.session import run
from replay.trace.outcome_file import OutcomeWriter
from replay.trace.outcomes import OUTCOME_COLUMNS, POISON_COLUMNS, outcome_dtype
from replay.trace.reader import TraceFile
from replay.trace.schema import LOOKUPS, POISON_CALLS
from tests.benchmarks.conftest import KERNEL

# Rows that `make bench` replays: 10 to 500 ms each.
TIMED = {
    "random": 1 << 20,
    "sequential": 1 << 20,
    "runs-1e3": 1 << 18,
    "runs-1e6": 1 << 18,
    "runs-1e9": 1 << 18,
    "mixed-1": 1 << 18,
    "mixed-10": 1 << 16,
    "pagemaps": 1 << 17,
    "storm": 1 << 16,
    "hot": 1 << 16,
    "production": 1 << 17,
}


@cache
def large() -> Replayer:
    """A kernel on the large machine, for rows that change nothing: it takes longer to boot than to replay them."""
    return Replayer(WORKLOADS["runs-1e3"].machine, profile(KERNEL))


def replayer(name: str) -> Replayer:
    if WORKLOADS[name].machine is WORKLOADS["runs-1e3"].machine:
        return large()
    engine = Replayer(WORKLOADS[name].machine, profile(KERNEL))
    engine.feed(WORKLOADS[name].setup())
    return engine


def counted(tally: Tally) -> dict[str, int]:
    """Calls by function."""
    return {function: answers.total() for function, answers in tally.outcomes.items()}


def test_every_workload_is_timed() -> None:
    """A workload that is added is added here."""
    assert TIMED.keys() == WORKLOADS.keys()


@pytest.mark.parametrize("name", TIMED)
def test_feed(benchmark, rows, note, name: str) -> None:
    """Every row is replayed, every pfn counted once, every error decided."""
    count = rows(TIMED[name])
    batches = list(WORKLOADS[name].batches(count, chunk_rows=min(count, 1 << 20)))
    kinds = np.concatenate([b.column("kind") for b in batches])
    runs = np.concatenate([np.broadcast_to(b.column("nr_pages"), len(b)) for b in batches])
    lookups = np.isin(kinds, [*LOOKUPS])
    before: dict[str, int] = {}

    def setup():
        engine = replayer(name)
        before.update(counted(engine.tally), events=engine.tally.events, pages=engine.tally.pages)
        return (engine,), {}

    def feed(engine: Replayer) -> Tally:
        for batch in batches:
            engine.feed(batch)
        return engine.finish()

    tally = benchmark.pedantic(feed, setup=setup, rounds=5, warmup_rounds=1)
    after = counted(tally)
    assert tally.events - before["events"] == count
    assert tally.pages - before["pages"] == int(runs[lookups].sum())
    assert after.get("pfn_to_online_page", 0) - before.get("pfn_to_online_page", 0) == int(runs[lookups].sum())
    if name in {"storm", "hot", "production"}:
        poison = sum(after.get(f, 0) for f in ("memory_failure", "unpoison_memory"))
        assert poison == int(np.isin(kinds, [*POISON_CALLS]).sum())
    note(count, after)


@pytest.mark.parametrize("name", ["random", "sequential"])
def test_answers_are_true_to_the_machine(benchmark, rows, note, name: str) -> None:
    """What is answered with a page, less the false ones, is what the machine's description calls memory."""
    count = rows(1 << 20, few=4096)
    batches = list(WORKLOADS[name].batches(count, chunk_rows=min(count, 1 << 20)))
    pfns = np.concatenate([b.column("pfn") for b in batches]).astype(np.int64)
    memory = sum(int(((pfns >= m.start) & (pfns < m.end)).sum()) for m in WORKLOADS[name].machine.memory)

    def feed(engine: Replayer) -> Tally:
        for batch in batches:
            engine.feed(batch)
        return engine.finish()

    tally = benchmark.pedantic(feed, setup=lambda: ((replayer(name),), {}), rounds=3)
    yes = tally.outcomes["pfn_to_online_page"]["page"]
    assert yes - tally.false_online.total + tally.false_offline.total == memory
    note(count, yes)


def test_new_replayer(benchmark, note) -> None:
    """Booting a machine of 256 GiB and evaluating the tables."""
    engine = benchmark(lambda: Replayer(WORKLOADS["random"].machine, profile(KERNEL)))
    assert engine.tally.events == 0
    note(0, engine.kernel.features == profile(KERNEL).features)


@pytest.mark.parametrize("codec", [None, "zstd"])
def test_run(benchmark, rows, note, tmp_path, codec: str | None) -> None:
    """A file, from the path to the tally."""
    count = rows(1 << 20)
    WORKLOADS["random"].write(str(tmp_path / "t.arrow"), count, compression=codec)
    result = benchmark(lambda: run(tmp_path / "t.arrow", KERNEL))
    assert result.tally.events == count + len(WORKLOADS["random"].setup())
    assert result.tally.pages == count
    note(count, counted(result.tally))


def test_replay_with_outcomes(benchmark, rows, note, tmp_path) -> None:
    """Outcome columns are kept: as many rows as the trace has, and the same answers as are counted."""
    count = rows(1 << 18)
    WORKLOADS["random"].write(str(tmp_path / "t.arrow"), count)

    def replayed():
        kept = []
        with TraceFile.open(tmp_path / "t.arrow") as trace:
            return replay_trace(trace, profile(KERNEL), sink=kept.append).tally, kept

    tally, kept = benchmark(replayed)
    assert sum(len(o["pages"]) for o in kept) == tally.events
    assert sum(int(o["pages"].sum()) for o in kept) == tally.outcomes["pfn_to_online_page"]["page"]
    note(count, counted(tally))


def test_outcome_writer(benchmark, rows, note, tmp_path) -> None:
    """Writing outcome columns to a file."""
    count = rows(1 << 18)
    outcomes = {name: np.ones(count, outcome_dtype(name)) for name in (*OUTCOME_COLUMNS, *POISON_COLUMNS)}
    path = tmp_path / "o.arrow"

    def written() -> int:
        with OutcomeWriter(path, trace="sha256:0", profile=KERNEL, checks=(), poison_checks={}, tool="test") as writer:
            writer.write(outcomes)
        return path.stat().st_size

    size = benchmark(written)
    assert size > sum(column.nbytes for column in outcomes.values())
    note(count, size)


def test_range_count(benchmark, rows, note) -> None:
    """Ranges that touch become one."""
    count = rows(100_000, few=1000)

    def merged():
        ranges = RangeCount()
        for first in range(0, 2 * count, 2):
            ranges.add(first, first + 1, 3)
        return ranges.merged()

    assert benchmark(merged) == [(0, 2 * count - 1, 3 * count)]
    note(count, count)
