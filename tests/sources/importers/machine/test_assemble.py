"""A machine from several sources: the same as the recorded one, contradictions refused, assumptions told."""

from __future__ import annotations

import dataclasses
import json
import lzma
from pathlib import Path

import pytest

from replay.errors import InputError, UsageError
from replay.sources.importers.machine.assemble import Assembled, Given, assemble
from replay.sources.importers.machine.release import version_of
from replay.sources.importers.rejects import Rejects
from replay.trace.header import BootRange
from replay.trace.reader import TraceFile

DATA = Path(__file__).parent / "data"
KMEM = DATA / "6.1.192-s4-kmem"
DAX = DATA / "7.2.13-s6-poison-dax"
RANGES = DATA / "6.12.107-s11-dax-ranges"
RECORDED = Path(__file__).parents[4] / "traces" / "recorded"


def made(**given: object) -> Assembled:
    return assemble(Given(**{"kernel": "6.1.192", **given}), Rejects("test"))


def test_the_machine_of_a_recording() -> None:
    """The same description as the importer of recordings makes of the same files."""
    found = made(
        kernel="7.2.13", iomem=DAX / "iomem.txt", blocks=DAX / "memory_blocks.txt", zoneinfo=DAX / "zoneinfo.txt.xz",
        kpageflags=DAX / "kpageflags.bin.xz", physical_bits=52,
    )  # fmt: skip
    with TraceFile.open(RECORDED / "7.2.13-s6-poison-dax.arrow") as trace:
        recorded = trace.machine
    assert dataclasses.replace(found.machine, release=recorded.release, sysctls=recorded.sysctls) == recorded
    assert not [note for note in found.provenance.notes if not note.startswith("assumed: ")]


@pytest.mark.parametrize("blocks", ["memory_blocks.txt"])
def test_what_is_not_given_is_assumed_and_told(blocks: str) -> None:
    found = made(iomem=KMEM / "iomem.txt", blocks=KMEM / blocks, ndctl=KMEM / "ndctl.txt")
    assert [note for note in found.provenance.notes if note.startswith("assumed: ")] == [
        "assumed: memory blocks of 128 MiB",
        "assumed: what is System RAM now was there at boot",
        "assumed: 46 physical address bits",
    ]
    assert any("2 memory blocks are not online (41, 43)" in note for note in found.provenance.notes)
    assert found.provenance.parameters["dax1.0"].startswith("system-ram, 283115520 bytes")
    assert found.provenance.source == "machine"
    assert "ndctl ndctl.txt" in found.provenance.name


@pytest.mark.parametrize("name", ["daxctl-list-RDM.txt", "daxctl-list-RDMu.txt"])
def test_a_dax_device_of_several_ranges(tmp_path: Path, name: str) -> None:
    """It is as large as its resources together."""
    found = made(
        kernel="6.12.107", iomem=RANGES / "iomem.txt", blocks=RANGES / "memory_blocks.txt", daxctl=RANGES / name
    )
    assert {device.name for device in found.devices} == {"dax0.1", "dax0.2", "dax0.3", "dax0.5", "dax0.6"}
    assert found.provenance.parameters["dax0.2"].startswith("system-ram, 402653184 bytes")
    devices = json.loads((RANGES / "daxctl-list-RDM.txt").read_text())[0]["devices"]
    larger = [device | {"mode": "devdax", "size": device["size"] + 4096} for device in devices]
    with pytest.raises(InputError, match="at most the"):
        made(iomem=RANGES / "iomem.txt", daxctl=write(tmp_path / "d", json.dumps(larger)))


@pytest.mark.parametrize("name", ["lsmem-2.38.1.json", "lsmem-2.38.1-all.json"])
def test_lsmem_alone(name: str) -> None:
    found = made(lsmem=DATA / name)
    assert found.machine.memory == (BootRange(0, 0xC0000), BootRange(0x100000, 0x640000))
    assert "assumed: no resources but System RAM: no iomem was given" in found.provenance.notes
    assert ("assumed: all memory is on node 0" in found.provenance.notes) == ("-all" not in name)


def test_pages_alone() -> None:
    found = made(kernel="7.2.13", kpageflags=DAX / "kpageflags.bin.xz")
    assert found.machine.memory == (BootRange(0, 0x80000), BootRange(0x100000, 0x140000))
    assert any("sections in which some page has flags" in note for note in found.provenance.notes)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def lsmem(path: Path, *blocks: tuple[int, str], node: int = 0, size: int = 128 << 20) -> Path:
    entries = [
        {"range": f"0x{n * size:016x}-0x{(n + 1) * size - 1:016x}", "state": state, "block": str(n), "node": node}
        for n, state in blocks
    ]
    return write(path, json.dumps({"memory": entries}))


IOMEM = "00000000-0fffffff : System RAM\n  01000000-01ffffff : Kernel code\n20000000-27ffffff : Persistent Memory\n"
IOMEM += "  20000000-27ffffff : namespace0.0\n"


def test_contradictions_are_refused_with_their_places(tmp_path: Path) -> None:
    iomem = write(tmp_path / "iomem.txt", IOMEM)
    two = write(
        tmp_path / "blocks.txt", "memory0 phys_index=0 state=online node=0\nmemory1 phys_index=1 state=online node=0\n"
    )
    one = write(tmp_path / "one.txt", "memory0 phys_index=0 state=online node=0\n")
    online = ((0, "online"), (1, "online"))
    cases = (
        ({"blocks": one}, r"one.txt:1.*no memory block 1.*pfn 0x0 to 0x10000"),
        ({"blocks": two, "lsmem": lsmem(tmp_path / "a", (0, "online"))}, r"a: found no block 1.*blocks.txt:2 has"),
        ({"blocks": two, "lsmem": lsmem(tmp_path / "b", (0, "online"), (1, "offline"))},
         r"b: memory\[1\].*block 1 offline.*online as in .*blocks.txt:2"),
        ({"blocks": two, "lsmem": lsmem(tmp_path / "c", *online, node=3)}, r"c: memory\[0\].*node 3.*node 0 as in"),
        ({"ndctl": write(tmp_path / "n", json.dumps({"dev": "namespace0.0", "mode": "fsdax", "size": 1 << 30}))},
         r"n: the whole.*1073741824 bytes.*134217728 bytes of .*iomem.txt"),
        ({"daxctl": write(tmp_path / "d", json.dumps(
            {"chardev": "dax0.0", "mode": "system-ram", "size": 1 << 28, "total_memblocks": 9})),
          "blocks": two, "iomem": write(tmp_path / "i2", IOMEM + "30000000-3fffffff : dax0.0\n")},
         r"d: the whole.*9 memory blocks.*at most 2 of 0x8000000"),
    )  # fmt: skip
    for given, message in cases:
        with pytest.raises(InputError, match=message):
            made(**{"iomem": iomem, **given})
    assert made(iomem=iomem, blocks=two, lsmem=lsmem(tmp_path / "e", *online)).machine.memory_block_bytes == 128 << 20


def test_pages_against_blocks(tmp_path: Path) -> None:
    """Memory without pages is offline, or the files are of two moments."""
    flags = [1 << 5] * 0x8000 + [1 << 20] * 0x8000
    dump = tmp_path / "k.xz"
    dump.write_bytes(lzma.compress(b"".join(f.to_bytes(8, "little") for f in flags), preset=0))
    iomem = write(tmp_path / "iomem.txt", IOMEM)
    lines = "memory0 phys_index=0 state=online node=0\nmemory1 phys_index=1 state={} node=0\n"
    blocks = write(tmp_path / "on.txt", lines.format("online"))
    with pytest.raises(InputError, match=r"on.txt:2: found memory block 1 online.*pfn 0x8000"):
        made(iomem=iomem, blocks=blocks, kpageflags=dump)
    found = made(iomem=iomem, blocks=write(tmp_path / "off.txt", lines.format("offline")), kpageflags=dump)
    assert any("32768 pages of memory do not exist" in note for note in found.provenance.notes)


def test_architectures() -> None:
    """Section sizes follow the kernel where the architecture had several; the page size is asked for."""
    source = DATA / "lsmem-2.38.1.json"
    assert made(arch="aarch64", kernel="5.10", lsmem=source, section_bytes=128 << 20).machine.section_size_bits == 27
    later = made(arch="aarch64", kernel="6.1", lsmem=source)
    assert (later.machine.section_size_bits, later.machine.page_shift) == (27, 12)
    assert "assumed: pages of 4096 bytes" in later.provenance.notes
    with pytest.raises(InputError, match="memory_block_bytes"):
        made(arch="aarch64", kernel="5.10", lsmem=source)  # sections of 1 GiB then, and blocks of 128 MiB


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "nothing says where memory is; give --iomem"),
        ({"kpageflags": DAX / "kpageflags.bin.xz", "page_types": DAX / "iomem.txt"}, "say the same"),
        ({"lsmem": DATA / "lsmem-2.38.1.json", "arch": "vax"}, "unknown architecture"),
        ({"lsmem": DATA / "lsmem-2.38.1.json", "page_size": 65536}, "pages of 65536 bytes; x86_64 has 4096"),
        ({"lsmem": DATA / "lsmem-2.38.1.json", "section_bytes": 5}, "sections of 5 bytes"),
        ({"lsmem": DATA / "lsmem-2.38.1.json", "physical_bits": 40}, "40 physical address bits"),
    ],
)
def test_usage(given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        made(**given)


def test_releases() -> None:
    assert version_of("6.1.0-32-amd64") == ("6.1", "6.1.0-32-amd64")
    assert version_of("v6.1.192") == ("6.1.192", "")
    assert version_of("6.18.44-custom") == ("6.18.44", "6.18.44-custom")
    assert version_of("v4.18+unsplit-thp-event") == ("4.18+unsplit-thp-event", "")
    with pytest.raises(UsageError, match="'next' is not a version"):
        version_of("next")
