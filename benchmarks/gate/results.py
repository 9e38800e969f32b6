"""asv's result files as plain values, one per benchmark and parameters."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ("Benchmark", "Measurement", "NoResultsError", "load_benchmarks", "load_results")


class NoResultsError(Exception):
    """There is nothing to judge."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that asv found.

    Attributes:
        name: as asv has it, module.Class.function.
        type: "time", "peakmemory", "track".
        unit: of a tracked value.
        version: results of another version measured something else.
        parameters: all combinations; one empty one if there are none.
    """

    name: str
    type: str
    unit: str
    version: str
    parameters: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Measurement:
    """One benchmark with one set of parameters, on one commit.

    Attributes:
        value: None failed, NaN skipped.
        samples: single timings, seconds.
    """

    value: float | None
    samples: tuple[float, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether it ran and came to no result."""
        return self.value is None

    @property
    def skipped(self) -> bool:
        """Whether it was not run on that commit."""
        return self.value is not None and math.isnan(self.value)


def load_benchmarks(results: Path) -> dict[str, Benchmark]:
    """Return the benchmarks that asv found, by name.

    Raises:
        NoResultsError: asv found none.
    """
    data = _load(results / "benchmarks.json")
    found = {
        name: Benchmark(name, b["type"], b["unit"], b["version"], tuple(itertools.product(*b["params"])))
        for name, b in data.items()
        if isinstance(b, dict)
    }
    if not found:
        raise NoResultsError(f"{results}: asv found no benchmarks")
    return found


def load_results(
    results: Path, machine: str, commit: str, benchmarks: Mapping[str, Benchmark]
) -> dict[tuple[str, tuple[str, ...]], Measurement]:
    """Return what was measured on a commit, by name and parameters.

    Results of benchmarks that are known in another version are left out; those that are not known any more are kept.

    Args:
        results: asv's folder of results.
        machine: asv's name of the machine.
        commit: full hash.
        benchmarks: what asv found.

    Raises:
        NoResultsError: there is none of the commit.
    """
    # One file per environment; those of environments that are no more stay behind.
    files = sorted((results / machine).glob(f"{commit[:8]}-*.json"), key=lambda path: path.stat().st_mtime_ns)
    if not files:
        raise NoResultsError(f"{results / machine}: no results of commit {commit[:8]}")
    data = _load(files[-1])
    if data.get("commit_hash") != commit:
        raise NoResultsError(f"{files[-1]}: results of {data.get('commit_hash')}; needed {commit}")
    found = {}
    for name, row in data["results"].items():
        result = dict(zip(data["result_columns"], row, strict=False))
        known = benchmarks.get(name)
        if known is not None and result.get("version") != known.version:
            continue
        parameters = list(itertools.product(*(result.get("params") or ())))
        values = result.get("result") or [None] * len(parameters)  # null: all failed
        samples = result.get("samples") or [None] * len(parameters)
        for key, value, taken in zip(parameters, values, samples, strict=True):
            found[name, key] = Measurement(value, tuple(taken or ()))
    return found


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise NoResultsError(f"{path}: cannot be read ({error})") from error
    if not isinstance(data, dict):
        raise NoResultsError(f"{path}: holds no results")
    return data
