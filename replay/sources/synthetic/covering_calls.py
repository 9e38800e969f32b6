"""From a state that a poison call should meet to the rows that make it meet that state, on pages of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from replay.compare.areas import AROUND, Area, Around
from replay.engine.poison_attributes import flags_for
from replay.kernel.poison_state import DEFAULTS
from replay.sources.synthetic.covering_script import Row
from replay.trace.poison import CallContext, MfFlag, PageFlag, PageKind, SysctlKey
from replay.trace.schema import EventKind

__all__ = ("CALLER", "Call", "rows_for")

CALLER = 1
"""The task that makes calls."""
_HUGE_ORDER = 9
_SYSCTLS = {"es": SysctlKey.EARLY_KILL, "recov": SysctlKey.RECOVERY, "softon": SysctlKey.ENABLE_SOFT_OFFLINE}
_FLAGS = {
    "COUNT": MfFlag.COUNT_INCREASED,
    "AR": MfFlag.ACTION_REQUIRED,
    "MUST": MfFlag.MUST_KILL,
    "SW": MfFlag.SW_SIMULATED,
}


@dataclass(frozen=True)
class Call:
    """Rows of a call.

    Attributes:
        pfn: of the page.
        before: rows that describe the page and set the sysctls.
        call: the row of the call.
        after: rows that set the sysctls back.
        page: the row that describes the page.
    """

    pfn: int
    before: tuple[Row, ...]
    call: Row
    after: tuple[Row, ...]
    page: Row


def rows_for(kind: EventKind, state: Mapping[str, int], areas: Mapping[Around, Area]) -> Call:
    """Return rows that make a call meet a state.

    Args:
        kind: of the call.
        state: attributes of ``PoisonState`` that matter; the others may be anything.
        areas: by what the kernel finds around their pfns.
    """
    full = {name: int(default.item()) for name, default in DEFAULTS.items()} | dict(state)
    here = _place(state, areas)
    huge = full["kind"] == PageKind.HUGE
    first = areas[here].take(1 << _HUGE_ORDER if huge else 1)
    pfn = first + int(bool(huge and full["tail"]))
    flags = flags_for({name: value for name, value in full.items() if not (huge and name == "tail")})
    page: Row = {"kind": EventKind.PAGE_STATE, "pfn": pfn, "page_kind": full["kind"], "page_flags": int(flags)}
    for column, attribute in (("mapping", "map"), ("pins", "pins"), ("refs", "refs"), ("owner_ret", "own_rc")):
        if full[attribute] != int(DEFAULTS[attribute].item()):
            page[column] = full[attribute]
    before = _sysctls(full, on=True)
    if huge:
        page["order"] = _HUGE_ORDER
        before.append({**page, "pfn": first, "nr_pages": 1 << _HUGE_ORDER})
        others = full["rawcnt"] - full["rawhit"]
        listed = PageFlag.POISON_GIVEN | PageFlag.RAW_LISTED | flags
        before += [{**page, "pfn": first + 2 + n, "page_flags": int(listed)} for n in range(others)]
    marks = _marks(full, huge=huge)
    before.append({**page, "page_flags": int(flags | marks)})
    call: Row = {"kind": kind, "pfn": pfn, "task": CALLER}
    if kind is not EventKind.UNPOISON_MEMORY:
        call["flags"] = sum(flag for name, flag in _FLAGS.items() if full[name])
    if kind is EventKind.SOFT_OFFLINE_PAGE:
        call["value"] = full["mig"]
    if kind is EventKind.MEMORY_FAILURE:
        context = CallContext.HAS_ENTRY if full["curpt"] else CallContext.NO_ENTRY
        call["context"] = int(context | (CallContext.NO_MM if full["nomm"] else CallContext(0)))
    return Call(pfn, tuple(before), call, tuple(_sysctls(full, on=False)), page)


def _place(state: Mapping[str, int], areas: Mapping[Around, Area]) -> Around:
    """Return what has to be around the page: all that the state asks for, as ordinary as possible."""
    ordinary = tuple(int(DEFAULTS[name].item()) for name in AROUND)
    fitting = [
        around
        for around in areas
        if all(state.get(name, value) == value for name, value in zip(AROUND, around, strict=True))
    ]
    return min(fitting, key=lambda around: (sum(a != b for a, b in zip(around, ordinary, strict=True)), around))


def _marks(full: Mapping[str, int], *, huge: bool) -> PageFlag:
    marks = PageFlag(0)
    for name, flag in (("hwp", PageFlag.HWPOISON), ("taken", PageFlag.TAKEN_OFF)):
        marks |= flag if full[name] else PageFlag(0)
    if huge:
        for name, flag in (("rawhit", PageFlag.RAW_LISTED), ("unrel", PageFlag.RAW_UNRELIABLE)):
            marks |= flag if full[name] else PageFlag(0)
    return marks | PageFlag.POISON_GIVEN if marks else marks


def _sysctls(full: Mapping[str, int], *, on: bool) -> list[Row]:
    """Return rows that set the sysctls that are not as usual, or set them back."""
    rows: list[Row] = []
    for name, key in _SYSCTLS.items():
        usual = int(DEFAULTS[name].item())
        if full[name] != usual:
            rows.append({"kind": EventKind.SYSCTL, "key": key, "value": full[name] if on else usual})
    return rows
