"""Counting calls about devices: what was decided on the way, and whether drivers ask for what the recorded ones did."""

from __future__ import annotations

from typing import Any

from replay.engine.tally import DRIVER_CALLS, Difference, Tally
from replay.kernel.dax_rules import Step
from replay.kernel.decision import KernelFunction
from replay.kernel.device_calls import DeviceCall
from replay.kernel.registry import DEVICE_FUNCTIONS

__all__ = ("compare_asked", "count_steps")


def count_steps(tally: Tally, call: DeviceCall) -> Step:
    """Count all decisions of a finished call but the last, which is its verdict; return that.

    Calls that it made are counted if no row told of them; those of rows are counted with their rows.
    """
    for made in call.own:
        _decided(tally, made.kernel.function(made.function), made.check, made.ret)
    *before, last = (step for step in call.steps if step.function in DEVICE_FUNCTIONS)
    for step in before:
        _decided(tally, step.function, step.index, step.ret)
    return last


def _decided(tally: Tally, function: KernelFunction[Any], check: int, ret: int) -> None:
    step = function.checks[check]
    tally.decided(function.name, step.id, str(ret) if step.imposed else step.answer.name, 1)


def compare_asked(tally: Tally, row: int, pfn: int, asked: tuple[str, str]) -> None:
    """Hold what a driver of the replayed kernel asks for against the call that the recorded one made, both in words."""
    recorded, replayed = asked
    tally.compare(DRIVER_CALLS, 1, int(recorded == replayed))
    if recorded != replayed:
        tally.differ(Difference(DRIVER_CALLS, row, pfn, recorded, replayed, 1))
