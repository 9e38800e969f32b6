"""Sizes of sections, subsections and blocks: the tables of docs/semantics/walk.md, section 7, and T110, T111."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from replay.errors import TraceError, UnknownNameError
from replay.kernel.config import expected_section_bits
from replay.kernel.profiles import PRESETS, profile
from replay.machine.geometry import ARCHES, Geometry, arch, check_description, zone_bounds
from tests.trace.build import MACHINE, machine

WALK = Path(__file__).parents[2] / "docs" / "semantics" / "walk.md"

# Rows of table 7.2: name -> arch, page shift, physical bits, section bits (older / newer).
LAYOUTS: dict[str, tuple[str, int, int, tuple[int, ...]]] = {
    "x86_64 4-level": ("x86_64", 12, 46, (27,)),
    "x86_64 5-level": ("x86_64", 12, 52, (27,)),
    "arm64 4K old / new": ("aarch64", 12, 48, (30, 27)),
    "arm64 16K old / new": ("aarch64", 14, 48, (30, 27)),
    "arm64 64K old / new (48 bit)": ("aarch64", 16, 48, (30, 29)),
    "arm64 64K (52 bit) old / new": ("aarch64", 16, 52, (30, 29)),
    "ppc64 64K": ("ppc64", 16, 51, (24,)),
    "ppc64 4K": ("ppc64", 12, 46, (24,)),
    "s390 28 / 27": ("s390x", 12, 46, (28, 27)),
    "riscv64": ("riscv64", 12, 56, (27,)),
    "loongarch64 16K": ("loongarch64", 14, 48, (29,)),
}


def _table(title: str) -> dict[str, list[str]]:
    """Rows of the first table of a section, by their first cell."""
    text = re.split(r"\n##+ ", WALK.read_text().split(f"### {title}")[1])[0]
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]
    return {name: cells for name, *cells in rows[1:]}


def _numbers(cell: str) -> list[int]:
    """Numbers of a cell: "512 / 64", "2^27 (51 bit)", "2^18 / 2^19 (46 bit)"."""
    plain = re.sub(r"\(.*?\)", "", cell)
    return [1 << int(n[2:]) if n.startswith("2^") else int(n) for n in re.findall(r"2\^\d+|\d+", plain)]


TABLE = _table("7.2 ")


def geometry(name: str, which: int) -> Geometry:
    arch_name, shift, phys, bits = LAYOUTS[name]
    return Geometry(arch_name, shift, bits[which], phys, 1 << bits[which])


def test_every_row_of_the_document_is_here() -> None:
    assert set(TABLE) == set(LAYOUTS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_derived_sizes(name: str) -> None:
    """Pages per section and subsection, subsections per section, number of sections: as in table 7.2."""
    columns = [_numbers(cell) for cell in TABLE[name]]
    for which in range(len(LAYOUTS[name][3])):
        pps, ppss, sps, sections = (column[min(which, len(column) - 1)] for column in columns)
        g = geometry(name, which)
        assert (g.pages_per_section, g.pages_per_subsection, g.subsections_per_section) == (pps, ppss, sps)
        assert g.nr_sections == sections
        assert g.max_pfns == sections * pps
        assert 1 << g.section_shift == pps
        assert 1 << g.subsection_shift == ppss
        assert g.pages_per_block == pps


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_are_accepted(name: str) -> None:
    for which, bits in enumerate(LAYOUTS[name][3]):
        g = geometry(name, which)
        description = machine(
            arch=g.arch,
            page_shift=g.page_shift,
            section_size_bits=bits,
            max_physmem_bits=g.max_physmem_bits,
            memory_block_bytes=g.memory_block_bytes,
        )
        assert check_description(description, "here") == g == Geometry.of(description)


def test_bits() -> None:
    """Table 7.1: page shifts, section bits, physical bits of all architectures that are modelled."""
    facts = {a.name: (a.page_shifts, a.section_size_bits, a.max_physmem_bits) for a in ARCHES.values()}
    assert facts == {
        "x86_64": ((12,), {12: (27,)}, (46, 52)),
        "aarch64": ((12, 14, 16), {12: (30, 27), 14: (30, 27), 16: (30, 29)}, (48, 52)),
        "ppc64": ((12, 16), {12: (24,), 16: (24,)}, (44, 46, 47, 51)),
        "s390x": ((12,), {12: (28, 27)}, tuple(range(42, 54))),
        "riscv64": ((12,), {12: (27,)}, (56,)),
        "loongarch64": ((12, 14, 16), {12: (29,), 14: (29,), 16: (29,)}, (48,)),
    }
    named = set(_table("7.1 "))
    assert {n.split()[0] for n in named} == {
        "x86_64",
        "arm64",
        "ppc64",
        "s390",
        "riscv64",
        "riscv32",
        "loongarch64",
        "x86_32",
    }


def test_pageblocks() -> None:
    """Table 7.3, pages of a pageblock, for the architectures that it has."""
    for names, (pages, _) in _table("7.3 ").items():
        for name in names.split(", "):
            word, *size = name.split()
            full = arch({"riscv": "riscv64"}.get(word, word)).name
            shift = {"16K": 14, "64K": 16}.get("".join(size), 12)
            bits = ARCHES[full].section_size_bits[shift][0]
            assert Geometry(full, shift, bits, 48, 1 << bits).pageblock_pages == int(pages), name


@pytest.mark.parametrize("kernel", [name for name, preset in PRESETS.items() if not preset.poison_only])
def test_section_sizes_by_version(kernel: str) -> None:
    """arm64 sections shrink in v5.12, s390's in v7.2; everywhere else every version has the same."""
    version = tuple(map(int, kernel[1:].split(".")))
    features = profile(kernel).features

    def bits(name: str, shift: int = 12) -> int | None:
        return expected_section_bits(replace(MACHINE, arch=name, page_shift=shift), features)

    for name in ("arm64", "aarch64"):
        assert bits(name) == bits(name, 14) == (27 if version >= (5, 12) else 30)
        assert bits(name, 16) == (29 if version >= (5, 12) else 30)
    for name in ("s390", "s390x"):
        assert bits(name) == (27 if version >= (7, 2) else 28)
    for name in ("x86_64", "ppc64", "riscv64", "loongarch64"):
        assert bits(name) is None
    for a in ARCHES.values():  # what a kernel expects is a layout that the architecture has had
        for shift in a.page_shifts:
            assert bits(a.name, shift) in {None, *a.section_size_bits[shift]}


@pytest.mark.parametrize(
    ("g", "pfn", "section", "subsection"),
    [
        (Geometry("x86_64", 12, 27, 46, 1 << 27), 0x1FC000, 0x3F, 32),  # T110
        (Geometry("ppc64", 16, 24, 51, 1 << 24), 0x10021, 0x100, 1),  # T110
        (Geometry("aarch64", 16, 29, 48, 1 << 29), 0x2345, 1, 26),  # T111
    ],
)
def test_sections_of_pfns(g: Geometry, pfn: int, section: int, subsection: int) -> None:
    assert pfn >> g.section_shift == section
    assert (pfn & g.pages_per_section - 1) >> g.subsection_shift == subsection


def test_boot_zones() -> None:
    """x86_64: 16 MiB and 4 GiB; elsewhere no border is fixed by the architecture."""
    assert zone_bounds(geometry("x86_64 4-level", 0)) == (0x1000, 0x100000)
    assert all(zone_bounds(geometry(n, 0)) == () for n in LAYOUTS if not n.startswith("x86_64"))


def test_aliases() -> None:
    """The names that distributions and the kernel tree use are the same architectures."""
    for alias, name in {"amd64": "x86_64", "arm64": "aarch64", "ppc64le": "ppc64", "s390": "s390x"}.items():
        assert arch(alias) is ARCHES[name]
        assert Geometry.of(machine(arch=alias)).arch == name
    with pytest.raises(UnknownNameError, match=r"unknown architecture 'x86-64' \(did you mean x86_64\?\)"):
        arch("x86-64")


BAD = {
    "arch": ({"arch": "vax"}, "machine.arch: found 'vax'; needed one of x86_64, aarch64"),
    "page_shift": ({"page_shift": 14}, "machine.page_shift: found 14; needed one of 12 (x86_64)"),
    "section": ({"section_size_bits": 28}, "machine.section_size_bits: found 28; needed one of 27 (x86_64)"),
    "section by page size": (
        {"arch": "aarch64", "page_shift": 16, "section_size_bits": 27, "max_physmem_bits": 48},
        "machine.section_size_bits: found 27; needed one of 30, 29 (aarch64)",
    ),
    "address": ({"max_physmem_bits": 48}, "machine.max_physmem_bits: found 48; needed one of 46, 52 (x86_64)"),
    "small block": ({"memory_block_bytes": 1 << 26}, "machine.memory_block_bytes: found 0x4000000; needed a power of"),
    "odd block": ({"memory_block_bytes": 3 << 27}, "machine.memory_block_bytes: found 0x18000000"),
    "large block": ({"memory_block_bytes": 1 << 41}, "machine.memory_block_bytes: found 0x20000000000"),
    "no block": ({"memory_block_bytes": 0}, "machine.memory_block_bytes: found 0x0"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_layout_that_never_was_is_refused(case: str) -> None:
    """With the file, the field, what it says and what it could say."""
    changes, part = BAD[case]
    with pytest.raises(TraceError) as caught:
        check_description(machine(**changes), "file.arrow")
    assert str(caught.value).startswith(f"file.arrow: {part}")
    assert len(str(caught.value).splitlines()) == 1
