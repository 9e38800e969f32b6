"""Copies of /proc and /sys files, and the machine that they describe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from replay.errors import InputError
from replay.sources.importers.machine.iomem import IomemEntry, parse_iomem
from replay.sources.importers.machine.memory import node_spans
from replay.sources.importers.recording import dumps
from replay.sources.importers.recording.boot import Boot, read_boot
from replay.sources.importers.recording.files import Folder
from replay.trace.header import BootRange, Resource
from tests.sources.importers.recording.build import BASE, Lab


def boot(lab: Lab, warn: list[str] | None = None) -> Boot:
    return read_boot(Folder(lab.save()), [] if warn is None else warn)


def test_iomem() -> None:
    text = "00001000-0009fbff : System RAM\n100000000-11bffffff : A b\n  100000000-100000fff : c\n"
    assert parse_iomem(text, "iomem.txt") == [
        IomemEntry(0, 0x1000, 0x9FBFF, "System RAM"),
        IomemEntry(0, 0x1_0000_0000, 0x1_1BFF_FFFF, "A b"),
        IomemEntry(1, 0x1_0000_0000, 0x1_0000_0FFF, "c"),
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "an empty file"),
        ("00000000-00000000 : Reserved\n  00000000-00000000 : System RAM\n", "all zero.*as root"),
        ("00001000-0009fbff : System RAM\ngarbage\n", r"iomem\.txt:2"),
    ],
)
def test_iomem_that_is_refused(text: str, found: str) -> None:
    with pytest.raises(InputError, match=found):
        parse_iomem(text, "iomem.txt")


def test_sections() -> None:
    text = (
        "# header; vmemmap_base=0xffd644d080000000 max_pfn=0x180000\n"
        "0 0 0xffd644d08000000f PMOE- ffffffffffffffff\n38 0x130000 0xffd644d08000001f P---T 0000000000000001\n"
    )
    assert dumps.parse_sections(text, "s") == dumps.SectionsDump(
        0xFFD6_44D0_8000_0000, ((0, 15, (1 << 64) - 1), (0x130000, 17, 1))
    )


@pytest.mark.parametrize("text", ["", "# only comments\n", "0 0 0x0 PMOE- xyz\n"])
def test_sections_that_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        dumps.parse_sections(text, "sections.txt")


def test_small_files() -> None:
    stats = (
        "[cpu0]\nentries: 5\noverrun: 1\ncommit overrun: 2\ndropped events: 3\nread events: 9\n[cpu1]\noverrun: 10\n"
    )
    assert dumps.stats_losses(stats) == 16
    assert dumps.kprobe_misses("  pfn_to_online_page   209062   0\n  memory_failure  3   2\n") == 2
    probes = (
        "p:truth/memory_failure memory_failure pfn=%di:x64\nr64:truth/memory_failure__return memory_failure ret=$r\n"
    )
    assert dumps.armed_probes(probes) == {"memory_failure", "memory_failure__return"}
    vmstate = (
        "== start uptime=7.25\nvm.memory_failure_recovery=1\nMemTotal: 5 kB\nauto_online_blocks=offline\n== b\nvm.x=2\n"
    )
    assert dumps.sysctls(vmstate) == {"vm.memory_failure_recovery": 1}
    assert dumps.sysctls("") == {}
    zones = (
        "Node 0, zone      DMA\n  pages free 1\n        spanned  4095\n  start_pfn:           1\n"
        "Node 0, zone   Movable\n        spanned  0\n  start_pfn:   0\n"
        "Node 1, zone    DMA32\n        spanned  16\n  start_pfn: 512000\n"
    )
    assert node_spans(zones) == [(1, 4096, 0), (512000, 512016, 1)]
    types = 'print fmt: "x", __print_symbolic(REC->type, { 0, "reserved kernel page" }, { 17, "dax page" }), ' \
            '__print_symbolic(REC->result, { 0, "Ignored" })'  # fmt: skip
    assert dumps.action_types(types) == {"reserved kernel page": 0, "dax page": 17}
    assert dumps.action_types("") == {}


def test_machine(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.files |= {"uname_r.txt": "6.1.0-56-amd64\n", "vmstate.txt": "== start\nvm.nr_hugepages=4\n"}
    machine = boot(lab).machine
    assert (machine.kernel, machine.release, machine.arch) == ("6.1.192", "6.1.0-56-amd64", "x86_64")
    assert (machine.section_size_bits, machine.max_physmem_bits, machine.memory_block_bytes) == (27, 52, 128 << 20)
    assert machine.sysctls == {"vm.nr_hugepages": 4}
    assert machine.memory == (BootRange(1, 0x9F), BootRange(0x100, 0x8000), BootRange(0x100000, 0x10C000))
    assert machine.resources == (
        Resource(0, 0xFFF, "Reserved"),
        Resource(0x1000, 0x9FBFF, "System RAM", busy=True, ram=True),
        Resource(0x100000, 0x7FFFFFF, "System RAM", busy=True, ram=True),
        Resource(0x1000000, 0x1FFFFFF, "Kernel code", busy=True, ram=True),
        Resource(0x1_0000_0000, 0x1_0BFF_FFFF, "System RAM", busy=True, ram=True),
        Resource(0x1_0C00_0000, 0x1_17FF_FFFF, "Persistent Memory (legacy)"),
    )


@pytest.mark.parametrize(("base", "bits"), [(0xFFFF_EA00_0000_0000, 46), (0xFFD6_44D0_8000_0000, 52)])
def test_paging_levels_tell_the_size_of_the_section_table(tmp_path: Path, base: int, bits: int) -> None:
    lab = Lab(tmp_path)
    lab.files["sections.txt"] = lab.files["sections.txt"].replace(hex(BASE), hex(base))
    assert boot(lab).machine.max_physmem_bits == bits
    lab.files["sections.txt"] = lab.files["sections.txt"].replace(f" vmemmap_base={base:#x}", "")
    with pytest.raises(InputError, match="vmemmap_base"):
        boot(lab)
    lab.files["meta.json"] = json.dumps(json.loads(lab.files["meta.json"]) | {"vmemmap_base": hex(base)})
    assert boot(lab).vmemmap_base == base


@pytest.mark.parametrize(
    ("name", "busy", "ram"),
    [
        ("System RAM", True, True), ("System RAM (kmem)", True, True), ("Persistent Memory", False, False),
        ("Soft Reserved", False, False), ("Reserved", False, False), ("PCI Bus 0000:00", False, False),
        ("PCI MMCONFIG 0000 [bus 00-ff]", False, False), ("PCI ECAM 0000 [bus 00-ff]", False, False),
        ("0000:00:1f.2", False, False), ("virtio-pci-modern", True, False), ("dax0.0", True, False),
        ("RAM buffer", True, False),
    ],
)  # fmt: skip
def test_resource_flags(tmp_path: Path, name: str, busy: bool, ram: bool) -> None:
    lab = Lab(tmp_path)
    lab.files["iomem.txt"] = f"00001000-0009fbff : System RAM\n10000000000-10000000fff : {name}\n"
    assert boot(lab).machine.resources[1] == Resource(0x100_0000_0000, 0x100_0000_0FFF, name, busy, ram)


def test_memory_is_cut_where_the_node_changes(tmp_path: Path) -> None:
    lab, warn = Lab(tmp_path), list[str]()
    lab.files["memory_blocks.txt"] = (
        "memory0 phys_index=0 state=online node=0\nmemory32 phys_index=20 state=online node=0,1\n"
        "memory33 phys_index=21 state=online node=1\n"
    )
    lab.files["zoneinfo.txt"] = (
        "Node 0, zone Normal\n        spanned  1056767\n  start_pfn:           1\n"
        "Node 1, zone Normal\n        spanned  50000\n  start_pfn:           1056768\n"
    )
    assert boot(lab, warn).machine.memory[2:] == (BootRange(0x100000, 0x102000), BootRange(0x102000, 0x10C000, 1))
    assert warn == []
    del lab.files["zoneinfo.txt"]
    (tmp_path / "zoneinfo.txt").unlink()
    assert boot(lab, warn).machine.memory[2:] == (BootRange(0x100000, 0x108000), BootRange(0x108000, 0x10C000, 1))
    assert len(warn) == 1


@pytest.mark.parametrize("name", ["meta.json", "iomem.txt", "sections.txt"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    lab = Lab(tmp_path)
    del lab.files[name]
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        boot(lab)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{", "not JSON"), ("[]", "list"), ('{"arch": 5}', "arch"), ('{"arch": "x86_64"}', "kernel"),
        ('{"arch": "vax", "kernel": "1", "page_shift": 9, "memory_block_size": 1}', "vax"),
        ('{"arch": "x86_64", "kernel": "1", "page_shift": "x"}', "page_shift"),
        ('{"arch": "x86_64", "kernel": "1", "page_shift": 0}', "page_shift"),
    ],
)  # fmt: skip
def test_meta_that_is_refused(tmp_path: Path, text: str, found: str) -> None:
    lab = Lab(tmp_path)
    lab.files["meta.json"] = text
    with pytest.raises(InputError, match=found):
        boot(lab)


def test_no_memory(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.files["iomem.txt"] = "00001000-0009fbff : Reserved\n"
    with pytest.raises(InputError, match="no System RAM"):
        boot(lab)


@pytest.mark.parametrize("suffix", ["gz", "xz"])
def test_damaged_compression(tmp_path: Path, suffix: str) -> None:
    lab = Lab(tmp_path)
    lab.save()
    (tmp_path / "trace.txt").unlink()
    (tmp_path / f"trace.txt.{suffix}").write_bytes(b"no such format")
    with pytest.raises(InputError, match="damaged content"):
        Folder(tmp_path).data("trace.txt", "ftrace text")


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an empty folder"):
        Folder(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        Folder(tmp_path / "absent")
