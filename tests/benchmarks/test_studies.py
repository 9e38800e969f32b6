"""The tables in the documents are what the studies give."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import pytest

from benchmarks.studies import generate_speed, import_speed, pmem_as_ram, walker_patterns
from benchmarks.studies.document import found, replaced
from replay.trace.schema import EventKind

DOCS = Path(__file__).parents[2] / "docs"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


@pytest.mark.slow
def test_walkers_walk_as_recorded_ones_do() -> None:
    table = walker_patterns.table()
    assert table == found((DOCS / "synthetic.md").read_text(), "walker-patterns")
    rows = [cells(line) for line in table.splitlines()[2:]]
    assert {row[0] for row in rows} >= {"offline", "pageblock-contiguity", "damon", "kpageflags", "zone-shrink"}
    assert [row for row in rows if row[-1] != "yes"] == []


@pytest.mark.slow
@pytest.mark.parametrize("rate", pmem_as_ram.RATES)
def test_errors_of_the_study(rate: int) -> None:
    """The first table, counted from the rows: MEMORY_FAILURE is what software runs into."""

    def consumed(seed: int, *, scan: bool) -> int:
        made = pmem_as_ram.generation(rate, seed, scan=scan)
        return int(np.count_nonzero(made.stretch(0, made.rows)["kind"][0] == EventKind.MEMORY_FAILURE))

    counts = {scan: [consumed(seed, scan=scan) for seed in pmem_as_ram.SEEDS] for scan in (False, True)}
    table = found((DOCS / "studies" / "pmem-as-ram.md").read_text(), "errors")
    (row,) = (cells(line) for line in table.splitlines() if cells(line)[0] == f"{rate:,}")
    spared = [a - b for a, b in zip(counts[False], counts[True], strict=True)]
    assert row[1:4] == [pmem_as_ram.spread(values) for values in (counts[False], counts[True], spared)]
    assert row[4] == f"{sum(spared) / sum(counts[False]):.1%}"


@pytest.mark.slow
def test_fates_of_the_study() -> None:
    """The second table, replayed: its row for the lowest rate and the newest kernel."""
    rate, kernel = pmem_as_ram.RATES[0], pmem_as_ram.KERNELS[-1]
    table = found((DOCS / "studies" / "pmem-as-ram.md").read_text(), "fates")
    (row,) = (cells(line) for line in table.splitlines() if cells(line)[:2] == [f"{rate:,}", kernel])
    for cell, scan in zip(row[2:], (False, True), strict=True):
        runs = [pmem_as_ram.outcomes(rate, seed, scan=scan, kernels=[kernel])[0] for seed in pmem_as_ram.SEEDS]
        assert cell == pmem_as_ram.fates(runs)
        assert statistics.fmean(o.consumed for o in runs) >= statistics.fmean(o.recovered for o in runs)


def test_speeds_are_of_finished_traces(tmp_path: Path) -> None:
    assert all(value > 0 for value in generate_speed.measure("random", str(tmp_path), rows=1000))
    assert not list(tmp_path.iterdir())


def test_a_table_is_put_between_its_marks() -> None:
    text = "a\n<!-- t -->\nold\n<!-- end -->\nb\n<!-- u -->\nx\n<!-- end -->\n"
    assert found(replaced(text, "t", "new\n"), "t") == "new\n"
    assert found(replaced(text, "t", "new\n"), "u") == "x\n"


@pytest.mark.parametrize("source", import_speed.SOURCES)
def test_speeds_are_of_whole_imports(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line or event of the input is accounted for; an import that loses some gives no figure."""
    run = import_speed.measure(source, 2000, str(tmp_path), rounds=1)
    assert run["found"] == 2000
    assert 0 < run["rows"] < 3000  # some are assumed pagemaps
    assert run["seconds"] > 0
    assert run["peak"] > 1 << 20
    assert not list(tmp_path.iterdir())
    whole = import_speed.make
    monkeypatch.setattr(import_speed, "make", lambda source, path, count: whole(source, path, count - 2))
    with pytest.raises(ValueError, match="2000 in the input, 1998 in the trace"):
        import_speed.measure(source, 2000, str(tmp_path), rounds=1)
