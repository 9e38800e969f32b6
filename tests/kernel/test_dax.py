"""device-dax and kmem: vectors T94 to T103 of walk.md, and the rows of its tables 5.1, 5.4 and 5.5."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pytest

from replay.engine.resolve import StateIndex
from replay.kernel.boot import boot
from replay.kernel.calls import Kernel, Request
from replay.kernel.config import config_for
from replay.kernel.dax import (
    DAX_FUNCTIONS,
    DaxBus,
    DaxDevice,
    DaxRegion,
    Driver,
    Outcome,
    dax_probe,
    dax_unbind,
)
from replay.kernel.features import FEATURES
from replay.kernel.memremap import MemremapPages
from replay.kernel.online import MemoryBlockOnline
from replay.kernel.profiles import PRESETS, profile
from replay.kernel.walk import PFN_VALID, WalkState
from replay.machine.machine import Machine
from replay.machine.resources import Node
from replay.trace.header import BootRange, MachineDescription, Resource
from replay.trace.outcomes import RET_UNDEFINED

T = TypeVar("T")

# The column group of every preset that walks; as in walk.md section 0, but F is 6.1 alone and G is what follows.
COLUMN = {
    "v4.18": "A",
    "v4.19": "A",
    "v5.1": "B",
    "v5.3": "C",
    "v5.4": "C",
    "v5.4.195": "C",
    "v5.10": "D",
    "v5.10.223": "D",
    "v5.11": "D",
    "v5.12": "E",
    "v5.12.9": "E",
    "v6.1": "F",
    "v6.1.192": "F",
    "v6.12": "G",
    "v6.12.107": "G",
    "v7.2": "G",
    "v7.2.13": "G",
}
NA = "n/a"
NO_BUS = -errno.ENODEV

every_kernel = pytest.mark.parametrize("name", COLUMN)


def cell(row: Mapping[str, T], name: str) -> T:
    """The entry of a row for a preset: under its own name, or under the letters of columns, of which exactly one fits."""
    if name in row:
        return row[name]
    [found] = [value for key, value in row.items() if not key.startswith("v") and COLUMN[name] in key]
    return found


def described(*resources: Resource) -> MachineDescription:
    """L4 of walk.md: boot RAM [0x100000, 0x140000), blocks of 128 MiB; and 512 MiB of persistent memory behind it."""
    ram = Resource(0x100000 << 12, (0x140000 << 12) - 1, "System RAM", busy=True, ram=True)
    pmem = Resource(0x140000 << 12, (0x160000 << 12) - 1, "Persistent Memory")
    return MachineDescription(
        arch="x86_64",
        page_shift=12,
        section_size_bits=27,
        max_physmem_bits=46,
        memory_block_bytes=128 << 20,
        kernel="",
        memory=(BootRange(0x100000, 0x140000),),
        resources=(ram, pmem, *resources),
    )


def system(name: str, *resources: Resource) -> tuple[Machine, Kernel]:
    """The machine as the kernel of that profile boots it."""
    features = profile(name).features
    description = described(*resources)
    return boot(description, features), Kernel(features, config_for(description, features))


def device(*ranges: tuple[int, int], target: int = 0, kmem: bool = False, **more: Any) -> DaxDevice:
    """dax0.0 over bytes [start, end)."""
    return DaxDevice(DaxRegion(0, target, kmem), tuple((start, end - 1) for start, end in ranges), **more)


def ram_behind(machine: Machine) -> list[tuple[int, int]]:
    """System RAM in the persistent memory, pfns."""
    return machine.resources.ram_ranges(0x140000, 0x160000, 12, children=True)


def names_behind(machine: Machine) -> list[tuple[int, str]]:
    """Depth and name of the resources in the persistent memory."""
    return [(depth, node.name) for depth, node in machine.resources.walk() if node.start >= 0x140000 << 12]


def pfn_valid(machine: Machine, kernel: Kernel, pfn: int) -> int:
    index = StateIndex(machine, section_limit=True)
    code = index.codes[index.segment_of(np.array([pfn], np.uint64))]
    return int(PFN_VALID.tabulate(WalkState(code, kernel.config, kernel.features), 1, kernel.features).value[0])


def bring_online(machine: Machine, kernel: Kernel, block: int) -> None:
    call = MemoryBlockOnline(machine, kernel, Request(block * 0x8000, (block + 1) * 0x8000))
    call.begin()
    call.done()
    assert call.ret == 0, f"block {block}: {call.ret}"


def is_absent(outcome: Outcome) -> bool:
    return not outcome.applicable and outcome.ret == NO_BUS


GOOD = (0x140000 << 12, 0x150000 << 12)
TOO_SMALL = (0x150000 << 12, 0x154000 << 12)
TOO_SMALL_2 = (0x154000 << 12, 0x158000 << 12)
SECOND = (0x158000 << 12, 0x160000 << 12)
BUSY, INVALID = -errno.EBUSY, -errno.EINVAL


def test_every_preset_that_walks_has_a_column() -> None:
    assert set(COLUMN) == {name for name, preset in PRESETS.items() if not preset.poison_only}


def test_checks_name_features_that_exist() -> None:
    for function in DAX_FUNCTIONS:
        assert len({check.id for check in function.checks}) == len(function.checks), function.name
        for check in function.checks:
            assert not {*check.needs, *check.unless} - set(FEATURES), f"{function.name}/{check.id}"


# T94 to T98: (device, busy resource in its way or None), code and System RAM added, per column.
PROBES: dict[str, tuple[DaxDevice, Resource | None, dict[str, tuple[int, list[tuple[int, int]]] | str]]] = {
    "T94": (device((0x140200000, 0x150200000)), None, {"A": NA, "BCDEFG": (0, [(0x148000, 0x150000)])}),
    "T95": (
        device((0x141000000, 0x141000000 + (100 << 20))),
        None,
        {"A": NA, "BC": (BUSY, []), "DE": (0, []), "FG": (INVALID, [])},
    ),
    "T96": (
        device((0x140000000, 0x140000000 + (64 << 20))),
        None,
        {"A": NA, "BC": (BUSY, []), "DE": (0, []), "FG": (INVALID, [])},
    ),
    "T97": (device(GOOD, target=-1), None, {"A": NA, "BCDEFG": (INVALID, [])}),
    "T98": (
        device(GOOD),
        Resource(0x148000 << 12, (0x149000 << 12) - 1, "somebody", busy=True),
        {"A": NA, "BCDEFG": (BUSY, [])},
    ),
}


@every_kernel
@pytest.mark.parametrize("vector", PROBES)
def test_probe(vector: str, name: str) -> None:
    dax, busy, row = PROBES[vector]
    dax = DaxDevice(dax.region, dax.ranges)
    machine, kernel = system(name, *([busy] if busy else []))
    before = names_behind(machine)
    outcome = dax_probe(machine, kernel, Driver.KMEM, dax)
    expected = cell(row, name)
    what = f"{vector} {name}: {outcome}"
    if expected == NA:
        assert is_absent(outcome), what
        assert names_behind(machine) == before, what
        assert dax.driver is None, what
        return
    assert outcome.applicable, what
    assert (outcome.ret, ram_behind(machine)) == expected, what
    assert dax.driver is (None if outcome.ret else Driver.KMEM), what
    if not ram_behind(machine):
        assert names_behind(machine) == before, f"{what}: something stays in the resource tree"


@every_kernel
def test_t99_resource_names(name: str) -> None:
    row = {
        "A": [(0, "Persistent Memory")],
        "BC": [(0, "Persistent Memory"), (1, "dax0.0"), (2, "System RAM")],
        "DEFG": [(0, "Persistent Memory"), (1, "dax0.0"), (2, "System RAM (kmem)")],
    }
    machine, kernel = system(name)
    outcome = dax_probe(machine, kernel, Driver.KMEM, device(GOOD))
    assert names_behind(machine) == cell(row, name), f"T99 {name}"
    assert is_absent(outcome) == (COLUMN[name] == "A"), f"T99 {name}: n/a without kmem"
    parents = [node for _, node in machine.resources.walk() if node.name == "dax0.0"]
    assert all(node.ram and not node.busy for node in parents), f"T99 {name}: the reservation is System RAM, not busy"


@every_kernel
def test_t100_unbind_with_all_blocks_offline(name: str) -> None:
    machine, kernel = system(name)
    dax = device(GOOD)
    probe = dax_probe(machine, kernel, Driver.KMEM, dax)
    if COLUMN[name] == "A":
        assert is_absent(probe), f"T100 {name}: n/a without kmem"
        return
    assert pfn_valid(machine, kernel, 0x140000) == 1, f"T100 {name}: bound"
    outcome = dax_unbind(machine, kernel, dax)
    assert (outcome.ret, dax.driver) == (0, None), f"T100 {name}: {outcome}"
    assert pfn_valid(machine, kernel, 0x140000) == cell({"B": 1, "CDEFG": 0}, name), f"T100 {name}"
    left = cell({"B": [(0x140000, 0x150000)], "CDEFG": []}, name)
    assert ram_behind(machine) == left, f"T100 {name}"
    assert bool(names_behind(machine)[1:]) == bool(left), f"T100 {name}: the reservation"
    again = dax_probe(machine, kernel, Driver.KMEM, dax)
    assert again.ret == cell({"B": BUSY, "CDEFG": 0}, name), f"T100 {name}: bound again"


@every_kernel
def test_t101_unbind_with_one_block_online_then_bind(name: str) -> None:
    machine, kernel = system(name)
    dax = device(GOOD)
    probe = dax_probe(machine, kernel, Driver.KMEM, dax)
    if COLUMN[name] == "A":
        assert is_absent(probe), f"T101 {name}: n/a without kmem"
        return
    bring_online(machine, kernel, 0x140000 // 0x8000)
    outcome = dax_unbind(machine, kernel, dax)
    assert (outcome.ret, dax.driver) == (0, None), f"T101 {name}: {outcome}"
    assert pfn_valid(machine, kernel, 0x14FFFF) == 1, f"T101 {name}: the memory stays"
    assert dax.hotremove_failed == cell({"BC": False, "DEFG": True}, name), f"T101 {name}"
    assert dax_probe(machine, kernel, Driver.KMEM, dax).ret == BUSY, f"T101 {name}"


@every_kernel
def test_t102_new_id_while_bound_to_device_dax(name: str) -> None:
    machine, kernel = system(name)
    bus, dax = DaxBus(machine, kernel), device(GOOD)
    bus.add(dax)
    if COLUMN[name] == "A":
        assert is_absent(bus.new_id(Driver.KMEM, "dax0.0")), f"T102 {name}: n/a without the dax bus"
        assert dax.driver is None, f"T102 {name}"
        assert not bus.ids[Driver.KMEM], f"T102 {name}"
        return
    assert dax.driver is Driver.DEVICE, f"T102 {name}"
    assert bus.new_id(Driver.KMEM, "dax0.0\n").ret == 0, f"T102 {name}"
    assert bus.ids[Driver.KMEM] == {"dax0.0"}, f"T102 {name}: stored"
    assert dax.driver is Driver.DEVICE, f"T102 {name}: not bound to another driver"
    assert ram_behind(machine) == [], f"T102 {name}"


@every_kernel
@pytest.mark.parametrize("text", ["dax0.0x", "dax0", "dax0.", "0.0", "dax00.0", "dax0.0\n\n", " dax0.0", "", "dax0.٣"])
def test_t103_malformed_ids(text: str, name: str) -> None:
    bus = DaxBus(*system(name))
    row = {"A": NO_BUS, "BCDEFG": INVALID}
    assert bus.new_id(Driver.KMEM, text).ret == cell(row, name), f"T103 {name} new_id {text!r}"
    assert bus.remove_id(Driver.KMEM, text).ret == cell(row, name), f"T103 {name} remove_id {text!r}"
    assert not bus.ids[Driver.KMEM], f"T103 {name}"


@every_kernel
def test_new_id_binds_what_has_no_driver_and_hides_the_probe_code(name: str) -> None:
    machine, kernel = system(name)
    bus, good, bad = DaxBus(machine, kernel), device(GOOD), device(SECOND, target=-1, index=1)
    for dax in (good, bad):
        bus.add(dax)
        bus.unbind(dax)
    codes = [bus.new_id(Driver.KMEM, text).ret for text in ("dax0.0", "dax0.1", "dax0.0")]
    assert codes == cell({"A": [NO_BUS] * 3, "BCDEFG": [0, 0, 0]}, name), f"5.1 {name}"
    assert good.driver is cell({"A": None, "BCDEFG": Driver.KMEM}, name), f"5.1 {name}"
    assert bad.driver is None, f"5.1 {name}: its probe fails, and the write does not say so"


@every_kernel
def test_remove_id(name: str) -> None:
    bus, dax = DaxBus(*system(name), drivers=(Driver.KMEM,)), device(GOOD)
    bus.add(dax)
    assert dax.driver is None, f"5.1 {name}: kmem takes what it was told"
    bus.new_id(Driver.KMEM, "dax0.0")
    codes = [bus.remove_id(Driver.KMEM, text).ret for text in ("dax0.0\n", "dax0.0", "dax7.7")]
    assert codes == cell({"A": [NO_BUS] * 3, "BCDEFG": [0, 0, 0]}, name), f"5.1 {name}"
    assert dax.driver is cell({"A": None, "BCDEFG": Driver.KMEM}, name), f"5.1 {name}: stays bound"
    bus.unbind(dax)
    assert bus.bind(Driver.KMEM, dax).ret == NO_BUS, f"5.1 {name}: no id, no match"


@every_kernel
@pytest.mark.parametrize(
    ("kmem_region", "built", "row"),
    [
        (False, True, {"A": None, "BCDEFG": Driver.DEVICE}),
        (True, True, {"A": None, "BCDEF": Driver.DEVICE, "G": Driver.KMEM}),
        (True, False, {"A": None, "BCDEFG": Driver.DEVICE}),
    ],
)
def test_default_driver(name: str, *, kmem_region: bool, built: bool, row: dict[str, Driver | None]) -> None:
    drivers = tuple(Driver) if built else (Driver.DEVICE,)
    bus, dax = DaxBus(*system(name), drivers, kmem_built=built), device(GOOD, kmem=kmem_region)
    bus.add(dax)
    assert dax.driver is cell(row, name), f"5.1 {name}: region of kmem {kmem_region}, kmem built {built}"


@every_kernel
def test_binding_what_has_a_driver(name: str) -> None:
    bus, dax = DaxBus(*system(name)), device(GOOD)
    bus.add(dax)
    codes = [bus.bind(driver, dax).ret for driver in Driver]
    assert codes == cell({"ABCDE": [NO_BUS, NO_BUS], "FG": [BUSY, NO_BUS]}, name), f"5.9 {name}: kmem does not match"
    assert dax.driver is cell({"A": None, "BCDEFG": Driver.DEVICE}, name)


@every_kernel
def test_what_a_write_to_bind_says_of_a_probe_that_fails(name: str) -> None:
    bus, dax = DaxBus(*system(name), drivers=tuple(Driver)), device(GOOD, target=-1)
    bus.add(dax)
    bus.unbind(dax)
    bus.new_id(Driver.KMEM, "dax0.0")
    assert bus.bind(Driver.KMEM, dax).ret == cell({"ABCDE": NO_BUS, "FG": INVALID}, name), f"5.9 {name}"
    assert bus.bind(Driver.DEVICE, dax).ret == cell({"A": NO_BUS, "BCDEFG": 0}, name), f"5.9 {name}"


@every_kernel
@pytest.mark.parametrize("driver", Driver)
def test_device_without_memory(driver: Driver, name: str) -> None:
    row = {"A": NO_BUS, "BC": RET_UNDEFINED if driver is Driver.KMEM else 0, "DEFG": -errno.ENXIO}
    machine, kernel = system(name)
    assert dax_probe(machine, kernel, driver, device()).ret == cell(row, name), f"5.1 {name} {driver}"


# Table 5.4: several ranges. Code, System RAM added.
SEVERAL: dict[str, tuple[tuple[tuple[int, int], ...], dict[str, tuple[int, list[tuple[int, int]]]]]] = {
    "all": (
        (GOOD, SECOND),
        {"A": (NO_BUS, []), "BC": (RET_UNDEFINED, []), "DEFG": (0, [(0x140000, 0x150000), (0x158000, 0x160000)])},
    ),
    "too small first": (
        (TOO_SMALL, GOOD),
        {"A": (NO_BUS, []), "BC": (RET_UNDEFINED, []), "DEFG": (0, [(0x140000, 0x150000)])},
    ),
    "all too small": (
        (TOO_SMALL, TOO_SMALL_2),
        {"A": (NO_BUS, []), "BC": (RET_UNDEFINED, []), "DE": (0, []), "FG": (INVALID, [])},
    ),
    "first claimed": (
        ((0x138000 << 12, 0x140000 << 12), GOOD),
        {"A": (NO_BUS, []), "BC": (RET_UNDEFINED, []), "DEFG": (BUSY, [])},
    ),
    "claimed after too small": (
        (TOO_SMALL, (0x138000 << 12, 0x140000 << 12)),
        {"A": (NO_BUS, []), "BC": (RET_UNDEFINED, []), "DEFG": (BUSY, [])},
    ),
    "second claimed": (
        (GOOD, (0x138000 << 12, 0x140000 << 12), SECOND),
        {"A": (NO_BUS, []), "BC": (RET_UNDEFINED, []), "DEFG": (0, [(0x140000, 0x150000), (0x158000, 0x160000)])},
    ),
}


@every_kernel
@pytest.mark.parametrize("case", SEVERAL)
def test_several_ranges(case: str, name: str) -> None:
    ranges, row = SEVERAL[case]
    machine, kernel = system(name)
    outcome = dax_probe(machine, kernel, Driver.KMEM, device(*ranges))
    assert (outcome.ret, ram_behind(machine)) == cell(row, name), f"5.4 {case} {name}: {outcome}"


@every_kernel
@pytest.mark.parametrize("env", [-errno.ENOMEM, -errno.EINTR])
def test_reservation_after_a_failed_add(env: int, name: str) -> None:
    machine, kernel = system(name)
    outcome = dax_probe(machine, kernel, Driver.KMEM, device(GOOD), env=(env,))
    assert outcome.ret == cell({"A": NO_BUS, "BCDEFG": env}, name), f"5.4 {name}"
    left = cell({"A": [], "B": ["dax0.0"], "CDEFG": []}, name)
    assert [found for _, found in names_behind(machine)[1:]] == left, f"5.4 {name}: the reservation"


@every_kernel
def test_failed_add_after_a_successful_one(name: str) -> None:
    machine, kernel = system(name)
    dax = device(GOOD, SECOND)
    outcome = dax_probe(machine, kernel, Driver.KMEM, dax, env=(0, -errno.ENOMEM))
    assert outcome.ret == cell({"A": NO_BUS, "BC": RET_UNDEFINED, "DEFG": 0}, name), f"5.4 {name}"
    if outcome.ret == 0:
        assert dax.added == [True, False], f"5.4 {name}"
        assert [found for _, found in names_behind(machine)[1:]] == ["dax0.0", "System RAM (kmem)"], f"5.4 {name}"


@every_kernel
def test_add_refused_by_a_populated_subsection(name: str) -> None:
    machine, kernel = system(name)
    call = MemremapPages(machine, kernel, Request(pgmap=1, ranges=((0x140000, 0x148000),)))
    call.begin()
    call.done()
    outcome = dax_probe(machine, kernel, Driver.KMEM, device(GOOD))
    row = {"A": NO_BUS, "B": 0, "CDEFG": -errno.EEXIST}
    assert outcome.ret == cell(row, name), f"5.4 {name}: {outcome}"


NEVER_ADDED = {
    "A": NO_BUS,
    "BC": RET_UNDEFINED,
    "DE": "undefined",
    "v6.1": "undefined",
    "v6.1.192": "skipped",
    "v6.12": "undefined",
    "v6.12.107": "skipped",
    "v7.2": "skipped",
    "v7.2.13": "skipped",
}


@every_kernel
def test_unbind_with_a_range_that_was_never_added(name: str) -> None:
    machine, kernel = system(name)
    other, dax = Node(SECOND[0], SECOND[1] - 1, "somebody", busy=True), device(GOOD, SECOND, TOO_SMALL)
    machine.resources.place(other)
    probe = dax_probe(machine, kernel, Driver.KMEM, dax)
    expected = cell(NEVER_ADDED, name)
    if probe.ret:
        assert probe.ret == expected, f"5.5 {name}"
        return
    assert dax.added == [True, False, False], f"5.5 {name}"
    outcome = dax_unbind(machine, kernel, dax)
    steps = [step.check for step in outcome.steps]
    assert ram_behind(machine) == [], f"5.5 {name}: the first range is removed"
    assert ("kmem_remove/missing" in steps, outcome.ret) == (
        (True, RET_UNDEFINED) if expected == "undefined" else (False, 0)
    ), f"5.5 {name}: {outcome}"
    assert other in [node for _, node in machine.resources.walk()], f"5.5 {name}: somebody else's"


@every_kernel
def test_unbind_takes_back_what_is_offline(name: str) -> None:
    machine, kernel = system(name)
    dax = device(GOOD, SECOND)
    probe = dax_probe(machine, kernel, Driver.KMEM, dax)
    assert probe.ret == cell({"A": NO_BUS, "BC": RET_UNDEFINED, "DEFG": 0}, name), f"5.5 {name}"
    if probe.ret:
        return
    bring_online(machine, kernel, 0x140000 // 0x8000)
    assert dax_unbind(machine, kernel, dax).ret == 0, f"5.5 {name}"
    assert ram_behind(machine) == [(0x140000, 0x150000)], f"5.5 {name}: the second range is gone, the first stays"
    assert dax.hotremove_failed, f"5.5 {name}"
    assert dax_probe(machine, kernel, Driver.KMEM, dax).ret == BUSY, f"5.5 {name}: leftovers"


@every_kernel
def test_unbind_without_memory_hotremove(name: str) -> None:
    machine, kernel = system(name)
    kernel = replace(kernel, config=replace(kernel.config, hotremove=False))
    bus, dax = DaxBus(machine, kernel, (Driver.KMEM,)), device(GOOD)
    bus.add(dax)
    bus.new_id(Driver.KMEM, "dax0.0")
    assert bus.unbind(dax).ret == 0, f"5.5 {name}"
    assert ram_behind(machine) == cell({"A": [], "BCDEFG": [(0x140000, 0x150000)]}, name), f"5.5 {name}: it leaks"
    assert bus.bind(Driver.KMEM, dax).ret == cell({"ABCDE": NO_BUS, "FG": BUSY}, name), f"5.5 {name}"
    assert dax_probe(machine, kernel, Driver.KMEM, dax).ret == cell({"A": NO_BUS, "BCDEFG": BUSY}, name), f"5.5 {name}"


@every_kernel
def test_memmap_on_memory_is_asked_for_where_there_is_such_an_option(name: str) -> None:
    machine, kernel = system(f"{name}-memmap-on-memory-lenient" if COLUMN[name] == "G" else name)
    outcome = dax_probe(machine, kernel, Driver.KMEM, device(GOOD, memmap_on_memory=True))
    row = {"A": NO_BUS, "BCDEF": 0, "G": INVALID}
    assert outcome.ret == cell(row, name), f"5.4 {name}: two blocks cannot hold their memmap, if somebody asks"
