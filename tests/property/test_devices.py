"""Lives of namespaces and dax devices: both engines alike, and what must hold whatever happens.

Nothing is online outside of a present section; what is claimed in the resource tree is claimed by somebody, or is what
walk.md (5.4, 5.5) says is left behind; an operation that fails changes nothing else.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from replay.engine.replay import Replayer
from replay.kernel.profiles import PRESETS, profile
from replay.machine.devices import Driver
from replay.trace.schema import EventKind, SectionFlags
from tests.property.devices import (
    BLOCK,
    MACHINE,
    PFNS,
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
@given(rows=device_rows())
def test_engines_agree_on_devices(name: str, rows: list[Row]) -> None:
    kernel = profile(name)
    got, expected = vector(MACHINE, rows, kernel), scalar(MACHINE, rows, kernel)
    for i, (a, b) in enumerate(zip(expected, got, strict=True)):
        assert a == b, f"row {i} of {rows} ({name})"


class Lives(RuleBasedStateMachine):
    """Rows go to the vector engine one by one; in the end the scalar reference must have said the same."""

    kernel = "v7.2"

    def __init__(self) -> None:
        super().__init__()
        self.profile = profile(self.kernel)
        self.replayer = Replayer(MACHINE, self.profile, STRINGS, keep=True)
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
        return tuple(self.entries()), sections, tuple(sorted(m.blocks.items())), drivers, tuple(m.devices.namespaces)

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
        assert after[2:] == before[2:], f"{row}: a failure changes blocks, drivers or namespaces"
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
    def claims_belong_to_somebody(self) -> None:
        devices = self.machine.devices
        owned = {(*n.reserved, name) for name, n in devices.namespaces.items()}
        for device in devices.daxes.values():
            if device.driver is Driver.DEVICE:
                owned |= {(*span, device.name) for span in device.ranges}
            for span, added in zip(device.ranges, device.added, strict=False):
                low, high = -(-span[0] // BLOCK) * BLOCK, (span[1] + 1) // BLOCK * BLOCK - 1
                owned |= {(low, high, device.name)} if added else set()
        claims = {entry for entry in self.entries() if entry[2].startswith(("dax", "namespace"))}
        assert claims - self.left <= owned, "claims of nobody"
        assert owned <= claims | self.left, "devices without their claims"

    def teardown(self) -> None:
        if not self.rows:
            return
        expected = scalar(MACHINE, self.rows, self.profile)
        for i, (row, outcomes) in enumerate(zip(expected, self.kept, strict=True)):
            assert row["ret"] == int(outcomes["ret"][0]), f"row {i} of {self.rows}"
            assert row["pages"] == int(outcomes["pages"][0]), f"row {i} of {self.rows}"


@pytest.mark.parametrize("name", ["v4.19", "v5.1", "v5.4", "v5.10.223", "v5.12", "v6.1", "v6.1.192", "v7.2"])
def test_lives_of_devices(name: str) -> None:
    lives = type("Lives", (Lives,), {"kernel": name})
    run_state_machine_as_test(lives, settings=settings(max_examples=12, stateful_step_count=30))
