"""What a feature is: one observable change of kernel behaviour."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("Feature",)


@dataclass(frozen=True)
class Feature:
    """One behaviour change.

    Attributes:
        id: name used by checks and profiles.
        summary: what differs, in one line.
        first: first mainline version that has it (of those read, where the exact one is not known).
        commit: abbreviated commit id, empty where unknown.
        title: commit subject, empty where unknown.
        backports: stable versions (of the presets) that have it although they are older.
        evidence: how the row is known: log, source or recording.
        series: series or merge the commit belongs to.
        without: a kernel option; the feature only shows in kernels that are built without it.
    """

    id: str
    summary: str
    first: str
    commit: str = ""
    title: str = ""
    backports: tuple[str, ...] = ()
    evidence: str = "source"
    series: str = ""
    without: str = ""
