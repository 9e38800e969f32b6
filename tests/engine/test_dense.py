"""Dense stretches: toggles learned once, lookups decided by the flags of their row."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.workloads import SERVER, WORKLOADS
from replay.engine.dense import dense_stretches
from replay.engine.replay import Replayer
from replay.kernel.profiles import profile
from replay.machine.geometry import Geometry
from replay.trace.schema import EventKind
from tests.property.engines import as_batch, dense, tallied, vector

BLOCK = 0x8000
FIRST = 0x2000000  # node 1 of the machine
LOOKUP, OFFLINE, ONLINE = EventKind.PFN_TO_ONLINE_PAGE, EventKind.MEMORY_BLOCK_OFFLINE, EventKind.MEMORY_BLOCK_ONLINE


def block(number: int, kind: EventKind, **more: int) -> dict[str, int]:
    return {"kind": kind, "pfn": FIRST + number * BLOCK, "nr_pages": BLOCK, **more}


def lookup(number: int, offset: int = 0, **more: int) -> dict[str, int]:
    return {"kind": LOOKUP, "pfn": FIRST + number * BLOCK + offset, "nr_pages": 1, "stride": 1, **more}


def timed(rows: list[dict[str, int]]) -> list[dict[str, int]]:
    return [row | {"time": at} for at, row in enumerate(rows)]


def test_lookups_see_the_flags_of_their_row() -> None:
    """A block that goes off, on and off again within a stretch: what stands between sees each state, others see none."""
    rows = []
    for kind in (OFFLINE, ONLINE, OFFLINE, OFFLINE, ONLINE):
        rows += [lookup(4, 77), lookup(3), block(3, kind), lookup(3, BLOCK - 1), lookup(2), lookup(4, 5)]
    with dense(1):
        outcomes = vector(SERVER, timed(rows), profile("v6.1"))
    third = range(FIRST + 3 * BLOCK, FIRST + 4 * BLOCK)
    about = [row["kind"] == LOOKUP and row["pfn"] in third for row in rows]
    seen = [o["pages"] for o, asked in zip(outcomes, about, strict=True) if asked]
    assert seen == [1, 0, 0, 1, 1, 0, 0, 0, 0, 1]
    assert [o["ret"] for o in outcomes if o["check"] and str(o["check"]).startswith("memory_block")] == [
        0,
        0,
        0,
        -22,
        0,
    ]
    with dense(1000):
        assert vector(SERVER, timed(rows), profile("v6.1")) == outcomes


@pytest.mark.parametrize("workload", ["mixed-1", "mixed-10", "pagemaps"])
@pytest.mark.parametrize("kernel", ["v5.10", "v5.11", "v6.1"])
def test_workloads(workload: str, kernel: str) -> None:
    """A few thousand rows, kept and counted: the same outcomes, counts and tables as with tables for every moment."""
    made = WORKLOADS[workload]
    batches = list(made.batches(6000, chunk_rows=2500))
    results = []
    for fewest in (1, 1 << 30):
        for keep in (False, True):
            replayer = Replayer(made.machine, profile(kernel), keep=keep)
            with dense(fewest):
                replayer.feed(made.setup())
                for batch in batches:
                    replayer.feed(batch)
            tally = replayer.finish()
            replayer._index.refresh()
            index = [getattr(replayer._index, name).tolist() for name in ("starts", "codes", "flat")]
            counts = tally.checks, tally.outcomes, tally.false_online.merged(), tally.slow, tally.pages
            kept = [{k: v.tolist() for k, v in o.items()} for o in replayer.finished()]
            results.append((counts, index, kept))
    for result in results[1:]:
        assert result[:2] == results[0][:2]
    assert results[1][2] == results[3][2]


def test_recorded_answers_of_a_dense_stretch() -> None:
    """Agreement, the rows that differ and imposed refusals are those of the sparse way."""
    rows = []
    for n in range(40):
        kind = (OFFLINE, ONLINE)[n % 2]
        rows += [block(1, kind, recorded_ret=-16 * (n % 5 == 0), **({"env": -16} if n % 10 == 0 else {}))]
        rows += [lookup(1, recorded_ret=n % 2, recorded_slow=0), lookup(0, 9, recorded_ret=1, recorded_pgmap=0)]
    results = []
    for fewest in (1, 1000):
        with dense(fewest):
            results.append(tallied(SERVER, timed(rows), profile("v6.1")))
    assert results[0] == results[1]
    agreement = results[0]["agreement"]
    assert agreement["memory_block_offline"]["not_compared"]
    assert agreement["pfn_to_online_page"]["differed"]


def stretches(rows: list[dict[str, int]]) -> list[tuple[int, int]]:
    batch = as_batch(timed(rows))
    kinds = np.asarray(batch.column("kind"))
    special = np.flatnonzero(np.isin(kinds, [OFFLINE, ONLINE, EventKind.MEMREMAP_PAGES]))
    breaks = np.arange(256) == EventKind.MEMORY_FAILURE
    with dense(2):
        found = dense_stretches(batch, kinds, special, np.flatnonzero(breaks[kinds]), Geometry.of(SERVER))
    return [(s.first, s.end) for s in found]


def test_what_ends_a_stretch() -> None:
    """Other transitions, rows about poison, and runs over what is toggled; a run beside it does not."""
    pair = [block(1, OFFLINE), block(1, ONLINE)]
    over = lookup(0) | {"nr_pages": 2 * BLOCK}
    beside = lookup(5) | {"nr_pages": 2 * BLOCK}
    remap = {"kind": EventKind.MEMREMAP_PAGES, "pfn": 0x3F00000, "nr_pages": BLOCK, "pgmap": 1}
    assert stretches([*pair, *pair]) == [(0, 4)]
    assert stretches([*pair, beside, *pair]) == [(0, 5)]
    for row in (over, remap, {"kind": EventKind.MEMORY_FAILURE, "pfn": 5}):
        assert stretches([*pair, row, *pair]) == [(0, 2), (3, 5)]
    assert stretches([*pair, *[lookup(7)] * 20_000, *pair]) == []  # too far apart


def test_a_step_is_learned_once() -> None:
    """Known requests in known states are not carried out on the machine again."""
    replayer = Replayer(SERVER, profile("v6.1"))
    rows = timed([block(n % 3, kind) for n in range(30) for kind in (OFFLINE, ONLINE)])
    replayer.feed(as_batch(rows))
    assert len(replayer._toggles.steps) == 6
    replayer.feed(as_batch(rows, len(rows)))
    assert len(replayer._toggles.steps) == 6
    assert replayer.tally.checks["memory_block_offline"] == {"offlined": 60}
