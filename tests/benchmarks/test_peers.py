"""What is compared with the engine answers as the engine does, and the figures are what they say."""

import dataclasses
import json
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import cli, contenders, timing
from benchmarks.peers.case import Start
from benchmarks.peers.contenders import PEERS, ROWS, rows_of
from benchmarks.peers.documents import MissingMarkerError, put, tables
from benchmarks.peers.memory import state_ranges, walk
from benchmarks.peers.peer import Unavailable
from benchmarks.peers.report import duration, times
from benchmarks.peers.scaling import Scale, scale
from benchmarks.peers.timing import Disagreement, Measured, Result, measure, ratio
from benchmarks.peers.verdicts import POISONED, WALK, coarse, counts_of, number, rule_number
from benchmarks.workloads import WORKLOADS

CHUNK = 10_240  # the rarest rows of "production" come every 10,000
SMALL = {"runs-1e6": 4, "mixed-10": 500, "storm": 300, "hot": 600, "production": 10_100}
KINDS = {"mixed-1": 3, "mixed-10": 3, "pagemaps": 3, "hot": 2, "production": 3}  # of rows in the small cases; else 1
SCALAR = {"runs-1e3": 2, "storm": 40, "hot": 40, "production": 8}
TOO_LONG = {"runs-1e9": "a run of 10^9 pages takes a loop seconds; runs-1e6 walks the same code"}


def small(workload):
    """Runs, on the memory of the other workloads: that of 64 TiB takes seconds to set up, and has nothing tainted."""
    found = WORKLOADS[workload]
    if not workload.startswith("runs"):
        return found
    server = WORKLOADS["random"]

    def rows(*arguments):
        columns = found.rows(*arguments)
        pfn, given = columns["pfn"]
        return {**columns, "pfn": (pfn % np.uint64(1 << 26), given)}

    return dataclasses.replace(found, machine=server.machine, prologue=server.prologue, rows=rows)


@cache
def start_of(workload):
    like = start_of("random") if workload.startswith("runs") else None
    return like.of_another(small(workload)) if like else Start.of(WORKLOADS[workload], chunk_rows=CHUNK)


@cache
def case_of(workload, rows):
    return start_of(workload).case(rows)


def test_small_cases_have_all_kinds_of_rows():
    for workload in WORKLOADS:
        assert len(case_of(workload, SMALL.get(workload, 3000)).kinds) == KINDS.get(workload, 1)


COMPILED = pytest.param("numba", marks=pytest.mark.slow)  # for seconds, once


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("peer", [COMPILED if n == "numba" else n for n in PEERS if n not in {"copy", "read"}])
def test_a_peer_answers_as_the_engine(peer, workload):
    if PEERS[peer].by_page and workload in TOO_LONG:
        pytest.skip(TOO_LONG[workload])
    if reason := PEERS[peer].refuses(workload):
        pytest.skip(reason)
    rows = SCALAR.get(workload, 60) if peer == "scalar" else SMALL.get(workload, 3000)
    case = case_of(workload, rows)
    try:
        done = PEERS[peer].prepare(case)
    except Unavailable as reason:
        pytest.skip(str(reason))
    done.run()
    expected = coarse(case.expected) if PEERS[peer].coarse else case.expected
    assert done.counts() == expected
    assert expected.total() - expected[POISONED] >= rows


@pytest.mark.parametrize("peer", ["engine", "c", COMPILED])
def test_passes_start_from_the_same_memory(peer):
    case = case_of("mixed-10", 500)
    found = []
    for _ in range(2):
        try:
            done = PEERS[peer].prepare(case)
        except Unavailable as reason:
            pytest.skip(str(reason))
        done.run()
        found.append(done.counts())
    assert found[0] == found[1] == case.expected


def test_state_ranges_say_of_every_pfn_what_the_checks_say():
    memory = start_of("random").memory
    ranges = state_ranges(memory)
    inside = np.concatenate([ranges.start, ranges.start + np.uint64(1), ranges.end[:-1] - np.uint64(1)])
    at = np.searchsorted(ranges.start, inside, "right") - 1
    assert (walk(memory, inside) == ranges.check[at]).all()
    assert ranges.start[0] == 0
    assert (ranges.end[:-1] == ranges.start[1:]).all()
    assert len(set(ranges.check.tolist())) == 6  # all verdicts but "subsection", which this memory has nowhere


def test_a_peer_that_disagrees_stops_everything(monkeypatch):
    class Liar:
        name, about, coarse, by_page, seconds = "liar", "", False, False, None

        def refuses(self, workload):
            return None

        def prepare(self, case):
            return self

        def run(self):
            pass

        def counts(self):
            return Counter({(WALK, "untainted"): 100})

    monkeypatch.setattr(timing.gc, "collect", lambda: 0)
    monkeypatch.setitem(PEERS, "liar", Liar())
    with pytest.raises(Disagreement, match=r"workload random, 100 rows: liar and the engine disagree") as stopped:
        measure(start_of("random"), ["engine", "liar"], rows=100, rounds=1)
    assert "liar: " + f"{WALK}" in str(stopped.value)


def test_contenders_take_turns_in_another_order_each_round(monkeypatch):
    order = []

    class Fake:
        about, coarse, by_page, seconds = "", False, False, None

        def __init__(self, name):
            self.name = name

        def refuses(self, workload):
            return "no" if self.name == "absent" else None

        def prepare(self, case):
            return self

        def run(self):
            order.append(self.name)

        def counts(self):
            return None

    monkeypatch.setattr(timing.gc, "collect", lambda: 0)  # takes longer than the passes
    for name in ("engine", "b", "absent", "c"):
        monkeypatch.setitem(PEERS, name, Fake(name))
    result = measure(start_of("random"), ["engine", "b", "absent", "c"], rows=10, rounds=4)
    assert "".join(name[0] for name in order) == "ebc" + "ebc" + "bce" + "ceb" + "ebc"
    assert result.absent == {"absent": "no"}
    assert {len(m.seconds) for m in result.measured.values()} == {4}


def test_a_ratio_is_taken_round_by_round():
    # The machine was half as fast in the second round, for both.
    r = ratio([2.0, 4.0, 9.0], [1.0, 2.0, 3.0])
    assert (r.median, r.low, r.high) == (2.0, 2.0, 3.0)


def _result(**seconds):
    measured = {name: Measured(name, 100, 100, 100, tuple(s)) for name, s in seconds.items()}
    return Result("random", measured, {"polars": "because"})


def test_ratios_are_per_row():
    result = _result(engine=[1.0, 1.0, 1.0], c=[0.5, 0.25, 0.5])
    short = dataclasses.replace(result.measured["c"], rows=50, weight=50)
    result.measured["c"] = short
    assert short.median_ns == pytest.approx(1e7)
    assert result.ratio("c").median == 1.0
    assert result.ratio("c").low == 0.5
    assert result.ratio("polars") is None


def test_a_loop_over_pages_is_held_against_runs_of_the_same_length():
    """Its few rows stand for as many rows of the whole workload as have the same number of pages."""
    start = start_of("runs-1e3")
    few, whole = case_of("runs-1e3", 3), case_of("runs-1e3", 3000)
    weight = timing._weight(PEERS["c"], few, whole)
    assert weight == pytest.approx(few.pages / (whole.pages / 3000))
    assert timing._weight(PEERS["c-sections"], few, whole) == 3
    assert start.case(3).pages == few.pages


def test_rows_never_exceed_what_is_asked_for():
    for workload, rows in ROWS.items():
        for peer in PEERS:
            assert 1 <= rows_of(peer, workload) <= rows
            assert rows_of(peer, workload, 7) <= 7
    assert rows_of("engine", "random", 10**9) == 10**9
    assert all(w in WORKLOADS for limits in contenders._AT_MOST.values() for w in limits)


def test_verdicts_have_numbers_and_rules():
    counts = counts_of([0, 5, 0, 0, 2])
    assert counts == {(WALK, "section-present"): 5, (WALK, "untainted"): 2}
    assert coarse(counts) == {(WALK, "NULL"): 5, (WALK, "page"): 2}
    assert number(WALK, "untainted") == 4
    assert (rule_number("R90a"), rule_number("R54"), rule_number("undecided")) == ("R90", "R54", "undecided")


def test_figures_are_readable():
    assert [duration(ns) for ns in (0.5, 1.234, 45.67, 1234.0, 2e9)] == [
        "0.5 ns",
        "1.23 ns",
        "45.7 ns",
        "1.23 µs",
        "2.00 s",
    ]
    assert [times(r) for r in (0.0123, 3.14159, 31.4159, 31415.9)] == ["0.012", "3.14", "31.4", "31,416"]


def test_tables_replace_what_stands_between_the_markers():
    text = "a\n<!-- peers:x:begin -->\nold\n<!-- peers:x:end -->\nb\n"
    assert put(text, {"x": "| new \\1 |"}) == "a\n<!-- peers:x:begin -->\n| new \\1 |\n<!-- peers:x:end -->\nb\n"
    assert put(put(text, {"x": "1"}), {"x": "2"}) == put(text, {"x": "2"})
    with pytest.raises(MissingMarkerError, match="peers:y:begin"):
        put(text, {"y": "z"})
    with pytest.raises(MissingMarkerError, match="peers:x:begin"):
        put(text + text, {"x": "z"})


def test_the_document_has_a_place_for_every_table():
    blocks = tables({"date": "today"}, [_result(engine=[1.0], c=[2.0])], [Scale(10, 1.0, 1 << 20, 2 << 20)])
    assert "| `random` | 2.00 (2.00..2.00) |" in blocks["ratios"]
    assert "| `polars` | all | because |" in blocks["absent"]
    assert "| 10 | 1.00 ns | 2 MiB | 1 MiB |" in blocks["scaling"]
    text = Path(cli.DOCUMENT).read_text()
    changed = put(text, blocks)
    assert all(block in changed for block in blocks.values())
    assert all(f"`{name}`" in text for name in (*PEERS, *WORKLOADS)), (
        "the document explains every contender and workload"
    )


@pytest.mark.slow
def test_memory_is_measured_in_a_process_of_its_own():
    ballast = np.ones(1 << 25, np.uint64)  # 256 MiB: a child's figure from getrusage would include it
    found = scale(1000)
    assert found.rows == 1000
    assert found.ns_per_row > 0
    assert 1 << 24 < found.before_bytes <= found.peak_bytes < ballast.nbytes


def test_the_command_prints_and_writes(tmp_path, capsys):
    file = tmp_path / "peers.json"
    arguments = ["--workload", "random", "--peers", "numpy,copy", "--rows", "1e3", "--rounds", "2", "--json", str(file)]
    assert cli.main(arguments) == 0
    assert "peer ÷ engine" in capsys.readouterr().out
    found = json.loads(file.read_text())["workloads"]["random"]["contenders"]
    assert found.keys() == {"engine", "numpy", "copy"}
    assert len(found["numpy"]["seconds"]) == 2
    assert found["numpy"]["over_engine"]["low"] <= found["numpy"]["over_engine"]["median"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--peers", "rust"], "unknown: rust"),
        (["--workload", "random", "--update-docs"], "whole run"),
        (["--rounds", "0"], "at least 1"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(arguments, says, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err
