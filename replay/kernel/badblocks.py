"""Bad ranges of persistent memory: how they become known, and how they go (walk semantics 5.7).

The bus of nvdimm keeps one list for all its regions, in sectors of 512 bytes. What drivers copy of it is not modelled.
"""

from __future__ import annotations

from dataclasses import dataclass

from replay.kernel.calls import always, fact, ok
from replay.kernel.dax import Outcome, Plan
from replay.kernel.dax_rules import decide
from replay.kernel.decision import Answer, Bools, Check, KernelFunction
from replay.kernel.device_calls import DeviceCall
from replay.machine.machine import Machine
from replay.trace.schema import BadblocksAction

__all__ = ("BADBLOCKS", "SECTOR", "BadblocksCall", "BadblocksFacts", "has_bad", "strike")

SECTOR = 512
_LINE = 64  # bytes that an error was taken to spoil before the hardware's word counted
_REGION = "Persistent Memory"  # what the driver of the firmware's table calls its regions


@dataclass(frozen=True)
class BadblocksFacts:
    """A row about bad ranges: it names no bytes; they were found, written to, cleared; no region of the NFIT has them."""

    nowhere: Bools
    found: Bools
    written: Bools
    cleared: Bools
    elsewhere: Bools


_ignored = Answer("ignored", 0)

BADBLOCKS: KernelFunction[BadblocksFacts] = KernelFunction(
    "badblocks",
    (
        Check("nowhere", lambda s: s.nowhere, _ignored, why="the row names no bytes"),
        Check("found", lambda s: s.found, ok, why="a scan found them; their sectors are listed"),
        Check("written", lambda s: s.written, ok, why="a write clears the bad sectors that it covers, and their pages"),
        Check("cleared", lambda s: s.cleared, ok, why="the command clears the sectors; no page is looked at"),
        Check("elsewhere", lambda s: s.elsewhere, _ignored, why="only regions of the NFIT are looked through"),
        Check("granule", always, ok, needs=("pmem-error-granularity",), why="what the hardware says is listed"),
        Check("line", always, ok, why="one cache line is listed, from the next one on if the address is within one"),
    ),
)


class BadblocksCall(DeviceCall):
    """Something became known, or was done, about bad ranges."""

    function = BADBLOCKS

    def plan(self) -> Plan:
        """Decide, and change the list."""
        yield from ()  # it makes no other calls
        r, m = self.request, self.machine
        action, start, end = BadblocksAction(r.key), r.first_byte, r.last_byte + 1
        facts = BadblocksFacts(
            nowhere=fact(end <= start),
            found=fact(action is BadblocksAction.FOUND),
            written=fact(action is BadblocksAction.WRITTEN),
            cleared=fact(action is BadblocksAction.CLEARED),
            elsewhere=fact(action is BadblocksAction.REPORTED and not _in_region(m, start)),
        )
        check, step = decide(BADBLOCKS, facts, self.kernel)
        if check == "found":
            _list(m, start, end)
        elif check == "written":
            if self.kernel.has("clear-error-restores"):
                _restore_pages(m, start, end)
            strike(m, start, end)
        elif check == "cleared":
            strike(m, start, end)
        elif check == "granule":
            size = end - start
            _list(m, start // size * size, start // size * size + size)
        elif check == "line":
            line = -(-start // _LINE) * _LINE
            _list(m, line, line + _LINE)
        return Outcome(step.ret, (step,))


def has_bad(machine: Machine, start: int, end: int) -> bool:
    """Return whether any sector of bytes ``[start, end)`` is listed."""
    return machine.badblocks.overlaps(start // SECTOR, -(-end // SECTOR))


def strike(machine: Machine, start: int, end: int) -> None:
    """Take the sectors that lie wholly in bytes ``[start, end)`` off the list."""
    first, after = -(-start // SECTOR), end // SECTOR
    if first < after:
        machine.badblocks.clear(first, after)


def _list(machine: Machine, start: int, end: int) -> None:
    """Put the sectors that bytes ``[start, end)`` touch on the list."""
    machine.badblocks.assign(start // SECTOR, -(-end // SECTOR), 1)


def _restore_pages(machine: Machine, start: int, end: int) -> None:
    """Take HWPoison off the pages wholly within the bytes written that have a bad sector; nothing is counted."""
    shift = machine.geometry.page_shift
    first, after = -(-start >> shift), end >> shift
    if first >= after:
        return
    per_page = (1 << shift) // SECTOR
    for low, high, _ in machine.badblocks.within(first * per_page, after * per_page):
        machine.pages.clear(max(low // per_page, first), min(-(-high // per_page), after))


def _in_region(machine: Machine, address: int) -> bool:
    return any(node.name == _REGION and node.contains(address, address) for _, node in machine.resources.walk())
