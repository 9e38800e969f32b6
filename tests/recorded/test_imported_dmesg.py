"""The log of each recording, imported alone, tells the same errors in the same order as its trace.

The traces were imported from ftrace; the logs are what the kernel printed meanwhile.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from replay.sources.importers.events.kernel_log import import_log
from replay.sources.importers.events.machine import MachineSource
from replay.sources.importers.events.text import EventOptions
from replay.sources.importers.rejects import Rejects
from replay.trace.reader import TraceFile
from replay.trace.schema import EventKind
from tests.recorded.replayed import FOLDER
from tests.recorded.test_dmesg import RECORDED, WITH_LOG

Verdict = tuple[int, int, int]


def verdicts(path: Path) -> list[Verdict]:
    """Return pfn, page type and result of every memory_failure that reported an action."""
    found: list[Verdict] = []
    with TraceFile.open(path) as trace:
        for batch in trace.batches():
            given = batch.given("recorded_result")
            rows = np.flatnonzero((batch.column("kind") == EventKind.MEMORY_FAILURE) & given)
            columns = (batch.column(name)[rows].tolist() for name in ("pfn", "recorded_type", "recorded_result"))
            found += zip(*columns, strict=True)
    return found


@pytest.mark.parametrize("name", WITH_LOG)
def test_log_and_trace_tell_the_same(tmp_path: Path, name: str) -> None:
    recorded = FOLDER / f"{name}.arrow"
    table = Rejects(name)
    options = EventOptions(MachineSource(trace=recorded))
    report = import_log(RECORDED / f"{name}.txt.gz", tmp_path / "t.arrow", options, table)
    assert table.count == 0
    assert verdicts(tmp_path / "t.arrow") == verdicts(recorded)
    assert report.events["memory_failure"] == len(verdicts(recorded)) > 0


def test_the_comparison_can_fail(tmp_path: Path) -> None:
    """Under the name of another kernel the same words are other numbers."""
    options = EventOptions(MachineSource(trace=FOLDER / "5.10.223-s2p-raw.arrow", kernel="6.12.107"))
    import_log(RECORDED / "5.10.223-s2p-raw.txt.gz", tmp_path / "t.arrow", options, Rejects("x"))
    assert verdicts(tmp_path / "t.arrow") != verdicts(FOLDER / "5.10.223-s2p-raw.arrow")
