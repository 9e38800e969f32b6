"""The table of plain calls: calls on one page are followed through conditions that came up since the table was listed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from replay.engine.poison_steps import PlainCall, StepTable


class Counting:
    """Conditions are numbers; a call of code c leads from condition n to c."""

    def __init__(self) -> None:
        self.conditions = list(range(32))

    def number(self, condition: int) -> int:
        return condition

    def decide(self, calls: list[PlainCall]) -> list[Any]:
        return [SimpleNamespace(call=(call.condition, call.code), after=call.code) for call in calls]


def test_conditions_that_find_room_in_a_listed_table() -> None:
    """The table grows by doubling, so a condition may be new without a new table; what was listed of it is older."""
    pages = Counting()
    table = StepTable(pages, pages.decide)  # type: ignore[arg-type]
    two, codes = np.array([2]), np.array([1, 1])
    for condition in range(32):
        steps, after = table.walk(np.array([condition]), two, codes)
        assert [table._calls[step] for step in steps.tolist()] == [(condition, 1), (1, 1)]
        assert after.tolist() == [1]


def test_codes_that_are_new_to_a_listed_table() -> None:
    pages = Counting()
    table = StepTable(pages, pages.decide)  # type: ignore[arg-type]
    for code in range(32):
        steps, after = table.walk(np.array([0]), np.array([2]), np.array([code, code]))
        assert [table._calls[step] for step in steps.tolist()] == [(0, code), (code, code)]
        assert after.tolist() == [code]
