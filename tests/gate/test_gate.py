"""The gate over result files as asv writes them: names what got worse, says nothing of what did not."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gate import __main__ as gate
from benchmarks.gate import asv
from benchmarks.gate.findings import compare, incomplete
from benchmarks.gate.results import NoResultsError, load_benchmarks, load_results

BASE, HEAD = "a" * 40, "b" * 40
COLUMNS = ["result", "params", "version", "started_at", "duration", "stats_ci_99_a", "stats_ci_99_b", "stats_q_25",
           "stats_q_75", "stats_number", "stats_repeat", "samples", "profile"]  # fmt: skip

REPLAY, WRONG, ROWS = "replaying.Replay.time_per_event", "recordings.Agreement.track_disagreements", "r.N.track_rows"
HELP, MEMORY, SIZE = "startup.Commands.time_help", "replaying.ReplayMemory.peakmem_replay", "f.F.track_bytes_per_event"
BENCHMARKS: dict[str, dict[str, Any]] = {
    REPLAY: {"type": "time", "unit": "seconds", "params": [["'v6.1'", "'v7.2'"], ["'random'"]]},
    WRONG: {"type": "track", "unit": "disagreements", "params": [["'a'"]]},
    ROWS: {"type": "track", "unit": "rows", "params": []},
    HELP: {"type": "time", "unit": "seconds", "params": []},
    MEMORY: {"type": "peakmemory", "unit": "bytes", "params": []},
    SIZE: {"type": "track", "unit": "bytes/event", "params": []},
}
SAMPLES = [20.0e-9, 20.1e-9, 20.4e-9, 20.2e-9, 20.3e-9, 21.9e-9]
HELP_SAMPLES = [0.100, 0.103, 0.101, 0.102, 0.105, 0.140]
VALUES: dict[str, Any] = {
    REPLAY: ([2e-8, 2e-8], [SAMPLES, SAMPLES]),
    WRONG: ([0], None),
    ROWS: ([1234], None),
    HELP: ([0.1], [HELP_SAMPLES]),
    MEMORY: ([100 << 20], None),
    SIZE: ([17.0], None),
}


def write(results: Path, commit: str, *, version: str = "1", drop: tuple[str, ...] = (), **changes: Any) -> None:
    """Write the results of a commit; ``changes`` by the benchmark's last word."""
    rows = {}
    for name, usual in VALUES.items():
        if name not in drop:
            values, samples = changes.get(name.rsplit(".", 1)[1], usual)
            row = dict.fromkeys(COLUMNS)
            row |= {"result": values, "params": BENCHMARKS[name]["params"], "version": version, "samples": samples}
            cells = list(row.values())
            while cells[-1] is None:
                cells.pop()
            rows[name] = cells
    folder = results / "box"
    folder.mkdir(parents=True, exist_ok=True)
    data = {"commit_hash": commit, "result_columns": COLUMNS, "results": rows, "version": 2}
    (folder / f"{commit[:8]}-virtualenv-py3.11.json").write_text(json.dumps(data))
    listed: dict[str, Any] = {n: {**b, "name": n, "version": "1"} for n, b in BENCHMARKS.items()}
    (results / "benchmarks.json").write_text(json.dumps({**listed, "version": 2}))


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(asv, "RESULTS", tmp_path)
    monkeypatch.setattr(asv, "commit_of", lambda revision: revision)
    monkeypatch.setenv("REPLAY_BENCH_MACHINE", "box")
    write(tmp_path, BASE)
    return tmp_path


def judged(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[str]]:
    code = gate.main(["results", "--base", BASE, "--head", HEAD, *options])
    return code, capsys.readouterr().out.splitlines()


def slowed(samples: list[float], factor: float) -> list[float]:
    return [s * factor for s in samples]


def test_silent_on_the_same(results: Path, capsys) -> None:
    write(results, HEAD)
    assert judged(capsys) == (0, [])


def test_a_slow_down_and_a_wrong_verdict_are_both_named(results: Path, capsys) -> None:
    slow = slowed(SAMPLES, 1.2)
    write(results, HEAD, time_per_event=([2e-8, 2.4e-8], [SAMPLES, slow]), track_disagreements=([3], None))
    code, lines = judged(capsys)
    assert code == 1
    assert lines == [
        f"wrong: {WRONG}('a'): 0 -> 3 disagreements",
        f"slower: {REPLAY}('v7.2', 'random'): 20.2 ns -> 24.3 ns "
        "(x1.20, at best x1.20, 6+6 samples, p 0.0011)",
    ]  # fmt: skip


def test_better_is_silent(results: Path, capsys) -> None:
    """Faster, smaller, and fewer disagreements than the base."""
    write(results, BASE, track_disagreements=([3], None))
    fast = slowed(SAMPLES, 0.5)
    write(results, HEAD, time_per_event=([1e-8] * 2, [fast, fast]), peakmem_replay=([1 << 20], None))
    assert judged(capsys) == (0, [])


@pytest.mark.parametrize("value", [1233, 1235])
def test_an_exact_count_may_not_move_at_all(results: Path, capsys, value: int) -> None:
    write(results, HEAD, track_rows=([value], None))
    assert judged(capsys) == (1, [f"changed: {ROWS}: 1234 -> {value} rows"])


def test_larger(results: Path, capsys) -> None:
    write(results, HEAD, peakmem_replay=([120 << 20], None), track_bytes_per_event=([17.2], None))
    assert judged(capsys) == (
        1,
        [f"larger: {SIZE}: 17 -> 17.2 bytes/event", f"larger: {MEMORY}: 104857600 -> 125829120 bytes"],
    )


@pytest.mark.parametrize(
    "samples",
    [
        slowed(HELP_SAMPLES, 1.09),  # below the threshold
        [0.103, 0.104, 0.101, 0.140, 0.150, 0.150],  # slower, but as fast at best: a busy machine
        [0.112, 0.090, 0.130, 0.140, 0.150, 0.099],  # not significant
    ],
)
def test_noise_is_silent(results: Path, capsys, samples: list[float]) -> None:
    write(results, HEAD, time_help=([0.2], [samples]))
    assert judged(capsys) == (0, [])


def test_below_the_floor_is_silent(results: Path, capsys) -> None:
    """A third slower, of a quarter of a nanosecond."""
    tiny = slowed(SAMPLES, 0.0125)
    write(results, BASE, time_per_event=([2.5e-10] * 2, [tiny, tiny]))
    write(results, HEAD, time_per_event=([3.3e-10] * 2, [slowed(tiny, 1.33)] * 2))
    assert judged(capsys) == (0, [])


def test_threshold(results: Path, capsys) -> None:
    write(results, HEAD, time_help=([0.145], [slowed(HELP_SAMPLES, 1.45)]))
    assert judged(capsys)[0] == 1
    assert judged(capsys, "--threshold", "1.5") == (0, [])


def test_too_few_samples_are_no_silence(results: Path, capsys) -> None:
    write(results, HEAD, time_help=([0.1], [HELP_SAMPLES[:5]]))
    assert judged(capsys) == (1, [f"unsure: {HELP}: 6+5 samples; needed 6 of each commit"])
    write(results, HEAD, time_help=([0.1], None))
    assert judged(capsys) == (1, [f"unsure: {HELP}: 6+0 samples; needed 6 of each commit"])


def test_failed_and_gone(results: Path, capsys) -> None:
    """Null, NaN, and nothing at all."""
    write(
        results, HEAD, drop=(HELP,),
        time_per_event=(None, None), track_rows=([math.nan], None), track_disagreements=([None], None),
    )  # fmt: skip
    assert judged(capsys) == (
        1,
        [
            f"gone: {HELP}",
            f"gone: {ROWS}: skipped now",
            f"failed: {WRONG}('a')",
            f"failed: {REPLAY}('v6.1', 'random')",
            f"failed: {REPLAY}('v7.2', 'random')",
        ],
    )


def test_a_benchmark_that_the_suite_lost(results: Path, capsys) -> None:
    """asv does not find it any more, the older results have it."""
    write(results, HEAD, drop=(HELP,))
    listed = json.loads((results / "benchmarks.json").read_text())
    del listed[HELP]
    (results / "benchmarks.json").write_text(json.dumps(listed))
    assert judged(capsys) == (1, [f"gone: {HELP}"])


def test_results_of_another_version_count_as_none(results: Path, capsys) -> None:
    """They measured something else: nothing is compared with them, and at the head they are missing."""
    write(results, BASE, version="0")
    write(results, HEAD, time_help=([9.0], [slowed(HELP_SAMPLES, 90)]))
    assert judged(capsys) == (0, [])
    write(results, BASE)
    write(results, HEAD, version="0")
    code, lines = judged(capsys)
    assert code == 1
    assert len(lines) == 7
    assert all(line.startswith("gone: ") for line in lines)


def test_a_selection(results: Path, capsys) -> None:
    """Only what was asked for is missed, by name and parameters."""
    write(results, HEAD, drop=(HELP, ROWS, WRONG, MEMORY, SIZE), time_per_event=([None, math.nan], None))
    assert judged(capsys, "--bench", "per_event.*v6.1") == (1, [f"failed: {REPLAY}('v6.1', 'random')"])


def test_a_failure_of_the_base_is_not_held_against_the_head(results: Path, capsys) -> None:
    write(results, BASE, time_help=(None, None), track_rows=([math.nan], None))
    write(results, HEAD)
    assert judged(capsys) == (0, [])


def test_nothing_to_judge(results: Path, capsys) -> None:
    """No results is neither good nor bad."""
    assert gate.main(["results", "--base", BASE, "--head", HEAD]) == 2
    assert "no results of commit bbbbbbbb" in capsys.readouterr().err
    write(results, HEAD)
    (results / "benchmarks.json").write_text('{"version": 2}')
    with pytest.raises(NoResultsError, match="no benchmarks"):
        load_benchmarks(results)
    (results / "benchmarks.json").write_text("{")
    with pytest.raises(NoResultsError, match="cannot be read"):
        load_benchmarks(results)


def test_a_file_of_another_commit(results: Path) -> None:
    """Eight digits of a hash are not a hash."""
    with pytest.raises(NoResultsError, match=f"results of {BASE}"):
        load_results(results, "box", BASE[:8] + "0" * 32, load_benchmarks(results))


def test_smoke_names_what_did_not_run(results: Path) -> None:
    """Failed, skipped, not run; not found by asv, and found where nothing is declared."""
    write(results, HEAD, drop=(HELP,), time_per_event=([None, math.nan], None))
    benchmarks = load_benchmarks(results)
    found = load_results(results, "box", HEAD, benchmarks)
    declared = {*BENCHMARKS, "m.C.time_lost"} - {SIZE}
    assert incomplete(benchmarks, declared, found) == [
        "not found by asv: m.C.time_lost",
        f"not declared in the suite: {SIZE}",
        f"failed: {REPLAY}('v6.1', 'random')",
        f"skipped: {REPLAY}('v7.2', 'random')",
        f"not run: {HELP}",
    ]
    write(results, HEAD)
    assert incomplete(benchmarks, {*BENCHMARKS}, load_results(results, "box", HEAD, benchmarks)) == []


def test_compare_takes_what_is_new(results: Path) -> None:
    """A benchmark that the base does not have is compared with nothing, and must run."""
    write(results, BASE, drop=(ROWS,))
    write(results, HEAD)
    benchmarks = load_benchmarks(results)
    base, head = (load_results(results, "box", commit, benchmarks) for commit in (BASE, HEAD))
    assert compare(benchmarks, base, head) == []
    write(results, HEAD, drop=(ROWS,))
    (finding,) = compare(benchmarks, base, load_results(results, "box", HEAD, benchmarks))
    assert str(finding) == f"not run: {ROWS}"
