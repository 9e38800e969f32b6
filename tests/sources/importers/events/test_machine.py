"""The machine that is put together from events: geometry by architecture and kernel, memory where there were pages."""

from __future__ import annotations

import numpy as np
import pytest

from replay.errors import InputError, UnknownNameError, UsageError
from replay.machine.geometry import ARCHES, check_description
from replay.sources.importers.events.machine import MAX_SECTIONS, MachineSource, Seen
from replay.trace.header import BootRange


def seen(*pfns: int) -> Seen:
    result = Seen()
    result.add(np.array(pfns, np.int64))
    return result


@pytest.mark.parametrize(
    ("arch", "kernel", "page_shift", "section"),
    [
        ("x86_64", "4.18", 12, 27), ("amd64", "7.2", 12, 27), ("aarch64", "5.11", 12, 30), ("aarch64", "5.12", 12, 27),
        ("arm64", "6.1.192", 12, 27), ("s390x", "6.12", 12, 28), ("s390x", "7.2", 12, 27), ("ppc64le", "6.1", 16, 24),
        ("riscv64", "6.1", 12, 27), ("loongarch64", "6.1", 14, 29),
    ],
)  # fmt: skip
def test_geometry(arch: str, kernel: str, page_shift: int, section: int) -> None:
    machine = MachineSource(arch=arch).put_together(kernel, "", seen(0x1234), "x")
    assert (machine.page_shift, machine.section_size_bits) == (page_shift, section)
    check_description(machine, "x")  # such a machine exists


@pytest.mark.parametrize("arch", ARCHES)
def test_no_page_at_all(arch: str) -> None:
    machine = MachineSource(arch=arch).put_together("6.1", "", Seen(), "x")
    assert machine.memory == ()
    check_description(machine, "x")


def test_memory_is_whole_sections_and_neighbours_are_one_range() -> None:
    pages = 0x8000
    machine = MachineSource().put_together("6.1", "", seen(5, pages + 1, 2 * pages + 7, 9 * pages), "x")
    assert machine.memory == (BootRange(0, 3 * pages), BootRange(9 * pages, 10 * pages))


def test_addresses_beyond_the_smaller_limit() -> None:
    machine = MachineSource().put_together("6.1", "", seen(1 << 36), "x")
    assert machine.max_physmem_bits == 52
    with pytest.raises(InputError, match="one that x86_64 can address"):
        MachineSource().put_together("6.1", "", seen(1 << 42), "x")


def test_too_many_sections_are_refused(monkeypatch) -> None:
    many = Seen()
    many.add(np.arange(MAX_SECTIONS + 1) << 15)
    with pytest.raises(InputError, match="--machine FILE"):
        MachineSource().put_together("6.1", "", many, "x")
    monkeypatch.setattr("replay.sources.importers.events.machine._MAX_PIECES", 100)
    more = Seen()
    for start in range(0, 1000, 50):  # from some number on, pieces are not even kept
        more.add((np.arange(50) + start) << 8)
    assert len(more._pieces) < 200
    with pytest.raises(InputError, match="--machine FILE"):
        MachineSource().put_together("6.1", "", more, "x")


def test_pages_outside_of_the_machine_that_was_given() -> None:
    machine = MachineSource().put_together("6.1", "", seen(0x100), "x")
    assert seen(0x100, 0x7FFF).outside(machine) is None
    assert seen(0x100, 0x8000).outside(machine) == 0x8000
    assert Seen().outside(machine) is None
    empty = MachineSource().put_together("6.1", "", Seen(), "x")
    assert seen(0x100).outside(empty) == 0x100


def test_kernels_and_architectures_that_are_none() -> None:
    with pytest.raises(UsageError, match="not a version"):
        MachineSource(kernel="new").kernel_of("", "x")
    with pytest.raises(UnknownNameError):
        MachineSource(arch="vax").put_together("6.1", "", Seen(), "x")
    assert MachineSource(kernel="v6.1.192").kernel_of("5.10", "x") == "6.1.192"
    assert MachineSource().kernel_of("6.12.107+deb13-amd64", "x") == "6.12.107"
