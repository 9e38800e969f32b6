"""Fleets: every machine another one, the fleet always the same."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from replay.errors import UsageError
from replay.sources.synthetic.fleet import fleet, write_one
from replay.trace.reader import TraceFile


def test_machines_differ_and_fleets_do_not(tmp_path: Path) -> None:
    plan = {
        "workload": "errors",
        "plans": ("plain", "guest"),
        "kernels": ("5.10", "6.1", "7.2"),
        "events": 50,
        "seed": 4,
    }
    one, two = (fleet(8, **plan) for _ in range(2))  # type: ignore[arg-type]
    assert one == two
    assert [g.machine for g in one] == ["plain", "guest"] * 4
    assert {g.settings["kernel"] for g in one} == {"5.10", "6.1", "7.2"}
    assert len({g.seed for g in one}) == 8
    assert fleet(3, **plan) == one[:3]  # type: ignore[arg-type]
    told: list[tuple[int, int]] = []
    facts = write_one(
        (pickle.loads(pickle.dumps(one[0])), str(tmp_path / "m.arrow"), "zstd"), lambda *n: told.append(n)
    )
    with TraceFile.open(tmp_path / "m.arrow") as trace:
        assert trace.digest == facts["digest"]
        assert trace.provenance.command == facts["command"]
    assert told[-1] == (50, 50)


def test_what_is_wrong_is_said_before_anything_is_written() -> None:
    with pytest.raises(UsageError, match="unknown machine 'gest'"):
        fleet(4, plans=("plain", "gest"))
    with pytest.raises(UsageError, match="unknown workload"):
        fleet(4, workload="nothing")
    with pytest.raises(UsageError, match="--machines 0; needed 1 to 100,000"):
        fleet(0)
    with pytest.raises(UsageError, match=r"kernel=6\.13: needed one of"):
        fleet(4, kernels=("6.13",))
    with pytest.raises(UsageError, match="--events 0"):
        fleet(2, events=0)
