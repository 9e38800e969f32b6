"""The scalar reference against real kernels: nothing that a recording says about the walk may differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay.kernel.profiles import profile
from replay.scalar import replay_trace
from replay.scalar.rows import rows_of
from replay.trace.reader import TraceFile
from replay.trace.schema import DUMPS, LOOKUPS, TRANSITIONS, EventKind

TRACES = Path(__file__).parents[2] / "traces" / "recorded"
NAMES = (
    "5.10.223-s3-hotplug",
    "6.1.192-s3-hotplug",
    "6.1.192-s4-kmem",
    "6.12.107-s4-kmem",
    "7.2.13-s3-hotplug",
    "7.2.13-s2a-pmem-collision",
)
ASPECTS = (("match", "recorded_ret"), ("slow_match", "recorded_slow"), ("pgmap_match", "recorded_pgmap"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_recording(name: str) -> None:
    path = TRACES / f"{name}.arrow"
    if not path.exists():
        pytest.skip("recording not present")
    compared = 0
    with TraceFile.open(path) as trace:
        outcomes = replay_trace(trace, profile("v" + trace.machine.kernel).features)
        for number, (row, outcome) in enumerate(zip(rows_of(trace), outcomes, strict=True)):
            kind = EventKind(row["kind"] or 0)
            if kind in DUMPS:
                assert outcome["match"] or outcome["race"], (number, row, outcome)
                continue
            if kind not in LOOKUPS | TRANSITIONS:
                continue
            pages = 1 if kind in TRANSITIONS else row["nr_pages"] or 1
            for column, recorded in ASPECTS:
                if row.get(recorded) is not None:
                    found, race = outcome[column], outcome["race"]
                    assert isinstance(found, int)
                    assert isinstance(race, int)
                    assert found + race >= pages, (number, row, outcome)
                    compared += pages
    assert compared > 1000
