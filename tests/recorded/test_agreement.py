"""Every recorded trace, replayed by the kernel that it was recorded on: nothing differs, nothing drops out.

The numbers are what the recordings hold; they change only when a trace is imported anew.
"""

from __future__ import annotations

from collections import Counter

import pytest

from replay.engine.tally import BLOCKS, DAXES, DRIVER_CALLS, DUMP, RESOURCES, SLOW_PATH
from replay.engine.watches import RACE
from tests.recorded.replayed import NAMES, WALK, differing, replayed, walk

ENVIRONMENT = "environment: something outside the trace refused (an unmovable page, a pending signal, a notifier)"

# (trace, aspect) -> reason and count of the calls that are not compared. Errors (memory_failure and so on)
# are left out here, see test_errors.
NOT_COMPARED: dict[tuple[str, str], tuple[str, int]] = {
    ("5.10.223-s2a-pmem-collision", DUMP): (RACE, 4),
    ("7.2.13-s2a-pmem-collision", "pfn_to_online_page"): (RACE, 3),
    ("7.2.13-s2a-pmem-collision", "get_dev_pagemap"): (RACE, 3),  # the same three lookups: the one made inside
    # A namespace that attaches after the step has ended, and /proc/iomem that is read meanwhile.
    ("7.2.13-s2a-pmem-collision", RESOURCES): (RACE, 2),
    ("7.2.13-s10-hotplug-rules", "pfn_to_online_page"): (RACE, 2),
    ("5.10.223-s3-hotplug", "offline_pages"): (ENVIRONMENT, 4),
    ("6.1.192-s3-hotplug", "offline_pages"): (ENVIRONMENT, 3),
    ("6.1.192-s4-kmem", "offline_pages"): (ENVIRONMENT, 3),
    ("6.12.107-s4-kmem", "offline_pages"): (ENVIRONMENT, 3),
    ("7.2.13-s3-hotplug", "offline_pages"): (ENVIRONMENT, 3),
    ("5.10.223-s7-soak", "offline_pages"): (ENVIRONMENT, 1),
    ("6.1.192-s7-soak", "offline_pages"): (ENVIRONMENT, 4),
    ("6.12.107-s7-soak", "offline_pages"): (ENVIRONMENT, 2),
    ("7.2.13-s7-soak", "offline_pages"): (ENVIRONMENT, 1),
}

# Calls with a recorded answer, per kernel over all of its traces.
RECORDED: dict[str, dict[str, int]] = {
    "5.10.223": {
        "add_memory": 11,
        "get_dev_pagemap": 1032,
        "memremap_pages": 47,
        "offline_pages": 16,
        "online_pages": 18,
        "pfn_to_online_page": 752441,
        "pfn_valid": 1476,
        "pgmap_pfn_valid": 772,
        "remove_memory": 3,
        DUMP: 3014,
        RESOURCES: 4279,
        BLOCKS: 2740,
        DAXES: 142,
        DRIVER_CALLS: 82,
    },
    "6.1.192": {
        "add_memory": 12,
        "get_dev_pagemap": 124630,
        "memremap_pages": 45,
        "offline_pages": 29,
        "online_pages": 23,
        "pfn_to_online_page": 767641,
        SLOW_PATH: 767641,
        "pfn_valid": 2279,
        "pgmap_pfn_valid": 1144,
        "remove_memory": 5,
        DUMP: 3532,
        RESOURCES: 5103,
        BLOCKS: 3089,
        DAXES: 194,
        DRIVER_CALLS: 86,
    },
    "6.12.107": {
        "add_memory": 10,
        "get_dev_pagemap": 125020,
        "memremap_pages": 47,
        "offline_pages": 18,
        "online_pages": 14,
        "pfn_to_online_page": 506882,
        SLOW_PATH: 506882,
        "pfn_valid": 1270,
        "pgmap_pfn_valid": 468,
        "remove_memory": 5,
        DUMP: 2688,
        RESOURCES: 3741,
        BLOCKS: 2462,
        DAXES: 208,
        DRIVER_CALLS: 95,
    },
    "7.2.13": {
        "add_memory": 23,
        "get_dev_pagemap": 126231,
        "memremap_pages": 52,
        "offline_pages": 23,
        "online_pages": 18,
        "pfn_to_online_page": 982333,
        SLOW_PATH: 982333,
        "pfn_valid": 1995,
        "pgmap_pfn_valid": 1098,
        "remove_memory": 6,
        DUMP: 3737,
        RESOURCES: 4695,
        BLOCKS: 3431,
        DAXES: 161,
        DRIVER_CALLS: 82,
    },
}


def test_the_recordings_are_there() -> None:
    assert len(NAMES) == 38
    assert {name.split("-")[0] for name in NAMES} == set(RECORDED)
    assert {name for name, _ in NOT_COMPARED} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_differs(name: str) -> None:
    """Every compared answer is the kernel's, for every aspect; what is not compared is known by reason and count."""
    result = replayed(name)
    assert result["profile"] == "v" + name.split("-", maxsplit=1)[0]
    assert result["lost_events"] == 0
    assert differing(result) == {}
    assert not WALK & set(result["differences"])
    not_compared = {}
    for aspect, a in walk(result).items():
        assert a["recorded"] == a["compared"] + sum(a["not_compared"].values())
        assert a["compared"] == a["agreed"]
        if a["not_compared"]:
            ((reason, count),) = a["not_compared"].items()
            not_compared[name, aspect] = (reason, count)
    assert not_compared == {key: found for key, found in NOT_COMPARED.items() if key[0] == name}


@pytest.mark.parametrize("name", NAMES)
def test_errors(name: str) -> None:
    """What is not about the walk differs nowhere either; every call is compared, or named with a reason why not."""
    agreement = {aspect: a for aspect, a in replayed(name)["agreement"].items() if aspect not in WALK}
    assert "memory_failure" in agreement
    for aspect, a in agreement.items():
        assert a["differed"] == 0, aspect
        assert a["recorded"] == a["compared"] + sum(a["not_compared"].values())


@pytest.mark.parametrize("kernel", RECORDED)
def test_nothing_drops_out(kernel: str) -> None:
    """All recorded calls of a kernel are there, for every aspect."""
    totals: Counter[str] = Counter()
    for name in NAMES:
        if name.startswith(f"{kernel}-"):
            for aspect, a in walk(replayed(name)).items():
                totals[aspect] += a["recorded"]
    assert totals == RECORDED[kernel]


@pytest.mark.parametrize("name", NAMES)
def test_counts_add_up(name: str) -> None:
    """Answers and checks count every pfn once; RAM that is online is never refused by a real kernel."""
    result = replayed(name)
    assert {f: sum(c.values()) for f, c in result["outcomes"].items()} == {
        f: sum(c.values()) for f, c in result["checks"].items()
    }
    state_lookups = ("pfn_valid", "pfn_to_online_page", "get_dev_pagemap", "pgmap_pfn_valid", "kpageflags")
    assert result["pages"] == sum(sum(result["outcomes"].get(f, {}).values()) for f in state_lookups)
    assert result["truth"]["false_offline"] == 0
    assert result["truth"]["false_online"] == sum(r["lookups"] for r in result["truth"]["false_online_ranges"])
    if not name.startswith("5.10"):
        decided = result["checks"]["pfn_to_online_page"]
        assert result["slow_path"] == decided.get("pagemap", 0) + decided.get("tainted-page", 0)


# Traces small enough for the slow engine: hotplug, kmem, a collision, poison; own kernels and others.
SMALL = (
    ("5.10.223-s3-hotplug", None),
    ("6.12.107-s4-kmem", None),
    ("5.10.223-s2p-raw", "v5.12"),
    ("6.1.192-s3-hotplug", "v6.1.192-offline-refuses-holes"),
    ("6.1.192-s4-kmem", "v5.3"),
    ("5.10.223-s3-hotplug", "v4.19"),
    ("6.1.192-s5-poison-ram", "v5.11"),
)


@pytest.mark.parametrize(("name", "kernel"), SMALL)
def test_both_engines_count_the_same(name: str, kernel: str | None) -> None:
    """The scalar reference, through the same entry, gives the same numbers as the vector engine, for all of the walk."""
    vector, scalar = replayed(name, kernel), replayed(name, kernel, "scalar")
    assert (vector["engine"], scalar["engine"]) == ("vector", "scalar")
    for part in ("digest", "profile", "events", "pages", "slow_path"):
        assert vector[part] == scalar[part], part
    for part in ("outcomes", "checks", "agreement"):
        # What the replayed drivers ask for is compared by the vector engine alone.
        names = WALK - {DRIVER_CALLS}
        counts = [{name: counted for name, counted in r[part].items() if name in names} for r in (vector, scalar)]
        assert counts[0] == counts[1], part
        assert counts[0]
    for part in ("false_online", "false_offline"):  # the ranges of the reference are wider
        assert vector["truth"][part] == scalar["truth"][part]
