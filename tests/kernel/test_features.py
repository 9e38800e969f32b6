"""Features: every one is described, dated, used, and in the presets that its date says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import replay.kernel
from replay.errors import UnknownNameError
from replay.kernel import block_size, dax, namespace
from replay.kernel.decision import KernelFunction
from replay.kernel.features import FEATURES, Feature, feature
from replay.kernel.profiles import PRESETS, profile
from replay.kernel.registry import FUNCTIONS

KERNEL = Path(replay.kernel.__file__).parent

# Features that no check or effect depends on, and why.
NO_CHECK = {
    "online-page-out-of-line": "the function became out of line: no verdict changes",
    "clear-error-restores": "what clearing an error does to poison is not decided yet",
    "soft-offline-ref-drop": "a page reference; the lookup of soft_offline_page is the same",
}


def version(name: str) -> tuple[int, ...]:
    return tuple(map(int, name.removeprefix("v").split(".")))


def stable(name: str) -> bool:
    return len(version(name)) == 3 and not name.startswith("v2.6")


def functions() -> list[KernelFunction[Any]]:
    """Every kernel function: those of the registry, and those that no event asks for yet."""
    found = {id(function): function for function in FUNCTIONS.values()}
    for module in (block_size, dax, namespace):
        for value in vars(module).values():
            if isinstance(value, KernelFunction):
                found[id(value)] = value
            elif isinstance(value, (tuple, dict)):
                several = value.values() if isinstance(value, dict) else value
                found |= {id(f): f for f in several if isinstance(f, KernelFunction)}
    return list(found.values())


CHECKS = [(f"{function.name}/{check.id}", check) for function in functions() for check in function.checks]
ROWS = [pytest.param(f, id=f.id) for f in FEATURES.values()]


@pytest.mark.parametrize("row", ROWS)
def test_description(row: Feature) -> None:
    """An id that can stand in a profile, one line of summary, a first version, plausible commit and evidence."""
    assert FEATURES[row.id] is row is feature(row.id)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", row.id)
    assert row.summary
    assert len(row.summary.splitlines()) == 1
    assert not row.summary.endswith(".")
    assert re.fullmatch(r"v\d+\.\d+|v2\.6\.\d+", row.first)
    assert re.fullmatch(r"([0-9a-f]{12})?", row.commit)
    assert row.title or not row.commit
    assert row.evidence in {"log", "source", "recording"}


def test_an_unknown_feature() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean taint-zone-device.*replay features"):
        feature("taint-zone-devices")


@pytest.mark.parametrize("row", ROWS)
def test_presets_have_it_from_its_first_version_on(row: Feature) -> None:
    """None has it earlier, except as a named backport; from then on every mainline release, until one drops it for good."""
    having = {name for name in PRESETS if row.id in profile(name).features}
    assert having
    assert {name for name in having if version(name) < version(row.first)} == set(row.backports)
    mainline = [name for name in PRESETS if not stable(name)]
    later = [name in having for name in mainline if version(name) >= version(row.first)]
    assert later[0]
    assert later == sorted(later, reverse=True)


@pytest.mark.parametrize("name", [name for name in PRESETS if stable(name)])
def test_stable_releases_differ_from_mainline_where_they_say_so(name: str) -> None:
    """What a stable release adds is a backport of the feature's row; what it drops, the row's summary tells."""
    preset = PRESETS[name]
    for added in preset.adds:
        assert name in FEATURES[added].backports or version(FEATURES[added].first) <= version(name), added
    for dropped in preset.drops:
        assert name in FEATURES[dropped].summary, dropped


@pytest.mark.parametrize("row", ROWS)
def test_backports_are_stable_releases(row: Feature) -> None:
    """A backport is a preset of three numbers, older than the first version, added to a preset that lacks it."""
    assert len(set(row.backports)) == len(row.backports)
    for name in row.backports:
        assert len(version(name)) == 3
        assert version(name) < version(row.first)
        assert row.id in PRESETS[name].adds
        assert row.id not in profile(PRESETS[name].after).features


@pytest.mark.parametrize(("name", "check"), [pytest.param(n, c, id=n) for n, c in CHECKS])
def test_checks_depend_on_known_features(name: str, check: Any) -> None:
    """needs and unless name features that exist, not both the same; each check says why in one line."""
    assert set(check.needs) | set(check.unless) <= set(FEATURES)
    assert not set(check.needs) & set(check.unless)
    assert check.why
    assert len(check.why.splitlines()) == 1
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", check.id), name


def test_every_feature_is_used() -> None:
    """By a check, by an effect (``kernel.has``), or it is named above with the reason why not."""
    by_checks = {f for _, check in CHECKS for f in (*check.needs, *check.unless)}
    files = [*KERNEL.glob("*.py"), *(KERNEL.parent / "engine").glob("*.py")]
    text = "\n".join(p.read_text() for p in files if p.stem not in {"features", "profiles"})
    by_effects = {f for f in FEATURES if f'"{f}"' in text}
    assert set(FEATURES) - by_checks - by_effects <= set(NO_CHECK)
    assert set(NO_CHECK) <= set(FEATURES)
    assert all(NO_CHECK.values())
