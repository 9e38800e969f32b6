"""A damaged or foreign file is refused with a TraceError of one line, and with nothing else."""

from __future__ import annotations

import os
import struct
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pytest

from replay.errors import TraceError
from replay.trace import EventKind, TraceFile
from replay.trace.layout import read_layout
from tests.trace.build import HEADER, columns, content, forge, lookup, machine, write

U64, U8 = pa.uint64(), pa.uint8()
EVENTS = [lookup(n, task=n) if n % 3 else lookup(n) for n in range(20)]


def good(**changes):
    """Arrow arrays of a small sound trace."""
    arrays = {"time": pa.array([1, 2, 3], U64), "kind": pa.array([1, 2, 3], U8), "pfn": pa.array([4, 5, 6], U64)}
    arrays.update(changes)
    return {name: array for name, array in arrays.items() if array is not None}


def read(path):
    with TraceFile.open(path) as trace:
        return trace.digest, trace.machine, trace.provenance, trace.strings, content(trace)


def refused(path, *parts):
    """Assert that reading fails with one line that says where, what was found, what was needed, and all parts."""
    with pytest.raises(TraceError) as caught:
        read(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(str(path))
    assert ": found " in message
    assert "; needed " in message
    for part in parts:
        assert part in message
    return message


def test_the_forge_makes_sound_files(tmp_path):
    read(forge(tmp_path / "a", good()))
    read(forge(tmp_path / "b", good(task=pa.array([1, None, 3], pa.uint32())), batch_rows=1, compression="zstd"))


# Not an Arrow file ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"", b"A", b"time,kind\n1,2\n" * 40, b"ARROW1\0\0", b"ARROW1\0\0" + bytes(100) + b"ARROW1", bytes(5000)],
    ids=["empty", "one byte", "text", "magic only", "two magics", "zeros"],
)
def test_foreign_content_is_refused(tmp_path, data):
    path = tmp_path / "a.arrow"
    path.write_bytes(data)
    refused(path)


def test_what_is_no_regular_file_is_refused(tmp_path):
    refused(tmp_path / "missing", "No such file")
    refused(tmp_path, "no regular file")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "no regular file")


def test_an_arrow_stream_and_a_parquet_file_are_refused(tmp_path):
    table = pa.table(good())
    with pa.OSFile(str(tmp_path / "stream"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    refused(tmp_path / "stream", "an Arrow IPC file")
    import pyarrow.parquet as pq

    pq.write_table(table, tmp_path / "parquet")
    refused(tmp_path / "parquet", "an Arrow IPC file")


# Damage ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_every_truncation_is_noticed(tmp_path, compression):
    whole = write(tmp_path / "whole", *EVENTS, compression=compression, batch_rows=8).read_bytes()
    path = tmp_path / "cut"
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        refused(path)


def flips(tmp_path, compression, positions, mask):
    whole = write(tmp_path / "whole", *EVENTS, compression=compression, batch_rows=8, strings=["x"]).read_bytes()
    expected = read(tmp_path / "whole")
    path = tmp_path / "flipped"
    noticed = 0
    for position in positions(len(whole)):
        data = bytearray(whole)
        data[position] ^= mask(position)
        path.write_bytes(data)
        try:
            actual = read(path)
        except TraceError as error:
            assert len(str(error).splitlines()) == 1, position  # noqa: PT017 - which error is not known here
            noticed += 1
        else:
            assert actual == expected, position  # padding, or a reserved byte
    return noticed


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path, compression):
    """Sampled over the whole file: schema message, record batches, footer, magic."""
    assert flips(tmp_path, compression, lambda size: range(0, size, 13), lambda position: 1 << position // 13 % 8)


@pytest.mark.slow
def test_any_changed_byte_is_noticed_or_changes_nothing(tmp_path):
    assert flips(tmp_path, None, range, lambda position: 0xFF if position % 2 else 1 << position // 2 % 8)


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_damage_that_is_not_looked_for_still_causes_no_other_error(tmp_path, compression):
    whole = write(tmp_path / "whole", *EVENTS, compression=compression, batch_rows=8).read_bytes()
    path = tmp_path / "flipped"
    for position in range(5, len(whole), 29):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        with suppress(TraceError), TraceFile.open(path, verify=False) as trace:
            content(trace)


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_random_damage_is_noticed_or_changes_nothing(tmp_path, compression):
    """Several bytes at once, overwritten with values that look like sizes."""
    whole = write(tmp_path / "whole", *EVENTS, compression=compression, batch_rows=8).read_bytes()
    expected = read(tmp_path / "whole")
    rng = np.random.default_rng(7)
    path = tmp_path / "damaged"
    for _ in range(300):
        data = bytearray(whole)
        position = int(rng.integers(0, len(whole) - 8))
        form, value = [("<I", 0xFFFFFFFF), ("<I", 0x7FFFFFFF), ("<q", 1 << 62), ("<q", -1), ("<H", 0)][rng.integers(5)]
        struct.pack_into(form, data, position, value)
        path.write_bytes(data)
        try:
            actual = read(path)
        except TraceError:
            continue
        assert actual == expected


@pytest.mark.parametrize("name", ["time", "pfn", "task"])
def test_a_changed_value_is_reported_with_its_column(tmp_path, name):
    path = write(tmp_path / "a", *(lookup(1, time=1000 * n, task=1 + n) for n in range(100)))
    place = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0).column(name).buffers()[1]
    data = path.read_bytes()
    value = place.to_pybytes()
    start = data.index(value)
    path.write_bytes(data[:start] + bytes([value[0] ^ 1]) + data[start + 1 :])
    refused(path, f"column {name}", "digest", "the file is damaged")


def test_verify_finds_damage_in_a_file_that_was_opened_without(tmp_path):
    path = forge(tmp_path / "a", good(), metadata=digest_of(good(pfn=pa.array([4, 5, 7], U64)), tmp_path))
    with TraceFile.open(path, verify=False) as trace:
        assert [batch.column("pfn").tolist() for batch in trace.batches()] == [[4, 5, 6]]
        with pytest.raises(TraceError, match="column pfn"):
            trace.verify()


def digest_of(arrays, folder):
    """The digest key of another file."""
    return {"replay.digest": pa.ipc.open_file(forge(folder / "other", arrays)).schema.metadata[b"replay.digest"]}


# Sizes that lie -------------------------------------------------------------------------------------------------------


def patched(path, position, form, value):
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, position, value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("claim", [1 << 62, 1 << 40, 4096, 7, 0, -2])
@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_compressed_buffer_that_claims_another_size_is_refused_before_it_is_decompressed(
    tmp_path, compression, claim
):
    path = write(tmp_path / "a", *(lookup(0) for _ in range(64)), compression=compression)
    layout = read_layout(memoryview(path.read_bytes()), "a")
    offset, metadata, _ = layout.blocks[0].tolist()
    # Validity buffers are empty, so the first bytes of the body are the claim of the time column.
    assert struct.unpack_from("<q", path.read_bytes(), offset + metadata)[0] == 64 * 8
    refused(patched(path, offset + metadata, "<q", claim), "record batch 0", "buffer")


def test_a_batch_listed_twice_is_refused(tmp_path):
    path = write(tmp_path / "a", *EVENTS, batch_rows=8)
    data = path.read_bytes()
    blocks = read_layout(memoryview(data), "a").blocks
    first, second = blocks[0].tolist()[0], blocks[1].tolist()[0]
    position = data.rindex(struct.pack("<q", second))
    refused(patched(path, position, "<q", first), "record batch 1", "one after the other")


def test_a_footer_larger_than_the_file_is_refused(tmp_path):
    path = write(tmp_path / "a", *EVENTS)
    for length in (0, -1, 1 << 30, path.stat().st_size):
        refused(patched(path, path.stat().st_size - 10, "<i", length), "a footer of")


def test_limits_are_named(tmp_path, monkeypatch):
    path = write(tmp_path / "a", *EVENTS, batch_rows=8)
    for name, limit in (("MAX_BATCHES", 2), ("MAX_BATCH_ROWS", 7), ("MAX_METADATA_BYTES", 100)):
        with monkeypatch.context() as patch:
            patch.setattr(f"replay.trace.layout.{name}", limit)
            refused(path)
    monkeypatch.setattr("replay.trace.reader.MAX_ROWS", 19)
    refused(path, "20 rows", "at most 19")


# Schema ---------------------------------------------------------------------------------------------------------------


BAD_COLUMNS = {
    "missing time": (good(time=None), ("'time'", "without it")),
    "missing kind": (good(kind=None), ("'kind'", "without it")),
    "unknown column": (good(pfns=pa.array([1, 2, 3], U64)), ("'pfns'", "did you mean pfn")),
    "column with a line break": (good(**{"a\nb": pa.array([1, 2, 3], U64)}), ("unknown column",)),
    "int64 pfn": (good(pfn=pa.array([1, 2, 3], pa.int64())), ("'pfn'", "type int64", "type uint64")),
    "uint32 pfn": (good(pfn=pa.array([1, 2, 3], pa.uint32())), ("'pfn'", "type uint32")),
    "float pfn": (good(pfn=pa.array([1.0, 2, 3])), ("'pfn'", "type double")),
    "utf8 pfn": (good(pfn=pa.array(["1", "2", "3"])), ("'pfn'", "type string")),
    "string view": (good(pfn=pa.array(["1", "2", "3"], pa.string_view())), ("'pfn'", "type string_view")),
    "bool": (good(pfn=pa.array([True, False, True])), ("'pfn'", "type bool")),
    "timestamp": (good(time=pa.array([1, 2, 3], pa.timestamp("ns"))), ("'time'", "type timestamp")),
    "list": (good(pfn=pa.array([[1], [2], [3]])), ("'pfn'", "type list")),
    "struct": (good(pfn=pa.array([{"a": 1}] * 3)), ("'pfn'", "type struct")),
    "null": (good(pfn=pa.nulls(3)), ("'pfn'", "type null")),
    "extension": (good(pfn=pa.array([b"a" * 16] * 3, pa.uuid())), ("'pfn'", "type extension")),
}


@pytest.mark.parametrize("case", BAD_COLUMNS)
def test_only_the_columns_of_the_format_with_their_exact_types_are_read(tmp_path, case):
    arrays, parts = BAD_COLUMNS[case]
    refused(forge(tmp_path / "a", arrays), *parts)


def test_dictionary_columns_are_refused(tmp_path):
    refused(forge(tmp_path / "a", good(pfn=pa.array([1, 2, 3], U64).dictionary_encode())), "dictionar")


def test_fields_are_as_the_table_says(tmp_path):
    plain = [pa.field("time", U64, nullable=False), pa.field("kind", U8, nullable=False), pa.field("pfn", U64)]
    refused(forge(tmp_path / "a", good(), fields=[pa.field("time", U64), *plain[1:]]), "'time'", "nullable")
    refused(forge(tmp_path / "a", good(), fields=[*plain[:2], pa.field("pfn", U64, nullable=False)]), "'pfn'")
    refused(forge(tmp_path / "a", good(), fields=[*plain[:2], pa.field("pfn", U64, metadata={"a": "b"})]), "metadata")
    table = pa.table([pa.array([1], t) for t in (U64, U8, U64, U64)], names=["time", "kind", "pfn", "pfn"])
    with pa.OSFile(str(tmp_path / "b"), "wb") as file:
        schema = pa.schema([*plain, plain[2]])
        with pa.ipc.new_file(file, schema) as writer:
            writer.write_table(pa.Table.from_arrays(table.columns, schema=schema))
    refused(tmp_path / "b", "'pfn'", "more than once")


def test_a_pandas_file_is_refused(tmp_path):
    refused(forge(tmp_path / "a", good(), metadata={"pandas": b"{}", **dict.fromkeys(KEYS)}), "no replay.* metadata")


def test_metadata_of_others_is_left_alone(tmp_path):
    read(forge(tmp_path / "a", good(), metadata={"lab.run": b"17"}))


# Metadata -------------------------------------------------------------------------------------------------------------

KEYS = ("replay.format", "replay.machine", "replay.provenance", "replay.strings", "replay.digest")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "value", [None, b"", b"{", b"\xff\xfe", b"7", b'{"major":1,"major":1}', b'"\\ud800"', b"[" * 100_000, b"NaN"]
)
def test_wrong_metadata_is_reported_with_its_key(tmp_path, key, value):
    refused(forge(tmp_path / "a", good(), metadata={key: value}), key)


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("replay.format", b'{"major":2,"minor":0}', "newer version"),
        ("replay.format", b'{"major":0,"minor":0}', "format 0.0"),
        ("replay.format", b'{"major":1,"minor":-1}', "format 1.-1"),
        ("replay.format", b'{"major":true,"minor":0}', "an object like"),
        ("replay.format", b'{"major":1}', "an object like"),
        ("replay.machine", b'{"arch":"x86_64"}', "field 'page_shift'"),
        ("replay.machine", b'{"arch":7}', "replay.machine"),
        ("replay.machine", b'{"a\\nb":7}', "one of arch"),
        ("replay.provenance", b'{"source":"x","lost":1}', "'lost'"),
        ("replay.provenance", b'{"source":"x","unused":{"a\\nb":"c"}}', "an integer"),
        ("replay.provenance", b'{"source":"x","seed":99999999999999999999}', "64 bits"),
        ("replay.strings", b"[1]", "a list of strings"),
        ("replay.digest", b'{"rows":"1","columns":{},"trace":""}', "20 digits"),
        ("replay.digest", b'{"rows":"00000000000000000003","columns":{},"trace":""}', "one for every column"),
        ("replay.more", b"{}", "'replay.more'"),
    ],
)
def test_metadata_that_does_not_mean_anything_is_reported(tmp_path, key, value, part):
    refused(forge(tmp_path / "a", good(), metadata={key: value}), part)


def test_a_changed_header_is_noticed(tmp_path):
    """A header that is sound in itself but not the one that was written."""
    path = write(tmp_path / "a", lookup(1))
    data = path.read_bytes()
    assert data.count(b'"max_physmem_bits":46') == 2
    path.write_bytes(data.replace(b'"max_physmem_bits":46', b'"max_physmem_bits":45'))
    refused(path, "replay.digest", "changed or damaged")


def test_schema_message_and_footer_must_agree(tmp_path):
    path = write(tmp_path / "a", lookup(1))
    path.write_bytes(path.read_bytes().replace(b'"max_physmem_bits":46', b'"max_physmem_bits":45', 1))
    refused(path)
    path = write(tmp_path / "a", lookup(1), strings=["abc"])
    head, _, tail = path.read_bytes().rpartition(b'["abc"]')
    path.write_bytes(head + b'["abd"]' + tail)
    refused(path, "footer")


def test_a_row_count_that_is_not_the_files_is_noticed(tmp_path):
    refused(
        forge(tmp_path / "a", good(), metadata=digest_of({n: a[:2] for n, a in good().items()}, tmp_path)), "3 rows"
    )


def test_a_newer_minor_version_is_read_when_it_uses_nothing_new(tmp_path):
    header = {"format": {"major": 1, "minor": 9}}
    with TraceFile.open(forge(tmp_path / "a", good(), header=header)) as trace:
        assert trace.format == (1, 9)
        trace.verify()
    path = forge(tmp_path / "b", good(), header=header, metadata={"replay.extra": b"{}"})
    refused(path, "'replay.extra'", "the file has format 1.9, this program knows 1.1")


# Machines -------------------------------------------------------------------------------------------------------------


def boot(*ranges):
    from replay.trace import BootRange

    return {"memory": tuple(BootRange(*part) for part in ranges)}


def iomem(*ranges):
    from replay.trace import Resource

    return {"resources": tuple(Resource(start, end, f"{start}\n") for start, end in ranges)}


BAD_MACHINES = {
    "no arch": ({"arch": ""}, "arch"),
    "small pages": ({"page_shift": 11}, "page_shift"),
    "large pages": ({"page_shift": 17}, "page_shift"),
    "section of one page": ({"section_size_bits": 12}, "section_size_bits"),
    "huge section": ({"section_size_bits": 41}, "section_size_bits"),
    "address space of one section": ({"max_physmem_bits": 27}, "max_physmem_bits"),
    "huge address space": ({"max_physmem_bits": 57}, "max_physmem_bits"),
    "no block": ({"memory_block_bytes": 0}, "memory_block_bytes"),
    "negative block": ({"memory_block_bytes": -(128 << 20)}, "memory_block_bytes"),
    "odd block": ({"memory_block_bytes": 3 << 27}, "memory_block_bytes"),
    "block below a section": ({"memory_block_bytes": 1 << 26}, "memory_block_bytes"),
    "empty boot range": (boot((5, 5)), "memory[0]"),
    "reversed boot range": (boot((5, 4)), "memory[0]"),
    "negative boot range": (boot((-5, 4)), "memory[0]"),
    "unsorted boot memory": (boot((10, 20), (1, 5)), "memory[1]"),
    "overlapping boot memory": (boot((10, 20), (19, 30)), "memory[1]"),
    "boot memory beyond the limit": (boot((1, (1 << 34) + 1)), "memory[0]"),
    "negative node": (boot((1, 2, -1)), "memory[0]"),
    "reversed resource": (iomem((5, 4)), "resources[0]"),
    "negative resource": (iomem((-5, 4)), "resources[0]"),
    "unsorted resources": (iomem((10, 20), (1, 2)), "resources[1]"),
    "siblings that overlap": (iomem((10, 20), (15, 25)), "resources[1]"),
    "child larger than its parent": (iomem((10, 20), (10, 21)), "resources[1]"),
    "nephew across the border": (iomem((0, 100), (10, 20), (15, 30)), "resources[2]"),
}


@pytest.mark.parametrize("case", BAD_MACHINES)
def test_a_machine_that_contradicts_itself_is_refused_by_reader_and_writer(tmp_path, case):
    changes, part = BAD_MACHINES[case]
    refused(forge(tmp_path / "a", good(), header={"machine": machine(**changes)}), part)
    with pytest.raises(TraceError) as caught:
        write(tmp_path / "b", lookup(1), machine=machine(**changes))
    assert part in str(caught.value)


def test_nested_and_identical_resources_are_fine(tmp_path):
    tree = iomem((0, 99), (0, 99), (0, 9), (10, 50), (20, 30), (31, 50), (60, 60), (100, (1 << 64) - 1))
    write(tmp_path / "a", lookup(1), machine=machine(**tree, **boot((1, 5), (5, 1 << 34))))
    with TraceFile.open(tmp_path / "a") as trace:
        assert len(trace.machine.resources) == 8


def test_header_helpers_are_what_the_reader_uses():
    assert set(HEADER) == {"format", "machine", "provenance", "strings"}
    assert {"time", "kind", "pfn"} == set(columns(lookup(1, EventKind.PFN_VALID)))
