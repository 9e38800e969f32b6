"""The rejects table keeps every entry, in order, in bounded memory; strict imports stop at the first."""

import csv

import pyarrow as pa
import pytest

from replay.errors import TraceError, UsageError
from replay.sources.importers import rejects as module
from replay.sources.importers.rejects import TEXT_LENGTH, Rejects


def read(path):
    return pa.ipc.open_file(path).read_all().to_pylist()


def test_places_reasons_and_texts_come_back(tmp_path):
    table = Rejects("dmesg.txt")
    table.add(3, "no event", "some text")
    table.add("mc_event id 7", "no pfn", b"\xff\xfe raw")
    table.write(tmp_path / "rejects.arrow")
    assert read(tmp_path / "rejects.arrow") == [
        {"line": 3, "where": None, "reason": "no event", "text": "some text"},
        {"line": None, "where": "mc_event id 7", "reason": "no pfn", "text": "\\xff\\xfe raw"},
    ]
    assert (table.count, dict(table.by_reason)) == (2, {"no event": 1, "no pfn": 1})


def test_entries_that_went_to_disk_stand_before_those_that_did_not(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_IN_MEMORY", 4)
    table = Rejects("x")
    for line in range(1, 12):
        table.add(line, f"reason {line % 2}", str(line))
        assert len(table._held) < 4
    for _ in range(2):  # writing does not use it up
        table.write(tmp_path / "rejects.arrow")
        assert [row["line"] for row in read(tmp_path / "rejects.arrow")] == list(range(1, 12))
    table.add(12, "reason 0", "later")
    table.write(tmp_path / "rejects.arrow")
    assert [row["line"] for row in read(tmp_path / "rejects.arrow")] == list(range(1, 13))
    assert dict(table.by_reason) == {"reason 1": 6, "reason 0": 6}


def test_csv_by_suffix(tmp_path):
    table = Rejects("x")
    table.add(1, "a, b", 'line\nwith "quotes"')
    table.write(tmp_path / "rejects.csv")
    with open(tmp_path / "rejects.csv", newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"line": "1", "where": "", "reason": "a, b", "text": 'line\nwith "quotes"'}
        ]


@pytest.mark.parametrize("name", ["rejects.csv", "rejects.arrow"])
def test_an_empty_table_is_a_file_as_well(tmp_path, name):
    Rejects("x").write(tmp_path / name)
    if name.endswith(".arrow"):
        assert read(tmp_path / name) == []
    else:
        assert (tmp_path / name).read_text().strip() == '"line","where","reason","text"'


@pytest.mark.parametrize("text", ["ä" * 1000, b"\xff" * 1000, "\ud800" * 1000])
def test_texts_are_cut(tmp_path, text):
    table = Rejects("x")
    table.add(1, "long", text)
    table.write(tmp_path / "rejects.arrow")
    (row,) = read(tmp_path / "rejects.arrow")
    assert 0 < len(row["text"].replace("\\ud800", "x")) <= TEXT_LENGTH


def test_strict_says_where_and_what():
    with pytest.raises(TraceError, match=r"trace.txt:12: found 'a line' \(no event\)"):
        Rejects("trace.txt", strict=True).add(12, "no event", "a line")
    with pytest.raises(TraceError, match=r"x.db: mc_event id 7: found"):
        Rejects("x.db", strict=True).add("mc_event id 7", "no event", "a line")


def test_summary_names_the_first_of_each_reason():
    table = Rejects("x")
    for line in (4, 5, 6):
        table.add(line, "no event", f"text {line}")
    table.add("id 9", "no pfn", "p")
    assert table.summary() == [
        "3 rejected (no event), the first at line 4: 'text 4'",
        "1 rejected (no pfn), the first at id 9: 'p'",
    ]


@pytest.mark.parametrize("name", ["rejects.csv", "rejects.arrow"])
def test_a_place_that_cannot_be_written(tmp_path, name):
    with pytest.raises(UsageError, match="cannot be written"):
        Rejects("x").write(tmp_path / "missing" / name)
