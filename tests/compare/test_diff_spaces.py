"""What a condition reads is found by watching it, whatever it reads it for."""

from __future__ import annotations

import numpy as np
import pytest

from replay.candidate import PANIC, Candidate
from replay.compare.diff import diff
from replay.compare.diff_states import poison_space
from replay.errors import UsageError
from replay.kernel.poison_state import DEFAULTS
from replay.kernel.profiles import profile

CODES = {-5, -16}


def test_attributes_and_features_that_are_read_are_found():
    space = poison_space(CODES)
    support, values, asked = space.evaluate(lambda s: s.isbud & ~s.hwp, frozenset({"take-off-buddy"}))
    assert [space.variables[n].name for n in support] == ["kind", "hwp"]
    assert values.shape == (len(space.variables[support[0]].values), 2)
    assert asked == {"take-off-buddy"}


def test_what_is_read_for_some_values_only_is_found():
    space = poison_space(CODES)

    def fickle(s):
        return s.hwp & s.anon if np.any(s.hwp) else s.hwp

    support, values, _ = space.evaluate(fickle, frozenset())
    assert {space.variables[n].name for n in support} == {"hwp", "anon"}
    assert values.tolist() == [[False, False], [False, True]]


def test_return_codes_are_told_apart_from_those_of_answers():
    space = poison_space(CODES)
    variable = space.variables[space.number["mig"]]
    assert {variable.values[variable.number(code)] for code in (0, 1, 7, -5, -16)} == {0, 1, -5, -16}
    others = {variable.number(code) for code in (-12, -11, -22)}
    assert len(others) == 1
    assert variable.say(frozenset(range(2, len(variable.values)))) == "migration fails"


def test_every_attribute_has_a_value_for_its_default():
    for variable in poison_space(CODES).variables:
        variable.number(DEFAULTS[variable.name])


def test_a_condition_that_reads_too_much_is_refused():
    greedy = Candidate("v7.2")

    @greedy.insert("memory_failure", before="dax", answer=PANIC)
    def everything(s):
        """all flags at once"""
        result = s.hwp
        for name in [n for n, default in DEFAULTS.items() if default.dtype == np.bool_][:25]:
            result = result & getattr(s, name)
        return result

    with pytest.raises(UsageError, match="reads too much at once"):
        diff(profile("v7.2"), greedy.profile("greedy", "test"))
