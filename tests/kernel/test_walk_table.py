"""The lookups over all states, against the sentences of docs/semantics/walk.md written down once more, by version group."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from replay.engine.tabulate import tabulate
from replay.kernel.calls import Kernel
from replay.kernel.config import KernelConfig
from replay.kernel.walk import GET_DEV_PAGEMAP, KPAGEFLAGS, LOOKUP_FUNCTIONS, PFN_TO_ONLINE_PAGE, PFN_VALID, STATE_BITS
from tests.golden.states import (
    BEYOND,
    CODES,
    DYING,
    EARLY,
    HIGH,
    LIMIT,
    LIVE,
    MEMBLOCK,
    ONLINE,
    PAGEMAP,
    PRESENT,
    RAM,
    SUBSECTION,
    TAINT,
    VALID,
    Bools,
    table,
)
from tests.golden.test_walk_vectors import KERNELS, column
from tests.vectors.model import GROUP_OF

# An arch pfn_valid goes with zones that may have holes, until arm64 gave up both in v5.14.
CONFIGS = [KernelConfig(*flags) for flags in product((True, False), repeat=4)]


def config_id(config: KernelConfig) -> str:
    return "-".join(name for name, value in vars(config).items() if value) or "nothing"


CASES = [
    pytest.param(kernel, config, id=f"{kernel}-{config_id(config)}")
    for kernel in KERNELS
    for config in CONFIGS
    if not (config.arch_pfn_valid and GROUP_OF[column(kernel)] == "F")
]


def group(kernel: str) -> str:
    return GROUP_OF[column(kernel)]


def populated(config: KernelConfig) -> Bools:
    """The subsection bit; constant true without VMEMMAP."""
    return SUBSECTION if config.vmemmap else np.ones_like(SUBSECTION)


def pfn_valid(kernel: str, config: KernelConfig) -> Bools:
    """Sections 2.2 and 2.3."""
    sub = populated(config)
    if config.arch_pfn_valid:
        if kernel == "v4.18":
            return MEMBLOCK
        if kernel == "v4.19":
            return ~HIGH & MEMBLOCK
        in_section = ~HIGH & ~BEYOND & VALID
        if kernel in {"v5.4.195", "v5.10.223", "v5.12", "v5.12.9"}:
            return in_section & np.where(EARLY, MEMBLOCK, sub)
        return in_section & MEMBLOCK
    found = ~BEYOND & VALID
    if group(kernel) not in "AB":
        found = found & (EARLY | sub)
    return found & ~HIGH if group(kernel) == "F" else found


def online_page(kernel: str, config: KernelConfig) -> Bools:
    """Section 1.1."""
    valid = pfn_valid(kernel, config)
    if not config.memory_hotplug:
        return valid
    found = ~BEYOND & PRESENT & ONLINE
    if group(kernel) in "BCD" and config.holes_in_zone:
        found = found & valid
    if group(kernel) in "EF":
        if config.arch_pfn_valid:
            found = found & valid
        found = found & populated(config) & ~(TAINT & LIVE)
    return found


@pytest.mark.parametrize(("kernel", "config"), CASES)
def test_lookups(kernel: str, config: KernelConfig) -> None:
    """Every answer in every one of the 8192 states is the one that the document's tables give."""
    assert CODES.size == 1 << STATE_BITS == 8192
    valid, online = pfn_valid(kernel, config), online_page(kernel, config)
    t = table(PFN_TO_ONLINE_PAGE, kernel, config)
    assert (t.yes == online).all()
    assert (t.truth == (RAM & ONLINE)).all()
    slow = ~BEYOND & PRESENT & ONLINE & populated(config) & TAINT & config.memory_hotplug & (group(kernel) in "EF")
    if config.arch_pfn_valid:
        slow = slow & valid
    assert (t.slow == slow).all()
    assert (table(PFN_VALID, kernel, config).yes == valid).all()
    assert (table(GET_DEV_PAGEMAP, kernel, config).yes == (PAGEMAP > 0) & ~DYING).all()
    by_online = group(kernel) not in "AB" and kernel != "v5.3"
    assert (table(KPAGEFLAGS, kernel, config).yes == ~LIMIT & (online if by_online else valid)).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_why(kernel: str) -> None:
    """The deciding check is the first that fails: its name says what the state lacks, in the order of section 1.1."""
    config = KernelConfig()
    names = np.array([check.id for check in PFN_TO_ONLINE_PAGE.checks])
    found = names[table(PFN_TO_ONLINE_PAGE, kernel, config).check]
    assert set(found[BEYOND]) == {"section-number"}
    assert set(found[~BEYOND & ~PRESENT]) == {"section-present"}
    assert set(found[~BEYOND & PRESENT & ~ONLINE]) == {"section-online"}
    online = ~BEYOND & PRESENT & ONLINE
    if group(kernel) not in "EF":
        assert set(found[online]) == {"page"}
        return
    assert set(found[online & ~SUBSECTION]) == {"subsection"}
    assert set(found[online & SUBSECTION & ~TAINT]) == {"untainted"}
    assert set(found[online & SUBSECTION & TAINT & LIVE]) == {"pagemap"}
    assert set(found[online & SUBSECTION & TAINT & (PAGEMAP != 1)]) == {"tainted-page"}


@pytest.mark.parametrize("kernel", KERNELS)
def test_pages_that_are_not_there(kernel: str) -> None:
    """kpageflags: end of file, then no page (the no-page flag; 0 from v7.2 on), then the flags."""
    names = np.array([check.id for check in KPAGEFLAGS.checks])
    found = names[table(KPAGEFLAGS, kernel).check]
    assert set(found[LIMIT]) == {"end-of-file"}
    shown = table(KPAGEFLAGS, kernel).yes
    assert set(found[~LIMIT & shown]) == {"flags"}
    by_valid = group(kernel) in "AB" or kernel == "v5.3"
    absent = "not-valid" if by_valid else "zero" if kernel.startswith("v7.2") else "not-online"
    assert set(found[~LIMIT & ~shown]) == {absent}


@pytest.mark.parametrize("kernel", KERNELS)
def test_node_bit_seen_as_taint_changes_no_answer(kernel: str) -> None:
    """Section 2.1: a boot section tainted by its node number takes the slow path, with the same answer."""
    t = table(PFN_TO_ONLINE_PAGE, kernel)
    without = CODES & ~(np.uint16(1) << 6)
    no_pagemap = PAGEMAP == 0
    assert (t.yes[CODES[no_pagemap]] == t.yes[without[no_pagemap]]).all()


def test_no_feature_set_leaves_a_state_undecided() -> None:
    """Tables exist for any kernel that can be described: all features, none, and each one alone."""
    everything = frozenset(f for function in LOOKUP_FUNCTIONS for c in function.checks for f in c.needs + c.unless)
    sets = [frozenset(), everything, *(frozenset((f,)) for f in everything), *(everything - {f} for f in everything)]
    for features in sets:
        for config in (KernelConfig(), replace(KernelConfig(), arch_pfn_valid=True, holes_in_zone=True)):
            for function in LOOKUP_FUNCTIONS:
                assert tabulate(function, Kernel(features, config)).classes.size == 1 << STATE_BITS
