"""Which sectors of persistent memory are known to be bad (walk.md 5.7)."""

from __future__ import annotations

from replay.scalar.devices import DeviceRequest, Steps
from replay.scalar.namespaces import INFO
from replay.scalar.ranges import Range, contains, overlaps, round_down, round_out, round_up, subtract
from replay.scalar.state import State
from replay.trace.schema import BadblocksAction

__all__ = ("BadRanges",)

SECTOR = 512
LINE = 64


class BadRanges:
    """The list of one machine, as bytes, whole sectors."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.ranges: list[Range] = []

    def step(self, asked: DeviceRequest) -> Steps:
        """A row about bad ranges."""
        yield from ()
        check = self.verdict(asked)
        start, end = asked.bytes
        if check == "found":
            self.put((start, end))
        elif check == "written":
            self.written((start, end))
        elif check == "cleared":
            self.take((start, end))
        elif check == "granule":
            first = round_down(start, end - start)
            self.put((first, first + end - start))
        elif check == "line":
            self.put((round_up(start, LINE), round_up(start, LINE) + LINE))
        return 0, f"badblocks/{check}"

    def verdict(self, asked: DeviceRequest) -> str:
        """What the row is about."""
        if asked.bytes[0] >= asked.bytes[1]:
            return "nowhere"
        told = {
            BadblocksAction.FOUND: "found",
            BadblocksAction.WRITTEN: "written",
            BadblocksAction.CLEARED: "cleared",
        }
        if asked.key in told:
            return told[BadblocksAction(asked.key)]
        address = (asked.bytes[0], asked.bytes[0] + 1)
        regions = [e for e in self.state.resources.root.descendants() if e.name == "Persistent Memory"]
        if not any(contains(region.range, address) for region in regions):
            return "elsewhere"
        return "granule" if self.state.has("pmem-error-granularity") else "line"

    def put(self, span: Range) -> None:
        """Every sector that the bytes touch is bad."""
        whole = round_out(span, SECTOR)
        self.ranges = [*(left for old in self.ranges for left in subtract(old, [whole])), whole]

    def take(self, span: Range) -> None:
        """No sector wholly in the bytes is bad any more."""
        whole = (round_up(span[0], SECTOR), round_down(span[1], SECTOR))
        self.ranges = [left for old in self.ranges for left in subtract(old, [whole])]

    def written(self, span: Range) -> None:
        """A write restores the pages that it covers and that have a bad sector, and clears the sectors."""
        page = self.state.resources.page
        if self.state.has("clear-error-restores"):
            first, last = round_up(span[0], page), round_down(span[1], page)
            for bad in self.ranges:
                low, high = max(first, round_down(bad[0], page)), min(last, round_up(bad[1], page))
                if low < high:
                    self.state.poison.pages.clear((low // page, high // page))
        self.take(span)

    def in_info_block(self, start: int) -> bool:
        """Whether a namespace that begins here cannot read its info block."""
        block = (start + INFO // 2, start + INFO)
        return any(overlaps(bad, block) for bad in self.ranges)
