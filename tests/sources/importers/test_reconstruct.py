"""A machine put together from events: the least that explains them, and marked."""

from __future__ import annotations

import numpy as np
import pytest

from replay.errors import InputError, UnknownNameError, UsageError
from replay.machine.geometry import ARCHES, check_description
from replay.sources.importers.reconstruct import RECONSTRUCTED, machine_of, reconstruct
from replay.trace.header import BootRange
from replay.trace.validate import check_machine
from tests.trace.build import MACHINE, write


def pfns(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


def test_memory_is_the_sections_of_the_pages() -> None:
    """Neighbouring sections are one range; nothing else is there."""
    source = reconstruct("6.1.192", pfns(0x8001, 0x1, 0x7FFF, 0x100000))
    assert source.machine.memory == (BootRange(0, 0x10000), BootRange(0x100000, 0x108000))
    assert [(r.start, r.end, r.ram) for r in source.machine.resources] == [
        (0, 0xFFFFFFF, True),
        (0x100000000, 0x107FFFFFF, True),
    ]
    assert not source.given
    assert source.notes[0].startswith(RECONSTRUCTED)


@pytest.mark.parametrize("name", sorted(ARCHES))
def test_every_architecture_gives_a_machine_that_it_can_have(name: str) -> None:
    for shift in ARCHES[name].page_shifts:
        machine = reconstruct("6.12", pfns(5, 1 << 20), arch_name=name, page_shift=shift).machine
        check_machine(machine, "reconstructed")
        check_description(machine, "reconstructed")


def test_addresses_decide_the_address_bits() -> None:
    """x86-64 has 46 or 52; beyond them no machine explains the page."""
    assert reconstruct("6.12", pfns((1 << 34) - 1)).machine.max_physmem_bits == 46
    assert reconstruct("6.12", pfns(1 << 34)).machine.max_physmem_bits == 52
    with pytest.raises(InputError, match="pfns below 0x10000000000 "):
        reconstruct("6.12", pfns(1 << 40))


def test_without_pages_there_is_no_memory() -> None:
    machine = reconstruct("5.10", pfns()).machine
    assert machine.memory == machine.resources == ()
    check_machine(machine, "reconstructed")


def test_what_cannot_be_asked_for() -> None:
    with pytest.raises(UnknownNameError, match="x86_65"):
        reconstruct("5.10", pfns(), arch_name="x86_65")
    with pytest.raises(UsageError, match="x86_64 has no pages of 65536 bytes"):
        reconstruct("5.10", pfns(), page_shift=16)


def test_a_given_machine_is_that_of_the_file(tmp_path) -> None:
    source = machine_of(write(tmp_path / "machine.arrow"))
    assert source.machine == MACHINE
    assert source.given
    assert "machine.arrow, sha256:" in source.notes[0]
