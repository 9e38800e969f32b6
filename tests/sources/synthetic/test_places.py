"""Stops of walks against the plainest way to list them, whole and in any cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.sources.synthetic import places as p
from replay.sources.synthetic.streams import Stream

SPANS = ((10, 14), (20, 21), (100, 133), (1 << 33, (1 << 33) + 5))


def listed(spans: Sequence[tuple[int, int]], step: int) -> list[int]:
    return [pfn for start, end in spans for pfn in range(start, end, step)]


def met(stops: list[int]) -> list[int]:
    return [stops[k // 2] if k % 2 == 0 else stops[-1 - k // 2] for k in range(len(stops))]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("order", ["up", "down", "meet"])
@given(first=st.integers(0, 200), count=st.integers(0, 150))
def test_orders(order: str, step: int, first: int, count: int) -> None:
    stops = listed(SPANS, step)
    expected = {"up": stops, "down": stops[::-1], "meet": met(stops)}[order]
    made = p.meeting(SPANS, step) if order == "meet" else p.marching(SPANS, step, down=order == "down")
    wanted = [expected[k % len(stops)] for k in range(first, first + count)]
    assert made(first, count).tolist() == wanted
    assert p.stops_of(SPANS, step) == len(stops)


@pytest.mark.parametrize("down", [False, True])
def test_long_passes_are_cut_where_they_end(down: bool) -> None:
    """Passes that are too long to be kept: over the ends of spans and of passes."""
    spans = ((0, 70_000), (100_000, 100_010), (200_000, 200_500))
    expected = np.array(listed(spans, 1), np.uint64)
    if down:
        expected = expected[::-1]
    made = p.marching(spans, 1, down=down)
    total = len(expected)
    for first, count in (
        (0, 0),
        (5, 0),
        (0, 10),
        (69_995, 30),
        (total - 5, 12),
        (3 * total - 1, 2),
        (total, total),
        (5, 2 * total),
    ):
        assert np.array_equal(made(first, count), expected[np.arange(first, first + count) % total])


def test_long_passes_of_two_cursors_meet() -> None:
    spans = ((0, 70_000), (100_000, 100_011))
    stops = listed(spans, 1)
    expected = np.array(met(stops), np.uint64)
    made, total = p.meeting(spans, 1), len(stops)
    for first, count in (
        (0, 0),
        (0, 9),
        (70_000, 30),
        (total - 1, 1),
        (total - 1, 2),
        (total - 2, 5),
        (0, total),
        (3, 2 * total),
    ):
        assert np.array_equal(made(first, count), expected[np.arange(first, first + count) % total])


@pytest.mark.parametrize("spans", [SPANS, ((0, 70_000), (80_000, 80_100))])
def test_shuffled_visits_every_place_once_in_a_pass(spans: tuple[tuple[int, int], ...]) -> None:
    made, stops = p.shuffled(spans, Stream(1, "s")), listed(spans, 1)
    one, two = made(0, len(stops)).tolist(), made(len(stops), len(stops)).tolist()
    assert sorted(one) == sorted(two) == stops
    assert one != stops
    assert one != two
    assert made(7, len(stops)).tolist() == [*one[7:], *two[:7]]


@given(unit=st.sampled_from([1, 2, 4]), first=st.integers(0, 1000))
def test_random_places_lie_in_the_spans(unit: int, first: int) -> None:
    spans = ((8, 16), (100, 104), (1 << 40, (1 << 40) + 400))
    made = p.random_in(spans, Stream(2, "r"), unit)(first, 300).tolist()
    allowed = {start + k * unit for start, end in spans for k in range((end - start) // unit)}
    assert set(made) <= allowed
    assert p.random_in(spans, Stream(2, "r"), unit)(first + 100, 50).tolist() == made[100:150]


def test_random_places_reach_every_page() -> None:
    spans = ((3, 6), (9, 10))
    assert set(p.random_in(spans, Stream(0, "all"))(0, 200).tolist()) == {3, 4, 5, 9}
