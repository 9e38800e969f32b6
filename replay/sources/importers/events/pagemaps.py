"""Pagemaps that must have been there: the kernel reports a dax page only for a page of one, and nobody tells which."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from replay.machine.geometry import Geometry
from replay.trace.header import MachineDescription
from replay.trace.schema import EventKind

from .device_ranges import DeviceRange, device_ranges

__all__ = ("ABSENT", "UNKNOWN", "AssumedRow", "PagemapEvidence")

ABSENT, UNKNOWN = 0, -1  # no pagemap, and one that the input does not tell from others
_MAX_RUNS = 1 << 18
_MAX_PAGEMAPS = 1 << 16
_MAX_WORK = 1 << 26
_Ints = npt.NDArray[np.int64]


class AssumedRow(NamedTuple):
    """A row that nothing in the input says, but that follows from what it says.

    Attributes:
        before: index of the row that it stands in front of.
        kind: MEMREMAP_PAGES or MEMUNMAP_PAGES.
        values: its columns.
    """

    before: int
    kind: EventKind
    values: dict[str, int]


class _Life(NamedTuple):
    """From which row on (-1: from the beginning) and up to which one (None: to the end) there was a pagemap."""

    since: int
    until: int | None


class _Mapped(NamedTuple):
    start: int
    end: int
    life: _Life
    pagemap: int
    values: Mapping[str, int]


_ALWAYS = _Life(-1, None)
_Lives = dict[int, list[tuple[_Life, int]]]  # by subsection: lives, each with its pagemap


@dataclass
class PagemapEvidence:
    """What an input says of pagemaps, by subsection: from which row on there was one, or none.

    Args:
        shift: log2 of the pages of a subsection.
    """

    shift: int
    _runs: dict[int, list[tuple[int, int]]] = field(default_factory=dict)  # by subsection: row, pagemap
    _count: int = 0
    _left_out: int = 0
    _work: int = 0

    def add(self, row: _Ints, pfn: _Ints, pagemap: _Ints) -> None:
        """Take what rows say, in their order; -1 as a row stands for the beginning.

        Args:
            row: indices of the rows.
            pfn: the pages.
            pagemap: id of the pagemap that each is in, UNKNOWN for one without an id, ABSENT for none.
        """
        number = pfn >> self.shift
        order = np.argsort(number, kind="stable")
        row, number, pagemap = row[order], number[order], pagemap[order]
        changes = np.ones(len(row), bool)
        changes[1:] = (number[1:] != number[:-1]) | (pagemap[1:] != pagemap[:-1])
        for at in np.flatnonzero(changes).tolist():
            self._change(int(number[at]), int(row[at]), int(pagemap[at]))

    def _change(self, number: int, row: int, pagemap: int) -> None:
        runs = self._runs.get(number, [])
        last = runs[-1][1] if runs else None
        if pagemap == last or (pagemap == UNKNOWN and last):
            return
        if last == UNKNOWN and pagemap > 0:
            runs[-1] = runs[-1][0], pagemap  # now it is known which one it is
        elif self._count < _MAX_RUNS:
            self._runs.setdefault(number, []).append((row, pagemap))
            self._count += 1
        else:
            self._left_out += 1

    def end(self, row: int, start: int, end: int) -> None:
        """Take that from a row on, nothing that was in these pages before is there."""
        first, last = start >> self.shift, -(-end >> self.shift)
        fewer = range(first, last) if last - first < len(self._runs) else self._runs
        self._work += len(fewer)
        if self._work > _MAX_WORK:  # no machine makes so many pagemaps
            self._left_out += 1
            return
        for number in [number for number in fewer if first <= number < last and number in self._runs]:
            self._change(number, row, ABSENT)

    def spans(self) -> list[tuple[int, int]]:
        """Return the subsections in which there ever was a pagemap, as ranges of pfns, ascending."""
        size = 1 << self.shift
        return [
            (number * size, (number + 1) * size)
            for number, runs in sorted(self._runs.items())
            if any(pagemap != ABSENT for _, pagemap in runs)
        ]

    def rows(
        self, machine: MachineDescription, devices: Mapping[str, str], used: int = 0, told: frozenset[int] = frozenset(),
        unmade: Sequence[tuple[int, int, int]] = (),
    ) -> tuple[list[AssumedRow], str]:  # fmt: skip
        """Return the pagemaps as rows, ascending by where they stand, and a note about what is assumed; "" for nothing.

        A pagemap is there for as long as no row says that there is none. It holds whole subsections: those that rows
        speak of, and where a device of the machine is around them, those of the device that no row speaks of.

        Args:
            machine: boot memory is no pagemap's; its resources tell of devices.
            devices: what ndctl and daxctl said of each, as in the provenance of a machine.
            used: the largest id of a pagemap in the trace.
            told: ids of pagemaps that other rows make or remove; they may be found a little before that.
            unmade: id and range (pfns) of each pagemap that the trace removes and never makes.
        """
        lives, left_out = self._lives(machine, told)
        mapped, numbers = [], list(lives)
        for pagemap, start, end in unmade:
            for number in self._within(numbers, start, end):
                lives[number] = [(life, found) for life, found in lives[number] if life.since != -1]
            mapped.append(_Mapped(start, end, _ALWAYS, pagemap, {}))
        for device in device_ranges(machine, devices):
            mapped += self._of_device(device, lives, self._within(numbers, device.start, device.end))
        mapped += self._of_ids(lives)
        mapped += self._of_subsections(lives)
        if len(mapped) > _MAX_PAGEMAPS:
            left_out, mapped = left_out + sum(1 for own in lives.values() if own), []
        note = self._note(len(mapped), left_out + self._left_out)
        return _as_rows(mapped, used), note

    def _note(self, mapped: int, left_out: int) -> str:
        notes = []
        if mapped:
            notes.append(
                f"{mapped:,} pagemaps are assumed around pages that the kernel took for pages of one (whole subsections "
                f"of {1 << self.shift} pages, or all of a device that the machine has there)"
            )
        if left_out:
            notes.append(
                f"for {left_out:,} subsections with such pages no pagemap can be assumed (boot memory, or too many of "
                "them): a replay finds none there"
            )
        return "; ".join(notes)

    def _lives(self, machine: MachineDescription, told: frozenset[int]) -> tuple[_Lives, int]:
        """Return when there was a pagemap, by subsection; and how many subsections cannot have one."""
        end, left_out = Geometry.of(machine).max_pfns, 0
        found: _Lives = {}
        for number, runs in sorted(self._runs.items()):
            until = [row for row, _ in runs[1:]] + [None]
            lives = [
                (_Life(row if index else -1, last), pagemap)
                for index, ((row, pagemap), last) in enumerate(zip(runs, until, strict=True))
                if pagemap != ABSENT and pagemap not in told
            ]
            low, high = number << self.shift, (number + 1) << self.shift
            if lives and (high > end or any(low < part.end and part.start < high for part in machine.memory)):
                left_out += 1
            else:
                found[number] = lives
        return found, left_out

    def _within(self, numbers: list[int], start: int, end: int) -> list[int]:
        """Return those of some ascending subsections that lie in a range of pfns."""
        return numbers[bisect_left(numbers, start >> self.shift) : bisect_left(numbers, -(-end >> self.shift))]

    def _of_device(self, device: DeviceRange, lives: _Lives, inside: list[int]) -> Iterator[_Mapped]:
        """Yield the pagemap of a device that was there all the time, and take its subsections out of the others."""
        first, end = device.start >> self.shift, -(-device.end >> self.shift)
        own = [number for number in inside if number in lives]
        always = [number for number in own if lives[number] == [(_ALWAYS, UNKNOWN)]]
        data = (device.start + device.metadata) >> self.shift
        if not always or any(number >= data and number not in always for number in own):
            return
        for number in own:
            del lives[number]
        yield _Mapped(first << self.shift, end << self.shift, _ALWAYS, UNKNOWN, device.values)

    def _of_ids(self, lives: _Lives) -> Iterator[_Mapped]:
        """Yield what has an id: one range, for as long as any part of it was there."""
        parts: dict[int, list[tuple[int, _Life]]] = {}
        for number, own in lives.items():
            for life, pagemap in own:
                if pagemap != UNKNOWN:
                    parts.setdefault(pagemap, []).append((number, life))
        for pagemap, found in sorted(parts.items()):
            numbers = [number for number, _ in found]
            ends = [life.until for _, life in found if life.until is not None]
            life = _Life(min(life.since for _, life in found), max(ends) if len(ends) == len(found) else None)
            yield _Mapped(min(numbers) << self.shift, (max(numbers) + 1) << self.shift, life, pagemap, {})

    def _of_subsections(self, lives: _Lives) -> Iterator[_Mapped]:
        """Yield what has no id: one for each run of subsections of the same life."""
        open_: dict[_Life, tuple[int, int]] = {}  # first subsection, the one after the last
        for number, own in lives.items():
            for life in (life for life, pagemap in own if pagemap == UNKNOWN):
                first, end = open_.get(life, (number, number))
                if end != number:
                    yield _Mapped(first << self.shift, end << self.shift, life, UNKNOWN, {})
                    first = number
                open_[life] = first, number + 1
        for life, (first, end) in open_.items():
            yield _Mapped(first << self.shift, end << self.shift, life, UNKNOWN, {})


def _as_rows(mapped: list[_Mapped], used: int) -> list[AssumedRow]:
    rows, fresh = [], max((pagemap.pagemap for pagemap in mapped), default=0)
    fresh = max(fresh, used)
    for start, end, life, pagemap, values in sorted(mapped, key=lambda m: (m.life.since, m.start)):
        if pagemap == UNKNOWN:
            pagemap = fresh = fresh + 1  # noqa: PLW2901
        own = {"pfn": start, "nr_pages": end - start, "pgmap": pagemap, **values}
        rows.append(AssumedRow(max(life.since, 0), EventKind.MEMREMAP_PAGES, own))
        if life.until is not None:
            rows.append(AssumedRow(life.until, EventKind.MEMUNMAP_PAGES, {"pgmap": pagemap}))
    # Where one goes and another one comes, the first goes before.
    return sorted(rows, key=lambda row: (row.before, row.kind != EventKind.MEMUNMAP_PAGES))
