"""Generated traces: the same request, the same bytes; sound; replayed alike by both engines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from replay.engine.replay import Replayer
from replay.errors import UsageError
from replay.kernel.profiles import profile
from replay.session import run
from replay.sources.synthetic import pages
from replay.sources.synthetic.generator import Generation, _times
from replay.sources.synthetic.plans import PLANS
from replay.sources.synthetic.workloads import WORKLOADS
from replay.trace.reader import TraceFile
from replay.trace.schema import POISON_CALLS, EventKind
from tests.property import engines, poison

KERNELS = ("v4.18", "v5.10.223", "v5.12", "v7.2")
# Workloads that need more than the machine here has.
SPECIAL = {
    "test-zone": {"machine": "arm64", "settings": {"kernel": "5.4"}},
    "pmem-as-ram": {
        "machine": "plain",
        "settings": {"pmem": "1G", "modes": "devdax"},
        "parameters": {"errors": "20000", "periods": "2"},
    },
    "kmem-flips": {"machine": "plain", "settings": {"pmem": "1G", "modes": "devdax"}},
    "contiguous-alloc": {"parameters": {"run": "64"}},
}
DEVDAX = {"pmem": "1G", "modes": "devdax", "kernel": "7.2"}
COLLISIONS = {"machine": "collisions", "settings": {"kernel": "7.2", "memory": "4G", "pmem": "1280M"}}


def request(name: str, events: int | None = 300, **more: object) -> Generation:
    options = {**COLLISIONS, **SPECIAL.get(name, {}), **more}
    return Generation(name, events=None if name == "pmem-as-ram" else events, **options)  # type: ignore[arg-type]


def test_the_same_bytes_whatever_makes_them(tmp_path: Path) -> None:
    """In another process, in more threads, a second time; over more than one record batch."""
    made = Generation("production", machine="server", events=(1 << 20) + 77, seed=5)
    made.write(tmp_path / "a.arrow")
    made.write(tmp_path / "b.arrow", threads=4)
    script = (
        "from replay.sources.synthetic.generator import Generation\n"
        f"Generation('production', machine='server', events={(1 << 20) + 77}, seed=5).write({str(tmp_path / 'c.arrow')!r})"
    )
    subprocess.run(
        [sys.executable, "-c", script], check=True, env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "7"}
    )
    first = (tmp_path / "a.arrow").read_bytes()
    assert (tmp_path / "b.arrow").read_bytes() == first
    assert (tmp_path / "c.arrow").read_bytes() == first


@pytest.mark.parametrize("name", WORKLOADS)
def test_rows_do_not_depend_on_cuts(name: str) -> None:
    made = request(name)
    whole = made.stretch(0, made.rows)
    for first, count in ((0, 1), (1, 100), (101, 7), (250, 50)):
        piece = made.stretch(first, min(count, made.rows - first))
        stop = first + len(piece["kind"][0])
        for column, (values, given) in whole.items():
            # A part of a mix that has no row here gives no column.
            found, mask = piece.get(column, (np.zeros(stop - first), np.zeros(stop - first, np.bool_)))
            assert np.array_equal(found, values[first:stop]), column
            expected = True if given is None else given[first:stop]
            assert np.all((True if mask is None else mask) == expected), column


@pytest.mark.parametrize("name", WORKLOADS)
def test_traces_are_sound_and_say_how_they_were_made(name: str, tmp_path: Path) -> None:
    made = request(name, seed=3)
    written = made.write(tmp_path / "t.arrow")
    with TraceFile.open(tmp_path / "t.arrow") as trace:
        trace.verify()
        assert (trace.rows, trace.digest) == (written.rows, written.digest)
        assert trace.rows == made.rows + made.front.rows
        said = trace.provenance
    assert said.source == "synthetic"
    assert said.seed == 3
    assert said.parameters["generator"] == "1"
    assert said.command == made.command


def test_seeds_differ_and_longer_traces_begin_like_shorter_ones() -> None:
    one, two = (request("random", 1000, seed=seed).stretch(0, 1000)["pfn"][0] for seed in (1, 2))
    assert not np.array_equal(one, two)
    assert np.array_equal(request("random", 5000, seed=1).stretch(0, 1000)["pfn"][0], one)


def test_times_are_exact() -> None:
    """Rounded down from the exact product, also where that does not fit 64 bits."""
    from fractions import Fraction

    tick = Fraction(10**9, 7)
    for first in (0, 5, 10**9, 3 * 10**10):
        expected = [100 + n * 10**9 // 7 for n in range(first, first + 20)]
        assert _times(first, 20, tick, 100).tolist() == expected


def rows_of(made: Generation) -> list[dict[str, int]]:
    columns = made.stretch(0, made.rows)
    front = [
        {n: int(v[r]) for n, (v, g) in made.front.columns.items() if g is None or g[r]} for r in range(made.front.rows)
    ]
    return front + [
        {n: int(v[r]) for n, (v, g) in columns.items() if n != "time" and (g is None or g[r])} for r in range(made.rows)
    ]


@pytest.mark.parametrize("name", WORKLOADS)
def test_both_engines_say_the_same(name: str) -> None:
    """Every outcome of every row, and of every poison call, for kernels of all characters."""
    with mock.patch.object(pages, "_RANGES", 24):  # the scalar engine takes its time over descriptions of pages
        made = request(name, 80)
        machine, rows = made.plan.description, rows_of(made)
    calls = any(row["kind"] in POISON_CALLS for row in rows)
    for kernel in KERNELS:
        if made.plan.geometry.arch == "aarch64" and kernel not in {"v4.18", "v5.4", "v5.10.223"}:
            continue  # sections of another size
        with (
            mock.patch.object(engines, "STRINGS", made.plan.strings),
            mock.patch.object(poison, "STRINGS", made.plan.strings),
        ):
            assert engines.vector(machine, rows, profile(kernel)) == engines.scalar(machine, rows, profile(kernel)), (
                kernel
            )
            if calls:
                with mock.patch.object(poison, "MACHINE", machine):
                    expected = poison.scalar_calls(rows, profile(kernel), open_loop=False)
                    assert poison.vector_calls(rows, profile(kernel), open_loop=False) == expected, kernel


def test_calls_of_the_workloads_are_accepted() -> None:
    """Hotplug that a kernel refuses would be no hotplug: all calls of these succeed on a kernel that has the features."""
    for name in ("hotplug-churn", "kmem-flips", "pmem-life-cycle", "pmem-as-ram", "all-hotplug", "production"):
        made = request(name, 400)
        replayer = Replayer(made.plan.description, profile("v7.2"), made.plan.strings)
        replayer.feed(engines.as_batch(rows_of(made)))
        found = replayer.finish().outcomes
        changes = {k: v for k, v in found.items() if EventKind[k.upper()] in range(16, 40)}
        assert changes, name
        assert all(set(counts) == {"0"} for counts in changes.values()), (name, changes)


def test_partial_blocks_end_in_pages_that_are_not_there() -> None:
    made = Generation("kpageflags", machine="guest", settings={"partial": "256M", "plugged": "1/4"}, events=1)
    states = [row for row in rows_of(made) if row["kind"] == EventKind.PAGE_STATE]
    adds = [row for row in rows_of(made) if row["kind"] == EventKind.ADD_MEMORY]
    assert [row["nr_pages"] for row in adds] == [1 << 15] * 2
    assert [(s["pfn"] - a["pfn"], s["nr_pages"]) for s, a in zip(states, adds, strict=True)] == [(1 << 13, 3 << 13)] * 2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("damn", {}, r"unknown workload 'damn' \(did you mean damon"),
        ("damon", {"parameters": {"region": "3"}}, r"unknown parameter of damon 'region' \(did you mean regions"),
        ("damon", {"parameters": {"rate": "0"}}, "rate=0: needed events per second, more than 0"),
        ("damon", {"parameters": {"rate": "1/0"}}, "needed events per second"),
        ("damon", {"parameters": {"rate": "2e9"}}, "at most 1e9"),
        ("damon", {"events": 0}, "--events 0; needed 1 to"),
        ("damon", {"events": 1 << 37}, "what a trace can hold"),
        ("damon", {"seed": -1}, "seed -1; needed 0 to"),
        ("mix", {}, "mix without parts"),
        ("mix", {"mix": (("damon", "x"),)}, "--part damon=x: needed events per second"),
        ("mix", {"mix": (("production", "5"),)}, "part production is a mix itself; needed its parts: compaction"),
        ("mix", {"mix": (("pmem-as-ram", "5"), ("damon", "5")), "settings": DEVDAX}, "needed it alone"),
        ("mix", {"mix": (("damon", "5"),), "parameters": {"regions": "4"}}, "of which part"),
        ("mix", {"mix": (("damon", "5"),), "parameters": {"demon.regions": "4"}}, r"'demon' \(did you mean damon"),
        ("hotplug-churn", {"parameters": {"depth": "64"}}, "depth=64 of blocks=64: needed fewer than blocks"),
        ("kmem-flips", {"settings": {}}, "needed a pmem device .*pmem=4G"),
        ("pmem-life-cycle", {"machine": "server-kmem", "settings": {}}, "is used as RAM; needed fsdax, devdax or raw"),
        ("pmem-as-ram", {"settings": {"pmem": "1G"}}, "is fsdax; needed devdax"),
        ("pmem-as-ram", {"parameters": {"errors": "1e9"}}, "errors=1e9: needed a number from 0 to 1000000"),
        ("clear-error", {"settings": {}}, "has no pmem that is not used as RAM"),
        ("column-failure", {"parameters": {"pages": "4096", "stride": "100000"}}, "needed at most .*as stride="),
        ("dimm-storm", {"parameters": {"dimm": "1T"}}, "needed a page to"),
        ("bit-flips", {"parameters": {"consumed": "2"}}, "needed a share from 0 to 1"),
        ("tasks", {"parameters": {"policies": "early+lat"}}, r"needed one of default, .*\(did you mean late"),
        ("tasks", {"parameters": {"pages": "262144"}, "settings": {"memory": "256M"}}, "needed at most"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_with_what_would_be_right(name: str, options: dict[str, object], message: str) -> None:
    base: dict[str, object] = {"machine": "plain", "settings": {"kernel": "7.2"}}
    if name == "pmem-as-ram" and "settings" not in options:
        base["settings"] = {"kernel": "7.2", "pmem": "1G", "modes": "devdax"}
    with pytest.raises(UsageError, match=message):
        assert Generation(name, **{**base, **options}).rows  # type: ignore[arg-type]


def test_mixes_leave_out_walkers_that_the_kernel_does_not_have() -> None:
    made = Generation("walks", settings={"kernel": "5.10"}, events=100)
    assert made.provenance.notes == ("without damon, which looks nothing up on 5.10",)
    assert made.stretch(0, 100)
    with pytest.raises(UsageError, match=r"walker damon asks nothing of a kernel 5\.10"):
        assert Generation("mix", mix=(("damon", "5"),), settings={"kernel": "5.10"}).rows


@pytest.mark.parametrize("machine", PLANS)
@pytest.mark.parametrize("name", ["production", "isolation", "all-hotplug"])
def test_every_machine_takes_walkers_hotplug_and_errors(machine: str, name: str, tmp_path: Path) -> None:
    """The trace is sound, and the kernel that it claims to be made on replays all of it."""
    made = Generation(name, machine=machine, events=200, seed=2)
    written = made.write(tmp_path / "t.arrow")
    assert run(tmp_path / "t.arrow").events == written.rows
