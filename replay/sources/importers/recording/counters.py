"""vmstate.txt -> rows: what the counters of poisoned pages said at some moments, and sysctls that have changed."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from replay.trace.poison import Counter, SysctlKey
from replay.trace.schema import EventKind

from .ftrace import Events
from .rows import Order, Row
from .visits import Visit

__all__ = ("Block", "counter_rows", "parse_vmstate", "place_blocks", "sysctl_rows")

_BLOCK = re.compile(r"^== (\S+) uptime=(\d+(?:\.\d+)?)\n((?:(?!== ).*\n?)*)", re.M)
_POISONED = re.compile(r"^HardwareCorrupted:\s*(\d+) kB", re.M)
_NODE = re.compile(r"^\S*/node(\d+)/memory_failure/(\w+)=(\d+)$", re.M)
_SYSCTL = re.compile(r"^(vm\.\w+)=(-?\d+)$", re.M)
_STEP = re.compile(r"STEP (\d+) (begin|end) ")
_SECOND = 1e9  # ns
_EARLY_KILL = "vm.memory_failure_early_kill"
_KEYS = {
    _EARLY_KILL: SysctlKey.EARLY_KILL,
    "vm.memory_failure_recovery": SysctlKey.RECOVERY,
    "vm.enable_soft_offline": SysctlKey.ENABLE_SOFT_OFFLINE,
}
_DEFAULTS = {_EARLY_KILL: 0, "vm.memory_failure_recovery": 1, "vm.enable_soft_offline": 1}
_STATISTICS = {counter.name.lower(): counter for counter in Counter if counter != Counter.POISONED}


@dataclass(frozen=True)
class Block:
    """A block of vmstate.txt.

    Attributes:
        uptime: seconds.
        poisoned: HardwareCorrupted, in pages; None where it is not there.
        nodes: (node, Counter, value).
        sysctls: by name.
    """

    uptime: float
    poisoned: int | None
    nodes: tuple[tuple[int, Counter, int], ...]
    sysctls: dict[str, int]


def parse_vmstate(text: str, page_shift: int) -> list[Block]:
    """Parse vmstate.txt."""
    return [_block(float(uptime), body, page_shift) for _, uptime, body in _BLOCK.findall(text)]


def _block(uptime: float, body: str, page_shift: int) -> Block:
    poisoned = _POISONED.search(body)
    kilobytes = int(poisoned[1]) if poisoned else 0
    if kilobytes >= 1 << 63:  # the kernel prints a negative count as unsigned
        kilobytes -= 1 << 64
    nodes = [(int(n), _STATISTICS[name], int(value)) for n, name, value in _NODE.findall(body) if name in _STATISTICS]
    return Block(
        uptime, kilobytes >> (page_shift - 10) if poisoned else None, tuple(nodes),
        {name: int(value) for name, value in _SYSCTL.findall(body) if name in _KEYS},
    )  # fmt: skip


def place_blocks(events: Events, blocks: list[Block], meta: dict[str, Any]) -> list[tuple[int, Block]]:
    """Return the event after which each block was read.

    meta.json has the uptime at which a step began and ended; the marks of steps have the place in the trace. Only a step
    that ended is in meta.json. What was read during one that never did, as its command hangs, is placed by the clock.
    """
    steps = {step["n"]: step for step in meta.get("steps") or () if isinstance(step, dict) and "n" in step}
    anchors, first, hangs = list[tuple[float, int]](), 0, False
    for at in events.of("tracing_mark_write").tolist():
        text = events.text(at)
        if text.startswith("ARMED"):
            first = at
        found = _STEP.match(text)
        if found and isinstance(uptime := steps.get(int(found[1]), {}).get(found[2]), int | float):
            # A block of the same hundredth of a second is older than a step that begins, younger than one that ends.
            anchors.append((uptime + (0.005 if found[2] == "begin" else 0), at))
            hangs = False
        elif found and found[2] == "begin":
            hangs = True
    times = [uptime for uptime, _ in anchors]
    placed = []
    for block in blocks:
        index = bisect_right(times, block.uptime)
        at = anchors[index - 1][1] if index else first
        if hangs and anchors and index == len(anchors):
            at = max(at, _by_clock(events, anchors, block.uptime))
        placed.append((at, block))
    return placed


def _by_clock(events: Events, anchors: list[tuple[float, int]], uptime: float) -> int:
    """Return the last event before an uptime, by how far the clock of the trace was from it at the anchors."""
    apart = median(known * _SECOND - float(events.time[at]) for known, at in anchors)
    return max(int(np.searchsorted(events.time, uptime * _SECOND - apart, "right")) - 1, 0)


def counter_rows(placed: list[tuple[int, Block]]) -> list[Row]:
    """Return the COUNTERS rows."""
    rows = []
    for at, block in placed:
        if block.poisoned is not None:
            rows.append(_counter(at, {"key": Counter.POISONED, "value": block.poisoned}))
        rows += [_counter(at, {"key": key, "value": value, "node": node}) for node, key, value in sorted(block.nodes)]
    return rows


def _counter(at: int, values: dict[str, int]) -> Row:
    return Row(at, Order.DUMP, EventKind.COUNTERS, values)


def sysctl_rows(placed: list[tuple[int, Block]], visits: list[Visit], start: dict[str, int]) -> list[Row]:
    """Return a SYSCTL row wherever a value differs from the one before.

    Args:
        placed: blocks of vmstate.txt.
        visits: victims, which say what early_kill was.
        start: values at the start.
    """
    seen = [
        (at, Order.DUMP, name, value) for at, block in placed for name, value in sorted(block.sysctls.items())
    ]  # fmt: skip
    seen += [
        (visit.start, Order.STATE, _EARLY_KILL, visit.victim.early_kill)
        for visit in visits
        if visit.victim.early_kill is not None
    ]
    current = _DEFAULTS | start
    rows = []
    for at, order, name, value in sorted(seen, key=lambda one: one[:2]):
        if current.get(name, value) != value:
            rows.append(Row(at, order, EventKind.SYSCTL, {"key": _KEYS[name], "value": value}))
        current[name] = value
    return rows
