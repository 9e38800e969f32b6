"""The vector engine and the scalar reference, written apart, give the same outcome for every row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.kernel.features import FEATURES
from replay.kernel.profiles import PRESETS, Profile, profile
from tests.property.engines import scalar, vector
from tests.property.strategies import Case, cases

WALKS = [name for name, preset in PRESETS.items() if not preset.poison_only]


def assert_same(case: Case, kernel: Profile) -> None:
    got = vector(case.machine, case.rows, kernel)
    expected = scalar(case.machine, case.rows, kernel)
    for i, (a, b) in enumerate(zip(expected, got, strict=True)):
        assert a == b, f"row {i} of {case.rows} on {case.machine} ({kernel.name})"


@pytest.mark.parametrize("name", WALKS)
@given(data=st.data())
def test_engines_agree_on_every_preset(name: str, data: st.DataObject) -> None:
    kernel = profile(name)
    assert_same(data.draw(cases(kernel.features)), kernel)


@given(features=st.frozensets(st.sampled_from(sorted(FEATURES))), data=st.data())
def test_engines_agree_on_any_set_of_features(features: frozenset[str], data: st.DataObject) -> None:
    assert_same(data.draw(cases(features)), Profile("any", features))
