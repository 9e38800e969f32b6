"""Whole folders: real recordings thinned to a size for tests, and recordings that are refused."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from pathlib import Path

import pytest

from replay.errors import InputError
from replay.sources.importers.recording import import_recording, read_recording
from replay.trace.reader import TraceFile
from replay.trace.schema import EventKind, Phase
from tests.sources.importers.recording.build import Lab, as_rows, expand

DATA = Path(__file__).parent / "data"
SAMPLES = ("7.2.13-s2a-pmem-collision", "5.10.223-s2p-raw")


def naive(folder: Path) -> Counter[tuple[int, ...]]:
    """Task, pfn, page?, slow? of every pfn_to_online_page, read line by line without any of the importer's code."""
    result: Counter[tuple[int, ...]] = Counter()
    opened: dict[int, list[int]] = {}
    with gzip.open(folder / "trace.txt.gz", "rt") as lines:
        for line in lines:
            found = re.match(
                r" *\S.*-(\d+) +\[\d+\] \S+ +[\d.]+: (\w+): .*?(?:pfn=(\S+))?(?: ?(?:page|pgmap)=(\S+))?$", line
            )
            if not found:
                continue
            task, event = int(found[1]), found[2]
            value = int(found[4] or "0", 16)
            if event == "pfn_to_online_page":
                opened[task] = [int(found[3], 16), 0]
            elif event == "get_dev_pagemap" and task in opened:
                opened[task][1] = 1
            elif event == "pfn_to_online_page__return":
                pfn, slow = opened.pop(task)
                result[task, pfn, int(value != 0), slow] += 1
            elif event == "pfn_to_online_page_inlined":
                result[task, int(found[3], 16), int(value != 0), -1] += 1
    return result


@pytest.mark.parametrize("name", SAMPLES)
def test_every_lookup_of_a_real_recording(name: str) -> None:
    columns, _, _, _ = read_recording(DATA / name)
    found = Counter(lookup[:4] for lookup in expand(as_rows(columns), EventKind.PFN_TO_ONLINE_PAGE))
    assert found == naive(DATA / name)


def test_a_real_recording(tmp_path: Path) -> None:
    stages: list[tuple[str, float]] = []
    report = import_recording(
        DATA / SAMPLES[0], tmp_path / "a.trace", progress=lambda stage, part: stages.append((stage, part))
    )
    trace = TraceFile.open(str(tmp_path / "a.trace"))
    assert trace.rows == report.rows
    assert (report.transitions, report.dumps, report.lost_events) == (39, 11, 0)
    assert report.warnings == (
        "the page of 17 of 621 poison calls was told by what the call itself did",
        "the page of 183 of 621 poison calls is not described: kpageflags has no entry for it",
    )
    assert "mark VICTIM" not in report.unused
    assert (trace.provenance.source, trace.provenance.name) == ("recording", "7.2.13/s2a-pmem-collision")
    assert trace.provenance.clock == "global"
    assert trace.provenance.tool.startswith("pfn-replay ")
    assert trace.machine.kernel == "7.2.13"
    assert "STEP 02 begin load-nd-e820" in trace.strings
    assert stages[-1] == ("done", 1.0)
    assert [part for _, part in stages] == sorted(part for _, part in stages)


def test_lookups_in_real_race_windows() -> None:
    """DAMON asked while pagemaps were mapped and unmapped; nothing else in this recording is uncertain."""
    rows = as_rows(read_recording(DATA / SAMPLES[0])[0])
    windows = [(r, rows[r["row"] + r["window"]]) for r in rows if r["window"]]
    assert [(r["pfn"], r["recorded_ret"], r.get("recorded_pgmap"), target["kind"]) for r, target in windows] == [
        (0x12ABD6, 0, None, EventKind.MEMREMAP_PAGES),
        (0x13C5B5, 1, 0, EventKind.MEMUNMAP_PAGES),
        (0x138CD3, 1, 0, EventKind.MEMUNMAP_PAGES),
    ]
    assert {target["phase"] for _, target in windows} == {Phase.BEGIN}


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        import_recording(DATA / SAMPLES[1], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_events_that_are_not_needed_are_counted(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.line("signal_generate", "sig=7 errno=0 code=4 comm=a pid=1 grp=0 res=0")
    lab.line("get_hwpoison_page", "(get_hwpoison_page+0x0/0x1) page=0x1 flags=0x0")
    lab.lines.append("some note of the recorder")
    assert lab.read()[2].unused == {"signal_generate": 1, "get_hwpoison_page": 1, "line that is no event": 1}


def lose_header(lab: Lab) -> Path:
    return lab.save(written=len(lab.lines) + 5)


def lose_line(lab: Lab) -> Path:
    lab.lines.insert(1, "CPU:0 [LOST 5 EVENTS]")
    return lab.save()


def lose_stats(lab: Lab) -> Path:
    lab.files["trace_stats.txt"] = "[cpu0]\noverrun: 3\ndropped events: 2\n"
    return lab.save()


def lose_calls(lab: Lab) -> Path:
    lab.files["kprobe_profile.txt"] = "  memory_failure   10   5\n"
    return lab.save()


@pytest.mark.parametrize("lose", [lose_header, lose_line, lose_stats, lose_calls])
def test_lost_events(tmp_path: Path, lose: object) -> None:
    lab = Lab(tmp_path / "lab")
    lab.online(0x100000)
    folder = lose(lab)  # type: ignore[operator]
    with pytest.raises(InputError, match=r"lost events: 5 .*--allow-loss") as error:
        import_recording(folder, tmp_path / "a.trace")
    assert error.value.exit_code == 3
    assert not (tmp_path / "a.trace").exists()
    assert import_recording(folder, tmp_path / "a.trace", allow_loss=True).lost_events == 5
    assert TraceFile.open(str(tmp_path / "a.trace")).provenance.lost_events == 5


def test_a_part_whose_call_was_lost(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.enter("section_deactivate", pfn="0x10c000", nr_pages="0x4000")
    lose_calls(lab)
    rows, _, provenance, _ = lab.read(allow_loss=True)
    assert all(r["kind"] >= EventKind.MARK for r in rows)
    assert "without its caller" in provenance.notes[0]


def test_no_trace(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.save()
    (tmp_path / "trace.txt").unlink()
    with pytest.raises(InputError, match=r"trace\.txt"):
        import_recording(tmp_path, tmp_path / "a.trace")


def test_a_probe_that_was_defined_otherwise(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.enter("online_pages", start="0x1")
    with pytest.raises(InputError, match=r"trace\.txt:6.*pfn="):
        lab.read()


def test_recordings_without_a_list_of_probes(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    del lab.files["kprobe_events.txt"]
    lab.online(0x100000)
    assert "recorded_slow" not in lab.rows(EventKind.PFN_TO_ONLINE_PAGE)[0]
    lab.online(0x108000, page=True, pgmap=0)
    assert [r["recorded_slow"] for r in lab.rows(EventKind.PFN_TO_ONLINE_PAGE)] == [0, 1]
