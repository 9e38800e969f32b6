"""Lives of namespaces and dax devices: both engines alike, and what must hold whatever happens.

Nothing is online outside of a present section; what is claimed in the resource tree is claimed by somebody, or is what
walk.md (5.4, 5.5) says is left behind; an operation that fails changes nothing else.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from replay.engine.replay import Replayer
from replay.kernel.profiles import PRESETS, profile
from replay.machine.devices import Driver
from replay.scalar.devices import DeviceRequest
from replay.scalar.machine import ScalarMachine
from replay.trace.poison import PageFlag
from replay.trace.schema import BadblocksAction, EventKind, SectionFlags
from tests.property.devices import (
    BLOCK,
    MACHINE,
    PFNS,
    bad_row,
    device_rows,
    driver_row,
    likely_row,
    look,
    memory_row,
    namespace_row,
    region_row,
)
from tests.property.engines import as_batch, scalar, vector
from tests.property.strategies import STRINGS, Row

WALKS = [name for name, preset in PRESETS.items() if not preset.poison_only]


@pytest.mark.parametrize("name", WALKS)
@settings(max_examples=30)
@given(rows=device_rows(), compat=st.booleans())
def test_engines_agree_on_devices(name: str, rows: list[Row], *, compat: bool) -> None:
    kernel = profile(name)
    machine = replace(MACHINE, config={"DEV_DAX_PMEM_COMPAT": compat})
    got, expected = vector(machine, rows, kernel), scalar(machine, rows, kernel)
    for i, (a, b) in enumerate(zip(expected, got, strict=True)):
        assert a == b, f"row {i} of {rows} ({name})"


PAGE, SECTOR = 4096, 512
START = 0x120000000  # of the persistent memory
AREA = 16 * PAGE


@pytest.mark.parametrize("name", ["v4.18", "v5.4", "v6.1", "v7.2"])
@settings(max_examples=60)
@given(data=st.data())
def test_the_list_of_bad_sectors(name: str, data: st.DataObject) -> None:
    """Both engines keep the sectors that a set of numbers does, and restore the pages that a write restores."""
    kernel = profile(name)
    replayer, machine = Replayer(MACHINE, kernel, STRINGS), ScalarMachine(MACHINE, kernel.features)
    bad: set[int] = set()
    poisoned = set(data.draw(st.sets(st.integers(0, 15))))
    for page in poisoned:
        replayer.machine.pages.mark(START // PAGE + page, PageFlag.HWPOISON)
        machine.state.poison.pages.mark(START // PAGE + page, PageFlag.HWPOISON)
    for number in range(data.draw(st.integers(1, 8))):
        action = data.draw(st.sampled_from(BadblocksAction))
        at, size = data.draw(st.integers(0, AREA - 1)), data.draw(st.sampled_from((1, 64, 512, 4096, 5000, 3 * PAGE)))
        row: Row = {"kind": EventKind.BADBLOCKS, "key": int(action), "start": START + at, "size": size, "time": number}
        if data.draw(st.integers(0, 5)) == 0:
            row = {"kind": EventKind.CLEAR_ERROR, "pfn": (START + at) // PAGE, "nr_pages": 2, "time": number}
            action, at, size = BadblocksAction.CLEARED, at // PAGE * PAGE, 2 * PAGE
            if "clear-error-restores" in kernel.features:
                poisoned -= {at // PAGE, at // PAGE + 1}
        replayer.feed(as_batch([row], number))
        if row["kind"] == EventKind.CLEAR_ERROR:
            machine.clear_error(row["pfn"], 2)
        else:
            machine.bus.call(EventKind.BADBLOCKS, DeviceRequest(int(action), bytes=(START + at, START + at + size)))
        if action is BadblocksAction.REPORTED:
            if "pmem-error-granularity" in kernel.features:
                at = (START + at) // size * size - START
            else:
                at, size = -(-at // 64) * 64, 64
        inside = set(range(-(-at // SECTOR), (at + size) // SECTOR))
        if action is BadblocksAction.WRITTEN and "clear-error-restores" in kernel.features:
            written = set(range(-(-at // PAGE), (at + size) // PAGE))
            poisoned -= {page for page in written if bad & set(range(page * 8, page * 8 + 8))}
        if action in (BadblocksAction.FOUND, BadblocksAction.REPORTED):
            bad |= set(range(at // SECTOR, -(-(at + size) // SECTOR)))
        else:
            bad -= inside
    first = START // SECTOR
    assert {s for a, b, _ in replayer.machine.badblocks for s in range(a - first, b - first)} == bad
    assert {(s - START) // SECTOR for a, b in machine.bus.bad.ranges for s in range(a, b, SECTOR)} == bad
    pages = range(START // PAGE, START // PAGE + 24)
    assert {p - START // PAGE for p in pages if replayer.machine.pages.is_poisoned(p)} == poisoned
    assert {p - START // PAGE for p in pages if machine.state.poison.pages.poisoned_in((p, p + 1))} == poisoned


class Lives(RuleBasedStateMachine):
    """Rows go to the vector engine one by one; in the end the scalar reference must have said the same."""

    kernel = "v7.2"
    described = MACHINE

    def __init__(self) -> None:
        super().__init__()
        self.profile = profile(self.kernel)
        self.replayer = Replayer(self.described, self.profile, STRINGS, keep=True)
        self.machine = self.replayer.machine
        self.rows: list[Row] = []
        self.initial = set(self.entries())
        self.left: set[tuple[int, int, str]] = set()  # claims that kmem does not take back
        self.kept: list[dict[str, Any]] = []

    def entries(self) -> list[tuple[int, int, str]]:
        return [(node.start, node.end, node.name) for _, node in self.machine.resources.walk()]

    def state(self) -> tuple[object, ...]:
        m = self.machine
        sections = tuple((n, m.sections.flags(n), m.sections.bits(n).tobytes()) for n in m.sections.numbers().tolist())
        drivers = tuple((name, d.driver, d.ranges) for name, d in m.devices.daxes.items())
        medium = tuple(sorted(m.devices.infos.items())), tuple(m.badblocks)
        return (
            tuple(self.entries()),
            sections,
            tuple(sorted(m.blocks.items())),
            drivers,
            tuple(m.devices.namespaces),
            medium,
        )

    def play(self, row: Row) -> int:
        row["time"] = len(self.rows)
        self.replayer.feed(as_batch([row], len(self.rows)))
        self.rows.append(row)
        outcomes = list(self.replayer.finished())
        self.kept += outcomes
        return int(outcomes[-1]["ret"][0])

    @rule(data=st.data())
    def namespace(self, data: st.DataObject) -> None:
        self.device(namespace_row(data.draw))

    @rule(data=st.data())
    def driver(self, data: st.DataObject) -> None:
        self.device(driver_row(data.draw))

    @precondition(lambda self: self.machine.devices.daxes)
    @rule(data=st.data())
    def likely(self, data: st.DataObject) -> None:
        daxes = self.machine.devices.daxes.items()
        self.device(likely_row(data.draw, {name: d.driver.number if d.driver else 0 for name, d in daxes}))

    @rule(data=st.data())
    def region(self, data: st.DataObject) -> None:
        self.device(region_row(data.draw))

    @rule(data=st.data())
    def bad_ranges(self, data: st.DataObject) -> None:
        before = self.state()
        self.device(bad_row(data.draw))
        assert self.state()[:-1] == before[:-1], "the list of bad ranges is nothing but a list"

    @rule(data=st.data())
    def memory(self, data: st.DataObject) -> None:
        self.device(memory_row(data.draw))

    @rule(pfn=st.sampled_from(PFNS))
    def lookup(self, pfn: int) -> None:
        self.play(look(pfn))

    def device(self, row: Row) -> None:
        before, claims = self.state(), set(self.entries())
        kmem = [d for d in self.machine.devices.daxes.values() if d.driver is Driver.KMEM]
        ret = self.play(row)
        self.left |= self.leftovers(row, kmem, claims)
        self.left &= set(self.entries())
        if ret and row["kind"] >= EventKind.DAX_REGION:
            self.failed_changes_nothing(before, row)

    def leftovers(self, row: Row, kmem: list[Any], claims: set[tuple[int, int, str]]) -> set[tuple[int, int, str]]:
        """What walk.md says stays behind: memory of kmem devices that was not taken back; a claim of an add that failed."""
        left = set()
        unbound = [d for d in kmem if d.driver is not Driver.KMEM]
        for device in unbound:
            left |= {c for c in claims if c[2] == device.name and self.stays(c)}
        if not self.profile_has("kmem-releases-reservation"):
            left |= {c for c in self.entries() if c not in claims and c[2].startswith("dax") and not self.bound(c[2])}
        return left

    def stays(self, claim: tuple[int, int, str]) -> bool:
        online = any(self.machine.blocks.get(n) for n in range(claim[0] // BLOCK, claim[1] // BLOCK + 1))
        return online or not self.profile_has("kmem-hot-remove")

    def profile_has(self, feature: str) -> bool:
        return feature in self.profile.features

    def bound(self, name: str) -> bool:
        device = self.machine.devices.daxes.get(name)
        return device is not None and device.driver is not None

    def failed_changes_nothing(self, before: tuple[object, ...], row: Row) -> None:
        after = self.state()
        entries = set(after[0]) - self.left  # type: ignore[call-overload]
        assert entries <= set(before[0]), f"{row}: a failure leaves a claim"  # type: ignore[call-overload]
        assert after[2:-1] == before[2:-1], f"{row}: a failure changes blocks, drivers or namespaces"
        # A new info block is written, and the memmap's place is cleared, before the namespace is claimed and mapped.
        assert after[-1] == before[-1] or row["kind"] == EventKind.NAMESPACE, f"{row}: a failure changes the medium"
        online = [{n for n, flags, _ in part if flags & SectionFlags.ONLINE} for part in (before[1], after[1])]  # type: ignore[attr-defined]
        assert online[0] == online[1], f"{row}: a failure takes memory on or off"

    @invariant()
    def nothing_is_online_outside_of_a_present_section(self) -> None:
        m, whole = self.machine, SectionFlags.PRESENT | SectionFlags.HAS_MEM_MAP
        for section in m.sections.numbers().tolist():
            flags = m.sections.flags(section)
            assert not flags & SectionFlags.ONLINE or flags & whole == whole, f"section {section}: {flags:#x}"
        for block, online in m.blocks.items():
            assert not online or m.sections.flags(block) & SectionFlags.ONLINE, f"block {block} without sections"

    @invariant()
    def nobody_on_the_bus_gets_a_device_of_the_class(self) -> None:
        for device in self.machine.devices.daxes.values():
            assert device.on_bus or device.driver is Driver.DEVICE, (
                f"{device.name} is on no bus, and has {device.driver}"
            )

    @invariant()
    def claims_belong_to_somebody(self) -> None:
        devices = self.machine.devices
        owned = {(*n.reserved, name) for name, n in devices.namespaces.items()}
        for device in devices.daxes.values():
            if device.driver is Driver.DEVICE:
                owned |= {(*span, device.name) for span in device.held}
            for span, added in zip(device.ranges, device.added, strict=False):
                low, high = -(-span[0] // BLOCK) * BLOCK, (span[1] + 1) // BLOCK * BLOCK - 1
                owned |= {(low, high, device.name)} if added else set()
        claims = {entry for entry in self.entries() if entry[2].startswith(("dax", "namespace"))}
        assert claims - self.left <= owned, "claims of nobody"
        assert owned <= claims | self.left, "devices without their claims"

    def teardown(self) -> None:
        if not self.rows:
            return
        expected = scalar(self.described, self.rows, self.profile)
        for i, (row, outcomes) in enumerate(zip(expected, self.kept, strict=True)):
            assert row["ret"] == int(outcomes["ret"][0]), f"row {i} of {self.rows}"
            assert row["pages"] == int(outcomes["pages"][0]), f"row {i} of {self.rows}"


@pytest.mark.parametrize("name", ["v4.19", "v5.1", "v5.4", "v5.10.223", "v5.12", "v6.1", "v6.1.192", "v7.2"])
def test_lives_of_devices(name: str) -> None:
    lives = type("Lives", (Lives,), {"kernel": name})
    run_state_machine_as_test(lives, settings=settings(max_examples=12, stateful_step_count=30))


@pytest.mark.parametrize("name", ["v5.1", "v5.12", "v6.1"])
def test_lives_of_devices_with_the_class(name: str) -> None:
    compat = replace(MACHINE, config={"DEV_DAX_PMEM_COMPAT": True})
    lives = type("Lives", (Lives,), {"kernel": name, "described": compat})
    run_state_machine_as_test(lives, settings=settings(max_examples=12, stateful_step_count=30))
