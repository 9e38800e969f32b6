"""Both engines on the same rows, with outcomes in the same shape."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

from replay.engine.replay import Replayer
from replay.kernel.profiles import Profile
from replay.kernel.registry import CHECK_NAMES
from replay.scalar import replay_rows
from replay.trace.header import MachineDescription
from replay.trace.literals import batch_of as as_batch
from replay.trace.outcomes import CHECK_NONE, CHECK_SEVERAL, OUTCOME_COLUMNS
from tests.property.strategies import STRINGS, Row

# The engine has one check for each answer, the documents one for each question.
_QUESTION = {
    "alignment-pageblock": "alignment",
    "range-bounds": "range",
    "range-unchecked": "range",
    "bounds-unchecked": "bounds",
    "no-ram-minus-one": "no-ram",
    "nothing-minus-one": "nothing",
    "online-bug": "online",
}


@contextmanager
def dense(fewest: int) -> Iterator[None]:
    """Let stretches count as dense from this many toggles on: cases are short."""
    with mock.patch("replay.engine.dense._FEWEST", fewest):
        yield


def vector(
    machine: MachineDescription, rows: Sequence[Row], profile: Profile, cuts: Sequence[int] = ()
) -> list[dict[str, object]]:
    """Return the vector engine's outcome of each row; ``cuts`` split the rows into batches."""
    replayer = Replayer(machine, profile, STRINGS, keep=True)
    borders = [0, *sorted(cuts), len(rows)]
    for start, end in itertools.pairwise(borders):
        if start < end:
            replayer.feed(as_batch(rows[start:end], start))
    replayer.finish()
    result: list[dict[str, object]] = []
    for outcomes in replayer.finished():
        for i in range(len(outcomes["check"])):
            row: dict[str, object] = {name: int(outcomes[name][i]) for name in OUTCOME_COLUMNS}
            row["check"] = _check_name(int(outcomes["check"][i]))
            result.append(row)
    return result


def scalar(machine: MachineDescription, rows: Sequence[Row], profile: Profile) -> list[dict[str, object]]:
    """Return the scalar engine's outcome of each row."""
    return replay_rows(machine, rows, profile.features, STRINGS)


def tallied(machine: MachineDescription, rows: Sequence[Row], profile: Profile) -> dict[str, object]:
    """Return the vector engine's counts when no outcomes are kept."""
    replayer = Replayer(machine, profile, STRINGS)
    replayer.feed(as_batch(rows))
    t = replayer.finish()
    return {
        "outcomes": t.outcomes,
        "checks": t.checks,
        "agreement": {name: a.to_dict() for name, a in t.agreement.items()},
        "false_online": t.false_online.merged(),
        "false_offline": t.false_offline.merged(),
        "slow": t.slow,
        "pages": t.pages,
    }


def _check_name(number: int) -> str:
    if number in {CHECK_NONE, CHECK_SEVERAL}:
        return "" if number == CHECK_NONE else "several"
    function, check = CHECK_NAMES[number].split("/")
    return f"{function}/{_QUESTION.get(check, check)}"
