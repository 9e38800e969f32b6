"""PfnTable against a plain dict of pfns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.machine import pfn_table
from replay.machine.pfn_table import PAGES, PfnTable

FAR = 1 << 51
PFNS = st.one_of(st.integers(0, 3 * PAGES), st.integers(FAR, FAR + PAGES), st.sampled_from([(1 << 64) - 1, 1 << 20]))
NUMBERS = st.one_of(st.integers(0, 3), st.sampled_from([255, 256, 70000]))


@given(
    writes=st.lists(st.dictionaries(PFNS, NUMBERS, max_size=8), max_size=6),
    single=st.booleans(),
    erased=st.tuples(PFNS, st.integers(0, 2 * PAGES)),
)
def test_it_holds_what_was_written(writes: list[dict[int, int]], single: bool, erased: tuple[int, int]) -> None:
    """By single pfns or many at once, beyond the directory, and when numbers outgrow their type."""
    table, model = PfnTable(), dict[int, int]()
    for write in writes:
        model |= write
        if single:
            for pfn, number in write.items():
                table.set(pfn, number)
        else:
            pfns = np.array(sorted(write), np.uint64)
            table.put(pfns, np.array([write[pfn] for pfn in sorted(write)], np.int64))
    start, end = erased[0], erased[0] + erased[1]
    table.erase(start, end)
    model = {pfn: number for pfn, number in model.items() if not start <= pfn < end}
    asked = np.array(sorted({*model, 0, 1, PAGES, FAR, FAR + 1, 1 << 40, (1 << 64) - 1}), np.uint64)
    assert table.at(asked).tolist() == [model.get(pfn, 0) for pfn in asked.tolist()]
    assert [table.get(pfn) for pfn in asked.tolist()] == table.at(asked).tolist()
    for low, high in ((0, 1 << 64), (1, PAGES + 1), (FAR, FAR + 2), (5, 5)):
        pfns, numbers = table.within(low, high)
        found = dict(zip(pfns.tolist(), numbers.tolist(), strict=True))
        assert found == {pfn: number for pfn, number in model.items() if low <= pfn < high and number}
        assert pfns.tolist() == sorted(pfns.tolist())


def test_places_found_before_are_good_for_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pfn_table, "_NEAR", 4)  # so that some chunks are far
    table = PfnTable()
    pfns = np.array([1, 2, PAGES, 3 * PAGES, 9 * PAGES], np.uint64)
    table.set(2, 7)
    places = table.places(pfns)
    table.write(pfns, places, np.array([1, 2, 3, 4, 300]))
    assert table.at(pfns).tolist() == table.read(places).tolist() == [1, 2, 3, 4, 300]
