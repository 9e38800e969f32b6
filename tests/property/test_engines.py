"""The vector engine and the scalar reference, written apart, give the same outcome for every row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.errors import UsageError
from replay.kernel.features import FEATURES
from replay.kernel.profiles import PRESETS, Profile, profile
from tests.property.engines import scalar, vector
from tests.property.strategies import Case, cases

WALKS = [name for name, preset in PRESETS.items() if not preset.poison_only]


def assert_same(case: Case, kernel: Profile) -> None:
    try:
        got = vector(case.machine, case.rows, kernel)
    except UsageError as error:  # arm64 and s390 kernels come with one section size each
        assert "sections of" in str(error)
        return
    expected = scalar(case.machine, case.rows, kernel)
    for i, (a, b) in enumerate(zip(expected, got, strict=True)):
        assert a == b, f"row {i} of {case.rows} on {case.machine} ({kernel.name})"


@pytest.mark.parametrize("name", WALKS)
@given(case=cases())
def test_engines_agree_on_every_preset(name: str, case: Case) -> None:
    assert_same(case, profile(name))


@given(case=cases(), features=st.sets(st.sampled_from(sorted(FEATURES))))
def test_engines_agree_on_any_set_of_features(case: Case, features: set[str]) -> None:
    assert_same(case, Profile("any", frozenset(features)))
