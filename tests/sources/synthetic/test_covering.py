"""Covering traces: what is committed is what the generator makes, shows what the page says, and both engines agree on it."""

import os
from collections import Counter
from pathlib import Path

import pytest

from replay.compare.areas import Areas
from replay.compare.met import meet
from replay.engine.replay import Replayer
from replay.errors import UsageError
from replay.kernel.profiles import PRESETS, profile
from replay.scalar import replay_rows
from replay.sources.synthetic.covering import covering, kernels_for, write_covering
from replay.sources.synthetic.covering_page import cells
from replay.sources.synthetic.covering_poison import PoisonCover
from replay.sources.synthetic.covering_script import Script, Shows, Unit, select
from replay.trace.outcomes import OUTCOME_COLUMNS
from replay.trace.poison import PageKind
from replay.trace.reader import TraceFile
from replay.trace.schema import EventKind

CORPUS = sorted(Path("traces/synthetic").glob("covering-*.arrow"))


def test_the_corpus_is_there_and_small():
    assert len(CORPUS) >= 4
    assert all(path.stat().st_size < 100_000 for path in CORPUS)


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("REPLAY_EVERYTHING"),
    reason="makes the whole corpus again, minutes; nightly sets REPLAY_EVERYTHING",
)
def test_the_corpus_is_what_the_generator_makes(tmp_path):
    made = write_covering(covering(kernels_for([])), tmp_path)
    assert {Path(p).name for p in made} == {p.name for p in CORPUS}
    for path in made:
        assert Path(path).read_bytes() == Path("traces/synthetic", Path(path).name).read_bytes(), path


def test_the_corpus_was_made_for_all_kernels_that_can_be_replayed():
    """And by the command that its files name."""
    names = [name for name, preset in reversed(PRESETS.items()) if not preset.poison_only]
    for path in CORPUS:
        with TraceFile.open(path) as trace:
            words = trace.provenance.command.split()
            assert words[:3] == ["replay", "generate", "covering"]
            assert words[4:-2:2] == names


def on_page(function, name):
    """Return the cell of a function and a kernel in the committed page."""
    rows = [line.split(" | ") for line in Path("docs/coverage.md").read_text().splitlines() if line.startswith("| ")]
    column = [cell.strip(" |") for cell in rows[0]].index(name)
    return next(row[column].strip(" |") for row in rows if row[0] == f"| `{function}`")


@pytest.mark.parametrize("name", ["v7.2.13", "v4.19"])
def test_poison_calls_of_the_corpus_show_every_mistake_that_a_trace_can_show(name):
    kernel = profile(name)
    unreachable = PoisonCover().cover(Shows(kernel))
    poison = [str(path) for path in CORPUS if path.stem == "covering-poison"]
    found = cells(poison, kernel, unreachable)
    for function in ("memory_failure", "soft_offline_page", "unpoison_memory", "kill_procs", "access"):
        cell = found[function]
        assert not cell.survived, (function, cell.survived)
        assert cell.decided == cell.reachable, function
        assert cell.noticed
        assert on_page(function, name) == cell.words, "docs/coverage.md is not current"


def test_the_same_kernel_gives_the_same_rows():
    rows = []
    for _ in range(2):
        cover = PoisonCover()
        cover.cover(Shows(profile("v5.10")))
        rows.append(cover.script.rows())
    assert rows[0] == rows[1]


def test_every_kernel_finds_the_same_combinations_around_pfns_of_the_areas():
    areas = Areas()
    for name in ("v4.18", "v5.3", "v5.12", "v7.2"):
        around = areas.around(profile(name))
        assert {(valid, online, bool(pgmap)) for valid, online, pgmap, _ in around} == {
            (0, 0, False), (0, 0, True), (1, 0, False), (1, 0, True), (1, 1, False), (1, 1, True)
        }  # fmt: skip


def test_units_that_show_nothing_new_are_left_out_and_those_that_others_need_stay():
    areas = Areas()
    setup = Unit(tuple(areas.setup), keep=True)
    pfn = areas.ram.take(4)
    calls = [
        Unit(
            (
                {"kind": EventKind.PAGE_STATE, "page_kind": kind, "pfn": pfn + n},
                {"kind": EventKind.MEMORY_FAILURE, "pfn": pfn + n},
            )
        )
        for n, kind in enumerate((PageKind.LRU, PageKind.LRU, PageKind.BUDDY))
    ]
    script = Script("a", areas.machine, ("System RAM",), (setup, *calls))
    (less,) = select([script], [Shows(profile("v6.12"))])
    assert less.units == (setup, calls[0], calls[2])


def test_kernels_that_cannot_be_replayed_are_not_covered():
    with pytest.raises(UsageError, match="only poison"):
        meet(CORPUS[0], profile("v2.6.32"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda p: p.stem)
@pytest.mark.parametrize("name", ["v7.2.13", "v5.10.223", "v4.18"])
def test_both_engines_agree_on_the_corpus(path, name):
    kernel = profile(name)
    with TraceFile.open(path) as trace:
        try:
            replayer = Replayer(trace.machine, kernel, trace.strings, keep=True)
        except UsageError:
            pytest.skip("not a machine of that kernel")
        rows = []
        for batch in trace.batches():
            replayer.feed(batch)
            given = {n: batch.given(n) for n in batch.stored_names}
            values = {n: batch.column(n).tolist() for n in batch.stored_names}
            rows += [
                {n: values[n][at] for n, mask in given.items() if (mask if isinstance(mask, bool) else mask[at])}
                for at in range(len(batch))
            ]
        replayer.finish()
        vector = [
            {n: int(kept[n][at]) for n in OUTCOME_COLUMNS if n != "check"}
            for kept in replayer.finished()
            for at in range(len(kept["check"]))
        ]
        scalar = replay_rows(trace.machine, rows, kernel.features, trace.strings)
    names = [n for n in OUTCOME_COLUMNS if n != "check"]
    differ = [
        (at, {n: (v[n], s[n]) for n in names if v[n] != s[n]}, rows[at])
        for at, (v, s) in enumerate(zip(vector, scalar, strict=True))
        if any(v[n] != s[n] for n in names)
    ]
    assert not differ, (len(differ), Counter(EventKind(r["kind"]).name for _, _, r in differ), differ[:3])
