"""The smallest traces found that make every check decide and show every mistake; and what is out of reach."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from replay.compare.coverage import functions_of
from replay.compare.met import Met
from replay.compare.reach import Reach, Unreachable
from replay.kernel.profiles import PRESETS, Profile, profile
from replay.sources.synthetic.covering_poison import PoisonCover
from replay.sources.synthetic.covering_script import Script, Shown, Shows, select
from replay.sources.synthetic.covering_walk import walk_scripts
from replay.trace.header import Provenance
from replay.trace.schema import COLUMNS, REQUIRED_COLUMNS
from replay.trace.writer import Values, write_trace

__all__ = ("Covering", "covering", "kernels_for", "write_covering")

_POISON = frozenset(
    {"memory_failure", "soft_offline_page", "unpoison_memory", "kill_procs", "kill_accessing_process", "access"}
)


@dataclass(frozen=True)
class Covering:
    """What was found.

    Attributes:
        kernels: names of the profiles.
        scripts: one for each trace.
        unreachable: what no trace can show of them.
    """

    kernels: tuple[str, ...]
    scripts: tuple[Script, ...]
    unreachable: tuple[Unreachable, ...]


def kernels_for(names: Sequence[str]) -> list[Profile]:
    """Return the profiles of these names, by default of all presets that can be replayed, the latest ones first."""
    wanted = names or [name for name, preset in reversed(PRESETS.items()) if not preset.poison_only]
    return [profile(name) for name in wanted]


def covering(kernels: Sequence[Profile], progress: Callable[[int, int], None] | None = None) -> Covering:
    """Return traces that cover some kernels.

    Args:
        kernels: profiles.
        progress: is told (steps done, in all).
    """
    alike: dict[str, Shows] = {}
    for kernel in kernels:
        alike.setdefault(kernel.digest, Shows(kernel))
    shows, poison, unreachable = list(alike.values()), PoisonCover(), list[Unreachable]()
    for number, one in enumerate(shows):
        unreachable += poison.cover(one)
        if progress is not None:
            progress(number + 1, 2 * len(shows) + 1)
    walks = walk_scripts()
    scripts = select([poison.script, *walks], shows)
    for number, one in enumerate(shows):
        shown = _shown(one, scripts)
        names = [name for name in functions_of(Met(one.kernel)) if name not in _POISON]
        unreachable += _out_of_reach(one, names, shown)
        if progress is not None:
            progress(len(shows) + 1 + number, 2 * len(shows) + 1)
    of = {one.kernel.name: [u for u in unreachable if u.profile == one.kernel.name] for one in shows}
    # Kernels that decide alike were covered as one.
    every = [replace(u, profile=k.name) for k in kernels for u in of[alike[k.digest].kernel.name]]
    used = tuple(script for script in scripts if script.units)
    return Covering(tuple(k.name for k in kernels), used, tuple(every))


def _out_of_reach(shows: Shows, names: Sequence[str], shown: set[Shown]) -> list[Unreachable]:
    """Return what no trace can show of a kernel's lookups, queries and transitions; of what is shown nothing is said."""
    reach, found = Reach(shows.kernel), list[Unreachable]()
    for name in names:
        mine = reach.of(name)
        wanted = {mutant.words: mine.notices(mutant) for mutant in shows.noticing(name).mutants}
        wanted |= {f"decided {check.id}": mine.decided(check.id) for check in mine.checks}
        left = {w: states for w, states in wanted.items() if (shows.kernel.digest, name, w) not in shown}
        found += reach.unreachable(name, left)
    return found


def _shown(shows: Shows, scripts: Sequence[Script]) -> set[Shown]:
    found: set[Shown] = set()
    for script in scripts:
        found = found.union(*(shows.units(script) or []))
    return found


def write_covering(found: Covering, folder: str | os.PathLike[str]) -> list[str]:
    """Write the traces of a covering into a folder; return their paths. The same covering gives the same bytes."""
    paths = []
    for script in found.scripts:
        rows = script.rows()
        columns: dict[str, Values] = {}
        for name, column in COLUMNS.items():
            given = np.array([name in row for row in rows], np.bool_)
            values = np.array([row.get(name, 0) for row in rows], column.numpy)
            if given.any():
                columns[name] = values if name in REQUIRED_COLUMNS else (values, given)
        source = Provenance(
            source="synthetic",
            name=script.name,
            command=f"replay generate covering {' '.join(f'--profile {name}' for name in found.kernels)} -o FOLDER",
            notes=(script.about,),
        )
        path = os.path.join(folder, f"{script.name}.arrow")
        write_trace(
            path, columns, machine=script.machine, provenance=source, strings=script.strings, compression="zstd"
        )
        paths.append(path)
    return paths
