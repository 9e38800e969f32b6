"""What the vectors of poison.md do not say: effects on the page, who is signalled, rare checks, the state itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from replay.errors import InvariantError
from replay.kernel.decision import KernelFunction
from replay.kernel.kill import (
    KILL_PROCS,
    KILL_PROCS_2009,
    KillState,
    MappingFacts,
    Receiver,
    Signal,
    receivers,
)
from replay.kernel.memory_failure import MEMORY_FAILURE
from replay.kernel.poison_2009 import MEMORY_FAILURE_2009
from replay.kernel.poison_calls import (
    Kills,
    PageEffect,
    PoisonAnswer,
    PoisonCheck,
    PoisonFunction,
    Verdicts,
    madvise_flags,
    verdicts,
)
from replay.kernel.poison_state import DEFAULTS, HugeState, PoisonState
from replay.kernel.poison_types import ActionType
from replay.kernel.profiles import profile
from replay.kernel.soft_offline import SOFT_OFFLINE_PAGE
from replay.kernel.unpoison import UNPOISON_MEMORY
from replay.trace.poison import ActionResult, MappingClass, MfFlag, PageKind
from replay.trace.schema import PgmapType

E = PageEffect
OLD, NEW = "v5.10.223", "v6.12.107"


def decide(function: PoisonFunction, kernel: str, **attributes: Any) -> Verdicts:
    return verdicts(function, PoisonState.of(None, profile(kernel).features, **attributes), 1)


def check(function: KernelFunction[Any], found: Verdicts) -> str:
    return str(function.checks[found.check[0]].id)


# Checks that no vector reaches ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PageKind.SLAB, PageKind.SLAB_COMPOUND])
def test_slab_with_a_reference(kind: PageKind) -> None:
    """R72b: V61 ignores it, before it was a failure; V612 has no row for it."""
    rows = {
        "v5.12.9": ("slab-failed", ActionType.SLAB, ActionResult.FAILED),
        "v6.1.192": ("slab", ActionType.SLAB, ActionResult.IGNORED),
        "v6.12": ("unknown", ActionType.UNKNOWN, ActionResult.IGNORED),
    }
    for kernel, (name, action, result) in rows.items():
        found = decide(MEMORY_FAILURE, kernel, kind=kind, COUNT=True)
        assert (check(MEMORY_FAILURE, found), found.action[0], found.result[0]) == (name, action, result)
        assert found.ret[0] == -16


def test_unpoison_of_an_offline_page() -> None:
    """U6: from v6.6 on (late action types here)."""
    for kernel, ret in (("v5.12.9", 0), ("v6.1.192", 0), ("v6.12", -16), ("v7.2", -16)):
        assert decide(UNPOISON_MEMORY, kernel, kind=PageKind.OFFLINE, hwp=True).ret[0] == ret


def test_unpoison_of_a_compound_page() -> None:
    """U8: nothing is done, and 0 is returned."""
    for attributes in ({"large": True}, {"kind": PageKind.SLAB_COMPOUND}, {"kind": PageKind.HUGE_ZERO}):
        found = decide(UNPOISON_MEMORY, "v5.12.9", hwp=True, **attributes)
        assert (check(UNPOISON_MEMORY, found), found.ret[0], found.poison[0], found.counted[0]) == (
            "compound",
            0,
            -1,
            0,
        )
        assert found.effect[0] == E.UNCHANGED


def test_the_first_release_signals_only_who_maps_the_page() -> None:
    features = profile("v2.6.32").features

    def signal(task: dict[str, object], **page: Any) -> tuple[str, Signal]:
        pages = PoisonState.of(None, features, dirty=True, es=True, **page)
        step = KILL_PROCS_2009.checks[KILL_PROCS_2009.decide(KillState.of(pages, MappingFacts.of(**task)), features)]
        return step.id, Signal(step.answer.value)

    assert signal({}, anon=True) == ("not-mapped", Signal.NOSIG)
    assert signal({"mapped_here": False}, anon=True, mapped=True) == ("not-here", Signal.NOSIG)
    assert signal({"mapped_here": False}, mapped=True) == ("mapper", Signal.BUS_AO)
    assert signal({"covers": False}, mapped=True) == ("not-here", Signal.NOSIG)


# Effects --------------------------------------------------------------------------------------------------------------

FREE_HUGE = {"kind": PageKind.HUGE, "ht": HugeState.FREE}
ANON = {"anon": True, "mapped": True, "dirty": True}
SHMEM = {"map": MappingClass.SHMEM, "dirty": True}
EFFECTS = [
    # Attributes, effect before (v5.10.223) and after (v6.12.107).
    ({"kind": PageKind.BUDDY}, E.IN_BUDDY, E.TAKEN_OFF),
    (FREE_HUGE, E.HUGE_FREED, E.TAKEN_OFF),
    ({"kind": PageKind.HUGE, "anon": True}, E.HUGE_FREED, E.TAKEN_OFF),
    ({"kind": PageKind.HUGE}, E.HUGE_KEPT, E.HUGE_KEPT),
    (ANON, E.REMOVED, E.REMOVED),
    ({}, E.REMOVED, E.REMOVED),
    ({"swapc": True, "anon": True}, E.REMOVED, E.REMOVED),
    ({"swapc": True, **ANON}, E.SWAPCACHE_KEPT, E.SWAPCACHE_KEPT),
    ({"swapc": True, "anon": True, "pins": 1}, E.SWAPCACHE_HELD, E.SWAPCACHE_HELD),
    ({"swapc": True, **ANON, "pins": 1}, E.HELD, E.HELD),
    (SHMEM, E.REMOVED, E.SHMEM_KEPT),
    ({"pins": 1}, E.HELD, E.HELD),
    ({"map": MappingClass.NONE}, E.HELD, E.HELD),
    ({**ANON, "unmap": False}, E.HELD, E.HELD),
    ({"kind": PageKind.KERNEL}, E.HELD, E.UNCHANGED),
    ({"kind": PageKind.KERNEL_TAIL}, E.UNCHANGED, E.UNCHANGED),
    ({**ANON, "large": True, "split": False}, E.UNCHANGED, E.UNCHANGED),
    ({"kind": PageKind.HUGE, "hwp": True}, E.UNCHANGED, E.RAW_ADDED),
    ({"hwp": True}, E.UNCHANGED, E.UNCHANGED),
    ({"kind": PageKind.HUGE, "filt": True, "COUNT": True}, E.HUGE_KEPT, E.RAW_MOVED),
    ({"filt": True}, E.UNCHANGED, E.UNCHANGED),
    ({"online": False, "pgmap": PgmapType.FS_DAX}, E.DAX, E.DAX),
    ({"online": False, "pgmap": PgmapType.FS_DAX, "own_rc": 0}, E.DAX, E.DAX),
    ({"online": False, "pgmap": PgmapType.FS_DAX, "own_rc": -117}, E.DAX, E.UNCHANGED),
]


@pytest.mark.parametrize(("attributes", "before", "after"), EFFECTS)
def test_page_afterwards(attributes: dict[str, Any], before: PageEffect, after: PageEffect) -> None:
    """Table "Page afterwards" of the poison model, and 7.1 of poison.md where it says more."""
    assert decide(MEMORY_FAILURE, OLD, **attributes).effect[0] == before
    assert decide(MEMORY_FAILURE, NEW, **attributes).effect[0] == after


def test_soft_offline_effects() -> None:
    for attributes, effect in (
        ({"kind": PageKind.BUDDY}, E.SOFT_FREE),
        (FREE_HUGE, E.SOFT_FREE),
        ({"evict": True}, E.SOFT_USED),
        (ANON, E.SOFT_USED),
        ({"hwp": True}, E.UNCHANGED),
        ({"iso": False}, E.UNCHANGED),
    ):
        found = decide(SOFT_OFFLINE_PAGE, NEW, **attributes)
        assert found.effect[0] == effect
        assert (found.poison[0] == 1) == (effect is not E.UNCHANGED)


def test_effects_go_with_answers() -> None:
    """Pages that leave memory are recovered; whoever unpoisons or soft offlines says so."""
    for function in (MEMORY_FAILURE, MEMORY_FAILURE_2009):
        for step in function.checks:
            answer = step.answer
            assert isinstance(answer, PoisonAnswer)
            if answer.effect in {E.TAKEN_OFF, E.REMOVED, E.SHMEM_KEPT, E.HUGE_KEPT}:
                assert (answer.result, answer.value, answer.poison) == (ActionResult.RECOVERED, 0, 1)
            if answer.unmaps:
                assert answer.kills is Kills.MAPPERS
            if answer.action is not None:
                assert answer.result is not None


def test_unmapping() -> None:
    """Mappings go where the user-mapping step unmaps; entries stay behind unless the page is dropped or swap cache."""
    for attributes, unmapped, entries in (
        (ANON, True, True),
        ({**ANON, "pins": 1}, True, True),
        ({**ANON, "swapc": True}, True, False),
        ({"mapped": True}, True, False),  # clean: read again
        ({"mapped": True, "pwrite": True}, True, True),
        ({**ANON, "unmap": False}, False, False),
        ({}, False, False),
        ({**SHMEM, "mapped": True, "large": True}, True, False),  # by the split
        ({**ANON, "large": True, "split": False}, False, False),
        ({"mapped": True, "hwp": True}, False, False),
        ({"mapped": True, "kind": PageKind.KERNEL}, False, False),
        ({"mapped": True, "kind": PageKind.HUGE, "dirty": True}, True, True),
    ):
        found = decide(MEMORY_FAILURE, NEW, **attributes)
        assert (bool(found.unmapped[0]), bool(found.entries[0])) == (unmapped, entries), attributes
    for kernel, function in (("v6.1.192", MEMORY_FAILURE), ("v2.6.32", MEMORY_FAILURE_2009)):
        assert not decide(function, kernel, ksm=True, **ANON).unmapped[0]
    assert decide(MEMORY_FAILURE, NEW, ksm=True, **ANON).unmapped[0]


def test_writeback() -> None:
    """Text below 8.4: off the LRU under writeback, V510 and V61+ go on to the LRU rows."""
    page = {"kind": PageKind.ISOLATED, "wb": True, "COUNT": True}
    for kernel, action in (
        ("v5.10.223", ActionType.CLEAN_LRU),
        ("v5.11", ActionType.UNKNOWN),
        ("v5.12.9", ActionType.UNKNOWN),
        ("v6.1.192", ActionType.CLEAN_LRU),
        ("v6.12.107", ActionType.CLEAN_LRU),
        ("v7.2.13", ActionType.GET_HWPOISON),  # looked at in spite of the reference
    ):
        assert decide(MEMORY_FAILURE, kernel, **page).action[0] == action, kernel


# Pages that are not described -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["v4.18", "v5.12.9", "v7.2.13"])
def test_unknown_pages(kernel: str) -> None:
    """Rules before the page decide; those after it do not."""
    unknown = {"kind": PageKind.UNKNOWN}
    assert not decide(MEMORY_FAILURE, kernel, valid=False, online=False, **unknown).undecided[0]
    assert decide(MEMORY_FAILURE, kernel, **unknown).undecided[0]
    assert not decide(SOFT_OFFLINE_PAGE, kernel, valid=False, online=False, **unknown).undecided[0]
    assert decide(SOFT_OFFLINE_PAGE, kernel, **unknown).undecided[0]
    assert not decide(UNPOISON_MEMORY, kernel, valid=False, online=False, **unknown).undecided[0]
    assert decide(UNPOISON_MEMORY, kernel, **unknown).undecided[0]


def test_rules_before_the_page() -> None:
    """R01 to R10, S1 to S4, U1 to U3, Z1 and Z2."""
    for function, last in ((MEMORY_FAILURE, "R10"), (SOFT_OFFLINE_PAGE, "S4"), (UNPOISON_MEMORY, "U3")):
        entry = [c.page for c in function.checks if isinstance(c, PoisonCheck)]
        end = [c.rule for c in function.checks if isinstance(c, PoisonCheck)].index(last)
        assert not any(entry[: end + 1])
        assert all(entry[end + 1 :])
    assert [c.page for c in MEMORY_FAILURE_2009.checks if isinstance(c, PoisonCheck)] == [False] * 2 + [True] * 9


# Features that no version has or lacks alone ---------------------------------------------------------------------------


def test_dax_patch_by_patch() -> None:
    """The 4.19 merge: what the entry lock, the mapping of device-dax pages and the size of mappings change."""
    page = {"online": False, "pgmap": PgmapType.FS_DAX, "daxlock": False}
    assert check(MEMORY_FAILURE, decide(MEMORY_FAILURE, "v4.19", **page)) == "dax-entry-lock"
    assert check(MEMORY_FAILURE, decide(MEMORY_FAILURE, "v4.19-dax-entry-lock", **page)) == "dax"
    device = {"online": False, "pgmap": PgmapType.GENERIC}
    assert check(MEMORY_FAILURE, decide(MEMORY_FAILURE, "v4.19", **device)) == "dax"
    assert check(MEMORY_FAILURE, decide(MEMORY_FAILURE, "v4.19-dax-page-mapping", **device)) == "dax-entry-lock"
    for kernel, signal in (
        ("v4.19", Signal.KILL),
        ("v5.4", Signal.NOSIG),
        ("v4.19-dax-mapping-size", Signal.BUS_AR),
        ("v4.19-dax-shift-zero-kill", Signal.NOSIG),
    ):
        features = profile(kernel).features
        pages = PoisonState.of(None, features, **device)
        state = KillState.dax(pages, MappingFacts.of(own=True, shift=0))
        assert KILL_PROCS.checks[KILL_PROCS.decide(state, features)].answer.value == signal, kernel


def test_madvise_flags() -> None:
    """Section 2, row MADV_HWPOISON."""
    count, ar, sw = MfFlag.COUNT_INCREASED, MfFlag.ACTION_REQUIRED, MfFlag.SW_SIMULATED
    for kernel, flags in {
        "v2.6.32": count,
        "v4.18": count,
        "v4.19": 0,
        "v5.4": 0,
        "v5.10": count,
        "v5.12.9": count,
        "v6.1.192": count | sw,
        "v6.12": count | sw | ar,
        "v7.2.13": count | sw | ar,
    }.items():
        assert madvise_flags(profile(kernel).features) == flags, kernel


def test_v5_10_is_not_its_stable_tree() -> None:
    """Section 5, column 5.10.7: a free page that cannot be taken off is success; 5.10.223 says -EBUSY."""
    lost = {"kind": PageKind.BUDDY, "toff": False}
    assert [decide(SOFT_OFFLINE_PAGE, k, **lost).ret[0] for k in ("v5.10", "v5.10.223", "v5.11")] == [0, -16, 0]
    meta = {"online": False, "pgmap": PgmapType.FS_DAX, "meta": True}
    assert [decide(MEMORY_FAILURE, k, **meta).ret[0] for k in ("v5.10", "v5.10.223", "v5.11")] == [0, -6, 0]


# Receivers ------------------------------------------------------------------------------------------------------------


def test_receivers() -> None:
    """8.5: the thread that asked, the calling thread for its own consumption, else the main thread."""
    for kernel, function, page, task, receiver in (
        ("v2.6.32", KILL_PROCS_2009, {"es": True}, {}, Receiver.MAIN),
        ("v4.18", KILL_PROCS, {"es": True}, {}, Receiver.MAIN),
        ("v4.18", KILL_PROCS, {}, {"any_e": True}, Receiver.EARLY),
        ("v4.18", KILL_PROCS, {"AR": True}, {"any_e": True}, Receiver.MAIN),
        ("v4.18", KILL_PROCS, {"AR": True}, {"own": True}, Receiver.CURRENT),
        ("v4.18", KILL_PROCS, {}, {}, Receiver.NONE),
        ("v6.1", KILL_PROCS, {}, {"any_e": True}, Receiver.EARLY),
        ("v6.1", KILL_PROCS, {"es": True}, {}, Receiver.EARLY),
        ("v6.1", KILL_PROCS, {"AR": True}, {"own": True}, Receiver.CURRENT),
        ("v6.1", KILL_PROCS, {"AR": True}, {"any_e": True}, Receiver.EARLY),
    ):
        features = profile(kernel).features
        state = KillState.of(PoisonState.of(None, features, **ANON, **page), MappingFacts.of(**task))
        signal = function.tabulate(state, 1, features).value
        assert receivers(signal, state, features).tolist() == [receiver], (kernel, page, task)


# The state ------------------------------------------------------------------------------------------------------------


def test_state_refuses_what_it_does_not_know() -> None:
    with pytest.raises(InvariantError, match="no attribute 'colour'"):
        PoisonState.of(None, frozenset(), colour=1)
    with pytest.raises(InvariantError, match=r"PoisonState.anon has shape \(2,\), not \(3,\)"):
        PoisonState.of(3, frozenset(), anon=[True, False])


def test_state_types() -> None:
    state = PoisonState.of(3, frozenset(), anon=[1, 0, 1], kind=PageKind.HUGE)
    assert state.anon.tolist() == [True, False, True]
    assert state.anon.dtype == np.bool_
    assert (state.kind.dtype, state.kind.shape) == (np.uint8, ())
    assert set(DEFAULTS) == {f for f in PoisonState.__dataclass_fields__ if f != "features"}


def test_distinct_states() -> None:
    """More attributes than fit into one number still tell states apart."""
    count = 4000
    rng = np.random.default_rng(1)
    columns = {name: rng.integers(0, 2 if value.dtype == np.bool_ else 100, count) for name, value in DEFAULTS.items()}
    columns["recov"] = np.ones(count, np.int64)
    half = {name: np.concatenate([c, c]) for name, c in columns.items()}
    state = PoisonState.of(2 * count, frozenset(), **half)
    first, inverse = state.distinct(2 * count)
    assert len(first) == count
    assert (inverse[:count] == inverse[count:]).all()
    for name in DEFAULTS:
        column = getattr(state, name)
        assert (column[first][inverse] == column).all(), name


def test_one_state_with_a_dimension() -> None:
    """An array of one is decided like a state without dimensions."""
    features = profile(NEW).features
    one = verdicts(MEMORY_FAILURE, PoisonState.of(1, features, **{k: [v] for k, v in ANON.items()}), 1)
    none = verdicts(MEMORY_FAILURE, PoisonState.of(None, features, **ANON), 1)
    for name in Verdicts.__dataclass_fields__:
        assert getattr(one, name).tolist() == getattr(none, name).tolist()
        assert getattr(one, name).dtype == getattr(none, name).dtype
