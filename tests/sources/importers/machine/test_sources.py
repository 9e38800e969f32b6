"""What each source says about a machine: real output of the tools, and what cannot be used."""

from __future__ import annotations

import json
import lzma
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay.errors import InputError
from replay.sources.importers.machine.blocks import read_blocks
from replay.sources.importers.machine.devices import read_devices
from replay.sources.importers.machine.documents import read_documents
from replay.sources.importers.machine.files import read_text
from replay.sources.importers.machine.iomem import parse_iomem
from replay.sources.importers.machine.lsmem import read_lsmem
from replay.sources.importers.machine.pageflags import CHUNK, Kpf, read_kpageflags, read_page_types
from replay.sources.importers.rejects import Rejects

DATA = Path(__file__).parent / "data"
KMEM = DATA / "6.1.192-s4-kmem"
DAX = DATA / "7.2.13-s6-poison-dax"
RANGES = DATA / "6.12.107-s11-dax-ranges"
MIB = 1 << 20


def refused() -> Rejects:
    return Rejects("test")


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(("name", "nodes"), [("lsmem-2.38.1.json", set()), ("lsmem-2.38.1-all.json", {(0,)})])
def test_lsmem(name: str, nodes: set[tuple[int, ...]]) -> None:
    """Ranges of blocks, merged or one by one; sizes for people or in bytes."""
    rejects = refused()
    found = read_lsmem(DATA / name, rejects)
    assert found.size == 128 * MIB
    assert len(found.blocks) == 192
    assert {block.state for block in found.blocks.values()} == {"online"}
    assert set(found.nodes.values()) == nodes
    assert rejects.count == 0


def test_lsmem_states_and_what_it_cannot_be(tmp_path: Path) -> None:
    entry = {"range": "0x0000000000000000-0x000000000fffffff", "state": "on->off", "block": "0-1"}
    rejects = refused()
    bad = [entry | {"state": "?"}, entry | {"range": None}, "text", entry | {"block": "0-99999999999999"}]
    found = read_lsmem(put(tmp_path / "l", json.dumps({"memory": [entry, *bad]})), rejects)
    assert {block.state for block in found.blocks.values()} == {"going-offline"}
    assert rejects.count == 4
    shifted = entry | {"range": "0x0000000008000000-0x0000000017ffffff"}
    with pytest.raises(InputError, match=r"memory\[0\].*blocks of one size from address 0 on"):
        read_lsmem(put(tmp_path / "l", json.dumps({"memory": [shifted]})), refused())
    other = {"range": "0x0000000010000000-0x000000001fffffff", "state": "online", "block": "1"}
    with pytest.raises(InputError, match=r"memory\[1\].*0x10000000 bytes.*0x8000000 bytes"):
        read_lsmem(put(tmp_path / "l", json.dumps({"memory": [entry, other]})), refused())
    for text, message in (("{}", "without a list"), ('{"memory": []}', "no memory"), ("RANGE SIZE", "no JSON")):
        with pytest.raises(InputError, match=message):
            read_lsmem(put(tmp_path / "l", text), refused())


def test_memory_blocks_in_lines() -> None:
    rejects = refused()
    found = read_blocks(KMEM / "memory_blocks.txt", rejects)
    assert len(found.blocks) == 20
    assert [number for number, block in found.blocks.items() if block.state == "offline"] == [41, 43]
    assert set(found.nodes.values()) == {(0,), (1,)} or set(found.nodes.values()) == {(0,)}
    assert found.size is None
    assert rejects.count == 0


def folder(root: Path) -> Path:
    """A copy of /sys/devices/system/memory with a block on two nodes and one that is offline."""
    for number, state, nodes in ((0, "online", (0,)), (1, "online", (0, 1)), (2, "offline", ())):
        block = root / "memory" / f"memory{number}"
        block.mkdir(parents=True)
        (block / "state").write_text(state + "\n")
        for node in nodes:
            (block / f"node{node}").mkdir()
    (root / "memory" / "power").mkdir()
    (root / "memory" / "block_size_bytes").write_text("8000000\n")
    return root / "memory"


def test_memory_blocks_as_a_folder(tmp_path: Path) -> None:
    found = read_blocks(folder(tmp_path), refused())
    assert {n: (b.state, b.nodes) for n, b in found.blocks.items()} == {
        0: ("online", (0,)), 1: ("online", (0, 1)), 2: ("offline", ())
    }  # fmt: skip
    assert found.size == 128 * MIB


def test_memory_blocks_as_grep_prints_them(tmp_path: Path) -> None:
    root = "/sys/devices/system/memory"
    lines = [
        f"{root}/block_size_bytes:8000000", f"{root}/memory0/state:online", f"{root}/memory0/valid_zones:DMA32 Movable",
        f"{root}/memory0/power/async:disabled", "memory1/state:offline", "something else",
    ]  # fmt: skip
    rejects = refused()
    found = read_blocks(put(tmp_path / "b", "\n".join(lines)), rejects)
    assert {n: b.state for n, b in found.blocks.items()} == {0: "online", 1: "offline"}
    assert found.size == 128 * MIB
    assert dict(rejects.by_reason) == {"no line of a memory block": 1}
    with pytest.raises(InputError, match="block_size_bytes in hexadecimal"):
        read_blocks(put(tmp_path / "b", f"{root}/block_size_bytes:lots"), refused())
    with pytest.raises(InputError, match="no memory block"):
        read_blocks(put(tmp_path / "b", "memory0 phys_index=0 state=gone"), refused())


def test_ndctl_of_a_real_kernel() -> None:
    """An object with regions in it, under a heading; dax devices stand inside of their namespace."""
    rejects = refused()
    devices = {device.name: device for device in read_devices(KMEM / "ndctl.txt", "ndctl", rejects)}
    assert set(devices) == {"namespace0.0", "namespace1.0", "dax0.0", "dax1.0"}
    assert (devices["dax1.0"].mode, devices["dax1.0"].size, devices["dax1.0"].blocks) == ("system-ram", 283115520, 1)
    assert (devices["namespace1.0"].mode, devices["namespace1.0"].map) == ("devdax", "mem")
    (one, two) = read_devices(DAX / "ndctl.txt", "ndctl", rejects)
    assert (one.name, one.map, one.align, two.name) == ("namespace0.0", "dev", 2 * MIB, "dax0.0")
    assert rejects.count == 0


@pytest.mark.parametrize("name", ["daxctl-list.txt", "daxctl-list-RDM.txt", "daxctl-list-RDMu.txt"])
def test_daxctl_of_a_real_kernel(name: str) -> None:
    """Plain, with regions and mappings, and for people: the mappings still tell how large a device is."""
    rejects = refused()
    devices = {device.name: device for device in read_devices(RANGES / name, "daxctl", rejects)}
    assert {device: found.size // MIB for device, found in devices.items()} == {
        "dax0.1": 128, "dax0.2": 384, "dax0.3": 128, "dax0.5": 128, "dax0.6": 128,
    }  # fmt: skip
    assert (devices["dax0.2"].mode, devices["dax0.2"].blocks, devices["dax0.6"].mode) == ("system-ram", 2, "devdax")
    assert rejects.count == 0


def test_a_size_for_people_without_mappings(tmp_path: Path) -> None:
    """A rounded size is not taken for the size."""
    rejects = refused()
    entry = DAX_DEVICE | {"size": "4.00 MiB (4.19 MB)"}
    odd = [{"start": "0x4000", "end": "0x3fff"}, {"start": "far"}, {}, 7]
    given = [entry, *(entry | {"mappings": [mapping]} for mapping in odd)]
    assert read_devices(put(tmp_path / "d", json.dumps(given)), "daxctl", rejects) == []
    assert list(rejects.by_reason.values()) == [5]
    assert "without -u" in next(iter(rejects.by_reason))


DAX_DEVICE = {"chardev": "dax0.0", "size": 4 * MIB, "target_node": 1, "mode": "system-ram", "online_memblocks": 1,
              "total_memblocks": 2, "movable": True}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(DAX_DEVICE, indent=2),
        json.dumps([DAX_DEVICE], indent=2),
        json.dumps([DAX_DEVICE]) + "\nreconfigured 1 device\n",
        json.dumps([{"id": 0, "size": 8 * MIB, "devices": [DAX_DEVICE]}], indent=2),
        "[daxctl list -RD]\n" + json.dumps([DAX_DEVICE], indent=2) + "\n" + json.dumps(DAX_DEVICE),
        "onlined memory for 1 device\n".replace("memory for 1 device", "1 device") + json.dumps(DAX_DEVICE),
    ],
)
def test_daxctl_in_every_form(tmp_path: Path, text: str) -> None:
    rejects = refused()
    (device,) = read_devices(put(tmp_path / "d", text), "daxctl", rejects)
    assert (device.name, device.mode, device.size, device.blocks) == ("dax0.0", "system-ram", 4 * MIB, 2)
    assert rejects.count == 0


def test_text_beside_the_json_is_rejected_line_by_line(tmp_path: Path) -> None:
    rejects = refused()
    text = "libdaxctl: warning\n" + json.dumps(DAX_DEVICE, indent=1) + "\nbye\n"
    read_devices(put(tmp_path / "d", text), "daxctl", rejects)
    assert dict(rejects.by_reason) == {"text beside the JSON": 2}


def test_devices_that_are_refused(tmp_path: Path) -> None:
    contradiction = json.dumps([DAX_DEVICE, DAX_DEVICE | {"size": 1}])
    with pytest.raises(InputError, match=r"\[1\].*1 bytes.*as in .*\[0\]"):
        read_devices(put(tmp_path / "d", contradiction), "daxctl", refused())
    for text, message in (
        ("[{", "damaged JSON"), ("", "no JSON"), ("no such device", "no JSON"), ("[" * 100000, "damaged JSON"),
        ('{"a":1,"a":2}', "occurs twice"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            read_devices(put(tmp_path / "d", text), "daxctl", refused())
    rejects = refused()
    assert (
        read_devices(put(tmp_path / "d", '[{"chardev":"dax0.0","size":"4M"},{"dev":"nmem0"}]'), "ndctl", rejects) == []
    )
    assert rejects.count == 1
    assert read_devices(put(tmp_path / "d", "[]"), "daxctl", refused()) == []


def test_kpageflags_of_a_real_kernel() -> None:
    """All pages of the machine; what later kernels give for a pfn without a page says nothing."""
    found = read_kpageflags(DAX / "kpageflags.bin.xz")
    raw = np.frombuffer(lzma.decompress((DAX / "kpageflags.bin.xz").read_bytes()), "<u8")
    assert found.end == len(raw)
    there = (raw != 0) & (raw & np.uint64(Kpf.NOPAGE) == 0)
    assert found.chunks == np.unique(np.flatnonzero(there) // CHUNK).tolist()
    assert sum(end - first for first, end in found.absent) == int((raw & np.uint64(Kpf.NOPAGE) != 0).sum())
    assert found.sections(1 << 15) == [(0, 0x80000), (0x100000, 0x140000)]


def test_kpageflags_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the pieces end does not matter."""
    rng = np.random.default_rng(0)
    flags = rng.choice(np.array([0, Kpf.LRU, Kpf.NOPAGE, Kpf.HWPOISON | Kpf.LRU], np.uint64), 3 * CHUNK + 7)
    path = put(tmp_path / "k", flags.astype("<u8").tobytes())
    whole = read_kpageflags(path)
    monkeypatch.setattr("replay.sources.importers.machine.files._PIECE", 1001)
    assert read_kpageflags(path) == whole
    assert whole.poisoned == int((flags & np.uint64(Kpf.HWPOISON) != 0).sum())
    assert [n for a, b in whole.absent for n in range(a, b)] == np.flatnonzero(flags == Kpf.NOPAGE).tolist()


@pytest.mark.parametrize("content", [b"", b"1234567", bytes(80), b"\xff" * 80])
def test_what_is_no_kpageflags(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError):
        read_kpageflags(put(tmp_path / "k", content))


LOCKED = "L" + "_" * 39
NOTHING = "_" * 20 + "n" + "_" * 19
POISONED = "_" * 19 + "X" + "_" * 20
SUMMARY = (
    "\n\n             flags\tpage-count       MB  symbolic-flags\t\t\tlong-symbolic-flags\n"
    f"0x0000000000000001\t   1  0  {LOCKED}\tlocked\n"
)


def test_page_types(tmp_path: Path) -> None:
    rejects = refused()
    text = (
        f"offset\tlen\tflags\n0\t1\t{NOTHING}\n1\t200\t{LOCKED}\n201\t2\t{POISONED}\n300\t10\t{'_' * 40}\nrubbish\n"
        + SUMMARY
    )
    found = read_page_types(put(tmp_path / "p", text), rejects)
    assert (found.absent, found.chunks, found.poisoned, found.end) == ([(0, 1)], [0, 1, 2], 2, 0x310)
    assert rejects.count == 1
    single = f"offset\tflags\n100\t{LOCKED}\n101\t{POISONED}\n" + SUMMARY
    assert read_page_types(put(tmp_path / "p", single), refused()).chunks == [1]


REAL = DATA / "page-types-6.12.117-l.txt"


@pytest.mark.parametrize(("form", "chunks", "end"), [("l", 6, 0x100400), ("r", 6, 0x100400), ("L", 2, 0x120)])
def test_what_page_types_really_prints(form: str, chunks: int, end: int) -> None:
    """Every line of the list is used, and the summary below it is none of it."""
    rejects = refused()
    found = read_page_types(DATA / f"page-types-6.12.117-{form}.txt", rejects)
    assert rejects.count == 0
    assert (len(found.chunks), found.end, found.poisoned, found.absent) == (chunks, end, 0, [])
    if form != "L":
        assert found.sections(0x8000) == [(0xB8000, 0xC0000), (0x100000, 0x108000)]  # lsmem says the same


def test_a_long_list_is_read_line_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a large machine has more text than is taken at once."""
    monkeypatch.setattr("replay.sources.importers.machine.files._PIECE", 50)
    monkeypatch.setattr("replay.sources.importers.machine.files.MAX_TEXT", 100)
    assert read_page_types(REAL, refused()).end == 0x100400
    monkeypatch.setattr("replay.sources.importers.machine.files._MAX_LINE", 60)
    with pytest.raises(InputError, match="a line of more than 60 bytes"):
        read_page_types(put(tmp_path / "p", b"x" * 200), refused())


def test_what_page_types_prints_besides_lists() -> None:
    for form, message in (("p", "virtual pages"), ("summary", "a summary alone")):
        with pytest.raises(InputError, match=message):
            read_page_types(DATA / f"page-types-6.12.117-{form}.txt", refused())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SUMMARY, "a summary alone"),
        (f"voffset\toffset\tlen\tflags\n0\t1\t1\t{LOCKED}\n", "virtual pages.*without -p and -f"),
        (f"offset\tlen\tflags\n10\t1\t{LOCKED}\n5\t1\t{LOCKED}\n", "pfn 0x5 after 0x11"),
        (f"offset\tlen\tflags\n0\tfffffffffffff\t{LOCKED}\n", "at most"),
        ("", "no page"),
    ],
)
def test_page_types_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_page_types(put(tmp_path / "p", text), refused())


def test_compressed_files(tmp_path: Path) -> None:
    assert "zone" in read_text(DAX / "zoneinfo.txt.xz", "zones")
    for name in ("bad.gz", "bad.xz"):
        with pytest.raises(InputError, match="cannot be read"):
            read_text(put(tmp_path / name, b"no archive"), "text")
    with pytest.raises(InputError, match="no such file"):
        read_text(tmp_path / "none", "text")
    with pytest.raises(InputError, match="more than 64 MiB"):
        read_text(put(tmp_path / "large.xz", lzma.compress(bytes(65 << 20), preset=0)), "text")


READERS = {
    "lsmem": (lambda path: read_lsmem(path, refused()), (DATA / "lsmem-2.38.1.json").read_bytes()),
    "blocks": (lambda path: read_blocks(path, refused()), (KMEM / "memory_blocks.txt").read_bytes()),
    "ndctl": (lambda path: read_devices(path, "ndctl", refused()), (KMEM / "ndctl.txt").read_bytes()),
    "iomem": (lambda path: parse_iomem(read_text(path, "iomem"), path), (KMEM / "iomem.txt").read_bytes()),
    "page_types": (
        lambda path: read_page_types(path, refused()),
        f"offset\tlen\tflags\n0\t1\t{NOTHING}\n1\t200\t{LOCKED}\n".encode() + SUMMARY.encode(),
    ),
    "real page_types": (lambda path: read_page_types(path, refused()), REAL.read_bytes()),
    "json": (lambda path: read_documents(path, "JSON", refused()), b'x\n[{"a": 1}]\n{"b": [2]}\n'),
}


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_input(tmp_path: Path, name: str, data: st.DataObject) -> None:
    """Cut, changed, in another encoding: an answer, rejects or an InputError."""
    reader, original = READERS[name]
    content = bytearray(original)
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=10)):
        content[at] = value
    mutated = bytes(content[: data.draw(st.one_of(st.none(), st.integers(0, len(content))))])
    if data.draw(st.booleans()):
        mutated = mutated.decode("latin-1").encode("utf-16")
    with suppress(InputError):
        reader(put(tmp_path / "f", mutated))
