"""Machines: every plan is one that can exist, devices share sections as they were asked to, nonsense is refused."""

from __future__ import annotations

import pytest

from replay.errors import UsageError
from replay.machine.geometry import check_description
from replay.sources.synthetic.machines import SyntheticMachine, make_machine
from replay.sources.synthetic.plans import PLANS
from replay.trace.validate import check_machine


@pytest.mark.parametrize("name", PLANS)
def test_plans_are_machines_that_can_exist(name: str) -> None:
    machine = make_machine(name)
    check_machine(machine.description, name)
    check_description(machine.description, name)
    assert machine.whole_blocks
    assert sum(end - start for start, end in machine.zones) >= sum(end - start for start, end in machine.ram)


@pytest.mark.parametrize(("kernel", "bits"), [("5.11", 30), ("5.12", 29), ("7.2", 29)])
def test_sections_are_those_of_the_kernel(kernel: str, bits: int) -> None:
    """arm64 has made its sections smaller; a trace with others could not be replayed by the kernel it claims."""
    assert make_machine("arm64-64k", {"kernel": kernel}).geometry.section_size_bits == bits


@pytest.mark.parametrize("kernel", ["4.18", "5.10.223", "7.2.13"])
def test_the_kernel_is_in_the_header(kernel: str) -> None:
    assert make_machine("plain", {"kernel": kernel}).description.kernel == kernel


def ram_sections(machine: SyntheticMachine) -> set[int]:
    shift = machine.geometry.section_shift
    return {s for start, end in machine.ram for s in range(start >> shift, (end - 1 >> shift) + 1)}


@pytest.mark.parametrize(
    ("collision", "start", "end", "sections"),
    [
        ("none", False, False, None),
        ("start", True, False, None),
        ("end", False, True, None),
        ("both", True, True, None),
        ("inside", True, True, 1),
    ],
)
@pytest.mark.parametrize("plan", ["plain", "arm64-64k", "s390", "ppc64"])
def test_collisions(plan: str, collision: str, start: bool, end: bool, sections: int | None) -> None:
    """A device shares its first section, its last, both or its only one with RAM, and no page with anything."""
    machine = make_machine(plan, {"pmem": "2G", "namespaces": "1", "modes": "fsdax", "collisions": collision})
    (device,) = machine.devices
    shift, shared = machine.geometry.section_shift, ram_sections(machine)
    first, last = device.start >> shift, device.end - 1 >> shift
    assert (first in shared, last in shared) == (start, end)
    assert device.start % machine.geometry.pages_per_subsection == 0
    if sections:
        assert last - first + 1 == sections
    else:
        assert not shared & set(range(first + 1, last))
    assert all(hi <= device.start or lo >= device.end for lo, hi in machine.ram)


def test_two_devices_in_one_section_with_ram() -> None:
    machine = make_machine("plain", {"pmem": "1G", "collisions": "two"})
    one, two = machine.devices
    shift = machine.geometry.section_shift
    assert one.end == two.start
    assert one.start >> shift == one.end - 1 >> shift == two.start >> shift
    assert one.start >> shift in ram_sections(machine)


def test_explicit_ranges() -> None:
    machine = make_machine("plain", {"ram": "0x0+1G,4G+2G@1", "device": "raw@0x40000000+32M,devdax@6G+1G"})
    assert [(r.start, r.end, r.node) for r in machine.memory.ram] == [(0, 1 << 18, 0), (1 << 20, 3 << 19, 1)]
    assert [(d.mode, d.start, d.pages, d.node) for d in machine.devices] == [
        ("raw", 1 << 18, 1 << 13, 0),
        ("devdax", 3 << 19, 1 << 18, 1),
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"memory": "1000M"}, r"memory=1000M: needed a multiple of nodes x memory block \(1 x 128M\), as 1G"),
        ({"nodes": "3"}, r"memory=16G: needed a multiple of nodes x memory block \(3 x 128M\), as 16512M"),
        ({"pmem": "100M"}, r"pmem=100M: .* as 128M"),
        ({"memroy": "1G"}, r"unknown parameter of machine plain 'memroy' \(did you mean memory"),
        ({"modes": "fsdax+devdx"}, r"modes=fsdax\+devdx: needed one of fsdax, .*\(did you mean devdax"),
        ({"collisions": "midle"}, "needed one of none, start, end, both, inside, two"),
        ({"page": "64K"}, "page=64K: needed one of 4K"),
        ({"arch": "aarch64", "physmem": "46"}, "physmem=46: needed one of 48, 52"),
        ({"section": "256M"}, "section=256M: needed one of 128M"),
        ({"arch": "s390x", "kernel": "7.2", "section": "256M"}, "kernel 7.2 has sections of 128M on s390x"),
        ({"section": "100M"}, "section=100M: needed a power of two, as 64M or 128M"),
        ({"block": "64M"}, "needed a power of two from the section size"),
        ({"kernel": "6.13"}, r"kernel=6.13: needed one of 4.18, .*\(did you mean"),
        ({"kernel": "2.6.32"}, "kernel=2.6.32: needed one of 4.18"),
        ({"memory": "lots"}, "memory=lots: needed a size such as 512M"),
        ({"memory": "-1"}, "needed a size such as 512M"),
        ({"plugged": "3/2"}, "plugged=3/2: needed a share from 0 to 1"),
        ({"partial": "100M"}, "partial=100M: needed whole memory blocks of 128M, as 128M"),
        ({"memory": "64T", "nodes": "1"}, "beyond 46 physical address bits"),
        ({"holes": "4096"}, r"holes=4096: needed at most \d+"),
        ({"device": "fsdax@4G+1G"}, r"RAM \[0x100000000, 0x480000000\) overlaps fsdax device 0 .*behind everything"),
        ({"device": "fsdax@0x480000000+4G,raw@0x500000000+4G"}, "raw device 1 .* overlaps fsdax device 0"),
        ({"device": "fsdax@0x480001000+4G"}, "no multiple of 2M; needed 0x480000000 or 0x480200000"),
        ({"device": "fsdax"}, "needed MODE@START"),
        ({"ram": "1G"}, "needed START"),
        ({"ram": "1G+0"}, "more than 0 bytes"),
        ({"ram": "1G+1G@x"}, "needed a node number"),
        ({"ram": "0x1001+1M"}, "no multiple of 4K"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_with_what_would_be_right(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_machine("plain", settings)


def test_unknown_machine() -> None:
    with pytest.raises(UsageError, match=r"unknown machine 'servr' \(did you mean server"):
        make_machine("servr")
