"""What ``replay profiles`` and ``replay features`` show."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from replay.kernel.features import FEATURES, Feature
from replay.kernel.other_functions import OTHER_FUNCTIONS
from replay.kernel.profiles import PRESETS, Profile, profile
from replay.kernel.registry import DEVICE_FUNCTIONS, FUNCTIONS

__all__ = ("feature_facts", "print_feature", "print_features", "print_profile", "print_profiles")


def feature_facts(feature: Feature) -> dict[str, Any]:
    """Return a feature's row, the presets that have it, and the checks that depend on it."""
    checks = [
        f"{function.name}/{check.id}" + ("" if feature.id in check.needs else " (goes away)")
        for function in (*FUNCTIONS.values(), *DEVICE_FUNCTIONS, *OTHER_FUNCTIONS)
        for check in function.checks
        if feature.id in (*check.needs, *check.unless)
    ]
    have = [name for name in PRESETS if feature.id in profile(name).features]
    return {**asdict(feature), "profiles": have, "checks": checks}


def print_features(out: Console) -> None:
    """Print all features, in the order of the registry."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("feature", "first", "commit"):
        table.add_column(column, no_wrap=True)
    table.add_column("what differs")
    for f in FEATURES.values():
        also = f" (also {', '.join(f.backports)})" if f.backports else ""
        table.add_row(f.id, f.first, f.commit or "-", f.summary + also)
    out.print(table)
    out.print(f"{len(FEATURES)} features; `replay features NAME` shows one, with title, evidence and checks")


def print_feature(out: Console, facts: dict[str, Any]) -> None:
    """Print one feature."""
    out.print(f"[bold]{facts['id']}[/bold]: {facts['summary']}", soft_wrap=True)
    commit = f"{facts['commit']} ({facts['title']})" if facts["commit"] else facts["title"] or "commit not known"
    out.print(f"first in {facts['first']}: {commit}", markup=False, soft_wrap=True)
    if facts["series"]:
        out.print(f"series: {facts['series']}", markup=False)
    if facts["without"]:
        out.print(f"only in kernels built without CONFIG_{facts['without']}, as the config of a trace's machine says")
    if facts["backports"]:
        out.print(f"backported to {', '.join(facts['backports'])}")
    out.print(f"known from: {facts['evidence']}")
    out.print(f"profiles that have it: {', '.join(facts['profiles']) or 'none'}", soft_wrap=True)
    out.print(f"checks: {', '.join(facts['checks']) or 'none; it changes what follows from a verdict'}", soft_wrap=True)


def print_profiles(out: Console) -> None:
    """Print all presets."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("profile", "after"):
        table.add_column(column, no_wrap=True)
    table.add_column("features", justify="right")
    table.add_column("what it adds and drops")
    for p in PRESETS.values():
        changes = [f"+{f}" for f in p.adds] + [f"-{f}" for f in p.drops]
        table.add_row(p.name, p.after, str(len(profile(p.name).features)), " ".join(changes) or p.note or "the same")
    out.print(table)
    out.print("combine them: v5.11+taint-zone-device, v5.12-online-page-subsection-validity")


def print_profile(out: Console, chosen: Profile) -> None:
    """Print one profile's features."""
    out.print(f"[bold]{chosen.name}[/bold]  {chosen.digest}", soft_wrap=True)
    for name in sorted(chosen.features):
        f = FEATURES[name]
        out.print(f"  {name:34} {f.first:8} {f.commit:13} {f.summary}", markup=False, soft_wrap=True)
