"""Mixes: each part at its rate and in its own order, the same however the rows are cut."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from replay.errors import UsageError
from replay.sources.synthetic.mixing import mixed
from replay.sources.synthetic.places import marching
from replay.sources.synthetic.rows import Part, listed, repeated

A, B, C = 1, 2, 3


def part(kind: int, *, claims: tuple[str, ...] = (), **more: int) -> Part:
    return repeated(f"part-{kind}", [{"kind": kind, "pfn": 0, **more}], marching([(0, 1000)]), claims=claims)


def rates(*values: int) -> list[Fraction]:
    return [Fraction(value) for value in values]


def test_parts_come_at_their_rates_and_in_their_order() -> None:
    made = mixed([part(A), part(B), part(C)], rates(600, 300, 100))
    columns = made.rows(0, 1000)
    kinds, pfns = columns["kind"][0], columns["pfn"][0]
    assert [(kinds == k).sum() for k in (A, B, C)] == [600, 300, 100]
    for kind in (A, B, C):
        assert pfns[kinds == kind].tolist() == list(range((kinds == kind).sum()))
    # Spread evenly: in any ten rows six, three and one.
    assert all([(kinds[at : at + 10] == k).sum() for k in (A, B, C)] == [6, 3, 1] for at in range(0, 1000, 10))


def test_cuts_do_not_show() -> None:
    made = mixed([part(A), part(B, task=7)], rates(5, 3))
    whole = made.rows(0, 100)
    for first, count in ((0, 3), (3, 50), (53, 47), (16, 2)):
        piece = made.rows(first, count)
        for name, (values, given) in whole.items():
            assert np.array_equal(piece[name][0], values[first : first + count])
            expected = np.ones(count, np.bool_) if given is None else given[first : first + count]
            found = np.ones(count, np.bool_) if piece[name][1] is None else piece[name][1]
            assert np.array_equal(found, expected)


def test_columns_of_one_part_are_null_in_rows_of_another() -> None:
    columns = mixed([part(A), part(B, task=7)], rates(1, 1)).rows(0, 10)
    values, given = columns["task"]
    assert np.array_equal(given, columns["kind"][0] == B)
    assert values.tolist() == [7 * bool(hit) for hit in given]


def test_rates_too_far_apart_are_refused() -> None:
    with pytest.raises(
        UsageError, match=r"repeat only after 10,000,001 rows; needed at most 1,048,576: round them, or raise part-2"
    ):
        mixed([part(A), part(B)], [Fraction(10_000_000), Fraction(1)])


def test_two_parts_that_change_the_same_are_refused() -> None:
    with pytest.raises(UsageError, match="part-1 and part-2 both change device 0"):
        mixed([part(A, claims=("device 0",)), part(B, claims=("device 0",))], rates(1, 1))


def test_listed_rows_come_to_an_end() -> None:
    made = listed("few", [{"kind": A, "pfn": 5}, {"kind": B, "task": 3}])
    assert made.finite
    assert made.length == 2
    assert made.rows(1, 1)["kind"][0].tolist() == [B]
    assert made.rows(0, 2)["pfn"][1].tolist() == [True, False]  # type: ignore[union-attr]


def test_columns_grow_from_repetition_to_repetition() -> None:
    made = repeated("r", [{"kind": A, "pgmap": 1}, {"kind": B, "pgmap": 3}, {"kind": C}], grows={"pgmap": 4})
    values, given = made.rows(2, 6)["pgmap"]
    assert values.tolist() == [0, 5, 7, 0, 9, 11]
    assert given.tolist() == [False, True, True, False, True, True]  # type: ignore[union-attr]
