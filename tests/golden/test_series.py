"""The series "mm: Fix pfn_to_online_page() with respect to ZONE_DEVICE", patch by patch, over all 2**13 states.

Patches as features, in the order of the series; what each changes is section 1.5 of docs/semantics/walk.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from replay.kernel.features import FEATURES
from replay.kernel.profiles import Profile, profile
from replay.kernel.resource_queries import PGMAP_PFN_VALID, MetadataFacts
from replay.kernel.walk import GET_DEV_PAGEMAP, KPAGEFLAGS, LOOKUP_FUNCTIONS, PFN_TO_ONLINE_PAGE, PFN_VALID
from tests.golden.states import (
    BEYOND,
    CAN_BE,
    LIMIT,
    LIVE,
    ONLINE,
    PRESENT,
    SUBSECTION,
    TAINT,
    VALID,
    X86,
    Bools,
    table,
)

SERIES = (
    "online-page-out-of-line",
    "online-page-subsection-validity",
    "taint-zone-device",
    "soft-offline-ref-drop",
    "pgmap-pfn-valid",
)
# What else v5.12 brings: where memory may be added, and arm64's sections and pfn_valid. Zones with holes are gone too.
OTHERS = {"hotplug-prevalidates-range", "arm64-pfn-valid-subsection", "arm64-small-sections"}
BEFORE, AFTER = profile("v5.11"), profile("v5.12")
# The document knows v5.11 with patch 4 already; the patches are applied to what was there before all of them.
BARE = Profile("v5.11 without the series", BEFORE.features - set(SERIES))

ARM64 = replace(X86, arch_pfn_valid=True, holes_in_zone=True)
CONFIGS = {
    "x86": X86,
    "no-vmemmap": replace(X86, vmemmap=False),
    "no-hotplug": replace(X86, memory_hotplug=False),
    "arm64": ARM64,
}
METADATA = MetadataFacts(np.array([False, True, True]), np.array([False, False, True]))  # outside, metadata, data

POPULATED = ~BEYOND & PRESENT & ONLINE
HOLES = POPULATED & ~SUBSECTION  # unpopulated subsections of online sections
COLLISIONS = POPULATED & TAINT & LIVE  # pfns of a live pagemap in a tainted online section


def plus(base: Profile, *features: str) -> Profile:
    assert not base.features & set(features)
    return Profile("+".join((base.name, *features)), base.features | set(features))


def changed(function, before: Profile, after: Profile) -> tuple[Bools, Bools]:
    """Where a page became NULL, and where NULL became a page."""
    old, new = table(function, before).yes, table(function, after).yes
    return old & ~new, ~old & new


def metadata(kernel: Profile) -> tuple[list[int], list[str]]:
    decided = PGMAP_PFN_VALID.tabulate(METADATA, 3, kernel.features)
    return decided.value.tolist(), [PGMAP_PFN_VALID.checks[i].id for i in decided.check]


def test_the_features_are_the_series() -> None:
    """The five features, and no other, name the series; v5.11 has patch 4, v5.10.223 patches 4 and 5, v5.12 all."""
    named = [f.id for f in FEATURES.values() if f.series == FEATURES[SERIES[0]].series]
    assert set(named) == set(SERIES)
    assert [name in BEFORE.features for name in SERIES] == [False, False, False, True, False]
    assert [name in profile("v5.10.223").features for name in SERIES] == [False, False, False, True, True]
    assert [name in profile("v5.10").features for name in SERIES] == [False] * 5
    assert set(SERIES) <= AFTER.features
    assert AFTER.features - BEFORE.features >= {*SERIES, *OTHERS} - {"soft-offline-ref-drop"}
    # Of all differences between the two versions, a lookup can see only these.
    seen = {f for function in (*LOOKUP_FUNCTIONS, PGMAP_PFN_VALID) for c in function.checks for f in c.needs + c.unless}
    assert (AFTER.features - BEFORE.features) & seen == {
        "online-page-subsection-validity",
        "taint-zone-device",
        "pgmap-pfn-valid",
        "arm64-pfn-valid-subsection",
    }
    assert (BEFORE.features - AFTER.features) & seen == {"pfn-valid-within"}


@pytest.mark.parametrize("config", [pytest.param(CONFIGS[n], id=n) for n in CONFIGS])
@pytest.mark.parametrize("function", LOOKUP_FUNCTIONS, ids=lambda f: f.name)
def test_v5_11_and_the_series_is_v5_12(function, config) -> None:
    """Same answer, same slow path in every one of the 8192 states; on x86 decided by the same check, too."""
    missing = [name for name in SERIES if name not in BEFORE.features]
    series = plus(BEFORE, *missing, *(["arm64-pfn-valid-subsection"] if config is ARM64 else []))
    got, expected = table(function, series, config), table(function, AFTER, config)
    assert (got.yes == expected.yes).all()
    assert (got.slow == expected.slow).all()
    assert (got.truth == expected.truth).all()
    if config is not ARM64:
        assert (got.check == expected.check).all()


def test_v5_11_and_the_series_has_the_metadata_of_v5_12() -> None:
    series = plus(BEFORE, *(name for name in SERIES if name not in BEFORE.features))
    assert metadata(series) == metadata(AFTER) == ([0, 0, 1], ["outside", "metadata", "data"])


@pytest.mark.parametrize("patch", ["online-page-out-of-line", "soft-offline-ref-drop"])
@pytest.mark.parametrize("config", [pytest.param(CONFIGS[n], id=n) for n in CONFIGS])
def test_patches_1_and_4_change_no_lookup(patch: str, config) -> None:
    """Same answers by the same checks, in every state."""
    for function in LOOKUP_FUNCTIONS:
        old, new = table(function, BARE, config), table(function, plus(BARE, patch), config)
        assert (old.yes == new.yes).all()
        assert (old.check == new.check).all()
    assert metadata(plus(BARE, patch)) == metadata(BARE)


def test_patch_2_changes_unpopulated_subsections_of_online_sections() -> None:
    """Page -> NULL there, and nothing else."""
    after = plus(BARE, "online-page-subsection-validity")
    lost, found = changed(PFN_TO_ONLINE_PAGE, BARE, after)
    assert not found.any()
    assert (lost == HOLES).all()
    assert not table(PFN_TO_ONLINE_PAGE, after).slow.any()
    # /proc/kpageflags asks it; pfn_valid and the index do not.
    lost, found = changed(KPAGEFLAGS, BARE, after)
    assert not found.any()
    assert (lost == (HOLES & ~LIMIT)).all()
    for function in (PFN_VALID, GET_DEV_PAGEMAP):
        assert not np.any(changed(function, BARE, after))
    assert metadata(after) == metadata(BARE)


def test_patch_3_changes_pfns_of_a_live_pagemap_in_a_mixed_section() -> None:
    """Page -> NULL there, and nothing else; the slow path is for tainted online sections only."""
    after = plus(BARE, "taint-zone-device")
    lost, found = changed(PFN_TO_ONLINE_PAGE, BARE, after)
    assert not found.any()
    assert (lost == COLLISIONS).all()
    assert (table(PFN_TO_ONLINE_PAGE, after).slow == (POPULATED & TAINT)).all()
    lost, found = changed(KPAGEFLAGS, BARE, after)
    assert not found.any()
    assert (lost == (COLLISIONS & ~LIMIT)).all()
    for function in (PFN_VALID, GET_DEV_PAGEMAP):
        assert not np.any(changed(function, BARE, after))
    assert metadata(after) == metadata(BARE)


def test_patch_5_adds_a_function() -> None:
    """pgmap_pfn_valid appears and tells data from metadata; no lookup changes."""
    after = plus(BARE, "pgmap-pfn-valid")
    assert metadata(BARE) == ([0, 0, 0], ["absent"] * 3)
    assert metadata(after) == ([0, 0, 1], ["outside", "metadata", "data"])
    for function in LOOKUP_FUNCTIONS:
        old, new = table(function, BARE), table(function, after)
        assert (old.yes == new.yes).all()
        assert (old.check == new.check).all()


@pytest.mark.parametrize("first", ["online-page-subsection-validity", "taint-zone-device"])
def test_patches_2_and_3_together_change_both_sets(first: str) -> None:
    """In whichever order, the whole is the union; patch 2 spares empty subsections the slow path."""
    (second,) = {"online-page-subsection-validity", "taint-zone-device"} - {first}
    middle = plus(BARE, first)
    both = plus(middle, second)
    for step, base in ((both, BARE), (AFTER, profile("v5.12" + "".join(f"-{f}" for f in (first, second))))):
        lost, found = changed(PFN_TO_ONLINE_PAGE, base, step)
        assert not found.any()
        assert (lost == (HOLES | COLLISIONS)).all()
        assert (table(PFN_TO_ONLINE_PAGE, step).slow == (POPULATED & SUBSECTION & TAINT)).all()


def test_what_patch_2_does_not_reach() -> None:
    """Without a subsection map (no VMEMMAP) patch 2 changes nothing on x86, and patch 3 all the more."""
    config = CONFIGS["no-vmemmap"]
    old, new = (table(PFN_TO_ONLINE_PAGE, k, config).yes for k in (BARE, plus(BARE, "online-page-subsection-validity")))
    assert (old == new).all()
    new = table(PFN_TO_ONLINE_PAGE, plus(BARE, "taint-zone-device"), config).yes
    assert ((old & ~new) == COLLISIONS).all()


def test_the_states_in_question_can_be() -> None:
    """The changed states exist on real machines, with a memmap: a hole and a pagemap in an online section."""
    assert (HOLES & CAN_BE & VALID).any()
    assert (COLLISIONS & CAN_BE & VALID & SUBSECTION).any()
