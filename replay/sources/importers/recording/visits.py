"""Which line of victims.jsonl a traced call belongs to: by the VICTIM marks around it, its pfn and its task."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

from .calls import Call
from .ftrace import Events
from .victims import Victim

__all__ = ("Joined", "Phase", "Visit", "visits")

_MARK = re.compile(r"VICTIM id=(\d+) (begin|injected|again begin|again end|touch|unpoison begin|unpoison end|end)\b")


class Phase(Enum):
    """Which of its injections a call of a victim is."""

    INJECT = "inject"
    AGAIN = "again"
    UNPOISON = "unpoison"


@dataclass
class Visit:
    """A victim and what the trace holds about it.

    Attributes:
        victim: the line.
        marks: event index by mark.
        tool: pid of the tool that wrote the marks.
        calls: its calls, in order.
    """

    victim: Victim
    marks: dict[str, int]
    tool: int
    calls: list[tuple[Call, Phase]] = field(default_factory=list)

    @property
    def start(self) -> int:
        """The event before which everything about the victim holds."""
        return min([self.marks["begin"], *(call.begin for call, _ in self.calls)])

    @property
    def gone(self) -> int:
        """The event by which its processes have exited."""
        return self.marks.get("unpoison begin", self.marks["end"])


Joined = dict[int, tuple[Visit, Phase]]  # by the entry event of a call


def visits(events: Events, victims: list[Victim], calls: list[Call]) -> tuple[list[Visit], Joined]:
    """Join victims, marks and calls.

    Args:
        events: the trace.
        victims: lines of victims.jsonl.
        calls: the calls of ``POISON_CALLS``.

    Returns:
        The victims that have marks, in order, and victim and phase by the entry event of a call.
    """
    marks: dict[int, dict[str, int]] = {}
    tools: dict[int, int] = {}
    for at in events.of("tracing_mark_write").tolist():
        if found := _MARK.match(events.text(at)):
            marks.setdefault(int(found[1]), {})[found[2]] = at
            tools[int(found[1])] = int(events.pid[at])
    result = [
        Visit(victim, marks[victim.number], tools[victim.number])
        for victim in victims
        if {"begin", "end"} <= marks.get(victim.number, {}).keys()
    ]
    by_pfn: dict[int, list[Visit]] = {}
    for visit in result:
        by_pfn.setdefault(visit.victim.pfn, []).append(visit)
    joined: Joined = {}
    for call in calls:
        for visit in by_pfn.get(call.given["pfn"], ()):
            if _belongs(events, call, visit):
                joined[call.begin] = visit, _phase(call, visit)
                visit.calls.append((call, joined[call.begin][1]))
                break
    return result, joined


def _belongs(events: Events, call: Call, visit: Visit) -> bool:
    victim = visit.victim
    mine = victim.facts.by_machine or call.pid == visit.tool
    if not mine and all(call.pid != sharer.pid for sharer in victim.sharers):
        return False
    # A mark of another cpu may stand after the call although it was written before: then their times are equal.
    begin, end = visit.marks["begin"], visit.marks["end"]
    return (begin < call.begin or events.time[begin] == events.time[call.begin]) and call.begin < end


def _phase(call: Call, visit: Visit) -> Phase:
    if visit.victim.raw:
        return Phase.INJECT
    if call.name == "unpoison_memory":
        return Phase.UNPOISON
    return Phase.AGAIN if call.begin > visit.marks.get("again begin", call.begin) else Phase.INJECT
