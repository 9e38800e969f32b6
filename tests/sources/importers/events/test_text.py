"""ftrace, trace-cmd and perf text, as the tools print it, becomes the rows that it tells of."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from replay.errors import InputError, TraceError, UsageError
from replay.sources.importers.events.columns import LineReader
from replay.sources.importers.events.dialects import DIALECTS
from replay.sources.importers.events.functions import FUNCTIONS
from replay.sources.importers.events.machine import MachineSource
from replay.sources.importers.events.text import EventOptions, import_text
from replay.sources.importers.recording import import_recording
from replay.sources.importers.rejects import Rejects
from replay.sources.importers.streaming import Block
from replay.trace.reader import TraceFile
from tests.sources.importers.events.imported import DATA, calls, data, import_bytes, lookups, rows

KERNELS = ("6.1.192", "7.2.13")
REPORTS = ("tc-report-latency.txt.gz", "tc-report-raw.txt.gz", "tc-report-ns.txt.gz")
SCRIPTS = ("perf-script-ns.txt.gz", "perf-script-header.txt.gz", "perf-script-F.txt.gz", "perf-script-nocpu.txt.gz")
ALL = sorted(
    (f"{kernel}/{path.name}", "perf" if path.name.startswith("perf") else "ftrace")
    for kernel in KERNELS
    for path in (DATA / kernel).iterdir()
    if re.match(r"tc-report.*gz|tc-lost|perf-|trace-", path.name)
)


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_the_recorded_program_did(tmp_path, kernel: str) -> None:
    """The program's list of actions is known: eight children, then three pfns that are no ordinary pages."""
    import_bytes(data(f"{kernel}/tc-report.txt.gz"), tmp_path / "t.arrow", kernel=kernel)
    got = calls(tmp_path / "t.arrow")
    kinds = [row["kind"].split("_")[0] for row in got]
    assert kinds == ["memory", "soft", "memory", "memory", "memory", "unpoison",
                     "memory", "soft", "memory", "memory", "memory", "unpoison", "memory", "soft", "memory"]  # fmt: skip
    dirty_lru = 13  # in both layouts
    first, *_ = got
    assert (first["recorded_type"], first["recorded_result"], first["recorded_ret"]) == (dirty_lru, 3, 0)
    again = got[4]  # the page that was just poisoned
    assert again["pfn"] == got[3]["pfn"]
    assert again["recorded_ret"] == -133
    assert again["recorded_type"] == {"6.1.192": 255, "7.2.13": 19}[kernel]  # 255: it reported nothing
    outside = got[12]
    assert outside["pfn"] == 0x80000
    assert outside["recorded_ret"] == {"6.1.192": -6, "7.2.13": -16}[kernel]
    assert got[13]["recorded_ret"] == -6
    walked = [row for row in lookups(tmp_path / "t.arrow") if row[1] == 0x80000]
    assert {row[4] for row in walked} == {"0"}  # NULL


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("one", "others", "dialect"), [("tc-report", REPORTS, "ftrace"), ("perf-script", SCRIPTS, "perf")]
)
def test_all_forms_of_one_recording_give_the_same(
    tmp_path, kernel: str, one: str, others: tuple[str, ...], dialect: str
) -> None:
    import_bytes(data(f"{kernel}/{one}.txt.gz"), tmp_path / "one.arrow", dialect, kernel=kernel)
    assert len(calls(tmp_path / "one.arrow")) == 15
    for other in others:
        report = import_bytes(data(f"{kernel}/{other}"), tmp_path / "other.arrow", dialect, kernel=kernel)
        assert calls(tmp_path / "other.arrow") == calls(tmp_path / "one.arrow"), other
        assert lookups(tmp_path / "other.arrow") == lookups(tmp_path / "one.arrow"), other
        assert not report.rejected


@pytest.mark.parametrize(("name", "dialect"), [one for one in ALL if one[0].startswith("6.1")])
def test_blocks_do_not_show(tmp_path, name: str, dialect: str) -> None:
    """What goes on at the end of a block (lookups, calls) goes on in the next."""
    text = b"\n".join(data(name).split(b"\n")[:260]) + b"\n"
    whole, parts = (Rejects("text"), Rejects("text"))
    one = import_bytes(text, tmp_path / "one.arrow", dialect, rejects=whole)
    many = import_bytes(text, tmp_path / "many.arrow", dialect, size=700, rejects=parts)
    assert lookups(tmp_path / "many.arrow") == lookups(tmp_path / "one.arrow")
    numbered = [[row for row in rows(tmp_path / f"{n}.arrow") if "call" in row] for n in ("one", "many")]
    poison = [[row for row in part if row["kind"].startswith(("mem", "soft", "unp"))] for part in numbered]
    assert poison[0] == poison[1]
    assert many.unused == one.unused
    assert many.lost_events == one.lost_events
    assert parts.by_reason == whole.by_reason


@pytest.mark.parametrize(("name", "dialect"), ALL)
def test_columns_and_expression_read_the_same(name: str, dialect: str, monkeypatch) -> None:
    """Taking lines apart by column is only a faster way to do what the regular expression does."""
    block = Block(data(name), 1)
    fast = LineReader(DIALECTS[dialect], FUNCTIONS, Rejects("x"))
    monkeypatch.setattr("replay.sources.importers.events.columns._MANY", 8)
    events = fast.read(block)
    monkeypatch.setattr(LineReader, "_new_layout", lambda *_: None)
    slow = LineReader(DIALECTS[dialect], FUNCTIONS, Rejects("x"))
    expected = slow.read(block)
    assert len(events) == len(expected) > 0
    for column in ("line", "time", "pid", "task", "payload", "end"):
        assert getattr(events, column).tolist() == getattr(expected, column).tolist(), column
    assert [events.names[k] for k in events.kind] == [expected.names[k] for k in expected.kind]
    assert (fast.lost, fast.gaps, fast.cuts.tolist()) == (slow.lost, slow.gaps, slow.cuts.tolist())
    if not re.search("callchain|latency|nocpu|script-F", name):
        assert fast._layouts  # it did happen by column


def test_difficult_names_of_tasks() -> None:
    reader = LineReader(DIALECTS["ftrace"], FUNCTIONS, Rejects("x"))
    events = reader.read(Block(data("6.1.192/tc-report.txt.gz"), 1))
    text = events.data.decode()
    for comm in ("with space", "a-dash-9", "[brackets]", "colon: x", "x y-12 [001]"):
        assert f"{comm}-" in text
    assert set(events.pid.tolist()) == set(range(109, 118))


@pytest.mark.parametrize(
    ("name", "dialect", "lost"),
    [
        ("6.1.192/tc-lost.txt.gz", "ftrace", "EVENTS DROPPED"),
        ("6.1.192/trace-pipe-lost.txt.gz", "ftrace", "LOST"),
        ("6.1.192/perf-lost.txt.gz", "perf", "PERF_RECORD_LOST"),
    ],
)
def test_lost_events_are_counted_and_pairs_do_not_reach_across(tmp_path, name: str, dialect: str, lost: str) -> None:
    text = data(name)
    numbers = [int(n) for n in re.findall(rb"\[(?:LOST )?(\d+) EVENTS|_LOST lost (\d+)", text) for n in n if n]
    report = import_bytes(text, tmp_path / "t.arrow", dialect)
    assert lost.encode() in text
    assert report.lost_events == sum(numbers) > 0
    assert any("not to be trusted" in note for note in report.warnings)
    with TraceFile.open(tmp_path / "t.arrow") as trace:
        assert trace.provenance.lost_events == report.lost_events
    assert report.unused["call without its return"] >= len(numbers) // 4
    with pytest.raises(InputError, match="lost events"):
        import_bytes(re.sub(rb"(?m)^.*__return: .*\n", b"", text), tmp_path / "t.arrow", dialect, strict=True)


def test_an_entry_and_a_return_of_different_calls_are_not_paired(tmp_path) -> None:
    entry = "            walk-7       [000] .....     1.0000{:02}: pfn_to_online_page: (f+0x0/0xf0) pfn=0x{:x}\n"
    answer = ("            walk-7       [000] .....     1.0000{:02}: pfn_to_online_page__return: (f+0x1/0x2 <- "
              "pfn_to_online_page) page=0x{:x}\n")  # fmt: skip
    gap = entry.format(1, 0x10) + "CPU:0 [LOST 2 EVENTS]\n" + answer.format(4, 0)
    import_bytes(gap.encode(), tmp_path / "t.arrow")
    assert lookups(tmp_path / "t.arrow") == [("pfn_to_online_page", 0x10, "7", "None", "None", "None", "None")]
    # Without a word about a loss, the page tells.
    base = 0xFFFF_EA00_0000_0000
    text = "".join(entry.format(i, i) + answer.format(i, base + 64 * i) for i in range(20))
    text += entry.format(21, 0x50) + answer.format(22, base + 64 * 0x51)
    table = Rejects("x")
    import_bytes(text.encode(), tmp_path / "t.arrow", rejects=table)
    assert dict(table.by_reason) == {"a page that is not that of the pfn": 1}
    answers = {row[1]: row[4] for row in lookups(tmp_path / "t.arrow")}
    assert answers.pop(0x50) == "None"
    assert set(answers.values()) == {"1"}


def test_the_header_of_the_ring_buffer_tells_what_is_missing(tmp_path) -> None:
    report = import_bytes(data("6.1.192/trace-tgid.txt.gz"), tmp_path / "t.arrow")
    assert report.lost_events == 1755 - 358
    cut = b"\n".join(data("6.1.192/trace-tgid.txt.gz").split(b"\n")[:100]) + b"\n"
    report = import_bytes(cut, tmp_path / "t.arrow")
    assert any("it was cut" in note for note in report.warnings)
    assert report.lost_events > 1755 - 358


def test_nested_lookups_tell_the_slow_path(tmp_path) -> None:
    line = "            walk-7       [000] .....     1.0000{:02}: {}: {}\n"
    page = "page=0xffffea0000001040"
    steps = [
        ("pfn_to_online_page", "(f+0x0/0x1) pfn=0x40"), ("get_dev_pagemap", "(f+0x0/0x1) pfn=0x40"),
        ("get_dev_pagemap__return", "(g <- f) pgmap=0xffff888000001000"),
        ("pfn_to_online_page__return", "(g <- f) page=0x0"),
        ("pfn_to_online_page", "(f+0x0/0x1) pfn=0x41"), ("pfn_to_online_page__return", f"(g <- f) {page}"),
        ("get_dev_pagemap", "(f+0x0/0x1) pfn=0x42"), ("get_dev_pagemap__return", "(g <- f) pgmap=0x0"),
    ]  # fmt: skip
    text = "".join(line.format(i, *step) for i, step in enumerate(steps)).encode()
    for size in (1 << 20, 100):
        import_bytes(text, tmp_path / "t.arrow", size=size)
        assert lookups(tmp_path / "t.arrow") == [
            ("get_dev_pagemap", 0x42, "7", "None", "None", "None", "0"),
            ("pfn_to_online_page", 0x40, "7", "None", "0", "1", "1"),
            ("pfn_to_online_page", 0x41, "7", "None", "1", "0", "None"),
        ]


def test_default_names_of_probes_and_fields(tmp_path) -> None:
    text = (
        b"  cat-5  [000] .....  1.000001: p_pfn_to_online_page_0: (pfn_to_online_page+0x0/0x1) arg1=0x33\n"
        b"  cat-5  [000] .....  1.000002: r_pfn_to_online_page_0: (g <- pfn_to_online_page) arg1=0xffffea0000000cc0\n"
        b"  cat-5  [000] .....  1.000003: memory_failure__entry: (memory_failure+0x0/0x1) pfn=51 flags=0x2\n"
        b"  cat-5  [000] .....  1.000004: memory_failure__exit: (g <- memory_failure) ret=4294967163\n"
    )
    import_bytes(text, tmp_path / "t.arrow")
    assert lookups(tmp_path / "t.arrow") == [("pfn_to_online_page", 0x33, "5", "None", "1", "None", "None")]
    (call,) = calls(tmp_path / "t.arrow")
    # No tracepoint in the whole text: that the call reported no action is not known.
    assert call == {"kind": "memory_failure", "pfn": 51, "task": 5, "flags": 2, "recorded_ret": -133}


def test_changes_of_the_machine_are_not_followed_and_that_is_said(tmp_path) -> None:
    text = (
        b"  nd-5  [000] .....  1.000001: memremap_pages: (memremap_pages+0x0/0x1) pgmap=0xff nid=0\n"
        b"  nd-5  [000] .....  1.000002: sched_switch: prev_comm=a\n"
    )
    report = import_bytes(text, tmp_path / "t.arrow")
    assert report.unused == {"memremap_pages": 1, "sched_switch": 1}
    assert any("replay import recording" in note for note in report.warnings)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"some text", "no line of ftrace"),
        (b"  a-5  [000] .....  1.0001: memory_failure: (f) flags=0x1", "memory_failure without a pfn"),
        (b"  a-5  [000] .....  1.0001: memory_failure: (f) pfn=0xfff00000000000000", "memory_failure without a pfn"),
        (b"  a-5  [000] .....  1.0001: memory_failure__return: (f) ret=0", "a return of memory_failure without its entry"),
        (b"  a-5  [000] .....  1.0001: pfn_valid: (f) number=0x1", "pfn_valid without a pfn"),
        (b"  a-5  [000] .....  1.0001: pfn_valid__return: (f) ret=0", "a return of pfn_valid without its entry"),
        (b"  a-5  [000] .....  1.0001: memory_failure_event: pfn 0x1: something", "memory_failure_event in another form"),
        (b"  a-5  [000] .....  1.0001: memory_failure_event: pfn 0x1: recovery action for a yak: Failed",
         "a page type that is not known"),
        (b"  a-5  [000] .....  99999999999999.0001: memory_failure: (f) pfn=0x1", "no line of ftrace"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_rejected(tmp_path, line: bytes, reason: str) -> None:
    good = b"  a-5  [000] .....  1.0001: memory_failure_event: pfn 0x77: recovery action for huge page: Failed\n"
    table = Rejects("x")
    report = import_bytes(good + line + b"\n", tmp_path / "t.arrow", rejects=table)
    assert report.rejected == {reason: 1}
    assert [row["pfn"] for row in calls(tmp_path / "t.arrow") if "recorded_type" in row] == [0x77]
    with pytest.raises(TraceError, match="x:2"):
        import_bytes(good + line + b"\n", tmp_path / "t.arrow", rejects=Rejects("x", strict=True))


def test_files_without_events(tmp_path) -> None:
    for text in (b"", b"# tracer: nop\n#\n", b"\x00\x01\x02\n" * 10):
        with pytest.raises(InputError, match="no event"):
            import_bytes(text, tmp_path / "t.arrow")
    assert not (tmp_path / "t.arrow").exists()


def test_the_kernel_must_be_known(tmp_path) -> None:
    path = DATA / "6.1.192" / "perf-script.txt.gz"
    with pytest.raises(UsageError, match="--kernel VERSION"):
        import_text(path, tmp_path / "t.arrow", "perf", EventOptions(), Rejects("x"))
    report = import_text(DATA / "6.1.192" / "perf-script-header.txt.gz", tmp_path / "t.arrow", "perf", EventOptions(),
                         Rejects("x"))  # fmt: skip
    with TraceFile.open(tmp_path / "t.arrow") as trace:
        # Debian's releases do not say the patch level, so there is no profile; replay has to be told.
        assert (trace.machine.kernel, trace.machine.release) == ("6.1.0", "6.1.0-56-amd64")
    assert any("no profile" in note for note in report.warnings)


def test_the_machine_of_another_trace(tmp_path) -> None:
    text = data("6.1.192/tc-report.txt.gz")
    import_bytes(text, tmp_path / "one.arrow")
    options = EventOptions(MachineSource(trace=tmp_path / "one.arrow"))
    (tmp_path / "text").write_bytes(text)
    report = import_text(tmp_path / "text", tmp_path / "two.arrow", "ftrace", options, Rejects("x"))
    assert report.machine == f"of {tmp_path / 'one.arrow'}"
    assert not report.warnings
    with TraceFile.open(tmp_path / "one.arrow") as one, TraceFile.open(tmp_path / "two.arrow") as two:
        assert two.machine == one.machine
        # Without one, the memory is the sections in which there were pages.
        assert [(r.start, r.end) for r in one.machine.memory] == [(0, 0x8000)]
        assert one.provenance.parameters["machine"] == "put together from the events"
    assert rows(tmp_path / "one.arrow") == rows(tmp_path / "two.arrow")


@pytest.mark.parametrize("name", ["5.10.223-s2p-raw", "7.2.13-s2a-pmem-collision"])
def test_the_text_of_a_recording_gives_what_its_folder_gives(tmp_path, name: str) -> None:
    """Lookups and poison calls; what a folder tells beyond them (pages, pagemaps, dumps) is not in the text."""
    folder = DATA.parents[1] / "recording" / "data" / name
    import_recording(folder, tmp_path / "folder.arrow")
    options = EventOptions(MachineSource(trace=tmp_path / "folder.arrow"))
    table = Rejects("x")
    import_text(folder / "trace.txt.gz", tmp_path / "text.arrow", "ftrace", options, table)
    assert table.count == 0

    def asked(trace: Path) -> Counter[tuple[object, ...]]:
        # Ids of calls and pagemaps are the trace's own; pfn_valid is deduced in recordings.
        return Counter(
            (kind, pfn, task, ret, slow, found not in {"0", "None"})
            for kind, pfn, task, _, ret, slow, found in lookups(trace) if kind != "pfn_valid"
        )  # fmt: skip

    assert asked(tmp_path / "text.arrow") == asked(tmp_path / "folder.arrow")
    assert asked(tmp_path / "text.arrow").total() > 500
    told = ("kind", "pfn", "task", "flags", "recorded_ret", "recorded_type", "recorded_result")
    text, whole = (
        [[row.get(key) for key in told] for row in calls(tmp_path / f"{n}.arrow")] for n in ("text", "folder")
    )  # fmt: skip
    assert text == whole
    assert len(text) > 10


def test_names_of_events_are_bounded(tmp_path, monkeypatch) -> None:
    """A text that makes up names takes no more memory; what is used is still found among them."""
    monkeypatch.setattr("replay.sources.importers.events.columns._MAX_KINDS", 10)
    text = b"".join(b"  a-5  [000] .....  1.0001: event_%d: a=1\n" % i for i in range(100))
    text += b"  a-5  [000] .....  1.0001: memory_failure_event: pfn 0x77: recovery action for huge page: Failed\n"
    report = import_bytes(text, tmp_path / "t.arrow")
    assert report.unused["other events"] == 90
    assert sum(report.unused.values()) == 100
    assert report.events == {"memory_failure": 1}
