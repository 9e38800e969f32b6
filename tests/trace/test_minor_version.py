"""Files are written with the lowest minor version that has all they use, and come back as they were from other formats."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay.errors import TraceError
from replay.sources.exporters.convert import convert
from replay.trace.reader import TraceFile
from replay.trace.schema import FORMAT_MINOR, BadblocksAction, DaxAction, EventKind, NamespaceFlags
from tests.trace.build import lookup, write

NAMESPACE = {"kind": EventKind.NAMESPACE, "key": DaxAction.CREATE, "label": 0, "start": 1 << 30, "size": 1 << 30}
BAD = {"kind": EventKind.BADBLOCKS, "key": BadblocksAction.FOUND, "start": 1 << 30, "size": 512}
INFO = {**NAMESPACE, "key": DaxAction.INFO, "flags": NamespaceFlags.FSDAX, "pfn": 0x40200, "nr_pages": 0x100}
STRINGS = ['namespace0.0 {"major":1,"minor":0}']


@pytest.mark.parametrize(
    ("rows", "minor"),
    [
        ([lookup(0x100)], 0),
        ([NAMESPACE], 0),
        ([{"kind": EventKind.BADBLOCKS}], 0),
        ([lookup(0x100), {**NAMESPACE, "flags": NamespaceFlags.KEEP}], 1),
        ([INFO, lookup(0x100)], 1),
        ([BAD], 1),
    ],
)
def test_the_lowest_version_that_will_do(tmp_path: Path, rows: list[dict[str, int]], minor: int) -> None:
    path = write(tmp_path / "a.arrow", *rows, strings=STRINGS)
    with TraceFile.open(path) as trace:
        assert trace.format == (1, minor)
        assert minor <= FORMAT_MINOR
        assert trace.strings == tuple(STRINGS)
        trace.verify()


@pytest.mark.parametrize("name", ["t.parquet", "t.jsonl", "t.csv"])
@pytest.mark.parametrize("rows", [[lookup(0x100)], [INFO, BAD]])
def test_both_versions_come_back(tmp_path: Path, name: str, rows: list[dict[str, int]]) -> None:
    path = write(tmp_path / "a.arrow", *rows, strings=STRINGS)
    convert(path, str(tmp_path / name))
    convert(str(tmp_path / name), str(tmp_path / "b.arrow"))
    assert (tmp_path / "b.arrow").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({**BAD, "key": 4}, "row 0, column key: found 4; needed an action of a badblocks row: 0 FOUND, 1 REPORTED"),
        ({**BAD, "flags": 1}, "row 0, column flags: found bits 0x1"),
        ({**NAMESPACE, "flags": 32}, "row 0, column flags: found bits 0x20"),
        ({**INFO, "flags": 0}, "row 0, column flags: found neither fsdax nor devdax"),
        ({n: v for n, v in INFO.items() if n != "pfn"}, "row 0, column pfn: found null; needed the pages of the data"),
        ({n: v for n, v in INFO.items() if n != "nr_pages"}, "row 0, column pfn: found null"),
        ({**INFO, "pfn": 0x3FFFF}, "row 0, column pfn: found data 0x3ffff000-0x400fefff"),
        ({**INFO, "nr_pages": 1 << 20}, "both in this order within the namespace, 0x40000000-0x7fffffff"),
        ({**INFO, "altmap_base": 0x40201}, "mapped from 0x40201000 on"),
        ({**INFO, "value": 3}, "row 0, column value: found 3; needed an alignment"),
        ({n: v for n, v in INFO.items() if n != "size"}, "row 0, column size: found null; needed start and size"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, row: dict[str, int], words: str) -> None:
    with pytest.raises(TraceError) as refusal:
        write(tmp_path / "a.arrow", row, strings=STRINGS)
    assert words in str(refusal.value)
