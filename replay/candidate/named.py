"""Kernels by the names that people give: released ones, with features more or less, and candidates in files."""

from __future__ import annotations

from replay.kernel.profiles import Profile, profile

__all__ = ("named",)


def named(kernel: str | Profile) -> Profile:
    """Return a kernel by its name: a profile such as ``v6.1``, or a candidate such as ``patch.py`` or ``patch.py:name``.

    The code of a candidate's file runs.

    Raises:
        UsageError: there is no such profile, or the candidate does not work.
    """
    if isinstance(kernel, Profile):
        return kernel
    if kernel.endswith(".py") or ".py:" in kernel:
        from replay.candidate.load import load  # noqa: PLC0415 - only when asked for

        return load(kernel)
    return profile(kernel)
