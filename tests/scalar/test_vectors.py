"""The scalar reference against the vectors of walk.md, section 8."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from replay.kernel.profiles import profile
from replay.scalar import ScalarMachine
from tests.vectors import ELSEWHERE, VECTORS
from tests.vectors.model import VERSIONS, Skip, Vector, check_vector

WALK = Path(__file__).parents[2] / "docs" / "semantics" / "walk.md"

CASES = [
    pytest.param(vector, version, id=f"{vector.id}-{version}")
    for vector in VECTORS
    for version in VERSIONS
    if vector.cell(version) is not None
]


@pytest.mark.parametrize(("vector", "version"), CASES)
def test_vector(vector: Vector, version: str) -> None:
    cell = vector.cell(version)
    if isinstance(cell, Skip):
        pytest.skip(cell.reason)
    machine = ScalarMachine(vector.layout.description(version[1:]), profile(version).features)
    check_vector(vector, machine, version)


def test_every_row_of_the_tables_is_here() -> None:
    rows = {int(number) for number in re.findall(r"^\| T(\d+)", WALK.read_text(), re.MULTILINE)}
    rows -= set(range(94, 106))  # device-dax: not machine state
    here = {int(found[1]) for vector in VECTORS if (found := re.match(r"T(\d+)", vector.id))}
    elsewhere = {int(vector_id[1:]) for vector_id in ELSEWHERE}
    assert here | elsewhere == rows
    assert not here & elsewhere
