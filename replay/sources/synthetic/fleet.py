"""Fleets: many machines, one trace each, every one a little different."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from replay.errors import UsageError
from replay.sources.synthetic.generator import Generation
from replay.sources.synthetic.streams import Stream

__all__ = ("MAX_MACHINES", "fleet", "write_one")

MAX_MACHINES = 100_000


def fleet(
    machines: int,
    *,
    workload: str = "production",
    plans: Sequence[str] = ("server",),
    kernels: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
    parameters: Mapping[str, str] | None = None,
    events: int | None = None,
    seed: int = 0,
) -> list[Generation]:
    """Return what to generate for each machine of a fleet.

    Args:
        machines: how many.
        workload: what happens on each.
        plans: names of machines, taken in turn.
        kernels: that the machines run, drawn at random; empty: each plan's own.
        settings: of all machines.
        parameters: of the workload.
        events: rows of each trace.
        seed: of the fleet; each machine has a seed of its own that follows from it and its number.

    Raises:
        UsageError: names or values that cannot be.
    """
    if not 1 <= machines <= MAX_MACHINES:
        raise UsageError(f"--machines {machines}; needed 1 to {MAX_MACHINES:,}")
    stream = Stream(seed, "fleet", "write_one")
    seeds = (stream.words(0, machines) >> 1).tolist()
    drawn = Stream(seed, "fleet", "kernels").below(0, machines, max(len(kernels), 1)).tolist()
    made = []
    for number in range(machines):
        own = {"kernel": kernels[drawn[number]]} if kernels else {}
        made.append(
            Generation(
                workload,
                machine=plans[number % len(plans)],
                settings={**(settings or {}), **own},
                parameters=dict(parameters or {}),
                events=events,
                seed=seeds[number],
            )
        )
    # Whatever is wrong is said before the first file is written; equal machines are looked at once.
    for generation in {(g.machine, tuple(sorted(g.settings.items()))): g for g in made}.values():
        copy = replace(generation)  # without what it remembers, which cannot go to another process
        copy.columns()
        assert copy.rows
    return made


def write_one(job: tuple[Generation, str, str | None], tell: Callable[[int, int], None]) -> dict[str, Any]:
    """Write one trace of a fleet, in whatever process.

    Args:
        job: what to generate, the file, the compression.
        tell: is told (rows done, rows in all).

    Returns:
        What was written, as plain values.
    """
    generation, path, compression = job
    written = generation.write(path, compression=compression, progress=tell)
    return {"trace": path, **asdict(written), "command": generation.command}
