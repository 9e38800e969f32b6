"""Profiles: named sets of features. A kernel version is a preset of features, written down as what it adds to another.

``profile("v5.11+taint-zone-device")`` and ``profile("v5.12-online-page-subsection-validity")`` make combinations that no
release ever was, which is how the effect of a single patch is seen.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cache

from replay.errors import UnknownNameError, UsageError
from replay.kernel.features import FEATURES, feature
from replay.kernel.rules import BUILT_IN, Rules

__all__ = ("PRESETS", "Preset", "Profile", "profile")


@dataclass(frozen=True)
class Preset:
    """A kernel version as a difference to another preset.

    Attributes:
        name: version, with a leading v.
        after: the preset it starts from, empty for the first.
        adds: feature ids that come in.
        drops: feature ids that are gone.
        poison_only: the walk functions do not exist in that version, or are not modelled.
        note: anything a reader should know.
    """

    name: str
    after: str
    adds: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()
    poison_only: bool = False
    note: str = ""


_ROWS = (
    Preset(
        "v2.6.32",
        "",
        adds=("poison-2009",),
        poison_only=True,
        note="first release with memory_failure; no pfn_to_online_page",
    ),
    Preset(
        "v4.18",
        "",
        adds=(
            "offline-pageblock-check",
            "block-online-section-checks",
            "online-walks-ram",
            "namespace-label-reserve",
            "section-removal-counts-down",
        ),
    ),
    Preset(
        "v4.19",
        "v4.18",
        adds=(
            "arm64-pfn-valid-roundtrip",
            "memory-failure-dev-pagemap",
            "dax-entry-lock",
            "dax-page-mapping",
            "dax-mapping-size",
            "dax-shift-zero-kill",
            "clear-error-restores",
            "madvise-drops-reference",
            "soft-offline-refuses-zone-device",
            "soft-offline-strict",
        ),
    ),
    Preset(
        "v5.1",
        "v4.19",
        adds=(
            "pfn-valid-within",
            "arm64-pfn-valid-section",
            "memremap-refuses-ram",
            "pgmap-xarray",
            "ram-child-resources",
            "walk-ram-error-codes",
            "walk-ram-children",
            "kmem-driver",
            "dax-target-node",
            "namespace-region-padding",
            "dax-class-compat",
        ),
        drops=("offline-pageblock-check", "namespace-label-reserve"),
    ),
    Preset(
        "v5.3",
        "v5.1",
        adds=(
            "subsection-hotplug",
            "section-early",
            "memory-block-exists",
            "remove-refuses-online",
            "offline-zone-span-check",
            "kmem-releases-reservation",
            "kmem-hot-remove",
            "namespace-subsection-layout",
        ),
    ),
    Preset(
        "v5.4",
        "v5.3",
        adds=(
            "kpageflags-online-only",
            "namespace-page-size",
            "namespace-alignments",
            "memory-failure-online-page",
            "sigbus-message",
        ),
        drops=("dax-shift-zero-kill",),
    ),
    Preset("v5.4.195", "v5.4", adds=("arm64-pfn-valid-subsection",)),
    Preset(
        "v5.10",
        "v5.4",
        adds=(
            "pgmap-ranges",
            "add-pages-bounds-check",
            "driver-managed-memory",
            "offline-refuses-holes",
            "online-section-aligned",
            "kpageflags-section-limit",
            "dax-ranges",
            "e820-target-affinity",
            "namespace-start-aligned",
            "namespace-not-supported",
            "block-size-bare-metal",
            "unsplit-thp-event",
            "early-kill-per-thread",
            "soft-offline-by-pfn",
            "soft-offline-failed-take-off",
        ),
        drops=(
            "block-online-section-checks",
            "online-walks-ram",
            "offline-zone-span-check",
            "madvise-drops-reference",
            "soft-offline-refuses-zone-device",
        ),
    ),
    Preset(
        "v5.10.223",
        "v5.10",
        adds=(
            "pgmap-pfn-valid",
            "soft-offline-ref-drop",
            "arm64-pfn-valid-subsection",
            "poison-waits-for-writeback",
        ),
        drops=("soft-offline-failed-take-off",),
    ),
    Preset(
        "v5.11",
        "v5.10",
        adds=(
            "soft-offline-ref-drop",
            "take-off-buddy",
        ),
    ),
    Preset(
        "v5.12",
        "v5.11",
        adds=(
            "online-page-out-of-line",
            "online-page-subsection-validity",
            "taint-zone-device",
            "pgmap-pfn-valid",
            "arm64-pfn-valid-subsection",
            "arm64-small-sections",
            "hotplug-prevalidates-range",
            "early-kill-others",
        ),
        drops=("pfn-valid-within",),
    ),
    Preset("v5.12.9", "v5.12"),
    Preset(
        "v6.1",
        "v5.12",
        adds=(
            "pfn-valid-high-bits",
            "section-nid-shift",
            "arm64-generic-pfn-valid",
            "device-keeps-max-pfn",
            "memmap-on-memory",
            "online-pageblock-start",
            "kmem-refuses-no-memory",
            "device-dax-compound",
            "pgmap-owner-handler",
            "sgx-poison",
            "poison-counted-at-event",
            "already-poisoned-error",
            "accessor-not-found-efault",
            "handlable-test",
            "hugetlb-raw-list",
            "filter-eopnotsupp",
            "file-thp-split",
            "fewer-action-types",
            "poison-waits-for-writeback",
            "extra-reference-per-handler",
            "collect-on-clean-drop",
            "unmap-failure-forces-kill",
            "poisoned-cache-dropped",
            "simulated-injection",
            "bind-returns-probe-code",
            "pmem-error-granularity",
        ),
        drops=("soft-offline-failed-take-off", "dax-class-compat"),
    ),
    Preset(
        "v6.1.192",
        "v6.1",
        adds=(
            "region-intersects-nested",
            "kmem-skips-never-added",
            "unpoison-online-page",
        ),
        drops=("accessor-not-found-efault",),
    ),
    Preset(
        "v6.12",
        "v6.1",
        adds=(
            "memmap-on-memory-lenient",
            "region-intersects-nested",
            "kmem-memmap-on-memory",
            "dax-driver-by-region",
            "dax-mapping-ignores-misaligned",
            "namespace-needs-data",
            "already-poisoned-event",
            "filter-before-split",
            "unsplit-thp-kills",
            "min-order-unsplittable",
            "ksm-poison",
            "late-action-types",
            "block-device-no-remove",
            "collect-needs-address",
            "unmap-failure-sigbus",
            "hugetlb-exact-address",
            "madvise-action-required",
            "enable-soft-offline",
            "online-refuses-poison",
        ),
        drops=("section-removal-counts-down",),
    ),
    Preset(
        "v6.12.107",
        "v6.12",
        adds=(
            "kmem-skips-never-added",
            "already-poisoned-uncounted",
            "already-poisoned-page-text",
            "unpoison-online-page",
        ),
        drops=("accessor-not-found-efault",),
    ),
    Preset(
        "v7.2",
        "v6.12",
        adds=(
            "kpageflags-zero-no-page",
            "s390-small-sections",
            "kmem-skips-never-added",
            "block-size-advice",
            "fsdax-large-folios",
            "pfn-space-poison",
            "reference-step-always",
            "already-poisoned-uncounted",
            "already-poisoned-page-text",
            "unpoison-online-page",
        ),
        drops=("accessor-not-found-efault",),
    ),
    Preset("v7.2.13", "v7.2"),
)

PRESETS: dict[str, Preset] = {row.name: row for row in _ROWS}


@dataclass(frozen=True)
class Profile:
    """A named set of features.

    Attributes:
        name: as the user gave it, normalised ("v5.11+taint-zone-device").
        features: feature ids.
        poison_only: its lookups and transitions cannot be replayed.
        rules: what a candidate changes.
    """

    name: str
    features: frozenset[str]
    poison_only: bool = False
    rules: Rules = field(default=BUILT_IN, hash=False)

    @property
    def digest(self) -> str:
        """``sha256:`` over the sorted feature ids and a candidate's source: equal digests decide equally."""
        parts = [*sorted(self.features), *([self.rules.digest] if self.rules.digest else [])]
        return "sha256:" + hashlib.sha256("\n".join(parts).encode()).hexdigest()


@cache
def _preset_features(name: str) -> frozenset[str]:
    preset = PRESETS[name]
    base = _preset_features(preset.after) if preset.after else frozenset()
    return base.union(preset.adds).difference(preset.drops)


def profile(name: str) -> Profile:
    """Return the profile that a name describes.

    Args:
        name: a version of ``PRESETS``, with or without the leading v, followed by any number of ``+feature`` and
            ``-feature``.

    Raises:
        UnknownNameError: an unknown version or feature.
        UsageError: a feature is added that is there already, or taken away that is not.
    """
    match = re.fullmatch(r"v?([^+-]*)((?:[+-][^+]+)*)", name)
    version = f"v{match[1]}" if match else name
    if match is None or version not in PRESETS:
        raise UnknownNameError("profile", name, PRESETS, "`replay profiles` lists them")
    features = set(_preset_features(version))
    normalised = version
    for sign, feature_id in _changes(match[2]):
        feature(feature_id)
        if (sign == "+") == (feature_id in features):
            raise UsageError(f"profile {name!r}: {version} has {'' if sign == '+' else 'no '}feature {feature_id!r}"
                             f"{' already' if sign == '+' else ' to take away'}")  # fmt: skip
        (features.add if sign == "+" else features.remove)(feature_id)
        normalised += sign + feature_id
    return Profile(normalised, frozenset(features), PRESETS[version].poison_only)


def _changes(text: str) -> list[tuple[str, str]]:
    """Split ``+a-b+c-d``; feature ids hold dashes themselves, so the longest known id wins."""
    changes: list[tuple[str, str]] = []
    while text:
        sign, rest = text[0], text[1:]
        known = [f for f in FEATURES if rest.startswith(f) and rest[len(f) : len(f) + 1] in ("", "+", "-")]
        feature_id = max(known, key=len) if known else re.split(r"\+", rest)[0]
        changes.append((sign, feature_id))
        text = rest[len(feature_id) :]
    return changes
