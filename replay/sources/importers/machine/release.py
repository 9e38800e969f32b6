"""Kernel releases: what `uname -r` says, and the version in it."""

from __future__ import annotations

import re

from replay.errors import UsageError
from replay.kernel.poison_types import changes_features

__all__ = ("version_of",)

_VERSION = re.compile(r"v?(\d+(?:\.\d+)+)")


def version_of(kernel: str) -> tuple[str, str]:
    """Return what a trace's header calls a kernel, and the release if one was given.

    Args:
        kernel: a version ("6.1.192"), a release ("6.1.0-32-amd64") or a profile ("v4.18+unsplit-thp-event").

    Raises:
        UsageError: it is none of these.
    """
    found = _VERSION.match(kernel)
    if found is None:
        raise UsageError(f"kernel {kernel!r} is not a version like 6.1.192, a release of uname -r or a profile")
    if found.end() == len(kernel) or changes_features(kernel):
        return kernel.removeprefix("v"), ""
    return re.sub(r"^(\d+\.\d+)\.0$", r"\1", found[1]), kernel  # "6.1.0" of a release is the version 6.1
