"""The scenarios of the lab: what machine each one needs. The scripts are in ``scenarios/``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from replay.errors import UnknownNameError

__all__ = ("SCENARIOS", "Scenario", "scenario", "script")

_FOLDER = Path(__file__).parent / "scenarios"


@dataclass(frozen=True)
class Scenario:
    """A scenario and the machine it runs on.

    Attributes:
        name: its name, also that of the recording.
        about: what it does, in one line.
        memory: memory arguments of qemu.
        kernel: words for the kernel command line.
        deadline: seconds after which the recording is closed.
        script: name of the script, where it is not the scenario's.
        devices: further arguments of qemu.
        modules: further kernel modules.
    """

    name: str
    about: str
    memory: tuple[str, ...] = ("-m", "3000M")
    kernel: str = ""
    deadline: int = 300
    script: str = ""
    devices: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


def _nvdimm(name: str, megabytes: int, *, node: int | None = None) -> tuple[str, ...]:
    """Return the arguments for an NVDIMM of that size, with a label area of 2 MiB."""
    where = "" if node is None else f",node={node}"
    return ("-object", f"memory-backend-ram,id={name},size={megabytes}M",
            "-device", f"nvdimm,id=d{name},memdev={name},label-size=2M{where}")  # fmt: skip


def _nodes(*megabytes: int) -> tuple[str, ...]:
    """Return the arguments for NUMA nodes with that much memory; the last node may have none."""
    words: list[str] = []
    for node, size in enumerate(megabytes):
        cpus = f",cpus={node}" if size else ""
        if size:
            words += ["-object", f"memory-backend-ram,id=n{node},size={size}M"]
        words += ["-numa", f"node,nodeid={node}{cpus}{f',memdev=n{node}' if size else ''}"]
    return tuple(words)


_ROWS = (
    Scenario("s0-smoke", "a little of everything, and whether the recorder takes back all that it did",
             ("-m", "2G"), deadline=600),
    Scenario("s1-walk-boot", "walk over all memory of a machine with two nodes and reserved holes",
             ("-m", "3000M", *_nodes(2000, 1000)), "memmap=3M$0x10500000,1300K$0x21080000"),
    Scenario("s2a-pmem-collision", "persistent memory in one section with RAM, in every mode of a namespace",
             ("-m", "4G"), "memmap=64M!0x11c000000,96M!0x128000000,160M!0x133000000"),
    Scenario("s3-hotplug", "DIMMs come and go; blocks online and offline, with poison in them",
             ("-m", "2G,slots=8,maxmem=16G")),
    Scenario("s4-kmem", "NVDIMMs as system RAM and back, with poison in them",
             ("-m", "2G,slots=8,maxmem=16G", "-object", "memory-backend-ram,id=m0,size=2G",
              "-numa", "node,nodeid=0,cpus=0-1,memdev=m0", "-numa", "node,nodeid=1",
              *_nvdimm("nv0", 1026, node=1), *_nvdimm("nv1", 514, node=0))),
    Scenario("s5-poison-ram", "every kind of RAM page, every way to poison it, every kill policy"),
    Scenario("s6-poison-dax", "device-dax and filesystem-dax pages, small and huge",
             ("-m", "3G,slots=8,maxmem=16G", *_nvdimm("nv0", 514), *_nvdimm("nv1", 514))),
    Scenario("s8-poison-rules", "filter, hugetlb pages partly poisoned, pinned, promised or of 1 GiB, odd page cache",
             ("-m", "4G"), "hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=16 default_hugepagesz=2M",
             deadline=500, modules=("vgem",)),
    Scenario("s9-machine-check", "errors that the hardware reports, to the task that consumed them and to others",
             ("-m", "2G"), "isolcpus=1"),
    Scenario("s10-hotplug-rules", "RAM of the boot removed and added again; memory that holds its own memmap",
             ("-m", "2G,slots=8,maxmem=16G", "-object", "memory-backend-ram,id=m0,size=2G",
              "-numa", "node,nodeid=0,cpus=0-1,memdev=m0", "-numa", "node,nodeid=1"),
             "movable_node memmap=512M@0x100000000 memory_hotplug.memmap_on_memory=1", deadline=500,
             devices=("-object", "memory-backend-ram,id=bebd,size=512M", "-device", "pc-dimm,id=bd,memdev=bebd,node=1")),
    Scenario("s11-dax-ranges", "memory that the firmware sets aside, as dax devices of one and of several ranges",
             ("-m", "6G"), "memmap=1G%0x140000000-1+0xefffffff", deadline=500),
    Scenario("s12-dax-owner", "dax pages of a file system that has a say in errors; the filter on dax pages",
             ("-m", "2G,slots=8,maxmem=16G", *_nvdimm("nv0", 514), *_nvdimm("nv1", 514)), modules=("xfs",)),
)  # fmt: skip

SCENARIOS: dict[str, Scenario] = {row.name: row for row in _ROWS}


def scenario(name: str) -> Scenario:
    """Return a scenario.

    Raises:
        UnknownNameError: there is none of that name.
    """
    if name not in SCENARIOS:
        raise UnknownNameError("scenario", name, SCENARIOS)
    return SCENARIOS[name]


def script(chosen: Scenario) -> Path:
    """Return the script of a scenario."""
    return _FOLDER / f"{chosen.script or chosen.name}.sh"
