"""The memory block size a kernel chooses at boot (walk semantics 7.3)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from replay.errors import UsageError
from replay.kernel.calls import Kernel, always, fact
from replay.kernel.decision import Answer, Bools, Check, KernelFunction
from replay.trace.header import MachineDescription

__all__ = (
    "MEMORY_BLOCK_SIZE",
    "BlockRule",
    "BlockSizeFacts",
    "BlockSizeRequest",
    "boot_end",
    "memory_block_size",
)

_X86_SMALLEST = 128 << 20
_X86_LARGEST = 2 << 30
_X86_LARGE_MACHINE = 64 << 30


class BlockRule(IntEnum):
    """Where the size comes from."""

    ASKED = 0  # the user said
    FIRMWARE = 1  # firmware said, but not less than a section
    SECTION = 2
    SMALLEST = 3  # 128 MiB
    LARGEST = 4  # 2 GiB
    DIVIDES_END = 5  # the largest power of two that divides the end of boot memory


@dataclass(frozen=True)
class BlockSizeFacts:
    """What the choice depends on: booleans, or arrays of them.

    Attributes:
        asked: the user gave a size.
        firmware: the platform gets the size from firmware.
        x86: the machine is an x86_64.
        small: boot memory ends below 64 GiB.
        advised: a maximum was advised.
        guest: the machine runs under a hypervisor.
    """

    asked: Bools
    firmware: Bools
    x86: Bools
    small: Bools
    advised: Bools
    guest: Bools


MEMORY_BLOCK_SIZE: KernelFunction[BlockSizeFacts] = KernelFunction(
    "memory_block_size_bytes",
    (
        Check("asked", lambda s: s.asked, Answer("as asked", BlockRule.ASKED), why="the user gave a size"),
        Check(
            "firmware",
            lambda s: s.firmware,
            Answer("firmware", BlockRule.FIRMWARE),
            why="the platform's own unit of memory",
        ),
        Check("section", lambda s: ~s.x86, Answer("section", BlockRule.SECTION), why="the default is one section"),
        Check("small", lambda s: s.small, Answer("128 MiB", BlockRule.SMALLEST), why="boot memory ends below 64 GiB"),
        Check(
            "advised",
            lambda s: s.advised,
            Answer("divides the end", BlockRule.DIVIDES_END),
            needs=("block-size-advice",),
            why="the largest size up to the advised one that the end of boot memory is a multiple of",
        ),
        Check(
            "bare-metal",
            lambda s: ~s.guest,
            Answer("2 GiB", BlockRule.LARGEST),
            needs=("block-size-bare-metal",),
            why="no hypervisor that could add memory in smaller pieces",
        ),
        Check(
            "boot-end",
            always,
            Answer("divides the end", BlockRule.DIVIDES_END),
            why="the largest size up to 2 GiB that the end of boot memory is a multiple of",
        ),
    ),
)


@dataclass(frozen=True)
class BlockSizeRequest:
    """A machine at boot, sizes and addresses in bytes; 0 where nothing was said.

    Attributes:
        arch: as in uname -m.
        section: section size.
        boot_end: address after the last byte of boot memory (``boot_end`` gives it).
        guest: runs under a hypervisor.
        asked: size that the user gave.
        advised: advised maximum.
        firmware: unit of memory that firmware reports (s390 increment, ppc64 logical memory block).
    """

    arch: str
    section: int
    boot_end: int
    guest: bool = False
    asked: int = 0
    advised: int = 0
    firmware: int = 0


def memory_block_size(kernel: Kernel, request: BlockSizeRequest) -> tuple[int, int]:
    """Return (check index, memory block size in bytes).

    Raises:
        UsageError: a given size is not a power of two.
    """
    for name, size in (("asked", request.asked), ("advised", request.advised), ("firmware", request.firmware)):
        if size & (size - 1):
            raise UsageError(f"memory block size: {name} is {size:#x}, which is not a power of two")
    facts = BlockSizeFacts(
        asked=fact(request.asked),
        firmware=fact(request.firmware),
        x86=fact(request.arch in {"x86_64", "amd64"}),
        small=fact(request.boot_end < _X86_LARGE_MACHINE),
        advised=fact(request.advised),
        guest=fact(request.guest),
    )
    check = MEMORY_BLOCK_SIZE.decide(facts, kernel.features)
    step = MEMORY_BLOCK_SIZE.checks[check]
    most = min(max(request.advised, _X86_SMALLEST), _X86_LARGEST) if step.id == "advised" else _X86_LARGEST
    sizes = {
        BlockRule.ASKED: request.asked,
        BlockRule.FIRMWARE: max(request.firmware, request.section),
        BlockRule.SECTION: request.section,
        BlockRule.SMALLEST: _X86_SMALLEST,
        BlockRule.LARGEST: _X86_LARGEST,
        BlockRule.DIVIDES_END: max(_X86_SMALLEST, min(most, request.boot_end & -request.boot_end)),
    }
    return check, sizes[BlockRule(step.answer.value)]


def boot_end(machine: MachineDescription) -> int:
    """Return the address after the last byte of boot memory, 0 where there is none."""
    return max((r.end for r in machine.memory), default=0) << machine.page_shift
