"""Generating traces: rows made, rows written."""

from __future__ import annotations

import pytest

from replay.sources.synthetic.generator import Generation


@pytest.mark.parametrize("name", ["random", "compaction", "damon", "kpageflags", "production"])
def test_rows(benchmark, rows, note, name: str) -> None:
    """A stretch has the rows that were asked for, the same in every round."""
    count = rows(1 << 20)
    made = Generation(name, machine="server", events=count)
    columns = benchmark(made.stretch, 0, count)
    assert {len(values) for values, _ in columns.values()} == {count}
    note(count, {column: str(values.sum()) for column, (values, _) in columns.items()})


@pytest.mark.parametrize("name", ["random", "compaction"])
def test_file(benchmark, rows, note, tmp_path, name: str) -> None:
    """A file has the same identity in every round."""
    made = Generation(name, machine="server", events=rows(1 << 20))
    digests = set()
    benchmark(lambda: digests.add(made.write(tmp_path / "t.arrow").digest))
    assert len(digests) == 1
    note(made.rows, digests.pop())
