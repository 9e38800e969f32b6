"""Poison calls as the replayed kernel would have logged them: dmesg lines, or lines of the tracepoint."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from replay.engine.poison_call import Decided
from replay.engine.poison_signals import SIGKILL
from replay.kernel.poison_lines import action_line, kill_line, trace_payload
from replay.kernel.poison_types import ActionType
from replay.kernel.profiles import Profile
from replay.session import CallLog
from replay.trace.poison import NO_ACTION, ActionResult
from replay.trace.schema import EventKind

__all__ = ("dmesg_lines", "log_printer", "trace_lines")


def dmesg_lines(call: Decided, features: frozenset[str], names: Sequence[str]) -> Iterator[str]:
    """Yield the lines that a kernel with these features prints for a call, signals first.

    Args:
        call: a decided call.
        features: of the replayed kernel.
        names: strings of the trace; a task without a name is called "task".
    """
    if call.kind is not EventKind.MEMORY_FAILURE or call.undecided:
        return
    for sent in call.signals:
        label = call.names.get(sent.task)
        name = "task" if label is None else names[label]
        yield kill_line(features, call.pfn, name, sent.task, forced=sent.signal == SIGKILL)
    if call.action != NO_ACTION:
        yield action_line(features, call.pfn, ActionType(call.action), ActionResult(call.result))


def trace_lines(call: Decided) -> Iterator[str]:
    """Yield the tracepoint line of a call, with its time in seconds as in a trace."""
    if call.undecided or call.action == NO_ACTION:
        return
    payload = trace_payload(call.pfn, ActionType(call.action), ActionResult(call.result))
    yield f"{(call.cell('time') or 0) // 1000 / 1e6:14.6f}: memory_failure_event: {payload}"


def log_printer(form: str) -> CallLog:
    """Return a function that prints the lines of each call it is told; ``form`` is "dmesg" or "trace"."""

    def log(kernel: Profile, names: Sequence[str], call: Decided) -> None:
        lines = dmesg_lines(call, kernel.features, names) if form == "dmesg" else trace_lines(call)
        for line in lines:
            sys.stdout.write(line + "\n")

    return log
