"""``replay profiles``: the kernels that are known."""

from __future__ import annotations

import typer

from replay.cli.common import console, emit_json


def command(
    name: str = typer.Argument("", help="Show one profile and its features.", show_default=False),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of a table."),
) -> None:
    """List the kernels that traces can be replayed through, and what each adds to the one before.

    A profile is a set of features; combine them as VERSION+feature-feature.

    [bold]Examples[/bold]

      replay profiles

      replay profiles v5.11+taint-zone-device
    """
    from replay.kernel.profiles import PRESETS, profile
    from replay.report.kernels import print_profile, print_profiles

    if name:
        chosen = profile(name)
        data = {"profile": chosen.name, "digest": chosen.digest, "features": sorted(chosen.features)}
        if json:
            emit_json("profiles", "ok", data)
        else:
            print_profile(console(), chosen)
        return
    if json:
        rows = [
            {**vars(preset), "features": sorted(profile(preset.name).features), "digest": profile(preset.name).digest}
            for preset in PRESETS.values()
        ]
        emit_json("profiles", "ok", {"profiles": rows})
    else:
        print_profiles(console())
