"""rasdaemon's database -> trace: the real database, versions of its schema, times, and what cannot be used."""

from __future__ import annotations

import lzma
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay.errors import InputError, TraceError, UsageError
from replay.kernel.poison_types import LAYOUTS, ActionType, decode
from replay.session import run as replayed
from replay.sources.importers.rasdaemon import Confidence, RasdaemonReport, host_of, import_rasdaemon
from replay.sources.importers.rasdaemon.database import Database
from replay.sources.importers.rasdaemon.fields import addresses, integers, pfns, times
from replay.sources.importers.rejects import Rejects
from replay.trace.header import Resource
from replay.trace.reader import TraceFile
from replay.trace.schema import EventKind
from tests.trace.build import machine, write

from .build import DATA, database, failures

AT = "2025-03-30 01:59:00 +0100"
RECORDINGS = Path(__file__).parents[1] / "recording" / "data"


def load(path: Path) -> tuple[TraceFile, list[dict[str, int | None]]]:
    with TraceFile.open(path) as trace:
        rows = []
        for batch in trace.batches():
            columns = {}
            for name in trace.columns:
                mask = np.broadcast_to(batch.given(name), len(batch))
                values = batch.column(name).tolist()
                columns[name] = [v if there else None for v, there in zip(values, mask.tolist(), strict=True)]
            rows += [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return trace, rows


def run(path: Path, output: Path, rejects: Rejects | None = None, **host: object) -> RasdaemonReport:
    decoded = host.pop("decoded", None)
    return import_rasdaemon(path, output, host_of(**host), rejects or Rejects(path), decoded=decoded)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_each_layout_comes_back_from_the_real_database(tmp_path: Path, layout) -> None:
    """Texts that rasdaemon itself wrote for the numbers of a kernel: the trace has these numbers, or none."""
    size = len(layout.types)
    path = database(tmp_path / "r.db", f"DELETE FROM memory_failure_event WHERE id > {size}")
    run(path, tmp_path / "t.arrow", layout=layout.name, table="2024", decoded=tmp_path / "d.arrow")
    trace, rows = load(tmp_path / "t.arrow")
    numbers = [row["recorded_type"] for row in rows if row["kind"] == EventKind.MEMORY_FAILURE]
    assert len(numbers) == size
    for expected, found in enumerate(numbers):
        if expected < 19 or size == 20:  # from 19 on rasdaemon says "unknown page"
            assert found == expected
            assert decode(trace.machine.kernel, found) is layout.types[expected]
        else:
            assert found is None
    table = pa.ipc.open_file(tmp_path / "d.arrow").read_all().to_pylist()
    assert [row["id"] for row in table] == list(range(1, size + 1))
    for number, row in enumerate(table):
        decided = row["confidence"] == "exact"
        assert row["page_type"] == (layout.types[number].display if decided else None)
        assert f"{number} {layout.types[number].display}" in row["candidates"].split("; ")


def test_all_tables_of_the_real_database(tmp_path: Path) -> None:
    rejects = Rejects("r.db")
    report = run(database(tmp_path / "r.db"), tmp_path / "t.arrow", rejects, kernel="6.1.0-32-amd64", table="2024")
    trace, rows = load(tmp_path / "t.arrow")
    assert (trace.machine.kernel, trace.machine.release) == ("6.1", "6.1.0-32-amd64")
    assert report.tables["memory_failure_event"] == 24
    label = trace.strings.__getitem__
    marks = {label(row["label"]): row for row in rows if row["kind"] == EventKind.MARK}
    corrected = marks["mc_event: Corrected memory read error on CPU_SrcID#0_MC#0_Chan#0_DIMM#0"]
    assert (corrected["pfn"], corrected["value"]) == (0x12345678ABC >> 12, 3)
    assert marks["mc_event: Corrected memory read error on any memory"]["pfn"] is None
    assert marks["mce_record: Corrected error"]["pfn"] == 0x11C000
    assert marks["mce_record: no address"]["pfn"] is None
    assert marks["extlog_event: type 8 severity 2 on DIMM A1"]["pfn"] == 0x11C001
    assert marks["extlog_event: type 8 severity 2 on DIMM A1"]["value"] is None
    poison = [
        row for row in rows if row["label"] is not None and label(row["label"]).startswith("cxl_poison_event: List")
    ]
    assert [row["pfn"] for row in poison] == [0x11C002, None]
    (signal,) = [row for row in rows if row["kind"] == EventKind.SIGNAL]
    assert (signal["task"], signal["signal"], signal["recorded_code"]) == (4242, 7, 4)
    assert rejects.by_reason == {"an address beyond the machine's physical addresses": 1}
    times = [row["time"] for row in rows]
    assert times == sorted(times)
    assert times[-1] == int(datetime(2025, 3, 30, 1, 59, 50, tzinfo=UTC).timestamp()) * 10**9
    (dax,) = [row for row in rows if row["pfn"] == 0x11C011]
    assert label(dax["label"]) == 'rasdaemon "dax page": "dax page" (exact)'
    assert (dax["recorded_type"], dax["recorded_result"]) == (17, 2)
    (untold,) = [row for row in rows if row["pfn"] == 0x11C004]
    assert untold["recorded_result"] is None


def test_a_dax_page_on_a_5_10_host(tmp_path: Path) -> None:
    """With the host's machine the place decides; in a section that RAM shares, nothing does."""
    path = failures(
        tmp_path / "r.db",
        (AT, "0x208000", "unknown page", "Failed"),
        (AT, "0x108000", "unknown page", "Failed"),
        (AT, "0x200", "unknown page", "Failed"),
    )
    described = machine(
        kernel="5.10.223",
        resources=(
            Resource(0x100000, 0x1FFFFFFF, "System RAM", busy=True, ram=True),
            Resource(0x108000000, 0x10FFFFFFF, "Persistent Memory"),
            Resource(0x208000000, 0x20FFFFFFF, "Persistent Memory"),
        ),
    )
    host = write(tmp_path / "machine.arrow", machine=described)
    report = run(path, tmp_path / "t.arrow", machine=host, table="2024")
    _, rows = load(tmp_path / "t.arrow")
    calls = [row for row in rows if row["kind"] == EventKind.MEMORY_FAILURE]
    assert [row["recorded_type"] for row in calls] == [20, None, None]
    assert decode("5.10.223", 20) is ActionType.DAX
    assert {r.confidence for r, _ in report.readings} == {Confidence.PLACE, Confidence.AMBIGUOUS}
    assert not report.reconstructed
    run(path, tmp_path / "u.arrow", kernel="5.10", table="2024")
    assert [row.get("recorded_type") for row in load(tmp_path / "u.arrow")[1]] == [None] * 3


def test_a_dax_page_has_a_pagemap(tmp_path: Path) -> None:
    """The kernel reports one only for a page of a pagemap: a replay is not told otherwise, and so does not differ."""
    rows = [(AT, hex(pfn), "dax page", "Failed") for pfn in (0x208000, 0x2081FF, 0x208200, 0x210000, 1 << 40, 0x300)]
    path = failures(tmp_path / "r.db", *rows, (AT, "0x301", "dirty LRU page", "Recovered"))
    report = run(path, tmp_path / "t.arrow", kernel="6.1.192", table="2024")
    _, found = load(tmp_path / "t.arrow")
    maps = [(r["pfn"], r["nr_pages"], r["pgmap"]) for r in found if r["kind"] == EventKind.MEMREMAP_PAGES]
    assert maps == [(0x208000, 0x400, 1), (0x210000, 0x200, 2)]
    assert [r["kind"] for r in found[:2]] == [EventKind.MEMREMAP_PAGES] * 2
    assert any("2 pagemaps are assumed" in note and "2 subsections" in note for note in report.notes)
    agreement = replayed(tmp_path / "t.arrow").tally.agreement["poison action"]
    dax = 4  # those with a pagemap; for the others the notes say that a replay finds none
    assert agreement.not_compared["the state of the page is not in the trace"] >= dax


def test_texts_of_the_older_table_tell_which_it_was(tmp_path: Path) -> None:
    """Up to the last such text it was the older table for certain; then rasdaemon may have been updated."""
    path = failures(
        tmp_path / "r.db",
        (AT, "0x1", "dirty LRU page", "Recovered"),
        (AT, "0x2", "free buddy page (2nd try)", "Recovered"),
        (AT, "0x3", "dirty LRU page", "Recovered"),
    )
    run(path, tmp_path / "t.arrow", kernel="5.10", decoded=tmp_path / "d.arrow")
    table = pa.ipc.open_file(tmp_path / "d.arrow").read_all().to_pylist()
    assert [(row["number"], row["confidence"]) for row in table] == [
        ("15", "exact"),
        ("19", "exact"),
        ("13", "assumed"),
    ]


@pytest.mark.parametrize(
    ("changes", "year"),
    [
        ((), "2024"),
        (("cxl",), "2024"),
        (("cxl", "ALTER TABLE mce_record DROP COLUMN ppin"), "2020"),
        (("cxl", "DROP TABLE mce_record"), "2024"),
    ],
)
def test_the_schema_tells_which_table_to_assume(tmp_path: Path, changes: tuple[str, ...], year: str) -> None:
    statements = [s for change in changes for s in (_DROP_CXL if change == "cxl" else [change])]
    report = run(database(tmp_path / "r.db", *statements), tmp_path / "t.arrow", kernel="5.10")
    assert report.table == year
    assert any(r.confidence is Confidence.ASSUMED for r, _ in report.readings)
    assert any("rasdaemon's table of page types" in note and "assumed" in note for note in report.notes)


_DROP_CXL = [
    f"DROP TABLE cxl_{name}_event"
    for name in ("poison", "aer_ue", "aer_ce", "overflow", "generic", "general_media", "dram", "memory_module")
]


def test_columns_that_a_version_lacks_or_adds(tmp_path: Path) -> None:
    path = database(
        tmp_path / "r.db",
        "ALTER TABLE mc_event DROP COLUMN driver_detail",
        "ALTER TABLE mc_event DROP COLUMN label",
        "ALTER TABLE mc_event ADD COLUMN later TEXT",
        "ALTER TABLE memory_failure_event DROP COLUMN action_result",
        "ALTER TABLE mce_record DROP COLUMN addr",
    )
    report = run(path, tmp_path / "t.arrow", kernel="6.1")
    trace, rows = load(tmp_path / "t.arrow")
    assert report.tables["memory_failure_event"] == 24
    assert all(row.get("recorded_result") is None for row in rows)
    assert "mc_event: Corrected memory read error" in trace.strings


def test_without_a_machine_it_is_reconstructed_and_marked(tmp_path: Path) -> None:
    path = failures(
        tmp_path / "r.db", (AT, "0x108123", "dirty LRU page", "Recovered"), (AT, "0x1", "dax page", "Failed")
    )
    report = run(path, tmp_path / "t.arrow", kernel="6.1.192", table="2024")
    trace, _ = load(tmp_path / "t.arrow")
    assert report.reconstructed
    assert [(r.start, r.end) for r in trace.machine.memory] == [(0x108000, 0x110000)]
    assert any("put together from the events" in note for note in trace.provenance.notes)
    assert trace.provenance.parameters["machine"] == "put together from the events"


def test_order_and_times(tmp_path: Path) -> None:
    """Ids are the order; a clock that was set back, and a time that rasdaemon did not know, keep their place in it."""
    path = failures(
        tmp_path / "r.db",
        ("2025-03-30 01:59:10 +0100", "0x1", "huge page", "Failed"),
        ("2025-03-30 01:59:05 +0100", "0x2", "huge page", "Failed"),
        ("1970-01-01 00:00:00 +0000", "0x3", "huge page", "Failed"),
        ("2025-03-30 03:59:11 +0300", "0x4", "huge page", "Failed"),
    )
    report = run(path, tmp_path / "t.arrow", kernel="6.1")
    _, rows = load(tmp_path / "t.arrow")
    assert [row["pfn"] for row in rows] == [1, 2, 3, 4]
    first = int(datetime(2025, 3, 30, 0, 59, 10, tzinfo=UTC).timestamp()) * 10**9
    assert [row["time"] - first for row in rows] == [0, 0, 0, 10**9]
    assert "1 times set back" in report.notes
    assert "1 rows without a time" in report.notes


def test_rows_that_cannot_be_used(tmp_path: Path) -> None:
    path = failures(
        tmp_path / "r.db",
        ("yesterday", "0x1", "huge page", "Failed"),
        (None, "0x1", "huge page", "Failed"),
        ("2025-02-30 01:59:05 +0100", "0x1", "huge page", "Failed"),
        (AT, "1234", "huge page", "Failed"),
        (AT, "0x_1", "huge page", "Failed"),
        (AT, None, "huge page", "Failed"),
        (AT, b"\xff\x00", "huge page", "Failed"),
        (AT, "0xffffffffffffffff", "huge page", "Failed"),
        (AT, "0x10", None, None),
        (AT, "0x11", b"\xff", "failed"),
    )
    rejects = Rejects("r.db")
    report = run(path, tmp_path / "t.arrow", rejects, kernel="6.1")
    assert dict(rejects.by_reason) == {
        "no time of the form YYYY-MM-DD HH:MM:SS +HHMM": 3,
        "no pfn in hexadecimal": 4,
        "a pfn beyond 64 bits of address": 1,
    }
    assert report.rows == 2
    assert {r.confidence for r, _ in report.readings} == {Confidence.UNREADABLE}
    with pytest.raises(TraceError, match=r"memory_failure_event id 1.*yesterday.*--strict"):
        run(path, tmp_path / "t.arrow", Rejects("r.db", strict=True), kernel="6.1")


def test_no_row_that_can_be_used(tmp_path: Path) -> None:
    """A trace without rows; also of a database without any."""
    for name, rows in (("a.db", [("never", "0x1", "huge page", "Failed")]), ("b.db", [])):
        report = run(failures(tmp_path / name, *rows), tmp_path / "t.arrow", kernel="6.1", decoded=tmp_path / "d.csv")
        assert (report.rows, report.readings) == (0, ())
        assert load(tmp_path / "t.arrow")[1] == []


def test_many_unreadable_texts_take_no_room(tmp_path: Path) -> None:
    path = failures(tmp_path / "r.db", *((AT, "0x1", f"text {n}", "Failed") for n in range(1000)))
    report = run(path, tmp_path / "t.arrow", kernel="6.1")
    assert sum(count for _, count in report.readings) == 1000
    assert len(report.readings) < 300


def test_hosts() -> None:
    """What is said about the kernel, and what is refused because it says too little."""
    assert host_of(kernel="v5.10.223").kernel == "5.10.223"
    assert host_of(kernel="6.12.38+deb13-amd64").layout.name == "get-hwpoison"
    backported = host_of(kernel="v4.18+memory-failure-dev-pagemap+unsplit-thp-event")
    assert (backported.layout.name, backported.kernel) == (
        "unsplit-thp", "4.18+memory-failure-dev-pagemap+unsplit-thp-event"
    )  # fmt: skip
    only = host_of(layout="pfn-map")
    assert (only.kernel, only.layout.name) == ("6.19", "pfn-map")
    assert any("kernel not given" in note for note in only.notes)
    enterprise = host_of(kernel="4.18.0-553.el8_10.x86_64", layout="unsplit-thp")
    assert (enterprise.kernel, enterprise.release) == ("4.18", "4.18.0-553.el8_10.x86_64")
    assert any("another layout" in note for note in enterprise.notes)
    for arguments, message in (
        ({}, "rasdaemon does not store the kernel.*--kernel.*--layout"),
        ({"kernel": "4.18.0-553.el8_10.x86_64"}, "features of later versions.*memory_failure_event/format"),
        ({"kernel": "6.11"}, "not known.*--layout"),
        ({"kernel": "next"}, "is not a version"),
        ({"kernel": "v4.18+unsplit-thp-evnt"}, "did you mean unsplit-thp-event"),
        ({"layout": "L5"}, "unknown layout 'L5'"),
    ):
        with pytest.raises(UsageError, match=message):
            host_of(**arguments)


@pytest.mark.parametrize(
    ("folder", "name"), [("5.10.223-s2p-raw", "unsplit-thp"), ("7.2.13-s2a-pmem-collision", "pfn-map")]
)
def test_the_host_s_own_format_file_is_the_layout(folder: str, name: str) -> None:
    """Copies that real kernels gave."""
    assert host_of(layout=str(RECORDINGS / folder / "memory_failure_event.format")).layout.name == name


def test_a_format_file_of_another_event(tmp_path: Path) -> None:
    other = tmp_path / "format"
    other.write_text("name: mc_event\n")
    with pytest.raises(InputError, match="no table of page types"):
        host_of(layout=str(other))
    other.write_text('print fmt: "%s", __print_symbolic(REC->type, { 0, "dax page" })')
    with pytest.raises(InputError, match=r"0 'dax page'.*those of a known layout"):
        host_of(layout=str(other))


def test_types_that_the_kernel_of_the_header_lacks_are_left_out(tmp_path: Path) -> None:
    """The number of a trace is read with its kernel's layout; one that would mean something else there is not written."""
    path = failures(tmp_path / "r.db", (AT, "0x1", "dax page", "Failed"), (AT, "0x2", "dirty LRU page", "Failed"))
    run(path, tmp_path / "t.arrow", kernel="4.18.0-553.el8_10.x86_64", layout="unsplit-thp", table="2020")
    trace, rows = load(tmp_path / "t.arrow")
    assert [row["recorded_type"] for row in rows] == [None, 15]
    assert decode(trace.machine.kernel, 15) is ActionType.DIRTY_LRU
    assert trace.strings[rows[0]["label"]] == 'rasdaemon "dax page": "dax page" (exact)'


def test_what_is_no_database(tmp_path: Path) -> None:
    for content, message in (
        (b"", "tables: none"),
        (b"\x00" * 100, "SQLite refuses"),
        (b"hello" * 1000, "not a database"),
    ):
        (tmp_path / "r.db").write_bytes(content)
        with pytest.raises(InputError, match=message):
            run(tmp_path / "r.db", tmp_path / "t.arrow", kernel="6.1")
    with pytest.raises(InputError, match="no such file"):
        run(tmp_path / "none.db", tmp_path / "t.arrow", kernel="6.1")


def test_a_stranger_s_schema_is_not_run(tmp_path: Path) -> None:
    """Views and virtual tables with the names of rasdaemon's tables are none of them."""
    path = tmp_path / "r.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE VIEW memory_failure_event AS SELECT 1 AS id, 2 AS timestamp")
    connection.execute("CREATE TABLE disk_errors (id INTEGER PRIMARY KEY, timestamp TEXT)")
    connection.commit()
    connection.close()
    with pytest.raises(InputError, match="tables: disk_errors"):
        run(path, tmp_path / "t.arrow", kernel="6.1")


WHOLE = lzma.decompress((DATA / "ras-mc_event-0.8.4.db.xz").read_bytes())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=40),
    st.one_of(st.none(), st.integers(0, len(WHOLE))),
)
def test_mutated_databases(tmp_path: Path, changes: list[tuple[int, int]], cut: int | None) -> None:
    """Rows, rejects or an InputError; nothing else."""
    content = bytearray(WHOLE)
    for at, value in changes:
        content[at] = value
    path = tmp_path / "r.db"
    path.write_bytes(bytes(content[:cut]))
    try:
        run(path, tmp_path / "t.arrow", kernel="6.1")
    except InputError:
        return
    load(tmp_path / "t.arrow")


def test_mutated_pages_of_the_table(tmp_path: Path) -> None:
    """Every byte of the first page of memory_failure_event's rows, one after the other."""
    at = WHOLE.index(b"reserved kernel page")
    for offset in range(at - 40, at + 40):
        content = bytearray(WHOLE)
        content[offset] ^= 0xA5
        (tmp_path / "r.db").write_bytes(content)
        try:
            run(tmp_path / "r.db", tmp_path / "t.arrow", kernel="6.1")
        except InputError:
            continue


def test_times_by_the_calendar() -> None:
    texts = [
        "2024-02-29 23:59:60 -0130",
        "2023-02-29 00:00:00 +0000",
        "2025-01-01 24:00:00 +0000",
        "2025-01-01 00:00:00+0000",
    ]
    values, fine = times([text.encode() for text in texts] + [None, 5, b"2025-01-01 00:00:00 +0000x", b"\xff" * 25])
    assert fine.tolist() == [True] + [False] * 7
    assert values[0] == int(datetime(2024, 3, 1, 1, 30, tzinfo=UTC).timestamp()) * 10**9


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001
def test_times_as_datetime_has_them(when: datetime, minutes: int) -> None:
    sign, away = "-" if minutes < 0 else "+", abs(minutes)
    text = f"{when:%Y-%m-%d %H:%M:%S} {sign}{away // 60:02d}{away % 60:02d}"
    values, fine = times([text.encode()])
    expected = int(datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z").timestamp())
    assert fine.all()
    assert int(values[0]) == expected * 10**9


def test_numbers_of_every_sqlite_type() -> None:
    values, given_ = integers([1, None, 2.5, b"7", -1])
    assert (values.tolist(), given_.tolist()) == ([1, 0, 0, 0, -1], [True, False, False, False, True])
    frames, known = addresses([-4096, 0, -1, 0x5000], 12)
    assert frames[known].tolist() == [(2**64 - 4096) >> 12, 5]
    numbers, there = pfns(
        [b"0x10", b"10", b"0x", b"0x 1", 16, None, b"0x1_0", b"0xffffffffffffffff", b"0x" + b"1" * 17]
    )
    assert there.tolist() == [True, False, False, False, False, False, False, True, False]
    assert numbers[there].tolist() == [16, 2**64 - 1]


def test_long_values_are_cut_when_they_are_read(tmp_path: Path) -> None:
    """One row must not take as much memory as a stranger likes; what is short keeps its type."""
    path = failures(
        tmp_path / "r.db", (AT, "0x1", "y" * 900_000, "Recovered"), (AT, "0x2", "dirty LRU page", "Recovered")
    )
    with Database(path) as opened:
        (chunk,) = opened.chunks("memory_failure_event", ("pfn", "page_type"))
    assert [len(value) for value in chunk.columns["page_type"]] == [4000, 14]
    assert all(isinstance(value, int) for value in chunk.columns["id"])


@pytest.mark.parametrize("name", [b"z\nzz", b"z\xe2zz"])
def test_what_sqlite_says_stands_on_one_line(tmp_path: Path, name: bytes) -> None:
    """Its messages quote names out of the file, whatever their bytes."""
    path = database(tmp_path / "r.db", "CREATE TABLE zzzz (id INTEGER)")
    damaged = path.read_bytes().replace(b"CREATE TABLE zzzz", b"CREATE TABLX zzzz").replace(b"zzzz", name)
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="what SQLite refuses") as raised:
        run(path, tmp_path / "t.arrow", kernel="6.1.192")
    assert "\n" not in str(raised.value)
