"""docs/trace-format.md says what the code does."""

from __future__ import annotations

import json
import re

import pyarrow as pa
import pytest

from replay.trace import EventKind, Phase, TraceFile, Zone, write_trace
from replay.trace import layout as limits
from replay.trace.header import MachineDescription, Provenance, from_json
from replay.trace.schema import DaxAction, PgmapType
from replay.trace.validate import MAX_RUN_PAGES
from tests.trace.doc_tables import DOCUMENT, filled

TEXT = DOCUMENT.read_text()


def test_tables_are_those_of_the_schema():
    assert filled(TEXT) == TEXT, "run: python -m tests.trace.doc_tables"


def test_every_kind_has_a_meaning():
    assert len(re.findall(r"^\| \d+ \| `\w+` \|[^|]*\| \S.* \|$", TEXT, re.MULTILINE)) == len(EventKind)


@pytest.mark.parametrize("enum", [Phase, Zone, PgmapType, DaxAction])
def test_enumerations_are_those_of_the_schema(enum):
    assert ", ".join(f"{int(member)} `{member.name}`" for member in enum) in TEXT


def test_limits_are_those_of_the_code():
    table = dict(re.findall(r"^\| ([a-z ]+) \| 2\*\*(\d+) ", TEXT, re.MULTILINE))
    assert {key: 1 << int(power) for key, power in table.items()} == {
        "rows": limits.MAX_ROWS,
        "record batches": limits.MAX_BATCHES,
        "rows of a batch": limits.MAX_BATCH_ROWS,
        "bytes of the schema message and of the footer": limits.MAX_METADATA_BYTES,
        "pages of a run or range": MAX_RUN_PAGES,
    }


def test_the_worked_example_is_what_the_writer_does(tmp_path):
    blocks = dict(re.findall(r"^`(replay\.\w+)`[^\n]*\n\n```json\n(.*?)\n```", TEXT, re.MULTILINE | re.DOTALL))
    machine = from_json(MachineDescription, blocks["replay.machine"].encode(), "doc")
    provenance = from_json(Provenance, blocks["replay.provenance"].encode(), "doc")
    write_trace(
        tmp_path / "a",
        {
            "time": [10, 10, 25],
            "kind": [2, 2, 1],
            "pfn": [0x100, 0x20000, 0x140],
            "nr_pages": ([8, 0, 0], [True, 0, 0]),
        },
        machine=machine,
        provenance=provenance,
        strings=json.loads(blocks["replay.strings"]),
    )
    schema = pa.ipc.open_file(tmp_path / "a").schema
    stored = {key.decode(): json.loads(value) for key, value in schema.metadata.items()}
    assert {key: json.loads(value) for key, value in blocks.items()} == stored
    with TraceFile.open(tmp_path / "a") as trace:
        trace.verify()
        assert trace.digest in TEXT


def test_the_worked_example_can_be_followed_with_the_named_algorithms():
    """The digests of the example, from the bytes that the document writes down."""
    import hashlib

    import xxhash

    digests = {}
    for name, values, given in re.findall(
        r"^\| `(\w+)` \| `([0-9a-f ]+)` \| (?:none|`([01 ]+)`) \|$", TEXT, re.MULTILINE
    ):
        parts = [bytes.fromhex(part) for part in (values, given) if part]
        digests[name] = "".join(xxhash.xxh3_128_hexdigest(part) for part in parts)
    blocks = dict(re.findall(r"^`(replay\.\w+)`[^\n]*\n\n```json\n(.*?)\n```", TEXT, re.MULTILINE | re.DOTALL))
    stored = json.loads(blocks["replay.digest"])
    assert digests == stored["columns"]
    types = {"time": "uint64", "kind": "uint8", "pfn": "uint64", "nr_pages": "uint64"}
    whole = {key: json.loads(blocks[f"replay.{key}"]) for key in ("format", "machine", "provenance", "strings")}
    whole |= {"rows": 3, "columns": {name: {"type": types[name], "digest": digests[name]} for name in types}}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    assert stored["trace"] == "sha256:" + hashlib.sha256(text.encode()).hexdigest()
