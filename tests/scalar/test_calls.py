"""Checks and effects of the calls that the vectors do not reach."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replay.trace.outcomes import RET_BUG, RET_UNDEFINED
from replay.trace.schema import AddFlags, ResourceFlags
from tests.scalar.build import boot
from tests.vectors.lookups import L1, L2, L3, L4
from tests.vectors.model import (
    E2BIG,
    EBUSY,
    EEXIST,
    EINVAL,
    ENOMEM,
    ENXIO,
    VERSIONS,
    Layout,
    iomem,
)

BLOCK = 0x8000
NEW = 0x140000
TOP = 1 << 34  # first pfn beyond 2^46 bytes


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("v4.18", (RET_UNDEFINED, "bounds")),
        ("v5.4", (RET_UNDEFINED, "bounds")),
        ("v5.10", (-E2BIG, "bounds")),
        ("v5.12", (-E2BIG, "range")),
    ],
)
def test_add_beyond_the_section_table(version: str, expected: tuple[int, str]) -> None:
    machine = boot(L4, version)
    assert machine.add_memory(TOP, BLOCK) == expected
    assert len(machine.present_sections()) == 8
    assert machine.add_memory(NEW, BLOCK) == (0, "added")


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("v4.18", (RET_UNDEFINED, "range")),
        ("v5.3", (RET_UNDEFINED, "range")),
        ("v5.11", (-E2BIG, "range")),
        ("v6.1", (-EINVAL, "range")),
    ],
)
def test_map_beyond_the_section_table_leaves_no_index(version: str, expected: tuple[int, str]) -> None:
    machine = boot(L4, version)
    assert machine.memremap_pages(1, [(TOP - 0x200, 0x400)]) == expected
    assert machine.get_dev_pagemap(TOP - 0x200) == (0, "not-indexed")
    assert machine.memunmap_pages(1) == (0, "unknown")


def test_two_ranges_before_they_existed() -> None:
    assert boot(L4, "v5.4").memremap_pages(1, [(NEW, 512), (NEW + 512, 512)]) == (RET_UNDEFINED, "ranges")


def test_altmap_with_two_ranges() -> None:
    machine = boot(L4, "v6.1")
    assert machine.memremap_pages(1, [(NEW, 512), (NEW + 512, 512)], altmap=(NEW, 0, 0)) == (-EINVAL, "altmap-ranges")


def test_failing_second_range_undoes_the_first_but_not_its_taint() -> None:
    machine = boot(L1, "v6.1")
    assert machine.memremap_pages(1, [(0x1FC000, 0x4000), (0x110000, 0x200)]) == (-ENXIO, "system-ram")
    assert machine.get_dev_pagemap(0x1FC000) == (0, "not-indexed")
    assert machine.pfn_to_online_page(0x1FC000) == (0, "subsection")
    assert machine.pfn_to_online_page(0x1FBFFF) == (1, "tainted-page")


def test_overlapping_ranges_of_one_call() -> None:
    machine = boot(L4, "v6.1")
    assert machine.memremap_pages(1, [(NEW + 0x400, 0x200), (NEW, 0x1000)]) == (-EEXIST, "populated")
    assert machine.memremap_pages(2, [(NEW, 0x400), (NEW + 0x200, 0x400)]) == (-ENOMEM, "live-pagemap")
    assert not machine.section_flags(NEW >> 15)


def test_environment_after_all_checks_of_a_map() -> None:
    machine = boot(L4, "v6.1")
    assert machine.memremap_pages(1, [(NEW + 1, 512)], env=-ENOMEM) == (-EINVAL, "alignment")
    assert machine.memremap_pages(1, [(NEW, 512)], env=-ENOMEM) == (-ENOMEM, "environment")
    assert machine.get_dev_pagemap(NEW) == (0, "not-indexed")
    assert machine.section_flags(NEW >> 15) == 0


def test_overlapped_pagemap_takes_the_entries_of_the_other_with_it() -> None:
    machine = boot(L4, "v5.1")
    machine.memremap_pages(1, [(0x148200, 0x200)])
    machine.memremap_pages(2, [(0x140000, 0x10000)])
    assert machine.memunmap_pages(1) == (0, "unmapped")
    assert machine.get_dev_pagemap(0x148200) == (0, "not-indexed")
    assert machine.get_dev_pagemap(0x148000) == (2, "live")
    assert machine.memunmap_pages(1) == (0, "unknown")


def test_without_vmemmap() -> None:
    layout = replace(L4, config=(("SPARSEMEM_VMEMMAP", False),))
    machine = boot(layout, "v6.1")
    assert machine.memremap_pages(1, [(NEW, 0x200)]) == (-EINVAL, "alignment")
    assert machine.memremap_pages(1, [(NEW, BLOCK)]) == (0, "mapped")
    assert boot(replace(L3, config=layout.config), "v6.1").pfn_to_online_page(0x17FE00) == (1, "untainted")


def test_without_hotplug() -> None:
    machine = boot(replace(L4, config=(("MEMORY_HOTPLUG", False),)), "v6.1")
    assert machine.pfn_to_online_page(0x13FFFF) == (1, "no-hotplug-valid")
    assert machine.pfn_to_online_page(NEW) == (0, "no-hotplug-invalid")


@pytest.mark.parametrize(
    ("version", "expected"),
    [("v5.12", (0, "section-number")), ("v6.1", (0, "roundtrip"))],
)
def test_high_bits_of_a_pfn(version: str, expected: tuple[int, str]) -> None:
    assert boot(L4, version).pfn_valid(1 << 52 | 0x100000) == expected


def test_arm64_high_bits_alias_at_first() -> None:
    arm = Layout(((0x40000, 0x60000),), arch="arm64", section_size_bits=30, max_physmem_bits=48)
    assert boot(arm, "v4.18").pfn_valid(1 << 52 | 0x40000) == (1, "arm64-memblock")
    assert boot(arm, "v4.19").pfn_valid(1 << 52 | 0x40000) == (0, "arm64-roundtrip")
    assert boot(arm, "v5.1").pfn_valid(1 << 40) == (0, "arm64-section-number")
    assert boot(arm, "v5.1").pfn_valid(0x90000) == (0, "arm64-section-valid")
    assert boot(arm, "v5.1").pfn_valid(0x70000) == (0, "arm64-not-memblock")


def test_arm64_hot_added_subsections() -> None:
    arm = Layout(((0x40000, 0x60000),), arch="aarch64", section_size_bits=27, max_physmem_bits=48)
    machine = boot(arm, "v5.12")
    machine.memremap_pages(1, [(0x80000, 0x200)])
    assert machine.pfn_valid(0x801FF) == (1, "arm64-hotplug-subsection")
    assert machine.pfn_valid(0x80200) == (0, "arm64-hotplug-hole")


@pytest.mark.parametrize("version", VERSIONS)
def test_removing_what_is_not_made_of_blocks_is_fatal(version: str) -> None:
    assert boot(L4, version).remove_memory(0x138000, 0x200) == (RET_BUG, "alignment")


def test_resources_are_cut_by_removal_and_grow_by_adding() -> None:
    machine = boot(L4, "v6.1")
    assert machine.offline_pages(0x110000, BLOCK) == (0, "offlined")
    assert machine.remove_memory(0x110000, BLOCK) == (0, "removed")
    assert machine.walk_system_ram_range(0x100000, 0x40000) == (0, "visited", 0x38000)
    assert machine.add_memory(0x110000, BLOCK) == (0, "added")
    assert machine.walk_system_ram_range(0x100000, 0x40000) == (0, "visited", 0x40000)


def test_memory_blocks() -> None:
    for version in VERSIONS:
        machine = boot(L4, version)
        assert machine.memory_block_online(0x138000, BLOCK) == (-EINVAL, "state")
        assert machine.memory_block_online(NEW, BLOCK) == (-EINVAL, "state")
        assert machine.memory_block_offline(0x138000, BLOCK) == (0, "offlined")
        assert machine.memory_block_offline(0x138000, BLOCK) == (-EINVAL, "state")
        assert machine.memory_block_online(0x138000, BLOCK) == (0, "onlined")


def test_block_with_an_absent_section() -> None:
    layout = replace(L2, memory=((0x100000, 0x108000),), block_bits=28)
    for version, expected in (("v5.1", (-EINVAL, "sections")), ("v5.10", (-EINVAL, "holes"))):
        assert boot(layout, version).memory_block_offline(0x100000, 2 * BLOCK) == expected
    machine = boot(layout, "v5.3")
    assert machine.offline_pages(0x100000, 2 * BLOCK) == (-EINVAL, "zone-span")


def test_block_device_in_the_way() -> None:
    layout = Layout(((0x100000, 0x108000),), block_bits=28)
    machine = boot(layout, "v6.1")
    machine.state.flags.clear()
    machine.state.subsections.clear()
    machine.state.resources.root.children.clear()
    assert machine.add_memory(0x100000, 2 * BLOCK) == (-EEXIST, "block-exists")
    assert machine.present_sections() == []


def test_online_without_ram_and_with_a_section_already_online() -> None:
    for version, ret in (("v4.18", -1), ("v5.4", -EINVAL)):
        machine = boot(L4, version)
        assert machine.online_pages(0x200000, BLOCK) == (ret, "no-ram")
        machine.add_memory(NEW, BLOCK)
        machine.online_pages(NEW, 0x200)
        assert machine.memory_block_online(NEW, BLOCK) == (-EBUSY, "sections")
    assert boot(L4, "v5.10").online_pages(0x200000, BLOCK) == (0, "onlined")


def test_block_of_which_leading_pages_are_missing() -> None:
    machine = boot(L4, "v6.1")
    machine.add_memory(NEW, BLOCK)
    assert machine.online_pages(NEW + 0x200, BLOCK - 0x200) == (0, "onlined")
    assert machine.remove_memory(NEW, BLOCK) == (-EBUSY, "online")


def test_offline_across_a_zone_border() -> None:
    layout = Layout(((0xF8000, 0x108000),), block_bits=30)
    assert boot(layout, "v5.1").offline_pages(0xF8000, 2 * BLOCK) == (-EINVAL, "zones")
    assert boot(layout, "v5.1").offline_pages(0xF8000, BLOCK) == (0, "offlined")


@pytest.mark.parametrize(
    ("version", "on", "expected"),
    [
        ("v5.12", False, (0, "added")),
        ("v6.1", False, (-EINVAL, "memmap-on-memory")),
        ("v6.1", True, (0, "added")),
        ("v6.12", False, (0, "added")),
    ],
)
def test_memmap_on_memory(version: str, on: bool, expected: tuple[int, str]) -> None:
    machine = boot(replace(L4, config=(("memmap_on_memory", on),)), version)
    assert machine.add_memory(NEW, BLOCK, flags=int(AddFlags.MEMMAP_ON_MEMORY)) == expected
    strict = version == "v6.1"
    two = machine.add_memory(NEW + BLOCK, 2 * BLOCK, flags=int(AddFlags.MEMMAP_ON_MEMORY))
    assert two == ((-EINVAL, "memmap-on-memory") if strict else (0, "added"))


def test_driver_managed_names() -> None:
    flags = int(AddFlags.DRIVER_MANAGED)
    assert boot(L4, "v6.1").add_memory(NEW, BLOCK, flags=flags, name="System RAM (kmem)") == (0, "added")
    assert boot(L4, "v6.1").add_memory(NEW, BLOCK, flags=flags) == (-EINVAL, "name")
    assert boot(L4, "v5.4").add_memory(NEW, BLOCK, flags=flags, name="anything") == (0, "added")


def test_leftovers_of_a_failed_add() -> None:
    machine = boot(L4, "v6.1")
    machine.memremap_pages(1, [(NEW + BLOCK + 0x400, 0x200)])
    assert machine.add_memory(NEW, 2 * BLOCK) == (-EEXIST, "populated")
    assert machine.subsection_bits(NEW) == (1 << 64) - 1
    assert machine.subsection_bits(NEW + BLOCK) == 1 << 2
    assert machine.walk_system_ram_range(NEW, BLOCK) == (-EINVAL, "nothing", 0)


def test_partial_removal_needs_all_bits() -> None:
    machine = boot(L4, "v6.1")
    machine.memremap_pages(1, [(NEW, 0x400)])
    machine.state.subsections.discard(NEW >> 9)
    machine.memunmap_pages(1)
    assert machine.subsection_bits(NEW) == 2


def test_tainted_node_until_the_shift_was_fixed() -> None:
    description = L4.description()
    from replay.kernel.profiles import profile
    from replay.scalar import ScalarMachine
    from replay.trace.header import BootRange

    nodes = replace(description, memory=(BootRange(0x100000, 0x108000, 1), BootRange(0x108000, 0x140000, 2)))
    machine = ScalarMachine(nodes, profile("v5.12").features)
    assert machine.pfn_to_online_page(0x100000) == (1, "untainted")
    assert machine.pfn_to_online_page(0x108000) == (1, "tainted-page")
    assert ScalarMachine(nodes, profile("v6.1").features).pfn_to_online_page(0x108000) == (1, "untainted")
    assert ScalarMachine(nodes, profile("v5.11").features).pfn_to_online_page(0x108000) == (1, "page")


def test_pagemap_questions() -> None:
    machine = boot(L4, "v6.1")
    assert machine.pgmap_pfn_valid(9, NEW) == (0, "outside")
    machine.memremap_pages(1, [(NEW, 0x400)], altmap=(NEW, 2, 0x1FE))
    assert machine.pgmap_pfn_valid(1, NEW) == (0, "metadata")
    machine.memunmap_pages(1)
    assert machine.pgmap_pfn_valid(1, NEW + 0x200) == (1, "data")


def test_nested_regions() -> None:
    pmem = iomem(0x140000, 0x150000, "Persistent Memory")
    ram = iomem(0x100000, 0x140000, "System RAM", "br")
    layout = Layout(L4.memory, (ram, pmem))
    for version, nested in (("v6.1", 1), ("v6.12", 0)):
        machine = boot(layout, version)
        assert machine.resource_insert(0x140000 << 12, 0x10000 << 12, "dax0.0", 0) == (0, "inserted")
        assert machine.add_memory(0x148000, BLOCK) == (0, "added")
        flags = int(ResourceFlags.RAM)
        assert machine.region_intersects(0x148000 << 12, BLOCK << 12, flags)[0] == nested
        expected = (2, "mixed") if not nested else (1, "disjoint")
        assert machine.region_intersects(0x147000 << 12, BLOCK << 12, flags) == expected
        assert machine.region_intersects(0x100000 << 12, 0x48000 << 12, flags) == (2, "mixed")
        assert machine.region_intersects(0x100000 << 12, 0x1000, flags) == (0, "intersects")
        assert machine.resource_remove(0x140000 << 12, 0x10000 << 12) == (0, "removed")
        assert machine.region_intersects(0x148000 << 12, BLOCK << 12, flags) == (1, "disjoint")
        assert machine.resource_remove(0x141000 << 12, 0x1000) == (-EINVAL, "unknown")
        assert machine.resource_insert(0x13F000 << 12, 0x2000 << 12, "x", 0) == (-EBUSY, "resource-conflict")


def test_what_is_undefined_has_no_effects() -> None:
    machine = boot(L4, "v5.1")
    machine.memremap_pages(1, [(TOP - 0x6000, 0x200)])
    assert machine.memremap_pages(2, [(TOP - 0x8000, 0x10000)]) == (RET_UNDEFINED, "range")
    assert machine.get_dev_pagemap(TOP - 0x6000) == (1, "live")
