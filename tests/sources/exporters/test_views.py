"""Perfetto and oracleGeneral: what they show, and that they say what they lose."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.errors import InputError, UnknownNameError
from replay.session import run
from replay.sources.exporters.convert import convert
from replay.sources.exporters.oracle import RECORD, _next_requests
from replay.trace.reader import TraceFile
from replay.trace.schema import EventKind, Phase
from tests.trace.build import lookup, write

RECORDED = Path(__file__).parents[3] / "traces" / "recorded"


def events(path: Path) -> list[dict[str, object]]:
    document = json.loads(path.read_text())
    assert set(document) == {"displayTimeUnit", "otherData", "traceEvents"}
    for event in document["traceEvents"]:
        assert event["ph"] in {"M", "i", "b", "n", "e"}
        assert event["ph"] == "M" or isinstance(event["ts"], int | float)
        assert ("id" in event) == (event["ph"] in {"b", "n", "e"})
    return [event for event in document["traceEvents"] if event["ph"] != "M"]


def test_oracle_general(tmp_path: Path) -> None:
    """A request for every pfn of a run, in its order; the next request of a pfn by its number from 1, or -1."""
    path = write(
        tmp_path / "a.arrow",
        {"kind": EventKind.MARK, "label": 0, "time": 5_000_000_000},
        lookup(10, nr_pages=3, time=6_500_000_000),
        lookup(12, kind=EventKind.PFN_VALID, nr_pages=2, stride=-1, time=8_000_000_000),
        {"kind": EventKind.REGION_INTERSECTS, "start": 0, "size": 4096, "time": 8_000_000_000},
        lookup(10, kind=EventKind.GET_DEV_PAGEMAP, time=9_000_000_000),
        strings=["mark"],
    )
    done = convert(str(path), str(tmp_path / "a.oracleGeneral"))
    assert RECORD.itemsize == 24
    records = np.fromfile(tmp_path / "a.oracleGeneral", RECORD)
    assert done.written == len(records) == 6
    assert records["id"].tolist() == [10, 11, 12, 12, 11, 10]
    assert records["time"].tolist() == [1, 1, 1, 3, 3, 4]
    assert records["next"].tolist() == [6, 5, 4, -1, -1, -1]
    assert set(records["size"].tolist()) == {4096}
    assert any("whole seconds" in what for what in done.loses)


@given(st.lists(st.integers(0, 5), max_size=30))
def test_next_requests(ids: list[int]) -> None:
    expected = [next((j + 1 for j in range(i + 1, len(ids)) if ids[j] == ids[i]), -1) for i in range(len(ids))]
    assert _next_requests(np.array(ids, np.uint64)).tolist() == expected


def test_oracle_general_of_a_recording(tmp_path: Path) -> None:
    source = RECORDED / "6.1.192-s1-walk-boot.arrow"
    done = convert(str(source), str(tmp_path / "a.oracleGeneral"))
    assert (tmp_path / "a.oracleGeneral").stat().st_size == 24 * done.written
    assert done.written == run(source).tally.pages


def test_too_many_lookups(tmp_path: Path) -> None:
    path = write(tmp_path / "a.arrow", lookup(0, nr_pages=1 << 30), lookup(0, nr_pages=1 << 40))
    with pytest.raises(InputError, match=r"more lookups.*at most 134,217,728"):
        convert(str(path), str(tmp_path / "a.oracleGeneral"))
    assert not (tmp_path / "a.oracleGeneral").exists()


def test_perfetto_events(tmp_path: Path) -> None:
    """An instant for each row, a slice for a call of several rows; times from 0, to the nanosecond."""
    begin = {
        "kind": EventKind.ADD_MEMORY,
        "pfn": 0x140000,
        "nr_pages": 0x8000,
        "label": 0,
        "call": 7,
        "phase": Phase.BEGIN,
    }
    path = write(
        tmp_path / "a.arrow",
        lookup(0x100, time=1 << 60),
        begin | {"time": (1 << 60) + 1},
        begin | {"time": (1 << 60) + 2, "phase": Phase.SECTIONS},
        begin | {"time": (1 << 60) + 1_234_567, "phase": Phase.DONE},
        {"kind": EventKind.MARK, "label": 1, "time": (1 << 60) + 2_000_000},
        strings=["System RAM", "the end"],
    )
    done = convert(str(path), str(tmp_path / "a.perfetto.json"))
    found = events(tmp_path / "a.perfetto.json")
    assert done.written == len(found) == 5
    assert [(e["ph"], e["name"], e["ts"]) for e in found] == [
        ("i", "pfn_to_online_page", 0.0), ("b", "add_memory", 0.001), ("n", "add_memory", 0.002),
        ("e", "add_memory", 1234.567), ("i", "the end", 2000.0),
    ]  # fmt: skip
    assert found[0]["args"]["pfn"] == "0x100"
    assert found[1]["args"]["label"] == "System RAM"
    assert [e["tid"] for e in found] == [1, 2, 2, 2, 6]


def test_perfetto_verdicts(tmp_path: Path) -> None:
    """With a kernel, each event has what it decided; what is not the recorded answer stands on a track of its own."""
    path = write(
        tmp_path / "a.arrow",
        lookup(0x100, nr_pages=8, recorded_ret=1),
        lookup(0x80000, recorded_ret=1),
        lookup(0x80001),
        {"kind": EventKind.MEMORY_FAILURE, "pfn": 0x80000, "recorded_ret": -6},
    )
    convert(str(path), str(tmp_path / "a.json"), profile="v6.1")
    found = events(tmp_path / "a.json")
    verdicts = [e["args"]["verdict"] for e in found if e["tid"] != 7]
    assert [v.get("pages") for v in verdicts] == [8, 0, 0, None]
    assert verdicts[0]["check"] != verdicts[1]["check"] == verdicts[2]["check"]
    assert (verdicts[3]["ret"], verdicts[3]["counted"]) == (-6, 0)
    assert [(e["name"], e["args"]["pfn"]) for e in found if e["tid"] == 7] == [("pfn_to_online_page", "0x80000")]


def test_perfetto_of_a_recording(tmp_path: Path) -> None:
    """Its own kernel gives every recorded answer; every row is there."""
    source = RECORDED / "5.10.223-s1-walk-boot.arrow"
    convert(str(source), str(tmp_path / "a.json"), profile="v5.10.223")
    found = events(tmp_path / "a.json")
    with TraceFile.open(source) as trace:
        assert len(found) == trace.rows
    assert all("verdict" in e["args"] and e["tid"] < 7 for e in found)


def test_unknown_kernels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.arrow", lookup(1))
    with pytest.raises(UnknownNameError, match="unknown profile"):
        convert(str(path), str(tmp_path / "a.json"), profile="v9")
    assert [p.name for p in tmp_path.iterdir()] == ["a.arrow"]
