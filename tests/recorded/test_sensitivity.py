"""A wrong kernel is noticed: what a recording exercises cannot be taken from its profile without differences."""

from __future__ import annotations

from typing import Any

import pytest

from replay.engine.tally import BLOCKS, DAXES, DRIVER_CALLS, DUMP, RESOURCES, SLOW_PATH
from replay.machine.devices import Devices
from replay.session import run
from tests.recorded.replayed import FOLDER, NAMES, differing, replayed, walk

LOOKUP, INDEX = "pfn_to_online_page", "get_dev_pagemap"

# (trace, kernel) -> the aspects that differ.
NOTICED: dict[tuple[str, str], set[str]] = {
    # Each walk feature that a recording exercises, taken away.
    ("6.1.192-s2a-pmem-collision", "v6.1.192-taint-zone-device"): {DUMP, LOOKUP, SLOW_PATH, INDEX},
    ("6.12.107-s2a-pmem-collision", "v6.12.107-taint-zone-device"): {DUMP, LOOKUP, SLOW_PATH, INDEX},
    ("7.2.13-s2a-pmem-collision", "v7.2.13-taint-zone-device"): {DUMP, LOOKUP, SLOW_PATH, INDEX},
    ("6.1.192-s4-kmem", "v6.1.192-taint-zone-device"): {DUMP},
    ("6.1.192-s1-walk-boot", "v6.1.192-online-page-subsection-validity"): {LOOKUP},
    ("6.1.192-s2a-pmem-collision", "v6.1.192-online-page-subsection-validity"): {LOOKUP, SLOW_PATH},
    ("6.12.107-s5-poison-ram", "v6.12.107-online-page-subsection-validity"): {LOOKUP},
    ("7.2.13-s2a-pmem-collision", "v7.2.13-online-page-subsection-validity"): {LOOKUP, SLOW_PATH},
    ("5.10.223-s1-walk-boot", "v5.10.223-section-early"): {DUMP, "pfn_valid"},
    ("6.1.192-s2a-pmem-collision", "v6.1.192-section-early"): {DUMP, "pfn_valid"},
    ("6.12.107-s5-poison-ram", "v6.12.107-section-early"): {DUMP, "pfn_valid"},
    ("7.2.13-s1-walk-boot", "v7.2.13-section-early"): {DUMP, "pfn_valid"},
    ("5.10.223-s2p-raw", "v5.10.223-subsection-hotplug"): {DUMP, RESOURCES, "memremap_pages"},
    ("6.1.192-s1-walk-boot", "v6.1.192-subsection-hotplug"): {DUMP, LOOKUP},
    ("6.12.107-s4-kmem", "v6.12.107-subsection-hotplug"): {DUMP, "pfn_valid"},
    ("5.10.223-s3-hotplug", "v5.10.223-offline-refuses-holes"): {DUMP, BLOCKS, LOOKUP, "offline_pages"},
    ("6.1.192-s3-hotplug", "v6.1.192-offline-refuses-holes"): {DUMP, BLOCKS, LOOKUP, "offline_pages"},
    ("7.2.13-s3-hotplug", "v7.2.13-offline-refuses-holes"): {DUMP, BLOCKS, LOOKUP, "offline_pages"},
    # Features of kmem, dax devices and namespaces, taken away.
    ("6.1.192-s4-kmem", "v6.1.192-driver-managed-memory"): {RESOURCES, DRIVER_CALLS},
    ("6.1.192-s4-kmem", "v6.1.192-dax-target-node"): {DAXES},
    ("6.1.192-s4-kmem", "v6.1.192-kmem-hot-remove"): {
        *(DUMP, RESOURCES, BLOCKS, DAXES, DRIVER_CALLS),
        *(INDEX, "pfn_valid", "pgmap_pfn_valid"),
    },
    ("7.2.13-s2a-pmem-collision", "v7.2.13-namespace-subsection-layout"): {
        *(DUMP, RESOURCES, DAXES, DRIVER_CALLS),
        *(SLOW_PATH, INDEX, "pgmap_pfn_valid"),
    },
    ("6.12.107-s4-kmem", "v6.12.107-ram-child-resources"): {
        *(DUMP, RESOURCES, BLOCKS, DAXES, DRIVER_CALLS),
        *(LOOKUP, "pfn_valid", "add_memory", "offline_pages"),
    },
    # Patches of the series, given to a kernel that does not have them.
    ("5.10.223-s1-walk-boot", "v5.10.223+online-page-subsection-validity"): {LOOKUP},
    ("5.10.223-s2a-pmem-collision", "v5.10.223+online-page-subsection-validity"): {LOOKUP},
    ("5.10.223-s2a-pmem-collision", "v5.10.223+taint-zone-device"): {DUMP, LOOKUP},
    ("5.10.223-s2p-raw", "v5.10.223+taint-zone-device"): {DUMP, LOOKUP},
    # Whole versions, on the wrong side of the series or of subsections.
    ("5.10.223-s2a-pmem-collision", "v5.12"): {DUMP, LOOKUP},
    ("6.1.192-s2a-pmem-collision", "v5.10.223"): {DUMP, LOOKUP, SLOW_PATH, INDEX},
    ("5.10.223-s2p-raw", "v5.1"): {DUMP, RESOURCES, "memremap_pages"},
    ("6.1.192-s1-walk-boot", "v5.11"): {LOOKUP},
    ("7.2.13-s1-walk-boot", "v5.10.223"): {LOOKUP},
}


@pytest.mark.parametrize(("name", "kernel"), NOTICED, ids=[f"{name}-by-{kernel}" for name, kernel in NOTICED])
def test_a_wrong_kernel_is_noticed(name: str, kernel: str) -> None:
    """The replay differs from the recording, in these aspects and no others; the first rows that differ are named."""
    result = replayed(name, kernel)
    found = differing(result)
    assert set(found) == NOTICED[name, kernel]
    for aspect in found:
        rows = result["differences"][aspect]
        assert 0 < sum(row["count"] for row in rows) <= found[aspect]


def test_a_missing_function_is_not_compared() -> None:
    """Without pgmap_pfn_valid nothing can differ: every recorded call of it is named as not compared."""
    agreement = walk(replayed("6.1.192-s2a-pmem-collision", "v6.1.192-pgmap-pfn-valid"))
    own = walk(replayed("6.1.192-s2a-pmem-collision"))
    assert own["pgmap_pfn_valid"]["agreed"] == 255
    assert agreement.pop("pgmap_pfn_valid") == {
        "recorded": 255,
        "compared": 0,
        "agreed": 0,
        "differed": 0,
        "not_compared": {"no such function in this kernel": 255},
    }
    own.pop("pgmap_pfn_valid")
    assert agreement == own


@pytest.mark.parametrize("name", ["6.1.192-s1-walk-boot", "5.10.223-s5-poison-ram"])
def test_what_changes_no_answer_is_not_noticed(name: str) -> None:
    """A patch without an observable effect on lookups changes nothing that is counted."""
    own = replayed(name)
    sign = "-" if name.startswith("6") else "+"
    other = replayed(name, f"{own['profile']}{sign}online-page-out-of-line")
    for part in ("outcomes", "checks", "agreement", "truth", "slow_path"):
        assert own[part] == other[part]


# The pmem namespaces of the collision scenario, pfns with both ends included: each shares its sections with RAM.
NAMESPACES = {(0x11C000, 0x11FFFF): 26686, (0x128000, 0x12DFFF): 28044, (0x133000, 0x13CFFF): 30998}
# Pages beside RAM that share a subsection with it: no kernel tells them apart.
BESIDE_RAM = {(0x0, 0x0): 1, (0x9F, 0xFF): 97, (0x7FFD6, 0x7FFFF): 42}


def _false_online(kernel: str) -> dict[tuple[int, int], int]:
    truth = replayed("6.1.192-s2a-pmem-collision", kernel)["truth"]
    assert truth["false_offline"] == 0
    ranges = {(r["first"], r["last"]): r["lookups"] for r in truth["false_online_ranges"]}
    assert sum(ranges.values()) == truth["false_online"]
    return ranges


def test_the_false_positives_that_the_series_removes() -> None:
    """v5.11 answers 85728 lookups within the pmem namespaces with a page; v5.12 none of them."""
    before, after = _false_online("v5.11"), _false_online("v5.12")
    assert before == {**BESIDE_RAM, **NAMESPACES}
    assert after == BESIDE_RAM
    assert sum(before.values()) - sum(after.values()) == sum(NAMESPACES.values()) == 85728
    # Those are exactly the lookups that differ from the recorded kernel, which has the series.
    assert differing(replayed("6.1.192-s2a-pmem-collision", "v5.11"))[LOOKUP] == 85728
    assert differing(replayed("6.1.192-s2a-pmem-collision", "v5.12")) == {}


def test_each_patch_removes_its_part() -> None:
    """Patch 2 alone leaves the namespaces while they are mapped, patch 3 alone the time in which they are not."""
    name = "6.1.192-s2a-pmem-collision"
    assert differing(replayed(name, "v5.11+online-page-subsection-validity"))[LOOKUP] == 69231
    assert differing(replayed(name, "v5.11+taint-zone-device"))[LOOKUP] == 16497
    assert 69231 + 16497 == 85728
    assert LOOKUP not in differing(replayed(name, "v5.11+online-page-subsection-validity+taint-zone-device"))


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("s2a-pmem-collision")])
def test_a_medium_that_is_forgotten_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Namespaces that are enabled again are what their info blocks say; without these they would be raw."""

    class Forgetful(dict[Any, Any]):
        def __setitem__(self, key: object, value: object) -> None:
            """Keep nothing."""

    made = Devices.__init__

    def forgetting(self: Devices) -> None:
        made(self)
        self.infos = Forgetful()

    monkeypatch.setattr(Devices, "__init__", forgetting)
    found = differing(run(FOLDER / f"{name}.arrow").to_dict())
    assert set(found) == {DAXES, RESOURCES, DRIVER_CALLS}
    assert found[DRIVER_CALLS] == 3  # one for each of the three namespaces
