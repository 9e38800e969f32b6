"""What kernels print about memory errors: every form of a line, with what it tells, as a table.

``seen`` names the kernels of the recordings that a form occurs in; a form without it is one that other versions are known
to print, and no real log of it was at hand. The forms are told apart by their words alone, so a log does not have to say
its version. What a call returned is given where the form leaves one answer on all kernels that print it (checked against
the returns in the recordings).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from replay.trace.schema import EventKind

__all__ = ("FORMS", "Form", "Role", "form_of")


class Role(Enum):
    """What a line is to the call that it is about."""

    BEGIN = "announces a call"
    END = "tells how a call went"
    DETAIL = "tells more about a call that another line stands for"
    LOSS = "counts lines that were not printed"
    KERNEL = "names the kernel; the first line of a boot"


@dataclass(frozen=True)
class Form:
    """A form of a line.

    Attributes:
        role: what it is.
        pattern: the whole message; groups pfn, type, result, value, count, release, version.
        kind: of the row, for BEGIN and END.
        ret: what the call returned, where that follows.
        moved: what the call returned when the migration it tells of left pages behind (a positive value).
        no_action: whether a memory_failure call of this form reports no action.
        seen: kernels.
    """

    role: Role
    pattern: re.Pattern[str]
    kind: EventKind | None = None
    ret: int | None = None
    moved: int | None = None
    no_action: bool = False
    seen: str = ""


_PFN = r"(?P<pfn>(?:0x)?[0-9a-f]{1,16})"
_MEMORY_FAILURE, _SOFT_OFFLINE, _UNPOISON = (
    EventKind.MEMORY_FAILURE, EventKind.SOFT_OFFLINE_PAGE, EventKind.UNPOISON_MEMORY,
)  # fmt: skip
_FAILURE = rf"(?:Memory [fF]ailure: |MCE ){_PFN}: "
# v5.10 and v6.1 say "soft offline", "soft_offline" or the name of the function, later ones "Soft offline".
_OFFLINE = rf"(?:[sS]oft[ _]offline(?:_page)?: ?|__soft_offline_page: ){_PFN}:? "
_ENXIO, _EOPNOTSUPP, _EIO, _EBUSY = -6, -95, -5, -16


def _form(role: Role, pattern: str, kind: EventKind | None = None, **more: object) -> Form:
    return Form(role, re.compile(pattern), kind, **more)  # type: ignore[arg-type]


_RECORDED, _OLD, _NEW = "5.10, 6.1, 6.12, 7.2", "5.10, 6.1", "6.12, 7.2"
FORMS: tuple[Form, ...] = (
    # First match. The result of an action ends its line, so a form for it comes first.
    _form(Role.END, _FAILURE + r"recovery action for (?P<type>.{1,80}): (?P<result>\w{1,20})", _MEMORY_FAILURE,
          seen=_RECORDED),
    _form(Role.END, _FAILURE + r"(?P<type>.{1,60}) page recovery: (?P<result>\w{1,20})", _MEMORY_FAILURE),  # v2.6.32
    _form(Role.END, _FAILURE + r"already hardware poisoned", _MEMORY_FAILURE, no_action=True, seen=_OLD),
    _form(Role.END, _FAILURE + r"memory outside kernel control", _MEMORY_FAILURE, ret=_ENXIO, no_action=True,
          seen=_RECORDED),
    _form(Role.BEGIN, rf"Injecting memory failure (?:for (?:pfn|page) |at pfn ){_PFN}(?: at .*)?", _MEMORY_FAILURE,
          seen=_RECORDED),
    _form(Role.BEGIN, rf"Soft offlining (?:pfn|page) {_PFN} at .*", _SOFT_OFFLINE, seen=_RECORDED),
    # Until v5.9 such a call was refused, in nearly the same words.
    _form(Role.END, rf"soft_offline_page: {_PFN} page already poisoned", _SOFT_OFFLINE, ret=0, seen=_OLD),
    _form(Role.END, rf"Soft offline: {_PFN}: page already poisoned", _SOFT_OFFLINE, ret=0, seen=_NEW),
    _form(Role.END, _OFFLINE + r"(?:huge)?page already poisoned", _SOFT_OFFLINE),
    _form(Role.END, _OFFLINE + r"invalidated", _SOFT_OFFLINE, ret=0, seen=_RECORDED),
    _form(Role.END, _OFFLINE + r"page migration failed (?P<value>-?\d{1,9}),.*", _SOFT_OFFLINE, moved=_EBUSY,
          seen=_RECORDED),
    _form(Role.END, _OFFLINE + r"(?:hugepage )?migration failed (?P<value>-?\d{1,9}),.*", _SOFT_OFFLINE),
    _form(Role.END, _OFFLINE + r"unknown page type: .*", _SOFT_OFFLINE, ret=_EIO, seen="5.10"),
    _form(Role.END, _OFFLINE + r"unknown non LRU page type.*", _SOFT_OFFLINE),
    _form(Role.END, _OFFLINE + r"non anonymous thp", _SOFT_OFFLINE, ret=_EBUSY, seen="5.10"),
    _form(Role.END, _OFFLINE + r"(?:\w+ )?(?:isolation|split) failed.*", _SOFT_OFFLINE),
    _form(Role.END, rf"Unpoison: Software-unpoisoned (?:free )?page {_PFN}", _UNPOISON, ret=0, seen=_OLD),
    _form(Role.END, rf"Unpoison: {_PFN}: software-unpoisoned (?:free )?page", _UNPOISON, ret=0, seen=_NEW),
    _form(Role.END, rf"Unpoison: {_PFN}: huge zero page is not supported", _UNPOISON, ret=_EOPNOTSUPP, seen="7.2"),
    _form(Role.END, rf"Unpoison: (?:Page was already unpoisoned|Someone (?:grabs|maps|touches) the hwpoison page"
          rf"|[tT]he hwpoison page has non-NULL mapping|Memory failure is now running on) {_PFN}", _UNPOISON, seen=_OLD),
    _form(Role.END, rf"Unpoison: {_PFN}: .{{1,100}}", _UNPOISON, seen=_NEW),
    _form(Role.DETAIL, _FAILURE + r"Sending SIGBUS to .{1,80}:\d{1,10} due to hardware memory corruption.*",
          seen=_RECORDED),
    _form(Role.DETAIL, _FAILURE + r"Killing .{1,80}:\d{1,10} due to hardware memory corruption.*"),
    _form(Role.DETAIL, _FAILURE + r"(?:unhandlable page\.|non anonymous thp|can't handle KSM pages\.|Unknown page state"
          r"|corrupted page was clean: dropped without side effects|keeping poisoned page in swap cache"
          r"|.{1,80} still referenced by -?\d{1,10} users)", seen=_RECORDED),
    _form(Role.DETAIL, _FAILURE + r"(?:forcibly killing|failed to unmap page|[fF]ailed to punch page"
          r"|[fF]ailed to release buffers|[fF]ailed to invalidate|[uU]nable to find|[uU]nable to kill proc"
          r"|just unpoisoned|thp split failed)\b.*"),
    _form(Role.DETAIL, r"MCE: Killing .{1,80} due to hardware memory corruption fault at [0-9a-f]{1,16}",
          seen=_RECORDED),
    _form(Role.DETAIL, r"Soft offline: disabled by .*", seen=_NEW),
    _form(Role.LOSS, r"(?:memory_failure|unpoison_memory|(?:__)?soft_offline(?:_page)?|hwpoison_\w{1,40}): "
          r"(?P<count>\d{1,9}) callbacks suppressed", seen=_RECORDED),
    # What journald says when it was too slow for the kernel.
    _form(Role.LOSS, r"(?:.*: )?[mM]issed (?P<count>\d{1,9}) kernel messages"),
    _form(Role.LOSS, r"/dev/kmsg buffer overrun, some messages lost\.?"),
    _form(Role.KERNEL, r"Linux version (?P<release>\S{1,64}) \(.*", seen=_RECORDED),
)  # fmt: skip


def form_of(message: str) -> tuple[Form, re.Match[str]] | None:
    """Return the form of a message, None where it is not about memory errors."""
    for form in FORMS:
        if found := form.pattern.fullmatch(message):
            return form, found
    return None
