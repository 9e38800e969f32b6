"""What is written is what is read, however it is stored and fed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.errors import InvariantError, UnknownNameError, UsageError
from replay.trace import COLUMNS, EventKind, TraceFile, TraceWriter, write_trace
from replay.trace.layout import read_layout
from tests.trace.build import MACHINE, PROVENANCE, columns, content, lookup, write

FREE = [  # columns that a lookup row may give any value in
    name for name in COLUMNS if name.startswith("recorded_") and name not in {"recorded_slow", "recorded_result"}
] + ["call", "task", "node", "flags", "start", "value", "vaddr", "key", "window"]  # fmt: skip


@st.composite
def traces(draw):
    rows = draw(st.integers(0, 40))
    names = draw(st.lists(st.sampled_from(FREE), unique=True, max_size=5))
    seed = draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    data = {
        "time": np.sort(rng.integers(0, 1 << 63, rows, dtype=np.uint64)),
        "kind": rng.integers(1, 4, rows, dtype=np.uint8),
        "pfn": rng.integers(0, 1 << 40, rows, dtype=np.uint64),
    }
    for name in names:
        limits = np.iinfo(COLUMNS[name].dtype)
        values = rng.integers(limits.min, limits.max, rows, dtype=COLUMNS[name].numpy, endpoint=True)
        share = draw(st.sampled_from([0.0, 0.5, 1.0, None]))
        data[name] = values if share is None else (values, rng.random(rows) < share)
    return data


def sliced(data, start, end):
    return {k: tuple(p[start:end] for p in v) if isinstance(v, tuple) else v[start:end] for k, v in data.items()}


def expected(data):
    result = {}
    for name in COLUMNS:
        if name in data:
            values, mask = data[name] if isinstance(data[name], tuple) else (data[name], np.ones(len(data[name]), bool))
            result[name] = (np.where(mask, values, COLUMNS[name].default or 0).tolist(), mask.tolist())
    return result


@settings(max_examples=40, deadline=None)
@given(data=traces(), batch_rows=st.integers(1, 50), compression=st.sampled_from([None, "lz4", "zstd"]), cut=st.data())
def test_reads_back_what_was_written_whatever_the_storage(tmp_path_factory, data, batch_rows, compression, cut):
    folder = tmp_path_factory.mktemp("round")
    rows = len(data["time"])
    reference = write_trace(folder / "reference.arrow", data, machine=MACHINE, provenance=PROVENANCE)
    writer = TraceWriter(
        folder / "a.arrow",
        machine=MACHINE,
        provenance=PROVENANCE,
        columns=tuple(reversed(data)),
        compression=compression,
        batch_rows=batch_rows,
    )
    with writer:
        start = 0
        while start < rows:
            end = cut.draw(st.integers(start + 1, rows))
            writer.write(sliced(data, start, end))
            start = end
    with TraceFile.open(folder / "a.arrow") as trace:
        assert trace.digest == writer.digest == reference
        assert trace.rows == rows
        assert trace.compressed == (compression if rows else None)
        assert content(trace) == expected(data)
        assert content(trace) == expected(data)  # a second pass, which is not checked again
    with TraceFile.open(folder / "a.arrow", verify=False) as trace:
        assert content(trace) == expected(data)
    shutil.rmtree(folder)


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_same_input_gives_the_same_bytes_however_it_is_fed(tmp_path, compression):
    data = columns(*(lookup(n, recorded_ret=n % 2) if n % 3 else lookup(n) for n in range(100)))
    files = []
    for feed in (100, 1, 7, 64):
        path = tmp_path / f"{feed}.arrow"
        options = {"columns": tuple(data), "compression": compression, "batch_rows": 16}
        with TraceWriter(path, machine=MACHINE, provenance=PROVENANCE, **options) as writer:
            for start in range(0, 100, feed):
                writer.write(sliced(data, start, start + feed))
        files.append(path.read_bytes())
    assert len(set(files)) == 1


def test_header_is_read_back(tmp_path):
    path = write(tmp_path / "a.arrow", lookup(1), strings=["a", "b\n", "é"])
    with TraceFile.open(path) as trace:
        assert trace.machine == MACHINE
        assert trace.provenance == PROVENANCE
        assert trace.strings == ("a", "b\n", "é")
        assert trace.format == (1, 0)
        assert trace.columns == ("time", "kind", "pfn")
        assert trace.path == str(path)
        assert repr(trace).startswith("TraceFile(")


def test_a_trace_without_rows_is_a_trace(tmp_path):
    with TraceFile.open(write(tmp_path / "a.arrow")) as trace:
        assert trace.rows == 0
        assert list(trace.batches()) == []
        trace.verify()


def test_columns_are_views_of_the_file_when_it_is_not_compressed(tmp_path):
    with TraceFile.open(write(tmp_path / "a.arrow", *(lookup(n) for n in range(9)))) as trace:
        (batch,) = trace.batches()
        for name in ("time", "kind", "pfn"):
            assert not batch.column(name).flags.owndata
            assert not batch.column(name).flags.writeable
        assert batch.column("pfn") is batch.column("pfn")


def test_arrays_outlive_the_file(tmp_path):
    path = write(tmp_path / "a.arrow", lookup(5), lookup(6))
    with TraceFile.open(path) as trace:
        (batch,) = trace.batches()
    path.unlink()
    assert batch.column("pfn").tolist() == [5, 6]
    with pytest.raises(InvariantError, match="closed"):
        list(trace.batches())


def test_null_and_absence_read_as_the_default(tmp_path):
    events = (lookup(1, nr_pages=7, stride=-1, window=3), lookup(8), lookup(9))
    events[0]["pfn"] = 10
    with TraceFile.open(write(tmp_path / "a.arrow", *events)) as trace:
        (batch,) = trace.batches()
        assert batch.column("nr_pages").tolist() == [7, 1, 1]
        assert batch.column("stride").tolist() == [-1, 1, 1]
        assert batch.column("window").tolist() == [3, 0, 0]
        assert batch.column("phase").tolist() == [0, 0, 0]
        assert batch.column("phase").dtype == np.uint8
        assert batch.given("nr_pages").tolist() == [True, False, False]
        assert batch.given("pfn") is True
        assert batch.given("phase") is False
        assert (batch.row, len(batch)) == (0, 3)


def test_a_column_declared_but_never_written_is_null(tmp_path):
    options = {"machine": MACHINE, "provenance": PROVENANCE, "columns": ("time", "kind", "pfn", "task")}
    with TraceWriter(tmp_path / "a.arrow", **options) as writer:
        writer.write({"time": [1, 2], "kind": [1, 1], "pfn": [3, 4]})
    with TraceFile.open(tmp_path / "a.arrow") as trace:
        assert trace.columns == ("time", "kind", "pfn", "task")
        assert next(trace.batches()).given("task") is False


def test_only_columns_asked_for_are_answered(tmp_path):
    with TraceFile.open(write(tmp_path / "a.arrow", lookup(1))) as trace:
        (batch,) = trace.batches(["pfn"])
        assert batch.column("pfn").tolist() == [1]
        with pytest.raises(InvariantError, match="'kind' was not asked for"):
            batch.column("kind")
        with pytest.raises(UnknownNameError, match="did you mean pfn"):
            batch.column("pfns")
        with pytest.raises(UnknownNameError):
            trace.batches(["pfns"])


def test_no_validity_bitmap_without_nulls(tmp_path):
    path = write(tmp_path / "a.arrow", lookup(1), lookup(2))
    batch = pa.ipc.open_file(path).get_batch(0)
    assert all(column.buffers()[0] is None for column in batch.columns)


def test_null_slots_hold_zero_whatever_the_caller_left_there(tmp_path):
    mask = np.array([True, False])
    data = {"time": [1, 2], "kind": [1, 1], "pfn": [1, 2], "task": (np.array([-0, -77]), mask)}
    write_trace(tmp_path / "a.arrow", data, machine=MACHINE, provenance=PROVENANCE)
    values = pa.ipc.open_file(tmp_path / "a.arrow").get_batch(0).column("task").buffers()[1]
    assert np.frombuffer(values, np.uint32, 2).tolist() == [0, 0]


def test_the_writer_keeps_no_view_of_arrays_that_the_caller_reuses(tmp_path):
    options = {"machine": MACHINE, "provenance": PROVENANCE, "columns": ("time", "kind", "pfn")}
    pfn = np.zeros(3, np.uint64)
    with TraceWriter(tmp_path / "a.arrow", **options) as writer:
        for value in (1, 2):
            pfn[:] = value
            writer.write({"time": [value] * 3, "kind": [1] * 3, "pfn": pfn})
    with TraceFile.open(tmp_path / "a.arrow") as trace:
        assert content(trace)["pfn"][0] == [1, 1, 1, 2, 2, 2]


def test_identity_covers_header_and_rows_and_presence_of_columns(tmp_path):
    variants = [
        write(tmp_path / "0", lookup(1)),
        write(tmp_path / "1", lookup(2)),
        write(tmp_path / "2", lookup(1, task=0)),
        write(tmp_path / "3", lookup(1), strings=["x"]),
        write(tmp_path / "4", lookup(1, EventKind.PFN_VALID)),
        write(tmp_path / "5", lookup(1), lookup(1)),
    ]
    assert len({TraceFile.open(path).digest for path in variants}) == len(variants)


def test_null_and_zero_have_different_digests(tmp_path):
    a = write(tmp_path / "a", lookup(1, task=0), lookup(2))
    b = write(tmp_path / "b", lookup(1), lookup(2, task=0))
    assert TraceFile.open(a).digest != TraceFile.open(b).digest


def test_the_file_is_plain_arrow_for_everyone_else(tmp_path):
    import polars as pl

    path = write(tmp_path / "a.arrow", *(lookup(n, task=n) if n % 2 else lookup(n) for n in range(6)), batch_rows=4)
    frame = pl.from_arrow(pa.ipc.open_file(path).read_all())
    assert frame["pfn"].to_list() == list(range(6))
    assert frame["task"].to_list() == [None, 1, None, 3, None, 5]


def test_layout_finds_what_arrow_finds(tmp_path):
    path = write(tmp_path / "a.arrow", *(lookup(n) for n in range(10)), batch_rows=3)
    layout = read_layout(memoryview(path.read_bytes()), "a")
    assert len(layout.blocks) == pa.ipc.open_file(path).num_record_batches == 4


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"columns": ("time", "kind", "pfns")}, UnknownNameError, "did you mean pfn"),
        ({"columns": ("time", "pfn")}, UsageError, "without column 'kind'"),
        ({"compression": "gzip"}, UnknownNameError, "compression"),
        ({"batch_rows": 0}, UsageError, "batch_rows"),
        ({"batch_rows": 1 << 30}, UsageError, "batch_rows"),
    ],
)
def test_impossible_requests_are_refused_before_anything_is_written(tmp_path, options, error, message):
    options = {"machine": MACHINE, "provenance": PROVENANCE, "columns": ("time", "kind"), **options}
    with pytest.raises(error, match=message):
        TraceWriter(tmp_path / "a.arrow", **options)
    assert not list(tmp_path.iterdir())


def test_the_file_size_is_that_of_its_columns(tmp_path):
    path = write(Path(tmp_path) / "a.arrow", *(lookup(n) for n in range(4096)))
    assert path.stat().st_size < 4096 * (8 + 1 + 8) + 6000
