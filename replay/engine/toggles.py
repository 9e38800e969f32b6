"""Toggles: transitions that only flip section flags and block states, learned once and then looked up.

Onlining and offlining the same memory blocks over and over asks the kernel's checks the same questions. A *cell* is a range
of sections that such requests touch; its state is the flags of its sections and the states of its blocks. What a request
does to a cell in a state is found out by carrying it out on the machine, once, and remembered as a *step*: verdict and next
state. What else these calls look at is changed by other kinds of rows only, and those make all steps forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from replay.engine.transitions import Transitions
from replay.kernel.registry import CALLS
from replay.machine.machine import Machine
from replay.trace.schema import EventKind

__all__ = ("TOGGLES", "Changes", "Key", "Step", "Toggles")

TOGGLES = frozenset(kind for kind, call in CALLS.items() if call.toggles)

Key: TypeAlias = tuple[int, int, int, int]  # kind, first pfn, pages, env
_MAX_SECTIONS = 256  # of a cell; larger ones have too many states to be worth remembering
_State: TypeAlias = tuple[tuple[int, ...], tuple[bool | None, ...]]  # flags of the sections, states of the blocks


@dataclass(frozen=True)
class Step:
    """What a request does to a cell in one state.

    Attributes:
        kind: of the request.
        check: index of the deciding check.
        ret: return code.
        next: number of the state afterwards.
        sections: those whose flags change.
        flags: their flags afterwards.
    """

    kind: EventKind
    check: int
    ret: int
    next: int
    sections: tuple[int, ...]
    flags: tuple[int, ...]


@dataclass(frozen=True)
class Changes:
    """Changes of section flags, in the order of the rows.

    Attributes:
        rows: row within the batch at which each was made, int64, ascending.
        sections: section numbers, int64.
        flags: SectionFlags afterwards, uint8.
    """

    rows: NDArray[np.int64]
    sections: NDArray[np.int64]
    flags: NDArray[np.uint8]

    def final(self) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Return the sections that changed, ascending, and the flags that each has in the end."""
        sections, last = np.unique(self.sections[::-1], return_index=True)
        return sections, self.flags[::-1][last]


class _Cell:
    """Sections ``[low, high)`` and their blocks; ``put`` is the number of the state that the machine has them in."""

    def __init__(self, low: int, high: int, blocks: range) -> None:
        self.low, self.high, self.blocks, self.put = low, high, blocks, -1
        self.states: list[_State] = []
        self._numbers: dict[_State, int] = {}

    def number(self, state: _State) -> int:
        """Return the number of a state."""
        found = self._numbers.setdefault(state, len(self.states))
        if found == len(self.states):
            self.states.append(state)
        return found


class Toggles:
    """Carries out toggles of one machine.

    Args:
        machine: the memory.
        transitions: carries out a request that is not known yet.
    """

    def __init__(self, machine: Machine, transitions: Transitions) -> None:
        self.machine = machine
        self._transitions = transitions
        self.forget()

    def forget(self) -> None:
        """Forget everything: something was changed that verdicts may depend on."""
        self.steps: list[Step] = []
        self._cells: list[_Cell] = []
        self._known: dict[Key, tuple[int, list[int]]] = {}  # cell, and number of the step by state, -1 where unknown
        self._now: list[int] = []
        self._stale = False

    def moved(self) -> None:
        """Toggles were carried out by somebody else: steps hold, but the cells may be in other states."""
        self._stale = True

    def walk(self, keys: list[Key]) -> list[int] | None:
        """Carry out requests in this order; return the number of each one's step, None if they are too entangled."""
        numbers: dict[Key, int] = {}
        which = [numbers.setdefault(key, len(numbers)) for key in keys]  # a key takes long to look up
        if not self._meet(set(numbers)):
            return None
        requests = [(key, *self._known[key]) for key in numbers]
        now, steps = self._now, self.steps
        taken: list[int] = []
        for number in which:
            key, cell, by_state = requests[number]
            state = now[cell]
            step = by_state[state] if state < len(by_state) else -1
            if step < 0:
                step = self._learn(key, cell, state)
            now[cell] = steps[step].next
            taken.append(step)
        self._settle()
        return taken

    def changes(self, rows: NDArray[np.int64], taken: NDArray[np.int64]) -> Changes:
        """Return what steps taken at these rows changed."""
        counts = np.array([len(s.sections) for s in self.steps], np.int64)
        sections = np.array([n for s in self.steps for n in s.sections], np.int64)
        flags = np.array([n for s in self.steps for n in s.flags], np.uint8)
        each = counts[taken]
        total = int(each.sum())
        first = np.cumsum(counts) - counts
        within = np.arange(total) - np.repeat(np.cumsum(each) - each, each)
        at = np.repeat(first[taken], each) + within
        return Changes(np.repeat(rows, each), sections[at], flags[at])

    def verdicts(self, taken: NDArray[np.int64]) -> Iterator[tuple[tuple[EventKind, int, int], NDArray[np.int64]]]:
        """Yield (kind, check, return code) and which of the steps taken have that verdict."""
        numbers: dict[tuple[EventKind, int, int], int] = {}
        by_step = [numbers.setdefault((s.kind, s.check, s.ret), len(numbers)) for s in self.steps]
        verdict = np.array(by_step)[taken]
        for key, number in numbers.items():
            which = np.flatnonzero(verdict == number)
            if which.size:
                yield key, which

    def _meet(self, keys: set[Key]) -> bool:
        """Make cells for requests not heard of; return False if that cannot be done."""
        new = [key for key in keys if key not in self._known]
        if new and not self._add(new):
            old = list(self._known)
            self.forget()
            if not self._add([*old, *new]):
                return False
        if self._stale:
            self._now = [self._look(cell) for cell in self._cells]
            self._stale = False
        return True

    def _add(self, keys: Iterable[Key]) -> bool:
        """Add cells for requests, unless one would overlap a cell that is there."""
        spans = {key: self._span(key) for key in keys}
        merged: list[list[int]] = []
        for low, high in sorted(set(spans.values())):
            if merged and low < merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], high)
            else:
                merged.append([low, high])
        if any(high - low > _MAX_SECTIONS for low, high in merged):
            return False
        there = {(cell.low, cell.high): number for number, cell in enumerate(self._cells)}
        fresh = [(low, high) for low, high in merged if (low, high) not in there]
        if any(low < cell.high and cell.low < high for low, high in fresh for cell in self._cells):
            return False
        for low, high in fresh:
            there[low, high] = len(self._cells)
            section = self.machine.geometry.section_shift
            blocks = self.machine.block_numbers(low << section, high << section)
            self._cells.append(_Cell(low, high, blocks))
            self._now.append(self._look(self._cells[-1]))
        lows = np.array([low for low, _ in merged])
        for key, (low, _) in spans.items():
            span = merged[int(np.searchsorted(lows, low, "right")) - 1]
            self._known[key] = there[span[0], span[1]], []
        return True

    def _span(self, key: Key) -> tuple[int, int]:
        """Return the sections that a request touches, with those of its blocks."""
        _, start, pages, _ = key
        m, shift = self.machine, self.machine.geometry.section_shift
        blocks = m.block_numbers(start, start + pages)
        low = min(start, blocks.start * m.geometry.pages_per_block) >> shift
        high = max(start + pages, blocks.stop * m.geometry.pages_per_block) - 1 >> shift
        return low, max(high, low) + 1

    def _look(self, cell: _Cell) -> int:
        """Return the number of the state that the machine has a cell in."""
        m = self.machine
        flags = tuple(m.sections.flags(section) for section in range(cell.low, cell.high))
        cell.put = cell.number((flags, tuple(m.blocks.get(block) for block in cell.blocks)))
        return cell.put

    def _put(self, cell: _Cell, state: int) -> None:
        """Put the machine's sections and blocks of a cell into a state; the state codes are the caller's business."""
        if cell.put == state:
            return
        cell.put = state
        flags, blocks = cell.states[state]
        for section, value in zip(range(cell.low, cell.high), flags, strict=True):
            self.machine.sections.reflag(section, value)
        for block, online in zip(cell.blocks, blocks, strict=True):
            if online is not None:
                self.machine.blocks[block] = online

    def _learn(self, key: Key, number: int, state: int) -> int:
        """Carry out a request in a state in which it was not met yet, and remember what it did."""
        cell = self._cells[number]
        self._put(cell, state)
        touched, self.machine.touched = self.machine.touched, []
        kind, pfn, pages, env = key
        call = self._transitions.carry_out(EventKind(kind), {"pfn": pfn, "nr_pages": pages, "env": env}.get)
        self.machine.touched = touched
        assert call is not None
        after = self._look(cell)
        old, new = cell.states[state][0], cell.states[after][0]
        changed = [i for i in range(len(old)) if old[i] != new[i]]
        sections, flags = tuple(cell.low + i for i in changed), tuple(new[i] for i in changed)
        self.steps.append(Step(EventKind(kind), call.check, call.ret, after, sections, flags))
        by_state = self._known[key][1]
        by_state.extend([-1] * (state + 1 - len(by_state)))
        by_state[state] = len(self.steps) - 1
        return len(self.steps) - 1

    def _settle(self) -> None:
        """Put the machine into the state that the cells are in."""
        for cell, state in zip(self._cells, self._now, strict=True):
            self._put(cell, state)
