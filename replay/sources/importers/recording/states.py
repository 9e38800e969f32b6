"""The page of a poison call, as it was before the call -> a PAGE_STATE row; and its HWPoison flag after the call."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from replay.trace.poison import MappingClass, PageFlag, PageKind
from replay.trace.schema import EventKind

from .calls import Call
from .devices import Devices
from .evidence import Evidence
from .histories import Histories, Leftover, recorder_has
from .pages import HUGE_ORDER, Kpf, is_readable, read_page
from .rows import Order, Row
from .victims import Facts, Victim
from .visits import Phase, Visit

__all__ = ("PageStates",)

_PAGE_SHIFT, _PAGES = 12, 1 << HUGE_ORDER  # of x86-64
_MANY = 255  # what the column holds
_WRITTEN = PageFlag.PTE_DIRTY | PageFlag.PTE_WRITE
# What kpageflags does not show, by the kind of victim: a pattern for the whole kind, PageFlag bits while the page is
# mapped, bits in any case, mapping class. First match.
_VICTIMS: tuple[tuple[str, int, int, MappingClass], ...] = (
    (r"anon-swapcache", 0, 0, MappingClass.REGULAR),
    (r"anon.*|ksm", _WRITTEN, 0, MappingClass.REGULAR),
    (r"hugetlb(1g)?-anon", _WRITTEN, PageFlag.ANON, MappingClass.HUGETLB),
    (r"hugetlb(1g)?-.*", _WRITTEN, 0, MappingClass.HUGETLB),
    (r"shmem-thp", _WRITTEN, PageFlag.DIRTY, MappingClass.SHMEM),
    (r"shmem.*|tmpfs-dirty", _WRITTEN, 0, MappingClass.SHMEM),
    (r"tmpfs-.*", 0, 0, MappingClass.SHMEM),
    (r"file-dirty.*", _WRITTEN, 0, MappingClass.REGULAR),
    (r"file-unmapped", 0, PageFlag.EVICTABLE, MappingClass.REGULAR),
)
_MOMENTS = {Phase.INJECT: "before", Phase.AGAIN: "after", Phase.UNPOISON: "after_exit"}
_MOMENTS_AFTER = {
    Phase.INJECT: ("after",),
    Phase.AGAIN: ("after_touch", "after_exit"),
    Phase.UNPOISON: ("after_unpoison",),
}


@dataclass
class _State:
    """A page that is being described."""

    kind: PageKind = PageKind.UNKNOWN
    flags: int = 0
    order: int = 0
    mapping: MappingClass = MappingClass.REGULAR
    pins: int = 0
    refs: int = 1
    owner_ret: int | None = None


class PageStates:
    """Describes the pages of poison calls, call by call in the order of their entries.

    Args:
        kernel: release of the recording kernel.
        devices: ranges of pagemaps.
        reference_traced: get_hwpoison_page is seen inside of unpoison_memory, if that calls it.

    Attributes:
        counts: calls by where the description comes from.
    """

    def __init__(self, kernel: str, devices: Devices, *, reference_traced: bool) -> None:
        self._old = not recorder_has(kernel, "handlable-test")
        self._devices, self._reference_traced = devices, reference_traced
        self._histories = Histories(kernel)
        self._described: set[int] = set()
        self._faulted: list[tuple[int, int, int]] = []  # pagemap and pfns of a dax device that a process has touched
        self._marked: dict[int, bool | None] = {}  # HWPoison flag as it was last seen; None: not seen since a call
        self.counts: Counter[str] = Counter()

    def row(self, call: Call, evidence: Evidence, visit: Visit | None, phase: Phase) -> Row | None:
        """Return the PAGE_STATE row that stands before a call, or None where nothing is known about its page."""
        pfn, victim = call.given["pfn"], visit.victim if visit else None
        flags = victim.flags.get(_MOMENTS[phase]) if victim else None
        state = _State()
        if victim is not None and _visible(flags, evidence):
            assert flags is not None
            self._by_flags(state, flags, victim, call, evidence)
            self._poison(state, pfn, flags)
        if victim is not None:
            self._device(state, victim, call)
            _add_facts(state, victim.facts, _MOMENTS[phase], flags)
            state.flags |= PageFlag.UNMAP_FAILS if evidence.unmap_failed else 0
        if call.name == "unpoison_memory":
            known = victim.facts.references.get(_MOMENTS[phase]) if victim else None
            self._references(state, call, evidence, flags, known if state.kind != PageKind.HUGE else None)
        if state.kind == PageKind.UNKNOWN:
            self.counts["unknown"] += victim is not None
            if not state.flags and pfn not in self._described:
                return None
        self._described.add(pfn)
        return _page_row(call, state)

    def after(self, call: Call, evidence: Evidence, visit: Visit | None, phase: Phase) -> int | None:
        """Take in the outcome of a call; return the HWPoison flag of its page afterwards, None where it is not seen."""
        victim = visit.victim if visit else None
        marked = self._mark_after(call, evidence, victim, phase)
        self._histories.add(call, evidence, victim, marked)
        return marked

    def _mark_after(self, call: Call, evidence: Evidence, victim: Victim | None, phase: Phase) -> int | None:
        moments = [m for m in _MOMENTS_AFTER[phase] if victim and m in victim.flags]
        flags = victim.flags[moments[0]] if victim and moments else None
        pfn = call.given["pfn"]
        if not _visible(flags, evidence):
            if call.ret == 0:
                self._marked[pfn] = None
            return None
        assert flags is not None
        marked = bool(flags & Kpf.HWPOISON)
        if flags & Kpf.HUGE and pfn % _PAGES and not marked:
            return None  # the mark may be on the head alone
        if not flags & Kpf.HUGE:
            self._marked[pfn] = marked
        return int(marked)

    def _by_flags(self, state: _State, flags: int, victim: Victim, call: Call, evidence: Evidence) -> None:
        view = read_page(flags, victim.head_offset)
        state.kind, state.flags, state.order = view.kind, view.flags, view.order
        if view.compound:
            state.kind = PageKind.SLAB_COMPOUND if self._old else PageKind.KERNEL
        self._by_call(state, call, evidence, poisoned=view.poisoned)
        if victim.raw or state.kind not in (PageKind.LRU, PageKind.HUGE):
            return
        found = next((rule for rule in _VICTIMS if re.fullmatch(rule[0], victim.kind)), None)
        if found is not None:
            state.flags |= (found[1] if state.flags & PageFlag.MAPPED else 0) | found[2]
            state.mapping = found[3]
        if "mlock" in victim.kind:
            state.flags &= ~PageFlag.UNEVICTABLE  # mlock is the reason, and it ends with the unmapping
        if victim.kind == "anon-pinned":
            state.pins = 1
        elif evidence.users:
            state.pins = min(evidence.users, _MANY)
            self.counts["nested"] += 1

    def _by_call(self, state: _State, call: Call, evidence: Evidence, *, poisoned: bool) -> None:
        """Correct the kind of page by what the call itself found, where kpageflags cannot tell or is out of date."""
        kind, free = state.kind, evidence.taken_off and state.kind not in (PageKind.HUGE, PageKind.BUDDY)
        reference = evidence.reference if call.name != "unpoison_memory" else None
        if free:
            kind = PageKind.PCP
        elif self._old and reference == 0 and kind in (PageKind.UNKNOWN, PageKind.RESERVED):
            kind = PageKind.KERNEL_TAIL
        elif self._old and reference == 0 and kind == PageKind.LRU and not state.flags & PageFlag.LARGE:
            kind = PageKind.PCP
        elif not self._old and reference is not None and reference < 0 and kind in (PageKind.BUDDY, PageKind.PCP):
            kind = PageKind.KERNEL
        elif not self._old and reference is not None and reference < 0 and kind == PageKind.LRU:
            kind = PageKind.ISOLATED
        elif kind == PageKind.UNKNOWN and (poisoned or call.name == "unpoison_memory"):
            state.kind = PageKind.KERNEL  # handled before, and nothing else
            return
        elif kind == PageKind.UNKNOWN:
            kind = PageKind.KERNEL
        if kind != state.kind:
            self.counts["nested"] += 1
            if kind in (PageKind.PCP, PageKind.KERNEL_TAIL):
                state.flags, state.order = 0, 0
            state.kind = kind

    def _poison(self, state: _State, pfn: int, flags: int) -> None:
        """Give the HWPoison flag where something other than the calls has changed it."""
        if state.kind == PageKind.HUGE:
            return
        now, last = bool(flags & Kpf.HWPOISON), self._marked.get(pfn, False)
        if (not now) if last is None else now != last:
            state.flags |= PageFlag.POISON_GIVEN | (PageFlag.HWPOISON if now else 0)
            self.counts["given"] += 1
        self._marked[pfn] = now

    def _device(self, state: _State, victim: Victim, call: Call) -> None:
        """Describe a page that belongs to a device."""
        pfn = call.given["pfn"]
        span = self._devices.pagemap(pfn, call.begin)
        if span is None:
            return
        if victim.kind == "devdax":
            size = max(1, self._devices.alignment(victim.path, call.begin) >> _PAGE_SHIFT)
            self._faulted.append((span.pagemap, pfn - pfn % size, pfn - pfn % size + size))
        faulted = (not victim.raw and victim.kind.startswith("fsdax")) or any(
            pagemap == span.pagemap and low <= pfn < high for pagemap, low, high in self._faulted
        )
        if state.kind == PageKind.UNKNOWN and (pfn >= span.data or call.name == "unpoison_memory"):
            state.kind = PageKind.RESERVED  # so the kernel marks the pages of devices; not those of the metadata
        if faulted and call.name == "unpoison_memory":
            state.flags |= PageFlag.MAPPING_SET  # it stays when the processes have gone
        elif not faulted:
            state.flags |= PageFlag.NO_DAX_ENTRY

    def _references(
        self, state: _State, call: Call, evidence: Evidence, flags: int | None, counted: int | None
    ) -> None:
        left = self._histories.left(call.given["pfn"])
        if left.in_swap and flags is not None and not flags & Kpf.SWAPCACHE:
            left = Leftover(1)  # it has left the swap cache with its processes
        state.refs, in_file = left.refs, left.in_file
        if counted is not None:
            state.refs = counted
        elif evidence.reference is not None:
            refs = 0 if evidence.reference == 0 else 1
            if refs < left.refs or in_file:
                self.counts["nested"] += 1
            state.refs, in_file = refs, False
        elif self._reference_traced and left == Leftover(left.refs) and left.refs <= 1 and _unexplained(state, flags):
            state.refs = 2
            self.counts["nested"] += 1
        state.flags |= PageFlag.MAPPING_SET if in_file else 0


def _add_facts(state: _State, facts: Facts, moment: str, flags: int | None) -> None:
    """Add what the tool knew or read about the page."""
    if facts.pins:
        state.pins = facts.pins
        if state.kind == PageKind.LRU and state.order:
            state.flags |= PageFlag.UNSPLITTABLE  # a folio that somebody else refers to cannot be split
    if facts.mapping is not None:
        state.mapping = facts.mapping
        if facts.mapping == MappingClass.NO_OPERATION and state.flags & (PageFlag.DIRTY | PageFlag.PTE_DIRTY):
            state.flags |= PageFlag.NOT_RELEASABLE
    state.owner_ret = facts.owner_ret
    # A page without an entry belongs to a device: it is no user page, and none of the bits a filter asks for is set.
    if facts.filter is not None and (flags or 0) & facts.filter.mask != facts.filter.value:
        state.flags |= PageFlag.FILTERED
    if state.kind != PageKind.HUGE:
        return
    if moment in facts.references:
        filling = facts.pool is not None and facts.pool.filling and moment == "before"
        use = PageFlag.HUGE_BUSY if filling else PageFlag(0)
        state.flags = state.flags & ~PageFlag.HUGE_FREE | (use if facts.references[moment] else PageFlag.HUGE_FREE)
    if facts.pool is not None:
        state.order = facts.pool.pages.bit_length() - 1
        state.flags |= PageFlag.PUD if state.order > HUGE_ORDER else 0
        if state.flags & PageFlag.HUGE_FREE and facts.pool.free <= facts.pool.reserved:
            state.flags |= PageFlag.NOT_DISSOLVABLE


def _unexplained(state: _State, flags: int | None) -> bool:
    """Return whether nothing but references can be why a poisoned page was not unpoisoned."""
    if flags is None:
        return False
    used = state.flags & (PageFlag.MAPPED | PageFlag.LARGE)
    plain = state.kind in (PageKind.LRU, PageKind.KERNEL, PageKind.BUDDY, PageKind.PCP)
    return bool(flags & Kpf.HWPOISON) and plain and not used


def _visible(flags: int | None, evidence: Evidence) -> bool:
    """Return whether kpageflags describes the page; some kernels print 0 where there is no online page."""
    return is_readable(flags) and not (flags == 0 and evidence.online is False)


def _page_row(call: Call, state: _State) -> Row:
    pfn = call.given["pfn"]
    whole = state.kind == PageKind.HUGE
    pages = max(_PAGES, 1 << state.order)
    values = {"pfn": pfn - pfn % pages if whole else pfn, "page_kind": int(state.kind)}
    if state.owner_ret is not None:
        values["owner_ret"] = state.owner_ret
    optional = {
        "nr_pages": pages if whole else 1, "page_flags": int(state.flags), "order": state.order, "pins": state.pins,
        "mapping": int(state.mapping), "refs": state.refs,
    }  # fmt: skip
    defaults = {"nr_pages": 1, "refs": 1}
    values |= {name: value for name, value in optional.items() if value != defaults.get(name, 0)}
    return Row(call.begin, Order.STATE, EventKind.PAGE_STATE, values)
