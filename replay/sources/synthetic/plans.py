"""Machines one can ask for by name, as data: what differs from the plainest one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from replay.errors import UnknownNameError
from replay.kernel.profiles import PRESETS
from replay.machine.geometry import ARCHES
from replay.sources.synthetic.parameters import Parameter, choice, count, share, size, yes_no

__all__ = ("COLLISIONS", "MODES", "PLANS", "PLAN_PARAMETERS", "Plan", "kernels", "plan")

# How a device's memory is used. The first three and raw are persistent memory, the last two a device's own.
MODES = ("fsdax", "devdax", "kmem", "raw", "private", "coherent")
# Where a device's memory shares a section with RAM.
COLLISIONS = ("none", "start", "end", "both", "inside", "two")


@dataclass(frozen=True)
class Plan:
    """A machine by name.

    Attributes:
        name: as on the command line.
        about: one line.
        settings: parameters that differ from the defaults of ``PLAN_PARAMETERS``, as texts.
    """

    name: str
    about: str
    settings: Mapping[str, str]


def kernels() -> tuple[str, ...]:
    """Return the kernels that a machine can run, without the v; not the one that has no pfn_to_online_page."""
    return tuple(name.removeprefix("v") for name, preset in PRESETS.items() if not preset.poison_only)


def _list_of(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    one = choice(*known)
    return lambda given: tuple(one(part) for part in given.split("+"))


def _or_auto(low: int, high: int) -> Callable[[str], int | None]:
    one = size(low, high)
    return lambda given: None if given == "auto" else one(given)


def _ranges(given: str) -> tuple[str, ...]:
    return tuple(part for part in given.split(",") if part)


PLAN_PARAMETERS = (
    Parameter("arch", "x86_64", "architecture", choice(*ARCHES)),
    Parameter("page", "4K", "page size", size(1 << 12, 1 << 16)),
    Parameter(
        "section", "auto", "section size; auto: what the kernel has on the architecture", _or_auto(1 << 24, 1 << 30)
    ),
    Parameter("physmem", "46", "physical address bits that the section table covers", count(42, 56)),
    Parameter(
        "block", "auto", "size of a memory block device; auto: 128M, or a section if larger", _or_auto(1 << 24, 1 << 40)
    ),
    Parameter(
        "kernel", "6.12", "kernel that the trace claims to be made on; decides what walkers look up", choice(*kernels())
    ),
    Parameter("nodes", "1", "NUMA nodes", count(1, 1024)),
    Parameter("memory", "16G", "RAM at boot, in equal parts on the nodes", size(1 << 28)),
    Parameter("gap", "0", "address space left out in front of every node but the first", size()),
    Parameter("holes", "0", "subsections (2 MiB) missing from node 0's RAM, evenly spaced", count(0, 4096)),
    Parameter("ragged", "no", "whether RAM ends within a subsection", yes_no),
    Parameter("pmem", "0", "device memory, in equal parts on the namespaces", size()),
    Parameter("namespaces", "1", "devices that pmem is divided into; taken by the nodes in turn", count(1, 256)),
    Parameter("modes", "fsdax", f"use of the devices in turn, joined by +: {', '.join(MODES)}", _list_of(MODES)),
    Parameter(
        "collisions",
        "none",
        f"sections that the devices share with RAM, in turn, joined by +: {', '.join(COLLISIONS)}",
        _list_of(COLLISIONS),
    ),
    Parameter("partial", "0", "memory that a hypervisor adds in blocks which it fills in part (virtio-mem)", size()),
    Parameter("plugged", "1/2", "share of the partial memory that is there", share),
    Parameter(
        "ram", "", "RAM ranges START+SIZE[@NODE] in bytes, joined by commas, in place of memory and nodes", _ranges
    ),
    Parameter("device", "", "devices MODE@START+SIZE in bytes, joined by commas, in place of pmem", _ranges),
)

_ALL = (
    Plan("plain", "16 GiB in one node, nothing else", {}),
    Plan("laptop", "one node of 16 GiB with holes and a ragged end", {"holes": "4", "ragged": "yes"}),
    Plan(
        "server",
        "two sockets of 128 GiB; 256 GiB of pmem each, fsdax and devdax, in sections shared with RAM",
        {
            "nodes": "2",
            "memory": "256G",
            "pmem": "512G",
            "namespaces": "2",
            "modes": "fsdax+devdax",
            "collisions": "start+both",
        },
    ),
    Plan(
        "server-kmem",
        "two sockets of 128 GiB; 256 GiB of pmem each, used as RAM",
        {"nodes": "2", "memory": "256G", "pmem": "512G", "namespaces": "2", "modes": "kmem"},
    ),
    Plan(
        "cxl",
        "two sockets of 128 GiB, an expander used as RAM, device-private and coherent memory",
        {"nodes": "2", "memory": "256G", "pmem": "384G", "namespaces": "3", "modes": "kmem+private+coherent"},
    ),
    Plan(
        "guest",
        "a guest of 8 GiB to which the hypervisor has added 8 GiB in half-filled blocks",
        {"memory": "8G", "partial": "8G"},
    ),
    Plan(
        "collisions",
        "16 GiB and a device for every way to share a section",
        {"pmem": "5G", "namespaces": "5", "modes": "fsdax+devdax", "collisions": "start+end+both+inside+two"},
    ),
    Plan(
        "box-64t",
        "64 TiB in eight nodes with holes of 1 TiB between them, 52 address bits",
        {"nodes": "8", "memory": "64T", "gap": "1T", "physmem": "52", "block": "2G"},
    ),
    Plan(
        "arm64",
        "an arm64 server: 4 KiB pages, two nodes of 64 GiB, fsdax at the end of each",
        {
            "arch": "aarch64",
            "physmem": "48",
            "nodes": "2",
            "memory": "128G",
            "pmem": "64G",
            "namespaces": "2",
            "collisions": "start",
        },
    ),
    Plan(
        "arm64-64k",
        "an arm64 server with 64 KiB pages and sections of 512 MiB",
        {
            "arch": "aarch64",
            "page": "64K",
            "physmem": "48",
            "nodes": "2",
            "memory": "256G",
            "pmem": "128G",
            "namespaces": "2",
            "collisions": "start+both",
        },
    ),
    Plan(
        "s390",
        "an s390 partition of 64 GiB, sections of 256 MiB",
        {"arch": "s390x", "memory": "64G"},
    ),
    Plan(
        "ppc64",
        "a POWER server: 64 KiB pages, sections of 16 MiB, 128 GiB and devdax",
        {
            "arch": "ppc64",
            "page": "64K",
            "block": "256M",
            "physmem": "51",
            "nodes": "2",
            "memory": "128G",
            "pmem": "32G",
            "namespaces": "2",
            "modes": "devdax",
        },
    ),
    Plan("riscv64", "a RISC-V board of 16 GiB", {"arch": "riscv64", "physmem": "56"}),
)
PLANS = {p.name: p for p in _ALL}


def plan(name: str) -> Plan:
    """Return a plan by name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in PLANS:
        raise UnknownNameError("machine", name, PLANS, f"there are {', '.join(PLANS)}")
    return PLANS[name]
