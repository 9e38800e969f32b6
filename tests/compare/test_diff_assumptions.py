"""States that are taken for impossible do not occur: not in recorded machines, and not in machines made up for tests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.compare.diff import Spaces
from replay.compare.diff_lookups import LookupSpace
from replay.compare.diff_sides import Side
from replay.engine.replay import Replayer
from replay.kernel.poison_state import DEFAULTS, PoisonState
from replay.kernel.profiles import profile
from replay.kernel.walk import Bit
from replay.session import run
from replay.trace.poison import PageKind
from replay.trace.reader import TraceFile
from tests.property.engines import as_batch
from tests.property.strategies import STRINGS, cases
from tests.recorded.replayed import FOLDER, NAMES

KERNELS = ("v4.18", "v5.4", "v5.11", "v5.12", "v6.1", "v7.2")


def _impossible(replayer: Replayer, kernel: str) -> set[int]:
    """State codes that a machine has now, although no machine should."""
    replayer._index.refresh()
    codes = np.unique(replayer._index.codes)
    space = LookupSpace([Side.of(profile(kernel))])
    columns, _ = space.states_of(Side.of(profile(kernel)), replayer.kernel.config, "")
    possible = space.diagrams.evaluate(space.possible, columns) == 1
    return set(codes[~possible[codes]].tolist())


@settings(max_examples=60, deadline=None)
@given(kernel=st.sampled_from(KERNELS), data=st.data())
def test_machines_never_get_into_an_impossible_state(kernel, data):
    case = data.draw(cases(profile(kernel).features, max_events=12))
    replayer = Replayer(case.machine, profile(kernel), STRINGS)
    assert not _impossible(replayer, kernel)
    for number, row in enumerate(case.rows):
        replayer.feed(as_batch([row], number))
        assert not _impossible(replayer, kernel)


@pytest.mark.parametrize("name", [n for n in NAMES if "s2" in n or "s3" in n])
def test_recorded_machines_never_get_into_an_impossible_state(name):
    with TraceFile.open(FOLDER / f"{name}.arrow") as trace:
        replayer = Replayer(trace.machine, profile("v5.12"), trace.strings)
        for batch in trace.batches(max_rows=2048):
            replayer.feed(batch)
            assert not _impossible(replayer, "v5.12")


def test_the_test_can_fail():
    """An online section without a mem_map is noticed."""
    space = LookupSpace([Side.of(profile("v5.12"))])
    state = [0] * len(space.variables)
    assert space.diagrams.at(space.possible, state)
    for bit in (Bit.PRESENT, Bit.ONLINE):
        state[space.number[bit.name]] = 1
    assert not space.diagrams.at(space.possible, state)


@pytest.mark.parametrize("name", [n for n in NAMES if "poison-dax" in n])
def test_recorded_poison_calls_never_meet_an_impossible_state(name):
    sides = [Side.of(profile("v5.12")), Side.of(profile("v6.1"))]
    space = Spaces(sides)[PoisonState]
    seen = set()

    def look(_kernel, _strings, call):
        if call.attributes["kind"] != PageKind.UNKNOWN:
            seen.add(tuple((v.name, call.attributes.get(v.name, DEFAULTS[v.name])) for v in space.variables))

    run(FOLDER / f"{name}.arrow", log=look)
    assert seen
    for state in seen:
        numbers = [variable.number(value) for variable, (_, value) in zip(space.variables, state, strict=True)]
        assert space.diagrams.at(space.possible, numbers), dict(state)
