"""Profiles: presets build on one another, names combine them, mistakes are said."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.errors import UnknownNameError, UsageError
from replay.kernel.features import FEATURES
from replay.kernel.profiles import PRESETS, Profile, profile


def version(name: str) -> tuple[int, ...]:
    return tuple(map(int, name.removeprefix("v").split(".")))


def test_presets_ascend() -> None:
    names = list(PRESETS)
    assert names == sorted(names, key=version)
    assert all(PRESETS[name].name == name for name in names)


@pytest.mark.parametrize("name", PRESETS)
def test_preset(name: str) -> None:
    """Adds what its predecessor lacks, drops what it has; both are known features and in no order twice."""
    preset = PRESETS[name]
    before = profile(preset.after).features if preset.after else frozenset()
    if preset.after:
        assert version(preset.after) < version(name)
        assert not PRESETS[preset.after].poison_only
    for changes in (preset.adds, preset.drops):
        assert len(set(changes)) == len(changes)
        assert set(changes) <= set(FEATURES)
    assert not before & set(preset.adds)
    assert set(preset.drops) <= before
    assert profile(name).features == (before | set(preset.adds)) - set(preset.drops)
    assert profile(name).name == name
    assert profile(name.removeprefix("v")) == profile(name)
    assert profile(name).poison_only == preset.poison_only


def test_the_kernels_without_a_walk() -> None:
    assert [name for name in PRESETS if PRESETS[name].poison_only] == ["v2.6.32"]


def test_digest() -> None:
    """Of the features alone: combinations that decide alike have the same."""
    chosen = profile("v5.12")
    text = "\n".join(sorted(chosen.features))
    assert chosen.digest == "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    assert profile("v5.12.9").digest == chosen.digest
    again = profile("v5.12-taint-zone-device+taint-zone-device")
    assert again.digest == chosen.digest
    assert again.name == "v5.12-taint-zone-device+taint-zone-device"
    assert len({profile(name).digest for name in PRESETS}) == len(PRESETS) - 2  # v5.12.9 and v7.2.13 change nothing


COMBINED = {
    "v5.11+taint-zone-device": ("v5.11", {"taint-zone-device"}, set()),
    "5.11+taint-zone-device": ("v5.11", {"taint-zone-device"}, set()),
    "v5.12-online-page-subsection-validity": ("v5.12", set(), {"online-page-subsection-validity"}),
    "v5.11+taint-zone-device+online-page-subsection-validity": (
        "v5.11",
        {"taint-zone-device", "online-page-subsection-validity"},
        set(),
    ),
    "v6.1-taint-zone-device-online-page-out-of-line": (
        "v6.1",
        set(),
        {"taint-zone-device", "online-page-out-of-line"},
    ),
    "v6.1-taint-zone-device+region-intersects-nested": ("v6.1", {"region-intersects-nested"}, {"taint-zone-device"}),
    "v6.1+region-intersects-nested-taint-zone-device": ("v6.1", {"region-intersects-nested"}, {"taint-zone-device"}),
    # One id is the beginning of another: the longest that is known is meant.
    "v6.1-memmap-on-memory": ("v6.1", set(), {"memmap-on-memory"}),
    "v6.1+memmap-on-memory-lenient": ("v6.1", {"memmap-on-memory-lenient"}, set()),
    "v6.12-memmap-on-memory-lenient-memmap-on-memory": (
        "v6.12",
        set(),
        {"memmap-on-memory-lenient", "memmap-on-memory"},
    ),
}


@pytest.mark.parametrize("name", COMBINED)
def test_combinations(name: str) -> None:
    base, added, taken = COMBINED[name]
    chosen = profile(name)
    assert chosen.features == (profile(base).features | added) - taken
    assert chosen.name == "v" + name.removeprefix("v")
    assert profile(chosen.name) == chosen


WRONG = {
    "v6.7": (UnknownNameError, "unknown profile 'v6.7' (did you mean v6.1"),
    "": (UnknownNameError, "unknown profile ''"),
    "v": (UnknownNameError, "unknown profile 'v'"),
    "vv6.1": (UnknownNameError, "unknown profile 'vv6.1'"),
    "v6.1 ": (UnknownNameError, "unknown profile 'v6.1 '"),
    "V6.1": (UnknownNameError, "unknown profile 'V6.1'"),
    "+taint-zone-device": (UnknownNameError, "unknown profile"),
    "v6.1+": (UnknownNameError, "unknown profile 'v6.1+'"),
    "v5.11+taint": (UnknownNameError, "unknown feature 'taint'"),
    "v5.11+taint-zone-devise": (
        UnknownNameError,
        "unknown feature 'taint-zone-devise' (did you mean taint-zone-device",
    ),
    "v5.11+Taint-zone-device": (
        UnknownNameError,
        "unknown feature 'Taint-zone-device' (did you mean taint-zone-device",
    ),
    "v5.11++taint-zone-device": (UnknownNameError, "unknown"),
    "v5.11-+taint-zone-device": (UnknownNameError, "unknown"),
    "v5.11+taint-zone-device-": (UnknownNameError, "unknown feature ''"),
    "v5.12+taint-zone-device": (UsageError, "v5.12 has feature 'taint-zone-device' already"),
    "v5.11-taint-zone-device": (UsageError, "v5.11 has no feature 'taint-zone-device' to take away"),
    "v5.11+taint-zone-device+taint-zone-device": (UsageError, "has feature 'taint-zone-device' already"),
    "v5.12-taint-zone-device-taint-zone-device": (UsageError, "has no feature 'taint-zone-device' to take away"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes(name: str) -> None:
    """One line that names what is wrong, with the nearest known names."""
    kind, part = WRONG[name]
    with pytest.raises(kind) as caught:
        profile(name)
    assert part in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.exit_code == 2


PIECES = st.sampled_from(["v", "5.11", "v6.1", "+", "-", "taint-zone-device", "memmap-on-memory", "-lenient", "x", " "])


@given(name=st.one_of(st.text(max_size=30), st.lists(PIECES, max_size=6).map("".join)))
def test_any_text_is_a_profile_or_a_usage_error(name: str) -> None:
    try:
        chosen = profile(name)
    except UsageError:
        return
    assert isinstance(chosen, Profile)
    assert chosen.features <= set(FEATURES)
    assert profile(chosen.name) == chosen
