"""The checks against the rules as docs/semantics/poison.md states them: its formulas are parsed, and run as they stand.

Section 8 of the document is numpy syntax over attributes and capability flags; the checks of replay.kernel are written over
features, several for one rule. On random states, for every version and for kernels that never were, both must agree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from replay.kernel.decision import KernelFunction
from replay.kernel.features import FEATURES
from replay.kernel.kill import KILL_PROCS, KillState, MappingFacts, Signal
from replay.kernel.memory_failure import MEMORY_FAILURE
from replay.kernel.poison_2009 import MEMORY_FAILURE_2009
from replay.kernel.poison_calls import KEEP, PoisonCheck, PoisonFunction, verdicts
from replay.kernel.poison_state import DEFAULTS, HugeState, PoisonState
from replay.kernel.poison_types import ActionType
from replay.kernel.profiles import PRESETS, profile
from replay.kernel.soft_offline import SOFT_OFFLINE_PAGE
from replay.kernel.unpoison import UNPOISON_MEMORY
from replay.trace.outcomes import RET_BUG
from replay.trace.poison import NO_ACTION, ActionResult, MappingClass, PageKind
from replay.trace.schema import PgmapType
from tests.poison_columns import CAPABILITIES, DOCUMENT
from tests.poison_columns import PRESETS as COLUMN_PRESETS

TEXT = DOCUMENT.read_text()
COLUMNS = {column: name for column, name in COLUMN_PRESETS.items() if column != "V26"}
ALREADY = ("already-poisoned-event", "already-poisoned-uncounted")
NAMES: dict[str, int] = {
    **{k.name: k for k in PageKind},
    "ISOL": PageKind.ISOLATED,
    "SLABC": PageKind.SLAB_COMPOUND,
    "PGTABLE": PageKind.PAGE_TABLE,
    "RSVD": PageKind.RESERVED,
    "HZERO": PageKind.HUGE_ZERO,
    "KTAIL": PageKind.KERNEL_TAIL,
    "KERN": PageKind.KERNEL,
    **{k.name: k for k in HugeState},
    **{k.name: k for k in PgmapType},
    # The document has one NONE for mappings and pagemaps alike: 0, as in PgmapType; ``environment`` renumbers mappings.
    "REG": 1,
    "NONREG": 2,
    "BDEV": 3,
    "NOOP": 4,
    "SHMEM": 5,
    "HTLB": 6,
    **{s.name: s for s in Signal},
}
MAP_NUMBER = np.array([1, 0, 2, 3, 4, 5, 6])  # of MappingClass, in the numbering above
RESULT = dict(zip("IFDR", ActionResult, strict=True))
N = 20_000


def table(title: str) -> list[list[str]]:
    """The rows of the table under a heading (or after a line of text), cells stripped of code marks."""
    start = TEXT.index(title)
    lines = TEXT[start:].splitlines()[1:]
    rows: list[list[str]] = []
    for line in lines:
        if line.startswith("| "):
            cells = re.split(r"(?<!\\)\|", line.strip("|"))
            rows.append([c.strip().strip("`").replace("\\|", "|") for c in cells])
        elif rows and not line.startswith("|"):
            break
    return rows[1:]


FLAGS = table("### 8.2 Capability flags")
DERIVED = table("### 8.3 Derived columns")
KILL_FORMULAS = table("### 8.5 Kill decision")
RULES = {
    "memory_failure": table("### 8.4 memory_failure rules"),
    "memory_failure_2009": table("### 8.6 V26 rules"),
    "soft_offline_page": table("soft_offline rules (8.2 flags"),
    "unpoison_memory": table("unpoison rules:"),
}


def capabilities(features: frozenset[str]) -> dict[str, int]:
    """The flags of a kernel with these features."""
    flags = {
        flag: sum((f.removeprefix("!") in features) != f.startswith("!") for f in names)
        for flag, names in CAPABILITIES.items()
    }
    event, uncounted = (f in features for f in ALREADY)
    return flags | {"c_alrev": 0 if not event else 1 if uncounted else 2}


def test_flags_of_the_versions() -> None:
    """Table 8.2 is what the presets say."""
    assert {row[0] for row in FLAGS} == {*CAPABILITIES, "c_alrev"}
    for at, name in enumerate(COLUMNS.values(), 1):
        flags = capabilities(profile(name).features)
        assert {row[0]: int(row[at]) for row in FLAGS} == flags, name


def consistent(features: set[str]) -> frozenset[str]:
    """Without features that build on one that is not there."""
    for feature, base in (
        ("unsplit-thp-kills", "unsplit-thp-event"),
        ("early-kill-others", "early-kill-per-thread"),
        ("already-poisoned-uncounted", "already-poisoned-event"),
    ):
        if base not in features:
            features.discard(feature)
    # Outside the formulas: a step that all kernels with the pagemap path have, and writeback (text below the table).
    return frozenset(features | {"dax-entry-lock", "dax-page-mapping"} - {"poison-waits-for-writeback"})


def kernels() -> list[Any]:
    known = [pytest.param(profile(name).features, id=name) for name in PRESETS if name != "v2.6.32"]
    names = sorted({f.removeprefix("!") for names in CAPABILITIES.values() for f in names} | set(ALREADY))
    rng = np.random.default_rng(26)
    mixed = [consistent({n for n in names if rng.random() < share}) for share in (0.1, 0.3, 0.5, 0.7, 0.9) * 6]
    return known + [pytest.param(features, id=f"mixed-{i}") for i, features in enumerate(mixed)]


KERNELS = kernels()


def random_states(features: frozenset[str], seed: int) -> PoisonState:
    """States in which rare things are frequent: every attribute is away from its default in a quarter of them."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for name, default in DEFAULTS.items():
        if default.dtype == np.bool_:
            rare = 0.03 if name in {"recov", "online", "valid", "filt", "hwp", "sgx"} else 0.25
            columns[name] = (rng.random(N) < rare) ^ bool(default)
    odd = rng.random(N) < 0.5
    columns["kind"] = np.where(odd, rng.integers(1, len(PageKind), N), PageKind.LRU)
    columns["kind"][rng.random(N) < 0.3] = PageKind.HUGE
    columns["ht"] = rng.integers(0, len(HugeState), N)
    columns["map"] = rng.integers(0, len(MappingClass), N)
    columns["pgmap"] = np.where(rng.random(N) < 0.8, 0, rng.integers(1, 7, N))
    columns["own_rc"] = rng.choice([-95, -95, 0, -6, -117], N)
    columns["pins"] = rng.integers(0, 3, N)
    columns["minord"] = rng.choice([0, 0, 0, 2], N)
    columns["mig"] = rng.choice([0, 0, 1, -12], N)
    columns["refs"] = rng.integers(0, 3, N)
    columns["rawcnt"] = rng.integers(0, 4, N)
    columns["wb"] = np.zeros(N, np.bool_)
    return PoisonState.of(N, features, **columns)


@dataclass
class Environment:
    """What the formulas can name."""

    names: dict[str, Any]

    @classmethod
    def of(cls, state: PoisonState) -> Environment:
        names: dict[str, Any] = {"np": np, **NAMES, **capabilities(state.features)}
        names |= {name: np.broadcast_to(getattr(state, name), N) for name in DEFAULTS}
        names["map"] = MAP_NUMBER[names["map"]]
        env = cls(names)
        for name, formula in DERIVED:
            env.names[name] = env(formula)
        return env

    def __call__(self, formula: str) -> Any:
        return eval(formula, {"__builtins__": {"True": True}}, self.names)

    def number(self, text: str, standard: Any) -> Any:
        """A cell of the columns rc and num."""
        words = {"PANIC": RET_BUG, "KRC": "krc", "OWN": "own_rc", "MIG": "mig", "s": standard}
        found = words.get(text, text)
        return self(found) if isinstance(found, str) else found


def expected(function: str, state: PoisonState) -> dict[str, Any]:
    """What the document's rules give: rule, rc, event, hwp, num of each state."""
    env = Environment.of(state)
    rule = np.full(N, "", "U4")
    ret, num = np.zeros(N, np.int64), np.zeros(N, np.int64)
    hwp = np.full(N, KEEP, np.int8)
    event = np.full(N, "", "U32")
    left = np.ones(N, np.bool_)
    for row in RULES[function]:
        cells = row if len(row) > 5 else [*row[:3], "-", *row[3:]]  # soft offline and unpoison have no events
        if function == "memory_failure_2009":
            cells = row
        name, when, rc, what, flag, count = cells[:6]
        hit = left & np.broadcast_to(env(when), N)
        if capabilities(state.features)["c_cres"]:
            uncounted = {"-", "PFN_MAP:R", "PFN_MAP:I"} | (
                {"ALREADY_POISONED:F"} if capabilities(state.features)["c_alrev"] == 1 else set()
            )
            standard = int(what not in uncounted)
        else:
            standard = int(flag == "1" and not what.startswith("DAX"))
        rule[hit] = name
        ret[hit] = np.broadcast_to(env.number(rc, None), N)[hit]
        event[hit] = what
        hwp[hit] = KEEP if flag == "=" else int(flag)
        num[hit] = np.broadcast_to(env.number(count, standard), N)[hit]
        left &= ~hit
    assert not left.any()
    return {"rule": rule, "ret": ret, "event": event, "hwp": hwp, "num": num}


def same_rules(function: PoisonFunction, state: PoisonState) -> None:
    """Every state is decided by a check of the right rule, with the right outcome."""
    wanted, found = expected(function.name, state), verdicts(function, state, N)
    rules = np.array([re.sub(r"(?<=\d)[a-e]$", "", check.rule) for check in function.checks if _is(check)])
    kept = {"S7a", "S7b", "R72b"}  # rules of the document that end in a letter themselves
    rules = np.array(
        [check.rule if check.rule in kept else r for check, r in zip(function.checks, rules, strict=True) if _is(check)]
    )
    assert (rules[found.check] == wanted["rule"]).all()
    assert (found.ret == wanted["ret"]).all()
    assert (found.poison == wanted["hwp"]).all()
    assert (found.counted == wanted["num"]).all()
    for event in np.unique(wanted["event"]):
        at = wanted["event"] == event
        if event == "-":
            assert (found.action[at] == NO_ACTION).all()
            assert (found.result[at] == NO_ACTION).all()
            continue
        kind, letter = event.split(":")
        assert (found.result[at] == RESULT[letter]).all()
        if kind in ActionType.__members__:
            assert (found.action[at] == ActionType[kind]).all()
        elif kind == "ROW":
            dirty = np.isin(found.action[at], [t for t in ActionType if t.name.startswith("DIRTY")])
            assert (dirty == state.dirty2[at]).all()
            mlocked = {ActionType.DIRTY_MLOCKED_LRU, ActionType.CLEAN_MLOCKED_LRU}
            assert (np.isin(found.action[at], list(mlocked)) == state.mlk[at]).all()


def _is(check: object) -> bool:
    assert isinstance(check, PoisonCheck)
    return True


@pytest.mark.parametrize("function", [MEMORY_FAILURE, SOFT_OFFLINE_PAGE, UNPOISON_MEMORY], ids=lambda f: f.name)
@pytest.mark.parametrize("features", KERNELS)
def test_checks_are_the_rules(function: PoisonFunction, features: frozenset[str]) -> None:
    """8.4 and 8.7."""
    same_rules(function, random_states(features, seed=len(features)))


def test_checks_of_the_first_release() -> None:
    """8.6."""
    same_rules(MEMORY_FAILURE_2009, random_states(profile("v2.6.32").features, seed=2009))


@pytest.mark.parametrize("features", KERNELS)
def test_kill_checks_are_the_formulas(features: frozenset[str]) -> None:
    """8.5."""
    state = random_states(features, seed=7)
    rng = np.random.default_rng(8)
    words = ("own", "main_p", "main_e", "any_e", "has_def", "mapped_here", "covers", "addr_ok")
    task = MappingFacts.of(**{word: rng.random(N) < (0.8 if word in words[5:] else 0.4) for word in words})
    env = Environment.of(state)
    env.names |= {word: getattr(task, word) for word in words}
    for name, formula in KILL_FORMULAS:
        env.names[name] = np.broadcast_to(env(formula), N)
    found = KILL_PROCS.tabulate(KillState.of(state, task), N, features)
    assert (found.value == env.names["sig"]).all()
    assert len(np.unique(found.value)) >= 3


@pytest.mark.parametrize("features", KERNELS[:4])
def test_derived_columns(features: frozenset[str]) -> None:
    """8.3, name by name (krc is what KILL_ACCESSING_PROCESS returns)."""
    state = random_states(features, seed=9)
    env = Environment.of(state)
    for name, _ in DERIVED:
        if hasattr(state, name):
            # dv: the checks that use it need the feature of c_dax themselves.
            relevant = name != "dv" or bool(env.names["c_dax"])
            assert not relevant or (getattr(state, name) == env.names[name]).all(), name
    assert {n for n, _ in DERIVED if not hasattr(state, n)} == {"mapok", "okrow", "krc"}


FUNCTIONS: tuple[KernelFunction[Any], ...] = (
    MEMORY_FAILURE,
    MEMORY_FAILURE_2009,
    SOFT_OFFLINE_PAGE,
    UNPOISON_MEMORY,
    KILL_PROCS,
)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
def test_checks_are_well_formed(function: KernelFunction[Any]) -> None:
    """Ids are unique, features exist, every check says why, and every rule of the document has one."""
    ids = [check.id for check in function.checks]
    assert len(set(ids)) == len(ids)
    for check in function.checks:
        assert set(check.needs) | set(check.unless) <= set(FEATURES), check.id
        assert set(check.needs).isdisjoint(check.unless), check.id
        assert check.why, check.id
    if isinstance(function, PoisonFunction):
        rules = {check.rule for check in function.checks if isinstance(check, PoisonCheck)}
        document = {row[0] for row in RULES[function.name]}
        assert {r for r in document if r not in rules and not any(re.fullmatch(r + "[a-e]", x) for x in rules)} == set()
