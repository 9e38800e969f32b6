"""Poison calls: the vector engine and the scalar reference say the same of every call, in any history."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.kernel.profiles import PRESETS, profile
from tests.property.poison import histories, scalar_calls, vector_calls
from tests.property.strategies import Row

KERNELS = [name for name, preset in PRESETS.items() if not preset.poison_only]


@pytest.mark.parametrize("name", KERNELS)
@given(rows=histories(), open_loop=st.booleans())
def test_engines_agree_on_every_preset(name: str, rows: list[Row], open_loop: bool) -> None:
    kernel = profile(name)
    expected = scalar_calls(rows, kernel, open_loop=open_loop)
    assert expected == vector_calls(rows, kernel, open_loop=open_loop), rows
