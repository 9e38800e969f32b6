"""What the memory error code looks at: one pfn, the request, and the state around it. Source: poison semantics 8.1 and 8.3.

Fields have the names of the attributes there, derived columns are properties. All are numpy arrays of one shape, or of none
where the attribute is the same for all states. Differences between kernels inside a derived column come from ``features``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.errors import InvariantError
from replay.kernel.decision import Bools
from replay.trace.poison import MappingClass, PageKind
from replay.trace.schema import PgmapType

__all__ = ("DEFAULTS", "HugeState", "Ints", "PoisonState")

Ints = NDArray[np.integer[Any]]


class HugeState(IntEnum):
    """``ht``: what a hugetlb page is in use for."""

    USED = 0
    FREE = 1
    BUSY = 2  # neither free nor migratable: being isolated, allocated or demoted


def _is(column: Ints, value: int) -> Bools:
    return np.asarray(column == value)


def _is_in(column: Ints, values: tuple[int, ...]) -> Bools:
    """Return where small numbers are among others, by a bit mask."""
    mask = np.uint32(sum(1 << value for value in values))
    return np.asarray(mask >> column & np.uint32(1) != 0)


@dataclass(frozen=True, eq=False)
class PoisonState:
    """States of pfns that poison calls decide on.

    Attributes:
        features: of the kernel.
        COUNT: the caller holds a page reference and gives it away.
        AR: the calling task consumed the poison.
        MUST: kill even if the page is clean.
        SW: injected.
        recov: sysctl vm.memory_failure_recovery.
        softon: sysctl vm.enable_soft_offline.
        es: sysctl vm.memory_failure_early_kill.
        hwmf: a hardware event was seen since boot.
        filt: the hwpoison filter rejects the page.
        nomm: the calling task has no address space.
        curpt: the calling task's page tables hold a present or hwpoison entry for the pfn.
        valid: pfn_valid says yes.
        online: pfn_to_online_page gives a page.
        plat: an architecture's platform page.
        sgx: an SGX enclave page.
        pfnsp: in a registered pfn space without struct pages.
        pgmap: PgmapType of the live pagemap, NONE without one; DEVDAX counts as GENERIC.
        meta: in the metadata of the pagemap (pgmap_pfn_valid says no).
        own_rc: what the owner handler returns, -95: there is none, or it declines.
        daxlock: the dax mapping entry can be locked.
        kind: PageKind.
        hwp: HWPoison; of a hugetlb page, the head's.
        taken: marked as taken off the buddy lists.
        rawhit: this subpage is in the folio's list of raw poisoned pages.
        unrel: that list is incomplete.
        rawcnt: its length.
        toff: taking it off the buddy lists succeeds.
        bhead: first page of its free block.
        ht: HugeState.
        tail: tail page of a hugetlb page.
        pud: larger than a PMD.
        dissolv: the hugetlb page can be dissolved.
        large: part of a large folio.
        anon: anonymous.
        split: the folio can be split.
        minord: minimum folio order of the file mapping.
        ksm: shared by KSM.
        swapc: in the swap cache.
        dirty: page dirty bit.
        mlk: still mlocked after unmapping.
        unev: unevictable for another reason.
        wb: under writeback.
        map: MappingClass, ignored for anonymous pages.
        wbk: the mapping supports writeback.
        mapped: some page table maps it.
        unmap: unmapping succeeds.
        pdirty: some page table entry is dirty.
        pwrite: some page table entry is writable.
        pins: foreign references.
        rel: truncating or evicting it succeeds.
        evict: a clean page-cache page that soft offline can drop.
        iso: it can be isolated.
        mig: what migration returns.
        refs: reference count of the head.
        mapnn: the mapping pointer is set.
    """

    features: frozenset[str]
    COUNT: Bools
    AR: Bools
    MUST: Bools
    SW: Bools
    recov: Bools
    softon: Bools
    es: Bools
    hwmf: Bools
    filt: Bools
    nomm: Bools
    curpt: Bools
    valid: Bools
    online: Bools
    plat: Bools
    sgx: Bools
    pfnsp: Bools
    pgmap: Ints
    meta: Bools
    own_rc: Ints
    daxlock: Bools
    kind: Ints
    hwp: Bools
    taken: Bools
    rawhit: Bools
    unrel: Bools
    rawcnt: Ints
    toff: Bools
    bhead: Bools
    ht: Ints
    tail: Bools
    pud: Bools
    dissolv: Bools
    large: Bools
    anon: Bools
    split: Bools
    minord: Ints
    ksm: Bools
    swapc: Bools
    dirty: Bools
    mlk: Bools
    unev: Bools
    wb: Bools
    map: Ints
    wbk: Bools
    mapped: Bools
    unmap: Bools
    pdirty: Bools
    pwrite: Bools
    pins: Ints
    rel: Bools
    evict: Bools
    iso: Bools
    mig: Ints
    refs: Ints
    mapnn: Bools

    @classmethod
    def of(cls, size: int | None, features: frozenset[str], /, **attributes: object) -> PoisonState:
        """Return states with the defaults of poison semantics 8.1 (an ordinary clean, unmapped file page).

        Args:
            size: number of states, None for a single one without dimensions.
            features: of the kernel.
            attributes: those that differ, each a scalar or ``size`` values.

        Raises:
            InvariantError: an attribute that does not exist, or of another shape.
        """
        if unknown := attributes.keys() - DEFAULTS.keys():
            raise InvariantError(f"PoisonState has no attribute {sorted(unknown)[0]!r}")
        shape = () if size is None else (size,)
        values: dict[str, Any] = {}
        for name, default in DEFAULTS.items():
            value = np.asarray(attributes.get(name, default)).astype(default.dtype)
            if value.shape not in {(), shape}:
                raise InvariantError(f"PoisonState.{name} has shape {value.shape}, not {shape}")
            values[name] = value
        return cls(features, **values)

    def has(self, feature: str) -> bool:
        """Return whether the kernel has a feature."""
        return feature in self.features

    def take(self, index: NDArray[np.intp]) -> PoisonState:
        """Return the states at these positions; attributes without dimensions stay as they are."""
        columns = {f: getattr(self, f) for f in DEFAULTS}
        return replace(self, **{f: c[index] for f, c in columns.items() if c.ndim})

    def distinct(self, count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the positions of ``count`` states that stand for all, and for each state which of them stands for it."""
        key, room = np.zeros(count, np.int64), 1
        for name in DEFAULTS:
            column = getattr(self, name)
            if not column.ndim or (column == column.flat[0]).all():
                continue
            values, codes = np.unique(column, return_inverse=True)
            if room * len(values) >= 1 << 62:
                kept, key = np.unique(key, return_inverse=True)
                room = len(kept)
            key, room = key * len(values) + codes, room * len(values)
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        return first, inverse

    def kind_in(self, *kinds: PageKind) -> Bools:
        """Return where the page is of one of these kinds."""
        return _is_in(self.kind, kinds)

    def map_in(self, *classes: MappingClass) -> Bools:
        """Return where the page belongs to one of these mappings."""
        return _is_in(self.map, classes)

    @cached_property
    def dv(self) -> Bools:
        """The pagemap path is taken (by kernels that have it): a pagemap, and not first found to be an online page."""
        online = self.online & self.has("memory-failure-online-page")
        return ~_is(self.pgmap, PgmapType.NONE) & ~online

    @cached_property
    def daxentry(self) -> Bools:
        """The dax entry can be locked: device-dax pages need a mapping for it."""
        no_mapping = _is_in(self.pgmap, (PgmapType.GENERIC, PgmapType.DEVDAX)) & (not self.has("dax-page-mapping"))
        return self.daxlock & ~no_mapping

    @property
    def devmem(self) -> Bools:
        """Memory of a device that user space cannot map directly, or that belongs to its driver."""
        return _is_in(self.pgmap, (PgmapType.PRIVATE, PgmapType.COHERENT, PgmapType.PUBLIC))

    @property
    def hg(self) -> Bools:
        """A hugetlb page."""
        return _is(self.kind, PageKind.HUGE)

    @property
    def free_hg(self) -> Bools:
        """A free hugetlb page that the caller holds no reference to."""
        return self.hg & ~self.COUNT & _is(self.ht, HugeState.FREE)

    @cached_property
    def gl(self) -> Bools:
        """The reference step is made: the caller holds none, or the kernel does not care."""
        return ~self.COUNT | self.has("reference-step-always")

    @cached_property
    def isbud(self) -> Bools:
        """Found on the buddy lists; where those of the CPUs are drained first, also a page that was on one."""
        pcp = _is(self.kind, PageKind.PCP) & self.has("take-off-buddy")
        return _is(self.kind, PageKind.BUDDY) | pcp

    @cached_property
    def lg(self) -> Bools:
        """A large folio that has to be split, or the huge zero page."""
        return (_is(self.kind, PageKind.LRU) & self.large) | _is(self.kind, PageKind.HUGE_ZERO)

    @property
    def spl(self) -> Bools:
        """Splitting it succeeds; never for the huge zero page."""
        return self.split & ~_is(self.kind, PageKind.HUGE_ZERO)

    @cached_property
    def offlru(self) -> Bools:
        """Goes straight to the state table: off the LRU, and not merely there for writeback where kernels look at that."""
        written = _is(self.kind, PageKind.ISOLATED) & self.wb & self.has("poison-waits-for-writeback")
        return ~_is(self.kind, PageKind.LRU) & ~written

    @cached_property
    def wbmap(self) -> Bools:
        """A file page whose mapping writes dirty pages back."""
        m = MappingClass
        return ~self.anon & self.wbk & self.map_in(m.REGULAR, m.BLOCK_DEVICE, m.NO_OPERATION)

    @cached_property
    def mp(self) -> Bools:
        """Mapped when the user-mapping step runs: splitting a file folio removes its mappings first."""
        split = self.large & ~self.anon & self.split & _is(self.minord, 0) & self.has("file-thp-split")
        return self.mapped & ~split

    @cached_property
    def mkcl(self) -> Bools:
        """The page tables are looked through for dirty and writable entries, as the page itself is clean."""
        return self.mp & ~self.MUST & ~self.dirty & self.wbmap

    @cached_property
    def drop(self) -> Bools:
        """Clean all over: unmapped without hwpoison entries, to be read again from its file."""
        return self.mkcl & ~(self.pdirty | self.pwrite)

    @cached_property
    def dirty2(self) -> Bools:
        """Dirty when it is looked up in the state table."""
        return self.dirty | (self.mkcl & ~self.drop) | (self.mapped & self.pdirty)

    @cached_property
    def ufail(self) -> Bools:
        """Unmapping fails."""
        return self.mp & ~self.unmap

    @property
    def newraw(self) -> Bools:
        """A subpage that the list of raw poisoned pages does not have yet."""
        return ~self.rawhit & ~self.unrel

    @cached_property
    def forcek(self) -> Bools:
        """Collected tasks are signalled."""
        return self.dirty2 | self.MUST | (self.ufail & self.has("unmap-failure-forces-kill"))

    @cached_property
    def hwpte(self) -> Bools:
        """Unmapping leaves hwpoison entries, so that a later access is a SIGBUS."""
        return self.mp & self.unmap & ~self.swapc & ~self.drop


_YES = (
    "recov",
    "softon",
    "valid",
    "online",
    "daxlock",
    "toff",
    "bhead",
    "dissolv",
    "split",
    "wbk",
    "unmap",
    "rel",
    "iso",
)
_NUMBERS: dict[str, np.generic] = {
    "pgmap": np.uint8(PgmapType.NONE),
    "own_rc": np.int32(-95),
    "kind": np.uint8(PageKind.LRU),
    "rawcnt": np.int32(0),
    "ht": np.uint8(HugeState.USED),
    "minord": np.uint8(0),
    "map": np.uint8(MappingClass.REGULAR),
    "pins": np.uint8(0),
    "mig": np.int32(0),
    "refs": np.int32(1),
}

DEFAULTS: dict[str, np.generic] = {
    f.name: _NUMBERS.get(f.name, np.bool_(f.name in _YES)) for f in fields(PoisonState) if f.name != "features"
}
"""Attribute to default value, in the order of the fields; the dtype of an attribute is that of its default."""
