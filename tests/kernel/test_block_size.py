"""Memory block size: vectors T108 and T109 of walk.md, and the rest of its section 7.3."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replay.errors import UsageError
from replay.kernel.block_size import MEMORY_BLOCK_SIZE, BlockSizeRequest, boot_end, memory_block_size
from replay.kernel.calls import Kernel
from replay.kernel.config import KernelConfig
from replay.kernel.features import FEATURES
from replay.kernel.profiles import profile
from tests.kernel.test_dax import cell, described, every_kernel

MIB, GIB = 1 << 20, 1 << 30
X86 = BlockSizeRequest("x86_64", section=128 * MIB, boot_end=65 * GIB, guest=True)
METAL = replace(X86, guest=False)

SIZES: dict[str, tuple[BlockSizeRequest, dict[str, int]]] = {
    "T108 guest": (X86, {"ABCDEFG": GIB}),
    "T108 bare metal": (METAL, {"ABC": GIB, "DEFG": 2 * GIB}),
    "T109 guest": (replace(X86, boot_end=33 * GIB), {"ABCDEFG": 128 * MIB}),
    "T109 bare metal": (replace(METAL, boot_end=33 * GIB), {"ABCDEFG": 128 * MIB}),
    "just below 64 GiB": (replace(METAL, boot_end=64 * GIB - 4096), {"ABCDEFG": 128 * MIB}),
    "64 GiB": (replace(X86, boot_end=64 * GIB), {"ABCDEFG": 2 * GIB}),
    "odd end": (replace(X86, boot_end=64 * GIB + 4096), {"ABCDEFG": 128 * MIB}),
    "256 MiB": (replace(X86, boot_end=64 * GIB + 256 * MIB), {"ABCDEFG": 256 * MIB}),
    "advice, guest": (
        replace(X86, advised=256 * MIB),
        {"ABCDEF": GIB, "v6.12": GIB, "v6.12.107": GIB, "v7.2": 256 * MIB, "v7.2.13": 256 * MIB},
    ),
    "advice, bare metal": (
        replace(METAL, advised=256 * MIB),
        {
            "ABC": GIB,
            "DEF": 2 * GIB,
            "v6.12": 2 * GIB,
            "v6.12.107": 2 * GIB,
            "v7.2": 256 * MIB,
            "v7.2.13": 256 * MIB,
        },
    ),
    "advice above the end": (
        replace(METAL, advised=4 * GIB),
        {"ABC": GIB, "DEF": 2 * GIB, "v6.12": 2 * GIB, "v6.12.107": 2 * GIB, "v7.2": GIB, "v7.2.13": GIB},
    ),
    "advice below a section": (
        replace(METAL, advised=2 * MIB),
        {
            "ABC": GIB,
            "DEF": 2 * GIB,
            "v6.12": 2 * GIB,
            "v6.12.107": 2 * GIB,
            "v7.2": 128 * MIB,
            "v7.2.13": 128 * MIB,
        },
    ),
    "advice, small machine": (replace(X86, boot_end=8 * GIB, advised=256 * MIB), {"ABCDEFG": 128 * MIB}),
    "user": (replace(METAL, asked=512 * MIB), {"ABCDEFG": 512 * MIB}),
    "arm64": (BlockSizeRequest("aarch64", section=GIB, boot_end=65 * GIB), {"ABCDEFG": GIB}),
    "s390, large increment": (
        BlockSizeRequest("s390x", section=256 * MIB, boot_end=8 * GIB, firmware=GIB),
        {"ABCDEFG": GIB},
    ),
    "s390, small increment": (
        BlockSizeRequest("s390x", section=256 * MIB, boot_end=8 * GIB, firmware=MIB),
        {"ABCDEFG": 256 * MIB},
    ),
    "ppc64": (
        BlockSizeRequest("ppc64", section=16 * MIB, boot_end=8 * GIB, firmware=256 * MIB),
        {"ABCDEFG": 256 * MIB},
    ),
}


@every_kernel
@pytest.mark.parametrize("case", SIZES)
def test_block_size(case: str, name: str) -> None:
    request, row = SIZES[case]
    check, size = memory_block_size(Kernel(profile(name).features, KernelConfig()), request)
    what = f"{case} {name}: {size:#x} by {MEMORY_BLOCK_SIZE.checks[check].id}"
    assert size == cell(row, name), what


@pytest.mark.parametrize("field", ["asked", "advised", "firmware"])
def test_sizes_are_powers_of_two(field: str) -> None:
    with pytest.raises(UsageError, match=rf"{field} is 0xc000000"):
        memory_block_size(Kernel(frozenset(), KernelConfig()), replace(X86, **{field: 192 * MIB}))


def test_boot_end() -> None:
    assert boot_end(described()) == 0x140000 << 12
    assert boot_end(replace(described(), memory=())) == 0


def test_checks_name_features_that_exist() -> None:
    for check in MEMORY_BLOCK_SIZE.checks:
        assert not {*check.needs, *check.unless} - set(FEATURES), check.id
