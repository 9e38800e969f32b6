"""The lookups: pfn_valid, pfn_to_online_page, get_dev_pagemap, pgmap_pfn_valid, and what kpageflags shows.

State of a pfn, packed into a state code of 16 bits; code 0 is an absent section within the table. Source: walk semantics
sections 1 to 3, read in v4.18 to v7.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from replay.kernel.config import KernelConfig
from replay.kernel.decision import Answer, Bools, Check, Decisions, KernelFunction
from replay.kernel.rules import BUILT_IN, Mark, Rules

__all__ = (
    "GET_DEV_PAGEMAP",
    "KPAGEFLAGS",
    "LOOKUP_FUNCTIONS",
    "MAX_MARKS",
    "PFN_TO_ONLINE_PAGE",
    "PFN_VALID",
    "STATE_BITS",
    "Bit",
    "PgmapState",
    "WalkState",
    "takes_slow_path",
    "truly_online",
)


class Bit(IntEnum):
    """Position of each field in the state code."""

    BEYOND = 0  # section number >= NR_MEM_SECTIONS
    HIGH = 1  # pfn bits that do not survive the shift to a physical address and back
    PRESENT = 2
    VALID = 3  # has a mem_map
    ONLINE = 4
    EARLY = 5
    TAINT = 6
    SUBSECTION = 7  # the subsection map bit
    PAGEMAP = 8  # two bits, PgmapState
    MEMBLOCK = 10  # in memblock.memory and mapped
    RAM = 11  # a System RAM resource covers the whole page
    LIMIT = 12  # at or beyond the end of /proc/kpageflags


STATE_BITS = 13
MAX_MARKS = 2  # of a candidate; the highest bit of a code is not free


class PgmapState(IntEnum):
    """What the pagemap index holds for a pfn."""

    NONE = 0
    LIVE = 1
    DYING = 2  # still in the index, reference killed


@dataclass(frozen=True)
class WalkState:
    """Fields of state codes, as boolean arrays of the same shape; ``config`` is the same for all of them.

    Attributes:
        code: state codes, uint16.
        config: of the kernel.
        features: of the kernel; only to evaluate functions that call each other.
        rules: what a candidate changed; its marks stand above STATE_BITS in the code.
    """

    code: NDArray[np.uint16]
    config: KernelConfig
    features: frozenset[str] = frozenset()
    rules: Rules = BUILT_IN

    def _bit(self, bit: Bit) -> Bools:
        return np.asarray(self.code & (1 << bit) != 0)

    @property
    def beyond(self) -> Bools:
        """Section number not below NR_MEM_SECTIONS."""
        return self._bit(Bit.BEYOND)

    @property
    def high(self) -> Bools:
        """High pfn bits are lost in the physical address."""
        return self._bit(Bit.HIGH)

    @property
    def present(self) -> Bools:
        """Section flag: present."""
        return self._bit(Bit.PRESENT)

    @property
    def valid(self) -> Bools:
        """Section flag: has a mem_map."""
        return self._bit(Bit.VALID)

    @property
    def online(self) -> Bools:
        """Section flag: online."""
        return self._bit(Bit.ONLINE)

    @property
    def early(self) -> Bools:
        """Section flag: early."""
        return self._bit(Bit.EARLY)

    @property
    def taint(self) -> Bools:
        """Section flag: tainted by ZONE_DEVICE."""
        return self._bit(Bit.TAINT)

    @property
    def subsection(self) -> Bools:
        """Subsection map bit; always set where there is no map (no VMEMMAP)."""
        return self._bit(Bit.SUBSECTION) | (not self.config.vmemmap)

    @property
    def pagemap(self) -> NDArray[np.uint16]:
        """PgmapState of the index entry."""
        return np.asarray(self.code >> Bit.PAGEMAP & 3, np.uint16)

    @property
    def pagemap_live(self) -> Bools:
        """get_dev_pagemap would return a pagemap."""
        return np.asarray(self.pagemap == PgmapState.LIVE)

    @property
    def memblock(self) -> Bools:
        """In mapped boot or hot-added memory."""
        return self._bit(Bit.MEMBLOCK)

    @property
    def ram(self) -> Bools:
        """Covered by System RAM."""
        return self._bit(Bit.RAM)

    @property
    def limit(self) -> Bools:
        """At or beyond the end of /proc/kpageflags."""
        return self._bit(Bit.LIMIT)

    @property
    def pfn_valid(self) -> Bools:
        """What pfn_valid answers for these states."""
        function = self.rules.function(PFN_VALID)
        return np.asarray(function.tabulate(self, self.code.size, self.features).value == 1)

    @property
    def online_page(self) -> Bools:
        """Whether pfn_to_online_page answers with a page for these states."""
        function = self.rules.function(PFN_TO_ONLINE_PAGE)
        return np.asarray(function.tabulate(self, self.code.size, self.features).value == 1)

    def mark(self, mark: Mark) -> Bools:
        """Return where a mark of the candidate is set."""
        return np.asarray(self.code >> (STATE_BITS + self.rules.marks.index(mark)) & 1 != 0)


def _all(s: WalkState) -> Bools:
    return np.ones(s.code.shape, np.bool_)


_VALID = Answer("valid", 1)
_INVALID = Answer("invalid", 0)
_ROUNDTRIP = "high pfn bits do not survive the way to a physical address and back"

PFN_VALID: KernelFunction[WalkState] = KernelFunction(
    "pfn_valid",
    (
        # arm64's own rule, while it had one.
        Check(
            "arm64-roundtrip",
            lambda s: s.high & s.config.arch_pfn_valid,
            _INVALID,
            needs=("arm64-pfn-valid-roundtrip",),
            why=_ROUNDTRIP,
        ),
        Check(
            "arm64-section-number",
            lambda s: s.beyond & s.config.arch_pfn_valid,
            _INVALID,
            needs=("arm64-pfn-valid-section",),
            why="the section number is beyond the section table",
        ),
        Check(
            "arm64-section-valid",
            lambda s: ~s.valid & s.config.arch_pfn_valid,
            _INVALID,
            needs=("arm64-pfn-valid-section",),
            why="the section has no mem_map",
        ),
        Check(
            "arm64-hotplug-subsection",
            lambda s: s.valid & s.subsection & ~s.early & s.config.arch_pfn_valid,
            _VALID,
            needs=("arm64-pfn-valid-subsection",),
            why="a section added after boot answers from its subsection map",
        ),
        Check(
            "arm64-hotplug-hole",
            lambda s: s.valid & ~s.subsection & ~s.early & s.config.arch_pfn_valid,
            _INVALID,
            needs=("arm64-pfn-valid-subsection",),
            why="a section added after boot answers from its subsection map",
        ),
        Check("arm64-memblock", lambda s: s.memblock & s.config.arch_pfn_valid, _VALID, why="memblock has the page"),
        Check(
            "arm64-not-memblock",
            lambda s: ~s.memblock & s.config.arch_pfn_valid,
            _INVALID,
            why="memblock does not have the page, or it is reserved by firmware",
        ),
        # The generic rule.
        Check("roundtrip", lambda s: s.high, _INVALID, needs=("pfn-valid-high-bits",), why=_ROUNDTRIP),
        Check("section-number", lambda s: s.beyond, _INVALID, why="the section number is beyond the section table"),
        Check("section-valid", lambda s: ~s.valid, _INVALID, why="the section has no mem_map"),
        Check("early", lambda s: s.early, _VALID, needs=("section-early",), why="a boot section is valid all over"),
        Check(
            "subsection",
            lambda s: ~s.subsection,
            _INVALID,
            needs=("subsection-hotplug",),
            why="the subsection is not populated",
        ),
        Check("valid", _all, _VALID, why="the section has a mem_map (and the subsection is populated)"),
    ),
)

_PAGE = Answer("page", 1)
_NO_SECTION = Answer("no-section", 0)
_OFFLINE = Answer("offline-section", 0)

PFN_TO_ONLINE_PAGE: KernelFunction[WalkState] = KernelFunction(
    "pfn_to_online_page",
    (
        Check(
            "no-hotplug-valid",
            lambda s: s.pfn_valid & (not s.config.memory_hotplug),
            _PAGE,
            why="without MEMORY_HOTPLUG every valid pfn is online",
        ),
        Check(
            "no-hotplug-invalid",
            lambda s: ~s.pfn_valid & (not s.config.memory_hotplug),
            Answer("invalid", 0),
            why="without MEMORY_HOTPLUG only valid pfns are online",
        ),
        Check("section-number", lambda s: s.beyond, _NO_SECTION, why="the section number is beyond the section table"),
        Check("section-present", lambda s: ~s.present, _NO_SECTION, why="there is no such section"),
        Check("section-online", lambda s: ~s.online, _OFFLINE, why="the section's online bit is clear"),
        Check(
            "pfn-valid-within",
            lambda s: ~s.pfn_valid & s.config.holes_in_zone,
            Answer("invalid", 0),
            needs=("pfn-valid-within",),
            why="zones may have holes here, and pfn_valid says no",
        ),
        Check(
            "arch-pfn-valid",
            lambda s: ~s.pfn_valid & s.config.arch_pfn_valid,
            Answer("invalid", 0),
            needs=("online-page-subsection-validity",),
            why="the architecture's own pfn_valid says no",
        ),
        Check(
            "subsection",
            lambda s: ~s.subsection,
            Answer("empty-subsection", 0),
            needs=("online-page-subsection-validity", "subsection-hotplug"),
            why="the subsection is not populated",
        ),
        Check(
            "untainted",
            lambda s: ~s.taint,
            _PAGE,
            needs=("taint-zone-device",),
            why="no ZONE_DEVICE in this section (fast exit)",
        ),
        Check(
            "pagemap",
            lambda s: s.pagemap_live,
            Answer("device-page", 0),
            needs=("taint-zone-device",),
            why="the section is tainted and a live pagemap covers the pfn",
            slow=True,
        ),
        Check(
            "tainted-page",
            _all,
            _PAGE,
            needs=("taint-zone-device",),
            why="the section is tainted, but no live pagemap covers the pfn",
            slow=True,
        ),
        Check("page", _all, _PAGE, why="the section is online"),
    ),
)

GET_DEV_PAGEMAP: KernelFunction[WalkState] = KernelFunction(
    "get_dev_pagemap",
    (
        Check("not-indexed", lambda s: s.pagemap == PgmapState.NONE, Answer("NULL", 0), why="no pagemap in the index"),
        Check("dying", lambda s: s.pagemap == PgmapState.DYING, Answer("dying", 0), why="the reference is killed"),
        Check("live", _all, Answer("pagemap", 1), why="a live pagemap covers the pfn"),
    ),
)

KPAGEFLAGS: KernelFunction[WalkState] = KernelFunction(
    "kpageflags",
    (
        Check("end-of-file", lambda s: s.limit, Answer("end-of-file", 0), why="the file ends before this pfn"),
        Check(
            "zero",
            lambda s: ~s.online_page,
            Answer("zero", 0),
            needs=("kpageflags-online-only", "kpageflags-zero-no-page"),
            why="no online page: 0",
        ),
        Check(
            "not-online",
            lambda s: ~s.online_page,
            Answer("no-page", 0),
            needs=("kpageflags-online-only",),
            why="no online page: the no-page flag",
        ),
        Check(
            "not-valid",
            lambda s: ~s.pfn_valid,
            Answer("no-page", 0),
            unless=("kpageflags-online-only",),
            why="pfn_valid says no: the no-page flag",
        ),
        Check("flags", _all, Answer("flags", 1), why="the flags of the page"),
    ),
)

LOOKUP_FUNCTIONS: tuple[KernelFunction[WalkState], ...] = (
    PFN_VALID,
    PFN_TO_ONLINE_PAGE,
    GET_DEV_PAGEMAP,
    KPAGEFLAGS,
)


def takes_slow_path(function: KernelFunction[WalkState], decisions: Decisions) -> Bools:
    """Return where pfn_to_online_page looked up the pagemap: online, populated and tainted."""
    return np.isin(decisions.check, [i for i, check in enumerate(function.checks) if check.slow])


def truly_online(states: WalkState) -> Bools:
    """Return where the pfn really is System RAM in an online block, whatever any kernel answers."""
    return states.ram & states.online
