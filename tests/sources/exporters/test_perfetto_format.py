"""The JSON export against the rules of the Trace Event Format, as a loader reads it: nothing dropped, nothing moved.

Perfetto's own loader is a program that its Python package only downloads, so the rules that it and the format's document
state are held here: which fields an event of each phase must have and of which type, how slices are put together (by
category, id and name), and that times are microseconds whose fraction holds the nanoseconds.
"""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from replay.sources.exporters.convert import convert
from replay.sources.exporters.perfetto import TRACKS
from replay.trace.reader import TraceFile
from replay.trace.schema import KINDS, EventKind, Phase

RECORDED = Path(__file__).parents[3] / "traces" / "recorded"
NAMES = ("7.2.13-s3-hotplug", "6.1.192-s4-kmem", "5.10.223-s5-poison-ram", "6.12.107-s2a-pmem-collision")
NEEDED: dict[str, dict[str, type | tuple[type, ...]]] = {
    "M": {"name": str, "pid": int, "args": dict},
    "i": {"name": str, "pid": int, "tid": int, "ts": Decimal, "s": str},
    **{phase: {"name": str, "pid": int, "tid": int, "ts": Decimal, "cat": str, "id": str} for phase in "bne"},
}


def load(path: Path) -> list[dict[str, Any]]:
    """Return the events, each with what its phase must have."""

    def constant(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    document = json.loads(path.read_bytes().decode("ascii"), parse_float=Decimal, parse_constant=constant)
    assert document["displayTimeUnit"] in {"ms", "ns"}
    events: list[dict[str, Any]] = document["traceEvents"]
    for event in events:
        for name, kind in NEEDED[event["ph"]].items():
            assert isinstance(event[name], kind), (name, event)
        assert not isinstance(event["pid"], bool)
        assert 0 < event["pid"] < 1 << 32
        assert event.get("s", "t") in {"g", "p", "t"}
        assert event["ph"] == "M" or event["ts"] >= 0
        assert all(-(1 << 63) <= value < 1 << 63 for value in event["args"].values() if isinstance(value, int))
    return events


def slices(events: list[dict[str, Any]]) -> list[tuple[str, str, Decimal, Decimal]]:
    """Return name, id, time and length of the slices that begins and ends make."""
    open_: dict[tuple[str, ...], list[Decimal]] = {}
    found = []
    for event in events:
        if event["ph"] not in "bne":
            continue
        key = (event["cat"], event["id"], event["name"])
        if event["ph"] == "b":
            open_.setdefault(key, []).append(event["ts"])
        elif event["ph"] == "e":
            begin = open_[key].pop()
            found.append((event["name"], event["id"], begin, event["ts"] - begin))
        else:
            assert open_[key], "a part of no slice"
    return found


@pytest.fixture(scope="module", params=NAMES)
def loaded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    source, output = RECORDED / f"{request.param}.arrow", tmp_path_factory.mktemp("p") / "a.perfetto.json"
    convert(str(source), str(output), profile=f"v{request.param.split('-')[0]}")
    return source, load(output)


def test_every_track_has_a_name_before_its_events(loaded: tuple[Path, list[dict[str, Any]]]) -> None:
    named: set[int] = set()
    for event in loaded[1]:
        if event["ph"] == "M" and event["name"] == "thread_name":
            assert event["tid"] not in named
            named.add(event["tid"])
            assert event["args"]["name"]
        elif event["ph"] != "M":
            assert event["tid"] in named
    assert named == set(range(1, len(TRACKS) + 2))


def test_every_row_is_there_at_its_time(loaded: tuple[Path, list[dict[str, Any]]]) -> None:
    """In the order of the trace, to the nanosecond."""
    source, events = loaded
    shown = [e for e in events if e["ph"] != "M" and e["tid"] <= len(TRACKS)]
    with TraceFile.open(source) as trace:
        rows = [
            (int(time), KINDS[int(kind)])
            for batch in trace.batches()
            for time, kind in zip(batch.column("time").tolist(), batch.column("kind").tolist(), strict=True)
        ]
    first = rows[0][0]
    assert [int(event["ts"] * 1000) for event in shown] == [time - first for time, _ in rows]
    mark = KINDS[EventKind.MARK]
    assert [e["name"] for e in shown if e["cat"] == "replay" and e["name"] in KINDS.values()] == [
        name for _, name in rows if name != mark
    ]


def test_calls_of_several_rows_are_slices(loaded: tuple[Path, list[dict[str, Any]]]) -> None:
    source, events = loaded
    begun: dict[int, tuple[str, int]] = {}
    expected = []
    with TraceFile.open(source) as trace:
        start = None
        for batch in trace.batches():
            columns = {name: batch.column(name).tolist() for name in ("time", "kind", "call", "phase")}
            for time, kind, call, phase in zip(*columns.values(), strict=True):
                start = time if start is None else start
                if phase == Phase.BEGIN:
                    begun[call] = KINDS[kind], time
                elif phase == Phase.DONE:
                    name, since = begun[call]
                    expected.append((name, hex(call), Decimal(since - start) / 1000, Decimal(time - since) / 1000))
    assert slices(events) == expected
    assert len({key for _, key, _, _ in expected}) == len(expected)


def test_there_are_slices_to_compare() -> None:
    """What makes the comparison above able to fail."""
    counts: Counter[int] = Counter()
    for name in NAMES:
        with TraceFile.open(RECORDED / f"{name}.arrow") as trace:
            for batch in trace.batches():
                counts.update(batch.column("phase").tolist())
    assert counts[Phase.DONE] > 100
