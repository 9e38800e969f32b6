"""``replay features``: the behaviour changes that are known."""

from __future__ import annotations

import typer

from replay.cli.common import console, emit_json


def command(
    name: str = typer.Argument("", help="Show one feature and the checks that depend on it.", show_default=False),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of a table."),
) -> None:
    """List every observable change of kernel behaviour, with commit, title and first version.

    [bold]Examples[/bold]

      replay features

      replay features taint-zone-device
    """
    from replay.kernel.features import FEATURES, feature
    from replay.report.kernels import feature_facts, print_feature, print_features

    if name:
        facts = feature_facts(feature(name))
        if json:
            emit_json("features", "ok", facts)
        else:
            print_feature(console(), facts)
    elif json:
        emit_json("features", "ok", {"features": [feature_facts(f) for f in FEATURES.values()]})
    else:
        print_features(console())
