"""Parquet, CSV and JSON lines: the same trace comes back; what was changed or damaged is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay.errors import InputError, TraceError, UnknownNameError, UsageError
from replay.sources.exporters.convert import convert
from replay.sources.exporters.formats import FORMATS, format_of_input, format_of_output
from replay.trace.reader import TraceFile
from replay.trace.schema import COLUMNS, EventKind
from tests.trace.build import content, lookup, write

RECORDED = Path(__file__).parents[3] / "traces" / "recorded"
TABLES = ("t.parquet", "t.csv", "t.csv.gz", "t.csv.zst", "t.csv.lz4", "t.jsonl", "t.ndjson.zst")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Values at the ends of their types, nulls, a label, a column that is all null."""
    return write(
        tmp_path / "small.arrow",
        lookup(0x100, nr_pages=8, recorded_ret=1, recorded_slow=0),
        lookup(1 << 51, stride=-1, recorded_bits=(1 << 64) - 1),
        {"kind": EventKind.MARK, "label": 1, "value": -(1 << 63), "time": (1 << 63) + 5, "recorded_ret": (1 << 63) - 1},
        strings=["a", 'quotes " and, commas\nand lines \u00e9'],
        columns=("time", "kind", "pfn", "nr_pages", "stride", "label", "value", "task", "recorded_ret", "recorded_slow",
                 "recorded_bits"),
    )  # fmt: skip


def there_and_back(source: Path, tmp_path: Path, name: str, **options: str) -> tuple[str, str]:
    out = convert(str(source), str(tmp_path / name), **options)
    back = convert(str(tmp_path / name), str(tmp_path / "back.arrow"))
    assert out.loses == back.loses == ()
    assert not back.changed
    return out.digest, back.digest


@pytest.mark.parametrize("name", TABLES)
def test_the_same_trace_comes_back(small: Path, tmp_path: Path, name: str) -> None:
    """Header, columns, values, and which of them are given."""
    before, after = there_and_back(small, tmp_path, name)
    assert before == after
    with TraceFile.open(small) as first, TraceFile.open(tmp_path / "back.arrow") as second:
        assert content(first) == content(second)
        assert (first.machine, first.provenance, first.strings) == (second.machine, second.provenance, second.strings)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.jsonl"])
@pytest.mark.parametrize("trace", ["6.1.192-s6-poison-dax", "7.2.13-s2a-pmem-collision"])
def test_recorded_traces_come_back(tmp_path: Path, trace: str, name: str) -> None:
    before, after = there_and_back(RECORDED / f"{trace}.arrow", tmp_path, name)
    assert before == after


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.jsonl"])
def test_a_trace_without_rows(tmp_path: Path, name: str) -> None:
    before, after = there_and_back(write(tmp_path / "empty.arrow"), tmp_path, name)
    assert before == after


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_archives(small: Path, tmp_path: Path, codec: str) -> None:
    """Packed Arrow and Parquet hold the same trace."""
    packed = convert(str(small), str(tmp_path / "packed.arrow"), codec=codec)
    with TraceFile.open(tmp_path / "packed.arrow") as trace:
        assert (trace.compressed, trace.digest) == (codec, packed.digest)
        trace.verify()
    assert len(set(there_and_back(small, tmp_path, "t.parquet", codec=codec))) == 1
    assert pq.ParquetFile(tmp_path / "t.parquet").metadata.row_group(0).column(0).compression == codec.upper()
    assert convert(str(tmp_path / "packed.arrow"), str(tmp_path / "plain.arrow")).digest == packed.digest


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.fixed_dictionaries(
            {"pfn": st.integers(0, (1 << 52) - 1)},
            optional={
                "nr_pages": st.integers(1, 1 << 10), "task": st.integers(0, (1 << 32) - 1),
                "recorded_ret": st.integers(-(1 << 63), (1 << 63) - 1), "recorded_slow": st.integers(0, 1),
            },
        ),
        max_size=20,
    ),
    st.sampled_from(["t.parquet", "t.csv", "t.jsonl"]),
)  # fmt: skip
def test_any_rows_come_back(tmp_path: Path, rows: list[dict[str, int]], name: str) -> None:
    last = (1 << 52) - 1
    events = [lookup(min(row.pop("pfn"), last - row.get("nr_pages", 1)), **row) for row in map(dict, rows)]
    before, after = there_and_back(write(tmp_path / "any.arrow", *events), tmp_path, name)
    assert before == after


def change(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("t.csv", b",8,", b",9,"),
        ("t.jsonl", b'"nr_pages":8', b'"nr_pages":9'),
        ("t.csv.header.json", b"a small", b"A small"),
    ],
)
def test_changed_tables(small: Path, tmp_path: Path, name: str, old: bytes, new: bytes) -> None:
    """Refused; with take_changes taken as they are, and the trace says so."""
    table = str(tmp_path / name.removesuffix(".header.json"))
    convert(str(small), table)
    change(tmp_path / name, old, new)
    output = tmp_path / "back.arrow"
    with pytest.raises(TraceError, match=r"content with the identity sha256:.*--take-changes"):
        convert(table, str(output))
    assert not output.exists()
    taken = convert(table, str(output), take_changes=True)
    assert taken.changed
    with TraceFile.open(output) as trace:
        trace.verify()
        assert "changed after it was written" in trace.provenance.notes[-1]
    assert sorted(p.name for p in tmp_path.iterdir() if "replay-convert" in p.name or p.name.startswith(".")) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("t.csv", b"256", b"25x", "25x"),
        ("t.csv", b"256", b"99999999999999999999999", "99999999999999999999999"),
        ("t.csv", b"256", b"-1", "-1"),
        ("t.csv", b'"pfn"', b'"pfm"', "the columns .*pfm.*as in"),
        ("t.csv", b'"pfn",', b"", "cannot be read"),
        ("t.csv.header.json", b'"major":1', b'"major":2', "format"),
        ("t.csv.header.json", b"{", b"[", "not JSON"),
        ("t.csv.header.json", b'"columns"', b'"Columns"', "no 'columns'"),
        ("t.csv.header.json", b'"time",', b'"tine",', "columns of the format"),
        ("t.jsonl", b'"pfn":256', b'"pfn":"x"', "cannot be read"),
        ("t.jsonl", b'"pfn":256', b'"pfo":256', "cannot be read"),
        ("t.jsonl", b'{"replay"', b'{"repley"', "t.jsonl:1"),
        ("t.jsonl", b'"pfn":256', b'"pfn":2e3', "cannot be read"),
    ],
)
def test_damaged_tables(small: Path, tmp_path: Path, name: str, old: bytes, new: bytes, message: str) -> None:
    table = str(tmp_path / name.removesuffix(".header.json"))
    convert(str(small), table)
    change(tmp_path / name, old, new)
    with pytest.raises(TraceError, match=message) as error:
        convert(table, str(tmp_path / "back.arrow"))
    assert len(str(error.value).splitlines()) == 1


def test_rows_that_the_format_does_not_allow(small: Path, tmp_path: Path) -> None:
    """An edited table is checked as every trace is; the error names the table."""
    convert(str(small), str(tmp_path / "t.csv"))
    change(tmp_path / "t.csv", b",8,", b",0,")
    with pytest.raises(TraceError, match=r"t\.csv: row 0, column nr_pages"):
        convert(str(tmp_path / "t.csv"), str(tmp_path / "back.arrow"), take_changes=True)


def test_a_header_that_is_not_there(small: Path, tmp_path: Path) -> None:
    convert(str(small), str(tmp_path / "t.csv"))
    (tmp_path / "t.csv.header.json").unlink()
    with pytest.raises(TraceError, match="keep both files together"):
        convert(str(tmp_path / "t.csv"), str(tmp_path / "back.arrow"))
    pq.write_table(pa.table({"time": [1]}), tmp_path / "other.parquet")
    with pytest.raises(TraceError, match="no 'format'"):
        convert(str(tmp_path / "other.parquet"), str(tmp_path / "back.arrow"))


def test_parquet_with_other_columns(small: Path, tmp_path: Path) -> None:
    """The header says which columns there are; anything else is not what was written."""
    convert(str(small), str(tmp_path / "t.parquet"))
    table = pq.read_table(tmp_path / "t.parquet")
    pq.write_table(table.drop_columns(["pfn"]), tmp_path / "u.parquet")
    with pytest.raises(TraceError, match="those of its header"):
        convert(str(tmp_path / "u.parquet"), str(tmp_path / "back.arrow"))


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.jsonl", "t.csv.zst"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_tables(small: Path, tmp_path: Path, name: str, data: st.DataObject) -> None:
    """The same trace, or a TraceError; never another trace."""
    digest = convert(str(small), str(tmp_path / name)).digest
    original = bytearray((tmp_path / name).read_bytes())
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(original) - 1), st.integers(0, 255)), max_size=5)):
        original[at] = value
    (tmp_path / name).write_bytes(original[: data.draw(st.one_of(st.none(), st.integers(0, len(original))))])
    with suppress(InputError):
        assert convert(str(tmp_path / name), str(tmp_path / "back.arrow")).digest == digest


def test_formats_by_name() -> None:
    for name, expected in (
        ("a.parquet", "parquet"), ("a.csv.zst", "csv"), ("a.jsonl", "jsonl"), ("a.arrow", "arrow"), ("a.json", "perfetto"),
        ("a.perfetto.json", "perfetto"), ("a.oracleGeneral", "oracle-general"), ("a.oracleGeneral.bin", "oracle-general"),
    ):  # fmt: skip
        assert format_of_output(name, None).name == expected
    assert format_of_output("a.txt", "csv").name == "csv"
    with pytest.raises(UsageError, match="does not say which format"):
        format_of_output("a.txt", None)
    with pytest.raises(UnknownNameError, match="did you mean parquet"):
        format_of_output("a.txt", "parqet")
    assert {one.name for one in FORMATS if not one.loses} == {"arrow", "parquet", "csv", "jsonl"}


def test_inputs(small: Path, tmp_path: Path) -> None:
    """Arrow and Parquet are known by their first bytes, whatever they are called."""
    renamed = tmp_path / "trace.data"
    renamed.write_bytes(small.read_bytes())
    assert format_of_input(str(renamed)).name == "arrow"
    for name in ("none.csv", "x.perfetto.json", "x.txt"):
        if not name.startswith("none"):
            (tmp_path / name).write_text("{}")
        with pytest.raises(InputError):
            format_of_input(str(tmp_path / name))


def test_requests_that_contradict_themselves(small: Path, tmp_path: Path) -> None:
    for output, options, message in (
        ("t.csv", {"codec": "zstd"}, "ends in .gz, .zst or .lz4"),
        ("t.parquet", {"profile": "v6.1"}, "--profile shows verdicts"),
        ("t.parquet", {"codec": "gzip"}, "unknown compression"),
    ):
        with pytest.raises(UsageError, match=message):
            convert(str(small), str(tmp_path / output), **options)
    with pytest.raises(UsageError, match="the trace itself"):
        convert(str(small), str(small))
    with pytest.raises(UsageError, match="cannot be written"):
        convert(str(small), str(tmp_path / "none" / "t.parquet"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match="no regular file"):
        convert(str(small), str(tmp_path / "folder.csv"))


def test_every_column_has_a_type_that_all_tables_hold(tmp_path: Path) -> None:
    """All columns of the format, at the ends of their types."""
    from replay.sources.exporters.header import row_schema

    schema = row_schema(tuple(COLUMNS))
    for field in schema:
        assert pa.types.is_integer(field.type)
    assert json.loads(json.dumps(list(COLUMNS))) == schema.names
