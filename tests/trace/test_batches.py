"""How the rows are handed out: in batches of any size, made ahead or not, with the same content and errors."""

from __future__ import annotations

import gc
import sys
import threading

import numpy as np
import pyarrow as pa
import pytest

from replay.errors import InvariantError, TraceError, UsageError
from replay.trace import COLUMNS, TraceFile, TraceWriter
from replay.trace.inspection import WINDOW_ROWS
from replay.trace.prefetch import one_ahead
from replay.trace.reader import PIECE_ROWS
from tests.trace.build import MACHINE, PROVENANCE, content, forge, lookup, write

ROWS = 2 * WINDOW_ROWS + 1003
SIZES = (1000, WINDOW_ROWS - 8, WINDOW_ROWS, WINDOW_ROWS + 8, PIECE_ROWS)


@pytest.fixture(params=[None, "zstd"])
def large(tmp_path, request):
    """A record batch of several windows, whose columns are given always, sometimes, nearly always and nearly never."""
    rng = np.random.default_rng(7)
    number = np.arange(ROWS, dtype=np.uint64)
    data = {
        "time": number,
        "kind": rng.integers(1, 4, ROWS, dtype=np.uint8),
        "pfn": rng.integers(0, 1 << 40, ROWS, dtype=np.uint64),
        "task": (number, rng.random(ROWS) < 0.5),
        "node": (number, number != 70_001),
        "window": (number, number == WINDOW_ROWS + 3),
    }
    path = tmp_path / "large.arrow"
    options = {"machine": MACHINE, "provenance": PROVENANCE, "columns": tuple(data), "compression": request.param}
    with TraceWriter(path, batch_rows=1 << 19, **options) as writer:
        writer.write(data)
    assert pa.ipc.open_file(path).num_record_batches == 1
    return path


def everything(trace, **options):
    """Columns, masks and rows of a trace, whatever the batches; and the length of each batch."""
    parts = {name: ([], []) for name in trace.columns}
    lengths = []
    for batch in trace.batches(**options):
        assert batch.row == sum(lengths)
        lengths.append(len(batch))
        for name, (values, masks) in parts.items():
            values.append(np.array(batch.column(name)))
            given = batch.given(name)
            assert isinstance(given, bool) or not given.all() or not given.any()
            masks.append(np.broadcast_to(given, len(batch)))
    return {n: (np.concatenate(v), np.concatenate(m)) for n, (v, m) in parts.items()}, lengths


def same(a, b):
    return all(np.array_equal(x, y) for name in a for x, y in zip(a[name], b[name], strict=True))


@pytest.mark.parametrize("prefetch", [False, True])
def test_batches_of_any_size_say_the_same(large, prefetch):
    with TraceFile.open(large, verify=False) as trace:
        whole, _ = everything(trace)
    for size in SIZES:
        with TraceFile.open(large) as trace:
            for _ in range(2):  # checked, and not checked again
                parts, lengths = everything(trace, max_rows=size, prefetch=prefetch)
                assert same(parts, whole)
                assert lengths == [size] * (ROWS // size) + [ROWS % size] * bool(ROWS % size)


def test_batches_of_eight_rows(tmp_path):
    """Every byte of the validity bits is the first of a batch once."""
    events = [lookup(n, **({"task": n} if n % 7 % 2 else {}), **({"node": n} if n // 8 % 2 else {})) for n in range(99)]
    with TraceFile.open(write(tmp_path / "a.arrow", *events, batch_rows=40)) as trace:
        parts, lengths = everything(trace, max_rows=8)
        assert lengths == [8] * 12 + [3]
        assert same(parts, everything(trace)[0])
        assert parts["task"][1].tolist() == ["task" in event for event in events]
        assert {type(batch.given("node")) for batch in trace.batches(max_rows=8)} == {bool}


def test_batches_are_a_mebirow_at_most_when_nobody_says(tmp_path):
    rows = PIECE_ROWS + 5
    data = {"time": np.zeros(rows, np.uint64), "kind": np.full(rows, 1, np.uint8), "pfn": np.zeros(rows, np.uint64)}
    arrays = {name: pa.array(values) for name, values in data.items()}
    with TraceFile.open(forge(tmp_path / "a.arrow", arrays, batch_rows=rows)) as trace:
        assert [len(batch) for batch in trace.batches()] == [PIECE_ROWS, 5]


@pytest.mark.parametrize("size", [0, -8, 4, 12, PIECE_ROWS + 1])
def test_a_size_that_would_cut_validity_bytes_is_refused(tmp_path, size):
    with (
        TraceFile.open(write(tmp_path / "a.arrow", lookup(1))) as trace,
        pytest.raises(UsageError, match="multiple of 8"),
    ):
        trace.batches(max_rows=size)


DEFECTS = {  # column and row of what contradicts the format
    "later window": {"pfn": WINDOW_ROWS + 5},
    "two in one window": {"pfn": 100, "time": 200},
    "two windows": {"pfn": 100, "time": WINDOW_ROWS + 100},
    "edge of a window": {"time": WINDOW_ROWS},
    "last row": {"kind": ROWS - 1},
}


@pytest.mark.parametrize("case", DEFECTS)
def test_errors_depend_neither_on_the_size_nor_on_the_thread(tmp_path, case):
    number = np.arange(ROWS, dtype=np.uint64)
    columns = {"time": number.copy(), "kind": np.full(ROWS, 3, np.uint8), "pfn": number}
    for name, row in DEFECTS[case].items():
        columns[name][row] = {"time": 0, "kind": 200, "pfn": 1 << 60}[name]
    path = forge(tmp_path / "a.arrow", {n: pa.array(v) for n, v in columns.items()}, batch_rows=1 << 19)
    first = min(DEFECTS[case].values())
    seen = set()
    for size in SIZES:
        for prefetch in (False, True):
            lengths: list[int] = []
            with TraceFile.open(path) as trace, pytest.raises(TraceError) as caught:
                lengths.extend(len(batch) for batch in trace.batches(max_rows=size, prefetch=prefetch))
            seen.add(str(caught.value))
            assert sum(lengths) == first // WINDOW_ROWS * WINDOW_ROWS // size * size  # what windows before it hold
    assert len(seen) == 1


# The background thread ------------------------------------------------------------------------------------------------


def background():
    return [thread for thread in threading.enumerate() if thread.name.startswith("replay-prefetch")]


def test_one_item_is_made_ahead_and_not_more():
    made, enough = [], threading.Event()

    def items():
        for number in range(10):
            made.append((number, threading.current_thread() is not threading.main_thread()))
            if number == 3:
                enough.set()
            yield number

    ahead = one_ahead(items())
    assert not made  # nothing is begun before it is asked for
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    assert enough.wait(10)
    ahead.close()
    assert made == [(number, True) for number in range(4)]
    assert not background()


def test_exceptions_come_in_their_place():
    def items():
        yield 1
        yield 2
        raise KeyError("third")

    ahead = one_ahead(items())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(KeyError, match="third"):
        next(ahead)
    assert list(ahead) == []
    assert not background()
    assert list(one_ahead(iter([]))) == []


def test_stopping_early_waits_for_nothing_but_the_batch_at_hand(tmp_path):
    path = write(tmp_path / "a.arrow", *(lookup(n) for n in range(64)), batch_rows=8)
    for stop in ("break", "drop", "error", "exhaust"):
        with TraceFile.open(path) as trace:
            batches = trace.batches(prefetch=True)
            assert next(batches).row == 0
            if stop == "break":
                batches.close()
            elif stop == "error":
                with pytest.raises(ValueError, match="of the consumer"):
                    batches.throw(ValueError("of the consumer"))
            elif stop == "exhaust":
                assert sum(len(batch) for batch in batches) == 56
            del batches
            gc.collect()
            assert not background()
            trace.verify()  # the file is as good as before


def test_a_file_that_is_closed_under_way_says_so(tmp_path):
    path = write(tmp_path / "a.arrow", *(lookup(n) for n in range(64)), batch_rows=8)
    for prefetch in (False, True):
        trace = TraceFile.open(path)
        batches = trace.batches(prefetch=prefetch)
        first = next(batches)
        trace.close()
        with pytest.raises(InvariantError, match="closed"):
            list(batches)
        assert first.column("pfn").tolist() == list(range(8))
        assert not background()


def test_several_readers_of_one_file_do_not_disturb_each_other(large):
    with TraceFile.open(large) as trace:
        pairs = zip(trace.batches(max_rows=8000, prefetch=True), trace.batches(max_rows=8000), strict=True)
        for a, b in pairs:
            assert all(np.array_equal(a.column(name), b.column(name)) for name in trace.columns)


# Memory ---------------------------------------------------------------------------------------------------------------


def resident(path):
    """Bytes of mappings of a file that count as memory of this process."""
    total, found = 0, False
    with open("/proc/self/smaps") as smaps:
        for line in smaps:
            if "-" in line.split(" ", 1)[0] and not line.split(" ", 1)[0].endswith(":"):
                found = line.rstrip().endswith(str(path))
            elif found and line.startswith("Rss:"):
                total += int(line.split()[1]) << 10
    return total


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/smaps")
@pytest.mark.parametrize("batch_rows", [1 << 16, 1 << 21], ids=["small batches", "large batches"])
@pytest.mark.parametrize("prefetch", [False, True])
def test_memory_does_not_grow_with_the_file(tmp_path, batch_rows, prefetch):
    """A file of 57 MB, of which a window and two pieces of 1.2 MB are in use (and what the system maps around them)."""
    rows = 3 << 20
    number = np.arange(rows, dtype=np.uint64)
    options = {"machine": MACHINE, "provenance": PROVENANCE, "columns": ("time", "kind", "pfn", "order")}
    path = tmp_path / "a.arrow"
    with TraceWriter(path, batch_rows=batch_rows, **options) as writer:
        order = (np.zeros(rows, np.uint8), number % np.uint64(3) == 0)
        writer.write({"time": number, "kind": np.full(rows, 2, np.uint8), "pfn": number, "order": order})
    assert path.stat().st_size > 54e6
    with TraceFile.open(path) as trace:
        most, sums, first = 0, 0, None
        for count, batch in enumerate(trace.batches(max_rows=1 << 16, prefetch=prefetch)):
            first = batch if first is None else first
            sums += int(batch.column("pfn").sum())
            most = max(most, resident(path)) if count % 8 == 7 else most
        assert sums == rows * (rows - 1) // 2
        assert 0 < most < 18e6
        assert resident(path) < 4e6
        assert first is not None
        assert first.column("pfn")[-1] == len(first) - 1  # what was given back can still be looked at


def test_compressed_files_are_read_without_a_mapping_of_their_columns(tmp_path):
    path = write(tmp_path / "a.arrow", *(lookup(n, task=n) for n in range(100)), compression="lz4", batch_rows=32)
    with TraceFile.open(path) as trace:
        kept = list(trace.batches(max_rows=8))
        assert np.concatenate([batch.column("pfn") for batch in kept]).tolist() == list(range(100))
        assert content(trace)["task"][0] == list(range(100))
        assert set(trace.columns) <= set(COLUMNS)
