"""``replay diff``: every state on which two kernels differ."""

from __future__ import annotations

import typer

from replay.cli.common import console, emit_json
from replay.errors import UsageError


def command(
    p: str = typer.Argument(help="One kernel: v5.11, v5.11+taint-zone-device, candidate.py:name …", show_default=False),
    q: str = typer.Argument(help="The other kernel.", show_default=False),
    area: list[str] = typer.Option(
        [], "--area", "-a", help="lookups, errors, signals, hotplug, devices; again for more. Default: lookups, errors."
    ),
    function: list[str] = typer.Option(
        [], "--function", "-f", help="Only this function of the kernel; again for more."
    ),
    everything: bool = typer.Option(False, "--all", help="All areas."),
    arch: str | None = typer.Option(
        None, help="Lookups on x86_64 (the default), arm64, or other: generic pfn_valid, and zones with holes."
    ),
    all_configs: bool = typer.Option(False, "--all-configs", help="Lookups in all configurations and architectures."),
    trace: list[str] = typer.Option(
        [], "--trace", "-t", help="Count in this trace how often each differing state occurs."
    ),
    verbose: bool = typer.Option(
        False, "--verbose", "-v", help="All conditions and checks; other checks that answer alike; impossible states."
    ),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of text."),
) -> None:
    """Say in which states two kernels decide differently, and why; or prove that there are none.

    All possible states are compared, without any trace. Exit code 0: equivalent in what was asked for; 1: something differs.

    [bold]Examples[/bold]

      replay diff v5.11 v5.12

      replay diff v6.12 v7.2 --all

      replay diff v4.18 v4.19 --function memory_failure --verbose

      replay diff examples/candidates/zone_device_series.py:series v5.12

      replay diff v5.11 v5.12 --all-configs --function pfn_valid

      replay diff v5.11 v5.12 --trace traces/recorded/6.1.192-s2a-pmem-collision.arrow
    """
    if bool(area) + everything + bool(function) > 1:
        raise UsageError("--area, --all and --function each say what to compare; give one of them")
    if arch is not None and all_configs:
        raise UsageError("--arch and --all-configs exclude each other")
    from replay.candidate.named import named
    from replay.compare.diff import Scope, diff
    from replay.compare.diff_sides import AREAS, DEFAULT_AREAS
    from replay.report.diff import difference_facts, print_difference

    areas = tuple(AREAS) if everything else tuple(dict.fromkeys(area)) or DEFAULT_AREAS
    scope = Scope(areas, tuple(dict.fromkeys(function)), "" if all_configs else arch or "x86_64")
    kernels = named(p), named(q)
    found = diff(*kernels, scope)
    counts = None
    if trace:
        from replay.compare.diff_occurrences import occurrences
        from replay.fleet.corpus import find_traces

        counts = occurrences(found, kernels, find_traces(trace).traces)
    if json:
        emit_json("diff", "ok" if found.equivalent else "differs", difference_facts(found, counts))
    else:
        print_difference(console(), found, counts, verbose=verbose)
    raise typer.Exit(0 if found.equivalent else 1)
