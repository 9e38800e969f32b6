"""The state space of the lookups: state codes, configurations, and the marks of candidates.

Conditions of lookups ask other lookups, so they are not watched but evaluated over all state codes, for each configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.compare.diagrams import EVERY, Function
from replay.compare.diff_sides import Side
from replay.compare.diff_spaces import Features, Invariant, Space, Variable
from replay.compare.diff_words import WALK_WORDS
from replay.errors import UnknownNameError, UsageError
from replay.kernel.config import KernelConfig, config_for
from replay.kernel.decision import Bools, Check, KernelFunction
from replay.kernel.rules import Mark
from replay.kernel.walk import STATE_BITS, Bit, PgmapState, WalkState
from replay.trace.header import MachineDescription

__all__ = ("ARCHITECTURES", "LookupSpace")

ARCHITECTURES = ("x86_64", "aarch64", "other")  # other: zones have holes, and pfn_valid is the generic one
_OPTIONS = {"vmemmap": "SPARSEMEM_VMEMMAP", "memory_hotplug": "MEMORY_HOTPLUG"}

_INVARIANTS = (
    Invariant({"VALID": (True,), "PRESENT": (False,)}, "a section that is not there has no mem_map"),
    Invariant({"ONLINE": (True,), "VALID": (False,)}, "only sections with a mem_map are brought online"),
    Invariant({"EARLY": (True,), "PRESENT": (False,)}, "flags go with their section"),
    Invariant({"TAINT": (True,), "VALID": (False,)}, "only sections with a mem_map are tainted"),
    Invariant({"SUBSECTION": (True,), "PRESENT": (False,)}, "the subsection map goes with its section"),
    Invariant({"BEYOND": (True,), "PRESENT": (True,)}, "no section lies beyond the section table"),
    Invariant({"BEYOND": (False,), "HIGH": (True,)}, "pfns that lose bits as an address are beyond the section table"),
)
_TELLING = ("ONLINE", "SUBSECTION", "TAINT", "PAGEMAP", "arch", "LIMIT", "HIGH", "BEYOND", "VALID", "PRESENT", "EARLY")


class _Walk(WalkState):
    """States that remember what the lookups answer that other lookups ask."""

    @cached_property
    def pfn_valid(self) -> Bools:
        """What pfn_valid answers for these states."""
        return super().pfn_valid

    @cached_property
    def online_page(self) -> Bools:
        """Whether pfn_to_online_page answers with a page for these states."""
        return super().online_page


class LookupSpace(Space):
    """All states of a pfn in all configurations.

    Args:
        sides: whose marks are states too. A mark that stands for a state field is that field; marks that are alike are one.
    """

    def __init__(self, sides: Sequence[Side]) -> None:
        own = dict.fromkeys(mark for side in sides for mark in side.rules.marks if not mark.same_as)
        self._marks = {mark: STATE_BITS + n for n, mark in enumerate(own)}
        flags = (False, True)
        variables = [Variable("arch", tuple(range(len(ARCHITECTURES))), ("x86_64", "arm64", "zones with holes"))]
        variables += [Variable(n, flags, (f"without {option}", f"with {option}")) for n, option in _OPTIONS.items()]
        variables += [Variable(f"mark {m.name}", flags, (f"not {m.name}", m.name)) for m in reversed(own)]
        for bit in reversed(Bit):
            values = tuple(PgmapState) if bit is Bit.PAGEMAP else flags
            variables.append(Variable(bit.name, values, WALK_WORDS[bit.name]))
        marks = [f"mark {m.name}" for m in own]
        said = ("arch", *_OPTIONS, *(bit.name for bit in Bit), *marks)
        super().__init__(variables, None, _INVARIANTS, telling=(*marks, *_TELLING), said=said)
        self._codes = np.arange(1 << STATE_BITS + len(own), dtype=np.uint16)
        self._found: dict[bytes, Function] = {}
        self._walks: dict[tuple[str, KernelConfig], WalkState] = {}

    def configuration(self, arch: str) -> Function:
        """Return the states of an architecture with the options that it usually has, or of all configurations for "".

        Raises:
            UsageError: there is nothing known of that architecture.
        """
        if not arch:
            return EVERY
        known = {**{name: name for name in ARCHITECTURES}, "arm64": "aarch64"}
        if arch not in known:
            raise UnknownNameError("architecture", arch, known, "there are x86_64, arm64 and other (zones with holes)")
        result = self.literal("arch", [ARCHITECTURES.index(known[arch])])
        for option in _OPTIONS:
            result = self.diagrams.both(self.literal(option, [1]), result)
        return result

    def decide(self, function: KernelFunction[Any], side: Side) -> Function:
        """Return which check of a lookup decides, as numbers of ``checks``."""
        numbers = np.array([self.check_number(check) for check in function.checks], np.int64)
        decided = self._over_configurations(
            lambda states: numbers[function.tabulate(states, self._codes.size, side.features).check], side
        )
        for check in function.checks:
            self._reads[id(check), side.features] = self._asked(check.when, side)
        return decided

    def holds(self, check: Check[Any], side: Side) -> Function:
        """Return the set of the states in which the condition of a check is true, whatever stands before it."""
        shape = self._codes.shape
        return self._over_configurations(
            lambda states: np.broadcast_to(np.asarray(check.when(states)), shape).astype(np.int64), side
        )

    def _over_configurations(self, evaluate: Callable[[WalkState], NDArray[np.int64]], side: Side) -> Function:
        """Return a function of states from its values for all codes in each configuration."""
        arches = []
        for arch in ARCHITECTURES:
            found = {}
            for options in product((False, True), repeat=len(_OPTIONS)):
                found[options] = self._tabled(evaluate(self._walk(side, _config(arch, options, side))))
            inner = [self.diagrams.node(2, (found[first, False], found[first, True])) for first in (False, True)]
            arches.append(self.diagrams.node(1, tuple(inner)))
        return self.diagrams.node(0, tuple(arches))

    def states_of(self, side: Side, config: KernelConfig, arch: str) -> tuple[list[NDArray[np.int64]], bool]:
        """Return the states that the codes of one kernel mean.

        Args:
            side: the kernel; its codes have its own marks.
            config: what it is built with.
            arch: configuration that was compared, "" for all.

        Returns:
            (for each variable its value numbers, one for each code of the kernel; whether these states were compared).
        """
        codes = np.arange(1 << STATE_BITS + len(side.rules.marks), dtype=np.uint16)
        marks = {f"mark {m.name}": STATE_BITS + n for n, m in enumerate(side.rules.marks)}
        own = 1 if config.arch_pfn_valid else 2 if config.holes_in_zone else 0
        if arch in {"aarch64", "arm64"} and not config.holes_in_zone:
            own = 1  # with the generic pfn_valid they are all alike
        fixed = {"arch": own, **{name: int(getattr(config, name)) for name in _OPTIONS}}
        columns = []
        for variable in self.variables:
            if variable.name in fixed:
                columns.append(np.full(codes.size, fixed[variable.name], np.int64))
            else:
                bit = Bit[variable.name] if variable.name in Bit.__members__ else marks.get(variable.name)
                width = 3 if bit is Bit.PAGEMAP else 1
                column = codes >> np.uint16(bit) & np.uint16(width) if bit is not None else np.zeros(codes.size)
                columns.append(np.minimum(column, len(variable.values) - 1).astype(np.int64))
        for n, mark in enumerate(side.rules.marks):
            if mark.same_as:  # the machine of such a kernel does not keep the field itself
                at = self.number[Bit(self._bit_of(mark)).name]
                columns[at] = (codes >> np.uint16(STATE_BITS + n) & np.uint16(1)).astype(np.int64)
        inside = self.diagrams.at(self.configuration(arch), [int(column[0]) for column in columns])
        return columns, bool(inside)

    def _asked(self, when: Any, side: Side) -> frozenset[str]:  # noqa: ANN401 - the condition of a check
        features = Features.watched(side.features)
        for arch in ARCHITECTURES:
            when(WalkState(self._codes[:1], _config(arch, (True, True), side), features, side.rules))
        return frozenset(features.read)

    def _walk(self, side: Side, config: KernelConfig) -> WalkState:
        """Return all states of one kernel in one configuration."""
        key = (side.name, config)
        if key not in self._walks:
            self._walks[key] = _Walk(self._side_codes(side), config, side.features, side.rules)
        return self._walks[key]

    def _side_codes(self, side: Side) -> NDArray[np.uint16]:
        """Return the codes as a side has them: its marks stand above the fields, in its own order."""
        codes = self._codes & np.uint16((1 << STATE_BITS) - 1)
        for n, mark in enumerate(side.rules.marks):
            codes |= (self._codes >> np.uint16(self._bit_of(mark)) & np.uint16(1)) << np.uint16(STATE_BITS + n)
        return codes

    def _bit_of(self, mark: Mark) -> int:
        if not mark.same_as:
            return self._marks[mark]
        if mark.same_as.upper() not in Bit.__members__ or mark.same_as.upper() == "PAGEMAP":
            fields = ", ".join(b.name.lower() for b in Bit if b is not Bit.PAGEMAP)
            raise UsageError(f"mark {mark.name!r} stands for {mark.same_as!r}, which is no field; there are {fields}")
        return int(Bit[mark.same_as.upper()])

    def _tabled(self, values: NDArray[np.int64]) -> Function:
        """Return a function of the state codes; most configurations have it in common."""
        key = values.tobytes()
        if key not in self._found:
            shape = [2] * (len(self._marks) + STATE_BITS - Bit.PAGEMAP - 2) + [4] + [2] * Bit.PAGEMAP
            axis = len(self._marks) + STATE_BITS - Bit.PAGEMAP - 2
            table = values.reshape(shape).take(range(len(PgmapState)), axis)
            first = 1 + len(_OPTIONS)
            self._found[key] = self.diagrams.table(range(first, first + table.ndim), table)
        return self._found[key]


def _config(arch: str, options: Sequence[bool], side: Side) -> KernelConfig:
    config = dict(zip(_OPTIONS.values(), options, strict=True))
    if arch == "other":
        config["HOLES_IN_ZONE"] = True
    machine = MachineDescription(arch, 12, 27, 46, 1 << 27, "", config=config)
    return config_for(machine, side.features)
