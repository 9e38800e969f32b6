"""The capability flags of poison.md 8.2, from the features of a profile (poison-model.md, Features)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("Capabilities", "capabilities")

# Each further feature raises the level of a flag by one.
HAS: dict[str, tuple[str, ...]] = {
    "c_online": ("memory-failure-online-page",),
    "c_dax": ("memory-failure-dev-pagemap",),
    "c_meta": ("pgmap-pfn-valid",),
    "c_own": ("pgmap-owner-handler",),
    "c_sgx": ("sgx-poison",),
    "c_pfnmap": ("pfn-space-poison",),
    "c_cres": ("poison-counted-at-event",),
    "c_alr": ("already-poisoned-error",),
    "c_nf14": ("accessor-not-found-efault",),
    "c_hnd": ("handlable-test",),
    "c_getalw": ("reference-step-always",),
    "c_toff": ("take-off-buddy",),
    "c_raw": ("hugetlb-raw-list",),
    "c_f95": ("filter-eopnotsupp",),
    "c_fearly": ("filter-before-split",),
    "c_thp": ("unsplit-thp-event", "unsplit-thp-kills"),
    "c_fthp": ("file-thp-split",),
    "c_minord": ("min-order-unsplittable",),
    "c_ksm": ("ksm-poison",),
    "c_late": ("late-action-types",),
    "c_fk": ("unmap-failure-forces-kill",),
    "c_bdev": ("block-device-no-remove",),
    "c_pol": ("early-kill-per-thread", "early-kill-others"),
    "c_ctk": ("collect-needs-address",),
    "s_pfn": ("soft-offline-by-pfn",),
    "s_zd": ("soft-offline-refuses-zone-device",),
    "s_en": ("enable-soft-offline",),
    "s_fail0": ("soft-offline-failed-take-off",),
    "s_strict": ("soft-offline-strict",),
    "u_on": ("unpoison-online-page",),
    # Not flags of 8.2, but of the sections before it.
    "v26": ("poison-2009",),
    "dax_lock": ("dax-entry-lock",),
    "dax_size": ("dax-mapping-size",),
    "dax_mapping": ("dax-page-mapping",),
    "dax_kill0": ("dax-shift-zero-kill",),
    "dax_clear": ("clear-error-restores",),
    "wb_waits": ("poison-waits-for-writeback",),  # the note on wb below 8.4
    "huge_exact": ("hugetlb-exact-address",),
    "devdax_head": ("device-dax-compound",),  # 3.3
    "fsdax_head": ("fsdax-large-folios",),
}
LACKS: dict[str, str] = {
    "c_ukill": "unmap-failure-sigbus",
    "c_ref": "extra-reference-per-handler",
    "c_nocc": "collect-on-clean-drop",
}


@dataclass(frozen=True)
class Capabilities:
    """Names and numbers as in 8.2."""

    c_online: int
    c_dax: int
    c_meta: int
    c_own: int
    c_sgx: int
    c_pfnmap: int
    c_cres: int
    c_alr: int
    c_alrev: int
    c_nf14: int
    c_hnd: int
    c_getalw: int
    c_toff: int
    c_raw: int
    c_f95: int
    c_fearly: int
    c_thp: int
    c_fthp: int
    c_minord: int
    c_ksm: int
    c_late: int
    c_fk: int
    c_ukill: int
    c_ref: int
    c_bdev: int
    c_nocc: int
    c_pol: int
    c_ctk: int
    s_pfn: int
    s_zd: int
    s_en: int
    s_fail0: int
    s_strict: int
    u_on: int
    v26: int
    dax_lock: int
    dax_size: int
    dax_mapping: int
    dax_kill0: int
    dax_clear: int
    wb_waits: int
    huge_exact: int
    devdax_head: int
    fsdax_head: int


def capabilities(features: frozenset[str]) -> Capabilities:
    """The flags of a set of features."""
    flags = {name: level(needed, features) for name, needed in HAS.items()}
    flags |= {name: int(feature not in features) for name, feature in LACKS.items()}
    flags["c_alrev"] = 0
    if "already-poisoned-event" in features:
        flags["c_alrev"] = 1 if "already-poisoned-uncounted" in features else 2
    return Capabilities(**flags)


def level(needed: tuple[str, ...], features: frozenset[str]) -> int:
    """How many of the features are there, up to the first that is not."""
    for number, feature in enumerate(needed):
        if feature not in features:
            return number
    return len(needed)
