"""Action types of memory_failure: ids of our own, and what each kernel calls and numbers them.

The number in a kernel's tracepoint is the position in its enum, which lost and gained members over the years; a recorded
number means nothing without its layout. Versions are only presets of it: distributions carry backports under old version
numbers, so a layout is also known by the features that moved members (``layout_by_features``) and by name. Source: poison
semantics 1.2 (v2.6.32) and 1.8, read in every tree named there.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import IntEnum

from replay.errors import UnknownNameError, UsageError
from replay.kernel.features import FEATURES
from replay.kernel.profiles import profile
from replay.trace.poison import NO_ACTION

__all__ = (
    "LAYOUTS",
    "ActionType",
    "Layout",
    "changes_features",
    "decode",
    "kernel_version",
    "layout_by_features",
    "layout_matching",
    "layout_named",
    "layout_of",
    "number",
)


class ActionType(IntEnum):
    """What memory_failure says it met. Ids are part of the outcomes format: append only."""

    KERNEL = 0
    KERNEL_HIGH_ORDER = 1
    SLAB = 2
    DIFFERENT_COMPOUND = 3
    POISONED_HUGE = 4
    HUGE = 5
    FREE_HUGE = 6
    GET_HWPOISON = 7
    NON_PMD_HUGE = 8
    UNMAP_FAILED = 9
    DIRTY_SWAPCACHE = 10
    CLEAN_SWAPCACHE = 11
    DIRTY_MLOCKED_LRU = 12
    CLEAN_MLOCKED_LRU = 13
    DIRTY_UNEVICTABLE_LRU = 14
    CLEAN_UNEVICTABLE_LRU = 15
    DIRTY_LRU = 16
    CLEAN_LRU = 17
    TRUNCATED_LRU = 18
    BUDDY = 19
    BUDDY_2ND = 20
    DAX = 21
    UNSPLIT_THP = 22
    DIFFERENT_PAGE_SIZE = 23
    ALREADY_POISONED = 24
    PFN_MAP = 25
    UNKNOWN = 26
    OUTSIDE_CONTROL = 27  # v2.6.32 only
    NOT_LRU = 28  # v2.6.32 only

    @property
    def display(self) -> str:
        """The string of the tracepoint (v4.18 and later); a name of ours for what it never had."""
        return _DISPLAY[self]


_T = ActionType
_DISPLAY: dict[ActionType, str] = {
    _T.KERNEL: "reserved kernel page",
    _T.KERNEL_HIGH_ORDER: "high-order kernel page",
    _T.SLAB: "kernel slab page",
    _T.DIFFERENT_COMPOUND: "different compound page after locking",
    _T.POISONED_HUGE: "huge page already hardware poisoned",
    _T.HUGE: "huge page",
    _T.FREE_HUGE: "free huge page",
    _T.GET_HWPOISON: "get hwpoison page",
    _T.NON_PMD_HUGE: "non-pmd-sized huge page",
    _T.UNMAP_FAILED: "unmapping failed page",
    _T.DIRTY_SWAPCACHE: "dirty swapcache page",
    _T.CLEAN_SWAPCACHE: "clean swapcache page",
    _T.DIRTY_MLOCKED_LRU: "dirty mlocked LRU page",
    _T.CLEAN_MLOCKED_LRU: "clean mlocked LRU page",
    _T.DIRTY_UNEVICTABLE_LRU: "dirty unevictable LRU page",
    _T.CLEAN_UNEVICTABLE_LRU: "clean unevictable LRU page",
    _T.DIRTY_LRU: "dirty LRU page",
    _T.CLEAN_LRU: "clean LRU page",
    _T.TRUNCATED_LRU: "already truncated LRU page",
    _T.BUDDY: "free buddy page",
    _T.BUDDY_2ND: "free buddy page (2nd try)",
    _T.DAX: "dax page",
    _T.UNSPLIT_THP: "unsplit thp",
    _T.DIFFERENT_PAGE_SIZE: "different page size",
    _T.ALREADY_POISONED: "already poisoned",
    _T.PFN_MAP: "non struct page pfn",
    _T.UNKNOWN: "unknown page",
    _T.OUTSIDE_CONTROL: "memory outside kernel control",
    _T.NOT_LRU: "non LRU",
}


# v2.6.32 has no numbers, only texts; "dirty " goes in front when the page is dirty while the line is printed.
@dataclass(frozen=True)
class Layout:
    """One order of the kernel's enum.

    Attributes:
        name: what changed with it.
        first: first kernel of the range, (major, minor).
        last: last one, inclusive. Kernels between ranges were not read. No mainline kernel has a layout whose ``last``
            is before ``first``.
        types: members in order; the position is the number in the tracepoint.
    """

    name: str
    first: tuple[int, int]
    last: tuple[int, int]
    types: tuple[ActionType, ...]

    @property
    def kernels(self) -> str:
        """The kernels that have it, in words."""
        first, last = (f"{major}.{minor}" for major, minor in (self.first, self.last))
        return first if first == last else f"{first} to {last}"


_LRU = (
    _T.DIRTY_SWAPCACHE,
    _T.CLEAN_SWAPCACHE,
    _T.DIRTY_MLOCKED_LRU,
    _T.CLEAN_MLOCKED_LRU,
    _T.DIRTY_UNEVICTABLE_LRU,
    _T.CLEAN_UNEVICTABLE_LRU,
    _T.DIRTY_LRU,
    _T.CLEAN_LRU,
    _T.TRUNCATED_LRU,
    _T.BUDDY,
)
_OLD = (
    _T.KERNEL,
    _T.KERNEL_HIGH_ORDER,
    _T.SLAB,
    _T.DIFFERENT_COMPOUND,
    _T.POISONED_HUGE,
    _T.HUGE,
    _T.FREE_HUGE,
    _T.NON_PMD_HUGE,
    _T.UNMAP_FAILED,
    *_LRU,
    _T.BUDDY_2ND,
)
_MIDDLE = (
    *(t for t in _OLD if t not in {_T.POISONED_HUGE, _T.BUDDY_2ND}),
    _T.DAX,
    _T.UNSPLIT_THP,
)
_LATE = (
    _T.KERNEL,
    _T.KERNEL_HIGH_ORDER,
    _T.DIFFERENT_COMPOUND,  # without a string, never emitted
    _T.HUGE,
    _T.FREE_HUGE,
    _T.GET_HWPOISON,
    _T.UNMAP_FAILED,
    *_LRU,
    _T.DAX,
    _T.UNSPLIT_THP,
    _T.ALREADY_POISONED,
)

LAYOUTS: tuple[Layout, ...] = (
    Layout("before-dax", (4, 18), (4, 18), (*_OLD, _T.UNKNOWN)),
    Layout("dax", (4, 19), (5, 9), (*_OLD, _T.DAX, _T.UNKNOWN)),
    Layout("unsplit-thp", (5, 10), (5, 15), (*_OLD, _T.DAX, _T.UNSPLIT_THP, _T.UNKNOWN)),
    Layout("two-fewer", (5, 17), (5, 17), (*_MIDDLE, _T.UNKNOWN)),
    Layout("different-page-size", (5, 18), (5, 18), (*_MIDDLE, _T.DIFFERENT_PAGE_SIZE, _T.UNKNOWN)),
    Layout("pud-huge", (6, 0), (6, 9), (*(t for t in _MIDDLE if t is not _T.NON_PMD_HUGE), _T.UNKNOWN)),
    Layout("get-hwpoison", (6, 12), (6, 14), (*_LATE, _T.UNKNOWN)),
    Layout("pfn-map", (6, 19), (7, 2), (*_LATE, _T.PFN_MAP, _T.UNKNOWN)),
)


@dataclass(frozen=True)
class _Member:
    type: ActionType
    needs: str = ""  # the feature that brought it
    unless: str = ""  # the feature that took it away


# The enum of a kernel with given features, in order. "different page size" came and went between two presets, so that no
# profile has it; its layout is known by name and version only.
_MEMBERS = (
    _Member(_T.KERNEL),
    _Member(_T.KERNEL_HIGH_ORDER),
    _Member(_T.SLAB, unless="late-action-types"),
    _Member(_T.DIFFERENT_COMPOUND),
    _Member(_T.POISONED_HUGE, unless="fewer-action-types"),
    _Member(_T.HUGE),
    _Member(_T.FREE_HUGE),
    _Member(_T.GET_HWPOISON, needs="late-action-types"),
    _Member(_T.NON_PMD_HUGE, unless="hugetlb-raw-list"),
    _Member(_T.UNMAP_FAILED),
    *(_Member(action) for action in _LRU),
    _Member(_T.BUDDY_2ND, unless="fewer-action-types"),
    _Member(_T.DAX, needs="memory-failure-dev-pagemap"),
    _Member(_T.UNSPLIT_THP, needs="unsplit-thp-event"),
    _Member(_T.ALREADY_POISONED, needs="already-poisoned-event"),
    _Member(_T.PFN_MAP, needs="pfn-space-poison"),
    _Member(_T.UNKNOWN),
)


def changes_features(kernel: str) -> bool:
    """Return whether a kernel is named as a profile with features added or taken away.

    The end of a release ("6.1.0+", "6.12.38+deb13-amd64") is none. What is nearly a feature is taken for one, so that a
    misspelt one is refused and not passed over.
    """
    found = re.fullmatch(r"v?[\d.]+[+-](.+)", kernel)
    if found is None:
        return False
    words = re.split(r"\+", found[1])[0]
    exact = any(re.match(rf"{feature}(?![a-z0-9])", words) for feature in FEATURES)
    return exact or bool(difflib.get_close_matches(words, FEATURES, cutoff=0.8))


def layout_by_features(features: Set[str]) -> Layout:
    """Return the enum layout of a kernel that has these features (and the tracepoint, which came before any of them)."""
    types = tuple(
        m.type for m in _MEMBERS if (not m.needs or m.needs in features) and (not m.unless or m.unless not in features)
    )
    known = next((layout for layout in LAYOUTS if layout.types == types), None)
    return known or Layout("of these features", (1, 0), (0, 0), types)


def layout_named(name: str) -> Layout:
    """Return the layout of that name.

    Raises:
        UnknownNameError: there is none.
    """
    found = next((layout for layout in LAYOUTS if layout.name == name), None)
    if found is None:
        known = ", ".join(f"{layout.name} ({layout.kernels})" for layout in LAYOUTS)
        raise UnknownNameError("layout", name, [layout.name for layout in LAYOUTS], f"known are {known}")
    return found


def layout_matching(numbers: Mapping[str, int]) -> Layout | None:
    """Return the layout that a kernel's own table of texts shows; None when no known layout has those numbers.

    Args:
        numbers: the number of each text, as the format file of the event lists them. Some kernels leave texts out.
    """
    size = max(numbers.values(), default=-1) + 1
    for layout in LAYOUTS:
        texts = {action.display: number for number, action in enumerate(layout.types)}
        if len(layout.types) == size and all(texts.get(text) == number for text, number in numbers.items()):
            return layout
    return None


def kernel_version(kernel: str) -> tuple[int, int, int]:
    """Return (major, minor, patch) of a version string; a missing patch level is 0.

    Raises:
        UsageError: it is not a version.
    """
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", kernel)
    if match is None:
        raise UsageError(f"kernel {kernel!r} is not a version like 6.1.192")
    return int(match[1]), int(match[2]), int(match[3] or 0)


def layout_of(kernel: str) -> Layout:
    """Return the enum layout of a kernel.

    Args:
        kernel: a version ("6.1.192"), or a profile that adds and takes away features ("4.18+unsplit-thp-event").

    Raises:
        UsageError: it has no such enum, or its layout is not known.
    """
    if changes_features(kernel):
        return layout_by_features(profile(kernel).features)
    version = kernel_version(kernel)[:2]
    for layout in LAYOUTS:
        if layout.first <= version <= layout.last:
            return layout
    known = ", ".join(layout.kernels for layout in LAYOUTS)
    raise UsageError(f"the action type numbers of kernel {kernel!r} are not known; known are those of {known}")


def decode(kernel: str, number: int) -> ActionType | None:
    """Return the action type that a kernel's tracepoint means by a number.

    Args:
        kernel: version that recorded it, such as "6.1.192".
        number: ``recorded_type``.

    Returns:
        None for NO_ACTION and for numbers that the kernel does not have.

    Raises:
        UsageError: the kernel's numbers are not known.
    """
    types = layout_of(kernel).types
    return types[number] if number != NO_ACTION and 0 <= number < len(types) else None


def number(kernel: str, action: ActionType) -> int | None:
    """Return the number of an action type in a kernel's tracepoint, None where it has no such type.

    Raises:
        UsageError: the kernel's numbers are not known.
    """
    types = layout_of(kernel).types
    return types.index(action) if action in types else None
