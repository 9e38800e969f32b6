"""Importing event text: lines per second of one core, and memory that does not grow with the input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.event_text import log_lines, lookup_lines
from benchmarks.studies import import_speed
from replay.sources.importers.events.kernel_log import import_log
from replay.sources.importers.events.machine import MachineSource
from replay.sources.importers.events.text import EventOptions, import_text
from replay.sources.importers.rejects import Rejects
from replay.trace.schema import LOOKUPS

OPTIONS = EventOptions(MachineSource(kernel="6.1.192"))


def test_import_rasdaemon(benchmark, rows, note, tmp_path) -> None:
    """Half memory failures, half corrected errors."""
    count = rows(200_000, 2000)
    import_speed.make("rasdaemon", tmp_path / "db", count)
    found = benchmark(lambda: import_speed.load("rasdaemon", tmp_path / "db", tmp_path / "t.arrow"))
    assert found == count
    note(count, found)


def written(path: Path, lines: Iterator[str]) -> Path:
    with path.open("w") as file:
        file.writelines(lines)
    return path


@pytest.mark.parametrize("form", ["ftrace", "perf"])
def test_import_text(benchmark, rows, note, tmp_path, form: str) -> None:
    """Every lookup of the text is in the trace."""
    count = rows(1_000_000, 2000)
    path = written(tmp_path / "text", lookup_lines(count, form))
    report = benchmark(lambda: import_text(path, tmp_path / "t.arrow", form, OPTIONS, Rejects("text")))
    assert sum(n for kind, n in report.events.items() if kind in {k.name.lower() for k in LOOKUPS}) == count // 2
    assert not report.rejected
    assert not report.unused
    note(count, report.events)


def test_import_log(benchmark, rows, note, tmp_path) -> None:
    """Every tenth line of the log is a memory error."""
    count = rows(1_000_000, 2000)
    path = written(tmp_path / "log", log_lines(count))
    report = benchmark(lambda: import_log(path, tmp_path / "t.arrow", OPTIONS, Rejects("log")))
    assert report.events == {"memory_failure": count // 10}
    note(count, report.events)
