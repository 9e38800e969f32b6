"""Trace files: reading, checking, digests, writing."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.workloads import WORKLOADS
from replay.trace.digest import Digester
from replay.trace.header import Provenance
from replay.trace.reader import TraceFile
from replay.trace.validate import RowChecker
from replay.trace.writer import TraceWriter

CODECS = [None, "lz4", "zstd"]


@pytest.mark.parametrize("verify", [True, False], ids=["checked", "unchecked"])
@pytest.mark.parametrize("codec", CODECS)
def test_batches(benchmark, rows, note, tmp_path, codec: str | None, verify: bool) -> None:
    """Opening a file and streaming all its rows gives what was written."""
    count = rows(1 << 20)
    WORKLOADS["mixed-1"].write(str(tmp_path / "t.arrow"), count, compression=codec, prologue=False)
    expected = sum(int(b.column("pfn").sum()) for b in WORKLOADS["mixed-1"].batches(count))

    def read() -> int:
        with TraceFile.open(tmp_path / "t.arrow", verify=verify) as trace:
            return sum(int(batch.column("pfn").sum()) for batch in trace.batches())

    assert benchmark(read) == expected
    note(count, expected)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("name", ["random", "hot"])
def test_writer(benchmark, rows, note, tmp_path, name: str, codec: str | None) -> None:
    """The same rows give the same digest, however they are stored."""
    count = rows(1 << 18)
    workload = WORKLOADS[name]
    (chunk,) = workload.chunks(count, chunk_rows=count)
    columns = {key: values if given is None else (values, given) for key, (values, given) in chunk.items()}

    def write() -> str:
        provenance = Provenance("synthetic", name, clock="generated")
        options = {"machine": workload.machine, "provenance": provenance, "compression": codec}
        with TraceWriter(tmp_path / "t.arrow", columns=sorted(columns), **options) as writer:
            writer.write(columns)
        return writer.digest

    digest = benchmark(write)
    with TraceFile.open(tmp_path / "t.arrow") as trace:
        assert trace.digest == digest
        assert trace.rows == count
        assert sum(len(batch) for batch in trace.batches()) == count
    note(count, digest)


@pytest.mark.parametrize("name", ["random", "runs-1e6", "mixed-1", "hot"])
def test_row_checker(benchmark, rows, note, name: str) -> None:
    """Sound rows pass, all of them."""
    (batch,) = WORKLOADS[name].batches(rows(1 << 20), chunk_rows=rows(1 << 20))
    checked = benchmark.pedantic(
        lambda checker: checker.check(batch),
        setup=lambda: ((RowChecker(WORKLOADS[name].machine, 0, name),), {}),
        rounds=5,
    )
    np.testing.assert_array_equal(checked.column("pfn"), batch.column("pfn"))
    note(len(batch), int(batch.column("pfn").sum()))


def test_digester(benchmark, rows, note) -> None:
    """Digests are those of the same rows in two halves."""
    count = rows(1 << 20)
    workload = WORKLOADS["mixed-1"]
    (batch,) = workload.batches(count, chunk_rows=count)
    names = batch.stored_names

    def digests() -> dict[str, str]:
        digester = Digester(names)
        digester.update(batch)
        return digester.hexdigests()

    found = benchmark(digests)
    halves = Digester(names)
    for part in (slice(0, count // 2), slice(count // 2, count)):
        halves.update(_Part(batch, part))  # type: ignore[arg-type]
    assert found == halves.hexdigests()
    note(count, found)


class _Part:
    """Some rows of a batch."""

    def __init__(self, batch, part: slice) -> None:
        self.batch, self.part = batch, part

    def stored(self, name: str):
        return self.batch.stored(name)[self.part]

    def given(self, name: str):
        given = self.batch.given(name)
        return given if isinstance(given, bool) else given[self.part]


def test_columns_with_nulls(benchmark, rows, note, tmp_path) -> None:
    """Unpacking validity bits: ``given`` and ``column`` of a column that some rows leave out."""
    count = rows(1 << 20)
    WORKLOADS["hot"].write(str(tmp_path / "t.arrow"), count, prologue=False)

    def read() -> tuple[int, int]:
        with TraceFile.open(tmp_path / "t.arrow", verify=False) as trace:
            pairs = [(batch.given("flags"), batch.column("flags")) for batch in trace.batches()]
        return sum(int(np.sum(given)) for given, _ in pairs), sum(int(np.count_nonzero(f)) for _, f in pairs)

    given, flagged = benchmark(read)
    batches = list(WORKLOADS["hot"].batches(count))
    assert given == sum(int(np.sum(b.given("flags"))) for b in batches)
    assert flagged == sum(int(np.count_nonzero(b.column("flags"))) for b in batches)
    note(count, (given, flagged))
