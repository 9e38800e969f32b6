"""Configuration facts that the checks depend on, derived from architecture, features and the trace's own words."""

from __future__ import annotations

from dataclasses import dataclass

from replay.errors import UsageError
from replay.kernel.features import FEATURES
from replay.trace.header import MachineDescription

__all__ = ("KernelConfig", "built_features", "config_for", "expected_section_bits")


@dataclass(frozen=True)
class KernelConfig:
    """What the kernel was built with, as far as decisions depend on it.

    Attributes:
        vmemmap: SPARSEMEM_VMEMMAP; without it there is no subsection map.
        memory_hotplug: MEMORY_HOTPLUG; without it pfn_to_online_page is pfn_valid.
        holes_in_zone: HOLES_IN_ZONE.
        arch_pfn_valid: HAVE_ARCH_PFN_VALID: the architecture has a pfn_valid of its own (modelled: arm64's).
        dax_compat: DEV_DAX_PMEM_COMPAT, and its module is the one that takes devdax namespaces.
        hotremove: MEMORY_HOTREMOVE; without it kmem takes nothing back.
        memmap_on_memory: the memory_hotplug.memmap_on_memory parameter.
        buffer_head: BUFFER_HEAD; without it block devices have a page cache without buffer heads.
    """

    vmemmap: bool = True
    memory_hotplug: bool = True
    holes_in_zone: bool = False
    arch_pfn_valid: bool = False
    dax_compat: bool = False
    hotremove: bool = True
    memmap_on_memory: bool = False
    buffer_head: bool = True


_NAMES = {
    "SPARSEMEM_VMEMMAP": "vmemmap",
    "MEMORY_HOTPLUG": "memory_hotplug",
    "HOLES_IN_ZONE": "holes_in_zone",
    "HAVE_ARCH_PFN_VALID": "arch_pfn_valid",
    "DEV_DAX_PMEM_COMPAT": "dax_compat",
    "MEMORY_HOTREMOVE": "hotremove",
    "memmap_on_memory": "memmap_on_memory",
    "BUFFER_HEAD": "buffer_head",
}


def config_for(machine: MachineDescription, features: frozenset[str]) -> KernelConfig:
    """Return the configuration of a kernel with these features on that machine.

    The architecture's default holds unless ``machine.config`` names the option. arm64 had its own pfn_valid and zones with
    holes until v5.14 (16c9afc77660).

    Raises:
        UsageError: the machine names an option that no check knows, or an arch pfn_valid other than arm64's.
    """
    arm64 = machine.arch in {"aarch64", "arm64"}
    own = arm64 and "arm64-generic-pfn-valid" not in features
    facts = {"holes_in_zone": own, "arch_pfn_valid": own}
    for option, value in machine.config.items():
        name = option.removeprefix("CONFIG_")
        if name not in _NAMES:
            raise UsageError(f"machine.config: unknown option {option!r}; known are {', '.join(_NAMES)}")
        facts[_NAMES[name]] = value
    if facts["arch_pfn_valid"] and not arm64:
        raise UsageError(f"machine.config: {machine.arch} with a pfn_valid of its own; only arm64's is known")
    return KernelConfig(**facts)


def built_features(features: frozenset[str], config: KernelConfig) -> frozenset[str]:
    """Return the features of a kernel that is built so: some only show where an option is off."""
    return frozenset(f for f in features if not (option := FEATURES[f].without) or not getattr(config, _NAMES[option]))


def expected_section_bits(machine: MachineDescription, features: frozenset[str]) -> int | None:
    """Return the section size bits that a kernel with these features uses on that architecture, or None if they vary."""
    if machine.arch in {"aarch64", "arm64"}:
        small = 29 if machine.page_shift == 16 else 27
        return small if "arm64-small-sections" in features else 30
    if machine.arch in {"s390", "s390x"}:
        return 27 if "s390-small-sections" in features else 28
    return None
