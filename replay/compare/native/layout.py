"""What the child process and this one agree on: sizes, numbers of functions, and what a machine is compiled with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from replay.kernel.config import KernelConfig
from replay.machine.geometry import Geometry
from replay.trace.schema import EventKind

__all__ = ("CHUNK", "FUNCTION_OF", "ROUNDS", "WORK", "Contender", "Function", "Target")

CHUNK = 1 << 16  # lookups handed over at once; their pfns fit the second level cache
ROUNDS = 16  # samples of one contender taken in a row, at most
SAMPLE_SECONDS = 200e-6  # a sample is at least so long: the clock is good to some 30 ns


class Function(IntEnum):
    """What a candidate may define; the numbers are those of module.h."""

    PFN_TO_ONLINE_PAGE = 0
    PFN_VALID = 1
    PGMAP_PFN_VALID = 2


FUNCTION_OF = {EventKind[function.name]: function for function in Function}


class Contender(IntEnum):
    """What is timed; the numbers are those of driver.c."""

    CANDIDATE = 0
    BASELINE = 1
    EMPTY = 2  # the loop and a call that does nothing


# struct work of driver.c.
WORK = np.dtype(
    [
        ("at", "u8"),
        ("signal", "u8"),
        ("code", "u8"),
        ("address", "u8"),
        ("instruction", "u8"),
        ("stack", "u8"),
        ("base", "u8", 2),
        ("defines", "u8", 2),
        ("cycles_errno", "u8"),
        ("nanoseconds", "u8"),
        ("rest", "V", 4096 - 12 * 8),
        ("pfn", "u8", CHUNK),
        ("pgmap", "u8", CHUNK),
        ("answer", "u1", CHUNK),
        ("seconds", "f8", (ROUNDS, len(Contender))),
        ("cycles", "f8", (ROUNDS, len(Contender))),
    ]
)

# Features that the header's own pfn_valid depends on.
_FEATURES = (
    "arm64-pfn-valid-roundtrip",
    "arm64-pfn-valid-section",
    "arm64-pfn-valid-subsection",
    "pfn-valid-high-bits",
    "section-early",
    "subsection-hotplug",
)
_OPTIONS = {
    "CONFIG_SPARSEMEM_VMEMMAP": "vmemmap",
    "CONFIG_MEMORY_HOTPLUG": "memory_hotplug",
    "CONFIG_HOLES_IN_ZONE": "holes_in_zone",
    "CONFIG_HAVE_ARCH_PFN_VALID": "arch_pfn_valid",
}
_ARCHES = {
    "x86_64": "X86_64",
    "aarch64": "ARM64",
    "ppc64": "PPC64",
    "s390x": "S390",
    "riscv64": "RISCV",
    "loongarch64": "LOONGARCH",
}


@dataclass(frozen=True)
class Target:
    """What a candidate is compiled for.

    Attributes:
        geometry: of the machine.
        config: of the kernel.
        features: those that the header depends on.
    """

    geometry: Geometry
    config: KernelConfig
    features: frozenset[str]

    @classmethod
    def of(cls, geometry: Geometry, config: KernelConfig, features: frozenset[str]) -> Target:
        """Return the target for a kernel with these features on that machine."""
        return cls(geometry, config, features.intersection(_FEATURES))

    @property
    def nr_roots(self) -> int:
        """NR_SECTION_ROOTS: pages of section entries, 16 bytes each."""
        g = self.geometry
        return max(g.nr_sections >> g.page_shift - 4, 1)

    def header(self) -> str:
        """Return the C that stands in front of every file."""
        g = self.geometry
        lines = {
            "REPLAY_MACHINE_H": 1,
            "PAGE_SHIFT": g.page_shift,
            "SECTION_SIZE_BITS": g.section_size_bits,
            "MAX_PHYSMEM_BITS": g.max_physmem_bits,
            f"CONFIG_{_ARCHES[g.arch]}": 1,
            **{option: 1 for option, name in _OPTIONS.items() if getattr(self.config, name)},
            **{f"REPLAY_HAS_{name.replace('-', '_')}": 1 for name in sorted(self.features)},
            "REPLAY_CHUNK": CHUNK,
            "REPLAY_ROUNDS": ROUNDS,
            "REPLAY_SAMPLE_SECONDS": SAMPLE_SECONDS,
        }
        return "".join(f"#define {name} {value}\n" for name, value in lines.items())
