"""The decision table of docs/semantics/walk.md, section 1.2, read from the document: every row, every group, all states."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from replay.kernel.profiles import profile
from replay.kernel.walk import PFN_TO_ONLINE_PAGE
from tests.golden.states import BEYOND, CAN_BE, LIVE, ONLINE, SUBSECTION, TAINT, table
from tests.golden.test_walk_vectors import KERNELS, column
from tests.vectors.model import GROUP_OF

WALK = Path(__file__).parents[2] / "docs" / "semantics" / "walk.md"
FIELDS = (~BEYOND, ONLINE, SUBSECTION, TAINT, LIVE)  # nr-ok, online, sub, taint, pgmap live


def _rows() -> list[tuple[tuple[str, ...], str, str]]:
    section = WALK.read_text().split("### 1.2 ")[1].split("\n### ")[0]
    cells = [
        [c.strip() for c in line.strip("|").split("|")] for line in section.splitlines() if re.match(r"\| [01] ", line)
    ]
    return [(tuple(row[:5]), row[5], row[6]) for row in cells]


ROWS = _rows()


def _states(pattern: tuple[str, ...]) -> np.ndarray:
    """The states of a row that a machine can be in."""
    where = CAN_BE.copy()
    for wanted, field in zip(pattern, FIELDS, strict=True):
        if wanted != "*":
            where &= field == (wanted == "1")
    return where


def test_the_document_has_the_table() -> None:
    """Seven rows, which together cover every possible state exactly once."""
    assert len(ROWS) == 7
    times = sum(_states(pattern).astype(int) for pattern, _, _ in ROWS)
    assert (times[CAN_BE] == 1).all()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("row", ROWS, ids=["".join(pattern).replace("*", "x") for pattern, _, _ in ROWS])
def test_row(row: tuple[tuple[str, ...], str, str], kernel: str) -> None:
    """The tabulated function answers every state of the row as the document's cell says."""
    pattern, old, new = row
    cell = old if GROUP_OF[column(kernel)] in "ABCD" else new
    t = table(PFN_TO_ONLINE_PAGE, kernel)
    where = _states(pattern)
    assert where.any()
    if cell.startswith("n/a"):  # no taint bit there: were it set, it would mean nothing
        assert "taint-zone-device" not in profile(kernel).features
        untainted = t.yes[_states((*pattern[:3], "0", pattern[4]))]
        assert (t.yes[where] == untainted).all()
        return
    word = re.match(r"\W*(page|NULL)", cell)
    assert word
    assert (t.yes[where] == (word[1] == "page")).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_slow_path(kernel: str) -> None:
    """The pagemap is looked up iff online AND sub AND taint, in groups E and F; before, never."""
    t = table(PFN_TO_ONLINE_PAGE, kernel)
    expected = CAN_BE & ONLINE & SUBSECTION & TAINT & (GROUP_OF[column(kernel)] in "EF")
    assert (t.slow[CAN_BE] == expected[CAN_BE]).all()
