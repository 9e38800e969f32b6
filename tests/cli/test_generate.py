"""``replay generate``: what it answers, and what it refuses in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay.trace.reader import TraceFile


def test_a_workload(replay, tmp_path: Path) -> None:
    answer = replay(
        "generate", "damon", "-o", str(tmp_path / "d.arrow"), "-n", "100", "--seed", "7", "--param", "regions=10"
    )
    assert answer.code == 0
    with TraceFile.open(tmp_path / "d.arrow") as trace:
        assert trace.rows == 100
        assert trace.digest in answer.out
        line = trace.provenance.command
    assert line == "replay generate damon --machine plain --param regions=10 --events 100 --seed 7 -o trace.arrow"
    assert f"made by: {line}" in replay("info", str(tmp_path / "d.arrow")).out


def test_json_and_options_before_the_workload(replay, tmp_path: Path) -> None:
    path = str(tmp_path / "x.arrow")
    facts = replay("generate", "-o", path, "random", "-n", "10", "--json").json["data"]
    assert (facts["trace"], facts["rows"], facts["front"]) == (path, 10, 0)
    again = replay(
        "generate",
        "random",
        "-n",
        "10",
        "-o",
        str(tmp_path / "y.arrow"),
        "--threads",
        "3",
        "--compress",
        "lz4",
        "--json",
    )
    assert again.json["data"]["digest"] == facts["digest"]


def test_an_own_mix(replay, tmp_path: Path) -> None:
    path = str(tmp_path / "m.arrow")
    options = ("--part", "compaction=300", "--part", "random=100", "-n", "400", "-o", path)
    assert replay("generate", "mix", *options).code == 0
    assert replay("validate", path).code == 0
    assert replay("run", path).code == 0
    answer = replay("generate", "damon", *options)
    assert answer.code == 2
    assert "--part makes a mix of its own; needed `replay generate mix`, not damon" in answer.error


def test_a_fleet(replay, tmp_path: Path) -> None:
    folder = tmp_path / "fleet"
    answer = replay(
        "generate",
        "fleet",
        "--machines",
        "11",
        "-o",
        str(folder),
        "-n",
        "20",
        "-m",
        "plain",
        "--workload",
        "errors",
        "--json",
    )
    assert len(answer.json["data"]["traces"]) == 11
    assert sorted(f.name for f in folder.iterdir()) == [f"machine-{n:02}.arrow" for n in range(11)]
    assert replay("run", str(folder)).code == 0


def test_amplify(replay, tmp_path: Path) -> None:
    source, big = str(tmp_path / "s.arrow"), str(tmp_path / "b.arrow")
    replay("generate", "hotplug-churn", "-n", "40", "-o", source)
    facts = replay("generate", "amplify", source, "-o", big, "--times", "5", "--json").json["data"]
    assert facts["rows"] == 5 * (40 + 8)
    assert "each repetition lies" in replay("generate", "amplify", source, "-o", big, "--times", "2").out


def test_lists(replay) -> None:
    for words in (("--list",), ("list",)):
        out = replay("generate", *words).out
        assert "compaction-migrate" in out
        assert "box-64t" in out
    facts = replay("generate", "list", "--json").json["data"]
    assert {m["name"] for m in facts["machines"]} >= {"server", "guest", "s390"}
    assert {w["kind"] for w in facts["workloads"]} == {"walker", "lookups", "hotplug", "poison", "mix"}
    assert "aggregation" in replay("generate", "list", "damon").out
    reset = replay("generate", "list", "compaction-reset", "--json").json["data"]
    assert (reset["range"], reset["stride"]) == ("zones", "pageblock")
    assert reset["order"] == {"4.18 to 4.19": "up", "5.1 to 7.2": "meet"}
    assert reset["lookups"]["5.1 to 7.2"] == ["pfn_to_online_page", "pfn_to_online_page", "pfn_to_online_page at +511"]
    assert "asks at a stop, kernels 4.18 to 5.3: pfn_valid" in replay("generate", "list", "page-idle").out
    assert "fsdax@0x" in replay("generate", "list", "collisions").out
    assert "hotplug-churn=100" in replay("generate", "list", "production").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("damn", "-o", "x.arrow"), "unknown workload 'damn' (did you mean damon?)"),
        (("damon", "-o", "x.arrow", "-m", "servr"), "unknown machine 'servr' (did you mean server"),
        (("damon", "-o", "x.arrow", "--set", "pmem"), "--set 'pmem': needed NAME=VALUE"),
        (("damon", "-o", "x.arrow", "--set", "nodes=2", "--set", "nodes=4"), "--set nodes is given twice: 2 and 4"),
        (("damon", "-o", "x.arrow", "--compress", "gz"), "unknown compression 'gz'; there are none, lz4 and zstd"),
        (("damon", "-o", "no/such/x.arrow"), "no/such/x.arrow: cannot be written"),
        (("list", "servr"), "unknown machine or workload 'servr' (did you mean server"),
        (("fleet", "--machines", "2", "-o", "f", "--workload", "damn"), "unknown workload 'damn' (did you mean damon?)"),
    ],
)  # fmt: skip
def test_refusals(
    replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = replay("generate", *words)
    assert answer.code == 2
    assert message in answer.error
    assert not list(tmp_path.iterdir())


def test_a_damaged_trace_is_not_amplified(replay, tmp_path: Path) -> None:
    (tmp_path / "bad.arrow").write_bytes(b"ARROW1 no")
    answer = replay("generate", "amplify", str(tmp_path / "bad.arrow"), "-o", str(tmp_path / "x.arrow"), "--times", "2")
    assert answer.code == 3
