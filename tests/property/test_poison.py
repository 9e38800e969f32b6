"""Poison calls: the vector engine and the scalar reference say the same of every call, in any history."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.engine.poison_call import Decided
from replay.engine.replay import Replayer
from replay.kernel.poison_types import ActionType
from replay.kernel.profiles import PRESETS, profile
from replay.trace.poison import NO_ACTION, MfFlag, PageKind
from replay.trace.schema import EventKind
from tests.property.engines import as_batch
from tests.property.poison import MACHINE, PAGES, histories, kept, scalar_calls, storms, vector_calls
from tests.property.strategies import STRINGS, Row

KERNELS = [name for name, preset in PRESETS.items() if not preset.poison_only]


@pytest.mark.parametrize("name", KERNELS)
@given(rows=histories(), open_loop=st.booleans())
def test_engines_agree_on_every_preset(name: str, rows: list[Row], open_loop: bool) -> None:
    kernel = profile(name)
    expected = scalar_calls(rows, kernel, open_loop=open_loop)
    assert expected == vector_calls(rows, kernel, open_loop=open_loop), rows


@pytest.mark.parametrize("name", KERNELS)
@given(rows=storms(), open_loop=st.booleans())
@settings(max_examples=5)
def test_calls_taken_together_are_what_the_scalar_engine_says(name: str, rows: list[Row], open_loop: bool) -> None:
    kernel = profile(name)
    columns, _ = kept(rows, kernel, open_loop=open_loop)
    for expected in scalar_calls(rows, kernel, open_loop=open_loop):
        at = int(str(expected["row"]))
        action, result = columns["action"][at], columns["result"][at]
        found = {
            "row": at,
            "undecided": expected["undecided"],
            "ret": 0 if expected["undecided"] else columns["ret"][at],
            "action": "" if action == NO_ACTION else ActionType(action).name,
            "result": "" if result == NO_ACTION else "IFDR"[result],
            "poisoned": columns["poisoned"][at],
            "counted": columns["counted"][at],
            "signals": columns["signals"][at],
        }
        assert found == {**expected, "signals": len(tuple(expected["signals"]))}, (at, rows)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", KERNELS)
@given(rows=storms(), open_loop=st.booleans(), cuts=st.lists(st.integers(0, 300), max_size=3))
@settings(max_examples=5)
def test_together_or_one_by_one(name: str, rows: list[Row], open_loop: bool, cuts: list[int]) -> None:
    """Outcomes, counts, comparisons and the differences shown are the same, wherever batches are cut."""
    cuts = [cut for cut in cuts if cut < len(rows)]
    alone = kept(rows, profile(name), open_loop=open_loop, one_by_one=True)
    assert kept(rows, profile(name), open_loop=open_loop) == alone, rows
    assert kept(rows, profile(name), open_loop=open_loop, cuts=cuts) == alone, (cuts, rows)


@pytest.mark.parametrize("name", KERNELS)
@given(rows=histories())
def test_the_counter_is_the_sum_of_what_calls_counted(name: str, rows: list[Row]) -> None:
    """Nothing else counts up or down while no memory goes away, and no call counts a page down that was not up."""
    found: list[Decided] = []
    replayer = Replayer(MACHINE, profile(name), STRINGS, log=found.append)
    replayer.feed(as_batch(rows))
    counters = replayer.finish().counters
    assert counters.get("poisoned pages", 0) == sum(call.counted for call in found)
    results = {key: count for key, count in counters.items() if key.startswith("node")}
    for node in ("node0", "node1"):
        total = results.pop(f"{node} total", 0)
        assert total == sum(count for key, count in results.items() if key.startswith(f"{node} "))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("kind", [PageKind.BUDDY, PageKind.LRU])
def test_unpoison_restores(name: str, kind: PageKind) -> None:
    """A page that was poisoned and unpoisoned is as good as new: not poisoned, not counted, and can be poisoned again."""
    state = {"kind": EventKind.PAGE_STATE, "pfn": PAGES[0], "page_kind": kind, "refs": int(kind != PageKind.BUDDY)}
    poison = {"kind": EventKind.MEMORY_FAILURE, "pfn": PAGES[0], "flags": int(MfFlag.SW_SIMULATED)}
    unpoison = {"kind": EventKind.UNPOISON_MEMORY, "pfn": PAGES[0]}
    first, back, again = vector_calls([state, poison, unpoison, state, poison], profile(name), open_loop=False)
    assert (back["ret"], back["poisoned"], first["counted"]) == (0, 0, -int(str(back["counted"])))
    assert {**again, "row": 0} == {**first, "row": 0}
