"""Verdicts that are return codes: counted, held against the recording, written down."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.engine.rows import Outcomes
from replay.engine.tally import MAX_DIFFERENCES, Difference, Tally
from replay.kernel.decision import KernelFunction

__all__ = ("answered",)

I64 = NDArray[np.int64]


def answered(
    tally: Tally,
    function: KernelFunction[Any],
    base: int,
    check: int,
    ret: int,
    rows: I64,
    first_row: int,
    pfns: NDArray[np.uint64],
    recorded: tuple[I64, NDArray[np.bool_]],
    outcomes: Outcomes | None,
) -> None:
    """Take in calls of one function on which one check decided with one return code.

    Args:
        tally: where to count.
        function: the kernel's form of it.
        base: number of its first check in outcomes.
        check: index of the deciding check.
        ret: return code.
        rows: indices of the calls within the batch, int64.
        first_row: row number in the trace of the batch's first row.
        pfns: of each call, to show.
        recorded: recorded return codes, and where there are any.
        outcomes: columns of the whole batch, or None.
    """
    step = function.checks[check]
    tally.decided(function.name, step.id, str(ret) if step.imposed else step.answer.name, rows.size)
    value, given = recorded
    match = given & (value == ret)
    agreed, asked = int(np.count_nonzero(match)), int(np.count_nonzero(given))
    reason = f"{step.id}: {step.why}"
    tally.compare(function.name, asked, agreed * (not step.imposed), reason, agreed * step.imposed)
    if agreed != asked:
        for at in np.flatnonzero(given & ~match)[:MAX_DIFFERENCES].tolist():
            shown = f"{ret} ({step.id})"
            row = first_row + int(rows[at])
            tally.differ(Difference(function.name, row, int(pfns[at]), str(int(value[at])), shown, 1))
    if outcomes is not None:
        outcomes["check"][rows] = base + check
        outcomes["ret"][rows] = ret
        outcomes["match"][rows] = match
