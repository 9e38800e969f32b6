"""The version columns and capability flags of docs/semantics/poison.md, in the project's names.

Only for tests. The scalar reference has a reading of its own, so that the two can disagree.
"""

from __future__ import annotations

from pathlib import Path

DOCUMENT = Path(__file__).parents[1] / "docs" / "semantics" / "poison.md"

PRESETS = {
    "V26": "v2.6.32",
    "V418": "v4.18",
    "V419": "v4.19",
    "V510": "v5.10.223",
    "V511": "v5.11",
    "V512": "v5.12.9",
    "V61": "v6.1.192",
    "V612m": "v6.12",
    "V612": "v6.12.107",
    "V72": "v7.2.13",
}

# Flag of 8.2: the features that make it 1 (or each further level), by poison-model.md. "!" : they make it 0.
CAPABILITIES: dict[str, tuple[str, ...]] = {
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
    "c_ukill": ("!unmap-failure-sigbus",),
    "c_ref": ("!extra-reference-per-handler",),
    "c_bdev": ("block-device-no-remove",),
    "c_nocc": ("!collect-on-clean-drop",),
    "c_pol": ("early-kill-per-thread", "early-kill-others"),
    "c_ctk": ("collect-needs-address",),
    "s_pfn": ("soft-offline-by-pfn",),
    "s_zd": ("soft-offline-refuses-zone-device",),
    "s_en": ("enable-soft-offline",),
    "s_fail0": ("soft-offline-failed-take-off",),
    "s_strict": ("soft-offline-strict",),
    "u_on": ("unpoison-online-page",),
}
