"""The log of each recording, imported alone, tells the same errors in the same order as its trace.

The traces were imported from ftrace; the logs are what the kernel printed meanwhile.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from replay.session import run
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


@pytest.mark.parametrize("known", [True, False], ids=["machine", "kernel"])
@pytest.mark.parametrize("name", WITH_LOG)
def test_a_replay_of_the_log_does_not_differ(tmp_path: Path, name: str, known: bool) -> None:
    """A log tells of no pagemap and of no hot-added memory: what it implies is assumed, so nothing is decided falsely."""
    source = (
        MachineSource(trace=FOLDER / f"{name}.arrow") if known else MachineSource(kernel=name.split("-", maxsplit=1)[0])
    )
    import_log(RECORDED / f"{name}.txt.gz", tmp_path / "t.arrow", EventOptions(source), Rejects(name))
    agreement = run(tmp_path / "t.arrow").to_dict()["agreement"]["poison action"]
    assert agreement["differed"] == 0
    assert agreement["recorded"] == len(verdicts(FOLDER / f"{name}.arrow"))


def test_assumed_pagemaps_come_and_go(tmp_path: Path) -> None:
    """Of one page, the log of v7.2 says both that it was a dax page and that it had no struct page: at other times."""
    name = "7.2.13-s6-poison-dax"
    report = import_log(RECORDED / f"{name}.txt.gz", tmp_path / "t.arrow", EventOptions(MachineSource(kernel="7.2.13")),
                        Rejects(name))  # fmt: skip
    assert any("102 pagemaps are assumed" in note for note in report.warnings)
    result = run(tmp_path / "t.arrow").to_dict()
    agreement = result["agreement"]["poison action"]
    assert (agreement["compared"], agreement["agreed"], agreement["differed"]) == (227, 227, 0)


def test_the_comparison_can_fail(tmp_path: Path) -> None:
    """Under the name of another kernel the same words are other numbers."""
    options = EventOptions(MachineSource(trace=FOLDER / "5.10.223-s2p-raw.arrow", kernel="6.12.107"))
    import_log(RECORDED / "5.10.223-s2p-raw.txt.gz", tmp_path / "t.arrow", options, Rejects("x"))
    assert verdicts(tmp_path / "t.arrow") != verdicts(FOLDER / "5.10.223-s2p-raw.arrow")
